"""batchgen as programs have it: events in their order, every way to leave a run early, two runs beside each other."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import contextlib
import copy
import dataclasses
import gc
import json
import logging
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import batchgen
from batchgen.ledger.writer import Ledger
from batchgen.masking import Mask
from batchgen.money.approval import made
from batchgen.run import library
from batchgen.run.approved import approved
from batchgen.run.clock import Clock
from batchgen.run.events import Events, masked
from batchgen.run.session import Session
from batchgen.run.stream import LATE, Stream
from batchgen.run.work_events import JobNoticed
from batchgen.sandbox import faults
from batchgen.sandbox.config import Config
from batchgen.sandbox.journal import Entry, load
from batchgen.sandbox.server import Sandbox
from tests.support import wire
from tests.support.pictures import make_png
from tests.support.program import ENDS, KEY

QUICK = batchgen.RunOptions(poll_interval=0.05, retry_wait=0.05, settle=0.4, timeout=10.0)


class Night:
    """A manifest, a ledger's place and a sandbox in this process."""

    def __init__(self, folder: Path, sandbox: Sandbox, url: str, jobs: int) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.sandbox, self.url = folder, sandbox, url
        self.ledger = folder / "ledger.db"
        entries = [
            {"id": f"j{n}", "image": "https://example.com/a.png", "prompt": f"{n}"} for n in range(jobs)
        ]
        manifest = {"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": entries}
        (folder / "m.yaml").write_text(json.dumps(manifest))
        self.account = batchgen.Account(url, KEY)

    def run(self, options: batchgen.RunOptions = QUICK) -> Any:
        return batchgen.run(batchgen.load(self.folder / "m.yaml"), self.ledger, self.account, options)

    async def events(self, options: batchgen.RunOptions = QUICK) -> list[batchgen.Event]:
        async with asyncio.timeout(ENDS):
            return [event async for event in self.run(options)]

    def heard(self) -> list[Entry]:
        return load(self.folder / "journal")

    def accepted(self) -> list[str]:
        return [entry.external_task_id or "" for entry in self.heard() if entry.accepted]

    def states(self) -> Counter[str]:
        with batchgen.read_ledger(self.ledger) as ledger:
            return Counter(row.state.value for row in ledger.records())

    def is_free(self) -> bool:
        """Whether another run may have the ledger at once."""
        Ledger.open(str(self.ledger), origin=self.url).close()
        return True


@contextlib.asynccontextmanager
async def night(folder: Path, *rules: str, jobs: int = 6, **config: Any) -> AsyncIterator[Night]:
    folder.mkdir(exist_ok=True)
    played = tuple(map(faults.parse, rules))
    given = {"slots": 3, "task_seconds": (0.05, 0.1), **config}
    async with Sandbox(Config(faults=played, journal=folder / "journal", **given)) as sandbox:
        yield Night(folder, sandbox, sandbox.base_url, jobs)


def of_job(events: list[batchgen.Event], job_id: str) -> list[batchgen.JobEvent]:
    return [event for event in events if isinstance(event, batchgen.JobEvent) and event.job_id == job_id]


# -- what is told, and in which order ----------------------------------------------------------------------------------

FAULTS = {
    "none": (),
    "no slot, too fast, no answer": ("wrapped_1303=0.2", "reset_after@2,5"),
    "refused and failed": ("refuse_policy@2", "task_fails@1,3"),
}


