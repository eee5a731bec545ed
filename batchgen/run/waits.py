"""How long a run waits for what, and before it tries again. Pure: chance comes in as an argument."""

from __future__ import annotations

import random
from dataclasses import dataclass


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


def lasting(seconds: float) -> str:
    """A time of that length in the unit that says most: ``50 s``, ``12 min``, ``7 h``, ``3 days``."""
    for unit, size, until in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{max(seconds, 0) // size:.0f} {unit}"
    return f"{seconds // 86400:,.0f} days"
