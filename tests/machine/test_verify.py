"""`verify`: what lies on disk against the ledger, what it says to do about each, and that a run does it without paying."""

from __future__ import annotations

import json
import os
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchgen.ledger import database
from batchgen.ledger.reader import Records
from batchgen.run.verify import Fault, Verification
from batchgen.storage.roots import Roots
from tests.machine.test_runs import FAST, QUICK, urls
from tests.support.program import Desk, sandbox

NIGHT = ("run", *QUICK, "m.yaml")


def faults(desk: Desk, *options: str, code: int) -> dict[str, str]:
    """What is found, by the file's name."""
    came = desk.run("verify", "--json", *options)
    assert came.code == code, came.out + came.err
    found: dict[str, Any] = {os.path.basename(one["path"]): one for one in came.json["findings"]}
    assert sum(one["count"] for one in came.json["counts"]) == len(came.json["findings"])
    assert all(one["message"] and one["advice"] for one in found.values())
    return {name: one["fault"] for name, one in found.items()}


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")  # which a reader of the ledger maps
    }


def test_each_fault_is_named_and_a_run_does_what_was_said(desk: Desk) -> None:
    desk.write("m.yaml", urls(5))
    clips = desk.folder / "clips/m"
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run(*NIGHT).code == 0
        paid = server.accepted()
        clean = desk.run("verify", "--deep")
        assert clean.code == 0 and clean.err == ""
        assert clean.out.startswith("5 clips compared by size and digest, ")
        assert clean.out.endswith(": all as the ledger says\n")
        assert desk.run("verify", "-q").out == ""

        (clips / "j0.mp4").unlink()
        os.truncate(clips / "j1.mp4", 100)
        with (clips / "j2.mp4").open("ab") as file:
            file.write(b"more")
        data = bytearray((clips / "j3.mp4").read_bytes())
        data[len(data) // 2] ^= 1
        (clips / "j3.mp4").write_bytes(data)
        (clips / "mine.mp4").write_bytes(b"mine")
        (clips / "notes.txt").write_text("no clip")
        before = state(desk.folder)
        found = {"j0.mp4": "missing", "j1.mp4": "short", "j2.mp4": "long", "mine.mp4": "foreign"}
        assert faults(desk, code=1) == found
        assert faults(desk, "--deep", code=1) == {**found, "j3.mp4": "changed"}
        text = desk.run("verify", "--deep")
        assert text.code == 1 and f"short: {clips}/j1.mp4: it has 100 bytes of " in text.out
        assert "costs nothing" in text.out and "1 missing, 1 short, 1 long, 1 changed, 1 foreign" in text.out
        assert state(desk.folder) == before, "it wrote something"

        (clips / "j3.mp4").rename(clips / "odd.mp4")  # as it says
        assert desk.run(*NIGHT).code == 0 and server.accepted() == paid
        left = faults(desk, "--deep", code=0)
        assert set(left.values()) == {"foreign"} and {"mine.mp4", "odd.mp4"} <= set(left)


def test_a_folder_that_cannot_be_reached_is_one_finding_and_its_clips_are_none(desk: Desk) -> None:
    desk.write("m.yaml", urls(3))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run(*NIGHT).code == 0
    ledger = desk.folder / "home/.local/state/batchgen/ledger.db"
    with closing(sqlite3.connect(ledger)) as connection, connection:  # it was a disk of its own then
        connection.execute(
            "INSERT OR REPLACE INTO notes VALUES (?, ?)",
            (f"mount:{desk.folder}/clips", str(desk.folder / "clips")),
        )
    assert faults(desk, code=1) == {"clips": "away"}
    told = desk.run("verify")
    assert "isn't" in told.out and "mount the disk" in told.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads what nobody may")
def test_a_clip_that_may_not_be_read_is_told_from_one_that_is_gone(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run(*NIGHT).code == 0
    (desk.folder / "clips/m/j0.mp4").chmod(0)
    assert faults(desk, "--deep", code=1) == {"j0.mp4": "unreadable"}


def test_without_a_ledger_it_says_so_and_makes_none(desk: Desk) -> None:
    came = desk.run("verify", "--ledger", "none.db")
    assert came.code == 2 and "there is no ledger" in came.err and not (desk.folder / "none.db").exists()


def test_its_memory_does_not_grow_with_what_is_right(tmp_path: Path) -> None:
    """Eight bytes a clip, for what is foreign: 200,000 take 2 MB, and their rows would take a hundred times as much."""
    path, rows = tmp_path / "ledger.db", 5_000
    (tmp_path / "clips/m").mkdir(parents=True)
    database.prepare(str(path), "https://api.example", database.MIGRATIONS)
    request = json.dumps({"duration": "5", "mode": "pro", "prompt": "x" * 300})
    with closing(database.open_to_write(str(path), None)) as connection:
        connection.execute(
            "WITH RECURSIVE one (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM one LIMIT ?) INSERT INTO tasks (id,"
            " external_task_id, base_id, manifest, job_id, take, digest, state, kind, attempt, created_at, task_id,"
            " output_path, output_dir, video_path, video_sha256, video_size, canonical) SELECT n, 'm.' || n, 'm.' || n,"
            " 'm', n, 1, hex(randomblob(32)), 'downloaded', 'pro/5', 1, 1.0, 't' || n, ?2 || n || '.mp4', ?3,"
            " ?2 || n || '.mp4', hex(zeroblob(32)), 1, ?4 FROM one",
            (rows, f"{tmp_path}/clips/m/", f"{tmp_path}/clips", request),
        )
    with Records.read(str(path)) as ledger, Roots() as roots:
        tracemalloc.start()
        work = Verification(ledger, roots, deep=False)
        found = sum(one.fault is Fault.MISSING for one in work)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found == work.rows == rows
    assert peak < 2_000_000, peak  # its rows at once would take thrice as much
