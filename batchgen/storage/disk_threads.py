"""The threads of downloads: a disk that doesn't answer holds up nobody but who waits for it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from batchgen.storage.threads import in_thread

T = TypeVar("T")

LIMIT = 256  # threads, one for each download at most; a thread is only made where no other is free


class DiskThreads:
    """The threads of one run's downloads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(LIMIT, "clips")

    async def run(self, work: Callable[[], T], *, counts: bool = False) -> T:
        """Run ``work`` in one of these threads, as :func:`batchgen.storage.threads.in_thread` does."""
        return await in_thread(work, self._pool, counts=counts)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)


class DiskQueue:
    """Work on one file, done in its order by a thread while the file's bytes go on coming, ``least`` bytes at a time.

    A hop to a thread and back costs as much as writing a small clip. Nothing more is done after a failure, which ``failed``
    is told of and :meth:`done` raises.
    """

    def __init__(self, threads: DiskThreads, failed: Callable[[], None], least: int = 0) -> None:
        self.backlog = 0  # bytes that wait
        self._threads, self._failed, self._least = threads, failed, least
        self._todo: list[Callable[[], Any]] = []
        self._doing: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    def put(self, work: Callable[[], Any], size: int = 0) -> None:
        """Have ``work`` done, which takes ``size`` bytes of memory until then: once there is enough, or in :meth:`done`."""
        self._todo.append(work)
        self.backlog += size
        if self._doing is None and self.backlog >= self._least:
            self._doing = asyncio.create_task(self._work())

    async def finish(self, work: Callable[[], T]) -> T:
        """Have ``work`` done, the last. Returns its result."""
        results: list[T] = []
        self.put(lambda: results.append(work()))
        await self.done()
        return results[0]

    async def done(self) -> None:
        """Wait until everything is done, also where the caller is cancelled meanwhile. Raises what failed."""
        cancelled: asyncio.CancelledError | None = None
        while self._doing is not None or (self._todo and self._error is None):
            if self._doing is None:
                self._doing = asyncio.create_task(self._work())
            try:
                await asyncio.wait([self._doing])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        if self._error is not None:
            raise self._error

    async def _work(self) -> None:
        enough = True
        while enough:
            todo, size = self._todo, self.backlog
            self._todo = []
            doing = self._threads.run(functools.partial(_all, todo))
            (found,) = await asyncio.gather(doing, return_exceptions=True)
            if found is not None:
                self._error = found
                self._failed()
            self.backlog -= size
            enough = bool(self._todo) and self._error is None and self.backlog >= self._least
        self._doing = None


def _all(todo: list[Callable[[], Any]]) -> None:
    for work in todo:
        work()
