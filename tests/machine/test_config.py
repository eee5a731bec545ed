"""The configuration file: an account's own prices are read as they are written, or refused with their place."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

import batchgen
from batchgen.errors import ManifestError, UsageError
from batchgen.manifest import yaml12
from batchgen.money.prices import BUILT_IN, VOICE
from batchgen.run.configured import read_prices
from tests.support.pictures import make_png
from tests.support.program import KEY, Desk, sandbox

JOB = {"id": "a", "image": "https://example.com/1.png", "prompt": "x", "model_name": "kling-v3"}
OWN = """\
# yaml-language-server: $schema=../schemas/config.schema.json
prices:
  read_on: 2026-11-01
  unit_usd: 0.13
  per_second_usd:
    off: {std: 0.07, pro: 0.084001}
    on: {std: 0.1}
"""


def read(folder: Path, text: str) -> dict[str, str]:
    file = folder / "batchgen" / "config.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return {"XDG_CONFIG_HOME": str(folder)}


def test_own_prices_take_the_place_of_those_that_are_built_in(tmp_path: Path) -> None:
    found = read_prices(read(tmp_path, OWN))
    assert (found.read_on, found.unit) == ("2026-11-01", 130_000)
    prices = found.per_second
    assert (prices["off", "std"], prices["off", "pro"], prices["on", "std"]) == (70_000, 84_001, 100_000)
    assert prices["off", "4k"] == BUILT_IN.per_second["off", "4k"]
    assert prices[VOICE, "std"] == 200_000  # twice the price with sound, as a bound
    assert found.charge("3", None) == 390_000


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n"])
def test_a_file_without_prices_leaves_those_that_are_built_in(tmp_path: Path, text: str) -> None:
    assert read_prices(read(tmp_path, text)) is BUILT_IN
    assert read_prices({"XDG_CONFIG_HOME": str(tmp_path / "none")}) is BUILT_IN


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("price:\n  read_on: 2026-11-01\n", ":1:1", 'did you mean "prices"?'),
        ("prices:\n  read_on: 2026-11-01\n  unit_us: 0.1\n", ":3:3", 'did you mean "unit_usd"?'),
        ("prices:\n  unit_usd: 0.1\n", ":1:1", "read_on"),
        ("prices:\n  read_on: yesterday\n", ":2:3", "is no date"),
        ("prices:\n  read_on: 2026-02-30\n", ":2:3", "is no date"),
        ("prices:\n  read_on: 2026-11-01\n  unit_usd: 0\n", ":3:3", "0"),
        ("prices:\n  read_on: 2026-11-01\n  unit_usd: -1\n", ":3:3", "-1"),
        ("prices:\n  read_on: 2026-11-01\n  unit_usd: 0.1234567\n", ":3:3", "finer than a millionth"),
        ("prices:\n  read_on: 2026-11-01\n  unit_usd: true\n", ":3:3", "number"),
        ("prices:\n  read_on: 2026-11-01\n  per_second_usd: {off: {hd: 1}}\n", ":3:26", "hd"),
        ("- prices\n", ":1:1", ""),
        ("prices: [\n", ":", ""),
    ],
)
def test_every_problem_names_its_place(tmp_path: Path, text: str, place: str, problem: str) -> None:
    with pytest.raises(ManifestError) as error:
        read_prices(read(tmp_path, text))
    assert f"config.yaml{place}" in str(error.value) and problem in str(error.value)


def test_plans_rest_on_them_and_ids_do_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("m.yaml", json.dumps({"version": 1, "jobs": [JOB]}))
    before = desk.run("plan", "--json", "m.yaml").json
    desk.env |= read(tmp_path, OWN)
    after = desk.run("plan", "--json", "m.yaml").json
    assert (before["cost_usd_estimate"], after["cost_usd_estimate"]) == (0.42, 0.35)
    assert before["jobs"][0]["external_task_id"] == after["jobs"][0]["external_task_id"]
    read(tmp_path, "prices: {unit_usd: x}\n")
    result = desk.run("plan", "m.yaml")
    assert result.code == 2 and "config.yaml:1:" in result.err


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("m.yaml", json.dumps({"version": 1, "jobs": [JOB]}))
    desk.env["XDG_CONFIG_HOME"] = str(tmp_path)
    return desk


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("yes: true\n", ":1:1: yes", "every run would pay without asking"),
        ("\naccept-changes: true\n", ":2:1: accept-changes", "would be paid for again"),
        ("retry_failed: false\n", ":1:1", "every night"),
        ("only: [a]\n", ":1:1", "skip: true"),
        ("plan: friday.json\n", ":1:1", "an approval is for one run"),
        ("plan: {output: x}\n", ":1:8", "an approval"),
        ("by: month\n", ":1:1", "stands under its command: spend: {by: ...}"),
        ("run: {max_cost: 5}\n", ":1:7", "stands at the top"),
        ("resolve: {abandon: true}\n", ":1:1", "a decision is made once"),
        ("budget: {day: 40}\n", ":1:1", "batchgen budget set"),
        ("api_key: canary\n", ":1:1", "POWERTOKENS_API_KEY_FILE"),
        ("key-file: /k\n", ":1:1", "POWERTOKENS_API_KEY_FILE"),
        ("zz_new: 3\n", ":1:1", "has no such option"),
        ("max-cost: 3\n", ":1:1", 'did you mean "max_cost"?'),
        ("max_cost_usd: 3\n", ":1:1", 'did you mean "max_cost"?'),
        ("max_cost: lots\n", ":1:1", "lots"),
        ("max_cost: [1]\n", ":1:1", "neither text nor a number"),
        ("max_cost:\n", ":1:1", "is empty"),
        ("max_jobs: 0\n", ":1:1", "too small"),
        ("strict: maybe\n", ":1:1", "true or false"),
        ("color: pink\n", ":1:1", "auto, always, never"),
        ("ledger: 5\n", ":1:1", "put it in quotes"),
        ("until: 2020-01-31T06:30\n", ":1:1", "has passed"),
        ("spend: month\n", ":1:1", "keys and values"),
        ("spend: {bye: month}\n", ":1:9", 'did you mean "by"?'),
        ("timeout: 60\ntimeout: 70\n", ":2:1", "timeout"),
    ],
)
def test_an_option_that_can_not_stand_there_is_refused_with_its_place(
    desk: Desk, text: str, place: str, problem: str
) -> None:
    read(desk.folder, text)
    result = desk.run("run", "m.yaml")
    assert result.code == 2
    assert f"config.yaml{place}" in result.err and problem in result.err
    assert "canary" not in result.err


def test_all_problems_come_in_one_go_in_the_order_of_the_file(desk: Desk) -> None:
    read(desk.folder, "yes: true\nhologram: 3\nspend: {by: hour}\nprices: {unit_usd: 1}\nonly: x\n")
    result = desk.run("status", "--json")
    assert result.code == 2
    lines = [problem["line"] for problem in result.json["problems"]]
    assert lines == [1, 2, 3, 4, 5]


def test_the_manual_is_there_where_the_file_is_wrong(desk: Desk) -> None:
    read(desk.folder, "yes: true\n")
    assert desk.run("help", "configuration").code == 0


def test_a_flag_is_above_the_environment_that_above_the_file(desk: Desk) -> None:
    read(desk.folder, "ledger: of-file.db\nexport: {format: csv}\n")

    def ledger() -> str:
        return desk.run("export").err

    assert str(desk.folder / "batchgen" / "of-file.db") in ledger()
    desk.env["BATCHGEN_LEDGER"] = ""
    assert "of-file.db" in ledger()
    desk.env["BATCHGEN_LEDGER"] = str(desk.folder / "of-variable.db")
    assert "of-variable.db" in ledger()
    assert "of-flag.db" in desk.run("export", "--ledger", "of-flag.db").err
    del desk.env["BATCHGEN_LEDGER"]
    assert "of-flag.db" in desk.run("export", "--ledger", "of-flag.db").err


def test_a_run_takes_its_api_and_folders_from_the_file_and_a_manifest_is_above_it(desk: Desk) -> None:
    def clips(*words: str) -> list[str]:
        result = desk.run("run", "--ledger", f"{len(words)}-{time.monotonic_ns()}.db", *words)
        assert result.code == 0, result.err
        return sorted(str(path.parent.relative_to(desk.folder)) for path in desk.folder.rglob("*.mp4"))

    desk.write("n.yaml", json.dumps({"version": 1, "output_dir": "own", "jobs": [JOB]}))
    with sandbox(desk.folder, "--task-seconds", "0.1-0.1") as server:
        desk.env["POWERTOKENS_API_KEY"] = KEY
        read(desk.folder, f"base_url: {server.url}\noutput_dir: clips\npoll_interval: 0.1\n")
        found = ["batchgen/clips/m"]
        assert clips("m.yaml") == found
        assert clips("n.yaml") == sorted([*found, "own/n"])
        assert clips("n.yaml", "--output-dir", "of-flag") == sorted([*found, "own/n", "of-flag/n"])
        assert len(server.accepted()) == 2  # the third has n.yaml's id, and is found


def test_a_switch_and_its_opposite_and_what_contradicts_it(desk: Desk) -> None:
    desk.write(
        "m.yaml", json.dumps({"version": 1, "jobs": [{k: v for k, v in JOB.items() if k != "prompt"}]})
    )
    assert desk.run("validate", "m.yaml").code == 0  # a warning
    read(desk.folder, "strict: yes\nquiet: true\n")
    refused = desk.run("validate", "m.yaml")
    assert refused.code == 2
    assert desk.run("validate", "--no-strict", "m.yaml").code == 0
    assert desk.run("validate", "--no-strict", "m.yaml").err == ""
    assert "prompt" in desk.run("validate", "--no-strict", "-v", "m.yaml").err
    read(desk.folder, "json: true\n")
    assert json.loads(desk.run("validate", "m.yaml").out)["exit_code"] == 0
    desk.run("budget", "set", "--day", "5")
    assert desk.run("spend", "--format", "csv").code == 0


def test_a_rehearsal_leaves_the_files_ledger_and_folders_alone(desk: Desk) -> None:
    read(desk.folder, "ledger: real.db\noutput_dir: real\n")
    result = desk.run("run", "--sandbox", "m.yaml")
    assert result.code == 0, result.err
    assert sorted(path.name for path in (desk.folder / "batchgen").iterdir()) == ["config.yaml"]


def test_a_budget_is_set_in_the_ledger_of_the_files_api(desk: Desk) -> None:
    read(desk.folder, "base_url: https://gate.example\n")
    assert desk.run("budget", "set", "--day", "5").code == 0
    refused = desk.run("plan", "--base-url", "https://other.example", "m.yaml")
    assert refused.code == 2 and "gate.example" in refused.err


def test_a_first_manifest_leaves_the_clips_folder_to_the_file(desk: Desk) -> None:
    desk.write("photos/a.png", make_png())
    assert desk.run("init", "photos", "-o", "before.yaml").code == 0
    read(desk.folder, "output_dir: /srv/clips\n")
    assert desk.run("init", "photos", "-o", "after.yaml").code == 0
    before, after = (yaml12.load((desk.folder / name).read_bytes()) for name in ("before.yaml", "after.yaml"))
    assert before.get("output_dir") == "clips" and "output_dir" not in after
    assert "/srv/clips/after" in (desk.folder / "after.yaml").read_text()


@pytest.mark.parametrize("mode", [0o646, 0o666])
def test_a_file_that_everybody_may_change_is_refused(desk: Desk, mode: int) -> None:
    env = read(desk.folder, "strict: true\n")
    (desk.folder / "batchgen" / "config.yaml").chmod(mode)
    result = desk.run("status")
    assert result.code == 2 and "chmod o-w" in result.err
    with pytest.raises(UsageError, match="chmod o-w"):
        read_prices(env)


def test_what_is_no_file_is_refused_and_is_not_waited_for(desk: Desk) -> None:
    file = desk.folder / "batchgen" / "config.yaml"
    file.parent.mkdir()
    os.mkfifo(file)
    assert "can't be read: not a regular file" in desk.run("status").err
    file.unlink()
    file.symlink_to("nowhere")
    assert "can't be read" in desk.run("status").err
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("")
    assert "can't be read" not in desk.run("status").err


def test_a_programs_prices_come_without_its_options(tmp_path: Path) -> None:
    env = read(tmp_path, "max_cost: 5\n" + OWN)
    assert batchgen.read_prices(env).unit == 130_000
    read(tmp_path, "max_cots: 5\n" + OWN)
    with pytest.raises(ManifestError, match="max_cots"):
        batchgen.read_prices(env)


def test_the_manuals_example_is_taken(desk: Desk) -> None:
    text = (Path(batchgen.__file__).parent / "manual" / "configuration.md").read_text()
    example = text.partition("```text\n")[2].partition("```")[0]
    read(desk.folder, example)
    result = desk.run("spend", "--ledger", "none.db", "--json")
    assert "no ledger" in result.err.lower() or result.code == 2
    assert "config.yaml" not in result.err