@pytest.mark.parametrize("rules", FAULTS.values(), ids=FAULTS.keys())
def test_events_of_a_job_come_in_the_order_of_its_life_and_the_end_comes_last_and_once(
    tmp_path: Path, rules: tuple[str, ...]
) -> None:
    async def scene() -> None:
        async with night(tmp_path, *rules) as one:
            events = await one.events()
            assert [type(event) for event in events].count(batchgen.Ended) == 1
            ended = events[-1]
            assert isinstance(ended, batchgen.Ended)
            moments = [event.at for event in events if not isinstance(event, batchgen.Totals)]
            assert moments == sorted(moments)
            order = (
                batchgen.Planned,
                batchgen.Created,
                batchgen.Succeeded,
                batchgen.Downloaded,
                batchgen.Finished,
            )
            for number in range(6):
                mine = of_job(events, f"j{number}")
                assert isinstance(mine[0], batchgen.Planned) and isinstance(mine[-1], batchgen.Finished)
                kinds = [type(event) for event in mine]
                assert kinds.count(batchgen.Planned) == kinds.count(batchgen.Finished) == 1
                if mine[-1].bucket == "downloaded":
                    # A retry begins with another create, and what had no answer is found: the last way is in order.
                    last = [order.index(kind) for kind in kinds if kind in order]
                    begins = max((at for at, step in enumerate(last) if step == 1), default=0)
                    assert last[begins:] == sorted(last[begins:]) and last[-2:] == [3, 4]
            assert (
                Counter(event.bucket for event in events if isinstance(event, batchgen.Finished))
                == ended.jobs
            )
            made = [event.external_task_id for event in events if isinstance(event, batchgen.Created)]
            assert set(made) <= set(one.accepted()) and len(made) == len(set(made))
            assert ended.created == len(one.accepted()) == len(set(one.accepted()))
            assert sum(ended.tasks.values()) == ended.created
            cost = sum(event.cost_usd or 0 for event in events if isinstance(event, batchgen.Planned))
            assert ended.cost_usd >= cost - 1e-9 or rules

    asyncio.run(scene())


def test_created_events_have_the_ids_of_the_task_and_downloaded_ones_the_clip(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, jobs=1) as one:
            events = await one.events()
            created, down = (
                next(event for event in events if isinstance(event, kind))
                for kind in (batchgen.Created, batchgen.Downloaded)
            )
            (entry,) = [entry for entry in one.heard() if entry.accepted]
            assert (created.external_task_id, created.task_id) == (entry.external_task_id, entry.task_id)
            assert created.cost_usd == pytest.approx(0.42)
            assert isinstance(down, batchgen.Downloaded)
            assert Path(down.path).read_bytes()[4:8] == b"ftyp"

    asyncio.run(scene())


def test_every_event_can_be_copied_sent_to_another_process_and_written_as_json(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, "task_fails@1", "balance@4") as one:
            events = await one.events()
            for event in events:
                values = json.loads(json.dumps(dataclasses.asdict(event), default=str))
                assert values["at"] == event.at == copy.deepcopy(event).at
                assert type(pickle.loads(pickle.dumps(event))) is type(event)
            ended = events[-1]
            assert isinstance(ended, batchgen.Ended) and ended.stops
            assert values["jobs"] == dict(ended.jobs) and sum(ended.jobs.values()) == 6
            assert pickle.loads(pickle.dumps(ended)).jobs == ended.jobs and ended.jobs["no such"] == 0

    asyncio.run(scene())


def test_of_jobs_that_are_done_only_the_counts_tell(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path) as one:
            await one.events()
            began, ended = await one.events()
            assert isinstance(began, batchgen.Began) and (began.jobs, began.settled) == (6, 6)
            assert isinstance(ended, batchgen.Ended)
            assert (dict(ended.jobs), ended.created, ended.exit_code) == ({"downloaded": 6}, 0, 0)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("rule", "life"),
    [
        ("task_fails@1", "Planned Created Failed Waiting Created Succeeded Downloaded Finished"),
        ("reset_after@1", "Planned NotCreated Found Succeeded Downloaded Finished"),
        ("rate_limited@1", "Planned NotCreated Waiting Created Succeeded Downloaded Finished"),
        ("refuse_policy@1", "Planned NotCreated Finished"),
    ],
)
def test_what_goes_wrong_with_a_job_is_told_step_by_step(tmp_path: Path, rule: str, life: str) -> None:
    async def scene() -> None:
        async with night(tmp_path, rule, jobs=1) as one:
            events = await one.events()
            mine = [event for event in of_job(events, "j0") if not isinstance(event, batchgen.Progressed)]
            assert " ".join(type(event).__name__ for event in mine) == life
            paused = [event.seconds for event in events if isinstance(event, batchgen.Paused)]
            assert (len(paused) > 0, all(seconds > 0 for seconds in paused)) == (
                rule[0] == "r" and "_p" not in rule,
                True,
            )
            ids = [
                event.external_task_id
                for event in mine
                if isinstance(event, batchgen.Created | batchgen.Found)
            ]
            assert ids == one.accepted()
            for event in mine:
                if isinstance(event, batchgen.Failed):
                    assert event.reason and event.task_id
                if isinstance(event, batchgen.NotCreated):
                    states = {
                        "reset_after@1": "unknown",
                        "rate_limited@1": "pending",
                        "refuse_policy@1": "rejected",
                    }
                    assert event.state == states[rule]

    asyncio.run(scene())


