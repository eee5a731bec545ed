"""Nights with budgets that bite: used to the cent, never exceeded, never held by money that wasn't spent. The journal is the witness."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any

import pytest

from batchgen.ledger.budgets import set_budgets
from batchgen.models import State
from batchgen.run.work_events import Held
from tests.support.nights import Night, Ran, play
from tests.support.virtual_time import EPOCH

HOUR, DAY = 3600.0, 86400.0
CLIP = 420_000  # micro-dollars for five seconds of `std` without sound: the test's own price list
MIDNIGHT = DAY - EPOCH % DAY  # seconds of virtual time until the next day begins in UTC
MINUTES = (60.0, 300.0)
SLOTS = 6


def allow(night: Night, **limits: int | None) -> None:
    set_budgets(str(night.ledger), limits, None, usual="UTC", at=night.loop.now(), by="test")


async def begin(night: Night, **limits: int | None) -> None:
    """Make the ledger with a night of nothing, and set its budgets."""
    assert (await night.run(collect=True)).code == 0
    allow(night, **limits)


def witnessed(night: Night) -> int:
    """The most that the account was ever owed in the ledger's day so far, by the journal: failed tasks are free once they end."""
    tasks = night.sandbox.account.tasks
    began = night.sandbox.account.started
    moments = [task.started for task in tasks]
    most = 0
    for moment in moments:
        day = (EPOCH + moment - began) // DAY
        owed = [
            CLIP
            for task in tasks
            if task.started <= moment
            and (EPOCH + task.started - began) // DAY == day
            and not (task.failure and task.ends < moment)
        ]
        most = max(most, sum(owed))
    return most


def spent(night: Night) -> int:
    with contextlib.closing(sqlite3.connect(night.ledger)) as connection:
        return int(connection.execute("SELECT ifnull(sum(micros), 0) FROM spent").fetchone()[0])


def stopped(ran: Ran) -> str:
    (stop,) = ran.stops
    assert (stop.kind, stop.exit_code, ran.code) == ("budget", 4, 4)
    return str(stop)


def test_a_day_that_is_spent_ends_the_creating_with_one_clear_line_and_the_next_day_goes_on() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=5 * CLIP, month=8 * CLIP + 1)
        first = await night.run()
        assert stopped(first) == (
            "the day's budget of $2.10 has no room for more: $2.10 is spent or held; for what is left it would have to be"
            " $5.04; the day ends 2026-09-22 00:00 (UTC)"
        )
        assert first.tally.buckets == {"downloaded": 5, "pending": 7}
        assert len(night.rows()) == len(night.creates) == 5
        again = await night.run()
        assert "day's budget" in stopped(again) and len(night.creates) == 5
        await asyncio.sleep(DAY)
        second = await night.run()
        assert stopped(second).startswith(
            "the month's budget of $3.360001 has no room for more: $3.36 is spent"
        )
        assert (len(night.creates), witnessed(night)) == (8, 5 * CLIP)
        allow(night, month=None)
        assert "day's budget" in stopped(await night.run()) and len(night.creates) == 10
        await asyncio.sleep(DAY)
        assert (await night.run()).code == 0
        assert night.verdict(12).violations == []

    play(scene, 12, slots=SLOTS, task_seconds=MINUTES)


def test_a_run_that_waits_for_money_says_so_once_for_each_period() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=2 * CLIP)
        await asyncio.sleep(MIDNIGHT - HOUR - night.loop.time())
        stopped(await night.run(retry_wait=1.0))
        said = [one for one in night.heard if isinstance(one, Held) and one.kind == "money" and one.text]
        over = said.pop()
        assert over.over
        assert [(one.level, one.over) for one in said] == [("notice", False)] * 2
        for one in said:
            assert "the day's budget of $0.84 has no room for more" in (one.text or "")
            assert (one.text or "").endswith(". What runs may cost less than its estimate")
        assert [one.until for one in said] == [
            pytest.approx(EPOCH + MIDNIGHT),
            pytest.approx(EPOCH + MIDNIGHT + DAY),
        ]
        assert said[0].at < EPOCH + MIDNIGHT <= said[1].at

    play(scene, 9, "task_fails_outage@1", task_seconds=(1.4 * HOUR, 1.6 * HOUR))


