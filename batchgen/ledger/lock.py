"""The kernel lock that makes one run the ledger's only writer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from batchgen.errors import LedgerBusy, LedgerError
from batchgen.files import open_regular

POLL_SECONDS = 0.1


class Lock:
    """An exclusive ``flock`` on ``path``, held until :meth:`release` or the end of the process, however it ends.

    The kernel decides who has it; the file's content only says so to people. The file is never removed: another process
    may have just locked it.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._process = os.getpid()

    @classmethod
    def acquire(
        cls,
        path: str,
        *,
        wait: float = 0.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Lock:
        """Take the lock, waiting up to ``wait`` seconds for it.

        Raises LedgerBusy, which names the holder, and LedgerError where the file can't be opened or locked.
        """
        give_up, by_the_clock = (
            time.monotonic() + wait,
            clock() + wait,
        )  # which goes on while the machine sleeps
        while (descriptor := _try(path)) is None:
            left = min(give_up - time.monotonic(), by_the_clock - clock())
            if left <= 0:
                raise LedgerBusy(f"another run holds the ledger: {_holder(path)}.")
            sleep(min(POLL_SECONDS, left))
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.fromtimestamp(clock(), UTC)
            .isoformat(timespec="seconds")
            .replace("+00:00", "Z"),
            "command": shlex.join(sys.argv),
        }
        with contextlib.suppress(
            OSError
        ):  # on a full disk nothing is written, and the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)
        return cls(path, descriptor)

    def release(self) -> None:
        with contextlib.suppress(OSError):
            if os.getpid() == self._process:  # a forked one shares the lock, and would go on holding it
                os.ftruncate(self._descriptor, 0)
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)


def _try(path: str) -> int | None:
    """The descriptor of the locked file; None where another process has the lock."""
    while True:
        try:
            descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
            )
        except OSError as error:
            raise LedgerError(f"the ledger's lock {path} can't be opened: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(descriptor)
            raise LedgerError(f"the ledger's lock {path} can't be locked: {error.strerror}.") from error
        os.close(descriptor)  # somebody removed the file after it was opened; what is at the path now counts


def _holder(path: str) -> str:
    try:
        with open(path, "rb", opener=open_regular) as file:
            holder = json.loads(file.read(10_000))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']} ({holder['command']})"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"it has locked {path} and not said who it is"
