"""The wall clock and the random numbers of one run; tests pass in their own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Clock:
    """By default this machine's time and unpredictable random numbers.

    ``now`` returns Unix seconds, for times that are recorded or compared with recorded ones; it may jump. Durations are
    measured and slept by the event loop's own clock, which never jumps. ``rng`` jitters the waits.
    """

    now: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.Random)
