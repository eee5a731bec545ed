"""The jobs of a run, and each manifest's part of it: its queues, its own limits, and what it uses of them."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from batchgen.errors import BatchgenError
from batchgen.models import Job, Record
from batchgen.request.asked import kind
from batchgen.run.budget import Budget
from batchgen.run.outcomes import Outcome
from batchgen.run.plan import Step


@dataclass(slots=True)
class Lane:
    """One manifest's part of the run: its queues, its own limits, and what it uses of them."""

    name: str
    concurrency: int | None = None
    max_running: int | None = None
    max_cost: int | None = None  # micro-dollars
    lookups_left: float = 0  # how many more new jobs are looked up at the API before they are created
    restored: bool = False  # the ledger is a copy from before some of its creates
    queue: deque[Work] = field(default_factory=deque)
    again: deque[Work] = field(default_factory=deque)  # jobs that were tried before; they go before the queue
    retries: list[tuple[float, int, Work]] = field(default_factory=list)  # a heap by the time of the retry
    too_late: list[Work] = field(default_factory=list)  # jobs whose tasks wouldn't end before the run
    creating: int = 0
    running: int = 0
    budget: Budget = field(init=False)
    closed: BatchgenError | None = None  # why nothing more of this manifest is created
    unrecorded: bool = False  # the API has tasks of it that the ledger didn't know
    unfinished: int = 0  # jobs that the run ended without
    unapproved: int = 0  # jobs that it left out, because they weren't approved

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
    def next_work(self) -> Work:
        """Its next job: the one whose retry is next where no other is to be created."""
        return (self.again or self.queue or [self.retries[0][2]])[0]

    @property
    def next_cost(self) -> int:
        """What its next job costs, in micro-dollars."""
        return self.next_work.cost

    @property
    def left_costs(self) -> list[int]:
        """What each job costs that is to be created, in micro-dollars."""
        return [work.cost for work in (*self.again, *self.queue, *(work for _, _, work in self.retries))]

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
    addressed: bool = False  # its task was told to call this run
    unsure: bool = False  # its create was sent, and whether it was accepted isn't known
    counts: int = 0  # what the last of its creates counts among what this run spends, in micro-dollars
    counts_running: bool = False  # its task may still turn out to cost less
    alone: bool = False  # when its create was permitted, no other was in flight, and no task ran
    sent: float = 0.0  # when its create was permitted, by the pool's clock
    _kind: str | None = None

    @property
    def cost(self) -> int:
        """What its next create costs, in micro-dollars."""
        return self.step.micros if self.step is not None else 0

    @property
    def kind(self) -> str:
        """The kind of its next task: mode and duration."""
        if self._kind is None:
            job = self.step.job if self.step is not None else None
            self._kind = kind(job.request) if isinstance(job, Job) else ""
        return self._kind
