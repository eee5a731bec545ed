"""Questions to the API, which cost nothing: asked few at a time, and known to be believable or not.

"No such task" for an ``external_task_id`` means something only where the API has been seen to find one. The proof is
sought when it is needed, by asking for a task that the ledger knows, and kept with the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from batchgen.api import Api
from batchgen.errors import ApiError, BatchgenError, EndedEarly, NeverSent, Throttled
from batchgen.ledger import Ledger
from batchgen.models import TaskView

QUERIES = 32  # in flight at once
UNREACHABLE = 10  # timeouts' length without reaching the API before the run is ended
PROOF = "lookups"  # the ledger's note that they work


class Asker:
    """Asks for tasks. ``pause`` is told the seconds that the API wants everybody to wait."""

    def __init__(
        self,
        ledger: Ledger,
        api: Api,
        *,
        timeout: float,
        pause: Callable[[float], object],
        give_up: Callable[[BatchgenError], object],
    ) -> None:
        self.lookups_proven = ledger.note(PROOF) is not None
        self._ledger, self._api, self._timeout, self._pause, self._give_up = (
            ledger,
            api,
            timeout,
            pause,
            give_up,
        )
        self._flying = asyncio.Semaphore(QUERIES)
        self._unreachable_since: float | None = None

    async def ask(self, asked: str) -> TaskView:
        """What the API says of a task id or ``external_task_id``. Raises what :meth:`Api.query` does."""
        try:
            async with self._flying:
                view = await self._api.query(asked)
        except NeverSent as error:
            self.unreachable(error)
            raise
        except Throttled as error:
            self._pause(error.retry_after or 0.0)
            raise
        except ApiError:
            self.reached()
            raise
        self.reached()
        return view

    async def look_up(self, external_task_id: str) -> TaskView | ApiError:
        """The task of that id, or why there is no answer. A task that is found proves that lookups work."""
        try:
            view = await self.ask(external_task_id)
        except ApiError as error:
            return error
        await self._prove()
        return view

    async def lookups_work(self) -> bool:
        """Whether the API finds tasks by their ``external_task_id``; sought out where that isn't known yet."""
        if not self.lookups_proven:
            for known in self._ledger.known_tasks(limit=3):
                if not isinstance(await self.look_up(known.external_task_id), ApiError):
                    break
        return self.lookups_proven

    def reached(self) -> None:
        """The API answered something."""
        self._unreachable_since = None

    def unreachable(self, error: NeverSent) -> None:
        """A request did not reach the API; after a while of nothing else the run is given up."""
        now = asyncio.get_running_loop().time()
        if self._unreachable_since is None:
            self._unreachable_since = now
        silent = now - self._unreachable_since
        if silent > UNREACHABLE * self._timeout:
            self._give_up(EndedEarly(f"the API could not be reached for {silent:.0f} s: {error}"))

    async def _prove(self) -> None:
        if not self.lookups_proven:
            await self._ledger.set_note(PROOF, "seen to work")
            self.lookups_proven = True
