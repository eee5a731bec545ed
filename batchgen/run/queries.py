"""Task queries, at most 32 in flight, and whether lookups by ``external_task_id`` can be believed.

"No such task" for an ``external_task_id`` proves something only where the API has been seen to find one. That is tested
when it is needed, by looking up a task that the ledger knows, and recorded in the ledger.
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
from batchgen.run.waits import shown_duration

if TYPE_CHECKING:
    from batchgen.api.client import Api

QUERIES = 32  # in flight at once
# Seconds of nothing but "too fast" after which the run ends; one answer may ask for a wait of half of it.
MAX_THROTTLED = 2 * 3600.0
PROOF = "lookups"  # the ledger's note that they work


class Queries:
    """Queries tasks. ``pause`` pauses creates for at least so many seconds and returns the seconds; ``give_up`` ends the run."""

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
        self.misdirected = (
            False  # a page came in place of the API's answer to a create, and the API hasn't spoken since
        )
        self._ledger, self._api = ledger, api
        self._reach = Reach(timeout=timeout, give_up=give_up, events=events)
        self._in_flight = asyncio.Semaphore(QUERIES)
        self._quiet_until = 0.0
        self._give_up = give_up
        self._slowed: float | None = None  # since when nothing was answered but that it was too fast
        self._claims: dict[str, tuple[str, str, int]] = {}  # whose a task is that is named beside the clips
        self._found: set[str] = set()  # known tasks that a lookup of this run has found

    @property
    def lost(self) -> EndedEarly | None:
        """Why a run that ends now heard nothing from the API; None where it answers."""
        return self._reach.lost

    @property
    def quiet_until(self) -> float:
        """The loop's time before which nothing is queried."""
        return self._quiet_until

    async def ask(self, task_id: str) -> TaskView:
        """Query a task by its task id. Raises what :meth:`Api.query` does, and ApiError where another task comes back."""
        view = await self._ask(task_id)
        if view.task_id != task_id:
            raise ApiError(
                f"asked for task {task_id}, answered for {view.task_id}", request_id=view.request_id
            )
        return view

    async def _ask(self, asked: str) -> TaskView:
        """Query a task by its task id or ``external_task_id``, which the answer need not repeat."""
        try:
            async with self._in_flight:
                if (quiet := self._quiet_until - asyncio.get_running_loop().time()) > 0:
                    await asyncio.sleep(quiet)
                with self._reach.waiting():
                    view = await self._api.query(asked)
        except ApiError as error:
            self.note_error(error)
            if isinstance(error, Throttled):
                self.slow_down(error)
            raise
        self.reached()
        return view

    async def answers_itself(self, external_task_id: str) -> bool:
        """Whether the API itself answers, and not a page in its place: query a task that it knows, else this one."""
        known = self._ledger.known_tasks(limit=1)
        with contextlib.suppress(ApiError):
            await self._ask(known[0].task_id or "" if known else external_task_id)
        return not self.misdirected

    async def look_up(self, external_task_id: str) -> TaskView | ApiError:
        """The task with this ``external_task_id``, or the error that there is instead.

        A task that comes with that id proves that lookups work; one that comes without is believed only where they do.
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

    async def named_task(self, line: Record, job: Job) -> TaskView | ApiError | None:
        """The task that a line in ``clips.jsonl`` names; None where another job has it, or the API doesn't know it."""
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
        """Whether the API finds tasks by their ``external_task_id``; tested where that isn't known yet."""
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
        """Whether the API finds tasks, with this key, that were made at about the time of an uncertain create.

        With another account's key it finds none of these, and after a month none at all.
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
        """Pause queries and creates; end the run where the API has answered nothing else for hours."""
        now = asyncio.get_running_loop().time()
        self._quiet_until = max(self._quiet_until, now + self.pause(error.retry_after or 0.0))
        self._slowed = now if self._slowed is None else self._slowed
        if self._quiet_until - self._slowed > MAX_THROTTLED:
            answers = "the API says nothing but that it is asked too fast"
            text = f"{answers}, for {shown_duration(MAX_THROTTLED)} by when it may be asked again: {error}"
            self._give_up(EndedEarly(cited(text, error.code, error.request_id), kind="throttled"))

    def reached(self) -> None:
        """Record that the API itself answered."""
        self.misdirected, self._slowed = False, None
        self._reach.answered()

    def note_error(self, error: ApiError, *, create: bool = False) -> None:
        """Record what an error of a query, or of a ``create``, says about whether the API can be reached."""
        if isinstance(error, NeverSent) or error.kind == PAGE:
            self.misdirected = self.misdirected or (create and error.kind == PAGE)
            self._reach.missed(error)
        elif isinstance(error, Throttled):
            self.misdirected = False
            self._reach.answered()
        else:
            self.reached()

    async def _prove(self) -> None:
        if not self.lookups_proven:
            await self._ledger.set_note(PROOF, "seen to work")
            self.lookups_proven = True
