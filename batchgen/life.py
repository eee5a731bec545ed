"""One job's life, from the intent to the clip: :meth:`Lives.live` reads like the state diagram in ARCHITECTURE.md.

Every step asks or tells the API once, writes what came of it to the ledger, and only then goes on. What a failure
means for the other jobs is told to the pool; what a person must know is returned as text.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchgen.asking import UNREACHABLE, Asker
from batchgen.creating import UNCLEAR, Creates, tell, write
from batchgen.errors import (
    AccountStop,
    ApiError,
    BatchgenError,
    NotFound,
    cited,
)
from batchgen.ledger import Ledger
from batchgen.models import Job, Record, State, TaskView
from batchgen.pacing import Lengths, backoff, together
from batchgen.plan import PAYS, decide
from batchgen.pool import Pool, Work
from batchgen.retrieval import Retrieval

if TYPE_CHECKING:
    from batchgen.api import Api
    from batchgen.download import Downloads

VANISHED = 5  # answers of "no such task" before a task is reported as gone


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds. ``settle``: how long an uncertain create is looked for before "no such task" is believed.

    ``follow``: how old a task may get before a run no longer waits for its end.
    """

    timeout: float = 60.0
    settle: float = 300.0
    first_ask: float | None = None
    follow: float = 6 * 3600.0


