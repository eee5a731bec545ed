"""Every run leaves a line in the ledger, however it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import ENDS, PROGRAM, Desk, sandbox, until

FAST = ("--task-seconds", "0.05-0.3")
QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "1")


def urls(count: int) -> str:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png"} for n in range(count)]
    return json.dumps({"version": 1, "defaults": {"model_name": "kling-v3", "prompt": "x"}, "jobs": jobs})


def runs(desk: Desk) -> list[dict[str, Any]]:
    shown = desk.run("runs", "--json")
    assert shown.code == 0, shown.err
    found: list[dict[str, Any]] = json.loads(shown.out)["runs"]
    return found


def test_a_run_that_creates_and_one_with_nothing_to_do_are_in_the_ledger(desk: Desk) -> None:
    desk.write("m.yaml", urls(2))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert desk.run("collect", *QUICK).code == 0
    collected, idle, made = runs(desk)
    assert [run["command"] for run in (collected, idle, made)] == ["collect", "run", "run"]
    assert {run["exit_code"] for run in (collected, idle, made)} == {0}
    assert made["arguments"] == ["run", *QUICK, "m.yaml"]
    assert made["summary"]["jobs"] == idle["summary"]["jobs"] == {"downloaded": 2}
    assert (made["summary"]["created"], idle["summary"]["created"]) == (2, 0)
    assert made["began_at"] <= made["ended_at"] <= idle["began_at"]
    assert {row["run_id"] for row in desk.export()} == {made["run_id"]}
    assert re.search(r"  exit 0  run; 2 of 2 jobs done; 2 created for about \$0\.84\n", desk.run("runs").out)


def test_a_run_that_fails_says_why(desk: Desk) -> None:
    desk.write("m.yaml", "version: 1\njobs: 7\n")
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 2
        desk.write("m.yaml", urls(3))
        assert desk.run("run", *QUICK, "--max-jobs", "1", "m.yaml").code == 4
    capped, refused = runs(desk)
    assert (refused["exit_code"], capped["exit_code"]) == (2, 4)
    assert capped["summary"]["stopped"] == ["the cap of 1 job was reached"]
    assert refused["ended_at"] is not None


def test_a_run_that_was_killed_is_told_from_one_that_is_on(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, "--task-seconds", "60") as server:
        process = desk.against(server).start("run", *QUICK, "m.yaml")
        until(lambda: len(server.accepted()) == 1)
        (on,) = runs(desk)
        assert (on["on"], on["ended_at"], on["process"]) == (True, None, process.pid)
        assert f"process {process.pid}" in desk.run("runs").out
        busy = desk.run("run", *QUICK, "m.yaml")
        assert busy.code == 75
        process.kill()
        process.communicate()
    refused, killed = runs(desk)
    assert (killed["on"], killed["ended_at"], killed["exit_code"]) == (False, None, None)
    assert refused["exit_code"] == 75
    assert "another run holds the ledger" in refused["summary"]["stopped"][0]
    assert "  killed  its end isn't recorded" in desk.run("runs").out


# -- what ended before it began ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with a ledger, in which one run is recorded."""
    desk = Desk(tmp_path_factory.mktemp("night"))
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
    return desk


class Used(Desk):
    """A desk with a ledger, in which one run is recorded."""

    @property
    def ledger(self) -> Path:
        return next(self.folder.rglob("ledger.db"))

    @property
    def port(self) -> str:
        """That of the API to which the ledger belongs."""
        return self.env["POWERTOKENS_API_BASE"].rpartition(":")[2]


@pytest.fixture
def used(night: Desk, tmp_path: Path) -> Used:
    """The same, each time anew."""
    shutil.copytree(night.folder, tmp_path / "desk")
    desk = Used(tmp_path / "desk")
    desk.env |= {name: value for name, value in night.env.items() if name.startswith("POWERTOKENS_")}
    return desk


