"""The ledger as its readers see it."""

from __future__ import annotations

import array
import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Self

from batchgen.errors import LedgerOutdated
from batchgen.ledger import database
from batchgen.ledger.briefs import Briefs
from batchgen.ledger.budgets import Budgets
from batchgen.ledger.conditions import COUNTS, CURRENT, HALF_DIGEST, LAST_WORD, NAMED, SINCE
from batchgen.ledger.costs import Costs
from batchgen.ledger.images import RememberedImages
from batchgen.ledger.orders import Orders
from batchgen.ledger.parts import PART, marks, of_jobs, parts
from batchgen.ledger.rows import (
    COLUMNS,
    path_key,
    to_event,
    to_key,
    to_number,
    to_record,
    to_record_and_request,
    to_state,
    to_stored_clip,
    to_target,
    to_unusable,
)
from batchgen.ledger.runs import Runs
from batchgen.ledger.transitions import ABANDONED
from batchgen.ledger.verdicts import Verdicts
from batchgen.models import HistoryEntry, Record, State, StoredClip, Unusable
from batchgen.names import spellings

REHEARSAL = "rehearsal"  # a note

OPEN = (State.SUBMITTING, State.UNKNOWN, State.SUBMITTED, State.SUCCEEDED)

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM tasks"
_STORED_CLIP = ", ".join(StoredClip._fields)


