"""Follows a task until it ends, or until the run has waited for it long enough.

A task that never ends doesn't hold up a run: it is queried as long as other jobs keep the run going, and a few times
in each later run. How often it was found running, and since when the API hasn't known it, is in the ledger.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from typing import Any

from batchgen.advice import command
from batchgen.errors import AccountStop, ApiError, BatchgenError, EndedEarly, NotFound, cited
from batchgen.models import Record, State, TaskView
from batchgen.run.charges import charged, drift
from batchgen.run.context import RunContext
from batchgen.run.create import write
from batchgen.run.dispositions import UNCLEAR
from batchgen.run.failures import TASKS_FAIL, Cause, cause_of
from batchgen.run.hints import Line
from batchgen.run.lanes import Watch, Work
from batchgen.run.outcomes import Outcome
from batchgen.run.polling import align_to_tick
from batchgen.run.reach import UNREACHABLE
from batchgen.run.retrieval import KEPT, addresses
from batchgen.run.waits import backoff, shown_duration
from batchgen.run.work_events import Failed, JobNoticed, Progressed, Succeeded

OVERDUE_ANSWERS = 3  # answers in one run after which an overdue task may be left to the next run
OVERDUE_STEP = 600.0  # seconds between the queries for an overdue task while other tasks run
# Queries a second, at most, in a run that only submits: enough to see that tasks fail, and to stop paying then.
UNWANTED_QUERIES = 20
ENOUGH_FOLLOWED = (
    500  # tasks in such a run, while no create waits for a slot: what is followed takes kilobytes
)
MAX_NOT_FOUND = 5  # answers of "no such task" in one run after which the task is left to the next run
GONE_AFTER = 3 * 86400.0  # seconds of only such answers, in more than one run, before it counts as gone


class Follower:
    """Follows the tasks of one run. ``stop`` stops all creating."""

    def __init__(self, run: RunContext, stop: Callable[[BatchgenError], None]) -> None:
        self._ledger, self._queries, self._pool, self._waits = run.ledger, run.queries, run.pool, run.waits
        self._now, self._rng = run.clock.now, run.clock.rng
        self._changed, self._events, self._stop = run.changed, run.events, stop
        self._hints = run.hints
        self._prices = run.prices
        self._lengths = run.pool.last.lengths
        self._warned: set[str] = set()
        self._drifted = False  # one task's charge differed from its estimate, which is said once
        self._began = asyncio.get_running_loop().time()
        self._tasks_fail = run.ledger.note(TASKS_FAIL) == "yes"

    async def follow(self, work: Work, record: Record) -> Outcome | None:
        """Query the task until it has ended, and give its slot back.

        Returns the job's outcome for this run; None where its row's state says how it goes on.
        """
        assert record.task_id is not None
        names = (record.task_id, record.external_task_id)
        with self._hints.line(names, addressed=work.addressed) as line:
            return await self._follow(work, record, line)

    async def _follow(self, work: Work, record: Record, line: Line) -> Outcome | None:
        assert record.task_id is not None
        now, kind = asyncio.get_running_loop().time, record.kind
        age = max(self._now() - (record.submitted_at or record.created_at), 0.0)
        watch = work.watch = Watch(now() - age)
        absent, seen, failures, empty = 0, now(), 0, 0
        no_url_since: float | None = None  # since when it has succeeded without a clip
        unknown_status = UnknownStatus()
        self._lengths.usual(kind)  # a ledger that can't say it is told of now, not in an hour
        wait = self._wait(watch, kind, 0.0, line) if age < 1 else 0.0
        while True:
            called = await self._wait_for_query(watch, kind, line, wait)
            age = now() - watch.born
            try:
                view = await self._queries.ask(record.task_id)
            except NotFound as error:
                absent += 1
                if absent >= MAX_NOT_FOUND and now() - seen > self._waits.timeout:
                    return await self._not_found(work, record, error, absent, age)
                wait = line.rest(backoff(absent, self._rng, first=self._first, cap=30.0))
                continue
            except AccountStop as error:
                self._stop(error)
                return Outcome(f"its task {record.task_id} can't be asked for: {error}")
            except ApiError as error:
                failures += 1
                if failures >= UNCLEAR and now() - seen > UNREACHABLE * self._waits.timeout:
                    return Outcome(f"the API gives no answer about its task {record.task_id}: {error}")
                again = backoff(failures, self._rng, first=self._first)
                wait = line.rest(max(again, error.retry_after or 0.0))
                continue
            absent, seen, failures = 0, now(), 0
            view, unclear = unknown_status.interpreted(view, now(), self._waits.settle)
            if view.status == "failed" or (view.status == "succeed" and view.video_url):
                length = _length(view, age)
                line.end()
                work.record = await self._ended(record, view, length, watch.born + length)
                self._pool.ended(work, watch.born + length)
                self._changed.set()
                return None
            again = line.doubt() if called else math.inf
            self._warn_of_odd(record, view)
            if record.error_code is not None:
                record = work.record = await write(self._ledger, record, State.SUBMITTED, "known_again")
            if view.status == "succeed":
                empty += 1
                self._pool.ended(work, watch.born + age)
                self._changed.set()
                no_url_since = no_url_since or now()
                if now() - no_url_since > self._waits.settle:
                    text = (
                        f"its task {record.task_id} succeeded without a usable clip; the next run asks again"
                    )
                    return Outcome(text)
                wait = min(backoff(empty, self._rng, first=self._first, cap=30.0), again)
                continue
            self._note_running(watch, record, view, age, unclear=unclear)
            wait = min(self._wait(watch, kind, age, line), again)
            if unclear:  # it may have ended
                wait = min(wait, max(self._waits.settle / 4, self._first))

    async def _wait_for_query(self, watch: Watch, kind: str, line: Line, wait: float) -> bool:
        """Wait until the task is to be queried. Returns whether a call says that it has ended."""
        expected = line.expected
        called = await line.wait(wait)
        if not called and line.expected and not expected:  # calls have begun to come meanwhile
            age = asyncio.get_running_loop().time() - watch.born
            called = await line.wait(self._wait(watch, kind, age, line))
        return called

    def _note_running(
        self, watch: Watch, record: Record, view: TaskView, age: float, *, unclear: bool
    ) -> None:
        """Note that the task still runs; ``unclear``: its status is unknown, and it may have ended."""
        if view.raw_status != watch.status:
            self._events.emit_job(Progressed, record, status=view.raw_status, seconds=age)
        watch.status = view.raw_status
        watch.answers += not unclear
        if watch.answers >= OVERDUE_ANSWERS:
            late = self._lengths.overdue_after_deadline(record.kind, self._waits.timeout)
            watch.overdue_at = watch.born + self._lengths.overdue_at(record.kind)
            watch.overdue_after_deadline = watch.born + late
            self._changed.set()

    @property
    def _first(self) -> float:
        """Seconds before the first repetition of a query."""
        return min(1.0, self._waits.first_ask or 1.0)

    def _wait(self, watch: Watch, kind: str, age: float, line: Line) -> float:
        """Seconds before a task of this age (seconds) is queried again, unless it is called ended before."""
        now = asyncio.get_running_loop().time()
        wait = self._lengths.next_ask(kind, age, wanted=self._pool.full, called=line.expected)
        if self._pool.limits.submit_only and not self._pool.full:
            wait = max(wait, min(self._pool.slots.running, ENOUGH_FOLLOWED) / UNWANTED_QUERIES)
        marks = [self._lengths.overdue_at(kind)]
        if self._pool.last.deadline is not None:
            marks.append(self._lengths.overdue_after_deadline(kind, self._waits.timeout))
        for mark in marks:
            if age < mark:  # query it at the moment when it becomes overdue
                wait = min(wait, max(mark - age, self._first))
            elif watch.answers < OVERDUE_ANSWERS:
                wait = min(wait, backoff(watch.answers, self._rng, first=self._first))
            else:
                wait = min(wait, OVERDUE_STEP)
        return align_to_tick(now, wait)

    async def _ended(self, record: Record, view: TaskView, length: float, at: float) -> Record:
        self._lengths.learn(record.kind, [length])
        breaker = self._pool.breaker
        ended: dict[str, Any] = {
            "finished_at": (record.submitted_at or record.created_at) + length,
            **charged(view, self._prices),
        }
        if view.status == "failed":
            cause = cause_of(view.message, view.raw_status)
            text = view.message or "the API gave no reason"
            record = await write(
                self._ledger,
                record,
                State.FAILED,
                "task_failed",
                message=text,
                request_id=view.request_id,
                error_code=cause.value,
                error_message=text,
                **ended,
            )
            self._events.emit_job(Failed, record, text, reason=text, request_id=view.request_id)
            if at < self._began:
                breaker.failed_before(cause)
            elif (many := breaker.failed(cause)) is not None:
                await self._stop_creating(many, cause, text, view.request_id)
            return record
        breaker.succeeded()
        if self._tasks_fail and at >= self._began:
            self._tasks_fail = False
            await self._ledger.set_note(TASKS_FAIL, "no")
        record = await write(
            self._ledger,
            record,
            State.SUCCEEDED,
            "task_succeeded",
            request_id=view.request_id,
            **addresses(record, view),
            **ended,
        )
        self._events.emit_job(Succeeded, record, f"after {length:.0f} s", seconds=length)
        if not self._drifted and (differs := drift(record, ended, self._prices)) is not None:
            self._drifted = True
            self._events.notice(differs, "prices_differ")
        return record

    async def _stop_creating(self, many: str, cause: Cause, text: str, request_id: str | None) -> None:
        if self._pool.closed is None:
            kind = "breaker_account" if cause is Cause.ACCOUNT else "breaker"
            reason = f"{many}, the last with: {cited(text, None, request_id)}"
            self._stop(EndedEarly(reason, kind=kind))
        if not self._tasks_fail:
            self._tasks_fail = True
            await self._ledger.set_note(TASKS_FAIL, "yes")

    # -- tasks that are left to the next run ------------------------------------------------------------

    async def leave_overdue(self, work: Work) -> Outcome:
        """Record how often an overdue task was found running, and leave it to the next run."""
        record, watch = work.record, work.watch
        if record is None or watch is None:
            return Outcome()
        age = asyncio.get_running_loop().time() - watch.born
        before = sum(
            int(event.detail.get("answers", 0))
            for event in self._ledger.events(record.external_task_id)
            if event.event == "overdue"
        )
        detail = {"answers": watch.answers, "status": watch.status, "seconds": round(age)}
        work.record = await write(self._ledger, record, State.SUBMITTED, "overdue", detail=detail)
        longest = self._lengths.longest(record.kind)
        usual = ""
        if longest is not None:
            usual = f" (of its kind, {record.kind}, none took longer than {shown_duration(longest)})"
        return Outcome(
            f"its task {record.task_id} has run for {shown_duration(age)}{usual} and answered {before + watch.answers} times that it"
            f" hasn't ended, the last time {watch.status!r}; the next run asks again and doesn't wait for it"
        )

    async def _not_found(
        self, work: Work, record: Record, error: NotFound, asked: int, age: float
    ) -> Outcome:
        """Record that the API doesn't know the task. It counts as gone after days, or once results are deleted anyway."""
        text = f"{error}"
        self._pool.ended(work)
        work.record = record = await write(
            self._ledger,
            record,
            State.SUBMITTED,
            "not_found",
            code=error.code,
            message=text,
            request_id=error.request_id,
            detail={"answers": asked},
        )
        history = reversed(self._ledger.events(record.external_task_id))
        denials = list(itertools.takewhile(lambda event: event.event == "not_found", history))
        since = denials[-1].at
        times = sum(int(event.detail.get("answers", 0)) for event in denials)
        finding = f"the API knows its task {record.task_id} no more ({text}), asked {times} times in {shown_duration(self._now() - since)}"
        if age < KEPT and (len(denials) < 2 or self._now() - since < GONE_AFTER):
            return Outcome(f"{finding}; the next run asks again")
        return Outcome(
            f"{finding}: ask the vendor's support for it. Where that can't help,"
            f" `{command('resolve', record.external_task_id, options='--abandon')}` gives it up",
            "vanished",
        )

    def _warn_of_odd(self, record: Record, view: TaskView) -> None:
        """Warn once about each unknown status, and about success without a clip."""
        odd = view.raw_status if view.status is None else "succeed without a usable video URL"
        if (view.status is None or view.status == "succeed") and odd not in self._warned:
            self._warned.add(odd)
            text = f"status {odd!r}; asking on"
            self._events.emit_job(JobNoticed, record, text, action="odd_status", level="warning")


