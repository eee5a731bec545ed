"""Decides which job is created next, and when, from queues, slots, caps and pauses.

The pool decides synchronously; the runner acts. Time is an argument, in seconds of a monotonic clock.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from batchgen.amounts import shown
from batchgen.errors import BatchgenError, EndedEarly
from batchgen.models import Record
from batchgen.run.budget import Budget, Room
from batchgen.run.download_limit import DOWNLOADS
from batchgen.run.failures import Breaker
from batchgen.run.outcomes import Outcome
from batchgen.run.plan import Step, task_number
from batchgen.run.slots import Slots
from batchgen.run.waits import backoff, shown_duration

# Seconds without a free slot, while no task of this ledger runs, after which creating is stopped.
MAX_FULL_SECONDS = 2 * 3600.0
# Refusals for want of a slot in a row (some two minutes) after which only the end of one of our tasks is waited for.
MAX_REFUSALS = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run. Money is in US dollars, ``deadline`` in seconds of the pool's clock; None: no limit."""

    concurrency: int = 8
    max_running: int | None = None
    max_jobs: int | None = None
    max_cost: int | None = None  # micro-dollars
    deadline: float | None = None
    submit_only: bool = False  # the run leaves once every job has a task id
    downloads: int = DOWNLOADS


@dataclass(slots=True)
class Lane:
    """One manifest's part of the run: its queues, its own limits, and what it uses of them."""

    name: str
    concurrency: int | None = None
    max_running: int | None = None
    max_cost: int | None = None  # micro-dollars
    lookups_left: float = 0  # how many more new jobs are looked up at the API before they are created
    queue: deque[Work] = field(default_factory=deque)
    again: deque[Work] = field(default_factory=deque)  # jobs that were tried before; they go before the queue
    retries: list[tuple[float, int, Work]] = field(default_factory=list)  # a heap by the time of the retry
    creating: int = 0
    running: int = 0
    budget: Budget = field(init=False)
    closed: BatchgenError | None = None  # why nothing more of this manifest is created
    unrecorded: bool = False  # the API has tasks of it that the ledger didn't know
    unfinished: int = 0  # jobs that the run ended without

    def __post_init__(self) -> None:
        self.budget = Budget(max_cost=self.max_cost)

    @property
    def waiting(self) -> int:
        """How many jobs are to be created and don't wait for the time of a retry."""
        return len(self.again) + len(self.queue)

    @property
    def full(self) -> bool:
        """Whether the manifest uses all slots that it may have."""
        return self.max_running is not None and self.creating + self.running >= self.max_running

    @property
    def open(self) -> bool:
        """Whether the manifest's own limits allow one more create."""
        return (
            self.closed is None
            and (self.concurrency is None or self.creating < self.concurrency)
            and not self.full
        )


@dataclass(slots=True)
class Watch:
    """The state of a task that is followed. Times are of the loop's clock."""

    born: float
    answers: int = 0  # how many answers of this run said that it hasn't ended
    status: str = ""
    overdue_at: float = math.inf  # from then on the run doesn't wait for this task alone
    overdue_after_deadline: float = math.inf  # the same, once the deadline has passed

    def overdue(self, now: float, *, late: bool) -> bool:
        """Whether the run doesn't wait for this task alone any longer; ``late``: the deadline has passed."""
        return now >= (self.overdue_after_deadline if late else self.overdue_at)


@dataclass(slots=True, eq=False)
class Work:
    """A job in a run. ``record`` is the ledger's row, once there is one."""

    lane: Lane
    step: Step | None = None
    record: Record | None = None
    outcome: Outcome = field(default_factory=Outcome)  # how far the job got in this run
    watch: Watch | None = None  # while its task is followed
    deferrals: int = 0  # how often it was put off because it could not be looked up
    holds_slot: bool = False
    paid: bool = False  # among the creates that this run pays for
    failed: int = 0  # tasks of it that ended failed in this run
    failed_paid: int = 0  # those of them that this run had created
    unsure: bool = False  # its create was sent, and whether it was accepted isn't known
    sent: float = 0.0  # when its create was permitted, by the pool's clock


