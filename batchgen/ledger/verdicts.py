"""What people said of clips: ``keep`` or ``retake``, with a note. It is only ever added to; the last word counts."""

from __future__ import annotations

import json
from collections.abc import Iterable

from batchgen.errors import LedgerError
from batchgen.judgements import Verdict
from batchgen.ledger import beside, database, renames
from batchgen.ledger.parts import Query, parts
from batchgen.ledger.renames import JobName
from batchgen.ledger.rows import to_verdict

_FIELDS = "verdicts.at, verdict, note, by"
# Rows whose clip is the newest of its job, of all takes, ordered ones included.
_NEWEST = """NOT EXISTS (SELECT 1 FROM tasks AS other WHERE other.manifest = tasks.manifest
    AND other.job_id = tasks.job_id AND (other.take > tasks.take OR (other.take = tasks.take AND other.id > tasks.id)))"""


class Verdicts:
    """Reads what was said of the clips of a ledger's rows. All raise LedgerError."""

    def __init__(self, query: Query) -> None:
        self._query = query

    def of(self, external_task_ids: Iterable[str]) -> dict[str, Verdict]:
        """The last word about each of these rows; those that nothing is said of, or that it was taken back of, are left out."""
        found: dict[str, Verdict] = {}
        for some in parts(external_task_ids):
            rows = self._query(
                f"SELECT external_task_id, {_FIELDS} FROM tasks JOIN verdicts ON verdicts.id ="
                " (SELECT max(id) FROM verdicts WHERE task = tasks.id)"
                " WHERE external_task_id IN (SELECT value FROM json_each(?))",
                (json.dumps(some),),
            )
            found |= {one.external_task_id: one for one in map(to_verdict, rows) if one.verdict is not None}
        return found

    def all(self) -> dict[str, Verdict]:
        """The last word about every row that something is said of; as many as a person has judged."""
        rows = self._query(
            f"SELECT external_task_id, {_FIELDS} FROM verdicts CROSS JOIN tasks ON tasks.id = task"
            " WHERE verdicts.id IN (SELECT max(id) FROM verdicts GROUP BY task)",
            (),
        )
        return {one.external_task_id: one for one in map(to_verdict, rows) if one.verdict is not None}

    def history(self, external_task_id: str) -> list[Verdict]:
        """All that was ever said of a row's clip, oldest first."""
        rows = self._query(
            f"SELECT external_task_id, {_FIELDS} FROM tasks CROSS JOIN verdicts ON task = tasks.id"
            " WHERE external_task_id = ? ORDER BY verdicts.id",
            (external_task_id,),
        )
        return [to_verdict(row) for row in rows]

    def marked(self) -> list[Verdict]:
        """The verdicts ``retake`` that count, of clips that are the newest of their job: in the order of the rows.

        What was made under another name, since the job was renamed, is newer as well.
        """
        renamed = renames.read(self._query)
        rows = self._query(
            f"SELECT manifest, job_id, take, external_task_id, {_FIELDS} FROM verdicts CROSS JOIN tasks ON tasks.id = task"
            " WHERE verdict = 'retake' AND verdicts.id = (SELECT max(id) FROM verdicts WHERE task = tasks.id)"
            f" AND {_NEWEST} ORDER BY tasks.id",
            (),
        )
        return [
            to_verdict(said)
            for manifest, job_id, take, *said in list(rows)
            if not self._has_take_after(take, renamed.now((manifest, job_id)))
        ]

    def _has_take_after(self, take: int, job: JobName) -> bool:
        sql = "SELECT 1 FROM tasks WHERE manifest = ? AND job_id = ? AND take > ? LIMIT 1"
        return bool(list(self._query(sql, (*job, take))))


def give(path: str, verdicts: Iterable[Verdict]) -> None:
    """Write verdicts, all or none. A run may hold the ledger meanwhile.

    Raises LedgerError where the ledger has no such row, or the row had no clip yet that could have been judged.
    """
    with beside.transaction(path) as connection:
        for one in verdicts:
            row = database.execute(
                connection,
                "SELECT id, video_path FROM tasks WHERE external_task_id = ?",
                (one.external_task_id,),
            ).fetchone()
            if row is None:
                raise LedgerError(f"the ledger {path} has no {one.external_task_id}: nothing was written.")
            if row[1] is None:
                raise LedgerError(f"{one.external_task_id} has no clip yet: nothing was written.")
            database.execute(
                connection,
                "INSERT INTO verdicts (task, at, verdict, note, by) VALUES (?, ?, ?, ?, ?)",
                (row[0], *one[1:]),
            )
