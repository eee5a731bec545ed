"""`ledger compact`: the file gets smaller, and nothing else changes, whenever it is killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchgen.cli.quantities import shown_size
from batchgen.errors import LedgerError
from batchgen.ledger import database
from batchgen.ledger.lock import Lock
from batchgen.ledger.reader import Records
from batchgen.ledger.upkeep import compact
from tests.support.program import Desk

ROWS = 6000  # which take more than SQLite keeps in memory
_TASK = """INSERT INTO tasks (id, external_task_id, base_id, manifest, job_id, take, digest, state, kind, attempt,
    created_at, output_path, canonical) SELECT value, 'night.' || value, 'night.' || value, 'night', value, 1,
    hex(randomblob(32)), 'pending', 'pro/5', 0, 1.0, '/clips/night/' || value || '.mp4',
    '{"duration":"5","mode":"pro","prompt":"' || hex(randomblob(2400)) || '"}' FROM generated"""
_GENERATED = (
    "WITH RECURSIVE generated (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM generated LIMIT ?)"
)


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with rows and with as many empty pages, as other tables have left them."""
    path = tmp_path_factory.mktemp("loose") / "ledger.db"
    database.prepare(str(path), "https://api.example", database.MIGRATIONS)
    connection = database.open_to_write(str(path), None)
    connection.execute("CREATE TABLE passing (text TEXT)")
    connection.execute(
        f"{_GENERATED} INSERT INTO passing SELECT hex(randomblob(2400)) FROM generated", (ROWS,)
    )
    connection.execute(f"{_GENERATED} {_TASK}", (ROWS,))
    connection.execute("DROP TABLE passing")
    connection.close()
    return path


@pytest.fixture
def path(loose: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(loose, tmp_path / "ledger.db"))


def content(path: Path) -> str:
    """A digest of everything that the ledger says, by rows; texts may be packed meanwhile."""
    with Records.read(str(path)) as ledger:
        said = "".join(f"{row}\n" for row in ledger.records())
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        others = sorted(line for line in connection.iterdump() if not line.startswith('INSERT INTO "tasks"'))
        return hashlib.sha256("\n".join([said, *others]).encode()).hexdigest()


def test_the_file_gets_smaller_and_nothing_else_changes(path: Path, tmp_path: Path) -> None:
    before, size = content(path), path.stat().st_size
    done = Desk(tmp_path).run("ledger", "compact", "--ledger", str(path))
    assert (done.code, done.err) == (0, "")
    assert {one.name for one in tmp_path.iterdir()} <= {"ledger.db", "ledger.db.lock", "home"}
    assert path.stat().st_size < 0.6 * size
    assert done.out == f"{path}: {shown_size(size)} before, {shown_size(path.stat().st_size)} now\n"
    assert content(path) == before
    with Records.read(str(path)) as ledger:
        assert sum(1 for _ in ledger.records()) == ROWS


def copied(process: int, path: Path) -> int:
    """The bytes of SQLite's temporary file, which has no name any more."""
    sizes = [0]
    with contextlib.suppress(OSError):
        for one in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                if " (deleted)" in os.readlink(one.path):
                    sizes.append(os.stat(one.path).st_size)
    return max(sizes)


def brought_back(process: int, path: Path) -> int:
    """The bytes that are in the WAL."""
    with contextlib.suppress(OSError):
        return os.stat(f"{path}-wal").st_size
    return 0


@pytest.mark.parametrize(("done", "megabytes"), [(copied, 5), (brought_back, 0.1), (brought_back, 10)])
def test_a_kill_in_the_middle_loses_nothing_and_the_next_try_works(
    path: Path, tmp_path: Path, done: Callable[[int, Path], int], megabytes: float
) -> None:
    before, size = content(path), path.stat().st_size
    desk = Desk(tmp_path)
    process = desk.start("ledger", "compact", "--ledger", str(path))
    while done(process.pid, path) < megabytes * 1e6:
        assert process.poll() is None, "it ended before it was killed"
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert content(path) == before
    assert desk.run("ledger", "compact", "--ledger", str(path)).code == 0
    assert (content(path), path.stat().st_size < 0.6 * size) == (before, True)


def test_it_waits_for_nobody_and_says_who_holds_the_ledger(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    lock = Lock.acquire(f"{path}.lock")
    try:
        result = Desk(tmp_path).run("ledger", "compact", "--ledger", str(path))
    finally:
        lock.release()
    assert result.code == 75 and "another run holds the ledger: process" in result.err
    assert path.read_bytes() == before


def test_a_reader_stays_where_it_is_and_the_file_shrinks_after_it(path: Path, tmp_path: Path) -> None:
    desk, size = Desk(tmp_path), path.stat().st_size
    with Records.read(str(path)) as ledger:
        rows = ledger._reader.execute("SELECT id FROM tasks ORDER BY id")
        assert next(rows) == (1,)
        result = desk.run("ledger", "compact", "--ledger", str(path))
        assert result.code == 0 and "its file shrinks once nobody reads it" in result.out
        assert sum(1 for _ in rows) == ROWS - 1
    assert desk.run("ledger", "compact", "--ledger", str(path)).code == 0
    assert path.stat().st_size < 0.6 * size


def test_a_disk_without_room_is_told_before_anything_is_written(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(30_000_000, 0, 30_000_000)
    )
    with pytest.raises(
        LedgerError, match=r"stays as it is: to rewrite it takes .* MB .* and 30\.0 MB are free"
    ):
        compact(str(path), temporary=str(tmp_path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("megabytes", [3, 10])
def test_a_disk_that_is_full_in_the_middle_changes_nothing(
    path: Path, tmp_path: Path, megabytes: int
) -> None:
    before = content(path)
    limit = ("prlimit", f"--fsize={megabytes * 1_000_000}")  # of a file: the copy's, or the WAL's
    desk = Desk(tmp_path, program=(*limit, sys.executable, "-m", "batchgen"))
    result = desk.run("ledger", "compact", "--ledger", str(path))
    assert (result.code, result.out) == (2, "")
    assert "stays as it was; it can't be rewritten" in result.err
    assert content(path) == before


def test_a_damaged_ledger_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size * 3 // 4 // 4096 * 4096)
        file.write(os.urandom(40_960))
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="is damaged"):
        compact(str(path), temporary=str(tmp_path))
    assert path.read_bytes() == before


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = Desk(tmp_path).run("ledger", "compact", "--ledger", str(tmp_path / "none.db"))
    assert result.code == 2 and "there is no ledger at" in result.err
    assert not (tmp_path / "none.db").exists()
