"""Decides which job is created next, and when, from queues, slots, caps and pauses.

The pool decides synchronously; the runner acts. Time is an argument, in seconds of a monotonic clock.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from batchgen.errors import BatchgenError, EndedEarly, OverBudget
from batchgen.ledger.transitions import counted
from batchgen.money.approval import Approval
from batchgen.run import shortage
from batchgen.run.budget import Budget, NoRoom, Room
from batchgen.run.download_limit import DOWNLOADS
from batchgen.run.failures import Breaker
from batchgen.run.lanes import Lane, Work
from batchgen.run.last_moments import LastMoments
from batchgen.run.plan import task_number
from batchgen.run.polling import Lengths
from batchgen.run.slots import Slots
from batchgen.run.waits import backoff, shown_duration

# Seconds without a free slot, while no task of this ledger runs, after which creating is stopped.
MAX_FULL_SECONDS = 2 * 3600.0
# Refusals for want of a slot in a row (some two minutes) after which only the end of one of our tasks is waited for.
MAX_REFUSALS = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run. Money is in micro-dollars, moments in seconds of the pool's clock; None: no limit."""

    concurrency: int = 8
    max_running: int | None = None
    max_jobs: int | None = None
    max_cost: int | None = None
    deadline: float | None = None  # nothing is created after it
    until: float | None = None  # what is created before the deadline should have ended by then
    submit_only: bool = False  # the run leaves once every job has a task id
    downloads: int = DOWNLOADS
    approval: Approval | None = None  # what may be created; None: everything
    approved_cost: int | None = None  # what is left of the approval's total