def test_jobs_that_need_a_person_are_told_of_although_nothing_is_done_about_them(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, "refuse_policy@1") as one:
            first = await one.events()
            began, finished, ended = await one.events()
            assert isinstance(began, batchgen.Began) and isinstance(finished, batchgen.Finished)
            assert (finished.bucket, finished.external_task_id) == ("rejected", refused(first))
            assert isinstance(ended, batchgen.Ended) and ended.exit_code == 1

    def refused(events: list[batchgen.Event]) -> str:
        (one,) = [
            event
            for event in events
            if isinstance(event, batchgen.NotCreated) and event.state is batchgen.State.REJECTED
        ]
        assert one.code == "1301" and one.request_id
        return one.external_task_id

    asyncio.run(scene())


def test_a_stop_of_the_account_is_an_event_with_its_reason_and_the_run_says_so_in_the_end(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        async with night(tmp_path, "balance=1") as one:
            events = await one.events()
            (stopped,) = [event for event in events if isinstance(event, batchgen.Stopped)]
            ended = events[-1]
            assert isinstance(ended, batchgen.Ended)
            assert (stopped.reason.kind, ended.exit_code, ended.stops) == ("balance", 3, (stopped.reason,))
            assert dict(ended.jobs) == {"pending": 6} and one.accepted() == []

    asyncio.run(scene())


def test_a_cap_is_told_when_it_closes_the_run(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path) as one:
            options = batchgen.RunOptions(poll_interval=0.05, max_jobs=2)
            events = await one.events(options)
            (stopped,) = [event for event in events if isinstance(event, batchgen.Stopped)]
            ended = events[-1]
            assert isinstance(ended, batchgen.Ended)
            assert (stopped.reason.kind, ended.exit_code, len(one.accepted())) == ("jobs_cap", 4, 2)

    asyncio.run(scene())


# -- leaving early -----------------------------------------------------------------------------------------------------


def test_a_run_with_an_approval_creates_that_alone_and_makes_no_ledger_for_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, jobs=3) as one:
            first, *_ = batchgen.plan(batchgen.load(one.folder / "m.yaml"), one.ledger, base_url=one.url)
            job = approved(first)
            assert job is not None
            foreign = dataclasses.replace(QUICK, approval=made([job], ledger="0" * 32, origin=one.url))
            with pytest.raises(batchgen.LedgerError, match="there is no ledger"):
                await one.events(foreign)
            assert not one.ledger.exists()
            with Ledger.open(str(one.ledger), origin=one.url) as ledger:
                identity = ledger.identity
            with pytest.raises(batchgen.UsageError, match="made with another ledger"):
                await one.events(foreign)
            assert not one.heard()
            ours = dataclasses.replace(QUICK, approval=made([job], ledger=identity, origin=one.url))
            *_, ended = await one.events(ours)
            assert isinstance(ended, batchgen.Ended)
            assert (ended.exit_code, ended.jobs["unapproved"]) == (5, 2)
            assert one.accepted() == [job.external_task_id]

    asyncio.run(scene())


async def safely_gone_on(one: Night) -> None:
    """After a run that was left, the ledger is free, and the next run brings home what is missing, each paid once."""
    assert one.is_free()
    ended = (await one.events())[-1]
    assert isinstance(ended, batchgen.Ended)
    assert dict(ended.jobs) == {"downloaded": 6}
    assert len(one.accepted()) == len(set(one.accepted())) == 6


