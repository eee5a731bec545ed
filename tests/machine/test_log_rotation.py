"""Log files that are rotated while they are written lose no line: renamed, renamed and made anew, copied and truncated."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchgen.cli import logs
from batchgen.masking import Mask

LOG = logging.getLogger("batchgen")
CONFIG = "{file} {{\n    rotate 5\n    {how}\n}}\n"


def rotate(path: Path, how: str) -> None:
    """By the real program where it is installed, else by its steps."""
    if (program := shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin")) is None:
        for older in (1, 0):
            before = path.with_name(f"{path.name}.{older}") if older else path
            if before.exists():
                (shutil.copyfile if older == 0 and how == "copytruncate" else os.rename)(
                    before, path.with_name(f"{path.name}.{older + 1}")
                )
        if how == "copytruncate":
            os.truncate(path, 0)
        elif how.startswith("create"):
            path.touch(mode=int(how.split()[1], 8))
        return
    config = path.parent / "logrotate.conf"
    config.write_text(CONFIG.format(file=path, how=how))
    config.chmod(0o600)
    command = [program, "-f", "-s", str(path.parent / "state"), str(config)]
    came = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert came.returncode == 0, came.stdout


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    args = argparse.Namespace(quiet=False, verbose=False, log_file=str(path), log_format="text")
    with logs.configured(args, Mask()):
        yield


def lines(path: Path) -> list[str]:
    return [line.rpartition(" ")[2] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("how", "mode"),
    [("nocreate", 0o600), ("create 0640", 0o640), ("copytruncate", 0o600)],
    ids=str,
)
def test_no_line_is_lost(tmp_path: Path, how: str, mode: int) -> None:
    path = tmp_path / "night.log"
    tmp_path.chmod(0o700)  # else logrotate asks whose it is
    with logging_to(path):
        for turn in range(3):
            LOG.info("%s", f"{turn}a")
            LOG.info("%s", f"{turn}b")
            if turn < 2:
                rotate(path, how)
    written = [lines(path.with_name(f"{path.name}{older}")) for older in (".2", ".1", "")]
    assert written == [["0a", "0b"], ["1a", "1b"], ["2a", "2b"]]
    assert path.stat().st_mode & 0o777 == mode


def test_where_no_new_file_can_be_made_the_old_one_is_gone_on_with(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "night.log"
    with logging_to(path):
        LOG.info("first")
        path.rename(tmp_path / "night.log.1")
        path.mkdir()
        LOG.info("second")
        LOG.info("third")
        path.rmdir()
        LOG.info("fourth")
    assert lines(tmp_path / "night.log.1") == [
        "first",
        "with",
        "second",
        "third",
    ]  # with: the end of a warning
    assert lines(path) == ["fourth"]
    said = capfd.readouterr().err
    assert said.count("was renamed, and none can be written in its place: Is a directory") == 1


def test_another_users_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "night.log", tmp_path / "victim"
    victim.write_text("")
    with logging_to(path):
        LOG.info("first")
        path.rename(tmp_path / "night.log.1")
        path.symlink_to(victim)
        LOG.info("second")
    assert victim.read_text() == "" and lines(tmp_path / "night.log.1") == ["first", "with", "second"]