class UnknownStatus:
    """Interprets a task with an unknown status word and a clip: it has ended, or the clip is a preview.

    It counts as ended once the same answer has come for a while.
    """

    def __init__(self) -> None:
        self._answer: tuple[str, ...] = ()
        self._since = math.inf  # when the present answer first came
        self._first = math.inf  # when the first such answer came

    def interpreted(self, view: TaskView, now: float, settle: float) -> tuple[TaskView, bool]:
        """Interpret one answer about the task; ``settle``: seconds after which an unchanged answer counts as success.

        Returns the answer, with the status "succeed" where it counts as that, and whether that is still open.
        """
        if view.status is not None or not view.raw_status or not view.clips:
            self._answer, self._since = (), math.inf
            return view, False
        answer = (view.raw_status, *(link.url.partition("?")[0] for link in view.clips))  # signatures change
        if answer != self._answer:
            self._answer, self._since = answer, now
        self._first = min(self._first, now)
        if now - self._since >= settle:
            return view._replace(status="succeed"), False
        return view, now - self._first < 2 * settle


def _length(view: TaskView, age: float) -> float:
    """Seconds that an ended task took: by the API's times where it gives them, else until its end was seen."""
    if view.created_at is None or view.updated_at is None:
        return age
    return min(max(view.updated_at - view.created_at, 0.0), age) or age
