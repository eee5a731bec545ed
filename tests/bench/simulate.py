"""Nights in virtual time: the program's own run against its own sandbox, which has so many slots.

Nothing of the program is copied here. This file is the rest of the world: how long tasks take, a wire that takes a
moment each way, and a neighbour who uses the same account; and what came of a night, as the account saw it.

``python -m tests.bench.simulate`` prints the table alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import random
import statistics
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from batchgen.sandbox.checks import Order
from batchgen.sandbox.tasks import Task
from tests.support.nights import Night as Folder
from tests.support.nights import play

LATENCY = 0.1  # seconds each way
RETRY = 5.0  # seconds after which the neighbour tries again where there was no slot
SEEN_BEFORE = 50  # tasks of an earlier night, where the ledger knows one

Draw = Callable[[float], float]  # of a chance from 0 to 1


def _bimodal(chance: float) -> float:
    return 54 + 12 * chance / 0.7 if chance < 0.7 else 234 + 52 * (chance - 0.7) / 0.3


def _heavy_tail(chance: float) -> float:
    """Of a thousand the longest takes 22 minutes: a run stops waiting for one that takes more than half an hour."""
    return math.exp(statistics.NormalDist(math.log(120) - 0.405, 0.9).inv_cdf(min(max(chance, 0.001), 0.999)))


#: How long tasks take, in seconds; all have a mean of 120.
LENGTHS: dict[str, Draw] = {
    "steady": lambda chance: 120.0,
    "within 20%": lambda chance: 108 + 24 * chance,
    "threefold": lambda chance: 60 + 120 * chance,
    "bimodal": _bimodal,
    "heavy tail": _heavy_tail,
}


@dataclass(frozen=True)
class Night:
    """What one simulated night is made of. ``rounds`` is the number of tasks per slot: 200 take 6 hours 40, and are whole."""

    slots: int
    lengths: str
    told: bool = True  # the limit is stated with --max-running
    known: bool = False  # the ledger knows lengths of earlier nights
    neighbour: int = 0  # slots that somebody else wants, now and then
    there: bool = False  # the neighbour was there before us
    visit: float = 7200.0  # seconds that the neighbour stays, and stays away, give or take a half
    rounds: int = 200
    concurrency: int = 8
    seed: int = 1
    momentary: float = 0.0  # the share of creates that get 1303 although slots are free

    @property
    def tasks(self) -> int:
        return self.slots * self.rounds


@dataclass(frozen=True)
class Outcome:
    """How a night went."""

    makespan: float
    bound: float  # seconds; no schedule ends earlier
    greedy: float  # seconds; the same order where every end is seen at once. With a neighbour: the bound
    queries: float  # per task
    refusals: float  # per task
    lag: float  # seconds from a task's end to its sight, on average
    most: int  # tasks of ours that ran at once

    @property
    def over_bound(self) -> float:
        return self.makespan / self.bound - 1

    @property
    def over_greedy(self) -> float:
        return self.makespan / self.greedy - 1


class Neighbour:
    """Somebody else who comes, keeps so many tasks of his own running on the account, and goes."""

    def __init__(self, night: Night, folder: Folder) -> None:
        self._night, self._account = night, folder.sandbox.account
        self._rng = random.Random(night.seed)
        self._wanted = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def live(self) -> None:
        """Come and go, until cancelled."""
        if not self._night.there:
            await asyncio.sleep(self._rng.random() * 7200)
        try:
            while True:
                self._wanted = 0 if self._wanted else self._night.neighbour
                for number in range(self._wanted):
                    task = asyncio.create_task(self._create(number))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                stays = self._night.visit * self._rng.uniform(0.5, 1.5)
                await asyncio.sleep(stays) if stays < math.inf else await asyncio.Event().wait()
        finally:
            for task in self._tasks:
                task.cancel()

    async def _create(self, number: int) -> None:
        while number < self._wanted:
            if self._account.full:
                await asyncio.sleep(RETRY * self._rng.uniform(0.5, 1))
            else:
                task = self._account.make(Order())
                await asyncio.sleep(task.ends - task.started)


def bound(lengths: Sequence[float], free: Sequence[tuple[float, int]]) -> float:
    """No schedule ends earlier: all slots that were free work without a gap, and the longest task takes its time."""
    work, at = math.fsum(lengths), 0.0
    for (start, slots), (end, _) in zip(free, [*free[1:], (math.inf, 0)], strict=True):
        if slots and work <= (end - start) * slots:
            at = start + work / slots
            break
        work -= (end - start) * slots
    return max([at, *lengths])


def greedy(lengths: Iterable[float], slots: int) -> float:
    """The same order with every end seen at once and no wire: what is left to who doesn't know lengths beforehand."""
    ends = [0.0] * slots
    for length in lengths:
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)


