"""A ledger of an earlier version is brought up to date and compacted, and killed at every point of both: nothing is lost."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchgen.ledger.packing import EVENTS, PACKED, STATES
from batchgen.ledger.reader import Records
from batchgen.ledger.upkeep import compact

RECORDED = Path(__file__).parent / "recorded" / "ledger.sql"
MORE = 20  # times each row of the recorded ledger, as others


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that an earlier version wrote, with rows in all states and their history."""
    path = tmp_path_factory.mktemp("earlier") / "ledger.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(RECORDED.read_text().replace("@FOLDER@", "/home/a"))
        columns = [row[1] for row in connection.execute("PRAGMA table_info (tasks)")]
        names = ("external_task_id", "base_id", "task_id", "output_key", "digest")
        rows = connection.execute("SELECT * FROM tasks").fetchall()
        connection.execute("BEGIN")
        for number in range(1, MORE):
            for row in rows:
                cells = dict(zip(columns, row, strict=True))
                cells |= {name: f"{number}.{cells[name]}" for name in names if cells[name] is not None}
                cells["id"] += number * len(rows)
                marks = ", ".join("?" * len(cells))
                connection.execute(f"INSERT INTO tasks VALUES ({marks})", [*cells.values()])
                connection.execute(
                    "INSERT INTO events SELECT NULL, ?, at, event, from_state, to_state, code, message, request_id, detail"
                    " FROM events WHERE task = ?",
                    (cells["id"], row[columns.index("id")]),
                )
        connection.execute("COMMIT")
    return path


def content(path: Path) -> list[tuple[Any, ...]]:
    """Everything that a ledger says: rows, each with its history, and all other tables as they are."""
    with Records.read(str(path)) as ledger:
        rows: list[tuple[Any, ...]] = [(row, ledger.events(row.external_task_id)) for row in ledger.records()]
        rows.append((ledger.counts(), ledger.unusable(), ledger.moves()))
        twins = ledger.briefs.twins({row.digest for row, _ in rows[:-1]})
        rows.append((twins, [ledger.with_task(row.task_id or "") for row, _ in rows[:-1]]))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        others = [line for line in connection.iterdump() if not line.startswith('INSERT INTO "tasks"')]
        others = [
            line for line in others if "'identity'" not in line
        ]  # a random number, made by the migration
        others.sort()
        return [*rows, *((line,) for line in others if not line.startswith('INSERT INTO "events"'))]


def unpacked_cells(path: Path) -> int:
    """How many cells are as earlier versions wrote them."""
    states = ", ".join(f"'{state}'" for state in STATES)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        texts = " + ".join(f"total(typeof({name}) = 'text' AND length({name}) > 40)" for name in PACKED)
        (long,) = connection.execute(f"SELECT {texts} FROM tasks").fetchone()
        words = f"SELECT count(*) FROM events WHERE to_state IN ({states}) OR from_state IN ({states}) OR event IN ({{}})"
        (written,) = connection.execute(words.format(", ".join(f"'{event}'" for event in EVENTS))).fetchone()
        return int(long + written)


@pytest.mark.parametrize("what", ["migrate", "compact"])
def test_a_kill_at_any_point_loses_nothing_and_the_next_try_ends(
    earlier: Path, tmp_path: Path, what: str
) -> None:
    ledger = Path(shutil.copy(earlier, tmp_path / "before.db"))
    expected = content(Path(shutil.copy(earlier, tmp_path / "migrated.db")))
    if what == "compact":
        ledger = tmp_path / "migrated.db"
        assert unpacked_cells(ledger) > 500
    folder = tmp_path / "killed"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.support.kill_points", what, str(ledger), str(folder)]
    killed = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=True).stdout.split()
    assert {name.partition("-")[0] for name in killed} == {"steps", "bytes"}
    assert len(killed) > 10
    for name in killed:
        assert content(folder / name) == expected, name
        if what == "compact":
            compact(str(folder / name), temporary=str(tmp_path))
            assert (content(folder / name) == expected, unpacked_cells(folder / name)) == (True, 0), name
            assert (folder / name).stat().st_size < 0.85 * ledger.stat().st_size
