"""How many tasks may run at once. Pure decisions: no clock, no sleep, no I/O of their own.

A slot is taken before a create and given back when the task has ended. The limit is the smaller of what the user
states and what the account has shown:

- 1303 lowers it to what is known to run. Tasks that had ended by then are seen later, and taken off when they are:
  counted as running, they would hold the limit above the account's, and every fifth create would be refused.
- Now and then one create more than the limit is tried, and another one as long as they are accepted; a try ends
  with its refusal, so it costs one. Below the highest limit that ever held, somebody else has the slots and gives them
  back some day: tries are frequent there. At the highest there is most likely nothing to find, and they get rare.
- A 1303 at a limit that held may be one of a moment: a slot that is given back late, a gateway's other account. It is
  believed, but soon afterwards one create more is tried up to that limit, once. So a neighbour who comes costs one refusal
  more; and such answers, where one create in 25 gets them, a tenth of the slots, not most of them.
- At the start nothing is known: half as many again as run are tried, so that 1303 meets few creates in flight.

``tests/bench/README.md`` has the figures that these rules and numbers were chosen by.
"""

from __future__ import annotations

import math

FIRST = 1  # create beyond what runs before 1303 was ever seen, and half as many as run
TRY_AFTER = 54  # ended tasks before one create more than the limit is tried
TRY_AFTER_CONFIGURED = 20  # the same below a limit that the user stated: there is something to be found
TRY_SOON = 2  # the same after a refusal at a limit that held, or the first of all
PATIENCE_BELOW = 1.05  # each try below the highest limit that held makes the next wait so much longer
PATIENCE_AT_BEST = 1.3  # and each try at it


class Slots:
    """How many tasks may run. ``configured`` is the user's limit; None means that it is learned.

    Times are seconds of one clock, any clock; where one isn't known, a little is lost and nothing breaks.
    """

    def __init__(self, configured: int | None = None) -> None:
        self.ceiling: float = math.inf if configured is None else configured
        self.limit: float = FIRST if configured is None else configured
        self.running = 0  # tasks of ours that are known to run
        self.creating = 0  # creates in flight, each holding a slot
        self._trying = configured is None  # more than the limit is tried, until 1303
        self._met = False  # 1303 has been seen
        self._full_at = -math.inf  # when the account was full and the limit counted
        self._most = 0  # tasks of ours that ran at once
        self._best: float = 0  # the highest limit that held for a while
        self._ends = 0  # ended tasks since the last try
        self._doubted = 0  # ended tasks until a refusal is tested by a try; 0: none is
        self._up_to: float = math.inf  # the limit that this test may reach
        self._try_after = TRY_AFTER if configured is None else TRY_AFTER_CONFIGURED
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
            self.limit = min(max(self.limit, self.running + beyond), self.ceiling, self._up_to)
            if self.running >= min(self._up_to, self.ceiling):
                # As many as before run again, so that refusal was one of a moment; or as many as the user states.
                self._trying, self._up_to = False, math.inf
        elif sent <= self._full_at:  # a later one may have a slot that was given back since
            self.limit = min(max(self.limit, self.running), self.ceiling)

    def refused(self, sent: float = -math.inf) -> None:
        """A create that went out at ``sent`` came back with 1303."""
        self.creating -= 1
        if self._trying:
            self._ends = 0
            self._doubted = 0 if self._met else TRY_SOON
            if self.running + 1 >= self._up_to:  # it holds no more, or never did: tasks had ended unseen
                self._up_to = math.inf
        elif self.running < self.limit:
            self._wait_below = self._try_after
            self._up_to = max(self.limit, self._up_to) if self._doubted else self.limit
            self._doubted = TRY_SOON
        self.limit = min(max(self.running, 1), self.ceiling)
        self._met, self._trying, self._full_at = True, False, sent

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
        if self.limit >= self.ceiling:
            return
        if self._doubted:
            self._doubted -= 1
            if self._doubted:
                return
        elif self._ends < self._patience:
            return
        elif self.limit < self._best:
            self._wait_below *= PATIENCE_BELOW
        else:
            self._wait_at_best *= PATIENCE_AT_BEST
        self.limit = min(self.limit + 1, self._up_to)
        self._trying = True

    @property
    def _patience(self) -> float:
        """Ended tasks between two tries."""
        return self._wait_below if self.limit < self._best else self._wait_at_best