@pytest.mark.parametrize("after", [1, 8, 25])
def test_who_breaks_out_of_the_loop_loses_and_pays_nothing_twice(tmp_path: Path, after: int) -> None:
    async def scene() -> None:
        async with night(tmp_path, "slow_answer=0.3", drip=0.001) as one:
            async with contextlib.aclosing(one.run()) as events:
                count = 0
                async for _ in events:
                    if (count := count + 1) >= after:
                        break
            assert one.states()["submitting"] == 0
            await safely_gone_on(one)

    asyncio.run(scene())


def test_a_create_that_is_in_flight_when_a_run_is_left_is_answered_and_recorded(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, "slow_answer=1", drip=0.001) as one:
            async with contextlib.aclosing(one.run()) as events:
                await anext(events)
                while not one.accepted():
                    await asyncio.sleep(0.005)
            states = one.states()
            assert (states["submitting"], states["submitted"]) == (0, 1)
            await safely_gone_on(one)

    asyncio.run(scene())


def test_an_api_that_asks_for_an_hour_of_silence_holds_up_no_end(tmp_path: Path) -> None:
    """A job whose id is asked for before its create has nothing in flight that could be lost."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await wire.request(reader)).method)
        writer.write(wire.answer({"code": 1302, "message": "too fast"}, 429, Retry_After="3600"))
        await writer.drain()

    async def scene() -> None:
        async with wire.wire(play) as url:
            one = Night(tmp_path, Sandbox(Config()), url, 1)
            async with asyncio.timeout(ENDS), contextlib.aclosing(one.run()) as events:
                async for event in events:
                    if isinstance(event, batchgen.Paused):
                        break
                while "GET" not in heard:
                    await asyncio.sleep(0.01)
            assert one.is_free() and "POST" not in heard

    heard: list[str] = []
    asyncio.run(scene())


def test_a_loop_that_is_left_without_closing_ends_its_run_all_the_same(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path) as one:
            async for event in one.run():
                if isinstance(event, batchgen.Created):
                    break
            async with asyncio.timeout(ENDS):
                while asyncio.all_tasks() - {asyncio.current_task()} and not await free(one):
                    await asyncio.sleep(0.01)
            await safely_gone_on(one)

    async def free(one: Night) -> bool:
        with contextlib.suppress(batchgen.LedgerBusy):
            return one.is_free()
        return False

    asyncio.run(scene())


@pytest.mark.parametrize("times", [1, 2, 3, 40])
@pytest.mark.parametrize("after", [1, 8])
def test_a_task_that_is_cancelled_leaves_a_ledger_that_the_next_run_goes_on_with(
    tmp_path: Path, after: int, times: int
) -> None:
    async def scene() -> None:
        async with night(tmp_path, "slow_answer=0.3", drip=0.001) as one:
            seen: list[batchgen.Event] = []
            enough = asyncio.Event()

            async def read() -> None:
                async for event in one.run():
                    seen.append(event)
                    if len(seen) >= after:
                        enough.set()

            left: list[str] = []
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: left.append(context["message"])
            )
            reading = asyncio.create_task(read())
            await enough.wait()
            for _ in range(times):
                reading.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(ENDS):
                    await reading
            gc.collect()
            assert left == []  # such as connections that nobody closed
            await safely_gone_on(one)

    asyncio.run(scene())


def test_a_run_in_a_thread_ends_where_python_does_and_has_recorded_what_it_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the main thread has ended, Python starts no more work in pools of threads: the run waited for ever."""

    async def scene() -> None:
        async with night(tmp_path) as one:
            ended = None
            async with asyncio.timeout(ENDS):
                with monkeypatch.context() as patched:
                    async for event in one.run():
                        if isinstance(event, batchgen.Created):
                            patched.setattr(concurrent.futures.thread, "_shutdown", True)  # as Python does
                        ended = event
            assert isinstance(ended, batchgen.Ended) and ended.created == len(one.accepted()) > 0
            await safely_gone_on(one)

    asyncio.run(scene())