class Records:
    """Reads of a ledger. They are synchronous, see what was committed last, and are quick unless they read every row."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self._reader = connection
        self.briefs, self.verdicts, self.orders = Briefs(self._each), Verdicts(self._each), Orders(self._each)
        self.budgets, self.runs, self.costs = Budgets(self._each), Runs(self._each), Costs(self._each)

    @classmethod
    def read(cls, path: str, *, origin: str | None = None) -> Records:
        """Open a ledger for reading, whether or not a run holds it. Raises LedgerError.

        One of an older version is migrated first, under its lock.
        """
        path = os.path.realpath(path)
        try:
            return Records(path, database.open_to_read(path, origin))
        except LedgerOutdated as outdated:
            from batchgen.ledger.upkeep import bring_up_to_date

            bring_up_to_date(path, outdated)
            return Records(path, database.open_to_read(path, origin))

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def origin(self) -> str:
        """The API that this ledger belongs to."""
        return database.meta(self._reader, self.path, "origin")

    @property
    def identity(self) -> str:
        """What tells this ledger, with its copies, from every other: 32 hex digits."""
        return database.meta(self._reader, self.path, "identity")

    @property
    def is_rehearsal(self) -> bool:
        """Whether a sandbox of a run's own played the API, which no other run can go on with."""
        return self.note(REHEARSAL) is not None

    def record(self, external_task_id: str) -> Record | None:
        rows = self._rows(f"{_SELECT} WHERE external_task_id = ?", (external_task_id,))
        return to_record(rows[0]) if rows else None

    def series(self, base_id: str) -> list[Record]:
        """A job's rows: ``ID``, ``ID~2``, ... in the order they were made."""
        rows = self._rows(
            f"{_SELECT} WHERE (external_task_id = ?1 AND base_id = ?1)"
            " OR (base_id = ?1 AND external_task_id <> base_id) ORDER BY id",
            (base_id,),
        )
        return [to_record(row) for row in rows]

    def knows(self, manifest: str) -> bool:
        """Whether the ledger has any job of a manifest of this name."""
        sql = "SELECT 1 FROM tasks WHERE manifest = ? LIMIT 1"
        return any(self._rows(sql, (name,)) for name in spellings(manifest))

    def with_task(self, task_id: str) -> list[Record]:
        """The rows with this task id; more than one only where a person made a mistake."""
        return [to_record(row) for row in self._rows(f"{_SELECT} WHERE task_id = ?", (task_id,))]

    def open_records(self) -> Iterator[Record]:
        """The rows that a run has something left to do about, each once, in the state that it has when it is read."""
        return self.records(states=OPEN)

    def waiting(self) -> Iterator[tuple[Record, float]]:
        """The rows that a run or a person has something left to do about, and when each came into its state (Unix seconds).

        These are the open rows; and those that failed, were refused or never sent and are their job's last row, unless a
        person gave them up.
        """
        ended = "state IN ('pending', 'failed', 'rejected') AND error_code IS NOT ?"
        conditions = [f"(state IN ({marks(OPEN)}) OR ({ended} AND {LAST_WORD}))"]
        for batch in parts(array.array("q", self._numbers(conditions, [*OPEN, ABANDONED]))):
            sql = f"SELECT {SINCE.format('tasks')}, {', '.join(COLUMNS)} FROM tasks WHERE id IN ({marks(batch)})"
            for since, *row in self._rows(f"{sql} ORDER BY id", batch):
                record = to_record(row)
                if record.state is not State.DOWNLOADED:  # it may have changed meanwhile
                    yield record, to_number(since, "events.at", record.external_task_id) or record.created_at

    def unusable(self) -> list[Unusable]:
        """The jobs whose images failed their checks when their manifest was last run."""
        rows = self._rows(
            f"SELECT {', '.join(Unusable._fields)} FROM unusable ORDER BY manifest, job_id, take"
        )
        return [to_unusable(row) for row in rows]

    def is_current(self, external_task_id: str) -> bool:
        """Whether a row has its job's current clip."""
        sql = f"SELECT 1 FROM tasks WHERE external_task_id = ? AND {CURRENT}"
        return bool(self._rows(sql, (external_task_id,)))

    def exported(self) -> Iterator[tuple[Record, dict[str, Any], bool]]:
        """All rows in order, never all in memory: each with its canonical text's fields, and whether its clip is its job's."""
        last = self._rows("SELECT max(id) FROM tasks")[0][0]
        columns = f"{', '.join(COLUMNS)}, id, {CURRENT}"
        sql = f"SELECT {columns} FROM tasks WHERE id > ? AND id <= ? ORDER BY id LIMIT {PART}"
        number = -1
        while rows := self._rows(sql, (number, last)):
            number = rows[-1][-2]
            yield from ((*to_record_and_request(row[:-2]), bool(row[-1])) for row in rows)

    def is_last_word(self, external_task_id: str) -> bool:
        """Whether no other row of the same take has changed after this one."""
        return bool(
            self._rows(f"SELECT 1 FROM tasks WHERE external_task_id = ? AND {LAST_WORD}", (external_task_id,))
        )

    def names(self) -> Iterator[tuple[str, str, int]]:
        """Every take that has a row, a refused image or an order: manifest name, job id, take. Consume it at once, as a read is open."""
        rows = self._each(
            "SELECT DISTINCT manifest, job_id, take FROM tasks INDEXED BY tasks_job"
            " UNION SELECT manifest, job_id, take FROM unusable UNION SELECT manifest, job_id, take FROM orders"
        )
        return map(to_key, rows)

    def rows_of(self, manifest: str, job_id: str, take: int) -> list[Record]:
        """The rows of one take, those from before its content changed included, in the order they were made."""
        rows = self._rows(
            f"{_SELECT} WHERE manifest = ? AND job_id = ? AND take = ? ORDER BY id", (manifest, job_id, take)
        )
        return [to_record(row) for row in rows]

    def records(
        self,
        *,
        states: Collection[State] = (),
        ids: Collection[str] | None = None,
        manifests: Collection[str] = (),
    ) -> Iterator[Record]:
        """Rows in the order they were made, never all in memory.

        ``ids`` are external_task_ids or jobs' own ids; None means all. Empty ``states`` or ``manifests`` mean all.
        """
        conditions, values = [], list[str]()
        for column, wanted in (("state", states), ("manifest", manifests)):
            if wanted:
                conditions.append(f"{column} IN ({marks(wanted)})")
                values += wanted
        numbers: Iterable[int]
        if ids is None:
            numbers = array.array("q", self._numbers(conditions, values))
        else:
            numbers = set[int]()
            for some in parts(dict.fromkeys(ids)):
                numbers.update(self._numbers([NAMED, *conditions], [json.dumps(some), *values]))
        for batch in parts(sorted(numbers)):
            for row in self._rows(f"{_SELECT} WHERE id IN ({marks(batch)}) ORDER BY id", batch):
                record = to_record(row)
                if not states or record.state in states:  # it may have changed meanwhile
                    yield record

    def manifests(self) -> list[str]:
        """The names of all manifests that have rows."""
        return [str(name) for (name,) in self._rows("SELECT DISTINCT manifest FROM tasks ORDER BY manifest")]

    def stored_clips(self, manifest: str, job_ids: Iterable[str] | None = None) -> Iterator[StoredClip]:
        """Where the clips of a manifest's downloaded rows should be, or of some jobs' of it. Consume it at once, as a read is open."""
        downloaded = "state = 'downloaded'"
        if job_ids is not None:
            return map(
                to_stored_clip, of_jobs(self._each, manifest, job_ids, _STORED_CLIP, f" AND {downloaded}")
            )
        sql = f"SELECT {_STORED_CLIP} FROM tasks INDEXED BY tasks_job WHERE manifest = ? AND {downloaded}"
        return map(to_stored_clip, self._each(sql, (manifest,)))

    def every_stored_clip(self) -> Iterator[StoredClip]:
        """The same of all downloaded rows, oldest first; no read stays open between them, however long it takes."""
        sql = f"SELECT id, {_STORED_CLIP} FROM tasks WHERE id > ? AND +state = 'downloaded' ORDER BY id LIMIT {PART}"
        last = 0
        while rows := self._rows(sql, (last,)):
            last = rows[-1][0]
            for row in rows:
                yield to_stored_clip(row[1:])

    def stored_clips_like(
        self, manifests: Iterable[str], digests: Iterable[str], paths: Iterable[str]
    ) -> Iterator[StoredClip]:
        """The same of the rows of manifests whose clips have these contents or belong at these paths, whatever job they are of."""
        names = json.dumps([name for one in manifests for name in spellings(one)])
        of_these = "+manifest IN (SELECT value FROM json_each(?)) AND +state = 'downloaded'"
        halves = (digest[:16] for digest in digests)
        for column, values in ((HALF_DIGEST, halves), ("output_key", map(path_key, paths))):
            for some in parts(values):
                sql = f"SELECT {_STORED_CLIP} FROM tasks WHERE {column} IN ({marks(some)}) AND {of_these}"
                yield from map(to_stored_clip, self._each(sql, (*some, names)))

    def moves(self) -> list[tuple[Record, str]]:
        """The recorded moves that aren't done yet: rows whose clip is to be moved from ``video_path``, with the target."""
        found = self._rows(
            "SELECT external_task_id, target FROM moves CROSS JOIN tasks ON id = task ORDER BY task"
        )
        rows = [(self.record(str(name)), target) for name, target in found]
        return [(row, to_target(target, row)) for row, target in rows if row is not None]

    def known_tasks(self, limit: int) -> list[Record]:
        """The newest rows that have a task."""
        numbers: list[int] = []
        for state in (State.SUBMITTED, State.SUCCEEDED, State.DOWNLOADED, State.FAILED):
            rows = self._rows("SELECT id FROM tasks WHERE state = ? ORDER BY id DESC LIMIT ?", (state, limit))
            numbers += [number for (number,) in rows]
        newest = sorted(numbers, reverse=True)[:limit]
        rows = self._rows(f"{_SELECT} WHERE id IN ({marks(newest)}) ORDER BY id DESC", newest)
        return [to_record(row) for row in rows]

    def known_beside(self, external_task_id: str, limit: int) -> list[Record]:
        """The last rows with a task that were made before this one; where there are none, the next ones after it."""
        where = f"{_SELECT} WHERE task_id IS NOT NULL AND id"
        own = "(SELECT id FROM tasks WHERE external_task_id = ?)"
        for order in (f"< {own} ORDER BY id DESC", f"> {own} ORDER BY id"):
            if rows := self._rows(f"{where} {order} LIMIT ?", (external_task_id, limit)):
                return [to_record(row) for row in rows]
        return []

    def was_uncertain(self, external_task_id: str) -> Record | None:
        """The row, where it has no task and an earlier create had an unknown outcome (ask before the next); else None."""
        record = self.record(external_task_id)
        if record is None or record.task_id is not None:
            return None
        events = self.events(external_task_id)
        return record if any(event.to_state is State.UNKNOWN for event in events) else None

    def events(self, external_task_id: str) -> list[HistoryEntry]:
        """The history of a row, oldest first."""
        rows = self._rows(
            "SELECT at, event, from_state, to_state, code, message, request_id, detail FROM events"
            " WHERE task = (SELECT id FROM tasks WHERE external_task_id = ?) ORDER BY id",
            (external_task_id,),
        )
        return [to_event(external_task_id, row) for row in rows]

    def counts(self) -> dict[State, int]:
        """How many rows are in each state; all states are there."""
        (_, total), *rows = self._rows(COUNTS)
        counts = {to_state(state, "all rows"): count for state, count in rows}
        return {state: counts.get(state, 0) for state in State} | {
            State.DOWNLOADED: total - sum(counts.values())
        }

    def durations(self, kind: str, limit: int = 200) -> list[float]:
        """Seconds from acceptance to end of the latest tasks of a kind that ended well, latest first."""
        rows = self._rows(
            "SELECT length FROM tasks WHERE kind = ? AND length IS NOT NULL ORDER BY finished_at DESC LIMIT ?",
            (kind, limit),
        )
        return list(filter(None, (to_number(seconds, "length", kind) for (seconds,) in rows)))

    def images(self) -> RememberedImages:
        """The inspected image files that are recorded, by path."""
        return RememberedImages(self._each)

    def note(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM notes WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def _numbers(self, conditions: Sequence[str], values: Sequence[Any]) -> Iterator[int]:
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return (number for (number,) in self._each(f"SELECT id FROM tasks{where}", values))

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Sequence[Any]]:
        with database.translated(self.path):
            return list(map(database.restored, database.execute(self._reader, sql, values)))

    def _each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Sequence[Any]]:
        """Rows one by one. Consume them at once: until then a read is open, which keeps the WAL from being reset."""
        with database.translated(self.path):
            yield from map(database.restored, database.execute(self._reader, sql, values))
