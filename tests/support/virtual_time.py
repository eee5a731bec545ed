"""Virtual time: an event loop whose clock jumps to the next timer once nothing in the process has anything left to do.

Nothing is replaced but the clock. Sockets are the system's, threads are threads, and the loop waits for both: before
each jump no thread is at work, and all bytes that were sent have arrived. Whatever takes no time on the loop's clock
takes none here, however slow the machine is, so a night of hours is as long as its work takes the processor, and what
happens in it doesn't depend on how busy the machine is.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import selectors
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as pools
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
_Ends = tuple[Any, Any]

EPOCH = 1_790_000_000.0  # Unix seconds at which virtual time begins
NONE = b"\0\0\0\0"
ENDS = 60.0  # seconds of the machine's time in which any piece of work ends


class Threads:
    """The work that threads have, pools' and others'."""

    def __init__(self) -> None:
        self._jobs = 0  # of pools, from when they were submitted until all who wait for them were told
        self._changed = threading.Condition()
        self._ours = set(threading.enumerate())

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Count what is submitted meanwhile."""
        submit, run = ThreadPoolExecutor.submit, pools._WorkItem.run

        def submitting(pool: ThreadPoolExecutor, *given: Any, **named: Any) -> Any:
            self._count(1)
            try:
                return submit(pool, *given, **named)
            except BaseException:
                self._count(-1)
                raise

        def running(*given: Any) -> None:
            try:
                run(*given)
            finally:
                self._count(-1)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ThreadPoolExecutor, "submit", submitting)
            patch.setattr(pools._WorkItem, "run", running)
            yield

    def finish(self) -> None:
        """Wait until no thread is at work."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._jobs, ENDS):
                raise RuntimeError("a job of a thread pool doesn't end")
        for thread in threading.enumerate():
            waits = isinstance(thread, threading.Timer) or thread in pools._threads_queues
            if not waits and thread not in self._ours:
                thread.join(ENDS)
                if thread.is_alive():
                    raise RuntimeError(f"the thread {thread.name} doesn't end")

    def _count(self, more: int) -> None:
        with self._changed:
            self._jobs += more
            self._changed.notify_all()


class Selector(selectors.DefaultSelector):
    """A selector that waits for threads and for bytes in transit, but not for timers: ``jump`` gets that time instead."""

    def __init__(self, threads: Threads, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._threads, self._jump = threads, jump
        self._ends: dict[int, _Ends | None] = {}  # by descriptor

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        self._ends.pop(key.fd, None)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._threads.finish()
        if (found := super().select(0)) or (timeout is not None and timeout <= 0):
            return found
        gives_up = time.monotonic() + ENDS
        while self._under_way():
            if found := super().select(0.001):
                return found
            if time.monotonic() > gives_up:
                raise RuntimeError("bytes that were sent don't arrive")
        if found := super().select(0):
            return found
        if timeout is None:
            raise RuntimeError(
                "the loop would wait for ever: there is no timer, no thread at work and nothing to read"
            )
        self._jump(timeout)
        return []

    def _under_way(self) -> bool:
        """Whether a socket has sent bytes that the system has not put before another one of this loop yet."""
        waiting = [one for one in self._descriptors() if _unacknowledged(one)]
        if not waiting:
            return False
        sockets = {names: one for one in self._descriptors() if (names := self._names(one)) is not None}
        for one in waiting:
            names = self._names(one)
            other = names and sockets.get(names[::-1])
            if other is not None and _bytes(one)[0] > _bytes(other)[1]:
                return True
        return False

    def _descriptors(self) -> Iterator[int]:
        return (key.fd for key in self.get_map().values())

    def _names(self, descriptor: int) -> _Ends | None:
        """The addresses of a connection's ends, its own first; None where it is none."""
        if descriptor not in self._ends:
            with _opened(descriptor) as one:
                try:
                    self._ends[descriptor] = one.getsockname(), one.getpeername()
                except OSError:
                    self._ends[descriptor] = None
        return self._ends[descriptor]


def _unacknowledged(descriptor: int) -> bool:
    """Whether the other side's system hasn't acknowledged everything yet."""
    try:
        return fcntl.ioctl(descriptor, termios.TIOCOUTQ, NONE) != NONE
    except OSError:  # it listens
        return False


def _bytes(descriptor: int) -> tuple[int, int]:
    """How many bytes a TCP socket has sent, each counted once, and received: see ``struct tcp_info``."""
    with _opened(descriptor) as one:
        info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (received,) = struct.unpack_from("Q", info, 128)
    sent, again = struct.unpack_from("QQ", info, 200)
    return sent - again, received


@contextlib.contextmanager
def _opened(descriptor: int) -> Iterator[socket.socket]:
    one = socket.socket(fileno=descriptor)
    try:
        yield one
    finally:
        one.detach()


class Loop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, which begins at 0."""

    def __init__(self, threads: Threads) -> None:
        self._virtual = 0.0
        self.back = 0.0  # seconds that the wall clock was set back; negative: the machine slept for so long
        super().__init__(Selector(threads, self._jump))

    def time(self) -> float:
        return self._virtual

    def now(self) -> float:
        """Unix seconds."""
        return EPOCH + self._virtual - self.back

    def _jump(self, seconds: float) -> None:
        self._virtual += seconds


def run(main: Callable[[Loop], Coroutine[Any, Any, T]]) -> T:
    """Run ``main(loop)`` to its end in virtual time."""
    threads = Threads()
    with threads.watched(), asyncio.Runner(loop_factory=lambda: Loop(threads)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        return runner.run(main(loop))
