"""How long a create without an answer is looked for, and what is believed of it, in virtual time. The journal is the witness."""

from __future__ import annotations

from itertools import pairwise

import pytest

from batchgen.ledger.writer import Ledger
from batchgen.models import State
from batchgen.money.prices import BUILT_IN
from batchgen.run.dispositions import UNCLEAR
from batchgen.run.loading import load
from batchgen.run.plan import new_row
from batchgen.sandbox.journal import Entry
from tests.support.nights import Night, play

MINUTE = (60.0, 60.0)  # how long tasks take


def looked_up(night: Night, job: str) -> list[Entry]:
    """The queries for a job's ``external_task_id``, from its first create on."""
    name = next(row.external_task_id for row in night.rows() if row.job_id == job)
    begun = next(entry.at for entry in night.creates if entry.external_task_id == name)
    found = night.sandbox.journal.of("query")
    return [entry for entry in found if entry.path.endswith(f"/{name}") and entry.at >= begun]


@pytest.mark.parametrize("settle", [20.0, 300.0])
def test_what_was_never_made_is_created_again_only_after_the_time_to_settle(settle: float) -> None:
    """Though the API is seen to find the task that was made before it, by its id."""

    async def scene(night: Night) -> None:
        ran = await night.run(concurrency=1, settle=settle)
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": 2}), ran.words
        _, first, again = night.creates
        assert (first.external_task_id, first.accepted) == (again.external_task_id, False)
        assert settle <= again.at - first.at < settle + 45
        (row,) = [row for row in night.rows() if row.job_id == "j1"]
        (proven,) = [event for event in night.events(row) if event.event == "not_created"]
        assert (proven.code, proven.to_state) == ("1203", State.PENDING)
        assert proven.message == "the requested resource does not exist"

    play(scene, 2, "close_before@2", task_seconds=MINUTE)


def test_what_was_never_made_gives_its_slot_and_its_money_back() -> None:
    """There is one slot, and money for one clip more."""

    async def scene(night: Night) -> None:
        await night.run()
        night.write(2)
        ran = await night.run(max_running=1, max_cost=0.43, settle=30.0)
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": 2}), ran.words
        assert [entry.accepted for entry in night.creates] == [True, False, True]

    play(scene, 1, "close_before@2", task_seconds=MINUTE)


@pytest.mark.parametrize("settle", [1.0, 300.0])
def test_unclear_answers_about_a_create_end_its_settling_after_eight_of_them_and_its_time(
    settle: float,
) -> None:
    async def scene(night: Night) -> None:
        night.sandbox.add_fault("query_500=1")
        ran = await night.run(settle=settle)
        assert (ran.code, ran.tally.buckets) == (5, {"unknown": 1})
        assert "asked for its task, the API gave no clear answer either: " in ran.words
        first, *_, last_but_one, last = asked = looked_up(night, "j0")
        assert last.at - first.at >= settle
        assert len(asked) == UNCLEAR or (len(asked) > UNCLEAR and last_but_one.at - first.at < settle)
        shortest, longest = min(settle / 4, 1.0), 30.0  # each wait is up to half as long again, by chance
        waits = [later.at - earlier.at for earlier, later in pairwise(asked)]
        assert shortest <= waits[0] < 1.5 * shortest + 0.1
        assert max(waits) <= 1.5 * longest + 0.1
        assert settle < 60 or max(waits) >= longest

    play(scene, 1, "close_before@1", task_seconds=MINUTE)


def test_a_few_unclear_answers_once_its_time_is_over_leave_no_create_undecided() -> None:
    """However often it was answered before that there is no such task yet: unclear answers count in a row."""

    async def scene(night: Night) -> None:
        night.loop.call_later(290, night.sandbox.add_fault, "query_500=1")
        night.loop.call_later(390, night.sandbox.clear_faults)
        ran = await night.run(concurrency=1, settle=300.0)
        unclear = [entry for entry in looked_up(night, "j1") if entry.fault == "query_500"]
        assert 1 <= len(unclear) < UNCLEAR < len(looked_up(night, "j1"))
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": 2}), ran.words

    play(scene, 2, "close_before@2", task_seconds=MINUTE)


