"""The ledger's backups: made after a run that changed it, whole or not there; and one that is put back pays nothing twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from batchgen.errors import LedgerError
from batchgen.ledger import backup, database
from batchgen.ledger.reader import REHEARSAL, Records
from batchgen.ledger.writer import Ledger
from batchgen.run.clock import Clock
from batchgen.run.recording import new_run, recorded
from tests.machine.test_runs import FAST, QUICK, urls
from tests.support.program import Desk, Server, sandbox

AT = "20261129T063012Z"
NIGHT = ("run", *QUICK, "m.yaml")


def made(path: Path) -> list[str]:
    return [os.path.basename(one.path) for one in backup.backups(str(path))]


@pytest.fixture
def ledger(desk: Desk) -> Path:
    path = desk.folder / "state" / "ledger.db"
    desk.env["BATCHGEN_LEDGER"] = str(path)
    return path


def filled(path: Path) -> Path:
    """A ledger with one row that is downloaded and its history."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database.prepare(str(path), "https://api.example", database.MIGRATIONS)
    with closing(database.open_to_write(str(path), None)) as connection:
        connection.execute(
            "INSERT INTO tasks (id, external_task_id, base_id, manifest, job_id, take, digest, state, kind, attempt,"
            " created_at, output_path, canonical) VALUES (1, 'm.a', 'm.a', 'm', 'a', 1, 'd', 'pending', 'pro/5', 0, 1.0,"
            ' \'/clips/m/a.mp4\', \'{"duration":"5","mode":"pro","prompt":"x"}\')'
        )
        happened(connection)
    return path


def happened(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO events (task, at, event, to_state) VALUES (1, 1.0, 'intent', 'submitting')"
    )


def again(path: Path) -> None:
    """One more change in the ledger."""
    with closing(database.open_to_write(str(path), None)) as connection:
        happened(connection)


# -- when, and what ----------------------------------------------------------------------------------------------------


def test_a_run_that_changes_the_ledger_backs_it_up_and_another_one_does_not(desk: Desk, ledger: Path) -> None:
    desk.write("m.yaml", urls(2))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run(*NIGHT).code == 0
        (first,) = backup.backups(str(ledger))
        assert desk.run(*NIGHT).code == 0 and desk.run("collect", *QUICK).code == 0
        assert backup.backups(str(ledger)) == [first]
        assert desk.run("retake", "--keep", "j0").code == 0  # beside a run: the next one backs it up
        assert desk.run(*NIGHT).code == 0
        assert len(backup.backups(str(ledger))) == 2
    with Records.read(first.path) as then, Records.read(str(ledger)) as now:
        assert list(then.records()) == list(now.records())
    assert os.stat(first.path).st_mode & 0o777 == 0o600
    assert os.stat(backup.folder(str(ledger))).st_mode & 0o777 == 0o700
    assert sorted(os.listdir(backup.folder(str(ledger)))) == made(ledger)


def test_a_rehearsal_is_not_backed_up(tmp_path: Path) -> None:
    async def night(path: Path, rehearsal: bool) -> None:
        with Ledger.open(str(path), origin="https://api.example") as ledger:
            if rehearsal:
                await ledger.set_note(REHEARSAL, "yes")
            async with recorded(ledger, new_run(Clock(), "run", ())) as recording:
                recording.facts = {"stopped": []}

    for name, rehearsal in (("real", False), ("rehearsal", True)):
        path = filled(tmp_path / name / "ledger.db")
        asyncio.run(night(path, rehearsal))
        assert len(made(path)) == (not rehearsal)


