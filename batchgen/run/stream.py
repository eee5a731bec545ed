"""A bounded queue of events between a run and its reader, who may be slow, stop reading, or never begin."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from batchgen.run.events import Event, Noticed, Totals
from batchgen.run.work_events import Held, JobNoticed, Paused, Progressed, Reachable, Unreachable, Waiting

LATE: Final = 1000  # events in the queue from which passing ones are left out
PASSING: Final = (Paused, Held, Progressed, Waiting, Noticed, JobNoticed, Unreachable, Reachable)


class Stream:
    """The events of one run for one reader. The run never waits for the reader.

    Outcomes of jobs and of the run are always kept, a few events per job. Of unread totals only the newest are kept; and
    where :data:`LATE` events wait, those in :data:`PASSING` are left out.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._totals: Totals | None = None
        self._something = asyncio.Event()
        self._closed = False

    def take(self, event: Event) -> None:
        """Queue an event, or leave it out."""
        if isinstance(event, Totals):
            self._totals = event
        elif not isinstance(event, PASSING) or len(self._events) < LATE:
            self._events.append(event)
        self._something.set()

    def close(self) -> None:
        """End the stream: no more events will come."""
        self._closed = True
        self._something.set()

    async def next(self) -> Event | None:
        """The next event; None at the end. Cancelling it loses no event."""
        while True:
            if self._events:
                return self._events.popleft()
            if self._closed:
                return None
            if (totals := self._totals) is not None:
                self._totals = None
                return totals
            self._something.clear()
            await self._something.wait()