class Lives:
    """What the lives of one run share, and the steps of a life."""

    def __init__(
        self,
        ledger: Ledger,
        api: Api,
        downloads: Downloads,
        pool: Pool,
        waits: Waits,
        give_up: Callable[[BatchgenError], None],
    ) -> None:
        self.ledger, self.pool, self.waits = ledger, pool, waits
        self.changed = asyncio.Event()  # something happened that the pool may decide differently on

        def pause(seconds: float) -> float:
            return pool.pause(asyncio.get_running_loop().time(), at_least=seconds)

        self.asker = Asker(ledger, api, timeout=waits.timeout, pause=pause, give_up=give_up)
        self.creates = Creates(ledger, api, self.asker, pool, self.changed)
        self._retrieval = Retrieval(ledger, self.asker, downloads)
        self.settling = 0
        self._rng = random.Random()
        self._lengths = Lengths(first=waits.first_ask)
        self._kinds: set[str] = set()
        self._warned: set[str] = set()

    async def live(self, work: Work) -> str:
        """Take a job as far as it goes now. Returns what a person has to know of its end, or nothing.

        ``work.again`` is set where the job belongs back into its queue. Cancelling is safe except during a create.
        Raises LedgerError; then nothing may be sent any more.
        """
        text = ""
        if work.record is None or work.record.state in (State.PENDING, State.REJECTED):
            text = await self.creates.create(work)
        while not text and not work.again and work.record is not None:
            match work.record.state:
                case State.SUBMITTING | State.UNKNOWN:
                    text = await self._settle(work, work.record)
                case State.SUBMITTED:
                    text = await self._follow(work, work.record)
                case State.SUCCEEDED:
                    text = await self._retrieval.bring_home(work, work.record)
                case State.FAILED:
                    return self._failed(work, work.record)
                case State.PENDING | State.REJECTED | State.DOWNLOADED:
                    return ""
        return text

    # -- settle ---------------------------------------------------------------------------------------

    async def _settle(self, work: Work, record: Record) -> str:
        """Find out whether an uncertain create made a task: ask for its ``external_task_id``."""
        if record.state is State.SUBMITTING:
            text = "the run that sent this create stopped before its answer came"
            record = work.record = await write(self.ledger, record, State.UNKNOWN, "lost_track", message=text)
        now = asyncio.get_running_loop().time
        believable = now() + self.waits.settle  # by a clock that can't jump
        self.settling += 1
        try:
            for turn in itertools.count():
                old_enough = now() >= believable  # when it is asked: the answer may be slow
                view = await self.asker.look_up(record.external_task_id)
                if isinstance(view, TaskView):
                    await self.creates.adopt(work, record, view)
                    return ""
                if isinstance(view, NotFound) and old_enough and await self.asker.lookups_work():
                    work.record = await write(
                        self.ledger, record, State.PENDING, "not_created", code=view.code, message=str(view)
                    )
                    self.pool.not_made(work)
                    if work.taken:
                        return "refused as if its id were taken, and no task of that id can be found"
                    self._replan(work, work.record)
                    return ""
                hopeless = not self._others() if isinstance(view, NotFound) else turn >= UNCLEAR
                if old_enough and (hopeless or isinstance(view, AccountStop)):
                    break
                await asyncio.sleep(backoff(turn, self._rng, first=min(1.0, self.waits.settle / 4), cap=30.0))
        finally:
            self.settling -= 1
            self.changed.set()
        return "nobody can tell whether its create was accepted, so it is not sent again" + (
            ""
            if self.asker.lookups_proven
            else " (this API has not been seen to find a task by its external_task_id)"
        )

    def _others(self) -> bool:
        """Whether jobs go on that may yet show that lookups work."""
        return (
            not self.asker.lookups_proven
            and self.pool.slots.running + self.pool.slots.creating > self.settling
        )

    # -- follow ---------------------------------------------------------------------------------------

    async def _follow(self, work: Work, record: Record) -> str:
        """Ask for the task until it has ended; give its slot back then."""
        assert record.task_id is not None
        loop = asyncio.get_running_loop()
        kind = record.kind
        if kind not in self._kinds:
            self._kinds.add(kind)
            self._lengths.learn(kind, self.ledger.durations(kind))
        age = max(time.time() - (record.submitted_at or record.created_at), 0.0)
        born = loop.time() - age
        vanished, seen, failures, asked = 0, loop.time(), 0, 0
        hollow: float | None = None  # since when it has succeeded without a clip

        def next_ask(age: float) -> float:
            return together(loop.time(), self._lengths.next_ask(kind, age, wanted=self.pool.full))

        wait = next_ask(0.0) if age < 1 else 0.0
        while True:
            await asyncio.sleep(wait)
            age = loop.time() - born
            try:
                view = await self.asker.ask(record.task_id)
            except NotFound as error:
                vanished += 1
                if vanished >= VANISHED and loop.time() - seen > self.waits.timeout:
                    work.bucket = "vanished"
                    return (
                        f"the API knows its task {record.task_id} no more ({error}); where its support can't help,"
                        f" `batchgen resolve {record.external_task_id} --abandon` gives it up"
                    )
            except AccountStop as error:
                self.creates.stop(error)
                return f"its task {record.task_id} can't be asked for: {error}"
            except ApiError as error:
                failures += 1
                if failures >= UNCLEAR and loop.time() - seen > UNREACHABLE * self.waits.timeout:
                    return f"the API gives no answer about its task {record.task_id}: {error}"
                wait = max(backoff(failures, self._rng), error.retry_after or 0.0)
                continue
            else:
                vanished, seen, failures = 0, loop.time(), 0
                if view.status == "failed" or (view.status == "succeed" and view.video_url):
                    length = _length(view, age)
                    work.record = await self._task_ended(record, view, length)
                    self.pool.ended(work, born + length)
                    self.changed.set()
                    return ""
                self._odd(record, view)
                asked += 1
                if view.status == "succeed":
                    self.pool.ended(work, born + age)
                    self.changed.set()
                    hollow = hollow or loop.time()
                    if loop.time() - hollow > self.waits.timeout:
                        return f"its task {record.task_id} succeeded without a usable clip; the next run asks again"
                if age > self.waits.follow and asked >= VANISHED:
                    return (
                        f"its task {record.task_id} has not ended in {age / 3600:.0f} hours; where its support can't help,"
                        f" `batchgen resolve {record.external_task_id} --abandon` gives it up"
                    )
            wait = next_ask(age)

    async def _task_ended(self, record: Record, view: TaskView, length: float) -> Record:
        self._lengths.learn(record.kind, [length])
        ended: dict[str, Any] = {
            "finished_at": (record.submitted_at or record.created_at) + length,
            "units_charged": view.units_charged,
        }
        if view.status == "failed":
            text = view.message or "the API gave no reason"
            tell(logging.INFO, "task_failed", record, text)
            return await write(self.ledger, record, State.FAILED, "task_failed", message=text, request_id=view.request_id,
                error_code="failed", error_message=text, **ended,
            )  # fmt: skip
        tell(logging.INFO, "task_succeeded", record, f"after {length:.0f} s")
        return await write(
            self.ledger,
            record,
            State.SUCCEEDED,
            "task_succeeded",
            request_id=view.request_id,
            video_url=view.video_url,
            **ended,
        )

    def _odd(self, record: Record, view: TaskView) -> None:
        """Warn once about a status nobody knows, and about success without a clip."""
        odd = view.raw_status if view.status is None else "succeed without a usable video URL"
        if (view.status is None or view.status == "succeed") and odd not in self._warned:
            self._warned.add(odd)
            tell(logging.WARNING, "odd_status", record, f"status {odd!r}; asking on")

    def _failed(self, work: Work, record: Record) -> str:
        """A task that failed is tried again under the next id, up to the limit."""
        text = cited(f"its task {record.task_id} failed: {record.error_message}", None, record.request_id)
        if work.step is None or not isinstance(work.step.job, Job):
            newest = self.ledger.series(record.base_id)[-1]
            return text if newest.external_task_id == record.external_task_id else ""
        self._replan(work, record)
        return "" if work.again else f"{text} ({work.step.reason})"

    def _replan(self, work: Work, record: Record) -> None:
        """Decide anew about a job whose create or task came to nothing; ``work.again`` where it is created again."""
        if work.step is None or not isinstance(work.step.job, Job):
            return
        job = work.step.job
        rows = self.ledger.briefs({record.base_id, job.external_task_id}).values()
        work.step = decide(job, list({row.external_task_id: row for some in rows for row in some}.values()))
        if work.step.action in PAYS:
            work.record, work.again = None, True


def _length(view: TaskView, age: float) -> float:
    """Seconds that an ended task took: by the API's clock where it tells, else until its end was seen."""
    if view.created_at is None or view.updated_at is None:
        return age
    return min(max(view.updated_at - view.created_at, 0.0), age) or age
