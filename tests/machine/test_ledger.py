"""The ledger's rules, on real files, with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchgen.cli.export_rows import EXPORT_FIELDS, export_row
from batchgen.errors import LedgerBusy, LedgerError, LedgerLost, TransitionError
from batchgen.ledger import database
from batchgen.ledger.lock import Lock
from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import ALLOWED, MAY_BE_PAID
from batchgen.ledger.writer import Ledger
from batchgen.models import Brief, Change, ImageFile, Job, Manifest, Place, Record, State

ORIGIN = "https://api.example"
ROOT = Path(__file__).parents[2]


def job(name: str = "hero", *, base: str | None = None, output: str | None = None, **fields: Any) -> Record:
    given: dict[str, Any] = {
        "external_task_id": name,
        "base_id": base or name,
        "manifest": "night",
        "job_id": base or name,
        "take": 1,
        "digest": "d" * 64,
        "canonical": '{"duration":"5","mode":"pro"}',
        "state": State.PENDING,
        "output_path": output or f"/clips/night/{base or name}.mp4",
    }
    return Record(**(given | fields))


def manifest(name: str, *job_ids: str) -> Manifest:
    jobs = [Job(name, one, 1, one, "d" * 64, {}, "/clips", Place("m.yaml")) for one in job_ids]
    return Manifest("m.yaml", name, jobs=jobs)


def change(name: str, to: State, event: str = "happened", **fields: Any) -> Change:
    return Change(name, to, event, values=VALUES.get(to, {}), **fields)


VALUES: dict[State, dict[str, Any]] = {
    State.SUBMITTED: {"task_id": "t1"},
    State.SUCCEEDED: {"video_url": "https://cdn.example/1.mp4"},
    State.DOWNLOADED: {"video_path": "/clips/1.mp4", "video_sha256": "f" * 64},
}

# A way to every state, from nothing.
WAYS: dict[State, tuple[State, ...]] = {
    State.PENDING: (State.SUBMITTING, State.PENDING),
    State.SUBMITTING: (State.SUBMITTING,),
    State.UNKNOWN: (State.SUBMITTING, State.UNKNOWN),
    State.SUBMITTED: (State.SUBMITTING, State.SUBMITTED),
    State.SUCCEEDED: (State.SUBMITTING, State.SUBMITTED, State.SUCCEEDED),
    State.DOWNLOADED: (State.SUBMITTING, State.SUBMITTED, State.SUCCEEDED, State.DOWNLOADED),
    State.FAILED: (State.SUBMITTING, State.SUBMITTED, State.FAILED),
    State.REJECTED: (State.SUBMITTING, State.REJECTED),
}


async def bring(ledger: Ledger, record: Record, state: State) -> Record:
    for step in WAYS[state]:
        if step is State.SUBMITTING:
            record = await ledger.begin(record)
        else:
            record = await ledger.apply(change(record.external_task_id, step))
    return record


class Clock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(path: str, clock: Clock) -> Iterator[Ledger]:
    with Ledger.open(path, origin=ORIGIN, clock=clock) as opened:
        yield opened


def run(*steps: Coroutine[Any, Any, Any]) -> Any:
    """Await the steps one after the other; the last one's result."""

    async def one_by_one() -> Any:
        result = None
        for step in steps:
            result = await step
        return result

    return asyncio.run(one_by_one())


def make(path: str, *records: Record, origin: str = ORIGIN) -> None:
    with Ledger.open(path, origin=origin) as ledger:
        run(*(ledger.begin(record) for record in records))


# -- the life of a row --------------------------------------------------------------------------------


