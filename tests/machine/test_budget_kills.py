"""Runs that are killed while a budget bites: what the account owes, by its journal and prices of the test's own, never exceeds it."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path

from tests.support.program import Desk, Server, sandbox, until

CENTS = 42  # five seconds of `std` without sound
BUDGET = 9 * CENTS
QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "0.5", "--retry-wait", "0.1")


def enough(server: Server, wanted: int, process: subprocess.Popen[str]) -> bool:
    return len(server.entries()) >= wanted or process.poll() is not None


def test_no_kill_makes_a_run_exceed_its_budget_or_leave_any_of_it_unspent(tmp_path: Path) -> None:
    faults = ("--fault", "reset_after=0.2", "--fault", "reset_before=0.1", "--fault", "query_500=0.1")
    with sandbox(tmp_path, "--task-seconds", "0.05-0.2", *faults) as server:
        desk = Desk(tmp_path).against(server)
        jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": "x"} for n in range(20)]
        defaults = {"model_name": "kling-v3"}
        desk.write("m.yaml", json.dumps({"version": 1, "defaults": defaults, "jobs": jobs}))
        assert desk.run("budget", "set", "--month", f"{BUDGET / 100:.2f}").code == 0
        for more in (1, 4, 6):
            wanted = len(server.entries()) + more
            process = desk.start("run", *QUICK, "m.yaml")
            until(functools.partial(enough, server, wanted, process))
            process.kill()
            process.communicate()
            assert CENTS * len(server.accepted()) <= BUDGET
        ended = desk.run("run", *QUICK, "--json", "m.yaml")
        while ended.code == 5 or ended.json["tasks"]["unknown"]:  # the next run asks again
            ended = desk.run("run", *QUICK, "--json", "m.yaml")
        assert (ended.code, [stop["kind"] for stop in ended.json["stops"]]) == (4, ["budget"])
        assert CENTS * len(server.accepted()) == BUDGET
        assert len(set(server.accepted().values())) == 9
        (month,) = (one for one in desk.run("budget", "--json").json["budgets"] if one["period"] == "month")
        assert (month["spent_usd"], month["left_usd"]) == (BUDGET / 100, 0.0)