class Pool:
    """The queues of all manifests, and the permission to create.

    Every ``next`` that returns work has taken a create and a slot for it, and is followed by exactly one call of
    ``started``, ``uncertain``, ``occupied``, ``refused_slot`` or ``came_back``.
    """

    def __init__(self, limits: Limits, rng: random.Random, breaker: Breaker | None = None) -> None:
        self.limits = limits
        self.breaker = breaker or Breaker()
        self.slots = Slots(limits.max_running)
        self.lanes: list[Lane] = []
        self.budget = Budget(limits.max_jobs, limits.max_cost)
        self.closed: BatchgenError | None = None  # why nothing more is created
        self._rng = rng
        self._paused_until = -math.inf  # no create before this moment
        self._full_until = -math.inf  # the same for want of a slot; the end of a task ends this wait
        self._pauses = 0  # pauses in a row without an accepted create
        self._refusals = 0  # 1303 in a row
        self._full_since: float | None = None  # since when slots are refused while no task of ours runs
        self._order = itertools.count()

    @property
    def stops(self) -> list[BatchgenError]:
        """Why creating stopped, for the run or for a manifest, where jobs are left that would have been created."""
        left = [lane for lane in self.lanes if lane.unfinished]
        return [
            reason for reason in (self.closed if left else None, *(lane.closed for lane in left)) if reason
        ]

    def paused(self, now: float) -> bool:
        """Whether all creates are paused."""
        return now < self._paused_until

    @property
    def waiting(self) -> int:
        """How many jobs have not been created yet."""
        return sum(lane.waiting + len(lane.retries) for lane in self.lanes)

    @property
    def has_pending(self) -> bool:
        """Whether jobs are to be created that don't wait for the time of a retry."""
        return any(self._pending_lanes())

    @property
    def has_retries(self) -> bool:
        """Whether a retry waits for its time, and that is before the deadline."""
        last = self.limits.deadline or math.inf
        return self.closed is None and any(
            lane.retries and lane.closed is None and lane.retries[0][0] < last for lane in self.lanes
        )

    @property
    def full(self) -> bool:
        """Whether a create waits for the end of a task, because the account or its manifest has no free slot."""
        return any(lane.full or not self.slots.free or self.breaker.wary for lane in self._pending_lanes())

    @property
    def blocked(self) -> bool:
        """Whether no create is possible before a task of ours ends, by known limits or after refusals in a row."""
        known = self.slots.running >= self.slots.ceiling or self._refusals >= MAX_REFUSALS
        return all(known or lane.full for lane in self._pending_lanes())

    def _pending_lanes(self) -> Iterator[Lane]:
        """The lanes with jobs to be created."""
        if self.closed is None:
            yield from (lane for lane in self.lanes if lane.waiting and lane.closed is None)

    def close(self, reason: BatchgenError) -> None:
        """Stop creating. The first reason stays."""
        self.closed = self.closed or reason

    def next(self, now: float, *, overdue: bool = False) -> Work | None:
        """The next job to create; None where none may be created now.

        ``overdue``: only tasks run that may never end. Then one create at a time tries to get a slot.
        """
        if self.closed is None and self.late(now):
            self.close(EndedEarly("the deadline passed", kind="deadline"))
        for lane in self.lanes:
            while lane.retries and lane.retries[0][0] <= now:
                lane.again.append(heapq.heappop(lane.retries)[2])
            if lane.retries and not lane.waiting and self.closed is None and lane.closed is None:
                # Closes the lane if the caps will never allow the retry: then the run doesn't wait for its time.
                self._affordable(lane, lane.retries[0][2])
        if now < max(self._paused_until, self._full_until) or self.slots.creating >= self.limits.concurrency:
            return None
        if overdue and (not self.slots.probe_free or self._refusals >= MAX_REFUSALS):
            return None
        wary = self.breaker.wary and self.slots.running + self.slots.creating > 0
        if not overdue and (wary or not self.slots.free):
            return None
        lanes = [lane for lane in self.lanes if lane.waiting]
        if self.breaker.wary:
            lanes.sort(key=lambda lane: task_number((lane.again or lane.queue)[0].step))
        for lane in lanes:
            if self.closed is None and lane.open and self._affordable(lane):
                work = (lane.again or lane.queue).popleft()
                self._begin_create(work, now)
                return work
        return None

    def delay(self, now: float) -> float | None:
        """Seconds after which ``next`` may return something else although nothing happened; None: never."""
        paused = max(self._paused_until, self._full_until)
        moments = [paused] if paused > now else []
        if self.closed is None:
            moments += [lane.retries[0][0] for lane in self.lanes if lane.retries and lane.closed is None]
        if self.limits.deadline is not None and now < self.limits.deadline:
            moments.append(self.limits.deadline)
        return max(min(moments) - now, 0.0) if moments else None

    def late(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.limits.deadline is not None and now >= self.limits.deadline

    def schedule_retry(self, work: Work, now: float) -> None:
        """Queue a retry for the time that its outcome says; it holds no slot until then."""
        heapq.heappush(work.lane.retries, (now + work.outcome.retry_in, next(self._order), work))

    def pause(self, now: float, *, at_least: float = 0.0) -> float:
        """Pause all creates, longer each time until a create is accepted. Returns the seconds."""
        seconds = max(backoff(self._pauses, self._rng), at_least * (1 + self._rng.random() / 10))
        if now >= self._paused_until:
            self._pauses += 1
        self._paused_until = max(self._paused_until, now + seconds)
        return seconds

    def started(self, work: Work, now: float) -> None:
        """The create was accepted. Its slot is held until ``ended``."""
        self._pauses = self._refusals = 0
        self._full_since = None
        self.occupied(work, now)
        self._pay(work, 1)

    def uncertain(self, work: Work, now: float) -> None:
        """The create may have been accepted. Its slot is held until ``ended`` or ``disproved``."""
        self.occupied(work, now)
        self._pay(work, 1)
        work.unsure = True
        self._doubt(work, 1)

    def confirmed(self, work: Work) -> None:
        """An uncertain create turned out to have been accepted."""
        if work.unsure:
            work.unsure = False
            self._doubt(work, -1)

    def occupied(self, work: Work, now: float) -> None:
        """No create was sent, because there is a task that was paid before. Its slot is held until ``ended``."""
        self._end_create(work)
        self.slots.started(work.sent)
        work.lane.running += 1

    def refused_slot(self, work: Work, now: float) -> None:
        """The create got 1303: it waits for a slot. A task that ends lets the next create go before the wait is over."""
        self._end_create(work)
        work.holds_slot = False
        self.slots.refused(work.sent)
        if self.slots.running or self._full_since is None:
            self._full_since = now
        elif now - self._full_since >= MAX_FULL_SECONDS:
            text = f"the account had no free slot for {shown_duration(MAX_FULL_SECONDS)}, though no task of this ledger runs"
            self.close(EndedEarly(text, kind="full"))
        if now >= self._full_until:
            self._full_until = now + backoff(self._refusals, self._rng, cap=30.0)
            self._refusals += 1

    def came_back(self, work: Work, now: float) -> None:
        """The create certainly made no task."""
        self._end_create(work)
        work.holds_slot = False
        self.slots.give_back()

    def found(self, work: Work) -> None:
        """Count a task of an earlier run that still runs."""
        self.slots.found()
        work.lane.running += 1
        work.holds_slot = True

    def ended(self, work: Work, at: float = math.inf) -> None:
        """The task ended, at ``at`` where that is known. A second call for the same work changes nothing."""
        if work.holds_slot:
            work.holds_slot = False
            work.lane.running -= 1
            self.slots.ended(at)
            self._full_until = -math.inf

    def disproved(self, work: Work) -> None:
        """An uncertain create turned out not to have been accepted: it cost nothing."""
        self.confirmed(work)
        if work.paid:
            self._pay(work, -1)
        self.ended(work)

    def _affordable(self, lane: Lane, work: Work | None = None) -> bool:
        """Whether the caps allow the lane's next job; a cap that never will stops the run or the lane."""
        cost = _cost(work or (lane.again or lane.queue)[0])
        run, own = self.budget.room(cost), lane.budget.room(cost)
        if run is Room.NEVER:
            limits = self.limits
            jobs = limits.max_jobs is not None and self.budget.creates >= limits.max_jobs
            if jobs:
                cap = f"cap of {limits.max_jobs} job{'' if limits.max_jobs == 1 else 's'}"
            else:
                cap = f"cost cap of {shown(limits.max_cost or 0)}"
            self.close(EndedEarly(f"the {cap} was reached", kind="jobs_cap" if jobs else "cost_cap"))
        elif own is Room.NEVER:
            text = f"{lane.name}: its cost cap of {shown(lane.max_cost or 0)} was reached"
            lane.closed = EndedEarly(text, kind="manifest_cost_cap")
        return run is own is Room.NOW

    def _begin_create(self, work: Work, now: float) -> None:
        work.sent = now
        work.holds_slot = True
        work.lane.creating += 1
        self.slots.take()
        for budget in (self.budget, work.lane.budget):
            budget.reserve(1, _cost(work))

    def _end_create(self, work: Work) -> None:
        work.lane.creating -= 1
        for budget in (self.budget, work.lane.budget):
            budget.reserve(-1, _cost(work))

    def _pay(self, work: Work, creates: int) -> None:
        work.paid = creates > 0
        for budget in (self.budget, work.lane.budget):
            budget.pay(creates, _cost(work))

    def _doubt(self, work: Work, creates: int) -> None:
        for budget in (self.budget, work.lane.budget):
            budget.doubt(creates, _cost(work))


def _cost(work: Work) -> int:
    return work.step.micros if work.step is not None else 0