def test_begin_makes_the_row_and_puts_the_intent_on_disk(ledger: Ledger, path: str, clock: Clock) -> None:
    row = run(ledger.begin(job(estimate=560_000), detail={"pid": 7}))

    assert row == job(estimate=560_000)._replace(
        state=State.SUBMITTING, attempt=1, created_at=clock.now, quarter=int(clock.now // 900)
    )
    with Records.read(path) as reader:
        assert reader.record("hero") == row
        events = reader.events("hero")
    assert [(one.event, one.from_state, one.to_state) for one in events] == [
        ("planned", None, State.PENDING),
        ("intent", State.PENDING, State.SUBMITTING),
    ]
    assert events[1].detail == {"pid": 7}


def test_a_life_from_intent_to_clip_is_kept_with_its_times(ledger: Ledger, clock: Clock) -> None:
    run(ledger.begin(job()))
    clock.now += 2
    run(ledger.apply(change("hero", State.SUBMITTED, "accepted", request_id="r1")))
    clock.now += 60
    run(ledger.apply(change("hero", State.SUCCEEDED, "task_succeeded")))
    row = run(ledger.apply(change("hero", State.DOWNLOADED, "downloaded")))

    assert row == ledger.record("hero")
    assert (row.task_id, row.request_id, row.attempt) == ("t1", "r1", 1)
    assert (row.submitted_at, row.finished_at) == (clock.now - 60, clock.now)
    assert ledger.durations("pro/5") == [60.0]
    assert ledger.durations("std/5") == []
    assert [one.event for one in ledger.events("hero")] == [
        "planned",
        "intent",
        "accepted",
        "task_succeeded",
        "downloaded",
    ]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_only_allowed_changes_are_written(ledger: Ledger, before: State, after: State) -> None:
    row = run(bring(ledger, job(), before))
    history = ledger.events("hero")

    if after in ALLOWED[before] and after is not State.SUBMITTING:
        assert run(ledger.apply(change("hero", after))).state is after
        assert len(ledger.events("hero")) == len(history) + 1
    else:
        with pytest.raises(TransitionError):
            run(ledger.apply(change("hero", after)))
        assert ledger.record("hero") == row
        assert ledger.events("hero") == history


@pytest.mark.parametrize("state", list(State))
def test_no_create_begins_where_one_may_be_paid(ledger: Ledger, state: State) -> None:
    row = run(bring(ledger, job(), state))

    if state in (State.PENDING, State.REJECTED):
        assert run(ledger.begin(job())).state is State.SUBMITTING
    else:
        with pytest.raises(TransitionError, match=f"is {state}"):
            run(ledger.begin(job()))
        assert ledger.record("hero") == row


@pytest.mark.parametrize("state", list(State))
def test_no_create_begins_under_another_id_while_the_job_may_be_paid(ledger: Ledger, state: State) -> None:
    run(bring(ledger, job(), state))
    again = job("hero~2", base="hero")

    if state in MAY_BE_PAID:
        with pytest.raises(TransitionError, match="hero of the same job"):
            run(ledger.begin(again))
        assert ledger.record("hero~2") is None
        changed = again._replace(digest="e" * 64)  # a person accepted the change
        assert run(ledger.begin(changed)).state is State.SUBMITTING
    else:
        assert run(ledger.begin(again)).state is State.SUBMITTING


def test_the_first_id_does_not_begin_again_while_its_retry_may_be_paid(ledger: Ledger) -> None:
    run(bring(ledger, job(), State.REJECTED), bring(ledger, job("hero~2", base="hero"), State.UNKNOWN))

    with pytest.raises(TransitionError, match="hero~2"):
        run(ledger.begin(job()))


def test_an_id_of_one_job_is_not_taken_for_another(ledger: Ledger) -> None:
    run(bring(ledger, job(), State.REJECTED))

    with pytest.raises(TransitionError, match="belongs to another job, night/hero"):
        run(ledger.begin(job("hero", base="villain")))


def test_a_create_that_was_not_accepted_is_no_attempt(ledger: Ledger) -> None:
    row = run(bring(ledger, job(), State.PENDING))
    assert row.attempt == 0
    assert run(ledger.begin(job())).attempt == 1
    run(ledger.apply(change("hero", State.UNKNOWN)))
    assert run(ledger.apply(change("hero", State.PENDING))).attempt == 1  # it may have reached the API


def test_a_corrected_job_takes_its_row_over_and_keeps_its_id_and_history(
    ledger: Ledger, clock: Clock
) -> None:
    refused = change("hero", State.REJECTED, "refused", code=1301, message="policy", request_id="r1")
    row = run(ledger.begin(job()), ledger.apply(refused))
    assert (row.error_code, row.error_message, row.request_id) == ("1301", "policy", "r1")

    born, clock.now = clock.now, clock.now + 100
    corrected = job(digest="e" * 64, canonical='{"duration":"10","mode":"std"}', estimate=840_000)
    row = run(ledger.begin(corrected))

    assert (row.digest, row.kind, row.estimate) == ("e" * 64, "std/10", 840_000)
    assert (row.attempt, row.created_at, row.error_code, row.request_id) == (2, born, None, None)
    refusal = ledger.events("hero")[2]
    assert (refusal.code, refusal.message, refusal.request_id) == ("1301", "policy", "r1")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"task_id": "t1", "state": "downloaded"}, "can't set 'state'"),
        ({"task_id": "t1", "base_id": "x"}, "can't set 'base_id'"),
        ({"task_id": "t1", "id = 1; --": 1}, "can't set"),
        ({"task_id": 12}, "task_id can't be 12"),
        ({"task_id": ""}, "submitted needs task_id"),
        ({}, "submitted needs task_id"),
    ],
)
def test_a_change_sets_only_what_it_may(ledger: Ledger, values: dict[str, Any], text: str) -> None:
    row = run(ledger.begin(job()))

    with pytest.raises(TransitionError, match=text):
        run(ledger.apply(Change("hero", State.SUBMITTED, "accepted", values=values)))
    assert ledger.record("hero") == row


def test_a_row_keeps_its_task(ledger: Ledger) -> None:
    run(bring(ledger, job(), State.SUBMITTED))

    with pytest.raises(TransitionError, match="is task t1"):
        run(ledger.apply(Change("hero", State.SUBMITTED, "progress", values={"task_id": "t2"})))


def test_an_unknown_row_is_refused(ledger: Ledger) -> None:
    with pytest.raises(TransitionError, match="no such row"):
        run(ledger.apply(change("hero", State.SUBMITTED)))


def test_a_find_at_the_api_is_adopted_as_a_new_row(ledger: Ledger, clock: Clock) -> None:
    found = change("hero", State.SUCCEEDED, "adopted")
    found = found._replace(
        values={"task_id": "t9", "video_url": "https://cdn.example/9", "submitted_at": 5.0}
    )
    row = run(ledger.import_row(job(), found))

    assert row == ledger.record("hero")
    assert (row.state, row.task_id, row.attempt, row.submitted_at) == (State.SUCCEEDED, "t9", 1, 5.0)
    assert [(one.event, one.from_state) for one in ledger.events("hero")] == [("adopted", None)]
    with pytest.raises(TransitionError, match="has task t9"):
        run(ledger.import_row(job(), found))
    with pytest.raises(TransitionError):
        run(ledger.begin(job()))