def least_lag(lengths: Sequence[float], queries: float, points: int = 150) -> float:
    """The least average lag, in seconds, that so many questions per task can buy where lengths are known exactly.

    Questions may be put at twice ``points`` ages. For a price per question the best ages are found from the last one
    backwards; the price is sought at which as many questions are asked as were.
    """
    ordered = sorted(lengths)
    count, shortest, longest = len(ordered), ordered[0], ordered[-1]
    ages = sorted(
        {ordered[count * step // points] for step in range(points)}
        | {shortest * (longest / shortest) ** (step / points) for step in range(points)}
        | {longest}
    )
    ended = [bisect_left(ordered, math.nextafter(age, math.inf)) for age in ages]
    sums = [0.0, *itertools.accumulate(ordered)]

    def ask(price: float) -> tuple[float, float]:
        """(questions, lag) per task at the best ages for a price."""
        # Cost, questions and lag from each age on.
        best: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * len(ages)
        for here in range(len(ages) - 2, -2, -1):
            done = ended[here] if here >= 0 else 0
            left = count - done
            choices = (
                (price * left + lag + best[there][0], left + best[there][1], lag + best[there][2])
                for there in range(here + 1, len(ages))
                for lag in [ages[there] * (ended[there] - done) - (sums[ended[there]] - sums[done])]
            )
            best[here if here >= 0 else -1] = min(choices)
        _, asked, lag = best[-1]
        return asked / count, lag / count

    low, high = 1e-6, longest
    for _ in range(20):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if ask(middle)[0] > queries else (low, middle)
    return ask(high)[1]


def simulate(night: Night) -> Outcome:
    """Play one night."""

    async def scene(folder: Folder) -> Outcome:
        if night.known:
            folder.write(SEEN_BEFORE)
            await folder.run(max_running=night.slots, concurrency=night.concurrency)
        before, entries = len(folder.sandbox.account.tasks), len(folder.entries)
        begun = folder.loop.time()
        folder.write(night.tasks + (SEEN_BEFORE if night.known else 0))
        neighbour = asyncio.create_task(Neighbour(night, folder).live()) if night.neighbour else None
        stated = night.slots if night.told else None
        ran = await folder.run(concurrency=night.concurrency, max_running=stated)
        assert (ran.code, ran.kinds) == (0, []), ran.words
        if neighbour is not None:
            neighbour.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await neighbour
        return _outcome(night, folder, folder.sandbox.account.tasks[before:], entries, begun)

    rules = [f"slots_full={night.momentary}"] if night.momentary else []
    return play(
        scene,
        1,
        *rules,
        seed=night.seed,
        slots=night.slots,
        task_seconds=LENGTHS[night.lengths],
        latency=LATENCY,
        journal=None,
    )


def _outcome(night: Night, folder: Folder, tasks: Sequence[Task], entries: int, begun: float) -> Outcome:
    """The figures of a night: its tasks, and what the journal has from ``entries`` on."""
    ours = [task for task in tasks if task.external_task_id is not None]
    theirs = [task for task in tasks if task.external_task_id is None]
    heard = folder.entries[entries:]
    clock = folder.sandbox.account.started
    seen: dict[str | None, float] = {}
    for entry in heard:
        if entry.kind == "query" and entry.message == "succeed":
            seen.setdefault(entry.task_id, clock + entry.at + LATENCY)
    assert seen.keys() == {task.id for task in ours}
    steps = sorted([(task.started, -1) for task in theirs] + [(task.ends, 1) for task in theirs])
    free = [(0.0, night.slots)]
    for at, change in steps:
        free.append((max(at - begun, 0.0), free[-1][1] + change))
    lengths = [task.ends - task.started for task in ours]
    least = bound(lengths, free)
    most = itertools.accumulate(
        change
        for _, change in sorted([(task.started, 1) for task in ours] + [(task.ends, -1) for task in ours])
    )
    return Outcome(
        makespan=max(seen.values()) - begun,
        bound=least,
        greedy=least if night.neighbour else greedy(lengths, night.slots),
        queries=sum(entry.kind == "query" for entry in heard) / len(ours),
        refusals=sum(entry.code == 1303 for entry in heard) / len(ours),
        lag=statistics.fmean(seen[task.id] - task.ends for task in ours),
        most=max(most),
    )


def middle(night: Night) -> Outcome:
    """The night, or the middle one of five where a neighbour makes each another."""
    seeds = range(1, 6) if night.neighbour else (night.seed,)
    outcomes = [simulate(replace(night, seed=seed)) for seed in seeds]
    return sorted(outcomes, key=lambda one: one.over_bound)[len(outcomes) // 2]


def goal(night: Night) -> float | None:
    """By how much a makespan of a whole night may exceed the bound; None where nothing was asked for."""
    if night.momentary:
        return None
    least = {"steady": 0.03, "within 20%": 0.03, "threefold": 0.06}.get(night.lengths)
    return None if least is None else least + (0.0 if night.told else 0.03)


def nights() -> Iterator[tuple[str, Night]]:
    """All that is simulated, with its group's name."""
    for lengths, told in itertools.product(LENGTHS, (True, False)):
        yield "alone", Night(5, lengths, told)
    for lengths, told in itertools.product(("within 20%", "threefold"), (True, False)):
        yield "alone", Night(20, lengths, told)
    for lengths, told in itertools.product(("within 20%", "threefold"), (True, False)):
        yield "a neighbour comes and goes", Night(5, lengths, told, known=True, neighbour=2)
    yield "a neighbour comes and goes", Night(20, "threefold", told=False, known=True, neighbour=8)
    there = Night(5, "threefold", told=False, known=True, neighbour=2, there=True)
    yield "a neighbour was there first", there
    yield "a neighbour came to stay", replace(there, there=False, visit=math.inf)
    for told in (True, False):
        yield "1303 of a moment", Night(5, "threefold", told, momentary=0.04)
    for slots, told in itertools.product((1, 2), (True, False)):
        yield "other sizes", Night(slots, "threefold", told)
    yield "other sizes", Night(1000, "threefold", told=False, rounds=5)


def main() -> None:
    for group, night in nights():
        one = middle(night)
        limit = goal(night)
        sys.stdout.write(
            f"{group:28} {night.slots:5} {night.lengths:11} {'told' if night.told else 'learned':8}"
            f" {one.over_bound:7.2%} {f'{limit:.0%}' if limit else '':4} {one.over_greedy:7.2%} {one.queries:6.2f}"
            f" {one.refusals:6.2%} {one.lag:6.2f} s\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
