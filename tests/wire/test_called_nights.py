"""Nights in which the API calls: receiver, runner and sandbox over the loopback, in virtual time, the journal as witness."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import pytest

from batchgen.night.callbacks import Gate, Receiver, bound
from batchgen.run.hints import Hints
from tests.support import nights
from tests.support.nights import Night, Ran

T = TypeVar("T")
SECRET = "J7wq0Zc3mN5xT1vB8yLd2KfR6gHs4PuE9aQoXiVtWz0"
SLOTS = 7
MINUTES = (60.0, 360.0)  # how long tasks take


@dataclass
class Called:
    """A night's receiver, and what it tells the run."""

    night: Night
    port: int
    receiver: Receiver
    hints: Hints = field(default_factory=Hints)
    flooded: bool = False

    async def run(self, **options: Any) -> Ran:
        return await self.night.run(hints=self.hints, **options)

    @property
    def queries(self) -> float:
        """Queries by task id for each task: what following it took."""
        ids = {task.id for task in self.night.sandbox.account.tasks}
        asked = [one for one in self.night.sandbox.journal.of("query") if one.path.rpartition("/")[2] in ids]
        return len(asked) / len(ids)

    @property
    def lags(self) -> list[float]:
        """Seconds between each task's end and the query that saw it, in order."""
        account = self.night.sandbox.account
        seen: dict[str, float] = {}
        for entry in self.night.sandbox.journal.of("query"):
            if entry.message in ("succeed", "failed"):
                seen.setdefault(entry.task_id or "", entry.at)
        return sorted(
            seen[task.id] - (task.ends - account.started) for task in account.tasks if task.id in seen
        )


def play(
    scene: Callable[[Called], Awaitable[T]],
    jobs: int | Sequence[dict[str, Any]],
    *rules: str,
    proven: bool = True,
    flooded: bool = False,
    url: str = "http://127.0.0.1:{port}/hooks/{secret}",
    **config: Any,
) -> T:
    """Play ``scene`` against a sandbox that calls the run's receiver at ``url``."""
    link = bound("127.0.0.1", 0)
    port = link.getsockname()[1]

    async def main(night: Night) -> T:
        hints = Hints(url.format(port=port, secret=SECRET) or None, proven=proven)
        receiver = Receiver(Gate(SECRET), lambda names, ended: hints.hear(names, ended=ended))
        await receiver.start(link)
        try:
            return await scene(Called(night, port, receiver, hints, flooded))
        finally:
            await receiver.stop()

    return nights.play(main, jobs, *rules, callbacks=frozenset({("127.0.0.1", port)}), **config)


def test_where_calls_come_a_task_is_queried_about_once_and_its_end_is_seen_within_a_second() -> None:
    jobs = 60

    async def scene(called: Called) -> None:
        ran = await called.run(max_running=SLOTS)
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": jobs})
        assert called.receiver.refused == 0
        assert called.queries < 1.2
        assert max(called.lags) < 1
        assert called.night.idle(SLOTS) < 0.01
        assert called.night.verdict(jobs).violations == []

    play(scene, jobs, slots=SLOTS, task_seconds=MINUTES)


def test_the_first_night_with_calls_is_queried_rarely_too_once_they_have_begun() -> None:
    async def scene(called: Called) -> None:
        assert (await called.run(max_running=SLOTS)).code == 0
        assert called.queries < 2
        assert max(called.lags) < 13  # until the first call of a kind never seen: a fifth of its age
        assert called.hints.proven

    play(scene, 120, slots=SLOTS, task_seconds=MINUTES, proven=False)


def test_a_night_of_few_jobs_of_a_kind_never_seen_is_queried_as_rarely() -> None:
    async def scene(called: Called) -> None:
        assert (await called.run()).code == 0
        assert called.queries < 2
        assert max(called.lags) < 1

    play(scene, 3, task_seconds=MINUTES)


def test_a_night_whose_calls_are_all_lost_takes_as_long_as_one_without_any() -> None:
    async def scene(called: Called) -> tuple[float, float]:
        ran = await called.run(max_running=SLOTS)
        assert (ran.code, called.receiver.counts) == (0, {})
        return ran.seconds, statistics.mean(called.lags)

    config: dict[str, Any] = {"slots": SLOTS, "task_seconds": MINUTES, "proven": False}
    (lost, lag), (mute, usual) = (
        play(scene, 24, "callback_lost=1", **config),
        play(scene, 24, url="", **config),
    )
    assert lost < 1.1 * mute
    assert lag < usual + 3


@pytest.mark.parametrize(
    ("rules", "queries", "late"),
    [
        pytest.param(["callback_twice=1"], 1.2, 1.0, id="twice"),
        pytest.param(["callback_after_next=0.5"], 1.6, 1.0, id="out of order"),
        pytest.param(["callback_late=0.3"], 1.6, 61.0, id="late"),
        pytest.param(["callback_untrue=0.5"], 4.0, 1.0, id="untrue"),
        pytest.param(["callback_lost=0.1"], 1.6, 200.0, id="lost"),
        pytest.param(["callback_huge=0.2", "callback_stall=0.2"], 6.0, 400.0, id="huge and slow"),
    ],
)
def test_calls_that_come_oddly_cost_a_few_queries_and_no_job(
    rules: list[str], queries: float, late: float
) -> None:
    jobs = 40

    async def scene(called: Called) -> None:
        ran = await called.run(max_running=SLOTS)
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": jobs}), ran.words
        assert called.queries < queries
        assert called.lags[-1] < late
        assert called.night.idle(SLOTS) < 0.2
        assert called.night.verdict(jobs).violations == []

    play(scene, jobs, *rules, slots=SLOTS, task_seconds=MINUTES)


