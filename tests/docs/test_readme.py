"""README.md and the manual are true: what they tell people to type is typed here, and their tables are held to the code."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batchgen import __version__, errors
from batchgen.api import keys
from batchgen.cli import options, settings
from batchgen.cli.export_rows import EXPORT_FIELDS
from batchgen.cli.main import main
from batchgen.http import endpoint, transport
from batchgen.manifest import reader
from batchgen.models import State
from batchgen.money.prices import BUILT_IN
from batchgen.night import signatures
from batchgen.request.schema import load
from batchgen.run.buckets import ADVICE
from batchgen.run.plan import MAX_ANY, MAX_REFUSED, MAX_TASKS
from batchgen.run.tally import Tally, first_of
from tests.machine.test_cli import JSON, parsers
from tests.support.documents import (
    MANUAL,
    PAGES,
    README,
    ROOT,
    Shell,
    blocks,
    codes,
    files,
    matches,
    prose,
    rows,
    script,
    section,
    typed,
)
from tests.support.pictures import make_jpeg, make_png
from tests.support.program import KEY, Server, sandbox

MANIFESTS = {name: text for page in PAGES.values() for name, text in files(page, "yaml").items()}

# -- typed, in order ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sandbox(tmp_path_factory.mktemp("server"), "--task-seconds", "0.05-0.1") as server:
        yield server


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Shell:
    """A home with batchgen installed, and a folder laid out as README says, with the manual's files; the API is the sandbox."""
    shell = Shell(tmp_path_factory.mktemp("readme") / "home")
    path = {"PYTHONPATH": ":".join(sys.path), "POWERTOKENS_API_BASE": server.url}
    script(shell.home / ".local/bin/batchgen", sys.executable, "-m", "batchgen", environ=path)
    night = shell.home / "night"
    for name, text in {**MANIFESTS, **files(README, "csv")}.items():
        (night / name).parent.mkdir(parents=True, exist_ok=True)
        (night / name).write_text(text)
    for name in re.findall(r"(?:images|inbox)/\S+\.(?:png|jpg)", "\n".join(blocks(README, "text"))):
        (night / "manifests" / name).parent.mkdir(exist_ok=True)
        make = make_png if name.endswith("png") else make_jpeg
        (night / "manifests" / name).write_bytes(make(seed=len(name)))
    (night / "manifests/inbox/cat.txt").write_text("The cat turns its head\n")
    return shell


def test_the_first_night_and_those_after_it_go_as_it_is_written(shell: Shell, server: Server) -> None:
    """One test: the first run waits as long as a person's would for tasks of a kind never seen, ten seconds."""
    for command, shown in typed(section(README, "The first night")):
        came = shell.type(command, stdin=f"{KEY}\n" if "cat >" in command else "")
        assert came.code == 0, (command, came.out)
        assert matches(shown, came.out), (command, came.out)
    assert len(server.accepted()) == 4
    assert (shell.home / ".config/batchgen/key").stat().st_mode & 0o777 == 0o600
    run_by_cron(shell)
    run_by_systemd(shell)
    assert len(server.accepted()) == 4
    assert server.summary()["twice"] == []


def run_by_cron(shell: Shell) -> None:
    """Run the line of the crontab with what cron gives it."""
    (crontab,) = blocks(MANUAL["operations"], "crontab")
    mailto, begin, line, end = at_home(crontab, shell).strip().splitlines()
    assert mailto.startswith("MAILTO=") and begin.startswith("# begin ") and end.startswith("# end ")
    minute, hour, *days, command = line.split(maxsplit=5)
    assert int(minute) in range(60) and int(hour) in range(24) and days == ["*"] * 3
    assert not set("%~$") & set(crontab)  # which mean something else there, or nothing
    assert f"{keys.KEY_FILE_VARIABLE}=" in command
    assert ended(["/bin/sh", "-c", command], shell, SHELL="/bin/sh") == (0, "")


def run_by_systemd(shell: Shell) -> None:
    """Run the service that the page's command prints with what systemd gives it."""
    indented = re.findall(r"^    (batchgen schedule systemd .*)$", MANUAL["operations"], re.M)
    printed = shell.type(f"{indented[0]} --system --json")
    assert printed.code == 0, printed.out
    unit = configparser.RawConfigParser(strict=False)
    unit.read_string(json.loads(printed.out)["files"][0]["text"])
    credential, _, file = unit["Service"]["LoadCredential"].partition(":")
    shutil.copy(file, shell.home / credential)
    command = shlex.split(unit["Service"]["ExecStart"])
    variables = {"CREDENTIALS_DIRECTORY": str(shell.home), "PYTHONPATH": ":".join(sys.path)}
    assert ended(command, shell, **variables) == (0, "")