@pytest.mark.parametrize("turns", range(5))
def test_a_program_that_ends_while_a_run_begins_gives_the_ledger_back(tmp_path: Path, turns: int) -> None:
    async def read(one: Night) -> None:
        async for _ in one.run():
            pass

    async def scene(one: Night) -> None:
        reading = asyncio.create_task(read(one))
        for _ in range(turns):
            await asyncio.sleep(0)
        del reading

    one = Night(tmp_path, Sandbox(Config()), "http://127.0.0.1:9", 6)
    asyncio.run(scene(one))
    assert one.is_free()


def test_a_recovery_that_is_cancelled_as_a_whole_creates_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, "query_stall=1") as one:
            clock = Clock()
            with Ledger.open(str(one.ledger), origin=one.url) as ledger:
                options = batchgen.RunOptions(recover=True)
                session = Session(ledger, one.account, options, clock, Events(clock.now))
                assert await session.prepare(batchgen.load(one.folder / "m.yaml"))
                work = asyncio.create_task(session.work())
                async with asyncio.timeout(ENDS):
                    while not one.sandbox.held:
                        await asyncio.sleep(0.01)
                work.cancel()
                await asyncio.wait([work], timeout=ENDS / 10)
                assert work.cancelled()
            assert [entry.kind for entry in one.heard() if entry.kind == "create"] == []

    asyncio.run(scene())


def test_a_run_that_is_cancelled_as_a_whole_waits_for_no_task(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, jobs=1, task_seconds=(3600.0, 3600.0)) as one:
            clock, created = Clock(), asyncio.Event()

            def hear(event: batchgen.Event) -> None:
                if isinstance(event, batchgen.Created):
                    created.set()

            with Ledger.open(str(one.ledger), origin=one.url) as ledger:
                session = Session(ledger, one.account, QUICK, clock, Events(clock.now, hear))
                assert await session.prepare(batchgen.load(one.folder / "m.yaml"))
                work = asyncio.create_task(session.work())
                async with asyncio.timeout(ENDS):
                    await created.wait()
                work.cancel()
                await asyncio.wait([work], timeout=ENDS / 10)
                assert work.cancelled()
            assert one.states() == {"submitted": 1}

    asyncio.run(scene())


def test_a_reader_that_fails_ends_the_run_in_order_and_raises_what_it_raised(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path) as one:
            with pytest.raises(ZeroDivisionError):
                async with contextlib.aclosing(one.run()) as events:
                    async for event in events:
                        if isinstance(event, batchgen.Created):
                            raise ZeroDivisionError
            await safely_gone_on(one)

    asyncio.run(scene())


# -- those who listen --------------------------------------------------------------------------------------------------


def test_a_listener_that_raises_hurts_neither_the_run_nor_other_listeners(tmp_path: Path) -> None:
    heard: list[batchgen.Event] = []

    def raises(event: batchgen.Event) -> None:
        raise RuntimeError(event)

    async def scene() -> None:
        async with night(tmp_path) as one:
            clock = Clock()
            with Ledger.open(str(one.ledger), origin=one.url) as ledger:
                events = Events(clock.now, raises, heard.append)
                session = Session(ledger, one.account, QUICK, clock, events)
                assert await session.prepare(batchgen.load(one.folder / "m.yaml"))
                async with asyncio.timeout(ENDS):
                    await session.work()
                ended = await session.conclude()
            assert dict(ended.jobs) == {"downloaded": 6} and heard[-1] is ended

    asyncio.run(scene())


