"""Calls of the program within the tests' process leave that process as it was, and end."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import in_process
from tests.support.program import ENDS, Desk, sandbox

PR_GET_DUMPABLE = 3
QUICK = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "0.5")


def manifest(*ids: str, **fields: object) -> str:
    jobs = [{"id": one, "image": f"https://example.com/{one}.png", "prompt": one, **fields} for one in ids]
    return json.dumps({"version": 1, "name": "m", "defaults": {"model_name": "kling-v3"}, "jobs": jobs})


def descriptors() -> Iterator[str]:
    """What this process has open."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            yield f"{name}: {os.readlink(f'/proc/self/fd/{name}')}"


def state() -> Mapping[str, object]:
    """All of this process that a command changes for itself."""
    gc.collect()
    ours, root = logging.getLogger("batchgen"), logging.getLogger()
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "signals": [signal.getsignal(number) for number in in_process.SIGNALS],
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "collection": (gc.get_threshold(), gc.isenabled(), gc.get_freeze_count()),
        "logging": (ours.level, ours.propagate, list(ours.handlers), list(root.handlers)),
        "threads": threading.active_count(),
        "descriptors": sorted(descriptors()),
        "core dumps": (resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(PR_GET_DUMPABLE)),
    }


def test_a_call_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    def night(name: str) -> list[int]:
        desk = Desk(tmp_path)
        desk.write("m.yaml", manifest("a", "b").replace('"m"', f'"{name}"'))
        with sandbox(tmp_path, "--task-seconds", "0") as server:
            desk.against(server)
            return [
                desk.run("run", *QUICK, "-v", "--log-file", "log", "--ledger", f"{name}.db", "m.yaml").code,
                desk.run("run", "--json", *QUICK, "nowhere.yaml").code,
                desk.run("run", "--no-such-option").code,
                desk.run("status", "--ledger", f"{name}.db").code,
            ]

    night("first")  # modules that it loads stay
    before = state()
    assert night("second") == [0, 2, 2, 0]
    after = state()
    assert {name: (before[name], after[name]) for name in before if before[name] != after[name]} == {}


def test_a_call_that_does_not_end_is_interrupted_and_fails(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("m.yaml", manifest("a"))
    with sandbox(tmp_path, "--task-seconds", "1000") as server:
        desk.against(server)
        before = state()["signals"]
        with pytest.raises(AssertionError, match="it did not end"):
            in_process.call(["run", *QUICK, "m.yaml"], cwd=tmp_path, env=desk.env, ends=0.5)
        assert state()["signals"] == before


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (("sandbox",), {}),
        (("run", "--until", "1h", "m.yaml"), {}),
        (("run", "--deadline=1h", "m.yaml"), {}),
        (("status",), {"PYTHONIOENCODING": "ascii"}),
        (("status",), {"LC_ALL": "C"}),
        (("status",), {"POWERTOKENS_API_KEY_COMMAND": "cat key"}),
    ],
)
def test_what_is_about_a_process_is_one(
    arguments: tuple[str, ...], env: dict[str, str], tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    assert in_process.possible(("run", "m.yaml"), desk.env)
    assert not in_process.possible(arguments, desk.env | env)


def test_a_call_beside_the_main_thread_is_a_process(tmp_path: Path) -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(in_process.possible(("status",), {})))
    thread.start()
    thread.join(ENDS)
    assert found == [False]
