"""Runs the jobs of a plan side by side: starts them as the pool permits, ends early, and counts their outcomes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from batchgen.amounts import dollars
from batchgen.errors import (
    BatchgenError,
    Bug,
    Interrupted,
    LedgerError,
    OrderWithdrawn,
    TransitionError,
)
from batchgen.manifest.isolation import to_report
from batchgen.models import Record, State
from batchgen.run.approved import UNAPPROVED
from batchgen.run.clock import Clock
from batchgen.run.events import Finished, Stopped, Totals
from batchgen.run.held import Holds, Reason, reason
from batchgen.run.hints import Hints
from batchgen.run.inventory import Inventory
from batchgen.run.lanes import Lane, Work
from batchgen.run.lifecycle import Lifecycle
from batchgen.run.outcomes import Outcome
from batchgen.run.plan import PAYS, Action, Step, task_number
from batchgen.run.pool import Pool
from batchgen.run.queries import Queries
from batchgen.run.tally import Ending, Tally
from batchgen.run.waits import Waits
from batchgen.run.work_events import Planned, Waiting

if TYPE_CHECKING:
    from batchgen.api.client import Api
    from batchgen.storage.download import Downloads

GRACE = 5.0  # seconds that creates in flight have to end when the run ends early


class Runner:
    """One run. Its pool has the lanes of all manifests in the plan."""

    def __init__(
        self,
        inventory: Inventory,
        api: Api,
        downloads: Downloads,
        pool: Pool,
        waits: Waits,
        tally: Tally,
        clock: Clock,
        hints: Hints,
    ) -> None:
        self.tally = tally
        self.ended: BatchgenError | None = None  # why the run ended before its work did
        self._lost: BatchgenError | None = None  # why it had heard nothing from the API by then
        self._pool = pool
        self._api = api
        self._ledger, self._events = inventory.ledger, inventory.events
        self._lifecycle = Lifecycle(inventory, api, downloads, pool, waits, self.end, clock, hints)
        self._tasks: dict[asyncio.Task[None], Work] = {}
        self._parked: list[
            Work
        ] = []  # their tasks run and are not followed; without their records, which are in the ledger
        self._counts: tuple[int, int, int, float] = (0, 0, 0, 0.0)  # those of the last Totals
        self._holds = Holds(self._events)
        self._closed = False  # whether the end of creating was reported
        self._only_overdue_left = False  # nothing is left but tasks that are not waited for

    @property
    def queries(self) -> Queries:
        """The run's queries, for a recovery before the first job."""
        return self._lifecycle.queries

    @property
    def stops(self) -> list[BatchgenError]:
        """Why creating, or the run, stopped before all was done."""
        found = (self._lifecycle.creator.stop_reason, self.ended, self._lost)
        return [reason for reason in found if reason is not None]

    @property
    def total(self) -> int:
        """Jobs of the plan and open rows beside it, as far as known."""
        return self.finished + len(self._tasks) + len(self._parked) + self._pool.waiting

    @property
    def finished(self) -> int:
        """How many of :attr:`total` have ended for this run."""
        return self.tally.finished

    def end(self, reason: BatchgenError, *, answers: float = 0.0) -> None:
        """End the run early: no new creates, ``GRACE`` seconds for those in flight, everything else stops where it is safe.

        With ``answers``, creates in flight have that many seconds instead to be sent, and as many again to be answered.
        """
        self._api.set_deadline(answers or GRACE, answers=answers)
        if self.ended is None:
            self.ended = reason
            if isinstance(reason, Interrupted) or reason.kind == "until":  # else it says so itself
                self._lost = self.queries.lost
            self._pool.close(reason)
            self._lifecycle.changed.set()

    def shift(self, seconds: float) -> None:
        """The wall clock went on by so many seconds in which the loop's stood still, or was set forward by them."""
        self._pool.last.shift(seconds)
        self._lifecycle.changed.set()

    async def run(
        self, steps: Iterable[Step], open_records: Iterable[Record], *, submit_only: bool = False
    ) -> None:
        """Run the jobs of ``steps`` (all of which have something to do) and ``open_records`` (rows that are open)."""
        lanes = {lane.name: lane for lane in self._pool.lanes}
        planned: dict[str, Step] = {}
        for step in steps:
            if step.action in PAYS:
                lane = lanes[step.job.manifest]
                lane.queue.append(Work(lane, step))
            else:
                planned[step.external_task_id] = step
            self._events.emit_step(Planned, step, doing=step.action, reason=step.reason)
        for lane in lanes.values():  # those that fail every night must not stop a run before the others' turn
            lane.queue = deque(sorted(lane.queue, key=lambda work: task_number(work.step)))
        for record in open_records:
            planned_step = planned.pop(record.external_task_id, None)
            name = planned_step.job.manifest if planned_step is not None else record.manifest
            work = Work(lanes.get(name) or Lane(name), planned_step, record)
            if record.state not in (State.SUCCEEDED, State.DOWNLOADED):  # those hold no slot
                self._pool.found(work)
            self._spawn(work)
        for step in planned.values():  # the ledger has gone on since the plan was made
            self._count(Work(lanes[step.job.manifest], step, self._ledger.record(step.external_task_id)))
        try:
            await self._dispatch(submit_only)
            self._holds.close(asyncio.get_running_loop().time())
            await self._shut_down()
        finally:  # also when cancelled: no job's task is left behind
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(list(self._tasks))
            await self._lifecycle.creator.close()

    async def _dispatch(self, submit_only: bool) -> None:
        """Start jobs as the pool permits, until nothing is left to start or to wait for."""
        pool, changed = self._pool, self._lifecycle.changed
        now = asyncio.get_running_loop().time
        while self.ended is None:
            changed.clear()
            if (work := pool.next(now())) is not None:
                self._spawn(work)
                continue
            if self._parked and pool.full:  # a create waits for the end of one of them
                for work in self._unparked():
                    self._spawn(work)
                continue
            self._emit_progress()
            if self._only_overdue(now()):
                if (work := pool.next(now(), overdue=True)) is not None:
                    self._spawn(work)
                    continue
                if pool.blocked and not pool.has_retries:
                    self._only_overdue_left = True
                    if pool.has_pending:
                        pool.close_as_stuck()
                    return
            left = bool(self._tasks) or pool.has_retries
            if not pool.has_pending and (submit_only or not left) and not self._unsettled():
                return
            again = [pool.delay(now()), self._holds.observe(self._reason(now()), now())]
            try:
                async with asyncio.timeout(
                    min((delay for delay in again if delay is not None), default=None)
                ):
                    await changed.wait()
            except TimeoutError:
                pass

    def _reason(self, now: float) -> Reason | None:
        """What the run waits for. That the API can't be reached is told by the queries themselves."""
        return None if self.queries.lost else reason(self._pool, now, self.queries.quiet_until)

    def _only_overdue(self, now: float) -> bool:
        """Whether tasks run, and all of them are overdue; some may have been left to the next run already.

        A task whose slot was given back counts as well: it may have succeeded without a clip, and run again since.
        """
        late = self._pool.last.late(now)
        some = bool(self._tasks) or self._pool.slots.running > 0
        return (some and not self._parked) and all(
            work.watch is not None and work.watch.overdue(now, late=late) for work in self._tasks.values()
        )

    def _emit_progress(self) -> None:
        """Say how far the run is, and why it creates nothing more, where that is new."""
        counts = (self.total, self.finished, self._pool.slots.running, dollars(self._pool.budget.spent))
        if counts != self._counts:
            self._counts = counts
            jobs, finished, running, spent = counts
            event = Totals(at=self._events.now, jobs=jobs, finished=finished, running=running, cost_usd=spent)
            self._events.emit(event)
        closed = self._pool.closed
        if closed is not None and not self._closed:
            self._closed = True
            if closed is not self._lifecycle.creator.stop_reason:  # which was reported when it came
                self._events.emit(Stopped(at=self._events.now, reason=closed))

    def _unsettled(self) -> bool:
        """Whether a job is running that has no task id yet."""
        return any(work.record is None or work.record.task_id is None for work in self._tasks.values())

    async def _shut_down(self) -> None:
        """Let creates end, cancel the rest, and count the jobs that never began."""
        for task, work in list(self._tasks.items()):
            if (
                work in self._lifecycle.creator.looking_up
            ):  # which may wait for an hour, where the API says so
                task.cancel()
        while self._pool.slots.creating:
            self._lifecycle.changed.clear()
            await self._lifecycle.changed.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for work in self._unparked():
            self._count(work)
        self._emit_progress()
        for lane in self._pool.lanes:
            for work in (*lane.again, *lane.queue, *(work for _, _, work in lane.retries), *lane.too_late):
                work.outcome = work.outcome._replace(bucket="unrecorded" if lane.unrecorded else None)
                self._count(work)
            lane.again.clear()
            lane.queue.clear()
            lane.retries.clear()
            lane.too_late.clear()

    def _unparked(self) -> Iterator[Work]:
        """All parked jobs, with their records and oldest first; none is parked from here on."""
        parked, self._parked = {work.outcome.about: work for work in self._parked}, []
        for record in self._ledger.records(ids=parked):
            if (work := parked.pop(record.external_task_id, None)) is not None:
                work.outcome, work.record = Outcome(), record
                yield work

    def _spawn(self, work: Work) -> None:
        task = asyncio.create_task(self._work_on(work))
        self._tasks[task] = work
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        work = self._tasks.pop(task)
        self._lifecycle.changed.set()
        if task.cancelled():  # before its first step
            self._count(work)
        elif (error := task.exception()) is not None:
            work.outcome = Outcome(f"batchgen failed over it; {to_report(error)}")
            self._count(work)
            self.end(Bug(f"batchgen failed over a job; {to_report(error)}"))

    async def _work_on(self, work: Work) -> None:
        work.outcome = Outcome()
        try:
            work.outcome = await self._run_lifecycle(work)
        except OrderWithdrawn:
            work.outcome = Outcome(bucket="abandoned")
        except TransitionError as error:  # of this job alone
            work.outcome = Outcome(str(error))
        except LedgerError as error:
            self.end(error)
        ended = work.record is None or work.record.state is not State.SUBMITTED
        if ended or work.outcome.bucket is not None:
            self._pool.ended(work)  # else its task goes on, and holds its slot
        if work.outcome.parked:
            work.record = None
            self._parked.append(work)
            return
        if not work.outcome.again:
            self._count(work)
            return
        if work.step is not None:
            self._events.emit_step(Waiting, work.step, seconds=work.outcome.retry_in)
        if work.outcome.retry_in:
            self._pool.schedule_retry(work, asyncio.get_running_loop().time())
        else:
            work.lane.again.append(work)

    async def _run_lifecycle(self, work: Work) -> Outcome:
        try:
            return await self._lifecycle.run(work)
        except asyncio.CancelledError:  # the run ends; the ledger has where this job stands
            return (
                await self._lifecycle.follower.leave_overdue(work) if self._only_overdue_left else Outcome()
            )

    def _count(self, work: Work) -> None:
        record, step, text = work.record, work.step, work.outcome.text
        bucket = work.outcome.bucket or (record.state.value if record is not None else State.PENDING.value)
        if bucket == State.SUBMITTING:
            bucket = State.UNKNOWN.value
        if bucket == State.PENDING and (work.failed or (step is not None and step.action is Action.RETRY)):
            bucket = "retry"
        work.lane.unapproved += bucket == UNAPPROVED
        work.lane.unfinished += bucket in (State.PENDING, "retry", "unrecorded")
        self.tally.failed_tasks += work.failed
        self.tally.created[State.FAILED.value] += work.failed_paid
        if work.paid and record is not None:
            settled = record.state is not State.SUBMITTING
            self.tally.created[record.state.value if settled else State.UNKNOWN.value] += 1
        if step is not None:
            self.tally.count(step.job.manifest, bucket)
        elif text or bucket != State.FAILED:  # else a later try has taken its place
            self.tally.others[bucket] += 1
        if bucket == State.UNKNOWN and not text:  # left before it was settled: it may be paid, so it is named
            text = (record.error_message if record is not None else None) or "the answer didn't come in time"
        name = step.job.key if step is not None else record.key if record is not None else ("", "", 1)
        task = record.external_task_id if record is not None else work.outcome.about
        task = task or (step.external_task_id if step is not None else "")
        if text:
            self.tally.endings.append(Ending(bucket, *name, task, text))
        manifest, job_id, take = name
        self._events.emit(
            Finished(
                at=self._events.now,
                manifest=manifest,
                job_id=job_id,
                take=take,
                external_task_id=task,
                task_id=record.task_id if record is not None else None,
                cost_usd=record.cost_usd_estimate if record is not None else None,
                bucket=bucket,
                reason=text,
            )
        )