def test_an_account_that_refuses_to_be_asked_ends_the_settling_once_its_time_is_over() -> None:
    async def scene(night: Night) -> None:
        night.loop.call_later(1, night.sandbox.add_fault, "query_key_expired=1")
        ran = await night.run(settle=10.0)
        assert (ran.code, ran.tally.buckets) == (5, {"unknown": 1})
        assert "the API gave no clear answer either: the key has expired" in ran.words
        asked = looked_up(night, "j0")
        assert 10 <= asked[-1].at - asked[0].at < 25
        assert len(asked) < UNCLEAR

    play(scene, 1, "close_before@1", task_seconds=MINUTE)


def test_a_create_that_a_killed_run_sent_is_not_sent_again_while_nothing_shows_that_lookups_work() -> None:
    async def scene(night: Night) -> None:
        (job,) = load([str(night.folder / "m.yaml")]).jobs
        with Ledger.open(str(night.ledger), origin=night.sandbox.base_url, clock=night.loop.now) as ledger:
            await ledger.begin(new_row(job, job.external_task_id, BUILT_IN))
        ran = await night.run(settle=10.0)
        assert (ran.code, ran.tally.buckets, night.creates) == (5, {"unknown": 1}, [])
        assert "the run that sent this create stopped before its answer came" in ran.words
        assert (
            "the API finds no such task, which proves nothing: it has not been seen to find any" in ran.words
        )
        (row,) = night.rows()
        assert [event.event for event in night.events(row)] == ["planned", "intent", "lost_track"]
        assert row.state is State.UNKNOWN

    play(scene)


def test_what_an_earlier_night_left_uncertain_is_looked_for_by_the_next_as_long_as_by_the_first() -> None:
    async def scene(night: Night) -> None:
        await night.run(concurrency=1, until=30.0)
        assert night.states()[State.UNKNOWN] == 1
        ran = await night.run(settle=100.0)
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": 2}), ran.words
        assert [entry.accepted for entry in night.creates] == [True, False, True]
        assert night.creates[-1].at - ran.began >= 100.0

    play(scene, 2, "close_before@2", task_seconds=MINUTE)


def test_an_uncertain_create_is_settled_by_a_task_that_still_runs_once_the_api_finds_that() -> None:
    """Ids are found after 400 seconds, and the time to settle is 300: the other task shows then that this one was never made."""

    async def scene(night: Night) -> None:
        ran = await night.run(concurrency=1)
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": 2}), ran.words
        assert [entry.accepted for entry in night.creates] == [False, True, True]
        assert night.creates[-1].at > 400

    play(scene, 2, "close_before@1", lookup_lag=400.0, task_seconds=(600.0, 600.0))


@pytest.mark.parametrize("deadline", [None, 60.0])
def test_an_uncertain_create_does_not_wait_for_a_task_that_takes_far_longer_than_others(
    deadline: float | None,
) -> None:
    """Nothing else is left that could show that lookups work. After the deadline, a task is overdue sooner."""

    async def scene(night: Night) -> None:
        await night.run(concurrency=1)
        night.write(4)
        ran = await night.run(concurrency=1, deadline=deadline)
        assert (ran.code, ran.tally.buckets["unknown"]) == (5, 1), ran.words
        assert "it has not been seen to find any by its id" in ran.words
        name = next(row.external_task_id for row in night.rows() if row.state is State.UNKNOWN)
        last = max(entry.at for entry in night.sandbox.journal.of("query") if entry.path.endswith(name))
        assert 0 <= last - ran.began < 7200, last - ran.began

    play(scene, 2, "close_before@3", "task_never_ends@4", lookups=False, task_seconds=MINUTE)