def test_a_reader_that_is_late_holds_up_no_run(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path) as one:
            async with contextlib.aclosing(one.run()) as events:
                first = await anext(events)
                async with asyncio.timeout(ENDS):
                    while one.states() != {"downloaded": 6}:
                        await asyncio.sleep(0.02)
                    while asyncio.all_tasks() != {asyncio.current_task()} and len(asyncio.all_tasks()) > 1:
                        if one_is_free(one):
                            break
                        await asyncio.sleep(0.02)
                assert one.is_free()  # although nobody has read what is left
                rest = [event async for event in events]
            assert isinstance(first, batchgen.Began) and isinstance(rest[-1], batchgen.Ended)
            assert sum(isinstance(event, batchgen.Downloaded) for event in rest) == 6
            assert sum(isinstance(event, batchgen.Totals) for event in rest) == 0  # the end has newer ones

    def one_is_free(one: Night) -> bool:
        with contextlib.suppress(batchgen.LedgerBusy):
            return one.is_free()
        return False

    asyncio.run(scene())


def test_what_waits_for_a_reader_is_bounded_and_has_all_results_and_the_newest_counts() -> None:
    async def scene() -> None:
        stream = Stream()
        about: dict[str, Any] = {"manifest": "m", "job_id": "j", "take": 1, "external_task_id": "e"}
        for number in range(5 * LATE):
            stream.take(batchgen.Totals(at=0, jobs=number, finished=0, running=0, cost_usd=0.0))
            stream.take(batchgen.Progressed(at=0, **about, status="processing", seconds=1.0))
            stream.take(JobNoticed(at=0, **about, text="moved"))
            if number % 10 == 0:
                stream.take(batchgen.Created(at=number, **about))
        stream.close()
        events = []
        while (event := await stream.next()) is not None:
            events.append(event)
        kinds = Counter(type(event) for event in events)
        assert kinds[batchgen.Created] == LATE / 2
        assert LATE / 2 < kinds[batchgen.Progressed] + kinds[JobNoticed] <= LATE
        assert [event.at for event in events if isinstance(event, batchgen.Created)] == [
            *range(0, 5 * LATE, 10)
        ]

    asyncio.run(scene())


def test_a_reader_in_time_gets_the_counts_that_a_late_one_gets_once() -> None:
    async def scene() -> None:
        stream = Stream()
        for number in range(3):
            stream.take(batchgen.Totals(at=0, jobs=number, finished=0, running=0, cost_usd=0.0))
        totals = await stream.next()
        assert isinstance(totals, batchgen.Totals) and totals.jobs == 2
        waiting = asyncio.create_task(stream.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        stream.close()
        assert await waiting is None

    asyncio.run(scene())


# -- a process of its own ----------------------------------------------------------------------------------------------


def test_two_runs_in_one_process_share_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        async with (
            night(tmp_path / "one", key="first-of-two-keys-7f31") as one,
            night(tmp_path / "two", key="other-of-two-keys-90ac", jobs=4) as two,
        ):
            one.account = batchgen.Account(one.url, "first-of-two-keys-7f31")
            two.account = batchgen.Account(two.url, "other-of-two-keys-90ac")
            first, second = await asyncio.gather(one.events(), two.events())
            for found, mine, jobs in ((first, one, 6), (second, two, 4)):
                ended = found[-1]
                assert isinstance(ended, batchgen.Ended) and dict(ended.jobs) == {"downloaded": jobs}
                ids = {event.external_task_id for event in found if isinstance(event, batchgen.JobEvent)}
                assert ids == set(mine.accepted()) and len(mine.accepted()) == jobs

    asyncio.run(scene())


def test_a_second_run_over_a_ledger_is_refused_and_one_that_waits_gets_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path) as one:
            async with contextlib.aclosing(one.run()) as events:
                await anext(events)
                with pytest.raises(batchgen.LedgerBusy):
                    await one.events()
                loaded = batchgen.load(one.folder / "m.yaml")
                patient = batchgen.run(loaded, one.ledger, one.account, QUICK, lock_wait=ENDS)
                waiting = asyncio.create_task(anext(patient))
                await asyncio.sleep(0)
                assert not waiting.done()
            async with asyncio.timeout(ENDS):
                assert isinstance(await waiting, batchgen.Began)
            await patient.aclose()
            await safely_gone_on(one)

    asyncio.run(scene())


