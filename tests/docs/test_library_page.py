"""The manual's page about the library: its programs run against the sandbox and pass mypy, and its table is the events."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import batchgen
from batchgen.run import events, stream, work_events
from batchgen.run.buckets import ADVICE
from batchgen.sandbox.config import Config
from batchgen.sandbox.server import Sandbox
from tests.support.documents import MANUAL, codes, files, rows, section
from tests.support.program import ENDS, KEY

PROGRAMS = files(MANUAL["library"], "python")
MANIFEST = """\
version: 1
defaults: {model_name: kling-v3, image: "https://example.com/a.png"}
jobs:
  - {id: a, prompt: one}
  - {id: b, prompt: two}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "m.yaml").write_text(MANIFEST)
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_programs_of_the_page_do_what_it_says(desk: Path) -> None:
    async def typed(name: str, url: str, said: str = "") -> tuple[int, str, str]:
        text = (desk / name).read_text().replace("https://api.powertokens.ai", url)
        (desk / name).write_text(text)
        env = {"PATH": os.environ["PATH"], "HOME": str(desk), "PYTHONPATH": os.pathsep.join(sys.path)}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            name,
            cwd=desk,
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(ENDS):
            out, err = await process.communicate(f"{said}\n".encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def scene() -> None:
        async with Sandbox(Config(task_seconds=(0.05, 0.1), key=KEY)) as sandbox:
            code, out, err = await typed("night.py", sandbox.base_url, KEY)
            assert (code, err) == (0, "")
            lines = sorted(out.splitlines())
            assert [line.partition(":")[0] for line in lines] == ["a", "a", "b", "b"]
            assert sum("about $0.42" in line for line in lines) == 2
            assert sum(line.endswith(f"/m/{line[0]}.mp4") for line in lines) == 2
            code, out, err = await typed("morning.py", sandbox.base_url)
            assert (code, err) == (0, "")
            assert out.startswith("0 to create, about $0.00\n") and out.endswith("{'downloaded': 2}\n")

    asyncio.run(scene())


def test_the_programs_of_the_page_are_typed_as_a_users_own(desk: Path) -> None:
    """mypy has the package as an installed one, which is followed but not checked, and finds a wrong field."""
    (desk / "wrong.py").write_text(PROGRAMS["night.py"].replace("event.path", "event.pats"))
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--no-incremental",
        *PROGRAMS,
        "wrong.py",
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(desk)}
    done = subprocess.run(command, cwd=desk, env=env, capture_output=True, text=True, check=False)
    found = [line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("wrong.py")]
    assert found == ['error: "Downloaded" has no attribute "pats"  [attr-defined]'], done.stdout
    assert [line for line in done.stdout.splitlines() if not line.startswith("wrong.py")] == []


def test_every_event_is_told_with_its_fields() -> None:
    kinds = {
        name: kind
        for name, kind in {**vars(events), **vars(work_events)}.items()
        if isinstance(kind, type) and issubclass(kind, events.Event)
    }

    def names(kind: type[events.Event]) -> set[str]:
        return {field.name for field in dataclasses.fields(kind)}

    table = {codes(row[0])[0]: row[2] for row in rows(section(MANUAL["library"], "Events"))}
    assert table.keys() == kinds.keys() - {"Event", "JobEvent"}
    assert kinds.keys() <= set(batchgen.__all__)
    for name, told in table.items():
        base = events.JobEvent if issubclass(kinds[name], events.JobEvent) else events.Event
        own = names(kinds[name]) - names(base)
        assert set(codes(told)) == own, name


def test_the_buckets_of_the_page_are_those_that_the_summary_has_words_for() -> None:
    text = section(MANUAL["library"], "Events")
    told = text[text.index("A `bucket` is one of") : text.index("`jobs` of `Ended`")]
    assert set(codes(told)) - {"bucket", "downloaded"} == ADVICE.keys() - {*batchgen.State}


def test_the_account_of_the_rehearsal_is_one() -> None:
    """A key with a space is refused, and the page had one."""
    base_url, key = re.findall(r'batchgen\.Account\("(.+?)", "(.+?)"\)', MANUAL["library"])[-1]
    assert batchgen.Account(base_url, key).base_url == base_url


def test_what_a_late_reader_misses_is_what_the_page_says() -> None:
    page = section(MANUAL["library"], "Readers that are late, and leaving early")
    told = page[page.index("how things go") : page.index("are left out")]
    assert set(codes(told)) == {kind.__name__ for kind in stream.PASSING}
    assert stream.LATE == 1000
