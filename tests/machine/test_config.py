"""The configuration file: an account's own prices are read as they are written, or refused with their place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchgen.cli import config
from batchgen.errors import ManifestError
from batchgen.money.prices import BUILT_IN, VOICE
from tests.support.program import Desk

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
    found = config.prices(read(tmp_path, OWN))
    assert (found.read_on, found.unit) == ("2026-11-01", 130_000)
    prices = found.per_second
    assert (prices["off", "std"], prices["off", "pro"], prices["on", "std"]) == (70_000, 84_001, 100_000)
    assert prices["off", "4k"] == BUILT_IN.per_second["off", "4k"]
    assert prices[VOICE, "std"] == 200_000  # twice the price with sound, as a bound
    assert found.charge("3", None) == 390_000


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n"])
def test_a_file_without_prices_leaves_those_that_are_built_in(tmp_path: Path, text: str) -> None:
    assert config.prices(read(tmp_path, text)) is BUILT_IN
    assert config.prices({"XDG_CONFIG_HOME": str(tmp_path / "none")}) is BUILT_IN


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
        config.prices(read(tmp_path, text))
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
