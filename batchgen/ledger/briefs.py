"""What a plan asks of the rows of many jobs at once, in few columns."""

from __future__ import annotations

import json
from collections.abc import Iterable

from batchgen.ledger.conditions import HALF_DIGEST, NAMED
from batchgen.ledger.parts import Query, of_jobs, parts
from batchgen.ledger.rows import path_key, to_brief, to_key
from batchgen.ledger.transitions import MAY_BE_PAID
from batchgen.models import Brief, Manifest, Twin

_BRIEF = "external_task_id, base_id, state, digest, error_code, id"


class Briefs:
    """The rows of jobs, briefly. All raise LedgerError."""

    def __init__(self, query: Query) -> None:
        self._query = query

    def of(self, manifests: Iterable[Manifest]) -> dict[tuple[str, str, int], list[Brief]]:
        """The rows of these manifests' jobs, by manifest name, job id and take, in the order they were made.

        Names are composed, however the accents of their rows are spelt.
        """
        history: dict[tuple[str, str, int], list[Brief]] = {}
        for one in manifests:
            for job_id, take, *rest in of_jobs(
                self._query, one.name, (job.id for job in one.jobs), f"job_id, take, {_BRIEF}"
            ):
                key = to_key((one.name, job_id, take), compose=True)
                history.setdefault(key, []).append(to_brief(*rest))
        return history

    def named(self, base_ids: Iterable[str]) -> dict[str, list[Brief]]:
        """The rows of the jobs of these ids, by id, in the order they were made; ids without rows are left out.

        Another job's row whose ``external_task_id`` is one of these ids is listed under it too: the id is taken.
        """
        found: dict[str, list[Brief]] = {}
        for some in parts(dict.fromkeys(base_ids)):
            wanted = set(some)
            rows = self._query(
                f"SELECT {_BRIEF} FROM tasks WHERE {NAMED} ORDER BY id",
                (json.dumps(some),),
            )
            for row in rows:
                brief = to_brief(*row)
                for name in wanted.intersection(brief[:2]):
                    found.setdefault(name, []).append(brief)
        return found

    def at(self, paths: Iterable[str]) -> dict[str, Twin]:
        """The rows whose clips belong at these paths, by path; paths without a row are left out."""
        found: dict[str, Twin] = {}
        for some in parts(paths):
            wanted = {path_key(path): path for path in some}
            rows = self._query(
                f"SELECT output_key, manifest, job_id, take, {_BRIEF} FROM tasks"
                " WHERE output_key IN (SELECT value FROM json_each(?))",
                (json.dumps([*wanted]),),
            )
            for key, *row in rows:
                if key in wanted:  # a lone surrogate may come back as something else
                    found[wanted[key]] = Twin(to_key(row[:3], compose=True), to_brief(*row[3:]))
        return found

    def twins(self, digests: Iterable[str]) -> dict[str, list[Twin]]:
        """The rows of all jobs that may have a clip with one of these digests, by digest, in the order they were made."""
        found: dict[str, list[Twin]] = {}
        states = ", ".join(f"'{state}'" for state in MAY_BE_PAID)
        for some in parts(dict.fromkeys(digests)):
            rows = self._query(
                f"SELECT manifest, job_id, take, {_BRIEF} FROM tasks"
                f" WHERE {HALF_DIGEST} IN (SELECT substr(value, 1, 16) FROM json_each(?1))"
                f" AND digest IN (SELECT value FROM json_each(?1)) AND state IN ({states}) ORDER BY id",
                (json.dumps(some),),
            )
            for row in rows:
                brief = to_brief(*row[3:])
                found.setdefault(brief.digest, []).append(Twin(to_key(row[:3], compose=True), brief))
        return found
