"""Checks that a ledger's file is one that batchgen made: its owner, its schema, the types of its cells.

Whoever can write into the folder can put another file there, so it is checked before anything in it is believed.
"""

from __future__ import annotations

import functools
import logging
import os
import pwd
import shlex
import sqlite3
import stat
import typing
from collections.abc import Sequence
from typing import Any

from batchgen.errors import LedgerError
from batchgen.escapes import excerpt
from batchgen.models import State

# How the paths in a row's columns must end. A clip may have been renamed by a person, so video_path may have any name.
_PATHS = {"output_path": ".mp4", "video_path": "", "output_dir": ""}
_AMOUNTS = frozenset({"estimate", "charged"})
MAX_NUMBER = 1e15  # for floats, which are seconds, and for micro-dollars: both are far below
log = logging.getLogger("batchgen")


def check_owner(path: str, *, writing: bool) -> None:
    """Raise LedgerError for writing to another user's ledger, or beside another user's WAL, which SQLite would apply.

    For reading, only warn. Files of root are trusted: root needs no ledger to do harm.
    """
    for file in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
        try:
            owner = os.stat(file).st_uid
        except OSError:
            continue  # whoever opens it says why
        if owner not in (os.geteuid(), 0):
            text = f"{file} belongs to the user {_name(owner)}, and this is {_name(os.geteuid())}"
            if writing:
                raise LedgerError(
                    f"{text}: what it says can't be trusted. Name your own ledger with --ledger, or, where it is yours,"
                    " run as that user or change its owner (chown)."
                )
            log.warning("%s: what it says may not be true", text)


def check_link(path: str) -> None:
    """Raise LedgerError where ``path`` is another user's link: it may lead to a new ledger, without what is paid."""
    try:
        link = os.lstat(path)
    except OSError:
        return
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (os.geteuid(), 0):
        raise LedgerError(
            f"{path} is a link of the user {_name(link.st_uid)}, and this is {_name(os.geteuid())}: where it leads"
            " can't be trusted. Name the ledger that you mean with --ledger."
        )


def warn_if_folder_is_open(path: str) -> None:
    """Warn where every user of the machine may replace the ledger by another file."""
    folder = os.path.dirname(path)
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        log.warning(
            "every user of this machine can exchange the ledger %s: its folder is open to all; `chmod o-w %s` ends that",
            path,
            shlex.quote(folder),
        )


def check_schema(connection: sqlite3.Connection, path: str, scripts: Sequence[str]) -> None:
    """Raise LedgerError where the schema lacks what ``scripts`` create, or has a foreign view or trigger.

    Foreign tables and indexes are allowed; nothing here reads them. Names, kinds and columns are compared, not SQL text:
    SQLite's versions write the same change in different ways.
    """
    ours, found = _built(tuple(scripts)), _parts(connection)
    foreign = {part for part in found - ours if part[0] in ("view", "trigger")}
    if missing := (ours - found) or foreign:
        kind, name, *columns = min(missing, key=str)
        what = f"{kind} {excerpt(name)}{' of these columns' if columns else ''}"
        how = "has no" if missing is not foreign else "has a"
        raise LedgerError(
            f"the ledger {path} {how} {what}, as no batchgen makes it. Keep the file and find out who changed it;"
            " `batchgen recover` rebuilds it into another (--ledger) from what the API knows."
        )


def _parts(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Kind and name of everything in a schema, with the columns of tables. Tables without pages (virtual ones) are left out."""
    parts: set[tuple[str, ...]] = set()
    for kind, name, root in connection.execute("SELECT type, name, rootpage FROM sqlite_schema"):
        if kind != "table":
            parts.add((str(kind), str(name)))
        elif root:
            rows = connection.execute("SELECT name, type, hidden FROM pragma_table_xinfo(?)", (name,))
            parts.add((kind, str(name), *(f"{column} {form} {hidden}" for column, form, hidden in rows)))
    return {part for part in parts if not part[1].startswith("sqlite_")}


@functools.cache
def _built(scripts: tuple[str, ...]) -> set[tuple[str, ...]]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript("\n".join(scripts))
        return _parts(connection)
    finally:
        connection.close()


class CellTypes:
    """Checks the types of the cells in a query's rows. Each combination of types is checked once and remembered."""

    def __init__(self, values: type, names: Sequence[str]) -> None:
        """``values`` is the class whose fields ``names`` are."""
        hints = typing.get_type_hints(values)
        self._names = names
        self._allowed = [{_stored(kind) for kind in _members(hints[name])} for name in names]
        #: The numbers and the paths of rows of these types, which have to be looked at in each row.
        self._good: dict[tuple[type, ...], tuple[list[int], list[tuple[int, str]]]] = {}

    def check(self, row: Sequence[Any]) -> None:
        """Raise LedgerError for a cell of a wrong type, a number out of range, or a path that batchgen never writes."""
        shape = tuple(map(type, row))
        numbers, paths = self._good.get(shape) or self._judge(shape, row[0])
        for number in numbers:
            if not -MAX_NUMBER < row[number] < MAX_NUMBER:
                raise wrong_cell(self._names[number], row[0], "is larger than any can be")
        for number, suffix in paths:
            path = row[number]
            if not (path.startswith("/") and path.endswith(suffix) and "/../" not in path):
                raise wrong_cell(self._names[number], row[0], "is no clip's path")

    def _judge(self, shape: tuple[type, ...], row: object) -> tuple[list[int], list[tuple[int, str]]]:
        """Which cells of a row of these types are numbers, and which are paths. Raises LedgerError for a wrong type."""
        numbers: list[int] = []
        paths: list[tuple[int, str]] = []
        for number, (name, kind, allowed) in enumerate(zip(self._names, shape, self._allowed, strict=True)):
            if kind not in allowed:
                raise wrong_cell(name, row, f"is of the type {kind.__name__}")
            if kind is float or (kind is int and name in _AMOUNTS):
                numbers.append(number)
            elif kind is str and name in _PATHS:
                paths.append((number, _PATHS[name]))
        return self._good.setdefault(shape, (numbers, paths))


def _members(hint: object) -> list[object]:
    """The types, and the members of Literals, of a union."""
    return [one for part in typing.get_args(hint) for one in _members(part)] or [hint]


def _stored(kind: object) -> type:
    """The type that the file stores a value of this type, or a member of a Literal, as."""
    return (str if kind is State else kind) if isinstance(kind, type) else type(kind)


def wrong_cell(name: str, row: object, why: str) -> LedgerError:
    """The error for a cell that can't be right. ``row`` is the row's first cell, which names it."""
    return LedgerError(
        f"the ledger is damaged: {name} of {excerpt(str(row))} {why}. Keep the file; `batchgen recover` rebuilds it into"
        " another (--ledger) from what the API knows."
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"number {user}"
