"""What ends a command before its work is done: signals, and the time that ``--until`` names. One way for all of them.

Before anything is begun, what comes is raised. Later the first ends the work gracefully and the second at once; where
even that takes too long, because a disk doesn't answer, the process ends all the same: the ledger is safe either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Self

from batchgen.cli.output import Output
from batchgen.errors import BatchgenError, EndedEarly, Interrupted

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
AFTER_DEADLINE = 4 * 3600.0  # seconds: three for a task that runs then, one for its clip
LONGEST = 1e8  # seconds that a timer is set for
LAST_RESORT = 30.0  # seconds besides those that the last requests may take
TO_SPEAK = 5.0  # seconds that the last words may take
AT_ONCE = "stopped at once; what was open is in the ledger, run again"


class End:
    """When a command ends whatever still runs: at ``until`` (Unix seconds), or never for None; ``why`` says that it came.

    ``timeout``: seconds that a request may take; the process is gone a few times that after ``until``.
    """

    def __init__(
        self, out: Output, until: float | None = None, why: str = "its end has come (--until)", *, timeout: float = 60.0
    ) -> None:  # fmt: skip
        self._out, self._until, self._why, self._timeout = out, until, why, timeout
        outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # under nohup
        self._signals = [number for number in SIGNALS if not (outlives and number == signal.SIGHUP)]

    @property
    def left(self) -> float:
        """Seconds until then, never below 0."""
        return LONGEST if self._until is None else min(max(self._until - time.time(), 0.0), LONGEST)

    def __enter__(self) -> Self:
        """From here on what comes is raised: Interrupted, and EndedEarly once it is watched for."""
        for number in self._signals:
            signal.signal(number, _interrupted)
        if self._until is not None:
            signal.signal(signal.SIGALRM, self._too_late)
            threading.Thread(target=self._last_resort, name="end", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over()

    def watch(self) -> None:
        """The ledger is ours: from here on the end is heard as well."""
        if self._until is not None:
            signal.setitimer(signal.ITIMER_REAL, max(self.left, 1e-6))

    def over(self) -> None:
        """The work is done: what is left is to say so."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    @contextlib.contextmanager
    def graceful(self, end: Callable[[BatchgenError], object]) -> Iterator[None]:
        """From here on ``end`` is told what comes first; a second signal ends the process at once."""
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
        if self._until is not None:
            loop.add_signal_handler(signal.SIGALRM, end, EndedEarly(self._why, kind="until"))
        try:
            yield
        finally:
            self.over()
            for number in (*self._signals, signal.SIGALRM):
                loop.remove_signal_handler(number)

    def _last_resort(self) -> None:
        time.sleep(self.left + 3 * self._timeout + LAST_RESORT)
        text = f"batchgen: {self._why}, and something on this machine doesn't answer: {AT_ONCE}"
        words = threading.Thread(target=self._out.say, args=(text,), daemon=True)
        words.start()
        words.join(TO_SPEAK)  # what doesn't answer may be who reads this
        os._exit(EndedEarly.exit_code)

    def _too_late(self, number: int, frame: FrameType | None) -> None:
        raise EndedEarly(f"{self._why} before anything was begun", kind="until")


def _interrupted(number: int, frame: FrameType | None) -> None:
    found = signal.Signals(number)
    raise Interrupted(f"stopped by {found.name} before anything was begun; run again", SIGNALS[found])