@pytest.mark.parametrize("state", list(State))
def test_a_find_at_the_api_settles_a_row_without_a_task(ledger: Ledger, state: State) -> None:
    row = run(bring(ledger, job(), state))
    adoption = ledger.import_row(job(), change("hero", State.FAILED, "adopted", message="it failed"))

    if state in (State.PENDING, State.REJECTED, State.SUBMITTING, State.UNKNOWN):
        with pytest.raises(TransitionError, match="failed needs task_id"):
            run(adoption)
        adopted = run(
            ledger.import_row(job(), Change("hero", State.FAILED, "adopted", values={"task_id": "t2"}))
        )
        assert (adopted.state, adopted.task_id) == (State.FAILED, "t2")
    else:
        with pytest.raises(TransitionError):
            run(adoption)
        assert ledger.record("hero") == row


def test_a_create_once_uncertain_is_asked_about_again_before_the_next(ledger: Ledger) -> None:
    run(bring(ledger, job("sure"), State.PENDING), bring(ledger, job("hero"), State.UNKNOWN))
    row = run(ledger.apply(change("hero", State.PENDING, "not_created")))

    assert ledger.was_uncertain("sure") is None
    assert ledger.was_uncertain("never-seen") is None
    assert ledger.was_uncertain("hero") == row
    run(ledger.apply(change("hero", State.SUBMITTED, "adopted")))
    assert ledger.was_uncertain("hero") is None


def test_clocks_that_jump_back_harm_nothing(ledger: Ledger, clock: Clock) -> None:
    run(bring(ledger, job(), State.SUBMITTED))
    clock.now -= 1_000_000
    run(ledger.apply(change("hero", State.SUCCEEDED)), ledger.apply(change("hero", State.DOWNLOADED)))

    assert ledger.durations("pro/5") == []
    assert [one.to_state for one in ledger.events("hero")][-2:] == [State.SUCCEEDED, State.DOWNLOADED]


def test_text_that_is_no_unicode_is_kept_as_it_came(ledger: Ledger, path: str) -> None:
    odd = "a\ud800b\udcff\x00"
    run(ledger.begin(job(output=f"/clips/{odd}.mp4")))
    row = run(ledger.apply(Change("hero", State.SUBMITTED, "accepted", message=odd, values={"task_id": odd})))

    assert row == ledger.record("hero")
    assert (row.task_id, row.output_path) == (odd, f"/clips/{odd}.mp4")
    assert ledger.events("hero")[-1].message == odd


# -- output paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/clips/Hero.mp4", "/clips/hero.mp4"),
        ("/clips/caf\u00e9.mp4", "/clips/cafe\u0301.mp4"),
        ("/clips/STRASSE.mp4", "/clips/stra\u00dfe.mp4"),
        ("/clips/same.mp4", "/clips/same.mp4"),
    ],
)
def test_two_jobs_never_share_a_file(ledger: Ledger, first: str, second: str) -> None:
    one = run(ledger.begin(job("one", output=first)))
    two = run(ledger.begin(job("two", output=second)))

    assert one.output_path == first
    stem, suffix = os.path.splitext(second)
    assert two.output_path.startswith(f"{stem}-")
    assert len(two.output_path) == len(second) + 9
    assert two.output_path.endswith(suffix)
    assert two == ledger.record("two")


def test_even_a_name_that_looks_like_ours_is_not_shared(ledger: Ledger) -> None:
    run(ledger.begin(job("one", output="/clips/a.mp4")))
    wanted = run(ledger.begin(job("two", output="/clips/a.mp4"))).output_path
    run(ledger.apply(change("two", State.REJECTED)))
    run(ledger.begin(job("three", output=wanted)))

    again = run(ledger.begin(job("two", output="/clips/a.mp4"))).output_path
    assert again not in ("/clips/a.mp4", wanted)


def test_a_retry_has_the_path_of_its_job(ledger: Ledger) -> None:
    run(ledger.begin(job("other", output="/clips/hero.mp4")))
    first = run(bring(ledger, job(output="/clips/Hero.mp4"), State.FAILED))
    second = run(ledger.begin(job("hero~2", base="hero", output="/clips/Hero.mp4")))

    assert second.output_path == first.output_path != "/clips/Hero.mp4"


def test_a_changed_job_does_not_overwrite_the_clip_that_was_paid(ledger: Ledger) -> None:
    first = run(bring(ledger, job(), State.DOWNLOADED))
    second = run(ledger.begin(job("hero~2", base="hero", digest="e" * 64)))

    assert second.output_path != first.output_path


def test_a_refused_job_lets_its_path_go_to_its_corrected_self(ledger: Ledger) -> None:
    run(bring(ledger, job("hero-1", output="/clips/hero.mp4"), State.REJECTED))
    corrected = run(ledger.begin(job("hero-2", output="/clips/hero.mp4")))
    assert corrected.output_path == "/clips/hero.mp4"

    found_after_all = run(ledger.apply(change("hero-1", State.SUBMITTED, "adopted")))
    assert found_after_all.output_path != "/clips/hero.mp4"
    assert found_after_all == ledger.record("hero-1")


