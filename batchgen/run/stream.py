"""Between a run and a reader of its events, who may be late, stop reading, or never begin."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from batchgen.run.events import (
    Event,
    JobNoticed,
    Noticed,
    Paused,
    Progressed,
    Reachable,
    Totals,
    Unreachable,
    Waiting,
)

LATE: Final = 1000  # events that wait for their reader before passing ones are left out
PASSING: Final = (Paused, Progressed, Waiting, Noticed, JobNoticed, Unreachable, Reachable)


class Stream:
    """The events of one run for one reader. Nobody ever waits for the reader.

    What became of jobs and of the run is kept, which is a few events for each job. Of the counts that were not read
    only the newest stay; and where :data:`LATE` events wait, those that only say how things go are left out.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._totals: Totals | None = None
        self._something = asyncio.Event()
        self._closed = False

    def take(self, event: Event) -> None:
        """Keep an event for the reader, as far as that is worth its place."""
        if isinstance(event, Totals):
            self._totals = event
        elif not isinstance(event, PASSING) or len(self._events) < LATE:
            self._events.append(event)
        self._something.set()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._something.set()

    async def next(self) -> Event | None:
        """The next event; None where there is none left and none will come. May be cancelled, and loses nothing."""
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