class Pool:
    """The queues of all manifests, and the permission to create.

    Every ``next`` that returns work has taken a create and a slot for it, and is followed by exactly one call of
    ``started``, ``uncertain``, ``occupied``, ``refused_slot``, ``over_budget`` or ``came_back``.
    """

    def __init__(
        self,
        limits: Limits,
        rng: random.Random,
        breaker: Breaker | None = None,
        lengths: Lengths | None = None,
    ) -> None:
        self.limits = limits
        self.last = LastMoments(limits.deadline, limits.until, lengths or Lengths())
        self.breaker = breaker or Breaker()
        self.slots = Slots(limits.max_running)
        self.lanes: list[Lane] = []
        caps = [cap for cap in (limits.max_cost, limits.approved_cost) if cap is not None]
        self.budget = Budget(limits.max_jobs, min(caps, default=None))
        self.closed: BatchgenError | None = None  # why nothing more is created
        self.no_room: NoRoom | None = None  # in the ledger's budgets
        self._rng = rng
        self.paused_until = -math.inf  # no create before this moment
        self.full_until = -math.inf  # the same for want of a slot; the end of a task ends this wait
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
        return now < self.paused_until

    @property
    def waiting(self) -> int:
        """How many jobs have not been created yet."""
        return sum(lane.waiting + len(lane.retries) + len(lane.too_late) for lane in self.lanes)

    @property
    def has_pending(self) -> bool:
        """Whether jobs are to be created that don't wait for the time of a retry."""
        return any(self.pending_lanes())

    @property
    def has_retries(self) -> bool:
        """Whether a retry waits for its time, and may be created then."""
        return self.closed is None and any(
            lane.closed is None and any(at < self.last.moment(work) for at, _, work in lane.retries)
            for lane in self.lanes
        )

    @property
    def full(self) -> bool:
        """Whether a create waits for the end of a task: for a slot of the account or its manifest, or for money."""
        slots = not self.slots.free or self.breaker.wary
        return any(slots or lane.full or self.waits_for_money(lane) for lane in self.pending_lanes())

    @property
    def blocked(self) -> bool:
        """Whether no create is possible before a task of ours ends, by known limits or after refusals in a row."""
        known = self.slots.running >= self.slots.ceiling or self._refusals >= MAX_REFUSALS
        return all(known or lane.full or self.waits_for_money(lane) for lane in self.pending_lanes())

    def close_as_stuck(self) -> None:
        """Stop creating, because every create waits for the end of tasks that may never end."""
        for lane in self.pending_lanes():
            if lane.budget.room(lane.next_cost) is not Room.NOW:
                lane.closed = shortage.of_manifest(lane)
        reason = EndedEarly("tasks that have not ended hold every slot", kind="stuck")
        if self.no_room is not None:
            reason = shortage.of_budgets(self.no_room.refusal, self._left)
        elif any(self.budget.room(lane.next_cost) is not Room.NOW for lane in self.pending_lanes()):
            reason = self._capped()
        if self.has_pending:
            self.close(reason)

    def pending_lanes(self) -> Iterator[Lane]:
        """The lanes with jobs to be created."""
        if self.closed is None:
            yield from (lane for lane in self.lanes if lane.waiting and lane.closed is None)

    def permits(self, external_task_id: str, digest: str, micros: int | None) -> bool:
        """Whether the run's approval, if it has one, allows this create."""
        approval = self.limits.approval
        return approval is None or approval.allows(external_task_id, digest, micros)

    def close(self, reason: BatchgenError) -> None:
        """Stop creating. The first reason stays."""
        self.closed = self.closed or reason

    def next(self, now: float, *, overdue: bool = False) -> Work | None:
        """The next job to create; None where none may be created now.

        ``overdue``: only tasks run that may never end. Then one create at a time tries to get a slot.
        """
        if self.closed is None and self.last.late(now):
            self.close(EndedEarly("the deadline passed", kind="deadline"))
        for lane in self.lanes:
            while lane.retries and lane.retries[0][0] <= now:
                lane.again.append(heapq.heappop(lane.retries)[2])
            if self.closed is None:
                self._leave_late(lane, now)
            if lane.retries and not lane.waiting and self.closed is None and lane.closed is None:
                # Closes the lane if the caps will never allow the retry: then the run doesn't wait for its time.
                self._affordable(lane, lane.retries[0][2])
        if now < max(self.paused_until, self.full_until) or self.slots.creating >= self.limits.concurrency:
            return None
        if overdue and (not self.slots.probe_free or self._refusals >= MAX_REFUSALS):
            return None
        if self.no_room is not None and now >= self.no_room.until:
            self.no_room = None
        wary = self.breaker.wary and self.slots.running + self.slots.creating > 0
        if not overdue and (wary or not self.slots.free):
            return None
        lanes = [lane for lane in self.lanes if lane.waiting]
        if self.breaker.wary:
            lanes.sort(key=lambda lane: task_number((lane.again or lane.queue)[0].step))
        if self.no_room is not None and self._idle:  # the one that may fit first
            lanes.sort(key=lambda lane: lane.next_cost)
        for lane in lanes:
            if self.closed is None and lane.open and self._affordable(lane) and self._has_room(lane):
                work = (lane.again or lane.queue).popleft()
                self._begin_create(work, now)
                return work
        return None

    def delay(self, now: float) -> float | None:
        """Seconds after which ``next`` may return something else although nothing happened; None: never."""
        paused = max(self.paused_until, self.full_until)
        moments = [paused] if paused > now else []
        if self.closed is None:
            moments += [lane.retries[0][0] for lane in self.lanes if lane.retries and lane.closed is None]
        if self.no_room is not None and now < self.no_room.until:
            moments.append(self.no_room.until)
        if self.last.deadline is not None and now < self.last.deadline:
            moments.append(self.last.deadline)
            heads = (lane.next_work for lane in self.pending_lanes())
            moments += [last for head in heads if now < (last := self.last.moment(head))]
        return max(min(moments) - now, 0.0) if moments else None

    def _leave_late(self, lane: Lane, now: float) -> None:
        """Leave out the lane's next jobs whose tasks wouldn't end in time, and stop creating where no others are left."""
        if (
            lane.closed is None
            and self.last.leave_late(lane, now)
            and not (self.has_pending or self.has_retries)
        ):
            self.close(self.last.reason(work for one in self.lanes for work in one.too_late))

    def schedule_retry(self, work: Work, now: float) -> None:
        """Queue a retry for the time that its outcome says; it holds no slot until then."""
        heapq.heappush(work.lane.retries, (now + work.outcome.retry_in, next(self._order), work))

    def pause(self, now: float, *, at_least: float = 0.0) -> float:
        """Pause all creates, longer each time until a create is accepted. Returns the seconds."""
        seconds = max(backoff(self._pauses, self._rng), at_least * (1 + self._rng.random() / 10))
        if now >= self.paused_until:
            self._pauses += 1
        self.paused_until = max(self.paused_until, now + seconds)
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
        self.no_room = None
        self.slots.refused(work.sent)
        if self.slots.running or self._full_since is None:
            self._full_since = now
        elif now - self._full_since >= MAX_FULL_SECONDS:
            text = f"the account had no free slot for {shown_duration(MAX_FULL_SECONDS)}, though no task of this ledger runs"
            self.close(EndedEarly(text, kind="full"))
        if now >= self.full_until:
            self.full_until = now + backoff(self._refusals, self._rng, cap=30.0)
            self._refusals += 1

    def came_back(self, work: Work, now: float) -> None:
        """The create certainly made no task."""
        self._end_create(work)
        work.holds_slot = False
        self.no_room = None
        self.slots.give_back()

    def over_budget(self, work: Work, now: float, refusal: OverBudget, until: float) -> None:
        """The create wasn't sent: the ledger's budgets have no room for it before ``until``, unless money comes back.

        Where nothing was in flight or ran that could bring some, and no other manifest's next job costs less, creating stops.
        """
        self._end_create(work)
        work.holds_slot = False
        self.slots.give_back()
        if self.no_room is None or refusal.cost <= self.no_room.refusal.cost:
            self.no_room = NoRoom(refusal, until)
        # Of its own manifest, this job is the next again, unless others were tried before it.
        others = (lane for lane in self.pending_lanes() if lane is not work.lane or lane.again)
        cheaper = any(self.no_room.allows(lane.next_cost) for lane in others)
        if work.alone and self._idle and not cheaper and self.closed is None:
            self.close(shortage.of_budgets(refusal, self._left, work))

    def found(self, work: Work) -> None:
        """Count a task of an earlier run that still runs."""
        self.slots.found()
        work.lane.running += 1
        work.holds_slot = True

    def ended(self, work: Work, at: float = math.inf) -> None:
        """The task ended, at ``at`` where that is known. A second call for the same work changes nothing."""
        if work.paid and work.record is not None:
            self._count(work, counted(work.record), running=False)
        if work.holds_slot:
            work.holds_slot = False
            work.lane.running -= 1
            self.slots.ended(at)
            self.full_until = -math.inf
            self.no_room = None

    def disproved(self, work: Work) -> None:
        """An uncertain create turned out not to have been accepted: it cost nothing."""
        self.confirmed(work)
        if work.paid:
            self._pay(work, -1)
        self.ended(work)

    def _affordable(self, lane: Lane, work: Work | None = None) -> bool:
        """Whether the caps allow the lane's next job; a cap that never will stops the run or the lane."""
        cost = lane.next_cost if work is None else work.cost
        run, own = self.budget.room(cost), lane.budget.room(cost)
        if own is Room.NEVER:
            lane.closed = shortage.of_manifest(lane)
        elif run is Room.NEVER:
            left = (one for one in self.lanes if one.closed is None and (one.waiting or one.retries))
            if all(self.budget.room(one.next_cost) is Room.NEVER for one in left):
                self.close(self._capped())
        return run is own is Room.NOW

    def _capped(self) -> EndedEarly:
        """The error for a run whose caps have no room for what is left."""
        return shortage.of_run(self.budget, self.limits.approved_cost, self._left)

    @property
    def _left(self) -> list[Lane]:
        return [lane for lane in self.lanes if lane.closed is None]

    @property
    def money_wait(self) -> str | None:
        """The cap or budget for whose money a create waits, in words; None where none does."""
        for lane in self.pending_lanes():
            cost = lane.next_cost
            if self.no_room is not None and not (self._idle or self.no_room.allows(cost)):
                return str(self.no_room.refusal)
            for budget, begins in ((lane.budget, f"{lane.name}: its"), (self.budget, "the")):
                if budget.waits(cost):
                    return f"{begins} {budget.reached(cost, 'the next clip')}"
        return None

    @property
    def _idle(self) -> bool:
        """Whether no create is in flight, and no task is known to run."""
        return self.slots.running + self.slots.creating == 0

    def _has_room(self, lane: Lane) -> bool:
        """Whether the ledger's budgets may have room for the lane's next job, as far as is known here.

        What was refused while others were in flight is tried once more when they are done: they may have brought money.
        """
        return self.no_room is None or self._idle or self.no_room.allows(lane.next_cost)

    def waits_for_money(self, lane: Lane) -> bool:
        """Whether the lane's next job has no room in a cap or budget before a task ends."""
        cost = lane.next_cost
        if self.no_room is not None and not self.no_room.allows(cost):
            return True
        return self.budget.room(cost) is not Room.NOW or lane.budget.room(cost) is not Room.NOW

    def _begin_create(self, work: Work, now: float) -> None:
        work.sent, work.alone = now, self._idle
        work.holds_slot = True
        work.lane.creating += 1
        self.slots.take()
        for budget in (self.budget, work.lane.budget):
            budget.reserve(1, work.cost)

    def _end_create(self, work: Work) -> None:
        work.lane.creating -= 1
        for budget in (self.budget, work.lane.budget):
            budget.reserve(-1, work.cost)

    def _pay(self, work: Work, creates: int) -> None:
        work.paid = creates > 0
        for budget in (self.budget, work.lane.budget):
            budget.pay(creates, work.cost)
        if work.paid:  # what an earlier create counts stays
            work.counts, work.counts_running = 0, False
        self._count(work, work.cost if work.paid else 0, running=work.paid)

    def _count(self, work: Work, micros: int, *, running: bool) -> None:
        """Count what the last create of a job costs as far as it is known; ``running``: its task hasn't ended."""
        before = work.counts if work.counts_running else 0
        for budget in (self.budget, work.lane.budget):
            budget.count(micros - work.counts, (micros if running else 0) - before)
        work.counts, work.counts_running = micros, running

    def _doubt(self, work: Work, creates: int) -> None:
        for budget in (self.budget, work.lane.budget):
            budget.doubt(creates, work.cost)