# -- reads --------------------------------------------------------------------------------------------


def test_planning_reads_rows_by_job(ledger: Ledger) -> None:
    run(bring(ledger, job("a"), State.FAILED), bring(ledger, job("a~2", base="a"), State.SUBMITTED))
    run(bring(ledger, job("b", manifest="day", take=2), State.REJECTED))

    first = Brief("a", "a", State.FAILED, "d" * 64, number=1)
    second = Brief("a~2", "a", State.SUBMITTED, "d" * 64, number=2)
    other = Brief("b", "b", State.REJECTED, "d" * 64, number=3)
    night, day = manifest("night", "a", "a", "c"), manifest("day", "b")
    assert ledger.briefs.of([night]) == {("night", "a", 1): [first, second]}
    assert ledger.briefs.of([day, manifest("dusk", "a")]) == {("day", "b", 2): [other]}
    assert ledger.briefs.of([manifest("night", "c")]) == {}
    assert ledger.briefs.named(["a", "b", "c", "a"]) == {"a": [first, second], "b": [other]}
    assert ledger.briefs.named(["a~2"]) == {"a~2": [second]}  # the id is taken
    assert [row.external_task_id for row in ledger.series("a")] == ["a", "a~2"]
    assert ledger.series("a~2") == []


def test_rows_are_found_by_state_id_and_manifest(ledger: Ledger) -> None:
    for number, state in enumerate(State):
        run(bring(ledger, job(str(number), manifest="even" if number % 2 == 0 else "odd"), state))
    run(bring(ledger, job("6~2", base="6"), State.SUBMITTED))

    def names(rows: Iterator[Record]) -> list[str]:
        return [row.external_task_id for row in rows]

    assert names(ledger.records()) == [*map(str, range(8)), "6~2"]
    assert names(ledger.open_records()) == ["1", "2", "3", "4", "6~2"]
    assert names(ledger.records(manifests=["odd"])) == ["1", "3", "5", "7"]
    assert names(ledger.records(ids=["6", "3", "x"])) == ["3", "6", "6~2"]
    assert names(ledger.records(ids=["6", "3"], states=[State.SUBMITTED], manifests=["odd"])) == ["3"]
    assert names(ledger.records(ids=[])) == []
    assert names(iter(ledger.known_tasks(3))) == ["6~2", "6", "5"]
    assert ledger.counts() == dict.fromkeys(State, 1) | {State.SUBMITTED: 2}


def test_rows_come_in_pieces_and_each_once_while_they_change(ledger: Ledger) -> None:
    async def steps() -> list[str]:
        names = [f"{number:04}" for number in range(1200)]
        await asyncio.gather(*(ledger.begin(job(name)) for name in names))
        seen = []
        for row in ledger.open_records():
            seen.append(row.external_task_id)
            if row.external_task_id == "0001":  # rows further on leave, a new one comes
                await asyncio.gather(*(ledger.apply(change(name, State.REJECTED)) for name in names[600:]))
                await ledger.begin(job("new"))
        return seen

    assert asyncio.run(steps()) == [f"{number:04}" for number in range(600)]


def test_image_digests_are_remembered(ledger: Ledger) -> None:
    one = ImageFile("/in/a.png", 10, 2**63 + 5, 2**64 - 1, "a" * 64, "png", 300, 400)
    two = ImageFile("/in/b\udcff.jpg", 11, -1, 3, "b" * 64, "jpeg", 500, 600)
    newer = one._replace(mtime_ns=7, sha256="c" * 64)
    run(ledger.remember_images([one, two]), ledger.remember_images([newer]))

    assert ledger.images() == {one.path: newer, two.path: two}
    assert [ledger.images().get(path) for path in (two.path, "/in/none.png")] == [two, None]


def test_notes_are_kept_across_runs(path: str) -> None:
    with Ledger.open(path, origin=ORIGIN) as ledger:
        assert ledger.note("lookups") is None
        run(ledger.set_note("lookups", "seen"), ledger.set_note("lookups", "proven"))
    with Records.read(path) as reader:
        assert reader.note("lookups") == "proven"
        assert reader.origin == ORIGIN


def test_the_lengths_of_the_latest_tasks_are_known(ledger: Ledger, clock: Clock) -> None:
    for number in range(5):
        run(bring(ledger, job(str(number)), State.SUBMITTED))
        clock.now += 10 * (number + 1)
        run(ledger.apply(change(str(number), State.SUCCEEDED)))

    assert ledger.durations("pro/5", limit=3) == [50.0, 40.0, 30.0]


