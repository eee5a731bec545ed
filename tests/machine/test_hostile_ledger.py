"""A ledger that somebody else made or changed: refused in one sentence, before anything in it is believed or run."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import sqlite3
import stat
import zlib
from pathlib import Path

import pytest

from batchgen.errors import LedgerError
from batchgen.ledger import database, integrity
from batchgen.ledger.database import MIGRATIONS
from batchgen.ledger.packing import LONGEST, unpacked
from batchgen.ledger.writer import Ledger
from tests.support.program import KEY, Desk, sandbox, until

QUICK = ("--poll-interval", "0.05", "--timeout", "1", "--settle", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose ledger has one clip that came home and one task that still runs; its API is gone."""
    desk = Desk(tmp_path_factory.mktemp("made"))
    jobs = [
        {"id": name, "model_name": "kling-v3", "image": f"https://example.com/{name}.png", "prompt": "x"}
        for name in ("home", "open")
    ]
    desk.write("m.yaml", json.dumps({"version": 1, "concurrency": 1, "jobs": jobs}))
    with sandbox(desk.folder, "--task-seconds", "0", "--fault", "task_never_ends@2") as server:
        desk.against(server).run("run", *QUICK, "--submit-only", "m.yaml")
        process = desk.start("collect", *QUICK)
        until(lambda: "downloaded" in [row["state"] for row in desk.export()])
        process.terminate()
        desk.finish(process)
        (desk.folder / "url").write_text(server.url)
    return desk.folder


@pytest.fixture
def desk(made: Path, desk: Desk) -> Desk:
    shutil.copytree(made, desk.folder, dirs_exist_ok=True)
    desk.env |= {"POWERTOKENS_API_BASE": (made / "url").read_text(), "POWERTOKENS_API_KEY": KEY}
    return desk


def ledger(desk: Desk) -> Path:
    return desk.folder / "home" / ".local" / "state" / "batchgen" / "ledger.db"


