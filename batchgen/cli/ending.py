"""Ends a command before its work is done: at a signal, or at the time of ``--until``.

Before anything is begun, the end is an exception. Later the first end stops the work gracefully and a second signal ends
the process at once. Where even that takes too long, because a disk doesn't answer, the process ends all the same: the
ledger is safe either way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import NoReturn, Self

from batchgen.cli.output import Output
from batchgen.errors import BatchgenError, EndedEarly, Interrupted

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
MAX_TIMER = 1e8  # seconds; nothing is ever waited for longer
CHECK = 5.0  # seconds between looks at the wall clock, which alone goes on while the machine sleeps
LAST_RESORT = 30.0  # seconds after --until, besides those of the last requests, until the process is ended
LAST_MESSAGE = 5.0  # seconds that printing the last message may take
AT_ONCE = "stopped at once; what was open is in the ledger, run again"


class End:
    """The end of a command: by signals, and at ``until`` (Unix seconds; None: never), for which ``why`` is the message.

    ``timeout`` is how many seconds a request may take: the process is ended a few times that after ``until``.
    """

    def __init__(
        self,
        out: Output,
        until: float | None = None,
        why: str = "its end has come (--until)",
        *,
        timeout: float = 60.0,
    ) -> None:
        self._out, self._until, self._why, self._timeout = out, until, why, timeout
        self._watched = False  # whether ``until`` raises EndedEarly
        self._signals = heard()

    @property
    def left(self) -> float:
        """Seconds until ``until``, never below 0."""
        return MAX_TIMER if self._until is None else min(max(self._until - time.time(), 0.0), MAX_TIMER)

    def __enter__(self) -> Self:
        """From here on a signal raises Interrupted; ``until`` raises EndedEarly once :meth:`watch` was called."""
        for number in self._signals:
            signal.signal(number, interrupted)
        if self._until is not None:
            signal.signal(signal.SIGALRM, self._too_late)
            threading.Thread(target=self._keep, name="end", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over()

    def watch(self) -> None:
        """From here on ``until`` counts: it is called once the ledger's lock is held."""
        self._watched = True
        if self._until is not None and not self.left:
            self._raise()

    def over(self) -> None:
        """The work is done, or ends itself: ``until`` counts no more."""
        self._watched = False

    @contextlib.contextmanager
    def graceful(self, end: Callable[[BatchgenError], object]) -> Iterator[None]:
        """Inside of this, the first signal calls ``end`` with its error, and a second one ends the process.

        The work inside is over at ``until`` by itself.
        """
        import asyncio  # a run with nothing to do takes none

        loop = asyncio.get_running_loop()
        seen: list[signal.Signals] = []

        def stop(number: signal.Signals) -> None:
            if seen:
                self._out.say(f"batchgen: {AT_ONCE}")
                os._exit(SIGNALS[number])
            seen.append(number)
            end(Interrupted(f"ended by {number.name}; what was open is safe, run again", SIGNALS[number]))

        for number in self._signals:
            loop.add_signal_handler(number, stop, number)
        self.over()
        try:
            yield
        finally:
            for number in self._signals:
                loop.remove_signal_handler(number)

    def _keep(self) -> None:
        """Send the signal for ``until``, and end the process where it is still there long afterwards."""
        while left := self.left:
            time.sleep(min(left, CHECK))
        if self._watched:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        time.sleep(3 * self._timeout + LAST_RESORT)
        text = f"batchgen: {self._why}, and something on this machine doesn't answer: {AT_ONCE}"
        words = threading.Thread(target=self._out.say, args=(text,), daemon=True)
        words.start()
        words.join(LAST_MESSAGE)  # whoever reads stderr may be what doesn't answer
        os._exit(EndedEarly.exit_code)

    def _too_late(self, number: int, frame: FrameType | None) -> None:
        if self._watched:
            self._raise()

    def _raise(self) -> NoReturn:
        raise EndedEarly(f"{self._why} before anything was begun", kind="until")


def heard() -> list[signal.Signals]:
    """The signals that end a command: all of them, but the one that nohup keeps from it."""
    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNALS if not (outlives and number == signal.SIGHUP)]


def interrupted(number: int, frame: FrameType | None) -> None:
    """Handle a signal that comes before anything was begun. Raises Interrupted."""
    found = signal.Signals(number)
    raise Interrupted(f"stopped by {found.name} before anything was begun; run again", SIGNALS[found])
