"""The ledger as its one writer sees it: every change of a row, with its line of history.

:mod:`batchgen.ledger.transitions` says which changes are allowed. A write returns once it is on disk; writes that wait at
the same time share one fsync (:mod:`batchgen.ledger.group_commit`). Reads are in :mod:`batchgen.ledger.reader`.
"""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from batchgen.errors import OrderWithdrawn, TransitionError
from batchgen.ledger import budgets, database, integrity, runs
from batchgen.ledger.free_paths import free_path
from batchgen.ledger.group_commit import GroupCommit
from batchgen.ledger.lock import Lock
from batchgen.ledger.orders import Followed, follow, is_standing
from batchgen.ledger.packing import EVENTS, PACKED, STATES, packed
from batchgen.ledger.reader import Records
from batchgen.ledger.renames import JobName
from batchgen.ledger.rows import COLUMNS, image_cells, path_key, to_record
from batchgen.ledger.runs import RunRecord
from batchgen.ledger.spending import account
from batchgen.ledger.transitions import (
    IMPORTABLE,
    MAY_BE_PAID,
    WITHOUT_TASK,
    advance,
    changed_columns,
    intended,
    masked_change,
    quarter_of,
    task_seconds,
)
from batchgen.models import Change, ImageFile, Manifest, Record, State, Unusable

Clock = Callable[[], float]

