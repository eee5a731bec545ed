"""Command lines in messages: pasted into a shell, each word arrives as it is, and nothing else is run."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.advice import command, quoted
from batchgen.cli.main import COMMANDS
from batchgen.escapes import visible
from tests.support.documents import PACKAGE
from tests.support.program import KEY, Desk, sandbox

HOSTILE = [
    "x;$(touch pwn)",
    "x`touch pwn`",
    "x'y\"z",
    "$HOME",
    "a&b|c>d",
    "!event",
    "~root",
    "*",
    "{a,b}",
    "",
    "\u202etxt.exe",
    "zero\u200bwidth",
    "no\xa0break",
    "line\u2028end",
    "new\nline",
    "esc\x1b[2J'",
    "c1\x9b0",
    "\udcff.png",
    "\U000e0041tag",
    "naïve-日本",
]
BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None, reason="pastes into bash, which isn't installed")
@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_pasted_arrives_and_nothing_else_is_run(text: str, tmp_path: Path) -> None:
    shown = visible(command("resolve", text, options="--abandon"))  # as a terminal shows it
    script = f"batchgen() {{ printf '%s\\0' \"$@\"; }}\n{shown}\n"
    done = subprocess.run([str(BASH), "-c", script], capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout.split(b"\0") == [
        b"resolve",
        text.encode("utf-8", "surrogateescape"),
        b"--abandon",
        b"",
    ]
    assert list(tmp_path.iterdir()) == []


@given(st.text(st.characters(exclude_characters="\0"), max_size=20))
def test_a_command_is_one_visible_line(text: str) -> None:
    shown = command("resolve", text, options="--abandon")
    assert visible(shown) == shown and "\n" not in shown
    assert quoted(text) in shown


def test_an_id_that_looks_like_an_option_stands_behind_the_options() -> None:
    assert command("resolve", "-rf", options="--abandon") == "batchgen resolve --abandon -- -rf"
    assert command("status", "a", "-b") == "batchgen status -- a -b"
    assert command("collect") == "batchgen collect"


@pytest.mark.parametrize(
    ("name", "warned"), [("-rf", True), ("a\u202eb", True), ("a\u200bb", True), ("x;$(y)", False)]
)
def test_an_id_that_is_hard_to_name_is_taken_with_a_warning(tmp_path: Path, name: str, warned: bool) -> None:
    """It may have been paid for under this id, so no manifest that gives it is refused."""
    desk = Desk(tmp_path)
    job = {
        "model_name": "kling-v3",
        "image": "https://example.com/a.png",
        "prompt": "x",
        "external_task_id": name,
    }
    desk.write("m.yaml", json.dumps({"version": 1, "jobs": [{"id": "a", **job}]}))
    result = desk.run("validate", "--json", "m.yaml")
    assert result.code == 0
    assert ["hard to name" in one["text"] for one in result.json["warnings"]] == [True] * warned


def test_an_id_from_a_manifest_is_no_command_where_advice_names_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    name = "x;$(touch${IFS}pwn)"
    job = {
        "model_name": "kling-v3",
        "image": "https://example.com/a.png",
        "prompt": "x",
        "external_task_id": name,
    }
    desk.write("m.yaml", json.dumps({"version": 1, "jobs": [{"id": "a", **job}]}))
    with sandbox(desk.folder, "--task-seconds", "0", "--fault", "reset_after@1", "--no-lookups") as server:
        ran = desk.against(server).run(
            "run", "--poll-interval", "0.05", "--timeout", "1", "--settle", "1", "m.yaml"
        )
    assert ran.code == 5, ran.err
    shown = desk.run("resolve", name)
    told = shown.out + shown.err
    lines = [line.strip() for line in told.splitlines() if line.strip().startswith("batchgen resolve")]
    assert lines, told
    assert all(f"batchgen resolve '{name}' --" in line for line in lines), lines
    assert KEY not in told


def test_no_message_puts_a_value_into_a_command_by_itself() -> None:
    """Whoever writes f"batchgen resolve {name}" forgets what names can hold."""
    found, commands = [], "|".join(COMMANDS)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            for text, value in zip(node.values, node.values[1:], strict=False):
                ends = isinstance(text, ast.Constant) and re.search(
                    rf"batchgen ({commands}) [^`]*$", str(text.value)
                )
                if ends and isinstance(value, ast.FormattedValue):
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []
