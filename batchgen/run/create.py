"""One create: the lookup before it, the request, and what its answer means for this job and for the run."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchgen.errors import (
    PAGE,
    AccountStop,
    ApiError,
    BatchgenError,
    Bug,
    EndedEarly,
    ImageError,
    LedgerError,
    MaybeAccepted,
    NeverSent,
    NotFound,
    OverBudget,
    cited,
)
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Job, Record, State, TaskView
from batchgen.run.context import RunContext
from batchgen.run.dispositions import Disposition, Pause, Slot, dispose
from batchgen.run.events import Stopped
from batchgen.run.lanes import Lane, Work
from batchgen.run.outcomes import CreateOutcome, Outcome
from batchgen.run.plan import new_row
from batchgen.run.preparing import Preparer, needs_preparing
from batchgen.run.waits import backoff
from batchgen.run.work_events import Created, Found, NotCreated

if TYPE_CHECKING:
    from batchgen.api.client import Api

MAX_LOOKUPS = 3  # lookups of one id, right before its create, before the create is put off
MAX_DEFERRALS = 2  # times that a create is put off before it is left to the next run


@dataclass(slots=True)
class _Turn:
    """One job's turn to be created, for which the pool has taken a slot."""

    work: Work
    job: Job
    external_task_id: str
    land: Callable[[Work, float], None]  # what tells the pool how the turn ended, also where it is cancelled
    uncertain: bool = False  # an earlier create of this id got no clear answer
    request: Mapping[str, Any] | ImageError = field(default_factory=dict)  # as it is sent, or why it can't be


