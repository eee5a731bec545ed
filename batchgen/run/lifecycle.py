"""One job from the intent to the clip: :meth:`Lifecycle.run` follows the state diagram in ARCHITECTURE.md.

Every step sends one request, writes its outcome to the ledger, and only then goes on. What a failure means for the
other jobs goes to the pool; what a person must know is returned as text.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from batchgen.errors import AccountStop, BatchgenError, NotFound, cited
from batchgen.models import Brief, Job, Record, State, TaskView
from batchgen.run.approved import UNAPPROVED
from batchgen.run.clock import Clock
from batchgen.run.context import RunContext
from batchgen.run.create import Creator, write
from batchgen.run.dispositions import UNCLEAR
from batchgen.run.failures import EXCUSED, retry_wait
from batchgen.run.following import ENOUGH_FOLLOWED, Follower
from batchgen.run.hints import Hints
from batchgen.run.inventory import Inventory
from batchgen.run.lanes import Work
from batchgen.run.outcomes import Outcome
from batchgen.run.plan import MAX_TASKS, PAYS, decide
from batchgen.run.pool import Pool
from batchgen.run.queries import Queries
from batchgen.run.retrieval import Retrieval
from batchgen.run.waits import Waits, backoff
from batchgen.run.work_events import Paused

if TYPE_CHECKING:
    from batchgen.api.client import Api
    from batchgen.storage.download import Downloads


class Lifecycle:
    """The steps of a job, and what the jobs of one run share."""

    def __init__(
        self,
        inventory: Inventory,
        api: Api,
        downloads: Downloads,
        pool: Pool,
        waits: Waits,
        give_up: Callable[[BatchgenError], None],
        clock: Clock,
        hints: Hints,
    ) -> None:
        self.ledger, self.pool, self.waits = inventory.ledger, pool, waits
        events = inventory.events

        def pause(at_least: float) -> float:
            seconds = pool.pause(asyncio.get_running_loop().time(), at_least=at_least)
            events.emit(Paused(at=events.now, seconds=seconds))
            return seconds

        self.queries = Queries(
            self.ledger, api, timeout=waits.timeout, pause=pause, give_up=give_up, events=events
        )
        self.changed = asyncio.Event()
        context = RunContext(inventory, self.queries, pool, waits, clock, self.changed, hints)
        self.creator = Creator(context, api)
        self.follower = Follower(context, self.creator.stop)
        self._retrieval = Retrieval(context, downloads)
        self.following: set[Work] = set()
        self._rng, self._prices = clock.rng, inventory.prices

    async def run(self, work: Work) -> Outcome:
        """Take a job as far as it goes in this run. Cancelling is safe except during a create.

        Raises LedgerError; then nothing may be sent any more.
        """
        end: Outcome | None = None
        taken = False
        if work.record is None or work.record.state in (State.PENDING, State.REJECTED):
            end, taken = await self.creator.create(work)
        elif work.record.state is State.DOWNLOADED:  # and its clip isn't there
            end = await self._retrieval.refetch(work, work.record)
        while end is None and work.record is not None:
            match work.record.state:
                case State.SUBMITTING | State.UNKNOWN:
                    end = await self._settle(work, work.record, taken=taken)
                case State.SUBMITTED:
                    if self._unwanted:
                        return Outcome(about=work.record.external_task_id, parked=True)
                    end = await self._follow(work, work.record)
                case State.SUCCEEDED:
                    end = await self._retrieval.download(work, work.record)
                case State.FAILED:
                    return self._failed(work, work.record)
                case State.PENDING | State.REJECTED | State.DOWNLOADED:
                    break
        return end or Outcome()

    @property
    def _unwanted(self) -> bool:
        """Whether nobody waits for the end of one more task, and enough are followed to see that tasks fail."""
        pool = self.pool
        return pool.limits.submit_only and len(self.following) >= ENOUGH_FOLLOWED and not pool.full

    # -- settle ---------------------------------------------------------------------------------------

    async def _settle(self, work: Work, record: Record, *, taken: bool) -> Outcome | None:
        """Find out whether an uncertain create made a task, by looking up its ``external_task_id``.

        ``taken``: the create was refused as if that id were taken. Returns the job's outcome for this run; None where its
        row's state says how it goes on.
        """
        if record.state is State.SUBMITTING:
            text = "the run that sent this create stopped before its answer came"
            record = work.record = await write(self.ledger, record, State.UNKNOWN, "lost_track", message=text)
        now = asyncio.get_running_loop().time
        believable = now() + self.waits.settle  # by a clock that can't jump
        unclear = 0  # answers in a row
        try:
            for turn in itertools.count():
                old_enough = now() >= believable  # when it is asked: the answer may be slow
                view = await self.queries.look_up(record.external_task_id)
                if isinstance(view, TaskView):
                    await self.creator.attach(work, record, view)
                    return None
                if isinstance(view, NotFound) and old_enough and await self.queries.would_find(record):
                    work.record = await write(
                        self.ledger, record, State.PENDING, "not_created", code=view.code, message=str(view)
                    )
                    self.pool.disproved(work)
                    if taken:
                        return Outcome("refused as if its id were taken, and no task of that id can be found")
                    self._replan(work, work.record)
                    if _pays(work) and work.record is not None:
                        return Outcome("it wasn't created, and creating it wasn't approved", UNAPPROVED)
                    return Outcome(again=work.record is None)
                waits = isinstance(view, NotFound) and not self.queries.lookups_proven
                # before its time, "no such task" is as clear as an answer can be
                unclear = 0 if isinstance(view, NotFound) and (waits or not old_enough) else unclear + 1
                hopeless = not self._others() if waits else unclear >= UNCLEAR
                if old_enough and (hopeless or isinstance(view, AccountStop)):
                    answer = view
                    break
                await asyncio.sleep(backoff(turn, self._rng, first=min(1.0, self.waits.settle / 4), cap=30.0))
        finally:
            self.changed.set()
        return Outcome(_unsettled(record, answer, proven=self.queries.lookups_proven))

    def _others(self) -> bool:
        """Whether other jobs may still prove in this run that lookups work."""
        now = asyncio.get_running_loop().time()
        late = self.pool.last.late(now)
        starting = self.pool.slots.creating > 0 or (self.pool.has_pending and not self.pool.full)
        return starting or any(
            work.watch is None or not work.watch.overdue(now, late=late) for work in self.following
        )

    async def _follow(self, work: Work, record: Record) -> Outcome | None:
        self.following.add(work)
        try:
            end = await self.follower.follow(work, record)
            work.watch = None  # which stays where the run leaves it
            return end
        finally:
            self.following.discard(work)

    # -- fail --------------------------------------------------------------------------------------------

    def _failed(self, work: Work, record: Record) -> Outcome:
        """The outcome of a job whose task failed: it gets another task after a wait, up to the limit."""
        work.failed += 1
        work.failed_paid += work.paid
        work.paid = False
        text = cited(f"its task {record.task_id} failed: {record.error_message}", None, record.request_id)
        if work.step is None or not isinstance(work.step.job, Job):
            newest = self.ledger.series(record.base_id)[-1]
            return Outcome(text if newest.external_task_id == record.external_task_id else "")
        failures = self._replan(work, record)
        if work.record is not None and _pays(work):
            return Outcome(f"{text}; another task of it wasn't approved", UNAPPROVED)
        if work.record is not None:
            return Outcome(f"{text} ({work.step.reason})")
        later = Outcome(f"{text}; the next run tries it again", about=record.external_task_id)
        if record.error_code in EXCUSED and len(failures) >= MAX_TASKS:  # once a night from here on
            return later
        return later._replace(again=True, retry_in=retry_wait(len(failures), self._rng, self.waits.retry))

    def _replan(self, work: Work, record: Record) -> list[Brief]:
        """Plan a job again whose create or task came to nothing; ``work.record`` is None where it is created again.

        It isn't where the run has an approval without that create.

        Returns the rows of its failed tasks.
        """
        if work.step is None or not isinstance(work.step.job, Job):
            return []
        job = work.step.job
        some = self.ledger.briefs.named({record.base_id, job.external_task_id}).values()
        rows = list({row.external_task_id: row for briefs in some for row in briefs}.values())
        work.step = decide(job, rows, prices=self._prices)
        step = work.step
        if _pays(work) and self.pool.permits(step.external_task_id, job.digest, step.micros):
            work.record = None
        return [row for row in rows if row.state is State.FAILED and row.digest == job.digest]


def _pays(work: Work) -> bool:
    """Whether a job's step is a create."""
    return work.step is not None and work.step.action in PAYS


def _unsettled(record: Record, answer: BatchgenError, *, proven: bool) -> str:
    """The message for a create whose outcome stays unknown: its error, and the API's answer about its task."""
    sent = cited(record.error_message or "no answer", record.error_code, record.request_id)
    text = f"nobody can tell whether its create was accepted: {sent}"
    if not isinstance(answer, NotFound):
        return f"{text}; asked for its task, the API gave no clear answer either: {answer}"
    why = (
        "with this key it finds none that was made at that time either"
        if proven
        else "it has not been seen to find any by its id"
    )
    return f"{text}; the API finds no such task, which proves nothing: {why}"