def test_a_failed_task_that_was_free_gives_its_money_back_within_the_night() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=6 * CLIP)
        ran = await night.run(retry_wait=1.0)
        stopped(ran)
        assert ran.tally.buckets["downloaded"] == 6
        assert spent(night) == witnessed(night) == 6 * CLIP
        assert len(night.creates) == 6 + ran.tally.failed_tasks > 6
        assert ran.tally.created.total() == len(night.creates)

    play(scene, 20, "task_fails_outage@2,3,7", slots=SLOTS, task_seconds=MINUTES)


@pytest.mark.parametrize("cap", ["run", "manifest"])
def test_the_caps_of_a_run_and_a_manifest_count_what_was_charged_as_well(cap: str) -> None:
    async def scene(night: Night) -> None:
        options: dict[str, Any] = {"max_cost": 2.52} if cap == "run" else {}
        if cap == "manifest":
            text = (night.folder / "m.yaml").read_text()
            (night.folder / "m.yaml").write_text(
                text.replace('"version": 1', '"version": 1, "max_cost_usd": 2.52')
            )
        ran = await night.run(retry_wait=1.0, **options)
        (stop,) = ran.stops
        kind, begins = {"run": ("cost_cap", "the"), "manifest": ("manifest_cost_cap", "m: its")}[cap]
        assert (stop.kind, ran.code) == (kind, 4)
        assert str(stop).startswith(
            f"{begins} cost cap of $2.52 was reached: $2.52 is spent or held; for what is left"
        )
        assert ran.tally.buckets["downloaded"] == 6
        assert spent(night) == witnessed(night) == 6 * CLIP
        assert ran.tally.created.total() == len(night.creates) == 6 + ran.tally.failed_tasks > 6

    play(scene, 20, "task_fails_outage@2,3,7", slots=SLOTS, task_seconds=MINUTES)


def test_a_day_that_ends_in_the_middle_of_a_run_makes_room_in_that_run() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=2 * CLIP)
        await asyncio.sleep(MIDNIGHT - 2 * HOUR - night.loop.time())
        ran = await night.run()
        stopped(ran)
        times = [entry.at - MIDNIGHT for entry in night.creates]
        assert all(-2 * HOUR <= at < -2 * HOUR + 5 for at in times[:2])
        assert all(0 <= at < 5 for at in times[2:]) and len(times) == 4
        assert ran.tally.buckets == {"downloaded": 4, "pending": 1}
        assert witnessed(night) == 2 * CLIP

    play(scene, 5, task_seconds=(3 * HOUR, 3 * HOUR))


def test_a_budget_that_is_raised_or_taken_away_while_a_run_is_on_holds_from_its_next_create_on() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=2 * CLIP)
        night.loop.call_later(1000, allow, night)  # nothing changes
        night.loop.call_later(1900, lambda: allow(night, day=3 * CLIP))
        night.loop.call_later(5000, lambda: allow(night, day=0))
        night.loop.call_later(13000, lambda: allow(night, day=None))
        ran = await night.run(max_running=2)
        times = [entry.at for entry in night.creates]
        assert stopped(ran).startswith("the day's budget of $0.00 has no room for more: $1.26 is spent")
        assert len(times) == 3 and 3000 < times[2] < 3700
        await asyncio.sleep(max(13001 - night.loop.time(), 0.0))
        assert (await night.run()).code == 0 and len(night.creates) == 6

    play(scene, 6, task_seconds=(3000.0, 3600.0))


def test_a_create_that_nobody_knows_the_outcome_of_counts_as_spent() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=4 * CLIP)
        ran = await night.run(settle=10.0, timeout=5.0)
        assert "budget" in ran.kinds and ran.code == 4
        states = night.states()
        assert states[State.UNKNOWN] and sum(states.values()) == len(night.creates) == 4
        assert spent(night) == witnessed(night) == 4 * CLIP

    play(scene, 12, "reset_after@2,3", lookups=False, slots=SLOTS, task_seconds=MINUTES)


