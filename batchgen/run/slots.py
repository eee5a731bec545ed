"""When to create, when to ask, how long to wait. Pure decisions: no clock, no sleep, no I/O of their own.

**Slots.** A slot is taken before a create and given back when the task has ended. The limit is the smaller of what
the user states and what the account has shown:

- 1303 lowers it to what is known to run. Tasks that had ended by then are seen later, and taken off when they are:
  counted as running, they would hold the limit above the account's, and every fifth create would be refused.
- Now and then one create more than the limit is tried, and another one as long as they are accepted; a try ends
  with its refusal, so it costs one. Below the highest limit that ever held, somebody else has the slots and gives them
  back some day: tries are frequent there. At the highest there is most likely nothing to find, and they get rare.
- At the start nothing is known: half as many again as run are tried, so that 1303 meets few creates in flight.

**Waits.** All are jittered between half and whole, at the cap too: many waiters never wake in step.

**Asking.** A task's end is seen when it is asked for. Tasks of one kind (mode and duration) take similar times, so
each question waits until a tenth of the tasks that ran as long as this one had ended. The chance to be the last one
is the same for every question then, whatever the lengths look like: about ten questions a task, spent where tasks end.

**Overdue.** A task that runs far beyond what its kind takes may never end. A run doesn't wait for it once nothing else
is left: ``OVERDUE`` times the longest of its kind's latest lengths, but half an hour at least, for queues grow; six
hours at most, for a night has no more; three where none of its kind is known. After ``--deadline`` it is half of that
and no floor but the time that a request may take: who states a deadline wants to be done.

``tests/bench/README.md`` has the figures that these rules and numbers were chosen by.
"""

from __future__ import annotations

import bisect
import math
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

FIRST = 1  # create beyond what runs before 1303 was ever seen, and half as many as run
TRY_AFTER = 54  # ended tasks before one create more than the limit is tried
TRY_AFTER_TOLD = 20  # the same below a limit that the user stated: there is something to be found
PATIENCE_BELOW = 1.05  # each try below the highest limit that held makes the next wait so much longer
PATIENCE_AT_BEST = 1.3  # and each try at it
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


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds. ``timeout``: without progress of a request. ``first_ask``: before a task's first query; None: learned.

    ``settle``: how long an uncertain create is looked for before "no such task" is believed, and a clip that doesn't
    come before it is left to the next run. ``retry``: before the task after the first one that failed. ``clip``: what
    each file of a clip may take in one run.
    """

    timeout: float = 60.0
    settle: float = 300.0
    first_ask: float | None = None
    retry: float = 120.0
    clip: float = 3600.0


def backoff(attempt: int, rng: random.Random, *, first: float = 1.0, cap: float = 60.0) -> float:
    """Seconds to wait before attempt number ``attempt`` + 1: ``first``, doubling up to ``cap``, plus jitter.

    Between ``first`` and 1.5 * ``cap``; the longest waits are jittered as well.
    """
    return min(first * 2.0 ** min(attempt, 60), cap) * (1 + rng.random() / 2)


def align_to_tick(now: float, wait: float) -> float:
    """``wait``, drawn out to the next of the moments that all questions are asked at, unless it is short.

    Of thousands of tasks, some are due at each: a process that wakes for every one takes three times the CPU.
    """
    return wait if wait < TICK else math.ceil((now + wait) / TICK) * TICK - now


def lasting(seconds: float) -> str:
    """A time of that length in the unit that says most: ``50 s``, ``12 min``, ``7 h``, ``3 days``."""
    for unit, size, until in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{max(seconds, 0) // size:.0f} {unit}"
    return f"{seconds // 86400:,.0f} days"


class Slots:
    """How many tasks may run. ``told`` is the user's limit; None means that it is learned.

    Times are seconds of one clock, any clock; where one isn't known, a little is lost and nothing breaks.
    """

    def __init__(self, told: int | None = None) -> None:
        self.ceiling: float = math.inf if told is None else told
        self.limit: float = FIRST if told is None else told
        self.running = 0  # tasks of ours that are known to run
        self.creating = 0  # creates in flight, each holding a slot
        self._trying = told is None  # more than the limit is tried, until 1303
        self._met = False  # 1303 has been seen
        self._full_at = -math.inf  # when the account was full and the limit counted
        self._most = 0  # tasks of ours that ran at once
        self._best: float = 0  # the highest limit that held for a while
        self._ends = 0  # ended tasks since the last try
        self._try_after = TRY_AFTER if told is None else TRY_AFTER_TOLD
        self._wait_below: float = self._try_after
        self._wait_at_best: float = self._try_after

    def __repr__(self) -> str:
        return f"<Slots {self.running} running, {self.creating} creating, limit {self.limit}>"

    @property
    def free(self) -> bool:
        """Whether one more create may go out."""
        return self.running + self.creating < self.limit

    @property
    def probe_free(self) -> bool:
        """Whether one create more than is known to run may be tried, where no end of ours will ever free a slot."""
        return self.creating == 0 and self.running < self.ceiling

    def take(self) -> None:
        """A create goes out."""
        self.creating += 1

    def give_back(self) -> None:
        """A create came back without a task."""
        self.creating -= 1

    def started(self, sent: float = -math.inf) -> None:
        """A create that went out at ``sent`` came back with a task."""
        self.creating -= 1
        self.found(sent)

    def found(self, sent: float = -math.inf) -> None:
        """A task of ours is known to run, wherever it came from."""
        self.running += 1
        self._most = max(self._most, self.running)
        if self._trying:
            beyond = 1 if self._met else FIRST + self.running // 2
            self.limit = min(max(self.limit, self.running + beyond), self.ceiling)
        elif sent <= self._full_at:  # a later one may have a slot that was given back since
            self.limit = min(max(self.limit, self.running), self.ceiling)

    def refused(self, sent: float = -math.inf) -> None:
        """A create that went out at ``sent`` came back with 1303."""
        self.creating -= 1
        if not self._trying and self.running < self.limit:
            self._wait_below = self._try_after
        self.limit = min(max(self.running, 1), self.ceiling)
        self._met, self._trying, self._full_at, self._ends = True, False, sent, 0

    def ended(self, at: float = math.inf) -> None:
        """A task of ours ended, at ``at``."""
        self.running -= 1
        self._ends += 1
        if at < self._full_at:
            self.limit = max(self.limit - 1, 1)
        if self._trying:
            return
        if self._ends >= self._try_after:
            self._best = max(self._best, min(self.limit, self._most))
        if self.limit < self.ceiling and self._ends >= self._patience:
            if self.limit < self._best:
                self._wait_below *= PATIENCE_BELOW
            else:
                self._wait_at_best *= PATIENCE_AT_BEST
            self.limit += 1
            self._trying = True

    @property
    def _patience(self) -> float:
        """Ended tasks between two tries."""
        return self._wait_below if self.limit < self._best else self._wait_at_best


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
