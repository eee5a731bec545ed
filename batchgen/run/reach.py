"""Whether the API can be reached: logged on a terminal while it can't, and the end of the run in the end.

A page in the API's place counts as not reached. The run ends where that lasts, or can't get better by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from batchgen.errors import PAGE, ApiError, BatchgenError, EndedEarly, UsageError
from batchgen.run.events import Events
from batchgen.run.held import span
from batchgen.run.waits import shown_duration
from batchgen.run.work_events import Held, Reachable, Unreachable

SILENT_SECONDS = 1.2  # seconds without an answer before that is logged
UNREACHABLE = 10  # times --timeout without reaching the API before the run is ended
PERMANENT = {
    "tls",
    "proxy",
    "certificate_expired",
}  # causes that end the run at once where the API was never reached before


class Reach:
    """The reach of one run's API. ``timeout`` is in seconds; ``give_up`` ends the run."""

    def __init__(self, *, timeout: float, give_up: Callable[[BatchgenError], object], events: Events) -> None:
        self._timeout, self._give_up, self._events = timeout, give_up, events
        self._since: float | None = None  # loop time; None: it answers
        self._known = False  # it has answered before
        self._reason, self._kind = "", "unreachable"
        self._reported: set[str] = set()  # reasons that were reported since it last answered
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wraps a query: that no answer comes is logged before the query has failed."""
        loop = asyncio.get_running_loop()
        begun = loop.time()

        def silent() -> None:
            self._miss(begun, f"no answer for {SILENT_SECONDS:.0f} s")

        timer = loop.call_later(SILENT_SECONDS, silent)
        try:
            yield
        finally:
            timer.cancel()

    def answered(self) -> None:
        """Record that the API itself answered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reported and self._since is not None:
            silent = asyncio.get_running_loop().time() - self._since
            text = f"the API answers again, after {silent:.0f} s"
            now = self._events.now
            self._events.emit(Reachable(at=now, text=text, seconds=silent))
            self._events.emit(Held(at=now, kind="network", since=now - silent, over=True))
        self._since, self._known, self._reason = None, True, ""
        self._reported.clear()

    @property
    def lost(self) -> EndedEarly | None:
        """Why a run that ends now heard nothing from the API; None where it answers."""
        silent = 0.0 if self._since is None else asyncio.get_running_loop().time() - self._since
        if silent < SILENT_SECONDS:
            return None
        text = f"the API could not be reached for the last {shown_duration(silent)}: {self._reason}"
        return EndedEarly(text, kind=self._kind)

    def missed(self, error: ApiError) -> None:
        """Record that a request did not reach the API, or that something else answered in its place."""
        now = asyncio.get_running_loop().time()
        reason = str(error).removeprefix("no answer: ").removeprefix("not sent: ")
        self._miss(now, f"a page answers in its place: {reason}" if error.kind == PAGE else reason)
        assert self._since is not None
        self._kind = error.kind
        silent = now - self._since
        if error.kind in PERMANENT and not self._known:
            text = f"the API can't be reached: {reason}"
            kind: type[EndedEarly | UsageError] = (
                EndedEarly if error.kind == "certificate_expired" else UsageError
            )
            self._give_up(kind(text, kind=error.kind))
        elif silent > UNREACHABLE * self._timeout:
            self._give_up(
                EndedEarly(f"the API could not be reached for {silent:.0f} s: {reason}", kind=error.kind)
            )

    def _miss(self, since: float, reason: str) -> None:
        loop = asyncio.get_running_loop()
        if self._since is None:
            self._since = since
        self._reason = reason
        if loop.time() >= self._since + SILENT_SECONDS:
            self._report()
        elif self._timer is None:
            self._timer = loop.call_at(self._since + SILENT_SECONDS, self._report)

    def _report(self) -> None:
        self._timer = None
        if self._since is None or self._reason in self._reported:
            return
        self._reported.add(self._reason)
        ago = asyncio.get_running_loop().time() - self._since
        now = self._events.now
        since, until = now - ago, now - ago + UNREACHABLE * self._timeout
        text = f"the API can't be reached {span(since, until)}, trying on: {self._reason}"
        self._events.emit(Unreachable(at=now, text=text, since=since))
        self._events.emit(Held(at=now, kind="network", since=since, until=until))
