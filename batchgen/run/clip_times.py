"""How long each file of a clip may take in one run: less, the longer tries were in vain. Pure: times are arguments.

A host that sends for ever, or breaks off again and again, would otherwise have ``--clip-timeout`` for each clip of a
night, one after another. Each time that a host's places were in vain for that long, later tries have half of it: so
two thousand clips that don't come take some seven hours at the default, and not five days. What a clip's tries took is
taken off again once it is home.
"""

from __future__ import annotations

import math


class ClipTimes:
    """The times of one run's clips: ``most`` seconds for each file, and ``least`` however much was in vain."""

    def __init__(self, most: float, least: float) -> None:
        self._most, self._least = most, min(most, least)
        self._vain = 0.0  # seconds in which all places of a host brought no clip

    @property
    def allowed(self) -> float:
        """Seconds that a file may take by now."""
        return max(self._most * math.exp2(-self._vain / self._most), self._least)

    def spent(self, seconds: float) -> None:
        """A try took so many seconds of all places of its host, and brought nothing; negative: it did after all."""
        self._vain += seconds


class ClipTime:
    """The time of one clip. Waiting for a place takes none of it, waiting for the next try does."""

    def __init__(self, times: ClipTimes) -> None:
        self._times = times
        self._began: float | None = (
            None  # when the file's first try began, and later by what it waited for places
        )
        self._vain = 0.0

    def limit(self, now: float, waited: float) -> float:
        """When a try that begins ``now`` has to end. It has waited ``waited`` seconds for its place."""
        self._began = now if self._began is None else self._began + waited
        return self._began + self._times.allowed

    def tried(self, seconds: float, places: int) -> None:
        """A try took so many seconds, on one of so many places."""
        self._vain += seconds / places
        self._times.spent(seconds / places)

    def over(self, at: float) -> bool:
        """Whether no try may begin at ``at``."""
        return self._began is not None and at >= self._began + self._times.allowed

    def file_came(self) -> None:
        """One of the clip's files is on disk; the next has as much time as any."""
        self._began = None

    def clip_came(self) -> None:
        """All of the clip's files are on disk: none of its tries was in vain."""
        self._times.spent(-self._vain)
        self._vain = 0.0
