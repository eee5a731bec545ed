"""Whole nights with all that goes wrong in them, hour by hour: virtual time, the real program, the journal as witness."""

from __future__ import annotations

import re
from typing import Any

import pytest

from batchgen.errors import EndedEarly
from batchgen.models import State
from batchgen.run import following, lifecycle
from batchgen.run.dispositions import UNCLEAR
from batchgen.run.events import Finished
from batchgen.run.polling import MAX_OVERDUE
from batchgen.run.recovery import LOOKUP_ATTEMPTS
from batchgen.run.wall_time import CHECK
from tests.support.nights import Night, Ran, play

HOUR = 3600.0
SLOTS = 7
MINUTES = (60.0, 360.0)  # how long tasks take


def test_a_night_keeps_its_slots_busy_and_brings_every_clip_home() -> None:
    jobs = 120

    async def scene(night: Night) -> None:
        ran = await night.run(max_running=SLOTS)
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": jobs})
        assert ran.seconds >= HOUR
        assert night.idle(SLOTS) < 0.06
        assert max(entry.running for entry in night.entries) == SLOTS
        verdict = night.verdict(jobs)
        assert (verdict.accepts, verdict.violations) == (jobs, [])

    play(scene, jobs, slots=SLOTS, task_seconds=MINUTES)


@pytest.mark.parametrize("dead", [True, False], ids=["it is dead", "it answers"])
def test_a_run_that_leaves_at_its_end_says_that_the_api_was_not_there(dead: bool) -> None:
    async def scene(night: Night) -> None:
        ran = await night.run(until=300.0)
        said = [str(stop) for stop in ran.stops]
        assert (ran.code, said[0]) == (4, "its end has come (--until)")
        assert said[1:] == (
            ["the API could not be reached for the last 5 min: Connection reset by peer"] if dead else []
        )

    play(scene, 2, *(["query_reset=1"] if dead else []), task_seconds=HOUR)


