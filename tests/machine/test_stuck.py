"""Tasks that never end, or that the API no longer knows: no run waits for them, and none is given up too early."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import time
from collections.abc import Iterator

import pytest

from batchgen.run.following import GONE_AFTER, MAX_NOT_FOUND, OVERDUE_ANSWERS
from batchgen.run.lanes import Lane, Work
from batchgen.run.polling import MAX_OVERDUE, MIN_OVERDUE, UNKNOWN_OVERDUE, Lengths
from batchgen.run.pool import MAX_REFUSALS, Limits, Pool
from tests.support.program import Desk, Server, sandbox, until

PACE = ("--poll-interval", "0.05", "--timeout", "1", "--settle", "1")
TASKS = ("--task-seconds", "0.05-0.2")
DAY = 86400.0


def write_jobs(desk: Desk, count: int) -> None:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(count)]
    desk.write("m.yaml", json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs}))


def ledger(desk: Desk) -> sqlite3.Connection:
    return sqlite3.connect(desk.folder / "home/.local/state/batchgen/ledger.db", isolation_level=None)


def age(desk: Desk, seconds: float) -> None:
    """Let the open tasks be so much older."""
    with ledger(desk) as connection:
        connection.execute(
            "UPDATE tasks SET submitted_at = submitted_at - ? WHERE state = 'submitted'", (seconds,)
        )


def states(desk: Desk) -> list[str]:
    return [row["state"] for row in desk.export()]


@pytest.fixture
def stuck(desk: Desk) -> Iterator[tuple[Desk, Server]]:
    """Three jobs whose tasks were made yesterday; the first one's never ends."""
    write_jobs(desk, 3)
    with sandbox(desk.folder, *TASKS, "--fault", "task_never_ends@1") as server:
        desk.against(server)
        assert desk.run("run", "--submit-only", *PACE, "m.yaml").code == 0
        server.ask("faults", {"clear": True})
        age(desk, DAY)
        yield desk, server


def test_a_run_leaves_when_only_a_task_that_never_ends_is_left_and_names_it(
    stuck: tuple[Desk, Server],
) -> None:
    desk, server = stuck
    started = time.monotonic()
    night = desk.run("run", *PACE, "m.yaml")
    assert night.code == 4
    assert time.monotonic() - started < 30
    assert sorted(states(desk)) == ["downloaded", "downloaded", "submitted"]
    (line,) = (line for line in night.err.splitlines() if "m/j0" in line)
    assert "has run for 24 h" in line
    assert f"answered {OVERDUE_ANSWERS} times" in line or "answered 4 times" in line
    assert "'processing'" in line
    assert "the next run asks again" in line
    assert "--abandon" not in night.err
    assert len(server.accepted()) == 3


@pytest.mark.parametrize("command", [("run", "m.yaml"), ("collect",)], ids=["run", "collect"])
def test_the_next_runs_ask_again_a_few_times_count_on_and_bring_it_home_when_it_ends(
    stuck: tuple[Desk, Server], command: tuple[str, ...]
) -> None:
    desk, server = stuck
    counts = []
    for _ in range(3):
        asked = len(server.entries())
        night = desk.run(command[0], *PACE, *command[1:])
        assert night.code == 4
        assert len(server.entries()) - asked < 30
        counts += [int(number) for number in re.findall(r"answered (\d+) times", night.err)]
    assert len(counts) == 3
    assert counts[0] < counts[1] < counts[2]
    server.ask("finish", {})
    assert desk.run(command[0], *PACE, *command[1:]).code == 0
    assert states(desk) == ["downloaded"] * 3
    assert len(server.accepted()) == 3


def test_new_jobs_are_made_beside_it_and_it_counts_among_the_slots(stuck: tuple[Desk, Server]) -> None:
    desk, server = stuck
    write_jobs(desk, 7)
    night = desk.run("run", "--max-running", "2", *PACE, "m.yaml")
    assert night.code == 4
    assert sorted(states(desk)) == ["downloaded"] * 6 + ["submitted"]
    later = [entry for entry in server.entries() if entry.kind == "create"][3:]
    assert len(later) == 4
    assert max(entry.running for entry in later) <= 2


def test_a_slot_that_somebody_else_has_meanwhile_is_waited_for(stuck: tuple[Desk, Server]) -> None:
    desk, server = stuck
    assert desk.run("collect", *PACE).code == 4
    write_jobs(desk, 4)
    server.ask("faults", {"add": ["slots_full@1,2"]})
    assert desk.run("run", *PACE, "m.yaml").code == 4
    assert sorted(states(desk)) == ["downloaded"] * 3 + ["submitted"]


