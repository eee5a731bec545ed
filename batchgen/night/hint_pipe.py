"""A named pipe beside the ledger, through which ``batchgen listen`` passes hints to whatever run has the ledger.

Nothing is kept: where no run reads, hints are dropped, since each run asks for all its open tasks when it begins; and where
a run is too slow, too. The pipe holds 64 KiB at most.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import orjson

from batchgen.errors import UsageError

Hear = Callable[[tuple[str, ...], bool], object]

ATOMIC = 4096  # bytes that no other writer's come between (PIPE_BUF)
READ = 1 << 16


def path_beside(ledger: str) -> str:
    return f"{os.path.realpath(ledger)}.hints"


class HintWriter:
    """Passes hints on. Raises UsageError where the pipe can't be made."""

    def __init__(self, ledger: str) -> None:
        self._path = path_beside(ledger)
        self.passed = 0  # hints that a run was there for
        try:
            with suppress(FileExistsError):
                os.mkfifo(self._path, 0o600)
            if not _is_ours(os.lstat(self._path)):
                raise UsageError(f"{self._path} is no pipe of yours; move it away")
        except OSError as error:
            raise UsageError(f"{self._path} can't be made: {error.strerror}") from None

    def pass_on(self, names: tuple[str, ...], ended: bool) -> None:
        """Pass a hint to the run that there is, if there is one."""
        line = orjson.dumps([names, ended]) + b"\n"
        if len(line) > ATOMIC:
            return
        try:
            pipe = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # nobody reads
            return
        try:
            if _is_ours(os.fstat(pipe)):
                os.write(pipe, line)
                self.passed += 1
        except OSError:  # it is full, or its reader has gone
            pass
        finally:
            os.close(pipe)


@contextmanager
def heard(ledger: str, hear: Hear) -> Iterator[bool]:
    """Hear what comes through the pipe, inside of this. Yields whether there is one."""
    try:
        # For writing, too: else it would be at its end whenever no writer has it open.
        pipe = os.open(path_beside(ledger), os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    loop = asyncio.get_running_loop()
    try:
        if not _is_ours(os.fstat(pipe)):
            yield False
            return
        loop.add_reader(pipe, _Reader(pipe, hear).read)
        try:
            yield True
        finally:
            loop.remove_reader(pipe)
    finally:
        os.close(pipe)


class _Reader:
    """Splits what comes in lines. What isn't a hint is dropped."""

    def __init__(self, pipe: int, hear: Hear) -> None:
        self._pipe, self._hear = pipe, hear
        self._rest = b""

    def read(self) -> None:
        with suppress(BlockingIOError):
            *lines, rest = (self._rest + os.read(self._pipe, READ)).split(b"\n")
            self._rest = rest[:ATOMIC]
            for line in lines:
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            names, ended = orjson.loads(line)
            good = (
                isinstance(ended, bool)
                and isinstance(names, list)
                and all(isinstance(one, str) for one in names)
            )
        except (ValueError, TypeError):
            return
        if good:
            self._hear(tuple(names), ended)


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISFIFO(status.st_mode) and status.st_uid == os.geteuid()
