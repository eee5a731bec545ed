"""A ledger, clips and manifests of an earlier program, and what it printed of them: read and printed the same today.

``recorded/`` was made by the program as it was before it was cut into rooms: a night with jobs in all states, after which
a job was changed, one renamed, one added, and two clips taken from their places. Fields may be added to JSON, nothing
else differs.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import KEY, Desk

RECORDED = Path(__file__).parent / "recorded"
OUTPUTS: list[dict[str, Any]] = json.loads((RECORDED / "outputs.json").read_text())
API = "http://127.0.0.1:40169"  # nobody answers there: it is only whose tasks they were


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("recorded"))
    shutil.copytree(RECORDED, desk.folder, dirs_exist_ok=True)
    desk.env |= {"POWERTOKENS_API_BASE": API, "POWERTOKENS_API_KEY": KEY}
    ledger = desk.folder / "home" / ".local" / "state" / "batchgen" / "ledger.db"
    ledger.parent.mkdir(parents=True)
    script = (RECORDED / "ledger.sql").read_text().replace("@FOLDER@", str(desk.folder))
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        connection.executescript(script)
    return desk


@pytest.mark.parametrize("recorded", OUTPUTS, ids=lambda one: " ".join(one["command"]))
def test_an_earlier_ledger_is_read_and_printed_as_the_program_that_made_it_did(
    desk: Desk, recorded: dict[str, Any]
) -> None:
    result = desk.run(*recorded["command"])
    out, err = (text.replace(str(desk.folder), "@FOLDER@") for text in (result.out, result.err))
    assert (result.code, err) == (recorded["code"], recorded["err"])
    try:
        was = [json.loads(line) for line in recorded["out"].splitlines()]
    except json.JSONDecodeError:
        assert without_additions(without_ages(out)) == without_ages(recorded["out"])
    else:
        lines = [json.loads(line) for line in out.splitlines()]
        assert [as_before(line, before) for line, before in zip(lines, was, strict=True)] == was


def without_ages(text: str) -> str:
    """How long something has been so depends on the day."""
    return re.sub(r", for \d+ \w+", ", for AGE", text)


def without_additions(text: str) -> str:
    """A plan lists the jobs that a manifest leaves out, above their number, and sums up what it pays for by manifest and mode;
    CSV has a verdict, and last what was charged, as status has, and whose run it was; and status says yes and no."""
    text = re.sub(r"(?m)^skipped  .*\n", "", text)
    text = re.sub(r"(?m)^  \w+, \w+: \d+ to create, about \$[\d.]+\n", "", text)
    text = re.sub(
        r'(?m)^(.*"?sound"?),"?verdict"?,("?current"?),"?charged_usd"?,"?run_id"?(\r?$)', r"\1,\2\3", text
    )
    text = re.sub(r'(?m),(?:"")?,("?(?:true|false)"?),"?[\d.]*"?,(?:"")?(\r?$)', r",\1\2", text)
    text = re.sub(r"(?m)^charged_usd +[\d.]+\n", "", text)
    text = re.sub(r"(?m)^(\w+ +)yes$", r"\1True", text)
    return re.sub(r"(?m)^(\w+ +)no$", r"\1False", text)


def as_before(value: Any, before: Any) -> Any:
    """A JSON value without the fields that an earlier one hasn't."""
    if isinstance(value, dict) and isinstance(before, dict):
        return {name: as_before(value[name], before[name]) for name in before if name in value}
    if isinstance(value, list) and isinstance(before, list) and len(value) == len(before):
        return [as_before(*both) for both in zip(value, before, strict=True)]
    return value


def test_what_was_recorded_has_every_way_for_a_job_to_go() -> None:
    plan = next(one for one in OUTPUTS if one["command"][:2] == ["plan", "--json"])
    actions = {job["action"] for job in json.loads(plan["out"])["jobs"]}
    assert actions == {"follow", "done", "rejected", "download", "settle", "changed", "create", "retry"}
