"""Files at paths where others may have put something else: nothing waits, nothing is read or written through them."""

from __future__ import annotations

import argparse
import json
import os
import stat
from pathlib import Path

import pytest

from batchgen import files, logs
from batchgen.sandbox.journal import Journal
from tests.program import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_is_no_regular_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/zero"), Path("/dev/tty")):
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError, match=r"regular file|No such device|Is a directory"):
            files.regular(str(name), os.O_RDONLY)
        assert len(os.listdir("/proc/self/fd")) == len(before)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "to file").symlink_to("file")
    with open(tmp_path / "to file", "rb", opener=files.regular) as file:
        assert file.read() == b"x"


@pytest.mark.parametrize("option", ["--log-file", "sandbox --journal"])
def test_what_is_logged_is_for_its_owner_and_goes_through_no_link(desk: Desk, option: str) -> None:
    def write(name: str) -> tuple[int, str]:
        if option == "--log-file":
            result = desk.run("validate", "--log-file", name, "m.yaml")
            return result.code, result.err
        result = desk.run(
            "sandbox", "--port", "70000", "--journal", name
        )  # it ends at once: there is no such port
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
        with logs.configured(args):
            logs.log.info("no %s", name)
        (line,) = log.read_text().split("\n")[:-1]
        assert escaped in line and letter not in line
        assert form == "text" or json.loads(line)["message"] == f"no {name}"
