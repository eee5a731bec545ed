"""Nights in virtual time: the program's own pool and pacing against an account that is simulated.

Nothing of the pacing is copied here: ``Pool`` says when a create may go out, ``Slots`` what may run, ``Lengths`` when
to ask. This file is the rest of the world: a clock that jumps from event to event, an account that runs so many
tasks and answers 1303 to the next one, tasks that take their time, a neighbour who uses the same account, and a wire
that takes a moment each way. What the runner does between the pacing's decisions (create, ask, ask again) stands in
:class:`World` in the order of ``batchgen/run/lifecycle.py`` and ``batchgen/run/following.py``.

``python -m tests.bench.simulate`` prints the table alone.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchgen.run.polling import Lengths, align_to_tick
from batchgen.run.pool import Lane, Limits, Pool, Work

CREATE = 0.4  # seconds from sending a create to its answer; the account decides half way
QUERY = 0.1  # the same for a question
RETRY = 5.0  # seconds after which the neighbour tries again where there was no slot
KIND = "pro/5"
SEEN_BEFORE = 200  # lengths that a ledger of earlier nights knows

Draw = Callable[[random.Random], float]


def _bimodal(rng: random.Random) -> float:
    return rng.uniform(54, 66) if rng.random() < 0.7 else rng.uniform(234, 286)


#: How long tasks take, in seconds; all have a mean of 120.
LENGTHS: dict[str, Draw] = {
    "steady": lambda rng: 120.0,
    "within 20%": lambda rng: rng.uniform(108, 132),
    "threefold": lambda rng: rng.uniform(60, 180),
    "bimodal": _bimodal,
    "heavy tail": lambda rng: rng.lognormvariate(math.log(120) - 0.405, 0.9),
}


@dataclass(frozen=True)
class Night:
    """What one simulated night is made of. ``rounds`` is the number of tasks per slot: 200 take 6 hours 40."""

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


@dataclass(slots=True, eq=False)
class Task:
    """A job on its way: what the account and the runner know of it."""

    work: Work
    length: float
    born: float = 0.0  # when its create was answered
    ends: float = 0.0
    asked: float = 0.0  # when the last question was sent


class World:
    """The clock, the account, the neighbour and the runner's steps."""

    def __init__(self, night: Night) -> None:
        self.night = night
        self.now = 0.0
        self.running = self.theirs = self.most = 0
        self.queries = self.refusals = self.seen = 0
        self.lag = 0.0
        self.free = [(0.0, night.slots)]  # slots that were not the neighbour's, from when on
        self._rng = random.Random(night.seed)
        self._draw = LENGTHS[night.lengths]
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._wake = math.inf
        self._wanted = 0
        limits = Limits(concurrency=night.concurrency, max_running=night.slots if night.told else None)
        self.pool = Pool(limits, random.Random(night.seed + 1))
        self._lane = Lane("night")
        self.pool.lanes.append(self._lane)
        self._asking = Lengths()
        if night.known:
            self._asking.learn(KIND, [self._draw(self._rng) for _ in range(SEEN_BEFORE)])
        self.lengths = [self._draw(self._rng) for _ in range(night.tasks)]
        self._tasks = {}
        for length in self.lengths:
            work = Work(self._lane)
            self._tasks[work] = Task(work, length)
            self._lane.queue.append(work)

    def run(self) -> None:
        """Play until the last end is seen."""
        if self.night.neighbour:
            comes = 0.0 if self.night.there else self._rng.random() * 7200
            self._at(comes, self._neighbour_moves)
        self._at(0.0, self._feed)
        while self.seen < len(self.lengths):
            self.now, _, happens, values = heapq.heappop(self._events)
            happens(*values)

    def _at(self, when: float, happens: Callable[..., None], *values: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), happens, values))

    # -- the runner, as in batchgen/run/runner.py and batchgen/run/lifecycle.py

    def _feed(self) -> None:
        while (work := self.pool.next(self.now)) is not None:
            self._at(self.now + CREATE / 2, self._create_arrives, self._tasks[work])
        delay = self.pool.delay(self.now)
        if delay is not None and self._lane.waiting and self.now + delay < self._wake:
            self._wake = self.now + delay
            self._at(self._wake, self._woken)

    def _woken(self) -> None:
        self._wake = math.inf
        self._feed()

    def _created(self, task: Task) -> None:
        self.pool.started(task.work, self.now)
        task.born = self.now
        self._ask_after(task, 0.0)
        self._feed()

    def _refused(self, task: Task) -> None:
        self.pool.refused_slot(task.work, self.now)
        self._lane.again.append(task.work)
        self._feed()

    def _ask_after(self, task: Task, age: float) -> None:
        wait = self._asking.next_ask(KIND, age, wanted=self.pool.full)
        task.asked = self.now + align_to_tick(self.now, wait)
        self._at(task.asked + QUERY / 2, self._question_arrives, task)

    def _answered(self, task: Task) -> None:
        self._ask_after(task, task.asked - task.born)

    def _end_seen(self, task: Task) -> None:
        self._asking.learn(KIND, [task.length])
        self.lag += self.now - task.ends
        self.seen += 1
        self.pool.ended(task.work, task.ends)
        self._feed()

    # -- the account

    def _create_arrives(self, task: Task) -> None:
        if self.running + self.theirs < self.night.slots:
            self.running += 1
            self.most = max(self.most, self.running)
            task.ends = self.now + task.length
            self._at(task.ends, self._task_ends)
            self._at(self.now + CREATE / 2, self._created, task)
        else:
            self.refusals += 1
            self._at(self.now + CREATE / 2, self._refused, task)

    def _task_ends(self) -> None:
        self.running -= 1

    def _question_arrives(self, task: Task) -> None:
        self.queries += 1
        answer = self._end_seen if self.now >= task.ends else self._answered
        self._at(self.now + QUERY / 2, answer, task)

    # -- the neighbour: comes, keeps so many tasks running, and goes

    def _neighbour_moves(self) -> None:
        self._wanted = 0 if self._wanted else self.night.neighbour
        for _ in range(self._wanted - self.theirs):
            self._neighbour_creates()
        self._at(self.now + self.night.visit * self._rng.uniform(0.5, 1.5), self._neighbour_moves)

    def _neighbour_creates(self) -> None:
        if self.theirs >= self._wanted:
            return
        if self.running + self.theirs < self.night.slots:
            self._neighbour_has(self.theirs + 1)
            self._at(self.now + self._draw(self._rng), self._neighbour_ends)
        else:
            self._at(self.now + RETRY * self._rng.uniform(0.5, 1), self._neighbour_creates)

    def _neighbour_ends(self) -> None:
        self._neighbour_has(self.theirs - 1)
        self._neighbour_creates()

    def _neighbour_has(self, slots: int) -> None:
        self.theirs = slots
        self.free.append((self.now, self.night.slots - slots))


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
        best: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * len(
            ages
        )  # cost, questions, lag from here on
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
    world = World(night)
    world.run()
    least = bound(world.lengths, world.free)
    tasks = len(world.lengths)
    return Outcome(
        makespan=world.now,
        bound=least,
        greedy=least if night.neighbour else greedy(world.lengths, night.slots),
        queries=world.queries / tasks,
        refusals=world.refusals / tasks,
        lag=world.lag / tasks,
        most=world.most,
    )


