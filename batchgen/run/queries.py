"""Questions to the API, which cost nothing: asked few at a time, and known to be believable or not.

"No such task" for an ``external_task_id`` means something only where the API has been seen to find one. The proof is
sought when it is needed, by asking for a task that the ledger knows, and kept with the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from batchgen.errors import PAGE, ApiError, BatchgenError, EndedEarly, NeverSent, NotFound, Throttled, cited
from batchgen.ledger.writer import Ledger
from batchgen.models import Job, Record, TaskView
from batchgen.run.events import Events
from batchgen.run.reach import Reach
from batchgen.run.waits import lasting

if TYPE_CHECKING:
    from batchgen.api.client import Api

QUERIES = 32  # in flight at once
SLOWEST = (
    2 * 3600.0
)  # seconds of nothing but "too fast" before the run ends; an answer may ask for half of it
PROOF = "lookups"  # the ledger's note that they work


class Queries:
    """Asks for tasks. ``pause`` makes creates wait, at least so long, and says for how many seconds."""

    def __init__(
        self,
        ledger: Ledger,
        api: Api,
        *,
        timeout: float,
        pause: Callable[[float], float],
        give_up: Callable[[BatchgenError], object],
        events: Events,
    ) -> None:
        self.lookups_proven = ledger.note(PROOF) is not None
        self.pause = pause
        self.astray = (
            False  # a page came in place of the API's answer to a create, and the API hasn't spoken since
        )
        self._ledger, self._api = ledger, api
        self._reach = Reach(timeout=timeout, give_up=give_up, events=events)
        self._flying = asyncio.Semaphore(QUERIES)
        self._quiet_until = 0.0
        self._give_up = give_up
        self._slowed: float | None = None  # since when nothing was answered but that it was too fast
        self._claims: dict[str, tuple[str, str, int]] = {}  # whose a task is that is named beside the clips
        self._found: set[str] = set()  # known tasks that a lookup of this run has found

    async def ask(self, task_id: str) -> TaskView:
        """What the API says of the task. Raises what :meth:`Api.query` does, and where the answer is of another."""
        view = await self._ask(task_id)
        if view.task_id != task_id:
            raise ApiError(
                f"asked for task {task_id}, answered for {view.task_id}", request_id=view.request_id
            )
        return view

    async def _ask(self, asked: str) -> TaskView:
        """What the API says of a task id or ``external_task_id``, which the answer need not repeat."""
        try:
            async with self._flying:
                if (quiet := self._quiet_until - asyncio.get_running_loop().time()) > 0:
                    await asyncio.sleep(quiet)
                with self._reach.waiting():
                    view = await self._api.query(asked)
        except ApiError as error:
            self.judge(error)
            if isinstance(error, Throttled):
                self.slow_down(error)
            raise
        self.reached()
        return view

    async def itself(self, external_task_id: str) -> bool:
        """Whether the API answers as itself: asked for a task that it knows, else for this one."""
        known = self._ledger.known_tasks(limit=1)
        with contextlib.suppress(ApiError):
            await self._ask(known[0].task_id or "" if known else external_task_id)
        return not self.astray

    async def look_up(self, external_task_id: str) -> TaskView | ApiError:
        """The task of that id, or why there is no answer that can be believed.

        A task that says whose it is proves that lookups work; one that doesn't is believed only where they do.
        """
        try:
            view = await self._ask(external_task_id)
        except ApiError as error:
            return error
        if view.external_task_id == external_task_id:
            await self._prove()
        elif not self.lookups_proven:
            return ApiError(f"task {view.task_id} came back, which doesn't say that it is the one asked for")
        owner = next((row for row in self._ledger.with_task(view.task_id)), None)
        if owner is not None and owner.external_task_id != external_task_id:
            return ApiError(f"task {view.task_id} came back, which belongs to {owner.external_task_id}")
        return view

    async def named(self, line: Record, job: Job) -> TaskView | ApiError | None:
        """The task that a line beside the clips names; None where another job has it, or the API has it no more."""
        task_id = line.task_id or ""
        if self._ledger.with_task(task_id) or self._claims.setdefault(task_id, job.key) != job.key:
            return None
        try:
            view = await self.ask(task_id)
        except NotFound:
            return None
        except ApiError as error:
            return error
        return view if view.external_task_id in (None, line.external_task_id) else None

    async def lookups_work(self) -> bool:
        """Whether the API finds tasks by their ``external_task_id``; sought out where that isn't known yet."""
        for known in () if self.lookups_proven else self._ledger.known_tasks(limit=3):
            try:
                view = await self._ask(known.external_task_id)
            except ApiError:
                continue
            if view.task_id == known.task_id:
                await self._prove()
                break
        return self.lookups_proven

    async def would_find(self, record: Record) -> bool:
        """Whether the API finds, with this key and still, what was made at about the time of an uncertain create.

        With another account's key it finds nothing of this one's, and after a month nothing at all.
        """
        for known in self._ledger.known_beside(record.external_task_id, limit=3):
            name = known.external_task_id
            if name not in self._found:
                with contextlib.suppress(ApiError):
                    if (await self._ask(name)).task_id == known.task_id:
                        self._found.add(name)
            if name in self._found:
                await self._prove()
                return True
        return False

    def slow_down(self, error: ApiError) -> None:
        """Ask and create nothing for a while; end the run where the API has said nothing else for hours."""
        now = asyncio.get_running_loop().time()
        self._quiet_until = max(self._quiet_until, now + self.pause(error.retry_after or 0.0))
        self._slowed = now if self._slowed is None else self._slowed
        if self._quiet_until - self._slowed > SLOWEST:
            said = "the API says nothing but that it is asked too fast"
            text = f"{said}, for {lasting(SLOWEST)} by when it may be asked again: {error}"
            self._give_up(EndedEarly(cited(text, error.code, error.request_id), kind="throttled"))

    def reached(self) -> None:
        """The API answered something of its own."""
        self.astray, self._slowed = False, None
        self._reach.answered()

    def judge(self, error: ApiError, *, create: bool = False) -> None:
        """Take an error of a query, or of a ``create``, for what it says of the API's reach."""
        if isinstance(error, NeverSent) or error.kind == PAGE:
            self.astray = self.astray or (create and error.kind == PAGE)
            self._reach.missed(error)
        elif isinstance(error, Throttled):
            self.astray = False
            self._reach.answered()
        else:
            self.reached()

    async def _prove(self) -> None:
        if not self.lookups_proven:
            await self._ledger.set_note(PROOF, "seen to work")
            self.lookups_proven = True
