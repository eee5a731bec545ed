"""Runs a program for at most so long, with its whole process group, and keeps the end of what it prints."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

KEPT = 4096  # bytes of its output, the last ones
READ = 1 << 16  # bytes at once
GRACE = 0.2  # of its time, between SIGTERM and SIGKILL
LOOK = 0.02  # seconds between two looks whether it has ended
AFTER = 0.1  # seconds in which the last output of a program that has ended is read


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code (below 0: by that signal), the end of its output, whether its time was over.

    ``code`` is None where it didn't start; ``output`` says why.
    """

    code: int | None
    output: str
    late: bool = False


def run(
    words: Sequence[str],
    data: bytes,
    environ: Mapping[str, str],
    *,
    seconds: float,
    stopped: Callable[[], bool] = lambda: False,
    most: int = KEPT,
) -> Ended:
    """Run a program without a shell, ``data`` on its standard input, for at most ``seconds``.

    It is the leader of a process group of its own, which gets SIGTERM when its time is nearly over, or as soon as it is
    ``stopped``, and then SIGKILL. What it has put into the background lives on where it ends by itself. The last ``most``
    bytes of its output are kept.
    """
    ends = time.monotonic() + seconds
    with tempfile.TemporaryFile() as given:  # no pipe: one that isn't read would have to be waited for
        given.write(data)
        given.seek(0)
        try:
            # Named by the user, or our own, and without a shell: S603 is about foreign text.
            process = subprocess.Popen(  # noqa: S603  # as above
                words,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in its name
            return Ended(None, (error.strerror if isinstance(error, OSError) else None) or "no such program")
    assert process.stdout is not None
    kept = _Tail(most)
    with process.stdout as output:
        os.set_blocking(output.fileno(), False)
        late = not _wait(output.fileno(), process, ends - GRACE * seconds, kept, stopped)
        if late:
            _kill(process, signal.SIGTERM)
            _wait(output.fileno(), process, min(ends, time.monotonic() + GRACE) if stopped() else ends, kept)
            _kill(process, signal.SIGKILL)  # all of its group, also where its leader has ended
        with contextlib.suppress(subprocess.TimeoutExpired):  # a process in the kernel's hands dies later
            process.wait(1.0)
        _read(output.fileno(), kept, time.monotonic() + AFTER)
    return Ended(process.returncode, kept.text, late)


class _Tail:
    """The last bytes of an output."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, bytearray()

    def read(self, output: int) -> bool:
        """Read what is there. Returns whether more may come."""
        try:
            read = os.read(output, READ)
        except BlockingIOError:
            return True
        self._bytes += read
        del self._bytes[: -self._most]
        return bool(read)

    @property
    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace")


def _wait(
    output: int,
    process: subprocess.Popen[bytes],
    ends: float,
    kept: _Tail,
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Read the output until the process has ended, up to ``ends``. Returns whether it has; it isn't reaped yet."""
    reading = [output]
    while not stopped():
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        left = ends - time.monotonic()
        if left <= 0:
            return False
        ready, _, _ = select.select(reading, [], [], min(left, LOOK))
        if ready and not kept.read(output):
            reading = []
    return False


def _read(output: int, kept: _Tail, ends: float) -> None:
    """Read what a program that has ended left in the pipe, without waiting for what it started."""
    while time.monotonic() < ends and select.select([output], [], [], 0)[0]:
        if not kept.read(output):
            return


def _kill(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
