"""Every run leaves a line in the ledger, however it ends."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.program import Desk, sandbox, until

FAST = ("--task-seconds", "0.05-0.3")
QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "1")


def urls(count: int) -> str:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png"} for n in range(count)]
    return json.dumps({"version": 1, "defaults": {"model_name": "kling-v3", "prompt": "x"}, "jobs": jobs})


def runs(desk: Desk) -> list[dict[str, Any]]:
    shown = desk.run("runs", "--json")
    assert shown.code == 0, shown.err
    found: list[dict[str, Any]] = json.loads(shown.out)["runs"]
    return found


def test_a_run_that_creates_and_one_with_nothing_to_do_are_in_the_ledger(desk: Desk) -> None:
    desk.write("m.yaml", urls(2))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert desk.run("collect", *QUICK).code == 0
    collected, idle, made = runs(desk)
    assert [run["command"] for run in (collected, idle, made)] == ["collect", "run", "run"]
    assert {run["exit_code"] for run in (collected, idle, made)} == {0}
    assert made["arguments"] == ["run", *QUICK, "m.yaml"]
    assert made["summary"]["jobs"] == idle["summary"]["jobs"] == {"downloaded": 2}
    assert (made["summary"]["created"], idle["summary"]["created"]) == (2, 0)
    assert made["began_at"] <= made["ended_at"] <= idle["began_at"]
    assert {row["run_id"] for row in desk.export()} == {made["run_id"]}
    assert re.search(r"  exit 0  run; 2 of 2 jobs done; 2 created for about \$0\.84\n", desk.run("runs").out)


def test_a_run_that_fails_says_why(desk: Desk) -> None:
    desk.write("m.yaml", "version: 1\njobs: 7\n")
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 2
        desk.write("m.yaml", urls(3))
        assert desk.run("run", *QUICK, "--max-jobs", "1", "m.yaml").code == 4
    capped, refused = runs(desk)
    assert (refused["exit_code"], capped["exit_code"]) == (2, 4)
    assert capped["summary"]["stopped"] == ["the cap of 1 job was reached"]
    assert refused["ended_at"] is not None


def test_a_run_that_was_killed_is_told_from_one_that_is_on(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, "--task-seconds", "60") as server:
        process = desk.against(server).start("run", *QUICK, "m.yaml")
        until(lambda: len(server.accepted()) == 1)
        (on,) = runs(desk)
        assert (on["on"], on["ended_at"], on["process"]) == (True, None, process.pid)
        assert f"process {process.pid}" in desk.run("runs").out
        busy = desk.run("run", *QUICK, "m.yaml")
        assert busy.code == 75
        process.kill()
        process.communicate()
    refused, killed = runs(desk)
    assert (killed["on"], killed["ended_at"], killed["exit_code"]) == (False, None, None)
    assert refused["exit_code"] == 75
    assert "another run holds the ledger" in refused["summary"]["stopped"][0]
    assert "  killed  its end isn't recorded" in desk.run("runs").out
