"""The ledger as its one writer sees it.

A write returns once it is on disk; writes that wait at the same time share one fsync (:mod:`batchgen.ledger.group_commit`).
:mod:`batchgen.ledger.transitions` says which changes of rows are allowed, :mod:`batchgen.ledger.changes` makes them, and
reads are in :mod:`batchgen.ledger.reader`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from batchgen.ledger import backup, database, integrity, runs
from batchgen.ledger.changes import Changes
from batchgen.ledger.group_commit import GroupCommit
from batchgen.ledger.lock import Lock
from batchgen.ledger.orders import Followed, follow
from batchgen.ledger.reader import Records
from batchgen.ledger.renames import JobName
from batchgen.ledger.rows import COLUMNS, image_cells, path_key, to_record
from batchgen.ledger.runs import RunRecord
from batchgen.models import Change, ImageFile, Manifest, Record, Unusable

Clock = Callable[[], float]

_FIND_BY = f"SELECT {', '.join(COLUMNS)} FROM tasks WHERE"


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
        self._commits, self._changes = GroupCommit(writer, path), Changes(writer, masked)

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
        backup.refuse(path)
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

    def back_up(self) -> str | None:
        """Make a backup, where anything has changed since the last one: see :func:`batchgen.ledger.backup.back_up`."""
        return backup.back_up(self.path, time.strftime(backup.TIME, time.gmtime(self._clock())))

    async def distrust(self, newer: str) -> None:
        """Mark this ledger as a copy from before some of its creates; ``newer`` is the backup that shows it."""

        def write() -> None:
            for sql in backup.MARK:
                self._writer.execute(sql)
            self._writer.execute("UPDATE notes SET value = ? WHERE key = ?", (newer, backup.RESTORED))

        await self._commits.write(write)

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
        kind, text, at, run = record.kind, self._changes.detail(detail), self._clock(), self._run
        row = record._replace(image=self._masked(record.image)) if record.image else record
        return await self._commits.write(
            lambda: self._changes.begin(row, kind, text, at, ordered=ordered, run=run)
        )

    async def apply(self, change: Change) -> Record:
        """Change a row's state, as :func:`batchgen.ledger.transitions.advance` allows. Returns the row. Raises TransitionError."""
        detail, at = self._changes.detail(change.detail), self._clock()
        return await self._commits.write(lambda: self._changes.apply(change, detail, at))

    async def import_row(self, record: Record, change: Change) -> Record:
        """Record a task found at the API: as a new row, or in one that has no task yet.

        ``change.to`` is submitted, succeeded or failed. Raises TransitionError, also where the row has a task.
        """
        kind, detail, at = record.kind, self._changes.detail(change.detail), self._clock()
        return await self._commits.write(lambda: self._changes.import_row(record, kind, change, detail, at))

    async def rename(self, changes: Sequence[Change]) -> list[Record]:
        """Change the ``output_path`` of these rows, all at once, so that they may swap their paths.

        ``output_path`` is among each change's values. Where a clip lies at the path that its row had, its move to the
        new path is recorded with the change (:meth:`Records.moves`); any other clip stays where it is.
        """
        at = self._clock()
        return await self._commits.write(lambda: self._changes.rename(changes, at))

    async def moved(self, change: Change) -> Record:
        """Record that a clip has been moved, or that its move was dropped."""
        detail, at = self._changes.detail(change.detail), self._clock()
        return await self._commits.write(lambda: self._changes.moved(change, detail, at))

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

    def _write_all(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        for row in rows:
            database.execute(self._writer, sql, row)