_FIND_BY = f"SELECT {', '.join(COLUMNS)} FROM tasks WHERE"
_FIND = f"SELECT id, {', '.join(COLUMNS)} FROM tasks WHERE external_task_id = ?"
_SERIES = (
    f"SELECT id, {', '.join(COLUMNS)} FROM tasks WHERE external_task_id IN (?1, ?2)"
    " OR (base_id = ?2 AND external_task_id <> base_id)"
)
_EVENT = (
    "INSERT INTO events (task, at, event, from_state, to_state, code, message, request_id, detail)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_STORED = (*COLUMNS, "kind", "length", "output_key")
_INSERT = f"INSERT INTO tasks ({', '.join(_STORED)}) VALUES ({', '.join('?' * len(_STORED))})"


class Ledger(Records):
    """The ledger of the one run that may write it. Made by :meth:`open`; a context manager."""

    def __init__(
        self,
        path: str,
        lock: Lock,
        connections: tuple[sqlite3.Connection, sqlite3.Connection],
        clock: Clock,
        masked: Callable[[str], str],
    ):
        writer, reader = connections
        super().__init__(path, reader)
        self._lock, self._writer, self._clock, self._masked = lock, writer, clock, masked
        self._run: int | None = None  # the run that this is open for
        self._commits = GroupCommit(writer, path)

    @classmethod
    def open(
        cls,
        path: str,
        *,
        origin: str,
        lock_wait: float = 0.0,
        clock: Clock = time.time,
        migrations: Sequence[str] = database.MIGRATIONS,
        masked: Callable[[str], str] = str,
    ) -> Ledger:
        """Open a ledger for writing, or create it. ``origin`` is the API that its task ids belong to.

        Texts from outside are stored through ``masked``, which masks the key. Ids, paths and requests are stored as they
        are, or work would be lost; a job or an answer with the key in them is refused before that.

        Raises LedgerBusy if another run still holds it after ``lock_wait`` seconds, and LedgerError where it can't
        be used: damaged, of another origin, of a newer version, or no ledger.
        """
        integrity.check_link(path)
        path = os.path.realpath(path)  # two names of one ledger are one lock
        try:
            database.make_folders(os.path.dirname(path))
            lock = Lock.acquire(f"{path}.lock", wait=lock_wait, clock=clock)
        except OSError as error:
            raise database.unopened(path, error) from error
        try:
            with database.translated(path):
                database.prepare(path, origin, migrations)
            writer = database.open_to_write(path, origin, migrations)
            try:
                reader = database.open_to_read(path, origin, migrations)
                return cls(path, lock, (writer, reader), clock, masked)
            except BaseException:
                writer.close()
                raise
        except BaseException as error:
            lock.release()
            if isinstance(error, OSError):
                raise database.unopened(path, error) from error
            raise

    def close(self) -> None:
        """Write what waits, checkpoint the WAL, and release the lock."""
        try:
            self._commits.close()
        finally:
            super().close()
            self._writer.close()  # the last connection to close checkpoints
            self._lock.release()

    def holder(self, path: str) -> Record | None:
        """The row whose clip belongs at ``path``, or at a path that some file system takes for the same."""
        rows = self._rows(f"{_FIND_BY} output_key = ?", (path_key(path),))
        return to_record(rows[0]) if rows else None

    # -- writes: each returns once it is on disk; cancelling the caller doesn't undo it ---------------

    async def begin(
        self, record: Record, *, detail: Mapping[str, Any] | None = None, ordered: bool = False
    ) -> Record:
        """Record the intent to send a create: the row is inserted or updated, becomes submitting, and counts one more attempt.

        Returns the row as stored. Its ``output_path`` may differ from the proposed one: see :mod:`batchgen.ledger.free_paths`. Raises
        TransitionError where no create may be sent for this id, or for this job under another id; OrderWithdrawn for an
        ``ordered`` take without a row whose order doesn't stand any more; and OverBudget.
        """
        kind, detail_json, at = record.kind, self._json(detail), self._clock()
        row = record._replace(image=self._masked(record.image)) if record.image else record
        return await self._commits.write(lambda: self._begin(row, kind, detail_json, at, ordered))

    async def apply(self, change: Change) -> Record:
        """Change a row's state, as :func:`batchgen.ledger.transitions.advance` allows. Returns the row. Raises TransitionError."""
        detail_json, at = self._json(change.detail), self._clock()
        return await self._commits.write(lambda: self._apply(change, detail_json, at))

    async def import_row(self, record: Record, change: Change) -> Record:
        """Record a task found at the API: as a new row, or in one that has no task yet.

        ``change.to`` is submitted, succeeded or failed. Raises TransitionError, also where the row has a task.
        """
        kind, detail_json, at = record.kind, self._json(change.detail), self._clock()
        return await self._commits.write(lambda: self._import_row(record, kind, change, detail_json, at))

    async def rename(self, changes: Sequence[Change]) -> list[Record]:
        """Change the ``output_path`` of these rows, all at once, so that they may swap their paths.

        ``output_path`` is among each change's values. Where a clip lies at the path that its row had, its move to the
        new path is recorded with the change (:meth:`Records.moves`); any other clip stays where it is.
        """
        at = self._clock()
        return await self._commits.write(lambda: self._rename(changes, at))

    async def moved(self, change: Change) -> Record:
        """Record that a clip has been moved, or that its move was dropped."""
        detail_json, at = self._json(change.detail), self._clock()
        return await self._commits.write(lambda: self._moved(change, detail_json, at))

    async def set_note(self, key: str, value: str) -> None:
        sql = "INSERT INTO notes VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        await self._commits.write(lambda: self._write_all(sql, [(key, self._masked(value))]))

    async def follow_orders(self, followed: Sequence[Followed], reused: Sequence[JobName]) -> None:
        """Move orders to the names that their jobs go by now: see :func:`batchgen.ledger.orders.follow`."""
        at = self._clock()
        await self._commits.write(lambda: follow(self._writer, followed, reused, at))

    async def begin_run(self, run: RunRecord) -> None:
        """Record that a run begins. The creates from here on are its own."""
        self._run = await self._commits.write(lambda: runs.insert(self._writer, run))

    async def end_run(self, code: int, summary: str) -> None:
        """Record how this run has ended; ``summary`` is a JSON object."""
        number, at = self._run, self._clock()
        await self._commits.write(lambda: runs.end(self._writer, number, at, code, self._masked(summary)))

    async def note_unusable(self, manifests: Iterable[Manifest]) -> None:
        """Record which jobs of these manifests have images that failed their checks, and forget earlier ones of them.

        A job that was given up stays so until its evidence changes.
        """
        before, at = {one.key: one for one in self.unusable()}, self._clock()
        names = {one.name for one in manifests}
        after: dict[tuple[str, str, int], Unusable] = {}
        for bad in (bad for one in manifests for bad in one.unusable if not bad.waits):
            old = before.get(bad.key)
            text = self._masked(f"{bad.problem.text} ({bad.problem.place})")
            if old is not None and old.evidence == bad.evidence:
                after[bad.key] = old._replace(text=text)
            else:
                after[bad.key] = Unusable(*bad.key, bad.evidence, text, at)
        gone = [key for key in before if key[0] in names and key not in after]
        fresh = [row for key, row in after.items() if row != before.get(key)]
        if gone or fresh:
            delete = "DELETE FROM unusable WHERE manifest = ? AND job_id = ? AND take = ?"
            insert = "INSERT OR REPLACE INTO unusable VALUES (?, ?, ?, ?, ?, ?, ?)"

            def write() -> None:
                self._write_all(delete, gone)
                self._write_all(insert, fresh)

            await self._commits.write(write)

    async def give_up(self, unusable: Unusable, by: str) -> None:
        """Stop reporting a job whose image failed its checks, until one of its files is replaced. ``by`` is the person."""
        sql = "UPDATE unusable SET given_up = ? WHERE manifest = ? AND job_id = ? AND take = ?"
        await self._commits.write(lambda: self._write_all(sql, [(by, *unusable.key)]))

    async def remember_images(self, images: Iterable[ImageFile]) -> None:
        rows = [(self._masked(one.path), *image_cells(one)) for one in images]
        sql = "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        await self._commits.write(lambda: self._write_all(sql, rows))

    # -- the operations, inside the group's transaction: they refuse before they write ----------------

    def _begin(self, record: Record, kind: str, detail_json: str | None, at: float, ordered: bool) -> Record:
        number, mine, others = self._family(record)
        if ordered and mine is None and not is_standing(self._writer, record.key):
            raise OrderWithdrawn(f"{record.external_task_id}: its order was withdrawn meanwhile.")
        row = intended(record, mine, at)._replace(run=self._run)
        for other in others:
            if other.state in MAY_BE_PAID and other.digest == record.digest:
                raise TransitionError(
                    f"{record.external_task_id}: {other.external_task_id} of the same job is {other.state}, so no"
                    " create may be sent for it."
                )
        budgets.check(self._writer, mine, row, at)
        row = row._replace(output_path=free_path(self._writer, record))
        before = mine.state if mine else State.PENDING
        number = self._store(row, kind, number)
        account(self._writer, mine, row)
        if mine is None:
            self._log(number, None, Change(record.external_task_id, before, "planned"), None, at)
        self._log(number, before, Change(record.external_task_id, row.state, "intent"), detail_json, at)
        return row

    def _apply(self, change: Change, detail_json: str | None, at: float) -> Record:
        change = masked_change(change, self._masked)
        found = self._execute(_FIND, (change.external_task_id,)).fetchone()
        if found is None:
            raise TransitionError(f"{change.external_task_id}: the ledger has no such row.")
        number, *values = database.restored(found)
        record = to_record(values)
        columns = advance(record, change, at)
        row = record._replace(**columns)
        holds = row.state in MAY_BE_PAID
        if holds != (record.state in MAY_BE_PAID) or row.output_path != record.output_path:
            columns["output_path"] = path = free_path(self._writer, row) if holds else row.output_path
            columns["output_key"] = path_key(path) if holds else None
            row = row._replace(output_path=path)
        if row.state is State.SUCCEEDED and record.state is not State.SUCCEEDED:
            columns["length"] = task_seconds(row)
        self._set(number, columns)
        account(self._writer, record, row)
        self._log(number, record.state, change, detail_json, at)
        return row

    def _rename(self, changes: Sequence[Change], at: float) -> list[Record]:
        found = [(change, self._execute(_FIND, (change.external_task_id,)).fetchone()) for change in changes]
        rows = [(change, to_record(database.restored(row[1:])), row[0]) for change, row in found]
        for change, before, _ in rows:
            advance(before, change, at)
        for _, _, number in rows:  # so that each may take another's path
            self._execute("UPDATE tasks SET output_key = NULL WHERE id = ?", (number,))
        after = []
        for change, before, number in rows:
            row = before._replace(**change.values)
            holds = row.state in MAY_BE_PAID
            row = row._replace(output_path=free_path(self._writer, row) if holds else row.output_path)
            columns = {**change.values, "output_path": row.output_path}
            columns["output_key"] = path_key(row.output_path) if holds else None
            self._set(number, columns)
            moving = self._execute("SELECT 1 FROM moves WHERE task = ?", (number,)).fetchone()
            ours = row.video_path in (before.output_path, change.values.get("output_path"))
            if row.video_path != row.output_path and (moving or ours):
                self._execute("INSERT OR REPLACE INTO moves VALUES (?, ?)", (number, row.output_path))
            detail_json = self._json({"from": before.output_path, "to": row.output_path})
            self._log(number, before.state, change, detail_json, at)
            after.append(row)
        return after

    def _moved(self, change: Change, detail_json: str | None, at: float) -> Record:
        row = self._apply(change, detail_json, at)
        self._execute(
            "DELETE FROM moves WHERE task = (SELECT id FROM tasks WHERE external_task_id = ?)",
            (change.external_task_id,),
        )
        return row

    def _import_row(
        self, record: Record, kind: str, change: Change, detail_json: str | None, at: float
    ) -> Record:
        if change.to not in IMPORTABLE or change.external_task_id != record.external_task_id:
            raise TransitionError(f"{record.external_task_id}: can't be adopted as {change.to}.")
        change = masked_change(change, self._masked)
        number, mine, _ = self._family(record)
        if mine is not None and mine.state not in WITHOUT_TASK:
            raise TransitionError(f"{mine.external_task_id}: is {mine.state} and has task {mine.task_id}.")
        row = record._replace(
            attempt=max(record.attempt, mine.attempt if mine else 0, 1),
            created_at=mine.created_at if mine else record.created_at or at,
            quarter=mine.quarter if mine else None,
            run=mine.run if mine else None,
            **changed_columns(record, change, at),
        )
        if row.state in MAY_BE_PAID:
            row = row._replace(output_path=free_path(self._writer, record))
        if row.quarter is None:
            row = row._replace(quarter=quarter_of(row.submitted_at or row.created_at))
        number = self._store(row, kind, number)
        account(self._writer, mine, row)
        self._log(number, mine.state if mine else None, change, detail_json, at)
        return row

    def _write_all(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        for row in rows:
            self._execute(sql, row)

    def _family(self, record: Record) -> tuple[int | None, Record | None, list[Record]]:
        """The row of this id, with its number, and the other rows of its job. Raises TransitionError."""
        number, mine, others = None, None, []
        for found in self._execute(_SERIES, (record.external_task_id, record.base_id)):
            its, *row = database.restored(found)
            one = to_record(row)
            if one.external_task_id == record.external_task_id:
                number, mine = its, one
            elif one.base_id == record.base_id:
                others.append(one)
        if mine is not None and mine.base_id != record.base_id:
            raise TransitionError(
                f"{record.external_task_id}: this id belongs to another job, {mine.manifest}/{mine.job_id}."
            )
        return number, mine, others

    def _store(self, row: Record, kind: str, number: int | None) -> int:
        """Insert a row, or overwrite the one with this ``number``. Returns its number."""
        columns = {
            **row._asdict(),
            "kind": kind,
            "length": task_seconds(row) if row.state is State.SUCCEEDED else None,
            "output_key": path_key(row.output_path) if row.state in MAY_BE_PAID else None,
        }
        if number is not None:
            self._set(number, {name: value for name, value in columns.items() if name not in _IDENTITY})
            return number
        return int(self._execute(_INSERT, _cells(columns)).lastrowid or 0)

    def _set(self, number: int, columns: Mapping[str, Any]) -> None:
        self._execute(_update(tuple(columns)), (*_cells(columns), number))

    def _log(
        self, number: int, before: State | None, change: Change, detail_json: str | None, at: float
    ) -> None:
        self._execute(
            _EVENT,
            (
                number,
                at,
                EVENTS.get(change.event, change.event),
                STATES[before] if before else None,
                STATES[change.to],
                None if change.code is None else str(change.code),
                change.message,
                change.request_id,
                detail_json,
            ),
        )

    def _json(self, detail: Mapping[str, Any] | None) -> str | None:
        return self._masked(json.dumps(detail, separators=(",", ":"), default=str)) if detail else None

    def _execute(self, sql: str, values: Sequence[Any]) -> sqlite3.Cursor:
        return database.execute(self._writer, sql, values)


_IDENTITY = frozenset({"external_task_id", "base_id"})


def _cells(columns: Mapping[str, Any]) -> list[Any]:
    return [packed(value) if name in PACKED else value for name, value in columns.items()]


@functools.cache
def _update(names: tuple[str, ...]) -> str:
    return f"UPDATE tasks SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"
