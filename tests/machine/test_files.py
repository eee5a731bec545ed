"""Files at paths where others may have put something else: nothing waits, nothing is read or written through them."""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from batchgen import files
from batchgen.cli import logs
from batchgen.errors import ImageError
from batchgen.files import Folders
from batchgen.images import inspection
from batchgen.manifest import entries, globs, image_refs, sidecars, tables
from batchgen.manifest.yaml12 import YamlError
from batchgen.masking import Mask
from batchgen.models import Within
from batchgen.sandbox.journal import Journal
from tests.support.documents import PACKAGE
from tests.support.program import ENDS, Desk, until


def test_what_is_no_regular_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/zero"), Path("/dev/tty")):
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError, match=r"regular file|No such device|Is a directory"):
            files.open_regular(str(name), os.O_RDONLY)
        assert len(os.listdir("/proc/self/fd")) == len(before)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "to file").symlink_to("file")
    with open(tmp_path / "to file", "rb", opener=files.open_regular) as file:
        assert file.read() == b"x"


@pytest.mark.parametrize("option", ["--log-file", "sandbox --journal"])
def test_what_is_logged_is_for_its_owner_and_goes_through_no_link(desk: Desk, option: str) -> None:
    def write(name: str) -> tuple[int, str]:
        if option == "--log-file":
            result = desk.run("validate", "--log-file", name, "m.yaml")
            return result.code, result.err
        result = desk.run("sandbox", "--port", "70000", "--journal", name)  # ends at once: no such port
        return 0 if "port" in result.err else result.code, result.err

    desk.write(
        "m.yaml",
        json.dumps(
            {"version": 1, "jobs": [{"model_name": "kling-v3", "image": "https://example.com/a.png"}]}
        ),
    )
    old = os.umask(0)
    try:
        assert write("new")[0] == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE((desk.folder / "new").stat().st_mode) == 0o600

    (desk.folder / "precious").write_text("mine")
    os.mkfifo(desk.folder / "pipe")
    for name, target in (("link", "precious"), ("dangling", "not there"), ("pipe link", "pipe")):
        (desk.folder / name).symlink_to(target)
        code, said = write(name)
        assert code == 2 and "it is a link; name the file that it leads to" in said, said
    assert (desk.folder / "precious").read_text() == "mine"
    assert not (desk.folder / "not there").exists()
    assert write("pipe")[0] == 2  # nobody reads it: it isn't waited for
    assert write("/dev/null")[0] == 0
    assert write("/dev/stderr")[0] == 0


