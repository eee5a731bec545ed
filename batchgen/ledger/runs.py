"""The runs of a ledger: who they were, when, how they ended, and why they stopped. A run's line is never removed."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from batchgen.files import open_regular
from batchgen.ledger import beside, database
from batchgen.ledger.integrity import CellTypes, wrong_cell

CLOCK_CHANGES = 60.0  # seconds by which the clock may have been set since a run began


class RunRecord(NamedTuple):
    """One run. Times are Unix seconds; ``ended`` and ``exit_code`` are None where it is on, or was killed."""

    id: int
    name: str  # a UUID
    began: float
    ended: float | None
    command: str
    arguments: str  # a JSON list
    host: str
    process: int
    version: str
    exit_code: int | None
    summary: str | None  # a JSON object

    @property
    def here(self) -> bool:
        """Whether it ran on this machine."""
        return self.host == os.uname().nodename

    @property
    def on(self) -> bool:
        """Whether its process is there, as far as this machine can tell: after a boot, its number is another's."""
        if self.ended is not None or not self.here or self.began < _booted() - CLOCK_CHANGES:
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except OSError:  # another user's
            return True
        return True

    @property
    def words(self) -> tuple[str, ...]:
        """Its arguments, one by one. Raises LedgerError."""
        try:
            words = json.loads(self.arguments)
        except (ValueError, RecursionError):
            words = None
        if not isinstance(words, list):
            raise wrong_cell("runs.arguments", self.name, "is no JSON list")
        return tuple(map(str, words))

    @property
    def facts(self) -> dict[str, Any]:
        """What its summary says; empty where it has none. Raises LedgerError."""
        if self.summary is None:
            return {}
        try:
            facts = json.loads(self.summary)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            raise wrong_cell("runs.summary", self.name, "is no JSON object")
        return facts


def _booted() -> float:
    """When this machine was started, in Unix seconds; the beginning of time where it doesn't say."""
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open("/proc/stat", encoding="ascii", opener=open_regular) as file,
    ):
        return float(next(line.split()[1] for line in file if line.startswith("btime ")))
    return 0.0


_CELLS = CellTypes(RunRecord, RunRecord._fields)
_SELECT = f"SELECT {', '.join(RunRecord._fields)} FROM runs"
_INSERT = f"INSERT INTO runs VALUES ({', '.join('?' * len(RunRecord._fields))})"


class Runs:
    """Reads the runs of a ledger."""

    def __init__(self, query: Callable[[str, Sequence[Any]], Iterator[Sequence[Any]]]) -> None:
        """``query`` gives the rows that a statement finds with these values. Raises LedgerError."""
        self._query = query

    def last(self, count: int) -> list[RunRecord]:
        """The last runs, the newest first."""
        return [_to_run(row) for row in self._query(f"{_SELECT} ORDER BY id DESC LIMIT ?", (count,))]

    def all(self) -> list[RunRecord]:
        """Every run, in order."""
        return [_to_run(row) for row in self._query(f"{_SELECT} ORDER BY id", ())]

    def since(self, moment: float) -> list[RunRecord]:
        """The runs that began at this time, in Unix seconds, or later; the earliest first."""
        return [_to_run(row) for row in self._query(f"{_SELECT} WHERE began >= ? ORDER BY began", (moment,))]

    def name(self, number: int | None) -> str | None:
        """The name of the run with this number; None where there is none."""
        return next(
            (str(name) for (name,) in self._query("SELECT name FROM runs WHERE id = ?", (number,))), None
        )

    def names(self) -> dict[int, str]:
        """Every run's name by its number."""
        return {int(number): str(name) for number, name in self._query("SELECT id, name FROM runs", ())}


def the_one_on(found: Sequence[RunRecord]) -> RunRecord | None:
    """The run that is on, of these, the newest first: a run that has had the ledger since is the proof that none is."""
    for run in found:
        if run.ended is None:
            return run if run.on else None
        if "jobs" in run.facts:  # it worked, and wasn't refused
            return None
    return None


def _to_run(row: Sequence[Any]) -> RunRecord:
    _CELLS.check(row)
    return RunRecord(*row)


def insert(connection: sqlite3.Connection, run: RunRecord) -> int:
    """Write a run's line inside a transaction. Returns its number."""
    return int(database.execute(connection, _INSERT, (None, *run[1:])).lastrowid or 0)


def end(connection: sqlite3.Connection, number: int | None, at: float, code: int, summary: str) -> None:
    """Write how a run ended, inside a transaction."""
    sql = "UPDATE runs SET ended = ?, exit_code = ?, summary = ? WHERE id = ?"  # there is none that is NULL
    database.execute(connection, sql, (at, code, summary, number))


def add(path: str, run: RunRecord) -> bool:
    """Write the line of a run that never had the ledger, beside one that may have it. Raises LedgerError.

    A run that has a line already is left as it is: its own recording wrote how it ended. Returns whether it had none.
    """
    with beside.transaction(path) as connection:
        new: bool = (
            database.execute(connection, "SELECT 1 FROM runs WHERE name = ?", (run.name,)).fetchone() is None
        )
        if new:
            insert(connection, run)
        return new
