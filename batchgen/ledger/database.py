"""The ledger's SQLite file: created, opened, migrated, or refused. No row is read or written here."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from batchgen.disk import sync_folder
from batchgen.errors import LedgerError, LedgerOutdated
from batchgen.files import open_regular
from batchgen.ledger import integrity
from batchgen.ledger import migrations as schema
from batchgen.ledger.packing import unpacked

MIGRATIONS = schema.MIGRATIONS
APPLICATION_ID = int.from_bytes(b"bgen")

BUSY_SECONDS = 5.0  # how long another program may hold the file (a backup, an sqlite3 shell)
CHECKPOINT_PAGES = 4096  # 16 MiB of WAL: fewer syncs than the default, and still bounded
CACHE_KIB = 16384
log = logging.getLogger("batchgen")


def prepare(path: str, origin: str, migrations: Sequence[str]) -> None:
    """Create the ledger at ``path`` where there is none, and make it private. The lock must be held.

    It is created under another name and renamed, so an empty file at ``path`` is damage and never a new ledger.
    """
    integrity.check_owner(path, writing=True)
    if not os.path.lexists(path):
        _refuse_orphan(path)
        draft = f"{path}.new"
        for file in (draft, f"{draft}-wal", f"{draft}-shm", f"{draft}-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(_connect(draft, "rw")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _migrate(connection, migrations)
            connection.execute("INSERT INTO meta VALUES ('origin', ?)", (origin,))
        os.rename(draft, path)
        sync_folder(os.path.dirname(path))
    refuse_special(path)
    for file in (path, f"{path}-wal", f"{path}-shm"):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(file).st_mode & 0o077:
                os.chmod(file, 0o600)


def open_to_write(
    path: str, origin: str | None, migrations: Sequence[str] = MIGRATIONS, *, migrate: bool = True
) -> sqlite3.Connection:
    """The writing connection of a prepared ledger, migrated to the present version.

    ``origin`` None takes a ledger of any origin. Without ``migrate``, an older one raises LedgerOutdated.
    """
    integrity.check_owner(path, writing=True)
    integrity.warn_if_folder_is_open(path)
    connection = _connect(path, "rw")
    try:
        with translated(path):
            version = _check(connection, path, migrations)
            if version < len(migrations) and not migrate:
                raise _outdated(path)
            if origin is not None:
                _check_origin(connection, path, origin)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # macOS: reach the disk, not its cache
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            if version < len(migrations):
                (rows,) = connection.execute("SELECT ifnull(max(id), 0) FROM tasks").fetchone()
                level = logging.WARNING if os.isatty(2) else logging.INFO  # no reason for a mail
                log.log(
                    level, "%s: bringing the %s rows of an older batchgen up to date, once", path, f"{rows:,}"
                )
                _migrate(connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(
    path: str, origin: str | None, migrations: Sequence[str] = MIGRATIONS, *, unchanging: bool = False
) -> sqlite3.Connection:
    """A reading connection; it works beside a run, without one, and on a read-only medium.

    ``origin`` None takes a ledger of any origin. ``unchanging``: nobody writes it meanwhile, and SQLite's files beside it
    aren't made. Raises LedgerOutdated where it has to be migrated first.
    """
    refuse_special(path)
    integrity.check_owner(path, writing=False)
    connection = _connect(path, "ro&immutable=1" if unchanging else "ro")
    try:
        with translated(path):
            try:
                version = _check(connection, path, migrations)
            except sqlite3.OperationalError:
                if _size(f"{path}-wal") or _size(f"{path}-journal"):
                    raise
                connection.close()
                # WAL needs to write beside the file. Where that can't be, nobody else can write either.
                connection = _connect(path, "ro&immutable=1")
                version = _check(connection, path, migrations)
            if version < len(migrations):
                raise _outdated(path)
            if origin is not None:
                _check_origin(connection, path, origin)
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def meta(connection: sqlite3.Connection, path: str, key: str) -> str:
    """What the file says of itself: its ``origin`` or its ``identity``."""
    with translated(path):
        row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise damaged(
            path, "it doesn't say which API it belongs to" if key == "origin" else f"it has no {key}"
        )
    return str(row[0])


def execute(connection: sqlite3.Connection, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    """Execute a statement whose values may have lone surrogates (odd file names, hostile answers), which UTF-8 can't hold.

    Such a text is stored as a BLOB, and :func:`restored` turns it back.
    """
    try:
        return connection.execute(sql, values)
    except UnicodeEncodeError:
        return connection.execute(sql, [_storable(value) for value in values])


def restored(row: Sequence[Any]) -> Sequence[Any]:
    """A row with its texts, however they are stored."""
    blobs = _blobs(tuple(map(type, row)))
    if not blobs:
        return row
    texts = list(row)
    for number in blobs:
        texts[number] = unpacked(texts[number])
    return texts


@functools.lru_cache(maxsize=256)
def _blobs(shape: tuple[type, ...]) -> tuple[int, ...]:
    """Which cells of a row of these types are BLOBs."""
    return tuple(number for number, kind in enumerate(shape) if kind is bytes)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    return value


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn SQLite's errors into a LedgerError that says what to do."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:
        raise LedgerError(f"the ledger {path} can't be used: {error}.") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from error


def damaged(path: str, why: str) -> LedgerError:
    return LedgerError(
        f"the ledger {path} is damaged: {why}. Keep the file; `batchgen recover` rebuilds it into another"
        " (--ledger) from what the API knows."
    )


def _outdated(path: str) -> LedgerOutdated:
    return LedgerOutdated(f"the ledger {path} was written by an older batchgen.")


def _no_database(path: str) -> LedgerError:
    return LedgerError(
        f"{path} is not a ledger: it is no SQLite file. Name another with --ledger. If it was one, it is damaged:"
        " keep the file; `batchgen recover` rebuilds it into another."
    )


def make_folders(path: str) -> None:
    """Create missing folders, private to the user."""
    if not os.path.isdir(path):
        make_folders(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode=0o700)


def refuse_special(path: str) -> None:
    """Raise LedgerError where there is no regular file: opening a named pipe would wait forever."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        _refuse_orphan(path)
        raise LedgerError(f"there is no ledger at {path} yet: `batchgen run` makes it.") from None
    except OSError as error:
        raise LedgerError(f"the ledger {path} can't be opened: {error.strerror}.") from error
    if not stat.S_ISREG(mode):
        raise LedgerError(f"the ledger {path} is not a file; name one with --ledger.")
    if _size(path) < 512:  # SQLite would take such a stump for an empty database
        raise _no_database(path)
    _refuse_foreign_wal(path)


