"""A run that is killed while pictures are prepared for it: nothing is lost, nothing is paid twice, no process stays."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from tests.support.photos import turned
from tests.support.program import Desk, sandbox, until

COUNT = 6
RUN = ("run", "--ledger", "ledger.db", "--poll-interval", "0.05", "--settle", "1", "m.yaml")


@pytest.fixture
def desk(desk: Desk) -> Desk:
    for number in range(COUNT):
        desk.write(f"in/p{number}.jpg", turned(6) + bytes([number]))
    desk.write(
        "m.yaml",
        "version: 1\ndefaults: {model_name: kling-v3, prompt: x, prepare: true}\njobs:\n  - folder: in\n",
    )
    return desk


def children(of: int) -> list[int]:
    """The processes that a process has started and that are still there."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            if int(fields[1]) == of and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def is_there(process: int) -> bool:
    try:
        return "worker" in Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return False


def test_a_run_that_is_killed_while_it_prepares_loses_nothing_and_pays_once(
    desk: Desk, tmp_path: Path
) -> None:
    with sandbox(tmp_path, "--slots", "20", "--task-seconds", "0.05") as server:
        desk.against(server)
        process = desk.start(*RUN)
        until(lambda: bool(children(process.pid)))
        decoders = children(process.pid)
        for decoder in decoders:
            os.kill(decoder, signal.SIGSTOP)
        process.kill()
        process.communicate()
        before = len(server.accepted())
        assert before < COUNT
        for decoder in decoders:
            os.kill(decoder, signal.SIGCONT)
        until(lambda: not any(map(is_there, decoders)))
        result = desk.run(*RUN)
        assert result.code == 0, result.err
        assert len(server.accepted()) == len(set(server.accepted().values())) == COUNT
        assert {
            row["state"]
            for row in map(json.loads, desk.run("export", "--ledger", "ledger.db").out.splitlines())
        } == {"downloaded"}
        cache = Path(desk.env["HOME"]) / ".cache" / "batchgen" / "prepared"
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_an_interrupt_ends_its_decoders_too(desk: Desk, tmp_path: Path) -> None:
    with sandbox(tmp_path, "--slots", "20", "--task-seconds", "30") as server:
        desk.against(server)
        process = desk.start(*RUN)
        until(lambda: len(server.accepted()) == COUNT)
        decoders = children(process.pid)
        process.send_signal(signal.SIGINT)
        assert desk.finish(process).code == 130
        until(lambda: not any(map(is_there, decoders)))