def test_the_same_seed_plays_the_same_night_to_the_millisecond() -> None:
    async def scene(night: Night) -> list[tuple[float, str, str]]:
        await night.run()
        return [(entry.at, entry.kind, entry.path) for entry in night.entries]

    faults = ("task_fails_outage=0.1", "query_500=0.1", "reset_after=0.1", "slots_full=0.1")
    first, second, other = (
        play(scene, 20, *faults, seed=seed, slots=3, task_seconds=MINUTES) for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other


FAULTY = (
    "rate_limited=0.04",
    "internal_before=0.03",
    "internal_after=0.03",
    "reset_after=0.03",
    "html_502_after=0.02",
    "no_task_id=0.02",
    "close_before=0.02",
    "task_fails_outage=0.06",
    "query_500=0.04",
    "query_reset=0.02",
    "query_1302=0.01",
    "query_html=0.01",
    "video_500=0.05",
    "video_reset=0.05",
    "video_short=0.03",
)


@pytest.mark.parametrize("seed", [2, 3])
def test_a_night_in_which_much_goes_wrong_pays_nothing_twice_loses_nothing_and_keeps_its_slots(
    seed: int,
) -> None:
    jobs = 100

    async def scene(night: Night) -> None:
        ran = await night.run()
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": jobs}), ran.words
        verdict = night.verdict(jobs)
        assert verdict.violations == []
        assert verdict.accepts > jobs  # tasks that failed were tried again
        assert len(verdict.faults) >= len(FAULTY) - 3
        assert night.idle(SLOTS) < 0.15
        assert HOUR / 2 < ran.seconds < 3 * HOUR

    play(scene, jobs, *FAULTY, seed=seed, slots=SLOTS, task_seconds=MINUTES)


def test_creating_stops_after_eight_unclear_answers_in_a_row() -> None:
    """They come one at a time from the first on, whatever the concurrency; what they may have made is asked for."""

    async def scene(night: Night) -> Ran:
        ran = await night.run(concurrency=8)
        assert len(night.creates) == UNCLEAR == 8
        first, *later = [entry.at for entry in night.creates]
        assert all(after - before >= 1.0 for before, after in zip([first, *later], later, strict=False))
        return ran

    ran = play(scene, 20, "internal_before=1")
    assert ran.kinds == ["unclear"]
    assert "the API gave unclear answers 8 times in a row, the last: " in str(ran.stops[0])
    assert ran.tally.buckets == {"pending": 12, "unknown": 8}


def test_an_accepted_create_ends_the_row_of_unclear_answers() -> None:
    async def scene(night: Night) -> Ran:
        return await night.run(concurrency=1)

    turns = ",".join(str(turn) for turn in range(1, 24) if turn % UNCLEAR)
    ran = play(scene, 24, f"internal_before@{turns}")
    assert (ran.kinds, ran.tally.buckets) == ([], {"downloaded": 24})


def test_an_uncertain_create_is_left_undecided_only_once_no_other_job_can_show_that_lookups_work() -> None:
    """The API answers that it is asked too fast for ten minutes, twice what an uncertain create is looked for."""

    async def scene(night: Night) -> None:
        ran = await night.run(concurrency=1)
        made = [entry.at for entry in night.creates if entry.accepted]
        assert min(made) > 600
        assert (ran.code, ran.tally.buckets, len(made)) == (0, {"downloaded": 2}, 2), ran.words

    too_fast = ",".join(str(turn) for turn in range(2, 16))
    play(scene, 2, "close_before@1", f"rate_limited@{too_fast}", task_seconds=(60.0, 60.0))


def test_an_uncertain_create_does_not_wait_for_a_job_that_waits_for_its_slot_and_is_settled_by_the_next_night() -> (
    None
):
    """Where that job's task is found by its id, what isn't found was never made, and is created again."""

    async def scene(night: Night) -> tuple[Ran, Ran]:
        first = await night.run(max_running=1, until=HOUR)
        second = await night.run(max_running=1, until=HOUR)
        assert [entry.accepted for entry in night.creates] == [False, True, True]
        return first, second

    first, second = play(scene, 2, "close_before@1", task_seconds=(60.0, 60.0))
    buckets = {"downloaded": 1, "unknown": 1}
    assert (first.kinds, first.code, first.tally.buckets) == ([], 5, buckets), first.words
    assert (second.code, second.tally.buckets) == (0, {"downloaded": 2}), second.words


def test_a_task_whose_create_got_no_answer_is_found_however_late_the_api_finds_it() -> None:
    """It is found after 200 seconds, and an uncertain create is looked for during 300."""

    async def scene(night: Night) -> Ran:
        ran = await night.run(concurrency=1)
        assert [entry.accepted for entry in night.creates] == [True, True, True]
        return ran

    ran = play(scene, 3, "close_after@2", task_seconds=(60.0, 60.0), lookup_lag=200.0)
    assert (ran.code, ran.tally.buckets) == (0, {"downloaded": 3}), ran.words
    assert 200 < ran.seconds < 240


def test_a_task_is_waited_for_no_longer_than_six_hours() -> None:
    """Those of its kind took two, of which four times would be eight; it is asked for in the next night again."""

    async def scene(night: Night) -> tuple[Ran, Ran]:
        first = await night.run(concurrency=1)
        assert night.states() == {State.DOWNLOADED: 1, State.SUBMITTED: 1}
        night.sandbox.account.tasks[1].ends = night.loop.time()
        return first, await night.run()

    first, second = play(scene, 2, "task_never_ends@2", task_seconds=(2 * HOUR, 2 * HOUR))
    assert MAX_OVERDUE == 6 * HOUR
    assert MAX_OVERDUE <= first.seconds < MAX_OVERDUE + 120
    assert "has run for 6 h (of its kind, std/5, none took longer than 2 h)" in first.words
    assert second.tally.buckets == {"downloaded": 2}
    assert second.seconds < 0.5 * HOUR


def test_a_recovery_gives_up_after_six_questions_about_a_job_and_keeps_what_it_found() -> None:
    async def scene(night: Night) -> None:
        await night.run()
        night.ledger.unlink()
        begun, before = night.loop.time(), len(night.sandbox.journal.of("query"))
        night.sandbox.add_fault("query_500=1")
        with pytest.raises(EndedEarly, match="gave no answer about m.j0") as caught:
            await night.run(recover=True)
        assert caught.value.exit_code == 4
        assert len(night.sandbox.journal.of("query")) - before == LOOKUP_ATTEMPTS == 6
        assert 31 <= night.loop.time() - begun < 63 * 1.5
        night.sandbox.clear_faults()
        assert (await night.run(recover=True)).code == 0
        assert len(night.creates) == 1

    play(scene)


def test_nothing_is_created_after_the_deadline_and_what_was_comes_home() -> None:
    async def scene(night: Night) -> None:
        ran = await night.run(max_running=SLOTS, deadline=HOUR)
        assert (ran.kinds, ran.code) == (["deadline"], 4)
        assert HOUR - MINUTES[1] < max(entry.at for entry in night.creates) < HOUR
        made = len(night.creates)
        assert ran.tally.buckets == {"downloaded": made, "pending": 200 - made}
        assert HOUR < ran.seconds < HOUR + 2 * MINUTES[1]

    play(scene, 200, slots=SLOTS, task_seconds=MINUTES)


def test_what_would_not_end_before_the_run_does_is_not_created_and_all_that_was_is_home_by_then() -> None:
    """Tasks of ten minutes, and an end that is as soon as the deadline."""

    async def scene(night: Night) -> None:
        ran = await night.run(max_running=2, deadline=HOUR, until=HOUR)
        assert (ran.kinds, ran.code) == (["too_late"], 4)
        made = len(night.creates)
        assert ran.tally.buckets == {"downloaded": made, "pending": 200 - made}
        assert HOUR - 1500 < max(entry.at for entry in night.creates) < HOUR - 600
        assert ran.seconds < HOUR
        assert "most tasks of std/5 end within 10 min" in str(ran.stops[0])

    play(scene, 200, slots=2, task_seconds=(600.0, 600.0))


def test_without_a_deadline_tasks_are_created_until_the_run_ends_and_the_next_brings_them_home() -> None:
    async def scene(night: Night) -> None:
        ran = await night.run(max_running=2, until=HOUR)
        assert (ran.kinds, ran.code) == (["until"], 4)
        assert max(entry.at for entry in night.creates) > HOUR - 650
        assert ran.tally.buckets["submitted"] == 2

    play(scene, 200, slots=2, task_seconds=(600.0, 600.0))


@pytest.mark.parametrize("moment", ["deadline", "until"])
def test_a_machine_that_slept_past_a_moment_finds_it_passed(moment: str) -> None:
    """The loop's clock stands still meanwhile."""

    async def scene(night: Night) -> None:
        def sleep() -> None:
            night.loop.back -= 3 * HOUR

        night.loop.call_later(600, sleep)
        options: dict[str, Any] = {moment: 2 * HOUR}
        ran = await night.run(max_running=SLOTS, **options)
        assert (ran.kinds, ran.code) == ([moment], 4)
        assert max(entry.at for entry in night.creates) <= 600 + CHECK
        assert ran.seconds <= (600 + CHECK if moment == "until" else 600 + CHECK + 2 * MINUTES[1])

    play(scene, 200, slots=SLOTS, task_seconds=MINUTES)


def test_a_clock_that_is_set_back_moves_the_end_with_it() -> None:
    async def scene(night: Night) -> None:
        def set_back() -> None:
            night.loop.back += HOUR / 2

        night.loop.call_later(600, set_back)
        ran = await night.run(max_running=SLOTS, until=HOUR)
        assert ran.kinds == ["until"]
        assert 1.5 * HOUR <= ran.seconds <= 1.5 * HOUR + 60

    play(scene, 300, slots=SLOTS, task_seconds=MINUTES)


def test_a_run_leaves_at_its_end_whatever_still_runs_and_the_next_goes_on_without_paying_again() -> None:
    jobs = 40

    async def scene(night: Night) -> None:
        first = await night.run(max_running=SLOTS, until=HOUR / 4, timeout=30)
        assert (first.kinds, first.code) == (["until"], 4)
        assert HOUR / 4 <= first.seconds < HOUR / 4 + 2 * 30
        assert night.states()[State.SUBMITTED] == SLOTS
        second = await night.run()
        assert (second.code, second.tally.buckets) == (0, {"downloaded": jobs})
        verdict = night.verdict(jobs)
        assert (verdict.accepts, verdict.violations) == (jobs, [])

    play(scene, jobs, slots=SLOTS, task_seconds=MINUTES)


def test_a_job_whose_tasks_fail_for_no_fault_of_its_own_is_tried_three_times_a_night() -> None:
    async def scene(night: Night) -> None:
        first = await night.run()
        assert (first.tally.failed_tasks, len(night.creates)) == (3, 3)
        assert "the next run tries it again" in first.words
        assert first.tally.created["failed"] == 3
        (ending,) = first.tally.endings
        assert ending.external_task_id == night.creates[-1].external_task_id
        night.sandbox.clear_faults()
        second = await night.run()
        assert (second.code, second.tally.buckets, len(night.creates)) == (0, {"downloaded": 1}, 4)

    play(scene, 1, "task_fails_outage=1", task_seconds=(60.0, 60.0))


def test_a_job_whose_task_failed_waits_without_a_slot_and_longer_each_time() -> None:
    async def scene(night: Night) -> None:
        ran = await night.run(retry_wait=HOUR / 4, max_running=1)
        assert (ran.code, ran.tally.buckets, ran.tally.failed_tasks) == (0, {"downloaded": 2}, 2)
        times: dict[str, float] = {entry.external_task_id or "": entry.at for entry in night.creates}
        first, other, second, third = times.values()
        assert [name.partition("~")[2] for name in times] == ["", "", "2", "3"]
        assert other < first + 2 * MINUTES[0]  # the slot was free meanwhile
        assert HOUR / 4 <= second - first < HOUR * 3 / 8 + 3 * MINUTES[0]
        assert HOUR / 2 <= third - second < HOUR * 3 / 4 + 3 * MINUTES[0]

    play(scene, 2, "task_fails_outage@1,3", slots=1, task_seconds=(60.0, 60.0))


def test_a_job_whose_tasks_fail_as_often_as_they_may_is_told_why_and_each_task_is_counted_once() -> None:
    async def scene(night: Night) -> None:
        ran = await night.run()
        assert (ran.code, ran.tally.buckets, len(night.creates)) == (1, {"failed": 1}, 3)
        assert (ran.tally.failed_tasks, ran.tally.created["failed"]) == (3, 3)
        assert ran.words.endswith("(its task failed 3 times)"), ran.words

    play(scene, 1, "task_fails_unsaid=1", task_seconds=(60.0, 60.0))


def test_a_failure_of_a_jobs_own_is_tried_again_in_the_same_night_whatever_failed_before() -> None:
    async def scene(night: Night) -> None:
        ran = await night.run()
        assert (ran.code, ran.tally.buckets, len(night.creates)) == (0, {"downloaded": 1}, 4), ran.words

    play(scene, 1, "task_fails_outage@1,2", "task_fails_unsaid@3", task_seconds=(60.0, 60.0))


def test_a_task_that_failed_is_told_of_by_who_only_collects() -> None:
    async def scene(night: Night) -> None:
        await night.run(until=30.0)
        ran = await night.run(collect=True)
        assert (ran.code, ran.tally.others, len(night.creates)) == (1, {"failed": 1}, 1)
        assert re.search(r"^its task \d+ failed: Internal server error, please try again later \[", ran.words)

    play(scene, 1, "task_fails_outage=1", task_seconds=(60.0, 60.0))


def test_a_task_that_failed_after_its_job_was_changed_and_paid_again_is_no_failure_of_the_job() -> None:
    async def scene(night: Night) -> None:
        night.write([{"external_task_id": "mine"}])
        await night.run(until=30.0)
        night.write([{"external_task_id": "mine", "prompt": "another"}])
        ran = await night.run(accept_changes=True)
        assert [row.state for row in night.rows()] == [State.FAILED, State.DOWNLOADED]
        assert (ran.code, ran.tally.buckets, ran.words) == (0, {"downloaded": 1}, "")

    play(scene, 1, "task_fails_outage@1", task_seconds=(60.0, 60.0))


def test_a_run_follows_every_task_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "ENOUGH_FOLLOWED", 2)

    async def scene(night: Night) -> None:
        ran = await night.run()
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": 6})

    play(scene, 6, task_seconds=MINUTES)


