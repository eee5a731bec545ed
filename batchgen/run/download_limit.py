"""How many clips are fetched from one host at once. Pure decisions: no clock, no sleep, no I/O of their own.

- A few at first. Where others wait, four times as many are tried; the try stays where the sum of all grows by a quarter,
  and ends otherwise: on a full line more downloads make each of them slower, and a clip that is cut short is worth less
  than one that is whole.
- No try would leave a download less than ``ENOUGH`` if the sum didn't grow: ``--min-speed`` would break it off.
- A host that says that it is busy (429, 503), or whose bytes come too slowly, is asked for half as many. From then on one
  more at a time is tried, and the more rarely the more often that was in vain.
"""

from __future__ import annotations

import math

DOWNLOADS = 16  # at most, where nobody says otherwise
MOST = 256  # each has a socket, a file and a folder open; systems allow 1,024 descriptors
FIRST = 4
ENOUGH = 1 << 16  # bytes a second: four times the least speed
STEP = 4  # times as many are tried, before the host was ever busy
GROWN = 0.25  # of the sum: such a growth shows that a try is worth it
WINDOW = 0.25  # seconds that the sum is measured for, and twice what the host takes to begin an answer
REST = 4  # such windows after a try in vain, then twice as many
LONGEST_REST = 256


class DownloadLimit:
    """How many downloads from one host may be under way, of ``most``. Times are seconds of one clock, any clock."""

    def __init__(self, most: int) -> None:
        self.limit = min(FIRST, most)
        self.active = 0
        self._most = most
        self._lag = 0.0  # seconds until an answer's first bytes, lately
        self._opens: float | None = None  # when what comes is counted from; None: from the next bytes on
        self._bytes = 0
        self._before: tuple[int, float] | None = None  # during a try: the limit and the sum before it
        self._met = False  # the host has said that it is busy
        self._cut = -math.inf  # when it was cut last
        self._rest, self._patience = 0, REST

    @property
    def free(self) -> bool:
        """Whether one more may begin."""
        return self.active < self.limit

    def take(self) -> None:
        """A download begins."""
        self.active += 1

    def give_back(self) -> None:
        """A download ends."""
        self.active -= 1

    def received(self, count: int, now: float, *, lag: float | None = None, waiting: bool) -> None:
        """``count`` bytes have come. ``lag``: seconds since their download began, where they are its first ones.

        ``waiting``: others wait for their turn; where nobody does, more would change nothing.
        """
        if lag is not None:
            self._lag = max(lag, self._lag * 0.9)
        if self._before is None and self.limit >= self._most:
            return
        if self._opens is None:
            self._open(now)
        elif now >= self._opens:
            self._bytes += count
            if now - self._opens >= max(WINDOW, 2 * self._lag):
                self._judge(self._bytes / (now - self._opens), now, waiting)

    def busy(self, began: float, now: float) -> None:
        """A download that began at that time was refused since its host is busy, or came too slowly."""
        self._met = True
        if began <= self._cut:  # others of that time have said so
            return
        self.limit = self._before[0] if self._before is not None else max(self.limit // 2, 1)
        self._cut = now
        self._vain(now)

    def _judge(self, rate: float, now: float, waiting: bool) -> None:
        """A window has ended, in which so many bytes a second came."""
        if not waiting:
            self._open(now)
            return
        if self._before is not None:
            limit, before = self._before
            if rate < before * (1 + GROWN * min(self.limit / limit - 1, 1)):
                self.limit = limit
                self._vain(now)
                return
            self._before, self._patience = None, REST
        elif self._rest > 0:
            self._rest -= 1
            self._open(now)
            return
        wanted = self.limit + 1 if self._met else self.limit * STEP
        tried = min(wanted, self._most, int(rate / ENOUGH))
        if tried > self.limit:
            self._before, self.limit = (self.limit, rate), tried
        self._open(now + 2 * self._lag)

    def _vain(self, now: float) -> None:
        self._before = None
        self._rest, self._patience = self._patience, min(2 * self._patience, LONGEST_REST)
        self._open(now)

    def _open(self, at: float) -> None:
        self._opens, self._bytes = at, 0