def alter(desk: Desk, *statements: str) -> None:
    with sqlite3.connect(ledger(desk)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.create_function("unpacked", 1, unpacked)
        for statement in statements:
            connection.execute(statement)
    connection.close()


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS value, x AS key FROM n"


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["ALTER TABLE tasks RENAME TO kept", f"CREATE VIEW tasks AS {ENDLESS}"], "tasks"),
        (["DROP TABLE meta", f"CREATE VIEW meta AS {ENDLESS}"], "meta"),
        (["CREATE VIEW more AS SELECT 1"], "has a view more"),
        (["CREATE TRIGGER mine AFTER UPDATE ON tasks BEGIN DELETE FROM notes; END"], "has a trigger mine"),
        (["DROP TRIGGER events_stay"], "has no trigger events_stay"),
        (["DROP TABLE unusable"], "has no table unusable"),
        (["DROP TABLE notes", "CREATE VIRTUAL TABLE notes USING fts5(key, value)"], "has no table notes"),
        (["ALTER TABLE tasks ADD COLUMN more AS (upper(task_id))"], "table tasks of these columns"),
    ],
)
def test_a_schema_that_no_batchgen_makes_is_refused(desk: Desk, statements: list[str], words: str) -> None:
    alter(desk, *statements)
    for command in (["status"], ["export"], ["collect", *QUICK], ["run", *QUICK, "m.yaml"]):
        result = desk.run(*command)
        assert result.code == 2, (command, result.err)
        assert words in result.err and "Traceback" not in result.err


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE mine (x)", "CREATE INDEX mine ON tasks (created_at)", "ANALYZE"]
)
def test_what_a_person_added_for_queries_of_their_own_is_left_alone(desk: Desk, statement: str) -> None:
    alter(desk, statement)
    assert desk.run("status").code == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "'dreaming'"),
        ("created_at", "'yesterday'"),
        ("take", "'one'"),
        ("take", "1.5"),
        ("canonical", "NULL"),
        ("canonical", "'{'"),
        ("canonical", "'7'"),
        ("canonical", "'{}'"),
        ("canonical", "json_set(unpacked(canonical), '$.mode', 7)"),
        ("canonical", "json_set(unpacked(canonical), '$.multi_prompt', json('[7]'))"),
        ("canonical", "json_set(unpacked(canonical), '$.watermark_info', 7)"),
        ("canonical", "json_set(unpacked(canonical), '$.image', json('{}'))"),
        ("estimate", "9e999"),
        ("created_at", "-9e999"),
        ("manifest", "x'ff'"),
        ("manifest", "x'80'"),
        ("canonical", "substr(canonical, 1, length(canonical) - 2)"),
        pytest.param("canonical", f"x'ff{zlib.compress(bytes(2 * LONGEST), 9, -15).hex()}'", id="bomb"),
        ("canonical", "x'fe'"),
        ("task_id", "x'fffe'"),
        ("estimate", "'much'"),
        ("output_path", "'/home/you/.config/autostart/x.desktop'"),
        ("output_path", "'clips/x.mp4'"),
        ("output_path", "'/clips/../../etc/x.mp4'"),
        ("video_path", "'../x.mp4'"),
        ("output_dir", "''"),
        ("output_dir", "'clips'"),
        ("parts", "'7'"),
        ("parts", "'[[]]'"),
        ("parts", "'[{}]'"),
        ("parts", """'[{"part": "part2", "path": "/x"}]'"""),
        ("parts", """'[{"part": "part2", "path": "../x", "url": "https://example.com/x"}]'"""),
    ],
)
def test_a_cell_that_no_batchgen_writes_is_one_clear_error(desk: Desk, column: str, value: str) -> None:
    alter(
        desk,
        # SQLite checks what it is told to check: whoever changes a file by hand leaves that out.
        "UPDATE sqlite_schema SET sql = replace(replace(sql, 'CHECK (state IN', 'CHECK (1 OR state IN'),"
        " 'NOT NULL', '') WHERE name = 'tasks'",
    )
    alter(desk, f"UPDATE tasks SET {column} = {value}")
    # A row in a state that isn't there is nobody's to follow.
    for command in (["status", "home"], ["export"], *([["collect", *QUICK]] if column != "state" else [])):
        result = desk.run(*command)
        assert result.code == 2, (command, result.err)
        assert "damaged" in result.err and "Traceback" not in result.err, result.err
        assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tasks SET manifest = NULL WHERE rowid = 1",
        "UPDATE tasks SET job_id = NULL",
        "UPDATE tasks SET take = 'x'",
        "UPDATE events SET at = 'late'",
        "UPDATE events SET at = 9e999",
        "UPDATE tasks SET length = 'long'",
        "DELETE FROM meta",
        "INSERT INTO moves SELECT id, '/home/you/.config/autostart/x.desktop' FROM tasks",
        "INSERT INTO moves SELECT id, output_dir || '/m/x.desktop' FROM tasks",
        "INSERT INTO moves SELECT id, output_dir || '/../x.mp4' FROM tasks",
    ],
)
def test_cells_that_are_read_beside_whole_rows_are_looked_at_as_well(desk: Desk, statement: str) -> None:
    alter(
        desk,
        "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'tasks'",
        "DROP TRIGGER events_stay",
    )
    alter(
        desk,
        statement,
        "CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    codes = {}
    for command in (["status"], ["plan", "m.yaml"], ["collect", *QUICK, "--timeout", "0.3"]):
        result = desk.run(*command)
        assert "Traceback" not in result.err
        codes[command[0]] = result.code
        assert result.code != 2 or "is damaged" in result.err, result.err
    assert 2 in codes.values()


def test_a_row_whose_id_is_no_try_of_its_jobs_is_one_clear_error(desk: Desk) -> None:
    alter(
        desk,
        "DROP TRIGGER tasks_stay",
        "UPDATE tasks SET base_id = 'x'",
        "CREATE TRIGGER tasks_stay BEFORE UPDATE OF id, external_task_id, base_id ON tasks"
        " BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    for command in (["status", "home"], ["plan", "m.yaml"], ["collect", *QUICK]):
        result = desk.run(*command)
        assert result.code == 2 and "base_id" in result.err, result.err


def test_history_that_no_batchgen_writes_is_one_clear_error(desk: Desk) -> None:
    for column, value in (
        ("detail", "'[1'"),
        ("detail", "'7'"),
        ("at", "'late'"),
        ("to_state", "'dreaming'"),
    ):
        alter(
            desk,
            "DROP TRIGGER events_stay",
            f"UPDATE events SET {column} = {value}",
            "CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        result = desk.run("status", "home")
        assert (result.code, "Traceback" in result.err) == (2, False)
        assert "damaged" in result.err


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user, which takes root")
def test_another_users_ledger_is_shown_with_a_warning_and_never_written(desk: Desk) -> None:
    os.chown(ledger(desk), 4321, -1)
    before = ledger(desk).read_bytes()
    for command in (["collect", *QUICK], ["run", *QUICK, "m.yaml"], ["resolve", "open", "--abandon"]):
        result = desk.run(*command)
        assert result.code == 2, result.err
        assert "ledger.db belongs to the user number 4321, and this is root" in result.err
    shown = desk.run("status")
    assert shown.code == 0 and "may not be true" in shown.err
    assert ledger(desk).read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user, which takes root")
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_what_another_user_laid_beside_a_ledger_is_not_taken_over(desk: Desk, suffix: str) -> None:
    """SQLite takes changes from such a file into the database when it opens it."""
    file = Path(f"{ledger(desk)}{suffix}")
    file.write_bytes(b"x" * 4096)
    os.chown(file, 4321, -1)
    with pytest.raises(LedgerError, match="belongs to the user number 4321"):
        Ledger.open(str(ledger(desk)), origin=(desk.folder / "url").read_text())
    assert file.read_bytes() == b"x" * 4096


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user, which takes root")
def test_another_users_link_leads_to_no_ledger(desk: Desk, tmp_path: Path) -> None:
    link, target = tmp_path / "link.db", tmp_path / "elsewhere.db"
    link.symlink_to(target)
    os.chown(link, 4321, -1, follow_symlinks=False)
    result = desk.run("run", *QUICK, "--ledger", str(link), "m.yaml")
    assert result.code == 2 and "is a link of the user number 4321, and this is root" in result.err
    assert not target.exists()
    os.chown(link, 0, -1, follow_symlinks=False)  # one's own
    origin = (desk.folder / "url").read_text()
    Ledger.open(str(link), origin=origin).close()
    assert target.exists()


def test_a_folder_in_which_all_can_exchange_the_ledger_gets_a_warning(
    made: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("batchgen"), "propagate", True)  # whatever an earlier test left
    caplog.set_level(logging.WARNING, "batchgen")
    path = ledger(Desk(made))
    origin = (made / "url").read_text()
    for mode in (0o700, 0o775, 0o1777, 0o777):
        path.parent.chmod(mode)
        database.prepare(str(path), origin, database.MIGRATIONS)
        database.open_to_write(str(path), origin).close()
        database.open_to_read(str(path), origin).close()
        said = {id(record): record.getMessage() for record in caplog.records}  # a handler may be there twice
        told = [f"`chmod o-w {path.parent}`" in text for text in said.values()]
        assert told == ([True] if mode == 0o777 else []), oct(mode)
    path.parent.chmod(0o700)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_released_schema_is_what_its_scripts_make(tmp_path: Path) -> None:
    for version in range(1, len(MIGRATIONS) + 1):
        path = tmp_path / f"{version}.db"
        connection = sqlite3.connect(path)
        for script in MIGRATIONS[:version]:
            connection.executescript(script)
        integrity.check_schema(connection, str(path), MIGRATIONS[:version])
        connection.execute("CREATE VIEW more AS SELECT 1")
        with pytest.raises(LedgerError, match="has a view more"):
            integrity.check_schema(connection, str(path), MIGRATIONS[:version])
        connection.close()


@pytest.mark.parametrize("said", [b"[" * 10_000, b"{", b"7", b'{"pid": "\xff"}', b"\0" * 100])
def test_a_lock_that_says_nonsense_about_its_holder_is_a_lock_all_the_same(desk: Desk, said: bytes) -> None:
    with open(f"{ledger(desk)}.lock", "wb") as held:
        held.write(said)
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        result = desk.run("collect", *QUICK)
    assert (result.code, "not said who it is" in result.err) == (75, True), result.err


def test_a_clip_that_a_row_says_is_outside_of_its_folder_is_called_out_of_reach(desk: Desk) -> None:
    alter(desk, "UPDATE tasks SET video_path = '/x.mp4'")
    status, plan = desk.run("status"), desk.run("plan", "m.yaml")
    collected = desk.run("collect", *QUICK, "--timeout", "0.3")  # nobody answers there
    assert (status.code, plan.code) == (0, 0)
    assert collected.code in (1, 4)
    assert "its clip is out of reach" in plan.out
    assert "doesn't lie below" in plan.out