def median(night: Night, seeds: int) -> Outcome:
    """The night with different lengths and neighbours, each figure its median."""
    outcomes = [simulate(replace(night, seed=seed)) for seed in range(1, seeds + 1)]
    middle = {
        name: statistics.median(getattr(one, name) for one in outcomes)
        for name in Outcome.__dataclass_fields__
    }
    # Ratios are medians of ratios: the nights differ in length.
    over = statistics.median(one.over_bound for one in outcomes)
    over_greedy = statistics.median(one.over_greedy for one in outcomes)
    makespan = middle["makespan"]
    middle |= {"bound": makespan / (1 + over), "greedy": makespan / (1 + over_greedy)}
    return Outcome(**middle)


def goal(night: Night) -> float | None:
    """By how much a makespan may exceed the bound; None where nothing was asked for."""
    least = {"steady": 0.03, "within 20%": 0.03, "threefold": 0.06}.get(night.lengths)
    return None if least is None else least + (0.0 if night.told else 0.03)


def nights() -> Iterator[tuple[str, Night]]:
    """All that is simulated, with its group's name."""
    for slots, lengths, told in itertools.product((5, 20, 100), LENGTHS, (True, False)):
        yield "alone", Night(slots, lengths, told)
    for slots, lengths, told in itertools.product((5, 20, 100), ("within 20%", "threefold"), (True, False)):
        yield "a neighbour comes and goes", Night(slots, lengths, told, known=True, neighbour=slots * 2 // 5)
    for slots in (5, 20, 100):
        there = Night(slots, "threefold", told=False, known=True, neighbour=slots * 2 // 5, there=True)
        yield "a neighbour was there first", there
        yield "a neighbour came to stay", replace(there, there=False, visit=math.inf)
    for slots, told in itertools.product((1, 2, 1000), (True, False)):
        yield "other sizes", Night(slots, "threefold", told, rounds=50 if slots == 1000 else 200)
    yield "a million tasks", Night(1000, "threefold", told=False, rounds=1000)


def seeds(night: Night, wanted: int) -> int:
    """How often a night is worth playing: small ones differ much, large ones hardly."""
    return max(1, min(wanted, 200_000 // night.tasks), min(5 * wanted, 25_000 // night.tasks))


def main() -> None:
    for group, night in nights():
        one = median(night, seeds(night, 5))
        limit = goal(night)
        sys.stdout.write(
            f"{group:28} {night.slots:5} {night.lengths:11} {'told' if night.told else 'learned':8}"
            f" {one.over_bound:7.2%} {f'{limit:.0%}' if limit else '':4} {one.over_greedy:7.2%} {one.queries:6.2f}"
            f" {one.refusals:6.2%} {one.lag:6.2f} s\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