def test_a_run_that_submits_alone_asks_rarely_while_slots_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "UNWANTED_QUERIES", 0.2)

    async def scene(night: Night) -> tuple[float, int]:
        ran = await night.run(submit_only=True, concurrency=2)
        assert ran.code == 0 and len(night.creates) == 100
        tasks = {row.task_id for row in night.rows()}
        asked = [
            entry for entry in night.sandbox.journal.of("query") if entry.path.rpartition("/")[2] in tasks
        ]
        return ran.seconds, len(asked)

    seconds, asked = play(scene, 100, latency=4.0, task_seconds=(50_000.0, 60_000.0))
    assert seconds > 400
    assert 0 < asked <= 0.3 * seconds


def test_a_run_that_submits_alone_sees_ends_in_time_where_a_create_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "UNWANTED_QUERIES", 0.001)

    async def scene(night: Night) -> float:
        ran = await night.run(submit_only=True, max_running=2)
        assert ran.code == 0 and len(night.creates) == 8
        return ran.seconds

    assert play(scene, 8, task_seconds=(100.0, 110.0)) < 3.5 * 110


def test_a_run_that_submits_alone_keeps_a_few_tasks_in_memory_and_counts_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "UNWANTED_QUERIES", 0.2)
    monkeypatch.setattr(lifecycle, "ENOUGH_FOLLOWED", 3)
    jobs = 60

    async def scene(night: Night) -> None:
        ran = await night.run(submit_only=True, concurrency=2)
        assert (ran.code, ran.tally.buckets) == (0, {"submitted": jobs})
        assert ran.tally.created["submitted"] == jobs
        finished = [event for event in night.heard if isinstance(event, Finished)]
        assert {event.task_id for event in finished} == {row.task_id for row in night.rows()}
        asked = {entry.path for entry in night.sandbox.journal.of("query")}
        tasks = {path for path in asked if path.rpartition("/")[2] in {row.task_id for row in night.rows()}}
        assert 1 <= len(tasks) <= 3
        assert (await night.run(collect=True)).tally.others == {"downloaded": jobs}

    play(scene, jobs, latency=4.0, task_seconds=(5_000.0, 6_000.0))


def test_a_run_that_submits_alone_asks_for_all_tasks_once_a_create_waits_for_the_end_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "ENOUGH_FOLLOWED", 1)
    jobs, slots = 40, 10

    async def scene(night: Night) -> tuple[float, int]:
        ran = await night.run(submit_only=True)
        assert ran.code == 0 and len(night.rows()) == jobs
        return ran.seconds, max(entry.running for entry in night.entries)

    seconds, running = play(scene, jobs, slots=slots, task_seconds=(100.0, 110.0))
    assert running == slots
    assert seconds < 1.3 * 110 * (jobs / slots - 1)
