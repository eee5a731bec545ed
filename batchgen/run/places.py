"""Places for downloads: so many at once in a run, and of each host as many as it bears; the first to come is the first to go."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator

from batchgen.errors import DownloadError
from batchgen.http.addresses import origin_of
from batchgen.run.download_limit import DownloadLimit


class Place:
    """One download's turn at its host."""

    def __init__(self, host: _Host) -> None:
        self._host = host
        self._began = asyncio.get_running_loop().time()
        self._first = True

    @property
    def shared(self) -> int:
        """How many places its host has by now."""
        return self._host.limit.limit

    def received(self, count: int) -> None:
        """So many bytes have come."""
        now = asyncio.get_running_loop().time()
        lag = now - self._began if self._first else None
        self._first = False
        self._host.limit.received(count, now, lag=lag, waiting=bool(self._host.waiting))
        self._host.wake()

    def busy(self) -> None:
        """The host was too busy for it."""
        self._host.limit.busy(self._began, asyncio.get_running_loop().time())


class Places:
    """Places for at most ``most`` downloads at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all = asyncio.Semaphore(most)
        self._hosts: dict[str, _Host] = {}

    @contextlib.asynccontextmanager
    async def one(self, url: str) -> AsyncIterator[Place]:
        """Wait for a place at the host of ``url``, and hold it. A DownloadError that passes may say that the host is busy."""
        host = self._hosts.setdefault(str(origin_of(url)), _Host(self._most))
        await host.acquire()
        try:
            async with self._all:
                place = Place(host)
                try:
                    yield place
                except DownloadError as error:
                    if error.busy:
                        place.busy()
                    raise
        finally:
            host.limit.give_back()
            host.wake()


class _Host:
    """A host's limit, and who waits for it."""

    def __init__(self, most: int) -> None:
        self.limit = DownloadLimit(most)
        self.waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    async def acquire(self) -> None:
        if self.limit.free and not self.waiting:
            self.limit.take()
            return
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn had come
                self.limit.give_back()
                self.wake()
            elif turn in self.waiting:
                self.waiting.remove(turn)
            raise

    def wake(self) -> None:
        """Let those begin for whom there is room."""
        while self.waiting and self.limit.free:
            turn = self.waiting.popleft()
            if not turn.done():
                self.limit.take()
                turn.set_result(None)
