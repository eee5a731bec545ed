"""The benchmark works: its server answers as the API does, its baselines create, its table is written."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchgen.api.client import Api
from batchgen.errors import NotFound
from batchgen.run import following, polling, slots
from tests.bench import material
from tests.bench.measure import ROOT, baseline, environment, run, server
from tests.bench.server import count


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server() as address:
        yield address


def test_the_counting_server_answers_creates_and_queries(url: str) -> None:
    async def talk() -> tuple[str, str, str]:
        async with Api(url, "key") as api:
            fields = {"model_name": "kling-v3", "image": "x" * 3_000_000, "external_task_id": "night.one"}
            made = await api.create(fields)
            view = await api.query(made.task_id)
            with pytest.raises(NotFound):
                await api.query("night.one")
            return made.task_id, view.task_id, view.raw_status

    before = count(url)
    made, asked, status = asyncio.run(talk())
    after = count(url)
    assert (asked, status) == (made, "processing")
    assert after["creates"] - before["creates"] == 1
    assert after["queries"] - before["queries"] == 2
    assert after["bytes"] - before["bytes"] > 3_000_000


@pytest.mark.parametrize(
    "arguments",
    [("plain",), ("cookbook", "out.jsonl"), ("threads", "state.json"), ("shell", "bodies")],
    ids=lambda arguments: arguments[0],
)
def test_a_baseline_creates_every_job_once(url: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    material.table(str(tmp_path / "night.csv"), "5")
    (tmp_path / "bodies").mkdir()
    name, *rest = arguments
    if name == "shell" and not (shutil.which("curl") and shutil.which("xargs")):
        pytest.skip("this baseline is curl and xargs, and one of them isn't installed")
    first = ["xargs"] if name == "shell" else []
    before = count(url)["creates"]
    done = run(baseline(name, *first, url, 2, "night.csv", *rest), cwd=tmp_path)
    assert done.out.strip() == "5"
    assert count(url)["creates"] - before == 5


def test_the_page_has_the_pacing_s_own_numbers_and_names_every_baseline() -> None:
    page = (ROOT / "tests/bench/README.md").read_text("utf-8")
    assert f"After {slots.TRY_AFTER} ends one create more" in page
    assert f"limit after {slots.TRY_AFTER_CONFIGURED}, because" in page
    assert f"{polling.CHANCE:.0%}" == "10%" and "until a tenth of the earlier tasks" in page
    assert polling.UNWANTED == 3 and "three times rarer" in page
    assert following.UNWANTED_QUERIES == 20 and "20 a second at most" in page
    assert polling.TICK == 0.5 and "within the same half second" in page
    assert slots.PATIENCE_AT_BEST == 1.3 and "three tenths longer" in page
    assert slots.PATIENCE_BELOW == 1.05 and "a\n  twentieth" in page
    baselines = {path.name for path in (ROOT / "tests/bench/baselines").glob("*.py")} - {"__init__.py"}
    assert baselines - {"flood.py"} == set(re.findall(r"^\|.*\| `(\w+\.py)`:", page, re.M))


def test_the_command_prints_a_row_and_writes_it_as_json(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.bench",
        "start",
        "--repeat",
        "1",
        "--json",
        str(tmp_path / "bench.json"),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    assert "batchgen --version" in done.stdout
    result = json.loads((tmp_path / "bench.json").read_text())
    assert result["rows"]["start"]["figures"]["batchgen --help"]["seconds"] > 0
