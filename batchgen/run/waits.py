"""How long a run waits, and the backoff before it tries again. Pure: random numbers come from an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class Waits:
    """The waits of a run, in seconds.

    ``timeout``: without progress of a request. ``settle``: before "no such task" is believed of an uncertain create, and
    before a clip that doesn't come is left to the next run. ``first_ask``: before a task's first query; None: learned.
    ``retry``: before a job's next task after its first one failed. ``clip``: for each file of a clip in one run.
    """

    timeout: float = 60.0
    settle: float = 300.0
    first_ask: float | None = None
    retry: float = 120.0
    clip: float = 3600.0


def backoff(attempt: int, rng: random.Random, *, first: float = 1.0, cap: float = 60.0) -> float:
    """Seconds to wait after ``attempt`` failed repetitions (from 0): ``first``, doubling up to ``cap``, times 1 to 1.5.

    The jitter stays at the cap, so the longest wait is 1.5 times ``cap``.
    """
    return min(first * 2.0 ** min(attempt, 60), cap) * (1 + rng.random() / 2)


def shown_duration(seconds: float) -> str:
    """A duration in one unit for people: ``50 s``, ``12 min``, ``7 h``, ``3 days``."""
    for unit, size, until in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{max(seconds, 0) // size:.0f} {unit}"
    return f"{seconds // 86400:,.0f} days"
