"""When creates may go out at the latest: before the deadline, and so early that their tasks end before the run does.

Moments are seconds of the pool's clock, which stands still while the machine sleeps; the run's session keeps them by the
wall clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from batchgen.errors import EndedEarly
from batchgen.run.lanes import Lane, Work
from batchgen.run.polling import Lengths
from batchgen.run.waits import shown_duration

HOME = 60.0  # seconds until the end of a task is seen, and its clip is home


class LastMoments:
    """The last moments for creates, from the run's ``deadline`` and ``until`` (None: never), and by how long tasks take."""

    def __init__(self, deadline: float | None, until: float | None, lengths: Lengths) -> None:
        self.deadline, self.until = deadline, until
        self.lengths = lengths

    def late(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now >= self.deadline

    def moment(self, work: Work) -> float:
        """When a job's create may go out at the latest. What its kind takes counts back from ``until`` where that is known."""
        if self.deadline is None:
            return math.inf
        usual = None if self.until is None else self.lengths.usual(work.kind)
        if self.until is None or usual is None:
            return self.deadline
        return min(self.deadline, self.until - usual - HOME)

    def shift(self, seconds: float) -> None:
        """The wall clock went on by so many seconds in which the pool's stood still."""
        self.deadline = None if self.deadline is None else self.deadline - seconds
        self.until = None if self.until is None else self.until - seconds

    def leave_late(self, lane: Lane, now: float) -> bool:
        """Leave out the lane's next jobs whose tasks wouldn't end before the run. Whether any were left out, now or before."""
        if self.until is not None and not self.late(now):
            while lane.waiting and now >= self.moment(lane.next_work):
                lane.too_late.append((lane.again or lane.queue).popleft())
        return bool(lane.too_late)

    def reason(self, left: Iterable[Work]) -> EndedEarly:
        """Why nothing of what is left is created."""
        kinds = {work.kind: self.lengths.usual(work.kind) or 0.0 for work in left}
        kind = max(kinds, key=lambda kind: kinds[kind])
        takes = f"most tasks of {kind} end within {shown_duration(kinds[kind])}"
        return EndedEarly(f"nothing more would end before --until: {takes}", kind="too_late")
