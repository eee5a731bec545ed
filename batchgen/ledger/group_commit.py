"""Group commit: operations that wait while a commit runs are written by the next one, with one fsync for all.

The statements run on the event loop's thread and only COMMIT, which waits for the disk, runs on another. Statements
take microseconds, but sqlite3 releases the interpreter lock around each; on a thread of their own they would have
to get it back from a busy loop every time, which was measured to cut thousands of changes a second to tens.
"""

from __future__ import annotations

import collections
import contextlib
import os
import sqlite3
from collections.abc import Callable
from concurrent import futures
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from batchgen import loops
from batchgen.errors import LedgerError, LedgerLost

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

MAX_BATCH = 256  # operations per commit: they keep the event loop busy for a few milliseconds

# Errors of an operation itself: values that SQLite doesn't take, or a constraint. The disk is all right.
_FAULTS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ValueError,
    TypeError,
    ArithmeticError,
)


class _Waiting(NamedTuple):
    operation: Callable[[], Any]
    future: asyncio.Future[Any] | futures.Future[Any]  # of a caller on an event loop, or of one without


class _Done(NamedTuple):
    future: asyncio.Future[Any] | futures.Future[Any]
    result: Any
    error: LedgerError | None


class GroupCommit:
    """Writes through ``connection``, which nothing else may use meanwhile. Closing the connection is the caller's."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._files = {file: _identity(file) for file in (path, f"{path}-wal")}
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._thread = futures.ThreadPoolExecutor(1, "ledger")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._committing: tuple[list[_Done], futures.Future[Any]] | None = None
        self._lost: str | None = None
        self._closed = False

    async def write(self, operation: Callable[[], T]) -> T:
        """Run ``operation`` inside a transaction and return its result once that is on disk.

        ``operation`` depends on the database alone, and raises LedgerError before it writes anything: it may be run
        again after a rollback. Cancelling the caller neither loses nor undoes the write. Raises LedgerLost where the disk
        failed, now or before. Without an event loop, it is written before this waits for anything.
        """
        if self._closed:
            raise LedgerError(f"the ledger {self._path} is closed.")
        if (loop := loops.running()) is None:
            alone: futures.Future[T] = futures.Future()
            self._queue.append(_Waiting(operation, alone))
            self.drain()
            return alone.result()
        if self._loop is not loop:
            self.drain()  # the writes that wait from another loop, which has ended
            self._loop = loop
        future: asyncio.Future[T] = loop.create_future()
        self._queue.append(_Waiting(operation, future))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._start)  # other writes of this turn of the loop join the batch
        return await future

    def drain(self) -> None:
        """Write everything that waits, on this thread."""
        while self._committing or self._queue:
            self._finish()
            if batch := self._take():
                done = self._perform(batch)
                if done:
                    self._committing = done, self._commit()
        self._scheduled = False

    def close(self) -> None:
        """Write everything that waits; later writes are refused. The connection stays open."""
        self.drain()
        self._closed = True
        self._thread.shutdown()

    def _start(self) -> None:
        if self._committing:  # its own callback goes on
            return
        done: list[_Done] = []
        while not done and (batch := self._take()):
            done = self._perform(batch)
        if not done:
            self._scheduled = False
            return
        commit = self._commit()
        self._committing = done, commit
        loop = self._loop
        assert loop is not None
        commit.add_done_callback(lambda commit: self._call_back(loop, commit))

    def _commit(self) -> futures.Future[Any]:
        """Begin a commit. It is made on this thread where Python has begun to end, which starts no more work on others."""
        try:
            return self._thread.submit(self._connection.execute, "COMMIT")
        except RuntimeError:
            commit: futures.Future[Any] = futures.Future()
            try:
                commit.set_result(self._connection.execute("COMMIT"))
            except sqlite3.Error as error:
                commit.set_exception(error)
            return commit

    def _call_back(self, loop: asyncio.AbstractEventLoop, commit: futures.Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: drain() finishes
            loop.call_soon_threadsafe(self._committed, commit)

    def _committed(self, commit: futures.Future[Any]) -> None:
        if self._committing is not None and self._committing[1] is commit:
            self._finish()
            self._start()

    def _take(self) -> list[_Waiting]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]

    def _perform(self, batch: list[_Waiting]) -> list[_Done]:
        """Run a batch inside a transaction that is left open for its COMMIT; nothing where the ledger is lost."""
        try:
            if self._lost is None:
                for file, identity in self._files.items():
                    if _identity(file) != identity:
                        raise OSError(f"{file} was replaced or removed while it was in use")
                return self._run(batch)
        except (sqlite3.Error, OSError) as error:
            self._lose(error)
        except BaseException as error:  # a bug in an operation: raise it, and let no caller wait forever
            self._lose(error)
            self._refuse([*batch, *self._queue])
            self._queue.clear()
            raise
        self._refuse(batch)
        return []

    def _refuse(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            _resolve(_Done(waiting.future, None, LedgerLost(self._lost)))

    def _run(self, batch: list[_Waiting]) -> list[_Done]:
        """Run all operations; one that fails by itself writes nothing and stops no other."""
        failed: dict[int, LedgerError] = {}
        while True:
            self._connection.execute("BEGIN IMMEDIATE")
            done: list[_Done] = []
            for number, (operation, future) in enumerate(batch):
                if number in failed:
                    done.append(_Done(future, None, failed[number]))
                    continue
                try:
                    done.append(_Done(future, operation(), None))
                except LedgerError as error:
                    done.append(_Done(future, None, error))
                except _FAULTS as error:
                    failed[number] = LedgerError(
                        f"this can't be recorded in the ledger {self._path}: {error}."
                    )
                    failed[number].__cause__ = error
                    break  # it may have written a part
            else:
                return done
            self._connection.execute("ROLLBACK")

    def _finish(self) -> None:
        """Wait for the commit under way and give its callers their results."""
        if self._committing is None:
            return
        (done, commit), self._committing = self._committing, None
        error = commit.exception()
        if error is not None:
            self._lose(error)
            done = [_Done(future, None, LedgerLost(self._lost)) for future, _, _ in done]
        for one in done:
            _resolve(one)

    def _lose(self, error: BaseException) -> None:
        """Record that nothing can be written from here on; rolls back an open transaction."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._lost = (
            f"the ledger {self._path} can't be written any more: {error}. What it has stays true; when that is"
            " mended, run again."
        )


def _resolve(done: _Done) -> None:
    future, result, error = done
    if future.done() or (not isinstance(future, futures.Future) and future.get_loop().is_closed()):
        return  # the caller was cancelled; the write stands
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
