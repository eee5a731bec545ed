"""What the API's callbacks say of the tasks of one run: hints to query a task now, never the truth about it.

A call only ever moves a query: forward where it says that its task has ended, and backward where the end of a task is
expected to be called. What a task became, its slot and its money are decided by the answer to the query alone. So calls may
come twice, late, in any order or not at all, and may lie.

Calls about tasks that aren't followed, or not yet, are kept by name, the last ``EARLY`` of them. That is all that calls
can take of a run, however many come.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from batchgen.run.polling import doubted_wait

if TYPE_CHECKING:
    import asyncio

EARLY = 4096  # names in calls about tasks that aren't followed yet
LATEST = 10  # ends of tasks that should have called
MISSED = 3  # of those, by which none is expected to be called any more


class Hints:
    """The calls about one run's tasks. ``url`` is where the tasks report to whose jobs say nothing of that; None: nowhere.

    ``proven``: calls have been seen to say that tasks ended, in an earlier run or, later, in this one; and not to cease.
    """

    def __init__(self, url: str | None = None, *, proven: bool = False) -> None:
        self.url = url
        self.proven = proven
        self._lines: dict[str, Line] = {}  # of the tasks that are followed, by each of their names
        self._early: dict[str, bool] = {}  # whether a task was called ended, by a name that isn't followed
        self._missed: deque[bool] = deque(maxlen=LATEST)  # the latest ends: whether no call had said so

    def hear(self, names: Iterable[str], *, ended: bool) -> None:
        """A call came about the task with one of these ids; ``ended``: it doesn't say that the task still runs."""
        for name in dict.fromkeys(names):
            if (line := self._lines.get(name)) is not None:
                line.hear(ended=ended)
                return
        for name in names:
            ended = self._early.pop(name, False) or ended
            self._early[name] = ended
        while len(self._early) > EARLY:
            del self._early[next(iter(self._early))]

    @contextlib.contextmanager
    def line(self, names: Iterable[str], *, addressed: bool) -> Iterator[Line]:
        """Listen for calls about a task, by each of its names; ``addressed``: it was told to call this run's ``url``."""
        line = Line(self, addressed=addressed)
        for name in names:
            self._lines[name] = line
            if (ended := self._early.pop(name, None)) is not None:
                line.hear(ended=ended)
        try:
            yield line
        finally:
            for name in names:
                if self._lines.get(name) is line:
                    del self._lines[name]

    def expects(self, *, called: bool, addressed: bool) -> bool:
        """Whether the end of a task will be called, as far as calls have shown: about it, or about others that ended."""
        return sum(self._missed) < MISSED and (called or (addressed and self.proven))

    def count_end(self, *, called: bool) -> None:
        """The end was found of a task that should have called, and a call had said so or not."""
        self._missed.append(not called)
        self.proven = (self.proven or called) and sum(self._missed) < MISSED


class Line:
    """What calls say of one task while it is followed."""

    __slots__ = ("_addressed", "_called", "_called_ended", "_doubts", "_hints", "_news", "_quiet", "_waiter")

    def __init__(self, hints: Hints, *, addressed: bool) -> None:
        self._hints, self._addressed = hints, addressed
        self._called = False  # some call came
        self._called_ended = False  # one that said that it has ended
        self._news = False  # the same, since the last query
        self._doubts = 0  # such calls that a query didn't find to be true
        self._quiet = 0.0  # seconds before the next call is listened to
        self._waiter: asyncio.Future[None] | None = None

    @property
    def expected(self) -> bool:
        """Whether a call will say that the task has ended."""
        return self._hints.expects(called=self._called, addressed=self._addressed)

    def hear(self, *, ended: bool) -> None:
        """A call came about this task."""
        self._called = True
        if ended:
            self._news = self._called_ended = True
            self._wake()

    async def wait(self, seconds: float) -> bool:
        """Wait so long, or until a call says that the task has ended. Returns whether one did."""
        import asyncio  # a run with nothing to do has no loop

        quiet, self._quiet = min(self._quiet, seconds), 0.0
        if quiet or not seconds:
            await asyncio.sleep(quiet)
        if not self._news and quiet < seconds:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(seconds - quiet, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        news, self._news = self._news, False
        return news

    def rest(self, seconds: float) -> float:
        """Let calls wait, too, for the next so many seconds, which are returned: a query failed."""
        self._quiet = seconds
        return seconds

    def doubt(self) -> float:
        """A query didn't find that the task has ended, as a call had said.

        Returns the seconds after which it is queried again: it may have known before the query did. The more often that
        happens, the later the next call is listened to.
        """
        self._doubts += 1
        self._quiet, again = doubted_wait(self._doubts)
        return again

    def end(self) -> None:
        """The task's end was found."""
        if self._called or self._addressed:
            self._hints.count_end(called=self._called_ended)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
