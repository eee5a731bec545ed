"""When to create, when to ask, how long to wait. Pure decisions: no clock, no sleep, no I/O of their own.

**Slots.** A slot is taken before a create and given back when the task ends. The limit is the smaller of what the
user states and what the account has shown: 1303 lowers it to what is known to run, and from then on it is raised
by one after a number of ended tasks. That number doubles whenever the raise turns out to be one too many, so
that a steady limit costs few refusals, and starts small again whenever the limit moves.

**Waits.** All are jittered between half and whole, at the cap too: many waiters never wake in step.

**Asking.** A task's end is seen when it is asked for. Tasks of one kind (mode and duration) take similar times,
so the first question waits for the shortest time seen and the next ones divide the span to the longest.
"""

from __future__ import annotations

import bisect
import math
import random
from collections import deque
from collections.abc import Iterable

PROBE_FIRST = 4  # ended tasks before a learned limit is tried one higher
PROBE_CAP = 64
ASKS = 10  # questions over the span in which tasks of a kind end
UNKNOWN_FIRST = 10.0  # seconds before the first question about a kind never seen
SHORTEST_ASK = 1.0  # seconds


def backoff(attempt: int, rng: random.Random, *, first: float = 1.0, cap: float = 60.0) -> float:
    """Seconds to wait before attempt number ``attempt`` + 1: ``first``, doubling up to ``cap``, plus jitter.

    Between ``first`` and 1.5 * ``cap``; the longest waits are jittered as well.
    """
    return min(first * 2.0 ** min(attempt, 60), cap) * (1 + rng.random() / 2)


class Slots:
    """How many tasks may run. ``told`` is the user's limit; None means that it is learned."""

    def __init__(self, told: int | None = None) -> None:
        self.ceiling: float = math.inf if told is None else told
        self.limit: float = self.ceiling
        self.running = 0  # tasks of ours that are known to run
        self.creating = 0  # creates in flight, each holding a slot
        self._probe = PROBE_FIRST
        self._ends = 0  # ended tasks since the limit last moved
        self._trying = False  # the limit is one above what was seen to work

    def __repr__(self) -> str:
        return f"<Slots {self.running} running, {self.creating} creating, limit {self.limit}>"

    @property
    def free(self) -> bool:
        """Whether one more create may go out."""
        return self.running + self.creating < self.limit

    def take(self) -> None:
        """A create goes out."""
        self.creating += 1

    def give_back(self) -> None:
        """A create came back without a task."""
        self.creating -= 1

    def started(self) -> None:
        """A create came back with a task."""
        self.creating -= 1
        self.found()
        if self._trying and self.running >= self.limit:
            self._trying, self._probe = False, PROBE_FIRST

    def found(self) -> None:
        """A task of ours is known to run, wherever it came from."""
        self.running += 1
        if self.running > self.limit:
            self.limit = min(self.running, self.ceiling)

    def refused(self) -> None:
        """A create came back with 1303."""
        self.creating -= 1
        proven = max(self.running, 1)
        if self._trying and proven >= self.limit - 1:
            self._probe = min(self._probe * 2, PROBE_CAP)
        elif proven < self.limit:
            self._probe = PROBE_FIRST
        self.limit = min(proven, self.ceiling)
        self._ends, self._trying = 0, False

    def ended(self) -> None:
        """A task of ours ended."""
        self.running -= 1
        self._ends += 1
        if self._ends >= self._probe and self.limit < self.ceiling:
            self.limit = min(self.limit + 1, self.ceiling)
            self._ends, self._trying = 0, True


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
        shortest = min(SHORTEST_ASK, self._first or SHORTEST_ASK)
        ease = 1.0 if wanted else 3.0
        seen = self._sorted.get(kind)
        if not seen:
            first = self._first or UNKNOWN_FIRST
            return max(first - age, age * 0.2 * ease, shortest)
        margin = 0.3 / math.sqrt(len(seen))
        early = seen[len(seen) // 50] * (1 - margin)
        late = seen[-1 - len(seen) // 50] * (1 + margin)
        if age < early:
            return max(early - age, shortest)
        step = max((late - early) / ASKS, early / 100)
        if age > late:
            step = max(step, (age - late) / 2)
        return max(step * ease, shortest)
