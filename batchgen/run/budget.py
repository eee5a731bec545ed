"""Budgets for creates: how many are allowed and for how much, and how many there are."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from batchgen.amounts import shown
from batchgen.errors import OverBudget


class Room(enum.Enum):
    """Whether a budget allows one more create."""

    NOW = enum.auto()
    LATER = (
        enum.auto()
    )  # if one in flight comes back without a task, or a task of this run ends and costs less
    NEVER = enum.auto()


@dataclass(slots=True)
class Budget:
    """The creates that are allowed and those that there are: their number and cost (micro-dollars).

    ``reserved`` counts creates in flight, ``creates`` and ``cost`` those that may have been accepted, ``unsure`` and
    ``unsure_cost`` those of the latter whose outcome is unknown. ``spent`` is what the accepted ones count against
    ``max_cost``: what they were charged, and their estimates until that is known; ``running`` is the part of it that is
    of tasks that haven't ended.
    """

    max_creates: int | None = None
    max_cost: int | None = None
    creates: int = 0
    cost: int = 0
    spent: int = 0
    running: int = 0
    unsure: int = 0
    unsure_cost: int = 0
    reserved: int = 0
    reserved_cost: int = 0

    def room(self, cost: int) -> Room:
        """Whether one more create of this cost may be sent."""
        if not self._holds(self.creates, self.spent - self.running, cost):
            return Room.NEVER
        fits = self._holds(self.creates + self.reserved, self.spent + self.reserved_cost, cost)
        return Room.NOW if fits else Room.LATER

    def reserve(self, creates: int, cost: int) -> None:
        """Count a create that is sent (1), or whose answer has come (-1)."""
        self.reserved += creates
        self.reserved_cost += creates * cost

    def pay(self, creates: int, cost: int) -> None:
        """Count a create that was or may have been accepted (1), or was found not to have been (-1)."""
        self.creates += creates
        self.cost += creates * cost

    def count(self, spent: int, running: int) -> None:
        """Count so much more as spent, and as what tasks may still turn out not to cost."""
        self.spent += spent
        self.running += running

    def doubt(self, creates: int, cost: int) -> None:
        """Count a create whose outcome is unknown (1), or is known now (-1)."""
        self.unsure += creates
        self.unsure_cost += creates * cost

    @property
    def creates_used(self) -> bool:
        """Whether the number of creates is used up."""
        return self.max_creates is not None and self.creates >= self.max_creates

    def waits(self, cost: int) -> bool:
        """Whether one more create of this cost lacks money that creates in flight or tasks may bring back."""
        short = self.max_cost is not None and self.spent + self.reserved_cost + cost > self.max_cost
        return short and self.room(cost) is Room.LATER

    def reached(self, cost: int, what: str = "what is left") -> str:
        """How the cap on money stands that has no room for ``what`` of this cost, as the end of a sentence."""
        return (
            f"cost cap of {shown(self.max_cost or 0)} was reached: {shown(self.spent)} is spent or held; for {what} it"
            f" would have to be {shown(self.spent + cost)}"
        )

    def _holds(self, creates: int, spent: int, cost: int) -> bool:
        return (self.max_creates is None or creates < self.max_creates) and (
            self.max_cost is None or spent + cost <= self.max_cost
        )


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The ledger's budgets had no room for a create: no other that costs as much is sent before money may be back.

    That is when a create comes back or a task ends, or at ``until``, by the pool's clock, when a period ends.
    """

    refusal: OverBudget
    until: float

    def allows(self, cost: int) -> bool:
        """Whether a create of this cost may have room."""
        return cost < self.refusal.cost