class Creator:
    """Creates the tasks of one run, and stops creating where an answer means that."""

    def __init__(self, run: RunContext, api: Api) -> None:
        self.stop_reason: BatchgenError | None = None  # why creating stopped, where it decides the exit code
        self.looking_up: set[Work] = set()  # jobs that are looked up, or prepared, before their creates
        self._ledger, self._queries, self._pool = run.ledger, run.queries, run.pool
        self._changed, self._clock, self._events = run.changed, run.clock, run.events
        self._lost_line, self._prices = run.inventory.lost_line, run.prices
        self._api, self._callback_url = api, run.hints.url
        self._preparer = Preparer()
        self._unclear = 0  # in a row
        self._one_at_a_time = asyncio.Lock()
        self._made: set[str] = set()  # task ids of this run: not all may be on disk yet

    async def create(self, work: Work) -> CreateOutcome:
        """Send one create. The pool has taken a slot for it, and gets the outcome here.

        After an unclear answer, creates are sent one at a time until one is accepted: each may be paid and not known.
        """
        if not self._unclear:
            return await self._create(work)
        async with self._one_at_a_time:
            return await self._create(work)

    async def _create(self, work: Work) -> CreateOutcome:
        assert work.step is not None and isinstance(work.step.job, Job)
        turn = _Turn(work, work.step.job, work.step.external_task_id, self._pool.came_back)
        try:
            if (end := await self._without_create(turn)) is not None:
                return end
            return await self._send(turn)
        finally:
            self.looking_up.discard(work)
            turn.land(work, asyncio.get_running_loop().time())
            self._changed.set()

    async def _without_create(self, turn: _Turn) -> CreateOutcome | None:
        """The outcome of a job that isn't created now, because that isn't permitted any more or because it has a task.

        None where it may be created.
        """
        work = turn.work
        before = self._ledger.record(turn.external_task_id)
        if self._waits(work):
            work.record = before
            return CreateOutcome(Outcome(again=True))
        try:
            refusal = self._ledger.budgets.refusal(before, work.cost, self._clock.now())
        except LedgerError as error:  # budgets that can't be read allow nothing; what is open comes home
            self.stop(error)
            work.record = before
            return CreateOutcome(Outcome(again=True))
        if refusal is not None:  # before a lookup and a picture are made for nothing
            return self._over_budget(turn, before, refusal)
        self.looking_up.add(work)
        if self._queries.misdirected and not await self._queries.answers_itself(turn.external_task_id):
            self._queries.pause(0.0)
            work.record = before
            return CreateOutcome(Outcome(again=True))
        turn.uncertain = before is not None and self._ledger.was_uncertain(turn.external_task_id) is not None
        line = self._lost_line(turn.job)
        is_new = before is None or work.lane.restored
        if turn.uncertain or (is_new and (self._is_looked_up_first(work) or line is not None)):
            if (
                work.lane.restored
            ):  # before: an answer that doesn't say whose task it is tells something only then
                await self._queries.lookups_work()
            view = await self._look_up(work, line)
            self.looking_up.discard(work)
            if isinstance(view, TaskView):
                turn.land = self._pool.occupied
                await self._use_existing_task(work, turn.job, before, view)
                return CreateOutcome()
            if view is None and work.lane.restored and not self._queries.lookups_proven:
                self._close_restored(work.lane)
            if view is not None or self._pool.closed or work.lane.closed:
                work.record = before
                return CreateOutcome(self._deferred(work, view))
        self.looking_up.add(work)
        request = turn.job.request
        turn.request = await self._prepared(request)
        self.looking_up.discard(work)
        if turn.request is not request and self._waits(work):
            work.record = before
            return CreateOutcome(Outcome(again=True))
        return None

    async def _prepared(self, request: Mapping[str, Any]) -> Mapping[str, Any] | ImageError:
        """A request as it is sent, with its pictures prepared; the same one where none is to be prepared."""
        try:
            return await self._preparer.prepared(request) if needs_preparing(request) else request
        except ImageError as error:
            return error

    async def close(self) -> None:
        """End what was started for creates."""
        await self._preparer.close()

    async def _send(self, turn: _Turn) -> CreateOutcome:
        """Record the intent, send the create, and record what its answer means."""
        work = turn.work
        ordered = work.step is not None and work.step.ordered
        row = new_row(turn.job, turn.external_task_id, self._prices)
        if not self._pool.permits(row.external_task_id, row.digest, row.estimate):
            raise Bug(f"{row.external_task_id} was about to be created, and isn't approved")
        try:
            record = work.record = await self._ledger.begin(row, ordered=ordered)
        except OverBudget as refusal:  # the last word: others may have spent meanwhile
            return self._over_budget(turn, self._ledger.record(turn.external_task_id), refusal)
        try:
            if isinstance(turn.request, ImageError):
                raise turn.request
            made = await self._api.create(self._addressed(work, turn.request, record.external_task_id))
            if made.task_id in self._made or self._ledger.with_task(made.task_id):
                text = f"accepted, but with task {made.task_id}, which another job has"
                raise MaybeAccepted(text, code=0, request_id=made.request_id)
            self._made.add(made.task_id)
        except (ApiError, ImageError) as error:
            return await self._failed(turn, record, error)
        turn.land = self._pool.started
        work.record = await write(
            self._ledger,
            record,
            State.SUBMITTED,
            "accepted",
            request_id=made.request_id,
            task_id=made.task_id,
            submitted_at=self._clock.now(),
        )
        self._unclear = 0
        self._queries.reached()
        self._events.emit_job(Created, work.record, f"task {made.task_id}")
        return CreateOutcome()

    def _addressed(self, work: Work, request: Mapping[str, Any], external_task_id: str) -> Mapping[str, Any]:
        """A request as it is sent: with its id, and with this run's ``callback_url`` where the job has none of its own."""
        own = "callback_url" in request
        work.addressed = self._callback_url is not None and not own
        added = {"callback_url": self._callback_url} if work.addressed else {}
        return {**request, **added, "external_task_id": external_task_id}

    def _over_budget(self, turn: _Turn, before: Record | None, refusal: OverBudget) -> CreateOutcome:
        """Put off a job that the ledger's budgets have no room for; nothing of it was written or sent."""
        turn.work.record = before
        wait = min(use.ends for use in refusal.uses) - self._clock.now()
        until = asyncio.get_running_loop().time() + wait
        turn.land = functools.partial(self._pool.over_budget, refusal=refusal, until=until)
        return CreateOutcome(Outcome(again=True))

    async def _failed(self, turn: _Turn, record: Record, error: ApiError | ImageError) -> CreateOutcome:
        """Record a create that was refused, not sent or not clearly answered."""
        disposition = dispose(error, uncertain=turn.uncertain)
        match disposition.slot:
            case Slot.HELD:
                turn.land = self._pool.uncertain
            case Slot.FULL:
                turn.land = self._pool.refused_slot
        change = disposition.change(record.external_task_id, error)
        now = turn.work.record = await self._ledger.apply(change)
        self._events.emit_job(
            NotCreated,
            now,
            change.message or "",
            state=disposition.state,
            code=now.error_code,
            request_id=change.request_id,
            action="unclear" if disposition.state is State.UNKNOWN else "not_created",
        )
        self._apply_to_run(disposition, error)
        return CreateOutcome(_end(disposition, error), disposition.taken)

    def _waits(self, work: Work) -> bool:
        """Whether creates were paused or stopped after this one got its turn."""
        now = asyncio.get_running_loop().time()
        return self._pool.paused(now) or self._pool.closed is not None or work.lane.closed is not None

    def _close_restored(self, lane: Lane) -> None:
        """Create nothing more of a manifest whose ledger has lost creates, at an API that can't say which."""
        lane.unrecorded = True
        text = f"{lane.name}: this ledger is an older copy, and the API finds no task by its id; see `batchgen recover`"
        lane.closed = EndedEarly(text, kind="unproven")

    def _is_looked_up_first(self, work: Work) -> bool:
        """Whether the API is asked for this new job before it is created: the ledger may have lost it."""
        work.lane.lookups_left -= 1
        return self._queries.lookups_proven or work.lane.lookups_left >= 0

    async def _look_up(self, work: Work, line: Record | None) -> TaskView | ApiError | None:
        """The task that this job has already; None where it may be created; an error where that can't be known now.

        ``line`` is the job's line in ``clips.jsonl``, where it had a clip that is lost.
        """
        assert work.step is not None and isinstance(work.step.job, Job)
        view: TaskView | ApiError | None = None
        named: TaskView | ApiError | None = None
        for turn in range(MAX_LOOKUPS):
            view = await self._queries.look_up(work.step.external_task_id)
            if line is not None and not isinstance(view, TaskView | AccountStop | NeverSent):
                named = await self._queries.named_task(line, work.step.job)
                view = named or view
            if isinstance(view, TaskView | AccountStop | NeverSent):
                return view
            if isinstance(view, NotFound):
                return None
            if self._pool.closed:
                return view
            await asyncio.sleep(backoff(turn, self._clock.rng))
        # Where lookups don't work and no line names a task, nothing more can be found out.
        return view if named or self._queries.lookups_proven or work.lane.restored else None

    def _deferred(self, work: Work, error: ApiError | None) -> Outcome:
        """The outcome for a job that could not be looked up: it is tried again a few times."""
        if isinstance(error, AccountStop):
            self.stop(error)
        elif error is not None and not self._pool.closed:
            self._queries.pause(0.0)
            work.deferrals += not (isinstance(error, NeverSent) or error.kind == PAGE)
            if work.deferrals >= MAX_DEFERRALS:
                return Outcome(f"not created: whether it has a task already could not be asked: {error}")
        return Outcome(again=True)

    async def _use_existing_task(self, work: Work, job: Job, before: Record | None, view: TaskView) -> None:
        """Record a task that the ledger didn't know, to follow it. The ledger isn't trusted for its manifest any more."""
        if before is not None:
            await self.attach(work, before, view)
            return
        assert work.step is not None
        row = new_row(job, work.step.external_task_id, self._prices)
        values = {"task_id": view.task_id, "submitted_at": view.created_at}
        change = Change(
            row.external_task_id, State.SUBMITTED, "recovered", None, None, view.request_id, values
        )
        work.record = await self._ledger.import_row(row, change)
        text = f"the API had task {view.task_id}, which the ledger had not"
        self._events.emit_job(Found, work.record, text, action="recovered", level="warning")
        if work.lane.lookups_left == math.inf:  # what the API has forgotten by now may have been paid as well
            work.lane.unrecorded = True
            text = f"{job.manifest}: the API has tasks of it that the ledger has not; see `batchgen recover`"
            work.lane.closed = EndedEarly(text, kind="unrecorded")

    def _apply_to_run(self, disposition: Disposition, error: ApiError | ImageError) -> None:
        """Apply what a failed or uncertain create means for all other jobs: pauses, stops, the API's reach."""
        if isinstance(error, ApiError):
            if disposition.shows_reach:
                self._queries.note_error(error, create=True)
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
        """Stop creating for ``reason``; following and downloading go on."""
        if self.stop_reason is None:
            self.stop_reason = reason
            text = f"no more creates: {reason}"
            self._events.emit(Stopped(at=self._events.now, reason=reason, text=text))
        self._pool.close(reason)
        self._changed.set()

    async def attach(self, work: Work, record: Record, view: TaskView) -> None:
        """Record the task that an uncertain create turned out to have made."""
        self._pool.confirmed(work)
        work.record = await write(
            self._ledger,
            record,
            State.SUBMITTED,
            "adopted",
            request_id=view.request_id,
            task_id=view.task_id,
            submitted_at=record.submitted_at or record.created_at,
        )
        self._events.emit_job(Found, work.record, f"task {view.task_id}")


def _end(disposition: Disposition, error: ApiError | ImageError) -> Outcome | None:
    """The outcome of a job whose create failed; None where its row's state says how it goes on."""
    if disposition.retry:
        return Outcome(again=True)
    if not disposition.reported:
        return None
    text = str(error) if isinstance(error, ImageError) else cited(str(error), error.code, error.request_id)
    return Outcome(text, disposition.bucket)


async def write(
    ledger: Ledger,
    record: Record,
    to: State,
    event: str,
    *,
    code: int | str | None = None,
    message: str | None = None,
    request_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
    **values: Any,
) -> Record:
    """Change a row's state in the ledger; ``values`` are columns to set. Returns the row after the change."""
    if request_id is not None:
        values["request_id"] = request_id
    return await ledger.apply(
        Change(record.external_task_id, to, event, code, message, request_id, values, detail or {})
    )
