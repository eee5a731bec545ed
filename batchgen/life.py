"""One job's life, from the intent to the clip: :meth:`Lives.live` reads like the state diagram in ARCHITECTURE.md.

Every step asks or tells the API once, writes what came of it to the ledger, and only then goes on. What a failure
means for the other jobs is told to the pool; what a person must know is returned as text.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from batchgen.api import Api
from batchgen.asking import Asker
from batchgen.download import Downloads
from batchgen.errors import (
    AccountStop,
    ApiError,
    BatchgenError,
    DownloadError,
    EndedEarly,
    ImageError,
    MaybeAccepted,
    NeverSent,
    NotFound,
    SlotsFull,
    Throttled,
    UnknownCode,
    cited,
)
from batchgen.ledger import Ledger
from batchgen.models import Change, Job, Record, State, TaskView
from batchgen.pacing import Lengths, backoff
from batchgen.plan import PAYS, decide, new_row
from batchgen.pool import Pool, Work
from batchgen.transitions import not_created

log = logging.getLogger("batchgen")

DOWNLOADS = 4  # in flight at once
DOWNLOAD_TRIES = 3
VANISHED = 5  # answers of "no such task" before a task is reported as gone
UNCLEAR = 8  # unclear answers to creates in a row before creating is stopped


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds. ``settle``: how old an uncertain create must be before "no such task" is believed."""

    timeout: float = 60.0
    settle: float = 60.0
    first_ask: float | None = None


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
        self.ledger, self.api, self.downloads, self.pool, self.waits = ledger, api, downloads, pool, waits
        self.asker = Asker(ledger, api, timeout=waits.timeout, pause=self._pause, give_up=give_up)
        self.changed = asyncio.Event()  # something happened that the pool may decide differently on
        self.verdict: BatchgenError | None = None  # why creates were stopped, where it decides the exit code
        self.settling = 0
        self._rng = random.Random()
        self._lengths = Lengths(first=waits.first_ask)
        self._kinds: set[str] = set()
        self._unclear = 0
        self._fetches = asyncio.Semaphore(DOWNLOADS)
        self._warned: set[str] = set()

    async def live(self, work: Work) -> str:
        """Take a job as far as it goes now. Returns what a person has to know of its end, or nothing.

        ``work.again`` is set where the job belongs back into its queue. Cancelling is safe except during a create.
        Raises LedgerError; then nothing may be sent any more.
        """
        text = ""
        if work.record is None or work.record.state in (State.PENDING, State.REJECTED):
            text = await self._create(work)
            if work.record is not None and work.record.state is State.REJECTED:
                view = await self.asker.look_up(work.record.external_task_id)
                if isinstance(view, TaskView):  # its id is taken, by a task that this ledger has lost
                    await self._adopt(work, work.record, view)
                    self.pool.found(work)
                    text = ""
        while not text and not work.again and work.record is not None:
            match work.record.state:
                case State.SUBMITTING | State.UNKNOWN:
                    text = await self._settle(work, work.record)
                case State.SUBMITTED:
                    text = await self._follow(work, work.record)
                case State.SUCCEEDED:
                    text = await self._bring_home(work, work.record)
                case State.FAILED:
                    return self._failed(work, work.record)
                case State.PENDING | State.REJECTED | State.DOWNLOADED:
                    return ""
        return text

    # -- create ---------------------------------------------------------------------------------------

    async def _create(self, work: Work) -> str:
        """Send one create. The pool has taken a slot for it, and is told here what became of it."""
        assert work.step is not None and isinstance(work.step.job, Job)
        job, outcome = work.step.job, self.pool.came_back
        try:
            uncertain = self.ledger.was_uncertain(work.step.external_task_id)
            if uncertain is not None:
                view = await self.asker.look_up(uncertain.external_task_id)
                if isinstance(view, TaskView):
                    outcome = self.pool.started
                    await self._adopt(work, uncertain, view)
                    return ""
                if not isinstance(view, NotFound):
                    work.record, work.again = uncertain, True
                    self._pause()
                    return ""
            record = work.record = await self.ledger.begin(new_row(work.step, job))
            try:
                made = await self.api.create({**job.request, "external_task_id": record.external_task_id})
            except (ApiError, ImageError) as error:
                if isinstance(error, MaybeAccepted):
                    outcome = self.pool.uncertain
                elif isinstance(error, SlotsFull):
                    outcome = self.pool.refused_slot
                work.record = await self.ledger.apply(not_created(record.external_task_id, error))
                self._tell(logging.INFO, "not_created", record, str(error))
                return self._not_created(work, error)
            outcome = self.pool.started
            work.record = await self._write(
                record, State.SUBMITTED, "accepted", request_id=made.request_id, task_id=made.task_id,
                submitted_at=time.time(),
            )  # fmt: skip
            self._unclear = 0
            self.asker.reached()
            self._tell(logging.INFO, "accepted", record, f"task {made.task_id}")
            return ""
        finally:
            outcome(work, asyncio.get_running_loop().time())
            self.changed.set()

    def _not_created(self, work: Work, error: ApiError | ImageError) -> str:
        """What a create that made no task, or maybe none, means for this job and for all others."""
        work.again = isinstance(error, NeverSent | SlotsFull | Throttled | UnknownCode | AccountStop)
        if isinstance(error, NeverSent):
            self.asker.unreachable(error)
            self._pause()
        elif isinstance(error, AccountStop):
            self.stop_creates(error)
        elif isinstance(error, Throttled):
            self._pause(error.retry_after or 0.0)
        elif isinstance(error, UnknownCode | MaybeAccepted):
            self._unclear += 1
            self._pause(error.retry_after or 0.0)
            if self._unclear >= UNCLEAR:
                text = f"the API gave {self._unclear} unclear answers in a row, the last: {error}"
                self.stop_creates(AccountStop(text, code=error.code) if work.again else EndedEarly(text))
        elif isinstance(error, ApiError) and not isinstance(error, SlotsFull):
            return cited(str(error), error.code, error.request_id)
        elif isinstance(error, ImageError):
            return str(error)
        return ""

    def stop_creates(self, reason: BatchgenError) -> None:
        """Nothing more is created; following and downloading go on."""
        if self.verdict is None:
            self.verdict = reason
            log.error("no more creates: %s", reason, extra={"action": "creates_stopped"})
        self.pool.close(str(reason))
        self.changed.set()

    # -- settle ---------------------------------------------------------------------------------------

    async def _settle(self, work: Work, record: Record) -> str:
        """Find out whether an uncertain create made a task: ask for its ``external_task_id``."""
        if record.state is State.SUBMITTING:
            text = "the run that sent this create stopped before its answer came"
            record = work.record = await self._write(record, State.UNKNOWN, "lost_track", message=text)
        now = asyncio.get_running_loop().time
        believable = now() + self.waits.settle  # by a clock that can't jump
        self.settling += 1
        try:
            for turn in itertools.count():
                view = await self.asker.look_up(record.external_task_id)
                old_enough = now() >= believable
                if isinstance(view, TaskView):
                    await self._adopt(work, record, view)
                    return ""
                if isinstance(view, NotFound) and old_enough and await self.asker.lookups_work():
                    work.record = await self._write(
                        record, State.PENDING, "not_created", code=view.code, message=str(view)
                    )
                    self.pool.not_made(work)
                    self._replan(work, work.record)
                    return ""
                hopeless = not self._others() if isinstance(view, NotFound) else turn >= UNCLEAR
                if old_enough and (hopeless or isinstance(view, AccountStop)):
                    break
                await asyncio.sleep(backoff(turn, self._rng, first=min(1.0, self.waits.settle / 4), cap=30.0))
        finally:
            self.settling -= 1
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

    async def _adopt(self, work: Work, record: Record, view: TaskView) -> None:
        work.record = await self._write(
            record, State.SUBMITTED, "adopted", request_id=view.request_id, task_id=view.task_id,
            submitted_at=record.submitted_at or record.created_at,
        )  # fmt: skip
        self._tell(logging.INFO, "adopted", record, f"task {view.task_id}")

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
        vanished, seen, failures = 0, loop.time(), 0
        wait = self._lengths.next_ask(kind, 0.0, wanted=self.pool.hungry) if age < 1 else 0.0
        while True:
            await asyncio.sleep(wait)
            age = loop.time() - born
            try:
                view = await self.asker.ask(record.task_id)
            except NotFound as error:
                vanished += 1
                if vanished >= VANISHED and loop.time() - seen > self.waits.settle:
                    return (
                        f"the API knows its task {record.task_id} no more ({error}); where its support can't help,"
                        f" `batchgen resolve {record.external_task_id} --abandon` gives it up"
                    )
            except AccountStop as error:
                self.stop_creates(error)
                return f"its task {record.task_id} can't be asked for: {error}"
            except ApiError as error:
                failures += 1
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
            wait = self._lengths.next_ask(kind, age, wanted=self.pool.hungry)

    async def _task_ended(self, record: Record, view: TaskView, length: float) -> Record:
        self._lengths.learn(record.kind, [length])
        ended: dict[str, Any] = {
            "finished_at": (record.submitted_at or record.created_at) + length,
            "units_charged": view.units_charged,
        }
        if view.status == "failed":
            text = view.message or "the API gave no reason"
            self._tell(logging.INFO, "task_failed", record, text)
            return await self._write(
                record, State.FAILED, "task_failed", message=text, request_id=view.request_id,
                error_code="failed", error_message=text, **ended,
            )  # fmt: skip
        self._tell(logging.INFO, "task_succeeded", record, f"after {length:.0f} s")
        return await self._write(
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
            self._tell(logging.WARNING, "odd_status", record, f"status {odd!r}; asking on")

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

    # -- bring home -----------------------------------------------------------------------------------

    async def _bring_home(self, work: Work, record: Record) -> str:
        """Download the clip. Whatever goes wrong here is retried here, and never as a create."""
        assert record.video_url is not None
        root = os.path.normpath(
            os.path.join(record.output_path, *[os.pardir] * (record.job_id.count("/") + 2))
        )
        text = ""
        for turn in range(DOWNLOAD_TRIES):
            try:
                async with self._fetches:
                    clip = await self.downloads.fetch(record.video_url or "", record.output_path, root=root)
            except DownloadError as error:
                text = str(error)
                record = work.record = await self._write(
                    record, State.SUCCEEDED, "download_failed", message=text
                )
                if turn + 1 < DOWNLOAD_TRIES:
                    await asyncio.sleep(backoff(turn, self._rng))
                    record = work.record = await self._fresh_url(record)
            else:
                work.record = await self._write(
                    record, State.DOWNLOADED, "downloaded", detail={"bytes": clip.size}, video_path=clip.path,
                    video_sha256=clip.sha256,
                )  # fmt: skip
                self._tell(logging.INFO, "downloaded", record, clip.path)
                return ""
        return f"its clip is paid but didn't come home: {text}; the next run fetches it again, at no cost"

    async def _fresh_url(self, record: Record) -> Record:
        """URLs expire: ask for the task's present one."""
        try:
            view = await self.asker.ask(record.task_id or "")
        except ApiError:
            return record
        if view.video_url and view.video_url != record.video_url:
            return await self._write(record, State.SUCCEEDED, "new_url", video_url=view.video_url)
        return record

    # -- shared ---------------------------------------------------------------------------------------

    def _pause(self, at_least: float = 0.0) -> None:
        self.pool.pause(asyncio.get_running_loop().time(), at_least=at_least)

    async def _write(
        self, record: Record, to: State, event: str, *, code: int | str | None = None, message: str | None = None,
        request_id: str | None = None, detail: Mapping[str, Any] | None = None, **values: Any,
    ) -> Record:  # fmt: skip
        if request_id is not None:
            values["request_id"] = request_id
        return await self.ledger.apply(
            Change(record.external_task_id, to, event, code, message, request_id, values, detail or {})
        )

    def _tell(self, level: int, action: str, record: Record, text: str) -> None:
        log.log(
            level, "%s/%s %s: %s", record.manifest, record.job_id, action.replace("_", " "), text,
            extra={"action": action, "external_task_id": record.external_task_id},
        )  # fmt: skip


def _length(view: TaskView, age: float) -> float:
    """Seconds that an ended task took: by the API's clock where it tells, else until its end was seen."""
    if view.created_at is None or view.updated_at is None:
        return age
    return min(max(view.updated_at - view.created_at, 0.0), age) or age
