"""The wall clock and the chance of one run, which come in from outside."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Clock:
    """Without arguments: this machine's time, and chance that nobody foresees.

    ``now`` gives Unix seconds, for what is written down and compared with what others wrote; it may jump. How long
    something lasts is measured and slept by the event loop's own clock, which may not. ``rng`` jitters the waits.
    """

    now: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.Random)