def at_home(text: str, shell: Shell) -> str:
    return text.replace("/home/you", str(shell.home))


def ended(command: list[str], shell: Shell, **variables: str) -> tuple[int, str]:
    """Exit code and output of a command that is started with next to nothing."""
    env = {"HOME": str(shell.home), "PATH": "/usr/bin:/bin", **variables}
    came = subprocess.run(
        command, cwd="/", env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return came.returncode, came.stdout


def test_a_rehearsal_goes_as_it_is_written(shell: Shell) -> None:
    rehearsal, faults, serve = typed(MANUAL["sandbox"])
    shell.cwd = shell.home / "night"
    assert matches(rehearsal.shown, shell.type(rehearsal.command).out)
    assert matches(faults.shown, shell.type(faults.command).out)
    process = subprocess.Popen(
        shlex.split(serve.command),
        cwd=shell.cwd,
        env=shell.env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    shown = "".join(process.stdout.readline() for _ in range(3))
    process.send_signal(signal.SIGINT)
    shown += process.communicate(timeout=60)[0]
    assert matches(serve.shown, shown)
    assert process.returncode == 0


def test_every_command_that_is_shown_is_typed_somewhere() -> None:
    """Those of Install, Upgrade and Uninstall in test_install, the others above and below."""
    tried = {
        "README.md": ("Install", "The first night"),
        "batchgen/manual/operations.md": (
            "Backup",
            "A backup is put back",
            "Upgrade",
            "Another machine",
            "Uninstall",
        ),
        "batchgen/manual/money.md": ("Budgets", "Spend"),  # by test_budget.py and test_spend.py
        "batchgen/manual/sandbox.md": ("Sandbox: rehearse a night without a key and without money",),
    }
    for name, page in PAGES.items():
        assert [part for title in tried.get(name, ()) for part in typed(section(page, title))] == typed(
            page
        ), name
    assert [part.shown for part in typed(section(README, "Install"))] == [""] * 5


@pytest.mark.parametrize("name", PAGES)
def test_what_is_indented_is_a_target_of_make_or_a_command_of_batchgen(name: str) -> None:
    text = re.sub(r"^```.*?^```$", "", PAGES[name], flags=re.M | re.S)
    lines = [re.split(r"\s{2,}", line.strip())[0] for line in re.findall(r"^    \S.*$", text, re.M)]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    for line in lines:
        program, *words = shlex.split(line)
        if program == "make":
            assert words[0] in targets
        else:
            assert program == "batchgen"
            options.parser().parse_args(words)
    assert name != "README.md" or {"make run", "make test"} < set(lines)


def test_a_copy_of_the_ledger_and_the_folder_is_all_that_another_machine_needs(
    tmp_path: Path, shell: Shell, server: Server
) -> None:
    """Backup and Another machine, on two homes: nothing is created there that is paid, wherever the folder lies."""
    if shutil.which("sqlite3") is None:
        pytest.skip("the sqlite3 shell, which the page's commands need, is not installed here")
    old, new = Shell(tmp_path / "old"), Shell(tmp_path / "new")
    for one in (old, new):
        (one.home / ".local/bin").mkdir(parents=True)
        shutil.copy(shell.home / ".local/bin/batchgen", one.home / ".local/bin")
        one.env["POWERTOKENS_API_KEY"] = KEY
    shutil.copytree(shell.home / "night/manifests", old.home / "night/manifests")
    manifests = old.home / "night/manifests/night-shop.yaml"
    manifests.write_text(manifests.read_text().replace("night-shop", "moved"))  # tasks of its own at the API
    assert old.type("batchgen run --poll-interval 0.05 night/manifests/night-shop.yaml").code == 0
    created = len(server.accepted())
    page = MANUAL["operations"]
    copy, *others = typed(section(page, "Another machine"))
    for command, shown in [*typed(section(page, "Backup")), copy]:
        came = old.type(command)
        assert (came.code, came.out, shown) == (0, "", ""), command
    assert (old.home / "backup").stat().st_mode & 0o777 == 0o700
    for command, shown in typed(section(page, "A backup is put back")):
        came = old.type(command)
        assert came.code == 0 and matches(shown, came.out), (command, came.out)
    assert old.type(f"batchgen run {old.home}/night/manifests").code == 0
    old.cwd = old.home
    assert len(server.accepted()) == created
    (old.home / "night").rename(new.home / "night")
    for command, shown in others:
        came = new.type(command)
        assert came.code == 0, (command, came.out)
        assert matches(shown, came.out), (command, came.out)
    assert len(server.accepted()) == created
    assert new.type("batchgen status").out.endswith("4  downloaded\n")
    backup = new.type(f"batchgen status --ledger {old.home}/backup/ledger.db")
    assert backup.code == 0 and "4 tasks" in backup.out


def test_make_run_is_the_rehearsal_of_the_examples_and_ends_with_their_page() -> None:
    recipes = (ROOT / "Makefile").read_text()
    run = re.search(r"^run: .*\n((?:\t.*\n)+)", recipes, re.M)
    assert run
    clean, rehearse, report, say = (line.strip("\t@") for line in run[1].splitlines())
    ledger = "--ledger $(DEMO)/ledger.db"
    assert rehearse.endswith(f"run --sandbox {ledger} --output-dir $(DEMO)/clips manifests/")
    assert report == f"$(VENV)/bin/batchgen report {ledger} --output $(DEMO)/report.html"
    assert clean.startswith("rm -rf $(DEMO)") and say.endswith('$(DEMO)/report.html"')
    assert re.search(
        r"^DEMO := build/demo$", recipes, re.M
    )  # relative, so that no blank in a path parts what is removed


def test_the_pictures_of_the_readme_are_made_by_make_and_small() -> None:
    (picture,) = re.findall(r"^!\[[^]]+\]\((.+)\)$", README, re.M)
    assert f"-m tests.picture $(DEMO)/report.html {picture}\n" in (ROOT / "Makefile").read_text()
    with Image.open(ROOT / picture) as shown:
        assert shown.format == "PNG" and shown.width >= 1000
    assert (ROOT / picture).stat().st_size < 250_000


@pytest.mark.parametrize("name", PAGES)
def test_commands_in_the_text_are_command_lines(name: str) -> None:
    for line in prose(PAGES[name]):
        command, *words = shlex.split(re.sub(r"\.\.\.|[][]", "", line).replace("HOST:PORT", "127.0.0.1:1"))[
            1:
        ]
        if words and command != "COMMAND":
            options.parser().parse_args([command, *words])
        else:
            assert command in {*parsers(), "COMMAND", "--version"}


@pytest.mark.parametrize("name", PAGES)
def test_options_in_the_text_are_some_commands(name: str) -> None:
    known = {option for parser in parsers().values() for option in options_of(parser)} | {"--help"}
    named = {code.split()[0].partition("=")[0] for code in codes(PAGES[name]) if code.startswith("--")}
    assert named <= known


# -- the tables --------------------------------------------------------------------------------------------------------


def exit_codes(text: str) -> dict[str, str]:
    return {code: words.strip() for code, words in re.findall(r"^  (\d+) +(.*)$", text, re.M)}


def test_the_exit_codes_are_the_same_in_help_and_readme_and_cover_every_error() -> None:
    told = dict(rows(section(README, "Exit codes")))
    morning = rows(section(MANUAL["operations"], "In the morning"))
    assert told == exit_codes(options.EPILOG) == dict(morning[: len(told)])
    kinds = [errors.BatchgenError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {str(kind.exit_code) for kind in kinds} | {"0", "130", "143"} == set(told)


def test_the_tree_in_errors_has_every_error_with_its_code() -> None:
    told = dict(re.findall(r"^[ │├└─]*(\w+) +([\d/]+)  ", errors.__doc__ or "", re.M))
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.BatchgenError)
    }
    assert set(told) == set(kinds)
    assert {name: kind.exit_code for name, kind in kinds.items() if name != "Interrupted"} == {
        name: int(code) for name, code in told.items() if name != "Interrupted"
    }
    assert told["Interrupted"] == "130/143"


def test_where_several_exit_codes_hold_it_is_the_first_in_the_order_that_is_told() -> None:
    (told,) = {
        one for page in PAGES.values() for one in re.findall(r"it is the first of ([\d, or]+)\.", page)
    }
    order = [int(code) for code in re.findall(r"\d+", told)]
    assert order.pop(0) == errors.LedgerBusy.exit_code  # then there is no run
    stops = {3: errors.AccountStop("")} | {code: errors.Interrupted("", code) for code in (130, 143)}
    buckets = {4: "pending", 5: "unknown", 1: "failed"}
    for position, first in enumerate(order):
        held = [first, *(code for code in order[position + 1 :] if first not in stops or code not in stops)]
        stopped = [stops[code] for code in held if code in stops]
        tally = Tally(Counter(buckets[code] for code in held if code in buckets))
        assert first_of([tally.exit_code(stopped), 2 * (2 in held)]) == first


def test_the_commands_are_those_of_the_help() -> None:
    listed = {
        codes(row[0])[0].split()[1]: f"{row[1][0].upper()}{row[1][1:]}."
        for row in rows(section(MANUAL["commands"], "Commands"))
    }
    assert listed == {command: parser.description for command, parser in parsers().items()}


def options_of(parser: Any) -> dict[str, bool]:
    """Every option of a command -> whether it takes a value."""
    actions = [action for action in parser._actions if action.option_strings and action.dest != "help"]
    return {name: action.nargs != 0 for action in actions for name in action.option_strings}


def test_the_options_of_every_command_are_in_the_reference_and_no_others() -> None:
    told: dict[str, dict[str, bool]] = {command: {} for command in parsers()}
    for names, commands, _ in rows(section(MANUAL["commands"], "Options")):
        found = {code.split()[0]: " " in code for code in codes(names)}
        for command in parsers() if commands == "all" else commands.split(", "):
            told[command] |= found
    told["sandbox"] |= {
        codes(row[0])[0].split()[0]: " " in codes(row[0])[0] for row in rows(MANUAL["sandbox"])
    }
    assert told == {command: options_of(parser) for command, parser in parsers().items()}


def test_the_variables_that_are_read_are_named() -> None:
    page = MANUAL["commands"]
    named = set(re.findall(r"`([A-Z_]+)`", section(page, "Options") + section(page, "Variables")))
    modules = vars(settings) | vars(keys) | vars(endpoint) | vars(signatures)
    constants = {value for name, value in modules.items() if name.endswith("_VARIABLE")}
    of_others = set(re.findall(r"``([A-Z_]+)``", transport.__doc__ or ""))
    assert named == constants | of_others | {"XDG_STATE_HOME", "XDG_CACHE_HOME", "NO_COLOR"}
    assert f"`{keys.CREDENTIAL}`" in page and endpoint.DEFAULT_BASE_URL in page
    assert endpoint.DEFAULT_BASE_URL in section(MANUAL["operations"], "The account and its key")


JSON_ROWS = rows(section(MANUAL["commands"], "JSON"))


def test_the_fields_of_json_are_those_that_test_cli_finds() -> None:
    told = {
        command: set(codes(fields)) - {"schema_version"}
        for names, fields in JSON_ROWS
        for command in names.split(", ")
    }
    assert told.pop("any that can't do its work") == {"exit_code", "error", "problems", "stops"}
    assert told.pop("sandbox") == {"url", "seed"}
    assert told.pop("review") == {"url", "ledger"}  # test_review.py asks for it
    assert told.pop("listen") == {"address", "ledger", "signed"}  # test_listen.py asks for it
    found = {
        re.sub(
            r" --poll-interval 0.05| systemd| --credential| night.yaml| in -o in| JOB$|(?<=help) \w+$",
            "",
            line,
        ): fields
        for line, fields in JSON.items()
    }
    found["status"], found["status JOB"] = JSON["status"], JSON["status JOB"]
    found["help"], found["help TOPIC"] = JSON["help"], JSON["help prices"]
    assert told == found


def test_the_words_of_the_summary_are_told_with_what_to_do() -> None:
    told = rows(section(MANUAL["operations"], "In the morning"))[-len(ADVICE) :]
    assert [row[0] for row in told] == [word for word, _ in ADVICE.values()]
    for bucket, row in zip(ADVICE, told, strict=True):
        assert bucket not in set(State) or bucket in codes(row[1])


def test_nothing_that_is_told_to_do_pays_again_without_saying_so() -> None:
    for word, state, _, advice in rows(section(MANUAL["operations"], "In the morning"))[-len(ADVICE) :]:
        if re.search(r"--retry-failed|--accept-changes|take", advice):
            assert re.search(r"pays|paid|want another|refused", advice), (word, state)


def test_the_states_and_the_fields_of_export_are_all_told() -> None:
    told = [(codes(row[0])[0], row[1]) for row in rows(MANUAL["ledger"])]
    states, fields = told[: len(State)], told[len(State) :]
    assert [name for name, _ in states] == [state.value for state in State]
    assert tuple(name for name, _ in fields) == EXPORT_FIELDS
    comments = re.findall(r'= "(\w+)"  # (.*)$', (ROOT / "batchgen/models.py").read_text(), re.M)
    assert states == comments


def test_the_prices_and_their_date_are_those_of_the_table() -> None:
    part = MANUAL["prices"]
    told = {
        (sound, codes(row[0])[0]): float(price)
        for row in rows(part)
        for sound, price in zip(("off", "on"), row[1:], strict=True)
    }
    assert told == {
        kind: micros / 1_000_000 for kind, micros in BUILT_IN.per_second.items() if kind[0] != "voice"
    }
    assert f"read on {BUILT_IN.read_on}" in part
    ((seconds, mode, clip, night),) = re.findall(
        r"clip of (\w+) seconds in `(\w+)` with sound is about \$([\d.]+), and a night of a thousand of them \$(\d+)",
        " ".join(part.split()),
    )
    cost = 5 * BUILT_IN.per_second["on", mode]
    assert (seconds, float(clip), int(night)) == ("five", cost / 1_000_000, cost // 1000)


def test_the_keys_of_manifests_are_all_told() -> None:
    document = load("manifest")
    told = [codes(row[0])[0] for row in rows(MANUAL["manifest"].partition("\n## ")[0])]
    top = list(document["properties"])
    keys = list(document["$defs"]["keys"]["properties"])
    assert set(told[: len(top)]) == set(top)
    assert set(told[len(top) :]) == {*keys, "external_task_id"}


def test_the_limits_are_those_of_the_code() -> None:
    from batchgen import limits
    from batchgen.images.inspection import MAX_BYTES, MIN_SIDE
    from batchgen.run.reach import UNREACHABLE
    from batchgen.storage.partfile import LARGEST_CLIP

    text = " ".join(" ".join(PAGES.values()).split())
    assert f"({MAX_BYTES:,} bytes)" in text and f"at least {MIN_SIDE} pixels" in text
    sizes = f"a clip {LARGEST_CLIP >> 30} GiB; a sidecar {limits.SIDECAR_BYTES >> 20} MiB; a manifest {limits.MANIFEST_BYTES >> 20} MiB"
    assert f"{sizes}, {limits.MANIFEST_VALUES:,} values and {limits.NESTING} levels" in text
    table = f"{limits.TABLE_BYTES >> 30} GiB, {limits.TABLE_ROWS:,} rows, {limits.COLUMNS:,} columns"
    assert f"{table} and {limits.ROW_LENGTH >> 20} MiB in a row" in text
    assert f"the first {limits.PROBLEMS:,} problems are listed" in text
    assert (MAX_TASKS, MAX_REFUSED) == (3, 2) and "up to three tasks in all, or two" in text
    assert MAX_ANY == 8 and "up to eight tasks in all" in text
    assert UNREACHABLE == 10 and "for ten times `--timeout`" in text


# -- manifests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_manifest_that_is_shown_is_a_good_one(shell: Shell, name: str) -> None:
    assert shell.type(f"cd ~/night && batchgen validate -q {name}") == (0, "")


def test_the_examples_are_good_and_cost_what_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["validate", "manifests/"]) == 0
    capsys.readouterr()
    assert main(["plan", "--json", "--ledger", str(tmp_path / "none.db"), "manifests/"]) == 0
    plan = json.loads(capsys.readouterr().out)
    jobs, dollars = re.findall(r"the (\d+) example jobs, \$([\d.]+) worth", README)[0]
    assert plan["creates"] == len(plan["jobs"]) == int(jobs)
    assert f"{plan['cost_usd_estimate']:.2f}" == dollars
    names = {one.name for one in reader.read(["manifests/"])[0]}
    assert names == {path.stem for path in (ROOT / "manifests").glob("*.yaml")}


def test_the_changelog_begins_with_this_version_and_names_every_command() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    version, entry = re.findall(r"^## \[([\d.]+)\].*\n((?:.*\n)*?)(?=^## |\Z)", changes, re.M)[0]
    assert version == __version__
    named = {word for code in codes(entry) for word in code.split()}
    assert set(parsers()) <= named