def test_a_wary_run_tries_a_job_beside_it(stuck: tuple[Desk, Server]) -> None:
    """The night before was stopped by its failures, and the task that never ends is no reason to wait."""
    desk, server = stuck
    assert desk.run("collect", *PACE).code == 4
    with ledger(desk) as connection:
        connection.execute("INSERT INTO notes VALUES ('tasks_fail', 'yes')")
    write_jobs(desk, 8)
    assert desk.run("run", *PACE, "m.yaml").code == 4
    assert sorted(states(desk)) == ["downloaded"] * 7 + ["submitted"]
    first, second, *_ = [entry for entry in server.entries() if entry.kind == "create"][3:]
    assert second.at > first.at + 0.05, "the first one has ended"


def test_where_it_has_the_only_slot_the_run_leaves_and_says_so(stuck: tuple[Desk, Server]) -> None:
    desk, server = stuck
    assert desk.run("collect", *PACE).code == 4
    write_jobs(desk, 4)
    night = desk.run("run", "--json", "--max-running", "1", *PACE, "m.yaml")
    assert night.code == 4
    assert (night.json["buckets"]["pending"], night.json["buckets"]["submitted"]) == (1, 1)
    assert "task" in night.json["stopped"] and "slot" in night.json["stopped"]
    assert len(server.accepted()) == 3


def test_a_task_that_is_not_old_yet_is_waited_for(desk: Desk) -> None:
    write_jobs(desk, 1)
    with sandbox(desk.folder, *TASKS, "--fault", "task_never_ends@1") as server:
        desk.against(server)
        process = desk.start("run", *PACE, "m.yaml")
        until(
            lambda: len([entry for entry in server.entries() if entry.kind == "query"]) > 2 * OVERDUE_ANSWERS
        )
        assert process.poll() is None
        server.ask("finish", {})
        assert desk.finish(process).code == 0


def test_after_the_deadline_a_task_that_takes_far_longer_than_others_of_its_kind_is_not_waited_for(
    desk: Desk,
) -> None:
    write_jobs(desk, 4)
    with sandbox(desk.folder, *TASKS, "--fault", "task_never_ends@1") as server:
        desk.against(server)
        assert (
            desk.run("run", "--submit-only", *PACE, "m.yaml").code == 0
        )  # so that no create races the deadline
        night = desk.run("run", "--deadline", "1s", *PACE, "m.yaml")
        assert night.code == 4
        assert sorted(states(desk)) == ["downloaded"] * 3 + ["submitted"]
        assert "the next run asks again" in night.err


@pytest.mark.parametrize(
    ("known", "overdue", "hurried"),
    [
        ([], UNKNOWN_OVERDUE, MIN_OVERDUE),
        ([60.0, 120.0], MIN_OVERDUE, 240.0),
        ([5.0], MIN_OVERDUE, 60.0),
        ([1200.0], 4800.0, 2400.0),
        ([4 * 3600.0], MAX_OVERDUE, MAX_OVERDUE / 2),
    ],
    ids=["never seen", "usual", "quick", "slow", "very slow"],
)
def test_how_long_a_task_is_waited_for_is_learned_between_limits(
    known: list[float], overdue: float, hurried: float
) -> None:
    lengths = Lengths()
    if known:
        lengths.learn("pro/5", known)
    assert (lengths.overdue_at("pro/5"), lengths.overdue_after_deadline("pro/5", 60.0)) == (overdue, hurried)


def test_slots_that_nothing_of_ours_will_free_are_tried_a_few_times_and_then_left() -> None:
    """The account has one slot, which a task that never ends has; the limit isn't known."""
    lane = Lane("night")
    lane.queue.extend(Work(lane) for _ in range(2))
    pool = Pool(Limits(), random.Random(1))
    pool.lanes.append(lane)
    pool.found(Work(Lane("older")))
    now, refusals = 0.0, 0
    while not pool.blocked:
        work = pool.next(now, overdue=True)
        if work is None:
            delay = pool.delay(now)
            assert delay is not None
            now += delay
            continue
        assert pool.next(now, overdue=True) is None, "one at a time"
        pool.refused_slot(work, now)
        lane.again.append(work)
        refusals += 1
    assert refusals == MAX_REFUSALS
    assert 60 < now < 300


def test_a_free_slot_beside_one_is_found_again_after_a_refusal() -> None:
    lane = Lane("night")
    lane.queue.extend(Work(lane) for _ in range(2))
    pool = Pool(Limits(max_running=2), random.Random(1))
    pool.lanes.append(lane)
    pool.found(Work(Lane("older")))
    work = pool.next(0.0)
    assert work is not None
    pool.refused_slot(work, 0.5)
    lane.again.append(work)
    assert pool.next(10.0) is None
    assert not pool.blocked
    again = pool.next(10.0, overdue=True)
    assert again is work
    pool.started(again, 10.5)
    assert pool.blocked, "both slots are taken now"


