"""Decides when a task is queried, and when it is overdue. Pure: no clock, no sleep, no I/O of its own.

A task's end is seen when it is queried. Tasks of one kind (mode and duration) take similar times, so each query waits
until a tenth of the known tasks that ran as long as this one had ended. Then every query has the same chance to be the
last one, whatever the lengths look like: about ten queries a task, made when tasks end.

**Called.** Where a callback is expected to say that a task has ended, queries are the net beneath: the first one is made
when nearly all tasks of its kind would have ended, the next ones each a quarter of its age later.

**Overdue.** A task that runs far longer than others of its kind may never end. Once nothing else is left, a run doesn't
wait for one that is older than ``OVERDUE`` times what its kind takes: the length that nine in ten of the latest don't exceed,
so that one that was stuck for hours says nothing about all others. But at least half an hour, because queues grow, and at
most six hours, because a night isn't longer; three hours where none of its kind is known. After ``--deadline`` it is half of
that, without the half hour: a deadline means that the run should end.

``tests/bench/README.md`` has the figures that these rules and numbers were chosen by.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable

CHANCE = 0.1  # that a question is the last one
UNKNOWN_FIRST = 10.0  # seconds before the first question about a kind never seen
UNKNOWN_STEP = 0.2  # of its age: the next questions about it
SHORTEST_STEP = 0.01  # of its age: no task is asked for more often
SHORTEST_ASK = 1.0  # seconds
TICK = 0.5  # seconds; queries that are due in the same tick are made together
CALLED_FIRST = 30.0  # times later is that first question where a call is expected to come before
CALLED_LATE = (
    1.25  # times what nineteen of twenty tasks of a kind took: the first question about a known one then
)
CALLED_STEP = 0.25  # of its age: the next ones
DOUBTS = 4  # calls of an end that wasn't there after which a task is not queried for that again
LONGEST_QUIET = 60.0  # seconds before another call of its end is listened to then
UNWANTED = 3.0  # times rarer are questions that no create waits for
USUAL = 0.9  # of the lengths known of a kind: what a task of it takes
OVERDUE = 4.0  # times what a kind takes
OVERDUE_AFTER_DEADLINE = 2.0  # the same after the deadline
MIN_OVERDUE = 1800.0  # seconds
MAX_OVERDUE = 6 * 3600.0  # seconds
UNKNOWN_OVERDUE = 3 * 3600.0  # seconds; a kind never seen


def align_to_tick(now: float, wait: float) -> float:
    """``wait``, rounded up to the next tick at which queries are made, unless it is shorter than a tick.

    With thousands of tasks, a process that wakes up for each one takes three times the CPU.
    """
    return wait if wait < TICK else math.ceil((now + wait) / TICK) * TICK - now


class Lengths:
    """How long tasks of each kind have taken, in seconds, and when to query one because of that.

    ``known`` returns the lengths of earlier runs' tasks of a kind, the latest first; it is called once for each kind.
    """

    def __init__(
        self,
        *,
        first: float | None = None,
        keep: int = 200,
        known: Callable[[str], Iterable[float]] = lambda kind: (),
    ) -> None:
        self._first = first
        self._keep = keep
        self._known = known
        self._recent: dict[str, deque[float]] = {}
        self._sorted: dict[str, list[float]] = {}

    def learn(self, kind: str, seconds: Iterable[float]) -> None:
        """Add lengths of ended tasks of ``kind``, in seconds."""
        ordered = self._seen(kind)
        recent = self._recent[kind]
        for length in seconds:
            recent.append(length)
            bisect.insort(ordered, length)
            if len(recent) > self._keep:
                ordered.pop(bisect.bisect_left(ordered, recent.popleft()))

    def next_ask(self, kind: str, age: float, *, wanted: bool, called: bool = False) -> float:
        """Seconds to wait before querying a task that is ``age`` seconds old.

        ``wanted``: a create waits for its slot. Otherwise queries are three times rarer. ``called``: a callback is
        expected to say that the task has ended.
        """
        if called:
            return self._net(kind, age)
        ease = 1.0 if wanted else UNWANTED
        shortest = max(min(SHORTEST_ASK, self._first or SHORTEST_ASK), age * SHORTEST_STEP * ease)
        seen = self._seen(kind)
        if not seen:
            return max((self._first or UNKNOWN_FIRST) - age, age * UNKNOWN_STEP * ease, shortest)
        if age >= seen[-1]:
            return max((age - seen[-1]) / 2, shortest)
        margin = 0.3 / math.sqrt(len(seen))
        return max(_next_end(seen, age, CHANCE * ease) - age, seen[0] * (1 - margin) - age, shortest)

    def _net(self, kind: str, age: float) -> float:
        seen = self._sorted.get(kind)
        if seen:
            late = CALLED_LATE * seen[len(seen) * 19 // 20]
        else:
            late = CALLED_FIRST * (self._first or UNKNOWN_FIRST)
        return max(late - age, age * CALLED_STEP, min(SHORTEST_ASK, self._first or SHORTEST_ASK))

    def longest(self, kind: str) -> float | None:
        """The longest length known of a kind; None where none is known."""
        seen = self._seen(kind)
        return seen[-1] if seen else None

    def usual(self, kind: str) -> float | None:
        """What a task of a kind takes: the length that nine in ten don't exceed. None where none is known."""
        seen = self._seen(kind)
        return seen[math.ceil(USUAL * len(seen)) - 1] if seen else None

    def overdue_at(self, kind: str) -> float:
        """The age, in seconds, from which a run doesn't wait for a task of this kind alone."""
        usual = self.usual(kind)
        if usual is None:
            return UNKNOWN_OVERDUE
        return min(max(OVERDUE * usual, MIN_OVERDUE), MAX_OVERDUE)

    def overdue_after_deadline(self, kind: str, least: float) -> float:
        """The age at which a task of this kind is overdue after the deadline; ``least`` is how long a request may take."""
        usual = self.usual(kind)
        if usual is None:
            return MIN_OVERDUE
        return min(max(OVERDUE_AFTER_DEADLINE * usual, least), MAX_OVERDUE / 2)

    def _seen(self, kind: str) -> list[float]:
        """The lengths known of a kind, the shortest first."""
        if kind not in self._sorted:
            latest = list(itertools.islice(self._known(kind), self._keep))
            self._recent[kind], self._sorted[kind] = deque(reversed(latest)), sorted(latest)
        return self._sorted[kind]


def doubted_wait(doubts: int) -> tuple[float, float]:
    """How long calls about a task are not listened to, and when it is queried again, in seconds, after so many false ones.

    The first ones may have been early; after ``DOUBTS`` of them there is no such query.
    """
    quiet = min(2.0 ** (doubts - 1), LONGEST_QUIET)
    return quiet, quiet if doubts <= DOUBTS else math.inf


def _next_end(seen: list[float], age: float, share: float) -> float:
    """The age by which ``share`` of those lengths in the sorted ``seen`` that exceed ``age`` have been reached.

    It is interpolated between two lengths; one more length, beyond all that were seen, is assumed.
    """
    first = bisect.bisect_right(seen, age)
    whole, part = divmod(share * (len(seen) - first + 1), 1)
    above = seen[min(first + int(whole), len(seen) - 1)]
    below = seen[first + int(whole) - 1] if whole else age
    return below + (above - below) * part