def test_polling_is_as_before_soon_after_calls_have_ceased_and_rare_again_once_they_come() -> None:
    jobs = 160

    async def scene(called: Called) -> None:
        run = asyncio.create_task(called.run(max_running=SLOTS))
        journal = called.night.sandbox.journal
        times: list[float] = []
        for rule in ("callback_lost=1", None):
            while len(journal.of("callback")) < (len(times) + 1) * jobs // 2:
                await asyncio.sleep(10)
            called.night.sandbox.clear_faults()
            if rule is not None:
                called.night.sandbox.add_fault(rule)
            times.append(called.night.loop.time())
        ran = await run
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": jobs})
        account = called.night.sandbox.account
        seen = {one.task_id: one.at for one in journal.of("query") if one.message == "succeed"}
        lag = {
            task.ends - account.started: seen[task.id] - (task.ends - account.started)
            for task in account.tasks
        }
        first, second = times
        silent = [late for ends, late in sorted(lag.items()) if first < ends < second]
        assert max(late for ends, late in lag.items() if ends < first) < 1
        assert max(silent[:12]) > 60  # those of which calls were expected
        assert statistics.mean(silent[20:]) < 15  # what polling alone takes
        assert statistics.mean(late for ends, late in lag.items() if ends > second + 400) < 1

    play(scene, jobs, slots=SLOTS, task_seconds=MINUTES)


def test_a_jobs_own_callback_url_stays_and_its_task_is_polled_as_ever() -> None:
    own = "https://example.com/hooks/kling"

    async def scene(called: Called) -> None:
        assert (await called.run()).code == 0
        sent = {entry.external_task_id: entry.fields.get("callback_url") for entry in called.night.creates}
        assert sent == {
            row.external_task_id: own if int(row.job_id[1:]) % 2 else called.hints.url
            for row in called.night.rows()
        }
        mine, theirs = (
            [
                late
                for late, task in zip(_lags(called), called.night.sandbox.account.tasks, strict=True)
                if (task.callback_url == own) is foreign
            ]
            for foreign in (False, True)
        )
        assert max(mine) < 1
        assert max(theirs) < 73  # a fifth of its age

    play(scene, [{"callback_url": own} if n % 2 else {} for n in range(20)], task_seconds=MINUTES)


def _lags(called: Called) -> list[float]:
    """The same as :attr:`Called.lags`, in the order of the tasks."""
    account = called.night.sandbox.account
    seen = {
        one.task_id: one.at for one in called.night.sandbox.journal.of("query") if one.message == "succeed"
    }
    return [seen[task.id] - (task.ends - account.started) for task in account.tasks]


def test_a_flood_of_calls_makes_no_night_longer() -> None:
    """Repeated, untrue and forged ones, about tasks that run and others, all of them within ten seconds."""
    calls = 300

    async def flood(called: Called) -> Counter[int]:
        account, statuses = called.night.sandbox.account, Counter[int]()
        async with aiohttp.ClientSession() as client:
            for number in range(calls):
                known = account.tasks[number % len(account.tasks)].id
                body = {"task_id": known if number % 2 else f"x{number}", "task_status": "succeed"}
                url = f"http://127.0.0.1:{called.port}/{SECRET if number % 3 else 'wrong'}"
                async with client.post(url, json=body) as answer:
                    statuses[answer.status] += 1
                if number % 30 == 0:
                    await asyncio.sleep(1.0)
        return statuses

    async def scene(called: Called) -> tuple[float, float]:
        run = asyncio.create_task(called.run(max_running=SLOTS))
        if called.flooded:
            await asyncio.sleep(300)
            assert await flood(called) == {200: calls * 2 // 3, 404: calls // 3}
        assert (await run).code == 0
        assert called.night.verdict(30).violations == []
        return (await run).seconds, called.queries

    config: dict[str, Any] = {"slots": SLOTS, "task_seconds": MINUTES}
    (quiet, few), (loud, more) = (play(scene, 30, flooded=flooded, **config) for flooded in (False, True))
    assert loud < 1.02 * quiet  # jobs may begin in another order
    assert more < few + 1


def test_where_tasks_report_to_shapes_no_id_and_pays_for_nothing_again() -> None:
    async def scene(called: Called) -> None:
        assert (await called.run()).code == 0
        called.hints.url = None
        again = await called.run()
        called.hints.url = "http://127.0.0.1:1/another"
        assert [(again.code, again.tally.buckets), (await called.run()).code] == [(0, {"downloaded": 3}), 0]
        assert len(called.night.creates) == 3
        ids = {row.external_task_id for row in called.night.rows()}

        called.night.ledger.unlink()
        assert (await called.night.run()).code == 0  # without callbacks, and a ledger that knows nothing
        assert {row.external_task_id for row in called.night.rows()} == ids
        assert len(called.night.creates) == 3

    play(scene, 3, task_seconds=MINUTES)
