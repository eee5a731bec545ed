"""When a task is asked for, and when it is overdue. Pure decisions: no clock, no sleep, no I/O of their own.

A task's end is seen when it is asked for. Tasks of one kind (mode and duration) take similar times, so each question
waits until a tenth of the tasks that ran as long as this one had ended. The chance to be the last one is the same for
every question then, whatever the lengths look like: about ten questions a task, spent where tasks end.

**Overdue.** A task that runs far beyond what its kind takes may never end. A run doesn't wait for it once nothing else
is left: ``OVERDUE`` times the longest of its kind's latest lengths, but half an hour at least, for queues grow; six
hours at most, for a night has no more; three where none of its kind is known. After ``--deadline`` it is half of that
and no floor but the time that a request may take: who states a deadline wants to be done.

``tests/bench/README.md`` has the figures that these rules and numbers were chosen by.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Iterable

CHANCE = 0.1  # that a question is the last one
UNKNOWN_FIRST = 10.0  # seconds before the first question about a kind never seen
UNKNOWN_STEP = 0.2  # of its age: the next questions about it
SHORTEST_STEP = 0.01  # of its age: no task is asked for more often
SHORTEST_ASK = 1.0  # seconds
TICK = 0.5  # seconds; questions that fall due in the same one are asked together
LAZY = 3.0  # times rarer are questions that no create waits for
OVERDUE = 4.0  # times the longest length known of a kind
OVERDUE_HURRIED = 2.0  # the same after the deadline
OVERDUE_LEAST = 1800.0  # seconds
OVERDUE_MOST = 6 * 3600.0  # seconds
OVERDUE_UNKNOWN = 3 * 3600.0  # seconds; a kind never seen


def align_to_tick(now: float, wait: float) -> float:
    """``wait``, drawn out to the next of the moments that all questions are asked at, unless it is short.

    Of thousands of tasks, some are due at each: a process that wakes for every one takes three times the CPU.
    """
    return wait if wait < TICK else math.ceil((now + wait) / TICK) * TICK - now


class Lengths:
    """How long tasks of each kind have taken, in seconds, and what that says about when to ask."""

    def __init__(self, *, first: float | None = None, keep: int = 200) -> None:
        self._first = first
        self._keep = keep
        self._recent: dict[str, deque[float]] = {}
        self._sorted: dict[str, list[float]] = {}

    def learn(self, kind: str, seconds: Iterable[float]) -> None:
        """Tasks of ``kind`` took so long."""
        recent = self._recent.setdefault(kind, deque())
        ordered = self._sorted.setdefault(kind, [])
        for length in seconds:
            recent.append(length)
            bisect.insort(ordered, length)
            if len(recent) > self._keep:
                ordered.pop(bisect.bisect_left(ordered, recent.popleft()))

    def next_ask(self, kind: str, age: float, *, wanted: bool) -> float:
        """Seconds to wait before asking for a task that is ``age`` seconds old.

        ``wanted`` says that a create waits for its slot; otherwise questions are three times rarer.
        """
        ease = 1.0 if wanted else LAZY
        shortest = max(min(SHORTEST_ASK, self._first or SHORTEST_ASK), age * SHORTEST_STEP * ease)
        seen = self._sorted.get(kind)
        if not seen:
            return max((self._first or UNKNOWN_FIRST) - age, age * UNKNOWN_STEP * ease, shortest)
        if age >= seen[-1]:
            return max((age - seen[-1]) / 2, shortest)
        margin = 0.3 / math.sqrt(len(seen))
        return max(_next_end(seen, age, CHANCE * ease) - age, seen[0] * (1 - margin) - age, shortest)

    def longest(self, kind: str) -> float | None:
        """The longest length known of a kind; None where none is known."""
        seen = self._sorted.get(kind)
        return seen[-1] if seen else None

    def overdue_at(self, kind: str) -> float:
        """The age from which a run waits for a task of this kind no longer than for others."""
        longest = self.longest(kind)
        if longest is None:
            return OVERDUE_UNKNOWN
        return min(max(OVERDUE * longest, OVERDUE_LEAST), OVERDUE_MOST)

    def hurried_at(self, kind: str, least: float) -> float:
        """The same after the deadline; ``least`` is how long a request may take."""
        longest = self.longest(kind)
        if longest is None:
            return OVERDUE_LEAST
        return min(max(OVERDUE_HURRIED * longest, least), OVERDUE_MOST / 2)


def _next_end(seen: list[float], age: float, share: float) -> float:
    """The age by which ``share`` of those of the sorted ``seen`` that are above ``age`` have ended.

    Between two of them it is interpolated; one more than was seen is taken to be above all.
    """
    first = bisect.bisect_right(seen, age)
    whole, part = divmod(share * (len(seen) - first + 1), 1)
    above = seen[min(first + int(whole), len(seen) - 1)]
    below = seen[first + int(whole) - 1] if whole else age
    return below + (above - below) * part