# -- tasks that the API does not know ---------------------------------------------------------------------------------


def denied(desk: Desk, server: Server) -> str:
    """A job whose task the API denies, and a night that heard so. Returns its id."""
    write_jobs(desk, 1)
    assert desk.against(server).run("run", "--submit-only", *PACE, "m.yaml").code == 0
    server.ask("faults", {"add": ["query_not_found=1"]})
    night = desk.run("run", *PACE, "m.yaml")
    assert night.code == 4
    assert "the next run asks again" in night.err
    assert "--abandon" not in night.err
    return str(desk.export()[0]["external_task_id"])


def heard_long_ago(desk: Desk) -> None:
    """Let all that was heard so far have been heard days ago."""
    with ledger(desk) as connection:
        ((kept,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'events_stay'")
        connection.execute("DROP TRIGGER events_stay")
        connection.execute("UPDATE events SET at = at - ?", (1.01 * GONE_AFTER,))
        connection.execute(kept)


def test_a_task_that_is_denied_for_days_is_reported_as_gone_until_a_person_gives_it_up(desk: Desk) -> None:
    with sandbox(desk.folder, "--task-seconds", "600") as server:
        name = denied(desk, server)
        heard_long_ago(desk)
        gone = desk.run("run", *PACE, "m.yaml")
        assert gone.code == 5
        assert "ask the vendor's support" in gone.err
        assert f"batchgen resolve {name} --abandon" in gone.err
        assert f"asked {2 * MAX_NOT_FOUND} times in 3 days" in gone.err or "times in 73 h" in gone.err
        assert desk.run("resolve", name, "--not-created").code == 2
        assert desk.run("resolve", name, "--abandon").code == 0
        assert desk.run("run", *PACE, "m.yaml").code == 0
        assert len(server.accepted()) == 1


def test_a_task_that_was_seen_in_between_is_not_gone(desk: Desk) -> None:
    with sandbox(desk.folder, "--task-seconds", "600") as server:
        name = denied(desk, server)
        heard_long_ago(desk)
        server.ask("faults", {"clear": True})
        process = desk.start("run", *PACE, "m.yaml")
        until(lambda: "known_again" in desk.run("status", "--json", name).out)
        process.terminate()
        desk.finish(process)
        server.ask("faults", {"add": ["query_not_found=1"]})
        for _ in range(2):
            night = desk.run("run", *PACE, "m.yaml")
            assert (night.code, "--abandon" in night.err) == (4, False)
        server.ask("faults", {"clear": True})
        server.ask("finish", {})
        assert desk.run("run", *PACE, "m.yaml").code == 0


def test_a_task_that_is_denied_after_results_are_deleted_is_gone_at_once(desk: Desk) -> None:
    with sandbox(desk.folder, "--task-seconds", "600") as server:
        write_jobs(desk, 1)
        assert desk.against(server).run("run", "--submit-only", *PACE, "m.yaml").code == 0
        age(desk, 31 * DAY)
        server.ask("faults", {"add": ["query_not_found=1"]})
        assert desk.run("run", *PACE, "m.yaml").code == 5


def test_an_uncertain_create_beside_it_does_not_hold_the_run_either(desk: Desk) -> None:
    """Nothing that goes on could show any more that lookups work."""
    write_jobs(desk, 1)
    options = ("--no-lookups", "--no-unique", "--fault", "task_never_ends@1", "--fault", "reset_after@2")
    with sandbox(desk.folder, *TASKS, *options) as server:
        desk.against(server)
        assert desk.run("run", "--submit-only", *PACE, "m.yaml").code == 0
        age(desk, DAY)
        write_jobs(desk, 2)
        night = desk.run("run", *PACE, "m.yaml")
        assert night.code == 4
        assert states(desk) == ["submitted", "unknown"]
        assert "nobody can tell" in night.err and "has run for 24 h" in night.err
        assert len(server.accepted()) == 2


def test_a_task_that_can_not_be_asked_for_keeps_its_slot_and_holds_no_run(stuck: tuple[Desk, Server]) -> None:
    desk, server = stuck
    assert desk.run("collect", *PACE).code == 4
    write_jobs(desk, 4)
    server.ask("faults", {"add": ["query_500=1"]})
    night = desk.run("run", "--max-running", "1", "--poll-interval", "0.05", "--timeout", "0.3", "m.yaml")
    assert night.code == 4
    assert "gives no answer about its task" in night.err
    assert len(server.accepted()) == 3, "its slot is not known to be free"
