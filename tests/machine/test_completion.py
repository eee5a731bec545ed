"""A real shell completes commands, options, pages and the ledger's jobs; nothing in a job's name is run by it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from batchgen.cli import options, shells, words
from batchgen.ledger.writer import Ledger
from batchgen.models import Record, State
from tests.support.documents import script
from tests.support.program import Desk

REQUEST = '{"duration":"5","mode":"std"}'
JOBS = ("tote", "totem", "bag", "IMG 0042", "photo (1)", "$(touch ran)", "a'b", "sub/hat", "tab\there")


def filled(path: Path, *manifests: str) -> None:
    async def fill() -> None:
        with Ledger.open(str(path), origin="http://127.0.0.1") as ledger:
            for manifest in manifests:
                for number, job in enumerate(JOBS):
                    name = f"{manifest}.{number}"
                    await ledger.begin(
                        Record(name, name, manifest, job, 1, name, REQUEST, State.PENDING, f"/clips/{name}")
                    )

    asyncio.run(fill())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    filled(tmp_path / "l.db", "bags", "boxes")
    desk.env["BATCHGEN_LEDGER"] = str(tmp_path / "l.db")
    script(tmp_path / "bin" / "batchgen", *desk.program)
    desk.env["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return desk


def completed(desk: Desk, *typed: str) -> list[str]:
    """What bash would offer for the last of these words, a line each."""
    (desk.folder / "batchgen.bash").write_text(shells.completion("bash"))
    line = 'source ./batchgen.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_batchgen; printf "%s\\n" "${COMPREPLY[@]}"'
    came = subprocess.run(
        ["bash", "-c", line, "bash", "batchgen", *typed],
        cwd=desk.folder,
        env=desk.env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert came.stderr == ""
    return came.stdout.splitlines()


def test_bash_completes_commands_options_and_pages(desk: Desk) -> None:
    assert completed(desk, "sta") == ["status"]
    assert completed(desk, "run", "--max-c") == ["--max-cost"]
    assert completed(desk, "help", "mone") == ["money"]
    assert completed(desk, "completion", "") == ["bash", "zsh", "fish"]


def test_bash_completes_jobs_and_runs_nothing_that_is_in_their_names(desk: Desk) -> None:
    assert completed(desk, "why", "b") == ["bags/", "boxes/"]
    every = ["bags/IMG\\ 0042", "bags/bag", "bags/sub/hat", "bags/tote", "bags/totem"]
    assert completed(desk, "why", "bags/") == every
    assert completed(desk, "retake", "ba") == every  # the only manifest: its jobs at once
    assert completed(desk, "status", "bags/IMG\\ 0") == ["bags/IMG\\ 0042"]
    assert completed(desk, "report", "--only", "tot") == ["tote", "totem"]
    assert completed(desk, "why", "none") == [""]
    assert not (desk.folder / "ran").exists()


def test_other_shells_get_names_as_they_are_and_no_control_characters(desk: Desk) -> None:
    came = desk.finish(desk.start("completion", "--words", "zsh", "bags/")).out.splitlines()
    assert came == [f"bags/{job}" for job in sorted(JOBS) if "\t" not in job]


def test_the_ledger_may_be_named_by_the_configuration(desk: Desk) -> None:
    del desk.env["BATCHGEN_LEDGER"]
    assert desk.finish(desk.start("completion", "--words", "bash", "")).out == ""
    desk.env["XDG_CONFIG_HOME"] = str(desk.folder / "config")
    desk.write("config/batchgen/config.yaml", "ledger: ../../l.db\n")
    assert desk.finish(desk.start("completion", "--words", "bash", "")).out == "bags/\nboxes/\n"


def test_every_shell_has_every_command(desk: Desk) -> None:
    for shell in shells.SHELLS:
        text = shells.completion(shell)
        assert [name for name in options.parser().commands if name not in text] == []


@pytest.mark.parametrize("arguments", [(), ("bash",), ("bash", "a", "b"), ("bash", "a")])
def test_what_goes_wrong_prints_nothing_into_the_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    desk = Desk(tmp_path)
    desk.env["BATCHGEN_LEDGER"] = str(tmp_path / "none.db")
    came = desk.finish(desk.start("completion", "--words", *arguments))
    assert (came.code, came.out, came.err) == (1, "", "")
    assert not (tmp_path / "none.db").exists()


def test_names_are_found_without_reading_all_rows(tmp_path: Path) -> None:
    filled(tmp_path / "l.db", *(f"m{number}" for number in range(5)), "other")
    assert words.words(str(tmp_path / "l.db"), "") == [*(f"m{number}/" for number in range(5)), "other/"]
    assert words.words(str(tmp_path / "l.db"), "m") == [f"m{number}/" for number in range(5)]
    assert words.words(str(tmp_path / "l.db"), "m3/to") == ["m3/tote", "m3/totem"]
    assert words.words(str(tmp_path / "l.db"), "o") == [f"other/{job}" for job in sorted(JOBS)]
    assert words.words(str(tmp_path / "l.db"), "x") == []


@pytest.mark.skipif(shutil.which("man") is None, reason="no man on this machine")
def test_the_man_page_opens(tmp_path: Path) -> None:
    page = tmp_path / "batchgen.1"
    page.write_text(shells.man_page())
    env = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}
    came = subprocess.run(
        ["man", "--warnings", "-l", page], capture_output=True, text=True, env=env, check=True
    )
    assert came.stderr == ""
    lines = [line.strip() for line in came.stdout.splitlines()]
    assert "EXIT STATUS" in lines
    assert "75   another run holds the ledger" in lines
    assert "batchgen run manifests/              do what is missing; silent when all is well" in lines
    assert "--max-cost USD" in lines