def test_what_was_refused_or_never_made_holds_no_money() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=5 * CLIP)
        ran = await night.run(settle=20.0, timeout=5.0)
        stopped(ran)
        assert ran.tally.buckets["downloaded"] == 5
        assert spent(night) == witnessed(night) == 5 * CLIP
        assert ran.tally.buckets["rejected"] > 0

    play(
        scene,
        30,
        "refuse_policy=0.2",
        "reset_early=0.2",
        "reset_before=0.2",
        slots=SLOTS,
        task_seconds=MINUTES,
    )


def test_budgets_that_cannot_be_held_stop_the_creating_and_what_is_open_comes_home() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=5 * CLIP)
        assert (await night.run(until=10.0, max_jobs=2)).code == 4
        set_budgets(str(night.ledger), {}, "Mars/Olympus", usual="UTC", at=night.loop.now(), by=None)
        ran = await night.run()
        assert (ran.kinds, ran.code) == (["ledger"], 2)
        assert "no time zone is called 'Mars/Olympus' on this machine" in str(ran.stops[0])
        assert "`batchgen budget set --timezone NAME` names another" in str(ran.stops[0])
        assert ran.tally.buckets == {"downloaded": 2, "pending": 2} and len(night.creates) == 2
        set_budgets(str(night.ledger), {}, "UTC", usual="UTC", at=night.loop.now(), by=None)
        assert (await night.run()).code == 0

    play(scene, 4, slots=SLOTS, task_seconds=MINUTES)


def test_a_clock_that_is_set_back_while_a_run_is_on_spends_no_day_twice() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=2 * CLIP)
        assert "day's budget" in stopped(await night.run())
        night.loop.back = 2 * DAY
        assert stopped(await night.run()).startswith(
            "the day's budget of $0.84 has no room for more: $0.84 is spent"
        )
        assert len(night.creates) == 2
        night.loop.back = 0.0
        await asyncio.sleep(DAY)
        stopped(await night.run())
        assert len(night.creates) == 4 and witnessed(night) == 2 * CLIP

    play(scene, 8, slots=SLOTS, task_seconds=MINUTES)


def test_a_run_that_submits_alone_waits_for_money_that_its_tasks_may_bring_back() -> None:
    async def scene(night: Night) -> None:
        await begin(night, day=3 * CLIP)
        ran = await night.run(submit_only=True)
        assert ran.kinds == ["budget"] and len(night.creates) == 5
        assert spent(night) == witnessed(night) == 3 * CLIP

    play(scene, 9, "task_fails_outage@1,2", task_seconds=MINUTES)


def test_tasks_that_do_not_end_leave_a_run_that_waits_for_money_with_the_budget_as_its_reason() -> None:
    async def scene(night: Night) -> None:
        await begin(night, month=2 * CLIP)
        ran = await night.run()
        assert "month's budget" in stopped(ran)
        assert night.states() == {State.SUBMITTED: 2}
        assert ran.seconds < 3 * DAY

    play(scene, 5, task_seconds=(1e8, 1e8))


@pytest.mark.parametrize("seed", range(6))
def test_many_nights_with_everything_in_them_spend_each_day_to_its_budget_and_no_more(seed: int) -> None:
    faults = (
        "task_fails_outage=0.2",
        "reset_after=0.15",
        "refuse_policy=0.05",
        "reset_before=0.1",
        "query_500=0.1",
    )
    jobs = 30

    async def scene(night: Night) -> None:
        await begin(night, day=7 * CLIP, month=40 * CLIP)
        for _ in range(12):
            until = night.rng.choice([None, None, 300.0, 900.0])
            ran = await night.run(settle=30.0, timeout=10.0, retry_wait=5.0, until=until)
            assert witnessed(night) <= 7 * CLIP
            if ran.code == 0:
                break
            await asyncio.sleep(night.rng.choice([0.0, 3 * HOUR, DAY]))
        assert spent(night) <= 40 * CLIP
        night.sandbox.clear_faults()
        allow(night, day=None, month=None)
        await night.run(retry_failed=True)
        made = [task for task in night.sandbox.account.tasks if not task.failure]
        assert len(made) == jobs and spent(night) == jobs * CLIP

    play(scene, jobs, *faults, seed=seed, slots=SLOTS, task_seconds=MINUTES)
