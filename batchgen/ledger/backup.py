"""Backups of a ledger: one after each run that changed it, whole or not there, the last seven of them.

A backup is older than what was paid after it. So it is marked for whoever puts it back: a run that finds the mark asks the
API for every job before its create (:func:`batchgen.run.doubts.doubtful`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
from typing import NamedTuple

from batchgen.disk import sync_folder
from batchgen.errors import LedgerError
from batchgen.ledger import database, integrity

KEPT = 7
TIME = "%Y%m%dT%H%M%SZ"  # when it was made, in its name
PAGES = 4096  # that are copied in one go
LEFT_FREE = 1 << 30  # bytes that a backup leaves of a disk; of a small one a twentieth
RESTORED = "restored"  # the mark: a note; its value is the backup that showed it, "yes" in a backup itself
#: What only grows, and with it all that matters of a ledger: the lines of runs alone are no reason for a backup.
GROWS = ("events", "verdicts", "orders", "budgets")

_NAME = re.compile(r"(?P<number>[0-9]{4,12})-[0-9]{8}T[0-9]{6}Z\.db")
#: No manifest is trusted any more, also none that was new after the backup.
MARK = (
    "DELETE FROM notes WHERE key LIKE 'doubtful:%'",
    f"INSERT OR REPLACE INTO notes VALUES ('{RESTORED}', 'yes')",
)


class Backup(NamedTuple):
    """One backup: where it is, when it was made in Unix seconds, and its size in bytes."""

    path: str
    made: float
    size: int


def folder(path: str) -> str:
    """Where the backups of the ledger at ``path`` are."""
    return f"{os.path.realpath(path)}.backups"


def backups(path: str) -> list[Backup]:
    """The ledger's backups, the oldest first. Raises OSError."""
    found = []
    for name in _names(folder(path)):
        file = os.path.join(folder(path), name)
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(file)
            found.append(Backup(file, status.st_mtime, status.st_size))
    return found


def back_up(path: str, at: str) -> str | None:
    """Copy the ledger into its folder of backups, where it has changed since the last one. Its lock must be held.

    ``at`` is the :data:`TIME` for the file's name. Returns the new file; None where nothing has changed.
    Raises LedgerError with what to do; then the backups are as they were.
    """
    target = folder(path)
    try:
        with contextlib.closing(database.open_to_read(path, None)) as source:
            _make(target)
            _clean(target)
            names = _names(target)
            with database.translated(path):
                source.execute("BEGIN")  # what is written beside the run meanwhile is in the next one
                if names and _state_of(os.path.join(target, names[-1])) == _state(source):
                    return None
                _refuse_without_room(source, target)
            number = int(names[-1].partition("-")[0]) + 1 if names else 1
            file = os.path.join(target, f"{number:04}-{at}.db")
            _copy(source, file)
        for name in names[: -(KEPT - 1)]:
            os.unlink(os.path.join(target, name))
    except OSError as error:
        raise _failed(target, f"{error.strerror}: {error.filename or target}") from error
    except sqlite3.Error as error:
        raise _failed(target, str(error)) from error
    return file


def _names(target: str) -> list[str]:
    try:
        found = filter(_NAME.fullmatch, os.listdir(target))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda name: int(name.partition("-")[0]))


def _make(target: str) -> None:
    """Make the folder of backups where there is none. It may be a link, to a folder on another disk."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(target, mode=0o700)
    integrity.check_link(target)
    status = os.stat(target)
    if not stat.S_ISDIR(status.st_mode):
        raise _failed(target, "it is no folder; move it away")
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & stat.S_IWOTH:
        raise _failed(
            target, "others can write there; make it your own (chown), closed to others (chmod 700)"
        )


def _clean(target: str) -> None:
    """Remove what a kill has left of a backup."""
    for name in os.listdir(target):
        whole, draft, _ = name.partition(".part")
        if draft and _NAME.fullmatch(whole):
            os.unlink(os.path.join(target, name))


class _State(NamedTuple):
    """What tells two states of one ledger from each other, and two ledgers."""

    version: int
    identity: str | None
    grown: tuple[int, ...]


def _state(connection: sqlite3.Connection) -> _State:
    counts = ", ".join(f"(SELECT ifnull(max(id), 0) FROM {table})" for table in GROWS)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    identity = connection.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
    return _State(version, identity and identity[0], connection.execute(f"SELECT {counts}").fetchone())


def _state_of(file: str) -> _State | None:
    """The same of a backup; None for one that can't be read, or was made by an older version."""
    try:
        with contextlib.closing(_open(file, "ro&immutable=1")) as connection:
            return _state(connection)
    except sqlite3.Error:
        return None


def _open(file: str, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{database.uri(file)}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )


def _refuse_without_room(source: sqlite3.Connection, target: str) -> None:
    (pages,) = source.execute("PRAGMA page_count").fetchone()
    (page,) = source.execute("PRAGMA page_size").fetchone()
    disk = shutil.disk_usage(target)
    left = min(LEFT_FREE, disk.total // 20)
    if disk.free < pages * page + left:
        raise _failed(
            target,
            f"it takes {pages * page / 1e6:,.1f} MB, and {disk.free / 1e6:,.1f} MB are free on that disk, of which"
            f" {left / 1e6:,.1f} MB are left alone",
        )


def _copy(source: sqlite3.Connection, file: str) -> None:
    """Copy a ledger to a file that is whole, checked, marked and synced when it gets its name."""
    draft = f"{file}.part"
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
    try:
        with contextlib.closing(_open(draft, "rw")) as copy:
            copy.execute("PRAGMA synchronous = OFF")  # it is synced once, when it is whole
            source.backup(copy, pages=PAGES, progress=lambda *_: None)  # between which Ctrl-C is heard
            copy.execute("PRAGMA journal_mode = DELETE")  # so that it can be read without files beside it
            for sql in MARK:
                copy.execute(sql)
            (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise _failed(os.path.dirname(file), f"the copy is damaged: {found}")
        _sync(draft)
        os.rename(draft, file)
        sync_folder(os.path.dirname(file))
    finally:
        for leftover in (draft, f"{draft}-journal"):
            with contextlib.suppress(OSError):
                os.unlink(leftover)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(target: str, why: str) -> LedgerError:
    return LedgerError(
        f"the ledger was not backed up to {target}: {why}. The ledger itself is whole, and earlier backups stay. The next"
        " run tries again; where there is no room, make some, or let that folder be a link to one on another disk."
    )


def newer_backup(path: str) -> str | None:
    """The last backup, where it has more than the ledger itself: an older copy was put in the ledger's place.

    One of another ledger, which was there before, doesn't count. Raises LedgerError.
    """
    try:
        names = _names(folder(path))
    except OSError:  # said where the next one is made
        names = []
    if not names:
        return None
    last = os.path.join(folder(path), names[-1])
    with contextlib.closing(database.open_to_read(path, None)) as connection, database.translated(path):
        now = _state(connection)
    then = _state_of(last)
    older = then is not None and then.identity == now.identity and any(map(int.__gt__, then.grown, now.grown))
    return last if older else None


def refuse(path: str) -> None:
    """Raise LedgerError for a backup that is about to be used as a ledger where it is: the eighth after it removes it."""
    above, name = os.path.split(os.path.realpath(path))
    if above.endswith(".backups") and _NAME.fullmatch(name):
        raise LedgerError(
            f"{path} is a backup, and will be removed in time. Copy it to where the ledger belongs; see"
            " `batchgen help operations`, Backup."
        )