def test_a_run_prints_nothing_and_leaves_the_process_as_it_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def process() -> list[object]:
        signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        loggers = [logging.getLogger(name) for name in (None, "asyncio")]
        return [
            signals,
            gc.get_threshold(),
            gc.get_freeze_count(),
            [(one.level, [*one.handlers]) for one in loggers],
        ]

    async def scene() -> None:
        async with night(tmp_path, "wrapped_1303=0.2", "refuse_policy@2") as one:
            await one.events()

    before = process()
    asyncio.run(scene())
    assert process() == before
    assert capfd.readouterr() == ("", "")


def test_the_key_is_in_nothing_that_a_program_can_show(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, key="another-key-than-ours") as one:
            events = await one.events()
            assert isinstance(events[-1], batchgen.Ended) and events[-1].exit_code == 3
            assert KEY not in repr(events) + repr(one.account) + str(one.account) + repr(one.run)
            assert KEY not in "".join(str(event) for event in events)
        assert KEY.encode() not in one.ledger.read_bytes()

    asyncio.run(scene())
    heard = batchgen.Noticed(at=0, text=f"a host said {KEY}")
    ending = batchgen.Ending("failed", "m", "j", 1, "e", f"it said {KEY}")
    ended = batchgen.Ended(
        at=0,
        jobs={},
        others={},
        tasks={},
        failed_tasks=0,
        created=0,
        cost_usd=0,
        unsure=0,
        unsure_cost_usd=0,
        endings=(ending,),
        stops=(batchgen.EndedEarly(f"a library said {KEY}"),),
        exit_code=0,
    )
    stopped = batchgen.Stopped(at=0, reason=batchgen.EndedEarly(f"a library said {KEY}"))
    for event in (heard, ended, stopped):
        assert KEY not in repr(masked(event, Mask(KEY)))
    assert str(stopped.reason) == "a library said [key]"


def test_an_account_comes_from_the_environment_where_that_is_asked_for(tmp_path: Path) -> None:
    account = batchgen.Account.from_environment(
        {"POWERTOKENS_API_KEY": KEY, "POWERTOKENS_API_BASE": "http://localhost:1"}
    )
    assert (account.base_url, account.key) == ("http://localhost:1", KEY)
    (tmp_path / "key").write_text(f"{KEY}\n")
    account = batchgen.Account.from_environment({"POWERTOKENS_API_KEY_FILE": str(tmp_path / "key")})
    assert (account.base_url, account.key) == ("https://api.powertokens.ai", KEY)
    with pytest.raises(batchgen.UsageError, match="there is no API key"):
        batchgen.Account.from_environment({})


@pytest.mark.parametrize(
    "key", ["", f"{KEY}\n", f"{KEY}\r\nX: y", f" {KEY}", f"\u00e9{KEY}", f"{KEY}\0", None, KEY.encode()]
)
def test_what_can_be_no_key_is_refused_before_it_is_sent_and_not_shown(key: Any) -> None:
    """A header with a line break is sent by no client: the run would try for ever."""
    with pytest.raises(batchgen.UsageError, match="the API key ") as raised:
        batchgen.Account("http://localhost:1", key)
    assert KEY not in str(raised.value)


HOLDING = {
    "prompt": ('"prompt": "3"', f'"prompt": "x {KEY} y"'),
    "id": ('"id": "j3"', f'"id": "{KEY}"'),
    "external_task_id": ('"id": "j3"', f'"id": "j3", "external_task_id": "{KEY}"'),
    "id of a job without its image": ('"id": "j3"', f'"id": "{KEY}", "image_tail": "none.png"'),
    "path of an image": ('"https://example.com/a.png"', f'"{KEY}.png"'),
    "name of the manifest": ('"version": 1', f'"version": 1, "name": "{KEY}"'),
}


