"""One create, from the last question before it to what its answer means for this job and for all others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from batchgen.errors import (
    PAGE,
    AccountStop,
    ApiError,
    BatchgenError,
    EndedEarly,
    ImageError,
    MaybeAccepted,
    NeverSent,
    NotFound,
    cited,
)
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Job, Record, State, TaskView
from batchgen.run.clock import Clock
from batchgen.run.dispositions import Disposition, Pause, Slot, dispose
from batchgen.run.events import Created, Events, Found, NotCreated, Stopped
from batchgen.run.outcomes import CreateOutcome, Outcome
from batchgen.run.plan import new_row
from batchgen.run.pool import Pool, Work
from batchgen.run.queries import Queries
from batchgen.run.waits import backoff

if TYPE_CHECKING:
    from batchgen.api.client import Api

ASKS = 3  # questions about one id, right before its create, before it is left for another time
TRIES = 2  # such times before it is left to the next run


class Creator:
    """Creates tasks, one at a time each, and stops creating where that is what an answer means."""

    def __init__(
        self, ledger: Ledger, api: Api, queries: Queries, pool: Pool, changed: asyncio.Event,
        line_of: Callable[[Job], Record | None], clock: Clock, events: Events,
    ) -> None:  # fmt: skip
        self.verdict: BatchgenError | None = None  # why creates were stopped, where it decides the exit code
        self.asking: set[Work] = set()  # the API is asked before their creates
        self._ledger, self._api, self._queries, self._pool, self._changed = (
            ledger,
            api,
            queries,
            pool,
            changed,
        )
        self._line_of = line_of  # what is told beside the clips of a clip that is lost
        self._clock, self._events = clock, events
        self._unclear = 0  # in a row
        self._alone = asyncio.Lock()
        self._made: set[str] = set()  # task ids of this run: not all may be on disk yet

    async def create(self, work: Work) -> CreateOutcome:
        """Send one create. The pool has taken a slot for it, and is told here what became of it.

        After an unclear answer one create at a time goes out, until one is accepted: what it meets is met once.
        """
        if not self._unclear:
            return await self._create(work)
        async with self._alone:
            return await self._create(work)

    async def _create(self, work: Work) -> CreateOutcome:
        assert work.step is not None and isinstance(work.step.job, Job)
        job, land = work.step.job, self._pool.came_back
        try:
            before = self._ledger.record(work.step.external_task_id)
            if self._waits(work):
                work.record = before
                return CreateOutcome(Outcome(again=True))
            self.asking.add(work)
            if self._queries.astray and not await self._queries.itself(work.step.external_task_id):
                self._queries.pause(0.0)
                work.record = before
                return CreateOutcome(Outcome(again=True))
            uncertain = before is not None and self._ledger.was_uncertain(before.external_task_id) is not None
            line = self._line_of(job)
            if uncertain or (before is None and (self._asked_for_first(work) or line is not None)):
                view = await self._ask_before(work, line)
                self.asking.discard(work)
                if isinstance(view, TaskView):
                    land = self._pool.adopted
                    await self._take_over(work, job, before, view)
                    return CreateOutcome()
                if view is not None or self._pool.closed or work.lane.closed:
                    work.record = before
                    return CreateOutcome(self._put_off(work, view))
            self.asking.discard(work)
            record = work.record = await self._ledger.begin(new_row(job, work.step.external_task_id))
            try:
                made = await self._api.create({**job.request, "external_task_id": record.external_task_id})
                if made.task_id in self._made or self._ledger.with_task(made.task_id):
                    text = f"accepted, but with task {made.task_id}, which another job has"
                    raise MaybeAccepted(text, code=0, request_id=made.request_id)
                self._made.add(made.task_id)
            except (ApiError, ImageError) as error:
                disposition = dispose(error, uncertain=uncertain)
                match disposition.slot:
                    case Slot.HELD:
                        land = self._pool.uncertain
                    case Slot.FULL:
                        land = self._pool.refused_slot
                change = disposition.change(record.external_task_id, error)
                work.record = await self._ledger.apply(change)
                self._events.tell(
                    NotCreated, work.record, change.message or "", state=disposition.state,
                    code=work.record.error_code, request_id=change.request_id,
                )  # fmt: skip
                self._affects_all(disposition, error)
                return CreateOutcome(_end(disposition, error), disposition.taken)
            land = self._pool.started
            work.record = await write(self._ledger, record, State.SUBMITTED, "accepted", request_id=made.request_id, task_id=made.task_id,
                submitted_at=self._clock.now(),
            )  # fmt: skip
            self._unclear = 0
            self._queries.reached()
            self._events.tell(Created, work.record, f"task {made.task_id}")
            return CreateOutcome()
        finally:
            self.asking.discard(work)
            land(work, asyncio.get_running_loop().time())
            self._changed.set()

    def _waits(self, work: Work) -> bool:
        """Whether no create goes out any more since this one's turn came: another met something, or the run ends."""
        now = asyncio.get_running_loop().time()
        return self._pool.paused(now) or self._pool.closed is not None or work.lane.closed is not None

    def _asked_for_first(self, work: Work) -> bool:
        """Whether the ledger may have lost this job: then the API is asked before it is created."""
        work.lane.asks -= 1
        return self._queries.lookups_proven or work.lane.asks >= 0

    async def _ask_before(self, work: Work, line: Record | None) -> TaskView | ApiError | None:
        """The task that this job has already; None: it may be created; an error: nobody can tell now.

        ``line`` is what is told beside the clips of a task that it had.
        """
        assert work.step is not None and isinstance(work.step.job, Job)
        view: TaskView | ApiError | None = None
        named: TaskView | ApiError | None = None
        for turn in range(ASKS):
            view = await self._queries.look_up(work.step.external_task_id)
            if line is not None and not isinstance(view, TaskView | AccountStop | NeverSent):
                named = await self._queries.named(line, work.step.job)
                view = named or view
            if isinstance(view, TaskView | AccountStop | NeverSent):
                return view
            if isinstance(view, NotFound):
                return None
            if self._pool.closed:
                return view
            await asyncio.sleep(backoff(turn, self._clock.rng))
        # Where lookups don't work and no task is named, nothing can tell.
        return view if named or self._queries.lookups_proven else None

    def _put_off(self, work: Work, error: ApiError | None) -> Outcome:
        """A job whose id could not be asked for comes again, a few times."""
        if isinstance(error, AccountStop):
            self.stop(error)
        elif error is not None and not self._pool.closed:
            self._queries.pause(0.0)
            work.tries += not (isinstance(error, NeverSent) or error.kind == PAGE)
            if work.tries >= TRIES:
                return Outcome(f"not created: whether it has a task already could not be asked: {error}")
        return Outcome(again=True)

    async def _take_over(self, work: Work, job: Job, before: Record | None, view: TaskView) -> None:
        """The job has a task that the ledger didn't know: follow it, and don't trust the ledger for its manifest."""
        if before is not None:
            await self.adopt(work, before, view)
            return
        assert work.step is not None
        row = new_row(job, work.step.external_task_id)
        values = {"task_id": view.task_id, "submitted_at": view.created_at}
        change = Change(
            row.external_task_id, State.SUBMITTED, "recovered", None, None, view.request_id, values
        )
        work.record = await self._ledger.adopt(row, change)
        text = f"the API had task {view.task_id}, which the ledger had not"
        self._events.tell(Found, work.record, text, action="recovered", level="warning")
        if work.lane.asks == math.inf:  # what the API has forgotten by now may have been paid as well
            work.lane.unrecorded = True
            text = f"{job.manifest}: the API has tasks of it that the ledger has not; see `batchgen recover`"
            work.lane.closed = EndedEarly(text, kind="unrecorded")

    def _affects_all(self, disposition: Disposition, error: ApiError | ImageError) -> None:
        """Do what a create that made no task, or maybe none, means for all other jobs."""
        if isinstance(error, ApiError):
            if disposition.speaks:
                self._queries.judge(error, create=True)
            if disposition.unclear:  # a burst counts once
                self._unclear += not self._pool.paused(asyncio.get_running_loop().time())
            match disposition.pause:
                case Pause.CREATES:
                    self._queries.pause(error.retry_after or 0.0)
                case Pause.ALL:
                    self._queries.slow_down(error)
        if (reason := disposition.stopped_by(error, self._unclear)) is not None:
            self.stop(reason)

    def stop(self, reason: BatchgenError) -> None:
        """Nothing more is created; following and downloading go on."""
        if self.verdict is None:
            self.verdict = reason
            text = f"no more creates: {reason}"
            self._events.emit(Stopped(at=self._events.now, reason=reason, text=text))
        self._pool.close(reason)
        self._changed.set()

    async def adopt(self, work: Work, record: Record, view: TaskView) -> None:
        """The row's create had made this task."""
        self._pool.confirmed(work)
        work.record = await write(self._ledger, record, State.SUBMITTED, "adopted", request_id=view.request_id, task_id=view.task_id,
            submitted_at=record.submitted_at or record.created_at,
        )  # fmt: skip
        self._events.tell(Found, work.record, f"task {view.task_id}")


def _end(disposition: Disposition, error: ApiError | ImageError) -> Outcome | None:
    """Where a job's way ends whose create failed; None: its row says how it goes on."""
    if disposition.retry:
        return Outcome(again=True)
    if not disposition.told:
        return None
    text = str(error) if isinstance(error, ImageError) else cited(str(error), error.code, error.request_id)
    return Outcome(text, disposition.bucket)


async def write(
    ledger: Ledger, record: Record, to: State, event: str, *, code: int | str | None = None, message: str | None = None,
    request_id: str | None = None, detail: Mapping[str, Any] | None = None, **values: Any,
) -> Record:  # fmt: skip
    """Take a row one step on, durably; ``values`` are columns to set. Returns the row as it is then."""
    if request_id is not None:
        values["request_id"] = request_id
    return await ledger.apply(
        Change(record.external_task_id, to, event, code, message, request_id, values, detail or {})
    )