def test_export_has_its_fields_in_their_order(ledger: Ledger, clock: Clock) -> None:
    expected = "external_task_id, task_id, state, manifest, job_id, take, attempt, error_code, error_message, request_id,"
    expected += " created_at, submitted_at, finished_at, video_url, video_path, video_sha256, cost_usd_estimate, units_charged,"
    expected += " prompt, image, image_sha256, mode, duration, sound, verdict, current, charged_usd, run_id"
    assert ", ".join(EXPORT_FIELDS) == expected

    clock.now = 1_700_000_000.25
    row = export_row(run(bring(ledger, job(), State.SUBMITTED))._replace(units_charged=""), current=True)
    assert tuple(row) == EXPORT_FIELDS
    assert row["created_at"] == row["submitted_at"] == "2023-11-14T22:13:20.250Z"
    assert row["finished_at"] is row["units_charged"] is row["charged_usd"] is None
    assert export_row(job(charged=420_000), current=True)["charged_usd"] == 0.42
    assert export_row(job(charged=0), current=True)["charged_usd"] == 0.0  # the API said so
    assert json.loads(json.dumps(row))["state"] == "submitted"
    assert export_row(job(finished_at=1e300), current=False)["finished_at"] is None  # whatever an API says


# -- history ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET message = 'never happened'",
        "DELETE FROM events",
        "DELETE FROM tasks",
        "UPDATE tasks SET external_task_id = 'x'",
        "UPDATE tasks SET base_id = 'x'",
    ],
)
def test_history_cannot_be_rewritten(path: str, statement: str) -> None:
    make(path, job())

    with contextlib.closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)


# -- group commit -------------------------------------------------------------------------------------


def test_a_thousand_changes_at_once_are_all_kept(ledger: Ledger, path: str) -> None:
    async def steps() -> None:
        await asyncio.gather(*(ledger.begin(job(str(number))) for number in range(1000)))
        await asyncio.gather(
            *(
                ledger.apply(
                    Change(str(number), State.SUBMITTED, "accepted", values={"task_id": f"t{number}"})
                )
                for number in range(1000)
            )
        )

    asyncio.run(steps())
    with Records.read(path) as reader:
        assert {row.external_task_id: row.task_id for row in reader.records()} == {
            str(number): f"t{number}" for number in range(1000)
        }


def test_a_change_that_is_refused_fails_alone(ledger: Ledger) -> None:
    async def steps() -> list[Any]:
        await asyncio.gather(*(ledger.begin(job(str(number))) for number in range(10)))
        changes = [
            change(str(number), State.DOWNLOADED if number % 2 else State.SUBMITTED) for number in range(10)
        ]
        return await asyncio.gather(*map(ledger.apply, changes), return_exceptions=True)

    results = asyncio.run(steps())
    assert [isinstance(result, TransitionError) for result in results] == [False, True] * 5
    assert ledger.counts()[State.SUBMITTED] == 5
    assert ledger.counts()[State.SUBMITTING] == 5


def test_a_value_that_sqlite_refuses_fails_alone_and_leaves_no_trace(ledger: Ledger) -> None:
    async def steps() -> list[Any]:
        rows = [job("a"), job("b", take=2**70), job("c", manifest=None), job("d")]
        return await asyncio.gather(*map(ledger.begin, rows), return_exceptions=True)

    a, b, c, d = asyncio.run(steps())
    assert a.state is d.state is State.SUBMITTING
    assert type(b) is type(c) is LedgerError
    assert [row.external_task_id for row in ledger.records()] == ["a", "d"]
    assert [len(ledger.events(name)) for name in "abcd"] == [2, 0, 0, 2]


def test_cancelling_a_caller_undoes_nothing_and_disturbs_nobody(path: str) -> None:
    async def steps(ledger: Ledger) -> None:
        await asyncio.gather(*(ledger.begin(job(name)) for name in "abc"))
        callers = [asyncio.create_task(ledger.apply(change(name, State.SUBMITTED))) for name in "abc"]
        await asyncio.sleep(0)  # they wait now
        callers[1].cancel()
        a, b, c = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 30)
        assert isinstance(b, asyncio.CancelledError)
        assert isinstance(a, Record)
        assert isinstance(c, Record)

    with Ledger.open(path, origin=ORIGIN) as ledger:
        asyncio.run(steps(ledger))
        assert [row.task_id for row in ledger.records()] == ["t1", "t1", "t1"]


def test_a_write_whose_loop_has_ended_is_not_lost(path: str) -> None:
    async def leaves_without_waiting(ledger: Ledger) -> None:
        await ledger.begin(job())
        asyncio.create_task(ledger.apply(change("hero", State.SUBMITTED)))  # noqa: RUF006
        await asyncio.sleep(0)

    for name in ("hero", "hero2"):  # the next loop, or closing, finishes it
        with Ledger.open(path + name, origin=ORIGIN) as ledger:
            asyncio.run(leaves_without_waiting(ledger))
            if name == "hero":
                run(ledger.begin(job("next")))
        with Records.read(path + name) as reader:
            assert reader.counts()[State.SUBMITTED] == 1


def test_closing_writes_what_waits_and_then_refuses(path: str) -> None:
    async def steps() -> None:
        ledger = Ledger.open(path, origin=ORIGIN)
        callers = [asyncio.create_task(ledger.begin(job(str(number)))) for number in range(600)]
        await asyncio.sleep(0)
        ledger.close()
        rows = await asyncio.gather(*callers)
        assert all(row.state is State.SUBMITTING for row in rows)
        with pytest.raises(LedgerError, match="closed"):
            await ledger.begin(job())
        with pytest.raises(LedgerError, match="closed"):
            ledger.record("hero")

    asyncio.run(steps())
    with Records.read(path) as reader:
        assert reader.counts()[State.SUBMITTING] == 600
    assert not os.path.exists(f"{path}-wal") or os.path.getsize(f"{path}-wal") == 0


