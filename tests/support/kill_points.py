"""Kills upkeep of a ledger at every point: after so many steps of SQLite, and at the write that makes a file so long.

``python -m tests.support.kill_points migrate|compact|backup LEDGER FOLDER`` leaves a copy of the ledger for each point in FOLDER as the
kill left it, and prints their names. It forks, so it is a process of its own, without threads.
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchgen.ledger import backup, database, upkeep

EACH = 100  # instructions of SQLite's machine to a step
Arm = Callable[[], None]


def migrate(path: Path) -> None:
    database.open_to_write(str(path), None).close()


def compact(path: Path) -> None:
    upkeep.AT_ONCE = 5  # so that there are many transactions
    upkeep.compact(str(path), temporary=str(path.parent))


def back_up(path: Path) -> None:
    backup.PAGES = 1  # so that there are many steps
    backup.back_up(str(path), "20261130T063012Z")


def after_steps(count: int) -> Arm:
    """Kill after so many steps, of all connections together."""
    left = itertools.count(count, -1)

    def tick() -> int:
        if next(left) <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_progress_handler(tick, EACH)
        return connection

    def arm() -> None:
        setattr(sqlite3, "connect", counted)  # noqa: B010

    return arm


def at_length(size: int) -> Arm:
    """Kill at the write that would make a file longer than this."""

    def arm() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return arm


def killed(work: Callable[[Path], None], path: Path, arm: Arm) -> bool:
    """Whether the work was killed before its end."""
    child = os.fork()
    if child == 0:
        try:
            arm()
            work(path)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "it failed"
    return False


def main(what: str, ledger: str, folder: str) -> None:
    work = {"migrate": migrate, "compact": compact, "backup": back_up}[what]
    for name, point, points in (
        ("steps", after_steps, (1.3**number for number in itertools.count())),
        ("bytes", at_length, (1000 * 1.3**number for number in itertools.count())),
    ):
        for place in sorted({int(value) for value in itertools.islice(points, 60)}):
            path = Path(folder) / f"{name}-{place}.db"
            shutil.copy(ledger, path)
            if os.path.isdir(backup.folder(ledger)):
                shutil.copytree(backup.folder(ledger), backup.folder(str(path)))
            if not killed(work, path, point(place)):
                path.unlink()
                break
            sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