def test_a_journal_of_the_sandbox_keeps_the_mode_that_somebody_gave_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.touch(0o644)
    path.chmod(0o644)
    Journal(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


# -- what is written for programs --------------------------------------------------------------------------------------

ODD = {
    "bidi": "\u202e",
    "isolate": "\u2066",
    "line": "\u2028",
    "paragraph": "\u2029",
    "C1": "\x9b",
    "DEL": "\x7f",
}


@pytest.mark.parametrize("letter", ODD.values(), ids=ODD.keys())
def test_json_and_logs_spell_what_moves_a_terminal_as_escapes_and_mean_the_same(
    desk: Desk, letter: str
) -> None:
    name, escaped = f"gone{letter}2J.yaml", f"gone\\u{ord(letter):04x}2J.yaml"
    result = desk.run("validate", "--json", name)
    assert result.code == 2
    assert letter not in result.out + result.err
    assert escaped in result.out and name in json.dumps(result.json, ensure_ascii=False)
    for form in ("json", "text"):
        log = desk.folder / form
        args = argparse.Namespace(quiet=True, verbose=False, log_file=str(log), log_format=form)
        with logs.configured(args, Mask()):
            logs.log.info("no %s", name)
        (line,) = log.read_text().split("\n")[:-1]
        assert escaped in line and letter not in line
        assert form == "text" or json.loads(line)["message"] == f"no {name}"


# -- what is exchanged while it is read --------------------------------------------------------------------------------


def test_what_is_read_from_a_path_is_looked_at_after_it_was_opened() -> None:
    """A look before the opening proves nothing; and opening a named pipe would wait for its writer."""
    waits = []
    for path in sorted({*PACKAGE.rglob("*.py")} - {*PACKAGE.glob("sandbox/*")}):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("open", "os.open"):
                continue
            text = ast.unparse(node)
            careful = re.search(
                r"opener=|O_NONBLOCK|O_DIRECTORY|O_EXCL|O_NOFOLLOW|_NONBLOCKING|_FOLDER|os\.devnull", text
            )
            if not careful and not re.match(r"open\(descriptor,|os\.open\(path, flags,", text):
                waits.append(f"{path.name}:{node.lineno}: {text}")
    assert waits == []


@pytest.mark.parametrize("read", ["table", "sidecar", "manifest", "image"])
def test_a_pipe_that_is_swapped_in_between_the_look_and_the_opening_holds_nothing_up(
    tmp_path: Path, read: str
) -> None:
    file = tmp_path / "x.csv"
    (tmp_path / "swap.py").write_text(
        "import os\n"
        "while True:\n"
        "    os.mkfifo('pipe'); os.rename('pipe', 'x.csv')\n"
        "    open('file', 'w').write('image,prompt\\n'); os.rename('file', 'x.csv')\n"
    )
    file.write_text("image,prompt\n")

    def once() -> object:
        if read == "table":
            return [*tables.table(str(file), "x.csv")]
        if read == "sidecar":
            with Folders() as folders:
                return sidecars.read(str(file), Within(".", (str(tmp_path),)), folders)
        if read == "manifest":
            return entries._bytes_of(str(file))
        return inspection.inspect(str(file))

    def give_up(*_: object) -> None:
        raise AssertionError("it waits for a writer")

    first = file.stat().st_ino
    before = signal.signal(signal.SIGALRM, give_up)
    with subprocess.Popen([sys.executable, "swap.py"], cwd=tmp_path, stderr=subprocess.DEVNULL) as swapping:
        try:
            until(lambda: file.stat().st_ino != first)
            signal.alarm(int(ENDS))
            for _ in range(10_000):
                with contextlib.suppress(OSError, YamlError, ImageError):
                    once()
        finally:
            signal.alarm(0)
            swapping.kill()
            signal.signal(signal.SIGALRM, before)


# -- how much work a text can make -------------------------------------------------------------------------------------


def test_a_text_that_may_be_base64_is_looked_at_in_linear_time() -> None:
    """Eight times the text may take sixteen times as long, for noise; what is quadratic takes sixty-four."""

    def taken(count: int) -> float:
        texts = (
            "A" * count + " " * count + "!",
            "A" + " " * count + "!",
            " " * count + "=!",
            "A" * count + "=" * count + "!",
            "A " * count + "!",
        )
        start = time.process_time()
        for text in texts:
            assert not image_refs.looks_like_base64(text)
        return time.process_time() - start

    small = min(taken(20_000) for _ in range(5))
    assert min(taken(160_000) for _ in range(3)) < 16 * max(small, 0.002)


@pytest.mark.parametrize("match", ["**/" * 1200 + "x", "**/a/" * 200 + "x", "a*" * 60])
def test_a_glob_takes_steps_in_proportion_to_its_length(match: str) -> None:
    """Counted in lines of our own code that are run, for a file forty folders down."""
    assert globs.match_error(match) is None
    steps = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal steps
        if not frame.f_code.co_filename.endswith("globs.py"):
            return None
        steps += event == "line"
        return count

    glob = globs.Glob(match)
    sys.settrace(count)
    try:
        place = glob.top
        for _ in range(40):
            place = glob.below(place, "a")
        glob.takes(place, "a" * 200)
    finally:
        sys.settrace(None)
    assert steps < 40 * 50 * (match.count("/") + 2)
