"""The surface: what goes to which stream, what is silent, what scripts can read, and how a command line is refused."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchgen.cli import options
from batchgen.cli.main import main
from batchgen.ledger.writer import Ledger
from tests.support.documents import PACKAGE
from tests.support.pictures import make_png
from tests.support.program import KEY, Desk, Result, Server, sandbox, until
from tests.support.terminal import on_a_terminal, read

QUICK = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "1")


def manifest(folder: Path, jobs: int = 1, prompt: str = "prompt") -> str:
    """A manifest in a line. Its prompts name the folder, so that no two desks at one server have the same task."""
    made = [
        {"id": f"j{number}", "image": "https://example.com/1.png", prompt: f"{number} of {folder}"}
        for number in range(jobs)
    ]
    return json.dumps({"version": 1, "name": "night", "defaults": {"model_name": "kling-v3"}, "jobs": made})


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.write("night.yaml", manifest(desk.folder))
    desk.write("bad.yaml", manifest(desk.folder, prompt="promt").replace("night", "bad"))
    return desk


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox for tests that only need one to be there."""
    with sandbox(tmp_path_factory.mktemp("server"), "--task-seconds", "0.05-0.1") as server:
        yield server


@pytest.fixture(scope="module")
def folder_of_done(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Path:
    folder = tmp_path_factory.mktemp("done")
    desk = Desk(folder).against(server)
    desk.write("night.yaml", manifest(folder))
    desk.write("bad.yaml", manifest(folder, prompt="promt").replace("night", "bad"))
    desk.write("in/p.png", make_png())
    assert desk.run("run", *QUICK, "night.yaml") == Result(0, "", "")
    return folder


@pytest.fixture(scope="module")
def known_id(folder_of_done: Path, server: Server) -> str:
    (row,) = Desk(folder_of_done).against(server).export()
    return str(row["external_task_id"])


@pytest.fixture
def done(folder_of_done: Path, server: Server) -> Desk:
    """A desk whose one job is done. It has a folder for itself and all who only read."""
    return Desk(folder_of_done).against(server)


@contextlib.contextmanager
def held_ledger(desk: Desk) -> Iterator[None]:
    """A ledger that another process holds."""
    lock = desk.folder / "home/.local/state/batchgen/ledger.db.lock"
    Ledger.open(str(lock)[: -len(".lock")], origin="http://127.0.0.1").close()
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def parsers() -> dict[str, Any]:
    """Every command's parser, by name."""
    top = options.parser()
    (commands,) = (
        action for action in top._actions if hasattr(action, "choices") and isinstance(action.choices, dict)
    )
    return dict(commands.choices or {})


# -- streams and silence --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["validate night.yaml", "plan night.yaml", "status", "export"])
def test_data_goes_to_stdout_and_nothing_to_stderr(done: Desk, line: str) -> None:
    result = done.run(*line.split())
    assert (result.code, result.err) == (0, "")
    assert result.out


@pytest.mark.parametrize(
    "line",
    [
        "validate bad.yaml",
        "plan bad.yaml",
        "run bad.yaml",
        "recover bad.yaml",
        "status",
        "export",
        "resolve nobody",
        "run --sandbox bad.yaml",
        "validate nowhere.yaml",
        "run --log-file no/such/folder.log night.yaml",
        "run --base-url http://example.com night.yaml",
    ],
)
def test_what_keeps_a_command_from_its_work_goes_to_stderr(desk: Desk, server: Server, line: str) -> None:
    result = desk.against(server).run(*line.split())
    assert (result.code, result.out) == (2, "")
    assert result.err


def test_a_plan_of_good_and_bad_manifests_is_data_and_the_problems_are_not(desk: Desk) -> None:
    result = desk.run("plan", "night.yaml", "bad.yaml")
    assert result.code == 2
    assert "night/j0" in result.out and "promt" not in result.out
    assert "bad.yaml:1:" in result.err and "promt" in result.err


def test_a_run_without_a_terminal_that_goes_well_prints_nothing_also_the_second_time(done: Desk) -> None:
    assert done.run("run", *QUICK, "night.yaml") == Result(0, "", "")
    assert done.run("collect", *QUICK) == Result(0, "", "")


def test_quiet_leaves_out_what_is_no_error(done: Desk) -> None:
    assert done.run("validate", "-q", "night.yaml") == Result(0, "", "")
    assert done.run("validate", "-q", "bad.yaml").err.count("\n") == 1
    mail = done.run("run", *QUICK, "night.yaml", "bad.yaml").err
    assert "of which nothing was created: 1 problem above" in mail and "1 of 1 job done" in mail


def test_verbose_tells_each_step_on_stderr(desk: Desk, server: Server) -> None:
    result = desk.against(server).run("run", "-v", *QUICK, "night.yaml")
    assert (result.code, result.out) == (0, "")
    words = ["accepted", "task succeeded", "downloaded"]
    places = [result.err.find(f"night/j0 {word}") for word in words]
    assert -1 not in places and places == sorted(places), result.err


def test_a_reader_that_goes_away_is_no_error(done: Desk) -> None:
    with subprocess.Popen(
        [*done.program, "export"],
        cwd=done.folder,
        env=done.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("line", ["export", "status", "plan night.yaml", "validate --json night.yaml"])
def test_a_full_disk_behind_stdout_is_said_in_a_line(done: Desk, line: str) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*done.program, *line.split()],
            cwd=done.folder,
            env=done.env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode != 0
    assert re.fullmatch(r"batchgen.*No space left on device.*\n", ended.stderr), ended.stderr


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_keeps_nothing_from_its_work(desk: Desk, server: Server, closing: str) -> None:
    line = f"{shlex.join(desk.against(server).program)} run -v {' '.join(QUICK)} night.yaml {closing}"
    ended = subprocess.run(
        ["sh", "-c", line], cwd=desk.folder, env=desk.env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert [row["state"] for row in desk.export()] == ["downloaded"]


def test_submit_only_ends_well_whatever_tasks_have_ended_meanwhile(desk: Desk) -> None:
    desk.write("night.yaml", manifest(desk.folder, 6))
    with sandbox(
        desk.folder, "--slots", "1", "--task-seconds", "0-0.05", "--fault", "video_stall@1,2,3,4,5,6"
    ) as server:
        ended = desk.against(server).run("run", "--submit-only", *QUICK, "night.yaml")
    assert len(server.accepted()) == 6
    assert ended.code == 0, ended.err


# -- for scripts -----------------------------------------------------------------------------------------------------

RUN = {
    "exit_code",
    "jobs",
    "buckets",
    "others",
    "created",
    "tasks",
    "failed_tasks",
    "cost_usd_estimate",
    "unknown_cost_usd_estimate",
    "stopped",
    "stops",
    "endings",
    "problems",
    "warnings",
    "skipped",
    "left_out",
    "waiting_orders",
    *("run_id", "command", "host", "began_at", "ended_at"),
}
PLAN = {
    *("exit_code", "jobs", "creates", "cost_usd_estimate", "subtotals", "problems", "warnings", "skipped"),
    *("left_out", "waiting_orders", "budgets", "fits"),
}
JSON = {
    "init in -o in": {"manifest", "pictures", "prepared", "left_out", "next"} | PLAN,
    "validate night.yaml": {
        *("exit_code", "manifests", "jobs", "problems", "warnings", "skipped", "left_out"),
    },
    "plan night.yaml": PLAN,
    "run -n night.yaml": PLAN,
    "run --poll-interval 0.05 night.yaml": RUN,
    "collect": RUN,
    "recover night.yaml": {"exit_code", "tasks", "clips", "missing", "lookups_proven", "problems"},
    "doctor": {"exit_code", "verdicts", "values"},
    "status": {"ledger", "states", "open", "attention"},
    "status JOB": {"ledger", "tasks", "unusable", "orders"},
    "why JOB": {"ledger", "jobs"},
    "completion bash": {"shell", "script"},
    "runs": {"ledger", "runs", "missed"},
    "resolve JOB": {"ledger", "task", "unusable"},
    "retake": {"ledger", "waiting_orders", "marked"},
    "retake --marked": {"ledger", "ordered", "refused", "withdrawn", "cost_usd_estimate"},
    "budget": {"ledger", "timezone", "set_at", "set_by", "budgets"},
    "budget history": {"ledger", "history"},
    "spend": {"ledger", "by", "timezone", "since", "until", "groups", "sums"},
    "schedule systemd --credential night.yaml night.yaml": {
        *("kind", "name", "installed", "changed", "files", "next", "notes"),
    },
    "schedule systemd --remove": {"kind", "name", "removed"},
    "verify": {"ledger", "deep", "findings", "counts"},
    "ledger compact": {"ledger", "bytes_before", "bytes_after", "in_use"},
    "report": {
        *("exit_code", "page", "files", "bytes", "takes", "kinds", "thumbnails", "cost_usd_estimate"),
        "left_out",
    },
    "export": {"tasks"},
    "sandbox --list-faults": {"faults"},
    "notify": {"exit_code", "receivers", "tried"},
    "help": {"pages", "schema"},
    "help prices": {"topic", "title", "text"},
}


def test_every_command_is_asked_for_its_json() -> None:
    assert {line.split()[0] for line in JSON} | {"review", "listen"} == set(
        parsers()
    )  # which serves until it is ended


def one_object(result: Result) -> dict[str, Any]:
    """The only thing on stdout: one object, in one line."""
    assert result.out.endswith("\n") and result.out.count("\n") == 1, result.out
    assert isinstance(result.json, dict)
    assert result.json["schema_version"] == 1
    return dict(result.json)


@pytest.mark.parametrize(("line", "fields"), JSON.items())
def test_json_is_one_object_with_a_version(done: Desk, known_id: str, line: str, fields: set[str]) -> None:
    result = done.run(*line.replace("JOB", known_id).split(), "--json")
    assert set(one_object(result)) == {"schema_version"} | fields
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize(
    "line",
    [
        "validate bad.yaml",
        "validate nowhere.yaml",
        "plan bad.yaml",
        "run bad.yaml",
        "recover bad.yaml",
        "status",
        "export",
        "resolve nobody",
    ],
)
def test_json_is_one_object_also_where_a_command_is_refused(desk: Desk, server: Server, line: str) -> None:
    result = desk.against(server).run(*line.split(), "--json")
    found = one_object(result)
    assert (result.code, found["exit_code"]) == (2, 2)
    assert found.get("error") or found["problems"]


@pytest.mark.parametrize("line", ["run night.yaml", "collect", "recover night.yaml"])
def test_json_is_one_object_where_the_key_is_missing_or_the_ledger_held(
    desk: Desk, server: Server, line: str
) -> None:
    missing = desk.run(*line.split(), "--json")
    assert (missing.code, one_object(missing)["exit_code"]) == (2, 2)
    assert "POWERTOKENS_API_KEY" in one_object(missing)["error"]
    with held_ledger(desk):
        held = desk.against(server).run(*line.split(), "--json")
    assert (held.code, one_object(held)["exit_code"]) == (75, 75)
    assert "another run holds the ledger" in one_object(held)["error"]


def test_a_problem_says_its_place_in_numbers(desk: Desk) -> None:
    (problem,) = desk.run("validate", "--json", "bad.yaml").json["problems"]
    assert problem["file"] == "bad.yaml"
    assert problem["line"] == 1
    assert (desk.folder / "bad.yaml").read_text()[problem["column"] - 1 :].startswith('"promt"')
    assert problem["subject"] == "jobs[0] (j0).promt"
    assert problem["text"] == 'unknown key "promt"; did you mean "prompt"?'


@pytest.mark.parametrize(
    ("more", "first"), [((), "{"), (("--format", "csv"), "external_task_id,task_id,state,")]
)
def test_export_is_a_line_for_each_row(done: Desk, more: tuple[str, ...], first: str) -> None:
    lines = done.run("export", *more).out.splitlines()
    assert lines[0].startswith(first)
    assert len(lines) == (2 if more else 1)


# -- logs ------------------------------------------------------------------------------------------------------------


def test_a_log_in_json_has_an_object_a_line_with_action_and_id(desk: Desk, server: Server) -> None:
    log = ("--log-file", "night.log", "--log-format", "json")
    assert desk.against(server).run("run", *log, *QUICK, "night.yaml") == Result(0, "", "")
    lines = [json.loads(line) for line in (desk.folder / "night.log").read_text().splitlines()]
    assert [line["action"] for line in lines] == [
        "run_began",
        "accepted",
        "task_succeeded",
        "downloaded",
        "run_ended",
    ]
    (row,) = desk.export()
    assert row["run_id"] in lines[0]["message"]
    assert "exit code 0; 1 of 1 jobs done" in lines[-1]["message"]
    lines = lines[1:-1]
    assert {line["external_task_id"] for line in lines} == {row["external_task_id"]}
    assert all({"at", "level", "message"} <= set(line) for line in lines)
    assert row["task_id"] in lines[0]["message"]


def test_a_log_in_text_is_added_to_and_has_a_time_a_line(desk: Desk, server: Server) -> None:
    desk.write("night.log", "the night before\n")
    desk.against(server).run("run", "--log-file", "night.log", *QUICK, "night.yaml")
    first, *lines = (desk.folder / "night.log").read_text().splitlines()
    assert first == "the night before"
    assert len(lines) == 5
    assert all(
        re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* INFO +run ", line)
        for line in (lines.pop(0), lines.pop())
    )
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* INFO +night/j0 ", line) for line in lines)


# -- settings --------------------------------------------------------------------------------------------------------


def test_an_empty_variable_is_an_unset_one(done: Desk) -> None:
    ledger = done.run("status").out.split(":")[0]
    done.env |= {
        "BATCHGEN_LEDGER": "",
        "XDG_STATE_HOME": "",
        "POWERTOKENS_API_KEY_FILE": "",
        "CREDENTIALS_DIRECTORY": "",
    }
    assert done.run("status").out.startswith(ledger)
    assert done.run("run", *QUICK, "night.yaml") == Result(0, "", "")
    done.env |= {"POWERTOKENS_API_KEY": "", "NO_COLOR": ""}
    assert "there is no API key" in done.run("run", "night.yaml").err


def test_a_flag_wins_over_the_environment(done: Desk) -> None:
    known = done.run("status").out.split(":")[0]
    done.env |= {"BATCHGEN_LEDGER": str(done.folder / "other.db")}
    assert "other.db" in done.run("status").err
    assert done.run("status", "--ledger", known).out.startswith(known)


def test_the_key_is_read_from_its_file_or_from_systemd(desk: Desk, server: Server) -> None:
    desk.against(server).env.pop("POWERTOKENS_API_KEY")
    desk.write("credentials/powertokens_api_key", f"{KEY}\n")
    desk.env["CREDENTIALS_DIRECTORY"] = str(desk.folder / "credentials")
    assert desk.run("run", *QUICK, "night.yaml").code == 0
    desk.env["POWERTOKENS_API_KEY_FILE"] = str(desk.folder / "empty")
    desk.write("empty", "\n")
    assert "is empty" in desk.run("run", *QUICK, "night.yaml").err


# -- a bad command line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "COMMAND"),
        ("sk-secret", "batchgen: there is no such command; write one of "),
        ("rnu m.yaml", "there is no command rnu (did you mean run?); see batchgen --help"),
        (
            "plan --concurrency 3 m.yaml",
            "no option --concurrency here; run and schedule have it; see batchgen plan --help",
        ),
        ("export --until 3 m.yaml", "no option --until here; run, collect, schedule and spend have it"),
        ("run", "PATH"),
        (
            "run --max-runing 3 m.yaml",
            "run: there is no option --max-runing (did you mean --max-running?); see batchgen run",
        ),
        (
            "run --max-run 3 m.yaml",
            "--max-run",
        ),  # short forms would change their meaning with the next option
        ("run --concurrency 0 m.yaml", "whole number above 0"),
        ("run --concurrency 1.5 m.yaml", "whole number above 0"),
        ("run --concurrency", "--concurrency"),
        ("run --max-cost nan m.yaml", "above 0"),
        ("run --max-cost 1e400 m.yaml", "above 0"),
        ("run --deadline 25:00 m.yaml", "write 06:30, 2h, 2026-01-31T06:30"),
        ("run --deadline tomorrow m.yaml", "write 06:30, 2h, 2026-01-31T06:30"),
        ("run --timeout 0 m.yaml", "above 0"),
        ("run --log-format xml m.yaml", "xml"),
        ("status --color blue", "blue"),
        ("export --format xlsx", "xlsx"),
        ("validate --ledger x m.yaml", "--ledger"),
        ("resolve", "JOB"),
        ("resolve x --not-created --abandon", "not allowed with"),
        ("resolve x --task-id ../y", "../y"),
        ("sandbox --fault reset_aftr=1", "did you mean reset_after?"),
        ("sandbox --port x", "whole number"),
        ("sandbox --journal /nowhere/j", "it can't start: /nowhere/j: No such file or directory\n"),
        ("run --api-key secret m.yaml", "no option --api-key: the key is taken from no command line"),
        ("-v run m.yaml", "-v stands before the command; options go behind it"),
        ("--verbose run m.yaml", "--verbose stands before the command; options go behind it"),
        ("--ledger x status", "--ledger stands before the command; options go behind it"),
        ("--hlep", "there is no option --hlep (did you mean --help?)"),
        ("ledger", "ledger: the following arguments are required: compact"),
        ("ledger vacuum", "compact: invalid choice: 'vacuum'"),
        ("status -rf", "there is no option -rf; a name that begins with - goes behind --"),
        ("collect m.yaml", "collect: unrecognized arguments: m.yaml; see batchgen collect"),
        ("run --clip-timeout 1x m.yaml", "write 90, 90s, 15m, 2h or 1h30m"),
    ],
)
def test_a_bad_command_line_ends_with_2_and_one_line_that_says_why(
    capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    code = exit_code_of(line.split())
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("batchgen")
    assert says in err
    assert err.count("\n") == 1, err
    assert "sk-secret" not in err


def test_a_port_that_is_taken_is_said_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert exit_code_of(["sandbox", "--port", f"{port}"]) == 2
    said = f"it can't start: 127.0.0.1:{port}: Address already in use; another --port may be free\n"
    assert capsys.readouterr().err == f"batchgen sandbox: {said}"


def test_what_an_option_before_the_command_holds_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """It had been quoted as a command that isn't there."""
    assert exit_code_of(["--key", "sk-secret", "run", "m.yaml"]) == 2
    err = capsys.readouterr().err
    assert "the key is taken from no command line" in err
    assert "sk-secret" not in err


@pytest.mark.parametrize("option", ["--api-key", "--key", "--deadlin"])
def test_what_follows_an_unknown_option_is_not_shown(capsys: pytest.CaptureFixture[str], option: str) -> None:
    """It may be the key."""
    assert exit_code_of(["run", f"{option}=sk-secret", "m.yaml"]) == 2
    assert "sk-secret" not in capsys.readouterr().err


def exit_code_of(arguments: list[str]) -> object:
    """Where no process is needed: what the program ends with."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


# -- help ------------------------------------------------------------------------------------------------------------


def examples(text: str) -> list[str]:
    """The command lines under ``examples:`` in a help text, without what is said about them."""
    part = text.partition("examples:\n")[2].partition("\n\n")[0]
    return [re.split(r"\s{2,}| > ", line.strip())[0] for line in part.splitlines()]


@pytest.mark.parametrize("command", ["", *parsers()])
def test_every_help_has_examples_that_are_good_command_lines(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert exit_code_of([*command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = examples(out)
    assert found
    for line in found:
        name, *words = shlex.split(line)
        assert name == "batchgen"
        assert options.parser().parse_args(words).command == (command or words[0])


def test_the_help_of_a_command_says_every_choice_it_has_in_words() -> None:
    for name, parser in parsers().items():
        assert [action.dest for action in parser._actions if not action.help] == [], name


def test_messages_name_only_commands_that_there_are() -> None:
    text = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"`batchgen ([a-z]+)", text))
    assert named
    assert named <= set(parsers())


# -- on a terminal ---------------------------------------------------------------------------------------------------


def shown(desk: Desk, *arguments: str, more: Callable[[str], object] = lambda shown: None) -> tuple[int, str]:
    """The exit code, and everything that the terminal was sent."""
    return on_a_terminal([*desk.program, *arguments], cwd=desk.folder, env=desk.env, more=more)


def test_a_terminal_is_shown_jobs_running_tasks_and_money_and_then_how_it_went(desk: Desk) -> None:
    desk.write("night.yaml", manifest(desk.folder, 3))
    with sandbox(desk.folder, "--task-seconds", "600") as server:

        def finish(sent: str) -> None:
            if "3 running, $1.26" in sent:
                server.ask("finish", {})

        code, sent = shown(desk.against(server), "run", *QUICK, "night.yaml", more=finish)
    assert code == 0
    assert re.search(r"0%\|.*\| 0/3 jobs \[\d\d:\d\d<.*3 running, \$1\.26\]", sent), sent
    assert read(sent).strip() == "batchgen: 3 of 3 jobs done; 3 created for about $1.26"


@pytest.mark.parametrize("option", ["--no-progress", "-q"])
def test_a_terminal_is_shown_no_bar_where_none_is_wanted(desk: Desk, server: Server, option: str) -> None:
    code, sent = shown(desk.against(server), "run", option, *QUICK, "night.yaml")
    assert code == 0
    assert "%|" not in sent and "\r" not in sent.replace("\r\n", "")
    assert ("1 of 1 job done" in read(sent)) == (option == "--no-progress")


def test_log_lines_and_the_bar_leave_each_other_whole(desk: Desk, server: Server) -> None:
    code, sent = shown(desk.against(server), "run", "-v", *QUICK, "night.yaml")
    assert code == 0
    told = [line for line in read(sent).splitlines() if "night/j0" in line]
    assert len(told) == 3
    assert all(re.fullmatch(r"\s*\d{4}-\S+ \S+ INFO +night/j0 .*", line) for line in told), told


def test_without_a_terminal_there_is_no_bar(desk: Desk, server: Server) -> None:
    assert desk.against(server).run("run", *QUICK, "night.yaml").err == ""


@pytest.mark.parametrize(
    ("more", "env", "terminal", "coloured"),
    [
        ((), {}, True, True),
        ((), {}, False, False),
        ((), {"NO_COLOR": "1"}, True, False),
        ((), {"NO_COLOR": ""}, True, True),
        (("--color", "always"), {}, False, True),
        (("--color", "always"), {"NO_COLOR": "1"}, False, True),
        (("--color", "never"), {}, True, False),
        (("--color", "auto"), {}, True, True),
    ],
)
def test_colours_are_for_terminals_and_for_who_asks(
    desk: Desk, more: tuple[str, ...], env: dict[str, str], terminal: bool, coloured: bool
) -> None:
    desk.env |= env
    arguments = ("plan", *more, "night.yaml")
    sent = shown(desk, *arguments)[1] if terminal else desk.run(*arguments).out
    assert ("\x1b[" in sent) == coloured
    assert "create       $0.42  night/j0  (new)" in read(sent)


def test_json_is_never_coloured(desk: Desk) -> None:
    assert "\x1b" not in desk.run("plan", "--json", "--color", "always", "night.yaml").out


def test_ctrl_c_on_a_terminal_ends_with_130_and_without_a_traceback(desk: Desk) -> None:
    with sandbox(desk.folder, "--task-seconds", "600") as server:
        process = desk.against(server).start("run", *QUICK, "night.yaml")
        until(lambda: len(server.accepted()) == 1)
        process.send_signal(2)
        result = desk.finish(process)
    assert (result.code, result.out) == (130, "")
    assert "SIGINT" in result.err and "safe" in result.err


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("batchgen.cli.main", "batchgen: interrupted\n"),
        ("batchgen.cli.options", "batchgen: interrupted\n"),
        ("orjson", "batchgen validate: interrupted; nothing was being created\n"),
        ("jsonschema_rs", "batchgen validate: interrupted; nothing was being created\n"),
    ],
)
def test_ctrl_c_while_the_program_loads_is_no_traceback(desk: Desk, module: str, said: str) -> None:
    code = (
        "import os, runpy, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "runpy.run_module('batchgen', run_name='__main__', alter_sys=True)"
    )
    desk.program = (sys.executable, "-c", code)
    result = desk.run("validate", "night.yaml")
    assert (result.code, result.out, result.err) == (130, "", said)


# -- warnings --------------------------------------------------------------------------------------------------------

UNTOLD = (
    "version: 1\ndefaults: {model_name: kling-v3}\njobs:\n  - {id: a, image: https://example.com/a.png}\n"
)


def test_a_warning_is_shown_in_the_form_of_a_problem_and_refuses_nothing(desk: Desk) -> None:
    desk.write("w.yaml", UNTOLD)
    shown = "w.yaml:4:5: warning: jobs[0] (a): no prompt"
    checked, planned = desk.run("validate", "w.yaml"), desk.run("plan", "w.yaml")
    assert checked.code == planned.code == 0
    assert checked.err.startswith(shown) and planned.err.startswith(shown)
    assert checked.out == "1 manifest, 1 job: no problems, 1 warning\n"
    (warning,) = desk.run("validate", "--json", "w.yaml").json["warnings"]
    assert (warning["file"], warning["line"], warning["subject"]) == ("w.yaml", 4, "jobs[0] (a)")


def test_strict_makes_warnings_problems(desk: Desk) -> None:
    desk.write("w.yaml", UNTOLD)
    result = desk.run("validate", "--strict", "w.yaml")
    assert result.code == 2
    assert result.err.startswith("w.yaml:4:5: jobs[0] (a): no prompt")
    assert result.err.endswith(" (a warning; --strict lets it refuse the manifest)\n")
    assert desk.run("plan", "--strict", "w.yaml").code == 2


def test_a_warning_makes_no_mail(desk: Desk, tmp_path: Path) -> None:
    desk.write("w.yaml", UNTOLD)
    with sandbox(tmp_path) as server:
        desk.against(server)
        assert desk.run("run", "--strict", "w.yaml").code == 2
        assert server.accepted() == {}
        quiet = desk.run("run", "--poll-interval", "0.05", "w.yaml")
        assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
        assert "warning: jobs[0] (a): no prompt" in desk.run("run", "-v", "w.yaml").err