@pytest.mark.parametrize("change", HOLDING.values(), ids=HOLDING.keys())
def test_a_job_that_holds_the_key_is_sent_nowhere_and_written_nowhere(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    async def scene() -> None:
        async with night(tmp_path) as one:
            text = (one.folder / "m.yaml").read_text()
            assert change[0] in text
            (one.folder / f"{KEY}.png").write_bytes(make_png())
            (one.folder / "m.yaml").write_text(text.replace(*change))
            with pytest.raises(batchgen.UsageError, match=r"m\.yaml.* holds the API key") as raised:
                await one.events()
            assert KEY not in str(raised.value) and not one.ledger.exists() and one.accepted() == []

    asyncio.run(scene())


def test_the_ledger_is_the_one_that_was_named_wherever_the_program_is_when_the_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another ledger knows nothing of what is paid."""

    async def scene() -> None:
        async with night(tmp_path / "n") as one:
            (tmp_path / "elsewhere").mkdir()
            monkeypatch.chdir(one.folder)
            runs = (
                batchgen.run(batchgen.load("m.yaml"), "ledger.db", one.account, QUICK),
                batchgen.collect("ledger.db", one.account, QUICK),
            )
            monkeypatch.chdir(tmp_path / "elsewhere")
            for events in runs:
                assert isinstance([event async for event in events][-1], batchgen.Ended)
            assert one.states() == {"downloaded": 6}
            assert not list((tmp_path / "elsewhere").iterdir())

    asyncio.run(scene())


def test_what_was_only_submitted_is_collected_with_the_same_options(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, slots=None, task_seconds=(0.5, 0.6)) as one:
            options = dataclasses.replace(QUICK, submit_only=True)
            await one.events(options)
            assert one.states()["submitted"]
            async for _ in batchgen.collect(one.ledger, one.account, options):
                pass
            assert one.states() == {"downloaded": 6}

    asyncio.run(scene())


def test_collecting_creates_neither_tasks_nor_ledgers(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path, slots=None, task_seconds=(1.0, 1.0)) as one:
            with pytest.raises(batchgen.LedgerError):
                async for _ in batchgen.collect(one.ledger, one.account, QUICK):
                    raise AssertionError
            assert not one.ledger.exists()
            await one.events(batchgen.RunOptions(submit_only=True, poll_interval=0.05))
            made = one.accepted()
            assert len(made) == 6
            events = [event async for event in batchgen.collect(one.ledger, one.account, QUICK)]
            ended = events[-1]
            assert isinstance(ended, batchgen.Ended) and dict(ended.others) == {"downloaded": 6}
            assert one.accepted() == made

    asyncio.run(scene())


def test_a_plan_says_what_a_run_does_and_writes_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        async with night(tmp_path) as one:
            loaded = batchgen.load(one.folder)
            steps = batchgen.plan(loaded, one.ledger)
            assert [step.action for step in steps] == [batchgen.Action.CREATE] * 6
            assert not one.ledger.exists()
            events = await one.events()
            planned = {e.external_task_id: e.cost_usd for e in events if isinstance(e, batchgen.Planned)}
            assert planned == {step.external_task_id: step.cost for step in steps}
            assert {step.action for step in batchgen.plan(loaded, one.ledger)} == {batchgen.Action.DONE}

    asyncio.run(scene())


# -- what the package hands out ----------------------------------------------------------------------------------------


def test_everything_that_is_named_is_there_and_named_once() -> None:
    assert batchgen.__all__ == library.__all__ == sorted(batchgen.__all__)
    for name in batchgen.__all__:
        assert getattr(batchgen, name) is getattr(library, name)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        batchgen.lode  # type: ignore[attr-defined]  # noqa: B018


def test_the_package_loads_nothing_before_it_is_asked_for_something() -> None:
    program = "import sys, batchgen; print(sorted(m for m in sys.modules if m.startswith('batchgen')), 'asyncio' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout == "['batchgen', 'batchgen.run'] False\n"


def test_what_the_library_warns_of_is_printed_by_nobody() -> None:
    program = "import logging, batchgen; batchgen.load; logging.getLogger('batchgen').warning('x')"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("", "")


def test_the_function_keeps_its_name_whatever_of_its_room_is_imported() -> None:
    from batchgen.run import pool, runner

    assert pool.Pool is not None and runner.Runner is not None
    assert batchgen.run is library.run