def test_the_last_seven_are_kept(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.db")
    written = []
    for _ in range(9):
        again(path)
        written.append(backup.back_up(str(path), AT))
    assert [one.path for one in backup.backups(str(path))] == written[-7:]
    assert os.path.basename(str(written[-1])) == f"0009-{AT}.db"  # a clock that goes back changes no order


def test_files_of_others_in_the_folder_stay(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.db")
    folder = Path(backup.folder(str(path)))
    folder.mkdir(mode=0o700)
    (folder / "mine.db").write_text("mine")
    (folder / f"0003-{AT}.db.part").write_text("of a kill")
    (folder / f"0003-{AT}.db.part-journal").write_text("of a kill")
    backup.back_up(str(path), AT)
    assert sorted(os.listdir(folder)) == [f"0001-{AT}.db", "mine.db"]


def test_the_folder_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.db")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    os.symlink(tmp_path / "elsewhere", backup.folder(str(path)))
    backup.back_up(str(path), AT)
    assert os.listdir(tmp_path / "elsewhere") == [f"0001-{AT}.db"]


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_backup_that_fails_is_a_warning_and_changes_no_exit_code(desk: Desk, ledger: Path) -> None:
    desk.write("m.yaml", urls(1))
    ledger.parent.mkdir()
    Path(backup.folder(str(ledger))).write_text("no folder")
    with sandbox(desk.folder, *FAST) as server:
        result = desk.against(server).run(*NIGHT)
    assert result.code == 0 and [row["state"] for row in desk.export()] == ["downloaded"]
    assert (
        "WARNING the ledger was not backed up" in result.err and "it is no folder; move it away" in result.err
    )


def test_a_disk_that_is_nearly_full_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "ledger.db")
    first = backup.back_up(str(path), AT)
    again(path)
    disk = shutil.disk_usage(tmp_path)
    tight = disk._replace(free=min(backup.LEFT_FREE, disk.total // 20) + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: tight)
    with pytest.raises(LedgerError, match="are free on that disk, of which .* MB are left alone"):
        backup.back_up(str(path), AT)
    assert [one.path for one in backup.backups(str(path))] == [first]


def test_a_folder_that_others_can_write_to_gets_none(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.db")
    os.mkdir(backup.folder(str(path)))
    os.chmod(backup.folder(str(path)), 0o777)
    with pytest.raises(LedgerError, match="chmod 700"):
        backup.back_up(str(path), AT)


def test_a_damaged_ledger_replaces_no_backup(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.db")
    first = backup.back_up(str(path), AT)
    again(path)
    with closing(database.open_to_read(str(path), None)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'events_task'"
        ).fetchone()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
    with open(path, "r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xff" * page)
    with pytest.raises(LedgerError, match="not backed up"):
        backup.back_up(str(path), AT)
    assert [one.path for one in backup.backups(str(path))] == [first]
    assert os.listdir(backup.folder(str(path))) == [os.path.basename(str(first))]


def test_killed_anywhere_a_backup_is_whole_or_not_there_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.db")
    first = str(backup.back_up(str(path), AT))
    again(path)
    before = path.read_bytes()
    folder = tmp_path / "killed"
    folder.mkdir()
    shutil.copytree(backup.folder(str(path)), folder / "before")
    points = subprocess.run(
        [sys.executable, "-m", "tests.support.kill_points", "backup", str(path), str(folder)],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout.split()
    assert len(points) > 10 and path.read_bytes() == before
    left = 0
    for point in points:
        killed = folder / point
        found = set(os.listdir(backup.folder(str(killed))))
        whole = {name for name in found if name.endswith(".db")}
        left += bool(found - whole)
        assert os.path.basename(first) in whole
        for name in whole:
            with closing(
                sqlite3.connect(f"file:{backup.folder(str(killed))}/{name}?mode=ro", uri=True)
            ) as copy:
                assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)], (point, name)
        again(killed)
        backup.back_up(str(killed), AT)
        assert all(name.endswith(".db") for name in os.listdir(backup.folder(str(killed)))), point
    assert left > 3  # of the kills, some came in the middle


# -- a backup that is put back -----------------------------------------------------------------------------------------

RETRY = ("run", *QUICK, "--retry-failed", "--retry-wait", "0.05", "m.yaml")


class Restored(NamedTuple):
    desk: Desk
    ledger: Path
    server: Server

    def put_back(self, copy: str) -> None:
        """As the manual says."""
        for name in ("", "-wal", "-shm"):
            if os.path.exists(f"{self.ledger}{name}"):
                os.rename(f"{self.ledger}{name}", f"{self.ledger}{name}.old")
        shutil.copyfile(copy, self.ledger)


def sent(server: Server) -> int:
    """The creates that were sent; this API refuses one of an id that it has, and others may not."""
    return sum(entry.kind == "create" for entry in server.entries())


def two_nights(desk: Desk, ledger: Path, server: Server) -> Restored:
    """A first night whose jobs are refused, failed, not created and done; a second one, which does the rest, and more."""
    desk.against(server).write("m.yaml", urls(4))
    faults = ["refuse_policy@1", "task_fails_outage@2", "balance@4"]
    server.ask("faults", {"add": faults})
    assert desk.run("run", *QUICK, "--concurrency", "1", "--retry-wait", "1h", "m.yaml").code == 3
    assert sorted(row["state"] for row in desk.export()) == ["downloaded", "failed", "pending", "rejected"]
    server.ask("faults", {"clear": True})
    desk.write("m.yaml", urls(5))
    return Restored(desk, ledger, server)


@pytest.mark.parametrize("marked", [True, False], ids=["of ours", "of sqlite3"])
def test_what_was_created_after_a_backup_is_not_created_again(desk: Desk, ledger: Path, marked: bool) -> None:
    with sandbox(desk.folder, *FAST) as server:
        night = two_nights(desk, ledger, server)
        copy = str(desk.folder / "copy.db")
        if marked:
            shutil.copyfile(backup.backups(str(ledger))[-1].path, copy)
        else:
            with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        assert desk.run(*RETRY).code == 0
        paid, before = server.accepted(), sent(server)
        shutil.rmtree(desk.folder / "clips", ignore_errors=True)  # which would tell, too
        night.put_back(copy)
        if marked:  # its own mark tells, away from the other backups
            shutil.rmtree(backup.folder(str(ledger)))
        states = {row["job_id"]: row["state"] for row in desk.export()}
        assert {states["j0"], states["j2"], states["j3"]} == {"rejected", "failed", "pending"}
        for job in ("j0", "j3", "j2"):  # each on its own: the first that is found ends the creating of all
            alone = desk.run(*RETRY, "--only", job)
            assert sent(server) == before, f"paid twice: {states[job]}"
            assert marked or job != "j0" or "is older than its backup" in alone.err
        restored = desk.run(*RETRY)
        assert sent(server) == before and restored.code in (0, 5)
        assert desk.run("recover", "m.yaml").code == 0
        assert desk.run(*RETRY).code == 0 and server.accepted() == paid
        assert sum(row["state"] == "downloaded" for row in desk.export()) == 5
        desk.write("m.yaml", urls(6))  # and it goes on
        assert desk.run(*NIGHT).code == 0 and len(server.accepted()) == len(paid) + 1


def test_where_lookups_prove_nothing_a_backup_creates_nothing_before_a_person_was_told(
    desk: Desk, ledger: Path
) -> None:
    desk.write("m.yaml", urls(2))
    with sandbox(desk.folder, *FAST, "--no-lookups", "--fault", "refuse_policy@1") as server:
        night = Restored(desk.against(server), ledger, server)
        assert desk.run("run", *QUICK, "--concurrency", "1", "m.yaml").code == 1
        (first,) = backup.backups(str(ledger))
        copy = shutil.copyfile(first.path, desk.folder / "copy.db")
        assert desk.run(*RETRY).code == 0
        before = sent(server)
        for clips in desk.folder.rglob("clips.jsonl"):  # which would tell, too
            clips.unlink()
        night.put_back(str(copy))
        restored = desk.run(*RETRY)
        assert sent(server) == before, "paid twice"
        assert restored.code == 5 and "batchgen recover" in restored.err
        with Records.read(str(ledger)) as records:
            assert records.note("doubtful:m") is None  # another run would do the same
        told = desk.run("recover", "m.yaml")
        assert told.code == 5 and "look into the vendor's console" in told.err
        with Records.read(str(ledger)) as records:
            assert records.note("doubtful:m") == "yes"  # as where a manifest is new: the person decides


def test_a_lookup_that_says_nothing_creates_nothing_of_a_backup(desk: Desk, ledger: Path) -> None:
    """Its answers don't say whose a task is: they are believed once lookups are seen to work, which is found out before."""
    with sandbox(desk.folder, *FAST, "--dialect", "wrapped", "--no-unique") as server:
        night = two_nights(desk, ledger, server)
        copy = shutil.copyfile(backup.backups(str(ledger))[-1].path, desk.folder / "copy.db")
        assert desk.run(*RETRY).code == 0
        paid = server.accepted()
        for clips in desk.folder.rglob("clips.jsonl"):  # which would tell, too
            clips.unlink()
        night.put_back(str(copy))
        assert desk.run("recover", "m.yaml").code == 0  # which would ask again and again
        assert sum(row["task_id"] is not None for row in desk.export()) == len(paid)
        night.put_back(str(copy))
        restored = desk.run(*RETRY)
        assert server.accepted() == paid, "paid twice"
        assert restored.code in (0, 5)


def test_each_older_copy_that_is_put_back_is_recognised_not_the_first_alone(desk: Desk, ledger: Path) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST, "--no-unique") as server:
        night = Restored(desk.against(server), ledger, server)
        copy = desk.folder / "copy.db"
        for count in (2, 3):
            server.ask("faults", {"add": ["refuse_policy=1"]})
            desk.write("m.yaml", urls(count))
            assert desk.run(*RETRY).code == 1
            with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            server.ask("faults", {"clear": True})
            assert desk.run(*RETRY).code == 0
            paid = server.accepted()
            for clips in desk.folder.rglob("clips.jsonl"):  # which would tell, too
                clips.unlink()
            night.put_back(str(copy))
            restored = desk.run(*RETRY)
            assert server.accepted() == paid, "paid twice"
            assert restored.code in (0, 5) and "is older than its backup" in restored.err
            assert desk.run("recover", "m.yaml").code == 0
            assert desk.run(*RETRY).code == 0 and server.accepted() == paid


def test_a_backup_that_is_put_beside_anothers_wal_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.db")
    copy = backup.back_up(str(path), AT)
    with closing(sqlite3.connect(path)) as other:  # as after a kill: its WAL stays
        other.execute("PRAGMA wal_autocheckpoint = 0")
        happened(other)
        other.commit()
        shutil.copyfile(f"{path}-wal", tmp_path / "wal")
    shutil.copyfile(str(copy), path)
    shutil.copyfile(tmp_path / "wal", f"{path}-wal")
    with pytest.raises(LedgerError, match="belongs to the ledger that was there before"):
        Records.read(str(path))
    os.unlink(f"{path}-wal")
    with Records.read(str(path)) as ledger:
        assert [row.external_task_id for row in ledger.records()] == ["m.a"]


def test_a_look_at_a_ledger_takes_no_lock_from_the_run_that_has_it(tmp_path: Path) -> None:
    """Else another process that is done with the ledger removes the WAL, which the run then has lost."""
    path = str(filled(tmp_path / "ledger.db"))
    with closing(database.open_to_write(path, None)) as run:
        happened(run)
        assert os.path.getsize(f"{path}-wal")
        database.open_to_read(path, None).close()
        other = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM events').fetchall()"
        subprocess.run([sys.executable, "-c", other, path], check=True)
        assert os.path.getsize(f"{path}-wal")


def test_a_backup_is_not_written_where_it_lies(desk: Desk, ledger: Path) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run(*NIGHT).code == 0
        (one,) = backup.backups(str(ledger))
        for arguments in (NIGHT, ("retake", "j0")):
            refused = desk.run(*arguments[:1], "--ledger", one.path, *arguments[1:])
            assert refused.code == 2 and "is a backup, and will be removed in time" in refused.err
        assert desk.run("status", "--ledger", one.path).code == 0
    assert os.listdir(backup.folder(str(ledger))) == [os.path.basename(one.path)]