REFUSED: dict[str, tuple[tuple[str, ...], dict[str, str | None], int, str]] = {
    "no key": (("run", "m.yaml"), {"POWERTOKENS_API_KEY": None}, 2, "there is no API key"),
    "no key for collect": (("collect",), {"POWERTOKENS_API_KEY": None}, 2, "there is no API key"),
    "a key that is none": (
        ("run", "m.yaml"),
        {"POWERTOKENS_API_KEY": "a b"},
        2,
        "characters that no key has",
    ),
    "an unknown option": (("run", "--untill", "7:30", "m.yaml"), {}, 2, "there is no option --untill"),
    "a time that is none": (("run", "--until", "7:30pm", "m.yaml"), {}, 2, "is no time and no duration"),
    "no manifest named": (("run",), {}, 2, "the following arguments are required: PATH"),
    "an approval that isn't there": (("run", "--plan", "gone.json", "m.yaml"), {}, 2, "gone.json"),
    "another API's ledger": (
        ("run", "m.yaml"),
        {"POWERTOKENS_API_BASE": "http://127.0.0.1:9"},
        2,
        "belongs to",
    ),
    "a variable that is none": (("run", "m.yaml"), {"BATCHGEN_DOWNLOADS": "many"}, 2, "BATCHGEN_DOWNLOADS"),
    "a log file in no folder": (("run", "--log-file", "no/where.log", "m.yaml"), {}, 2, "can't be written"),
    "a manifest that isn't there": (("run", "gone.yaml"), {}, 2, "gone.yaml"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_run_that_was_refused_before_it_began_has_its_line_with_the_reason(used: Used, name: str) -> None:
    words, env, code, says = REFUSED[name]
    for variable, value in env.items():
        used.env.pop(variable, None) if value is None else used.env.update({variable: value})
    ended = used.run(*words)
    assert ended.code == code, ended.err
    assert says in ended.err
    for variable in env:
        used.env.pop(variable, None)
    last, first = runs(used)
    assert (last["command"], last["exit_code"], last["on"]) == (words[0], code, False)
    assert says in "; ".join(last["summary"]["stopped"])
    assert first["exit_code"] == 0
    assert last["began_at"] <= last["ended_at"]
    shown = used.run("runs").out.splitlines()[0]
    assert f"exit {code}  {words[0]}; " in shown
    assert says in shown


def test_a_broken_configuration_is_in_the_record(used: Used) -> None:
    used.env["XDG_CONFIG_HOME"] = str(used.folder)
    used.write("batchgen/config.yaml", "until: soon\n")
    assert used.run("run", "m.yaml").code == 2
    used.write("batchgen/config.yaml", "{}\n")
    assert "config.yaml:1:1: until" in "; ".join(runs(used)[0]["summary"]["stopped"])


def test_a_wrong_command_line_is_recorded_in_the_ledger_that_it_or_the_configuration_names(
    used: Used,
) -> None:
    other = used.folder / "other.db"
    with sandbox(used.folder, *FAST) as server:
        assert used.against(server).run("run", *QUICK, "--ledger", str(other), "m.yaml").code == 0
    for words in (("--ledger", "other.db"), (f"--ledger={other}",)):
        assert used.run("run", *words, "--untill", "7:30", "m.yaml").code == 2
    used.env["XDG_CONFIG_HOME"] = str(used.folder)
    used.write("batchgen/config.yaml", f"ledger: {other}\n")
    assert used.run("run", "--untill", "7:30", "m.yaml").code == 2
    used.write("batchgen/config.yaml", "{}\n")
    found = json.loads(used.run("runs", "--json", "--ledger", str(other)).out)["runs"]
    assert [run["exit_code"] for run in found] == [2, 2, 2, 0]
    assert len(runs(used)) == 1


def test_nothing_secret_of_a_wrong_command_line_is_recorded(used: Used) -> None:
    assert used.run("run", "--api-key=sk-secret", "--until=soon", "m.yaml").code == 2
    assert used.run("run", "--until", "sk-secret2", "m.yaml").code == 2
    assert runs(used)[1]["arguments"] == ["run", "--api-key", "--until"]
    assert "sk-secret" not in json.dumps(runs(used)[1])
    assert runs(used)[0]["arguments"] == ["run", "--until"]


def test_what_is_no_run_leaves_no_line(used: Used) -> None:
    used.env.pop("POWERTOKENS_API_KEY", None)
    for words in (
        ("run", "-n", "gone.yaml"),
        ("run", "--sandbox", "gone.yaml"),
        ("plan", "gone.yaml"),
        ("status", "--untill"),
        ("run", "--sandbox", "--untill", "m.yaml"),
        ("--untill", "run"),
    ):
        assert used.run(*words).code == 2
    assert used.run("run", "--help").code == 0
    assert len(runs(used)) == 1


def test_a_refused_run_makes_no_ledger(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    assert desk.run("run", "m.yaml").code == 2
    assert desk.run("run", "--untill", "m.yaml").code == 2
    assert not list(desk.folder.rglob("*.db"))


def test_a_log_file_begins_and_ends_with_what_the_record_says(used: Used) -> None:
    used.env.pop("POWERTOKENS_API_KEY", None)
    assert used.run("run", "--log-file", "run.log", "m.yaml").code == 2
    with sandbox(used.folder, *FAST, "--port", used.port) as server:
        assert used.against(server).run("run", *QUICK, "--log-file", "run.log", "m.yaml").code == 0
    begun, ended, begins, *_, ends = (used.folder / "run.log").read_text().splitlines()
    idle, refused, _ = runs(used)
    for line, run in ((begun, refused), (begins, idle)):
        assert (
            f"run {run['run_id']} began: batchgen {run['version']} as process {run['process']} on {run['host']}: "
            in line
        )
        assert line.endswith(" ".join(run["arguments"]))
    assert f"run {refused['run_id']} ended: exit code 2; there is no API key" in ended
    assert f"run {idle['run_id']} ended: exit code 0; 1 of 1 jobs done; none created" in ends


def test_a_run_that_fails_at_work_is_logged_once(used: Used) -> None:
    with sandbox(used.folder, *FAST, "--port", used.port) as server:
        ended = used.against(server).run(
            "run", *QUICK, "--only", "nothing", "--log-file", "run.log", "m.yaml"
        )
    assert ended.code == 2, ended.err
    lines = (used.folder / "run.log").read_text().splitlines()
    assert [sum(word in line for line in lines) for word in (" began: ", " ended: ")] == [1, 1]
    assert [run["exit_code"] for run in runs(used)] == [2, 0]


def test_a_manifest_that_was_refused_is_named_in_the_record(used: Used) -> None:
    used.write("m.yaml", "version: 1\njobs: 7\nname: 3\n")
    with sandbox(used.folder, *FAST, "--port", used.port):
        assert used.run("run", *QUICK, "m.yaml").code == 2
    assert re.search(r"m.yaml:[23]:\d+", "; ".join(runs(used)[0]["summary"]["stopped"]))


# -- what was killed -----------------------------------------------------------------------------------------------


def test_a_killed_run_whose_number_another_process_has_is_not_on_once_another_run_had_the_ledger(
    used: Used,
) -> None:
    change = "UPDATE runs SET ended = NULL, exit_code = NULL, summary = NULL, process = ?, began = began + ? WHERE id = ?"
    with sqlite3.connect(used.ledger) as ledger:
        ledger.execute(change, (os.getpid(), 0, 1))
    assert runs(used)[0]["on"] is True, "this process has its number"
    used.env.pop("POWERTOKENS_API_KEY")
    assert used.run("run", "m.yaml").code == 2
    assert [run["on"] for run in runs(used)] == [False, True], "a refused run is no proof"
    with sandbox(used.folder, *FAST, "--port", used.port) as server:
        assert used.against(server).run("run", *QUICK, "m.yaml").code == 0
    assert [run["on"] for run in runs(used)] == [False, False, False]
    assert "  killed  its end isn't recorded" in used.run("runs").out
    with sqlite3.connect(used.ledger) as ledger:
        ledger.execute(change, (os.getpid(), -40 * 365 * 86400, 3))
    assert runs(used)[0]["on"] is False, "this machine was started since"
    with sqlite3.connect(used.ledger) as ledger:
        ledger.execute("UPDATE runs SET host = 'elsewhere' WHERE id = 3")
    assert f"  no end  its end isn't recorded; process {os.getpid()} on elsewhere, which alone can tell" in (
        used.run("runs").out
    )


KILLS = """
import os, signal, sys
from batchgen.cli.main import main
from batchgen.ledger import runs
point, where = sys.argv[1].split()
def killed(*given):
    if point == "after":
        work(*given)
    os.kill(os.getpid(), signal.SIGKILL)
work = getattr(runs, where)
setattr(runs, where, killed)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("before insert", []),
        ("after insert", []),  # in its transaction, which isn't committed
        ("before end", ["killed"]),
        ("after end", ["killed"]),
        ("before add", []),
        ("after add", ["refused"]),
    ],
)
def test_a_run_that_is_killed_while_its_record_is_written_leaves_a_record_that_can_be_read(
    used: Used, point: str, left: list[str]
) -> None:
    add = point.endswith("add")
    used.write("m.yaml", urls(2))
    with sandbox(used.folder, *FAST, "--port", used.port) as server:
        used.against(server)
        if add:
            used.env["POWERTOKENS_API_KEY"] = "no key"
        used.program = (sys.executable, "-c", KILLS, point)
        process = used.start("run", *QUICK, "m.yaml")
        process.communicate(timeout=ENDS)
        assert process.returncode == -signal.SIGKILL
        used.program = PROGRAM
        used.against(server)
        assert used.run("run", *QUICK, "m.yaml").code == 0
        created = 1 if not left or add else 0
        after, *found, first = runs(used)
        assert len(server.accepted()) == 1, "the second job, once"
    assert (first["exit_code"], after["exit_code"], after["on"]) == (0, 0, False)
    assert [("refused" if run["exit_code"] == 2 else "killed") for run in found] == left
    assert [run["on"] for run in found] == [False] * len(left)
    assert after["summary"]["created"] == created
    shown = used.run("runs").out.splitlines()
    assert len(shown) == 2 + len(left)