def test_a_mistake_in_an_operation_leaves_nobody_waiting(ledger: Ledger) -> None:
    async def steps() -> list[Any]:
        shown: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: shown.append(context["exception"])
        )
        broken = change("hero", State.SUBMITTED)._replace(values=None)  # type: ignore[arg-type]
        writes = (ledger.begin(job()), ledger.apply(broken), ledger.begin(job("b")))
        results = await asyncio.wait_for(asyncio.gather(*writes, return_exceptions=True), 30)
        return [*results, *shown]

    *results, shown = asyncio.run(steps())
    assert [type(result) for result in results] == [LedgerLost] * 3
    assert isinstance(shown, AttributeError)
    assert list(ledger.records()) == []


# -- one writer, many readers -------------------------------------------------------------------------


def script(text: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A process that runs ``text`` with these tests' names at hand."""
    head = f"import sys, asyncio, os\nsys.path.insert(0, {str(ROOT)!r})\nfrom {__name__} import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(text), *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        **options,
    )


HOLD = """
    with Ledger.open(sys.argv[1], origin=ORIGIN, clock=Clock()) as ledger:
        run(ledger.begin(job()))
        print("held", flush=True)
        sys.stdin.read()
"""


@contextlib.contextmanager
def holder(path: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the ledger open until its standard input closes."""
    with script(HOLD, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_run_is_told_who_holds_the_ledger(path: str) -> None:
    with holder(path) as process:
        with pytest.raises(LedgerBusy) as caught:
            Ledger.open(path, origin=ORIGIN)
        assert f"process {process.pid} on " in str(caught.value)
        assert "since 2023-11-14T22:13:20Z" in str(caught.value)
        with pytest.raises(LedgerBusy):
            Ledger.open(path, origin=ORIGIN, lock_wait=0.05)
    Ledger.open(path, origin=ORIGIN).close()  # the kernel let go with the process


def test_a_run_that_waits_gets_the_ledger_when_it_is_free(path: str) -> None:
    with holder(path) as process:
        assert process.stdin is not None
        process.stdin.close()
        with Ledger.open(path, origin=ORIGIN, lock_wait=60) as ledger:
            assert ledger.record("hero") is not None


def test_another_name_of_the_file_is_the_same_ledger(path: str, tmp_path: Path) -> None:
    make(path)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(path)

    with Ledger.open(path, origin=ORIGIN), pytest.raises(LedgerBusy):
        Ledger.open(str(link), origin=ORIGIN)


def test_a_process_that_was_forked_meanwhile_holds_the_ledger_no_longer_than_its_run(path: str) -> None:
    """A program's pool of processes gets a copy of each descriptor, and with it the lock."""
    ledger = Ledger.open(path, origin=ORIGIN)
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        ledger.close()
        Ledger.open(path, origin=ORIGIN).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lock_is_waited_for_by_the_wall_clock_which_goes_on_while_the_machine_sleeps(
    tmp_path: Path,
) -> None:
    path, now, slept = str(tmp_path / "lock"), 1000.0, 0

    def sleep(seconds: float) -> None:
        nonlocal now, slept
        slept += 1
        now += 3600 if slept == 3 else 0

    lock = Lock.acquire(path)
    with pytest.raises(LedgerBusy):
        Lock.acquire(path, wait=1800, clock=lambda: now, sleep=sleep)
    assert slept == 3
    lock.release()


def test_what_a_forked_process_does_with_a_lock_leaves_it_to_the_run(path: str) -> None:
    lock = Lock.acquire(f"{path}.lock")
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(LedgerBusy, match=f"process {os.getpid()} on"):
        Lock.acquire(f"{path}.lock")
    lock.release()


def test_a_lock_file_removed_while_it_is_being_locked_is_no_lock(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path)
    flock = fcntl.flock

    def removed_first(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        os.unlink(f"{path}.lock")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with Ledger.open(path, origin=ORIGIN), pytest.raises(LedgerBusy):
        Ledger.open(path, origin=ORIGIN)


def test_readers_see_the_ledger_while_another_process_writes(path: str) -> None:
    with holder(path), Records.read(path) as reader:
        row = reader.record("hero")
        assert row is not None
        assert row.state is State.SUBMITTING


def test_a_reader_in_the_middle_of_a_row_does_not_hold_the_writer_up(ledger: Ledger, path: str) -> None:
    run(*(ledger.begin(job(str(number))) for number in range(3)))
    with Records.read(path) as reader:
        rows = reader.records()
        next(rows)
        run(ledger.apply(change("1", State.REJECTED)))
        assert ledger.counts()[State.REJECTED] == 1


def test_an_export_holds_no_read_open_and_ends_while_rows_are_added(ledger: Ledger, path: str) -> None:
    names = [f"{number:04}" for number in range(1200)]

    async def begin(*names: str) -> None:
        await asyncio.gather(*(ledger.begin(job(name)) for name in names))

    run(begin(*names))
    seen = []
    with Records.read(path) as reader:
        for row, _, _ in reader.exported():
            seen.append(row.external_task_id)
            if len(seen) == 700:  # in the middle of a piece
                run(begin("new"))
                busy, *_ = ledger._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                assert (busy, os.path.getsize(f"{path}-wal")) == (0, 0)
    assert seen == names


def test_a_reader_works_without_a_run(path: str) -> None:
    make(path, job())
    with Records.read(path, origin=ORIGIN) as reader:
        assert reader.record("hero") is not None


def test_a_reader_works_on_a_medium_that_cannot_be_written() -> None:
    text = """
        os.chmod(os.path.dirname(sys.argv[1]), 0o555)
        os.chmod(sys.argv[1], 0o444)
        if os.geteuid() == 0:
            os.setuid(65534)  # root may write anywhere
        with Records.read(sys.argv[1], origin=ORIGIN) as reader:
            print(reader.record("hero").state)
    """
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "medium", "ledger.db")
        make(path, job())
        with script(text, path) as process:
            out, _ = process.communicate(timeout=60)
        os.chmod(os.path.dirname(path), 0o755)
    assert out == "submitting\n"


def test_a_reader_cannot_write(path: str) -> None:
    make(path)
    with Records.read(path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._reader.execute("INSERT INTO notes VALUES ('a', 'b')")


# -- crashes and disks --------------------------------------------------------------------------------

WRITE = """
    async def worker(ledger, worker):
        for number in itertools.count():
            name = f"{worker}-{number}"
            await ledger.begin(job(name))
            print(name, "submitting", flush=True)
            await ledger.apply(Change(name, State.SUBMITTED, "accepted", values={"task_id": name}))
            print(name, "submitted", flush=True)

    async def main(ledger):
        await asyncio.gather(*(worker(ledger, number) for number in range(20)))

    asyncio.run(main(Ledger.open(sys.argv[1], origin=ORIGIN)))
"""


@pytest.mark.parametrize("acknowledged", [1, 300, 1111])
def test_what_was_acknowledged_survives_a_kill(path: str, acknowledged: int) -> None:
    with script(WRITE, path) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()

    told = dict(line.split() for line in lines if line.endswith("\n"))
    order = {"submitting": 0, "submitted": 1}
    with Ledger.open(path, origin=ORIGIN) as ledger:
        kept = {row.external_task_id: row for row in ledger.records()}
        for name, state in told.items():
            assert order[kept[name].state] >= order[state]
        for name, row in kept.items():
            assert len(ledger.events(name)) == order[row.state] + 2
            assert row.task_id == (name if row.state is State.SUBMITTED else None)
        assert ledger._writer.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


FILL = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    async def main(ledger):
        for number in itertools.count():
            try:
                await asyncio.gather(*(ledger.begin(job(f"{number}-{one}")) for one in range(10)))
            except LedgerLost as error:
                print("lost", error)
                break
            print(number, flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        try:
            await ledger.begin(job("later"))
        except LedgerLost as error:
            print("still", error)

    with Ledger.open(sys.argv[1], origin=ORIGIN) as ledger:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        asyncio.run(main(ledger))
    print("closed")
"""


def test_a_full_disk_stops_every_write_and_loses_none_that_was_acknowledged(path: str) -> None:
    with script(FILL, path) as process:
        out, _ = process.communicate(timeout=60)

    *told, lost, still, closed = out.splitlines()
    assert process.returncode == 0
    assert lost.startswith(f"lost the ledger {path} can't be written any more: ")
    assert lost.removeprefix("lost") == still.removeprefix("still")  # even with room again
    assert closed == "closed"
    with Ledger.open(path, origin=ORIGIN) as ledger:
        kept = {row.external_task_id for row in ledger.records()}
        assert kept >= {f"{number}-{one}" for number in told for one in range(10)}
        assert told
        assert run(ledger.begin(job("later"))).state is State.SUBMITTING


def test_a_disk_that_is_full_from_the_start_is_told_and_leaves_no_half_ledger(path: str) -> None:
    text = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))
        try:
            Ledger.open(sys.argv[1], origin=ORIGIN)
        except LedgerError as error:
            print(error)
    """
    with script(text, path) as process:
        out, _ = process.communicate(timeout=60)

    assert out.startswith(f"the ledger {path} can't be used: ")
    assert not os.path.exists(path)
    make(path, job())


@pytest.mark.parametrize("victim", ["", "-wal"])
@pytest.mark.parametrize("replace", [True, False])
def test_a_ledger_replaced_under_a_run_is_noticed(path: str, victim: str, replace: bool) -> None:
    with Ledger.open(path, origin=ORIGIN) as ledger:
        run(ledger.begin(job()))
        os.rename(path + victim, f"{path}.away")
        if replace:
            Path(path + victim).write_bytes(Path(f"{path}.away").read_bytes())
        for _ in range(2):
            with pytest.raises(LedgerLost, match="was replaced or removed"):
                run(ledger.apply(change("hero", State.SUBMITTED)))


# -- what is no ledger, or not this one ---------------------------------------------------------------


def both(path: str) -> Iterator[Callable[[], Records]]:
    yield lambda: Ledger.open(path, origin=ORIGIN)
    yield lambda: Records.read(path, origin=ORIGIN)


def refused(path: str, text: str) -> None:
    """Writers and readers refuse it in these words, and the lock is free again."""
    for opening in both(path):
        with pytest.raises(LedgerError, match=text) as caught:
            opening().close()
        assert type(caught.value) is LedgerError


def test_a_missing_ledger_can_be_told_from_a_broken_one(path: str) -> None:
    with pytest.raises(LedgerError, match="there is no ledger at"):
        Records.read(path)
    assert not os.path.lexists(path)


def test_a_ledger_of_another_origin_is_refused_with_both_names(path: str) -> None:
    make(path, origin="https://other.example")
    refused(path, "belongs to https://other.example, and this is https://api.example.*--ledger")
    with Records.read(path) as reader:
        assert reader.origin == "https://other.example"


def test_a_newer_ledger_is_refused(path: str) -> None:
    make(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    refused(path, "of version 99, written by a newer batchgen")


def test_another_programs_database_is_refused(path: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    before = Path(path).read_bytes()
    refused(path, "the database of another program")
    assert Path(path).read_bytes() == before


def test_a_file_that_is_no_database_is_refused(path: str) -> None:
    Path(path).write_bytes(b"version: 1\njobs: []\n" * 100)
    refused(path, "no SQLite file")
    assert Path(path).read_bytes() == b"version: 1\njobs: []\n" * 100


@pytest.mark.parametrize("size", [0, 50, 4096, 8192, 40_000])
def test_a_truncated_ledger_is_refused(path: str, size: int) -> None:
    make(path, *(job(str(number)) for number in range(200)))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}-wal")
    assert os.path.getsize(path) > 40_000
    os.truncate(path, size)
    refused(path, "batchgen recover")
    assert os.path.getsize(path) == size


def test_damage_in_the_middle_is_told_when_it_is_met(path: str) -> None:
    make(path, *(job(str(number)) for number in range(200)))
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(4096 * 4)
        file.write(b"\xff" * (size - 4096 * 4))

    for opening in both(path):
        with pytest.raises(LedgerError, match="batchgen recover"), opening() as opened:
            list(opened.records())
            opened.briefs.of([manifest("night", "a")])


def test_a_wal_without_its_ledger_is_never_written_over(path: str) -> None:
    with holder(path) as process:
        process.kill()
        process.wait()
    os.unlink(path)
    wal = Path(f"{path}-wal").read_bytes()
    assert wal
    refused(path, "it is gone, and .*-wal beside it")
    assert Path(f"{path}-wal").read_bytes() == wal


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.db")
    refused(str(tmp_path / "fifo.db"), "is not a file")
    refused(str(tmp_path), "is not a file")
    (tmp_path / "file").touch()
    refused(str(tmp_path / "file" / "ledger.db"), "can't be opened")


def test_only_the_user_can_read_what_is_made(tmp_path: Path) -> None:
    path = tmp_path / "state" / "batchgen" / "ledger.db"
    before = os.umask(0)
    try:
        with Ledger.open(str(path), origin=ORIGIN) as ledger, Records.read(str(path)) as reader:
            run(ledger.begin(job()))
            reader.counts()
            made = {
                name: stat.S_IMODE(os.stat(path.parent / name).st_mode) for name in os.listdir(path.parent)
            }
    finally:
        os.umask(before)
    assert made == dict.fromkeys(["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"], 0o600)
    for folder in (path.parent, path.parent.parent):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


def test_a_ledger_that_others_could_read_is_closed_to_them(path: str) -> None:
    make(path)
    os.chmod(path, 0o664)
    make(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


# -- versions -----------------------------------------------------------------------------------------


def schema(path: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


def make_version_1(path: str) -> None:
    """A ledger as the first release made it, from that release's own statements."""
    statements = (Path(__file__).parent / "ledger_v1.sql").read_text()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)


def test_a_ledger_of_the_first_version_is_read_and_written(path: str, tmp_path: Path) -> None:
    make_version_1(path)
    with Ledger.open(path, origin=ORIGIN) as ledger:
        row = ledger.record("hero")
        assert row is not None
        assert (row.state, row.task_id, row.submitted_at) == (State.SUBMITTED, "t1", 1700000002.0)
        assert [one.event for one in ledger.events("hero")] == ["planned", "intent", "accepted"]
        run(ledger.apply(change("hero", State.SUCCEEDED)))
    fresh = str(tmp_path / "fresh.db")
    make(fresh)
    assert schema(path) == schema(fresh)


NEXT = (
    *database.MIGRATIONS,
    "ALTER TABLE tasks ADD COLUMN colour TEXT; CREATE INDEX colours ON tasks (colour);",
)


def test_an_older_ledger_is_migrated_and_keeps_its_rows(path: str) -> None:
    make_version_1(path)
    with pytest.raises(LedgerError, match="by an older batchgen"):
        database.open_to_read(path, ORIGIN, NEXT)
    with Ledger.open(path, origin=ORIGIN, migrations=NEXT) as ledger:
        assert ledger.record("hero") is not None
        assert ledger._reader.execute("SELECT colour FROM tasks").fetchall() == [(None,)]
        assert ledger._reader.execute("PRAGMA user_version").fetchall() == [(len(NEXT),)]
    refused(path, "written by a newer batchgen")


def test_a_migration_that_fails_changes_nothing(path: str) -> None:
    make_version_1(path)
    before = schema(path)
    broken = (*NEXT, "ALTER TABLE nowhere ADD COLUMN colour TEXT;")
    with pytest.raises(LedgerError, match="no such table: nowhere"):
        Ledger.open(path, origin=ORIGIN, migrations=broken)
    assert schema(path) == before
    make(path)
