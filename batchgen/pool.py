"""Which job is created next, and when: one synchronous decision over queues, slots, caps and pauses.

The pool decides; the runner does. Time comes in as an argument (seconds of a monotonic clock).
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass, field

from batchgen.models import Record
from batchgen.pacing import Slots, backoff
from batchgen.plan import Step


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may do. Money in US dollars, ``deadline`` in seconds of the pool's clock, None: no limit."""

    concurrency: int = 8
    max_running: int | None = None
    max_jobs: int | None = None
    max_cost: float | None = None
    deadline: float | None = None


@dataclass(slots=True)
class Lane:
    """One manifest's share of the run: its queue, its own limits, and what it holds now."""

    name: str
    concurrency: int | None = None
    max_running: int | None = None
    max_cost: float | None = None
    queue: deque[Work] = field(default_factory=deque)
    again: deque[Work] = field(default_factory=deque)  # was its turn already; goes first
    creating: int = 0
    running: int = 0
    spent: float = 0.0
    closed: bool = False  # its cost cap was reached

    @property
    def waiting(self) -> int:
        """Jobs that have not been created yet."""
        return len(self.again) + len(self.queue)

    @property
    def open(self) -> bool:
        """Whether the manifest's own limits let one more create go out."""
        return (
            not self.closed
            and (self.concurrency is None or self.creating < self.concurrency)
            and (self.max_running is None or self.creating + self.running < self.max_running)
        )


@dataclass(slots=True, eq=False)
class Work:
    """A job on its way through a run. ``record`` is the ledger's row, once there is one."""

    lane: Lane
    step: Step | None = None
    record: Record | None = None
    again: bool = False  # it belongs back into its queue
    holds_slot: bool = False
    counted: bool = False  # among the creates that this run pays for
    sent: float = 0.0  # when its create was permitted


class Pool:
    """The queues of all manifests and the permission to create.

    Every ``next`` that returns work has taken a create and a slot for it, and is answered by exactly one of
    ``started``, ``uncertain``, ``refused_slot`` or ``came_back``.
    """

    def __init__(self, limits: Limits, rng: random.Random) -> None:
        self.limits = limits
        self.slots = Slots(limits.max_running)
        self.lanes: list[Lane] = []
        self.creates = 0  # creates of this run that were accepted, may have been, or are in flight
        self.spent = 0.0  # what they cost, as estimated
        self.closed: str | None = None  # why nothing more is created
        self.capped: str | None = None  # the cap that ended a manifest's creates
        self._rng = rng
        self._paused_until = -math.inf  # everybody waits
        self._full_until = -math.inf  # the account had no slot; the end of a task ends this wait
        self._setbacks = 0  # pauses in a row without an accepted create
        self._fulls = 0  # 1303 in a row

    @property
    def waiting(self) -> int:
        """Jobs that have not been created yet."""
        return sum(lane.waiting for lane in self.lanes)

    @property
    def hungry(self) -> bool:
        """Whether jobs are still to be created, so that the ends of tasks are worth looking for."""
        return self.closed is None and any(lane.waiting and not lane.closed for lane in self.lanes)

    def close(self, reason: str) -> None:
        """Create nothing more. The first reason stays."""
        self.closed = self.closed or reason

    def next(self, now: float) -> Work | None:
        """The next job to create, or None where none may be created now."""
        if self.closed is None and self.limits.deadline is not None and now >= self.limits.deadline:
            self.close("the deadline passed")
        if now < max(self._paused_until, self._full_until) or not self.slots.free:
            return None
        if self.slots.creating >= self.limits.concurrency:
            return None
        for lane in self.lanes:
            if self.closed is None and lane.waiting and lane.open and self._affordable(lane):
                work = (lane.again or lane.queue).popleft()
                self._take(work, now)
                return work
        return None

    def delay(self, now: float) -> float | None:
        """Seconds after which ``next`` may answer otherwise although nothing happened; None: never."""
        paused = max(self._paused_until, self._full_until)
        moments = [paused] if paused > now else []
        if self.limits.deadline is not None and self.closed is None:
            moments.append(self.limits.deadline)
        return max(min(moments) - now, 0.0) if moments else None

    def pause(self, now: float, *, at_least: float = 0.0) -> float:
        """Nobody creates for a while: longer each time until a create is accepted. Returns the seconds."""
        seconds = max(backoff(self._setbacks, self._rng), at_least * (1 + self._rng.random() / 10))
        if now >= self._paused_until:
            self._setbacks += 1
        self._paused_until = max(self._paused_until, now + seconds)
        return seconds

    def started(self, work: Work, now: float) -> None:
        """The create was accepted: the slot stays taken until ``ended``."""
        self._setbacks = self._fulls = 0
        self.uncertain(work, now)

    def uncertain(self, work: Work, now: float) -> None:
        """The create may have been accepted: the slot stays taken until ``ended`` or ``not_made``."""
        self.slots.started(work.sent)
        work.lane.creating -= 1
        work.lane.running += 1

    def refused_slot(self, work: Work, now: float) -> None:
        """1303: scheduling, not failure. A task that ends lets the next create go before the wait is over."""
        self._untake(work)
        self.slots.refused(work.sent)
        if now >= self._full_until:
            self._full_until = now + backoff(self._fulls, self._rng, cap=30.0)
            self._fulls += 1

    def came_back(self, work: Work, now: float) -> None:
        """The create made no task."""
        self._untake(work)
        self.slots.give_back()

    def found(self, work: Work) -> None:
        """A task that an earlier run created still runs."""
        self.slots.found()
        work.lane.running += 1
        work.holds_slot = True

    def ended(self, work: Work, at: float = math.inf) -> None:
        """The task ended, ``at`` that time where it is known. A second call for the same work changes nothing."""
        if work.holds_slot:
            work.holds_slot = False
            work.lane.running -= 1
            self.slots.ended(at)
            self._full_until = -math.inf

    def not_made(self, work: Work) -> None:
        """A create that may have been accepted was not: it cost nothing."""
        if work.counted:
            self._count(work, -1)
        self.ended(work)

    def _affordable(self, lane: Lane) -> bool:
        step = (lane.again or lane.queue)[0].step
        cost = step.cost if step is not None else 0.0
        if self.limits.max_jobs is not None and self.creates >= self.limits.max_jobs:
            self.close(f"the cap of {self.limits.max_jobs} jobs was reached")
            return False
        if self.limits.max_cost is not None and self.spent + cost > self.limits.max_cost + 1e-9:
            self.close(f"the cost cap of ${self.limits.max_cost:.2f} was reached")
            return False
        if lane.max_cost is not None and lane.spent + cost > lane.max_cost + 1e-9:
            lane.closed = True
            self.capped = f"{lane.name}: its cost cap of ${lane.max_cost:.2f} was reached"
            return False
        return True

    def _take(self, work: Work, now: float) -> None:
        work.sent = now
        work.holds_slot = True
        work.lane.creating += 1
        self.slots.take()
        self._count(work, 1)

    def _untake(self, work: Work) -> None:
        work.holds_slot = False
        work.lane.creating -= 1
        self._count(work, -1)

    def _count(self, work: Work, creates: int) -> None:
        cost = creates * (work.step.cost if work.step is not None else 0.0)
        work.counted = creates > 0
        self.creates += creates
        self.spent += cost
        work.lane.spent += cost
