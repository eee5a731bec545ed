"""Migrates and compacts a ledger's whole file, under its lock."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from batchgen.errors import LedgerBusy, LedgerError, LedgerOutdated
from batchgen.ledger import database, integrity
from batchgen.ledger.lock import Lock
from batchgen.ledger.packing import EVENTS, PACKED, STATES, packed

AT_ONCE = 5_000  # rows that are packed in one transaction


def bring_up_to_date(path: str, outdated: LedgerOutdated) -> None:
    """Migrate a ledger of an older version; ``outdated`` is the error that said so. Raises LedgerError and LedgerBusy."""
    try:
        with _locked(path):
            database.open_to_write(path, None).close()
    except LedgerBusy as error:
        raise LedgerBusy(f"{outdated} It is brought up to date once it is free, and {error}") from error
    except LedgerError as error:
        raise LedgerError(
            f"{outdated} It can't be brought up to date where it is: {error} Where it can't be written, copy it to"
            " where it can, and name the copy with --ledger."
        ) from error


class Compacted(NamedTuple):
    """A ledger's size in bytes before and after. ``read``: it is being read, so the file shrinks with the next run."""

    before: int
    after: int
    read: bool


def compact(path: str, *, temporary: str, lock_wait: float = 0.0) -> Compacted:
    """Pack what earlier versions wrote, and rewrite the file without its empty pages. A kill loses nothing at any moment.

    SQLite copies it to a file in the folder ``temporary``, and back through the WAL in one transaction. Raises LedgerError
    where the ledger is damaged or held by a run, or there is no room; then it stays as it was.
    """
    integrity.check_link(path)
    path = os.path.realpath(path)
    database.refuse_special(path)
    with _locked(path, lock_wait):
        connection = database.open_to_write(path, None)
        with contextlib.closing(connection), database.translated(path):
            rows = _checked(connection, path)
            _refuse_without_room(connection, path, temporary)
            before = _size(connection)
            try:
                _pack(connection)
                connection.execute("VACUUM")
            except sqlite3.OperationalError as error:
                raise LedgerError(
                    f"the ledger {path} stays as it was; it can't be rewritten: {error}."
                ) from error
            # What people say and order may have been written meanwhile; no table loses a row.
            if any(now < then for now, then in zip(_checked(connection, path), rows, strict=True)):
                raise database.damaged(path, "rows are missing after it was rewritten")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return Compacted(before, _size(connection), bool(busy))


@contextlib.contextmanager
def _locked(path: str, wait: float = 0.0) -> Iterator[None]:
    lock = Lock.acquire(f"{path}.lock", wait=wait)
    try:
        yield
    finally:
        lock.release()


def _pack(connection: sqlite3.Connection) -> None:
    """Pack what earlier versions wrote, some rows in each transaction. Texts and history say the same as before."""
    connection.create_function("packed", 1, packed, deterministic=True)
    texts = ", ".join(f"{name} = packed({name})" for name in PACKED)
    old_texts = " OR ".join(f"typeof({name}) = 'text'" for name in PACKED)
    _update(connection, "tasks", f"{texts} WHERE ({old_texts})")
    letters = (("event", EVENTS), ("from_state", STATES), ("to_state", STATES))
    words = ", ".join(f"'{state}'" for state in STATES)
    change = f"{', '.join(_letters(*one) for one in letters)} WHERE to_state IN ({words})"
    _update(connection, "events", change, guard="events_stay")


def _update(connection: sqlite3.Connection, table: str, change: str, *, guard: str | None = None) -> None:
    """Change rows, ``AT_ONCE`` in each transaction; ``guard`` is a trigger that is put back before each is committed."""
    trigger = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?"
    (last,) = connection.execute(f"SELECT ifnull(max(id), 0) FROM {table}").fetchone()
    for first in range(1, last + 1, AT_ONCE):
        with _transaction(connection):
            guards = connection.execute(trigger, (guard,)).fetchall()
            if guard is not None:
                connection.execute(f"DROP TRIGGER {guard}")
            among = (first, first + AT_ONCE - 1)
            connection.execute(f"UPDATE {table} SET {change} AND id BETWEEN ? AND ?", among)
            for (sql,) in guards:
                connection.execute(sql)


def _letters(column: str, letters: Mapping[str, str]) -> str:
    cases = " ".join(f"WHEN '{word}' THEN '{letter}'" for word, letter in letters.items())
    return f"{column} = CASE {column} {cases} ELSE {column} END"


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _checked(connection: sqlite3.Connection, path: str) -> list[int]:
    """The number of rows of each table. Raises LedgerError where SQLite finds damage."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise database.damaged(path, str(found))
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage ORDER BY name"
    )
    tables = [name.replace('"', '""') for (name,) in names.fetchall()]
    return [connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables]


def _refuse_without_room(connection: sqlite3.Connection, path: str, temporary: str) -> None:
    (empty,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    copy = _size(connection) - empty * page
    needed: dict[int, tuple[str, int]] = {}  # by disk: the ledger's WAL, and the temporary file
    for folder in (os.path.dirname(path), temporary):
        disk = os.stat(folder).st_dev
        first, so_far = needed.get(disk, (folder, 0))
        needed[disk] = first, so_far + copy
    for folder, size in needed.values():
        free = shutil.disk_usage(folder).free
        if free < size:
            raise LedgerError(
                f"the ledger {path} stays as it is: to rewrite it takes {size / 1e6:,.1f} MB on the disk of {folder} for"
                f" a while, and {free / 1e6:,.1f} MB are free. Make room there, or let SQLITE_TMPDIR name a folder on"
                " another disk for half of it."
            )


def _size(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages * page)