def _refuse_foreign_wal(path: str) -> None:
    """Raise LedgerError for a backup that was put beside another file's WAL, which SQLite would write into it.

    A ledger in use says in its header that it has a WAL; a backup says that it has none. It is looked at before this process
    has a connection to it: closing any descriptor of a file takes away the locks that SQLite holds on it for the process,
    and then whoever closes it next would remove the WAL.
    """
    if not _CONNECTED[os.path.realpath(path)] and _size(f"{path}-wal"):
        with open(path, "rb", opener=open_regular) as file:
            if file.read(20)[18:] == b"\x01\x01":
                raise LedgerError(
                    f"the ledger {path} is a backup, and {path}-wal beside it belongs to the ledger that was there before: it"
                    f" would damage this one. Move {path}-wal and {path}-shm away, to where that ledger is."
                )


def _refuse_orphan(path: str) -> None:
    """Raise LedgerError for a WAL without its database: it has the last changes, and a new database would destroy them."""
    if _size(f"{path}-wal"):
        raise damaged(path, f"it is gone, and {path}-wal beside it has changes that were not in it yet")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def uri(path: str) -> str:
    """The path as SQLite takes it before a ``?``."""
    return f"file:{quote(os.fsencode(path))}"


#: How many connections this process has to a file.
_CONNECTED: Counter[str] = Counter()


class _Counted(sqlite3.Connection):
    """A connection that is known by its file as long as it is open."""

    file: str | None = None

    def count(self, file: str) -> None:
        """It is one of this file, until it is closed."""
        self.file = file
        _CONNECTED[file] += 1

    def close(self) -> None:
        super().close()
        if self.file is not None:
            _CONNECTED[self.file] -= 1
            self.file = None


def _connect(path: str, mode: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"{uri(path)}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=_Counted,
        )
        connection.count(os.path.realpath(path))
        # A foreign schema can call no function with side effects, and damaged pages are found when they are read.
        connection.executescript(
            "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
        )
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger {path} can't be opened: {error}.") from error
    return connection


def _check(connection: sqlite3.Connection, path: str, migrations: Sequence[str]) -> int:
    """The file's version. Raises LedgerError where it isn't a ledger, or one of a newer version."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application == APPLICATION_ID and 0 < version <= len(migrations):
            integrity.check_schema(connection, path, migrations[:version])
            connection.execute("SELECT value FROM meta WHERE key = 'origin'").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise _no_database(path) from error
        raise
    if application != APPLICATION_ID or version < 1:
        raise LedgerError(
            f"{path} is not a ledger but the database of another program; name another with --ledger."
        )
    if version > len(migrations):
        raise LedgerError(
            f"the ledger {path} is of version {version}, written by a newer batchgen than this one, which knows"
            f" version {len(migrations)}. Use the newer program, or another --ledger."
        )
    return int(version)


def _check_origin(connection: sqlite3.Connection, path: str, origin: str) -> None:
    if (own := meta(connection, path, "origin")) != origin:
        raise LedgerError(
            f"the ledger {path} belongs to {own}, and this is {origin}: task ids of one mean nothing to the other."
            " Use another --ledger for it."
        )


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Migrate the file to the last version in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    script = "\n".join(migrations[version:])
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {len(migrations)}; COMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def unopened(path: str, error: OSError) -> LedgerError:
    """The error for a ledger that can't be opened."""
    return LedgerError(f"the ledger {path} can't be opened: {error.strerror}: {error.filename}.")
