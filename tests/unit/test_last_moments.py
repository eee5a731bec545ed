"""Until when jobs are created: by the deadline, and so early that their tasks end before the run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from batchgen.jobs import Job, Place
from batchgen.run.lanes import Lane, Work
from batchgen.run.last_moments import HOME
from batchgen.run.plan import Action, Step
from batchgen.run.polling import Lengths
from batchgen.run.pool import Limits, Pool

DEADLINE, UNTIL = 1000.0, 1200.0


def work(lane: Lane, **request: Any) -> Work:
    job = Job("m", "j", 1, "m-j", "0" * 64, request, "/clips", Place("m.yaml"))
    return Work(lane, Step(job, Action.CREATE, "m-j", "new"))


def pool_of(
    jobs: Sequence[dict[str, Any]],
    *,
    deadline: float | None = DEADLINE,
    until: float | None = UNTIL,
    **known: float,
) -> Pool:
    """A pool whose tasks of ``known`` modes, of five seconds, took so long."""
    lane = Lane("m")
    lane.queue.extend(work(lane, **job) for job in jobs)
    lengths = Lengths(
        known=lambda kind: [known[kind.partition("/")[0]]] if kind.partition("/")[0] in known else []
    )
    pool = Pool(Limits(max_running=8, deadline=deadline, until=until), random.Random(1), None, lengths)
    pool.lanes.append(lane)
    return pool


def last(pool: Pool) -> float:
    """The last whole second in which a job of the pool is created."""
    lane = pool.lanes[0]
    return max(now for now in range(1500) if now < pool.last.moment(lane.queue[0]))


def test_a_job_s_last_moment_counts_back_from_the_end_by_what_its_kind_takes() -> None:
    assert last(pool_of([{"mode": "pro"}], pro=500.0)) == UNTIL - 500 - HOME - 1
    assert last(pool_of([{"mode": "pro"}], pro=100.0)) == DEADLINE - 1
    assert last(pool_of([{"mode": "pro"}], std=500.0)) == DEADLINE - 1, "its own kind isn't known"
    assert last(pool_of([{}], std=500.0)) == UNTIL - 500 - HOME - 1, (
        "std is the mode of a request without one"
    )
    assert last(pool_of([{"mode": "pro"}], until=None, pro=500.0)) == DEADLINE - 1
    assert last(pool_of([{"mode": "pro"}], deadline=None, pro=500.0)) == 1499, (
        "it counts back from both alone"
    )


def test_a_job_of_a_quick_kind_is_created_when_slow_ones_are_too_late_whatever_their_order() -> None:
    pool = pool_of([{"mode": "pro"}, {"mode": "std"}, {"mode": "pro"}], pro=500.0, std=50.0)
    found = pool.next(700.0)
    assert found is not None
    assert found.kind == "std/5"
    assert pool.stops == []
    assert pool.waiting == 2
    assert pool.next(700.0) is None
    assert pool.closed is not None
    assert pool.closed.kind == "too_late"
    assert "pro/5 end within 8 min" in str(pool.closed)
    assert pool.waiting == 2, "they are left for the next run"


def test_nothing_is_left_out_before_its_last_moment_and_the_run_wakes_at_it() -> None:
    pool = pool_of([{"mode": "pro"}, {"mode": "pro"}], pro=500.0)
    assert pool.next(639.0) is not None
    assert pool.delay(639.0) == pytest.approx(1.0)
    assert pool.next(640.0) is None
    assert pool.closed is not None


def test_a_retry_that_would_not_end_in_time_is_not_waited_for() -> None:
    pool = pool_of([], pro=500.0)
    retry = work(pool.lanes[0], mode="pro")
    retry.outcome = retry.outcome._replace(retry_in=120.0)
    pool.schedule_retry(retry, 500.0)
    assert pool.has_retries
    pool.last.shift(60.0)
    assert not pool.has_retries


def test_a_machine_that_slept_is_so_much_nearer_to_its_moments() -> None:
    pool = pool_of([{"mode": "pro"}, {"mode": "pro"}], pro=500.0)
    pool.last.shift(100.0)
    assert last(pool) == UNTIL - 500 - HOME - 101
    assert not pool.last.late(899.0)
    assert pool.last.late(900.0)


def test_after_the_deadline_nothing_is_created_whatever_its_kind_takes() -> None:
    pool = pool_of([{"mode": "pro"}], pro=1.0)
    assert pool.next(DEADLINE) is None
    assert pool.closed is not None
    assert pool.closed.kind == "deadline"


def test_one_task_that_was_stuck_for_hours_says_nothing_about_its_kind_once_ten_are_known() -> None:
    lengths = Lengths()
    lengths.learn("pro/5", [5 * 3600.0])
    assert lengths.usual("pro/5") == 5 * 3600.0
    lengths.learn("pro/5", [600.0] * 9)
    assert lengths.usual("pro/5") == 600.0
    assert lengths.longest("pro/5") == 5 * 3600.0
    assert lengths.overdue_at("pro/5") == 2400.0
    assert lengths.usual("std/5") is None


def test_what_earlier_runs_saw_of_a_kind_is_read_once_and_gives_way_to_what_is_seen_now() -> None:
    asked: list[str] = []

    def known(kind: str) -> list[float]:
        asked.append(kind)
        return [30.0, 20.0, 10.0, 5.0]  # the latest first

    lengths = Lengths(keep=3, known=known)
    assert lengths.longest("pro/5") == 30.0
    lengths.learn("pro/5", [1.0, 1.0])
    assert lengths.longest("pro/5") == 30.0, "the earliest two are forgotten"
    lengths.learn("pro/5", [1.0])
    assert lengths.longest("pro/5") == 1.0
    assert asked == ["pro/5"]
