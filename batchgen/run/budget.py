"""Budgets for creates: how many are allowed and for how much, and how many there are."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Room(enum.Enum):
    """Whether a budget allows one more create."""

    NOW = enum.auto()
    LATER = enum.auto()  # if one in flight comes back without a task
    NEVER = enum.auto()


@dataclass(slots=True)
class Budget:
    """The creates that are allowed and those that there are: their number and cost (micro-dollars).

    ``reserved`` counts creates in flight, ``creates`` and ``spent`` those that may have been accepted, ``unsure`` and
    ``unsure_cost`` those of the latter whose outcome is unknown.
    """

    max_creates: int | None = None
    max_cost: int | None = None
    creates: int = 0
    spent: int = 0
    unsure: int = 0
    unsure_cost: int = 0
    reserved: int = 0
    reserved_cost: int = 0

    def room(self, cost: int) -> Room:
        """Whether one more create of this cost may be sent."""
        if not self._holds(self.creates, self.spent, cost):
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
        self.spent += creates * cost

    def doubt(self, creates: int, cost: int) -> None:
        """Count a create whose outcome is unknown (1), or is known now (-1)."""
        self.unsure += creates
        self.unsure_cost += creates * cost

    def _holds(self, creates: int, spent: int, cost: int) -> bool:
        return (self.max_creates is None or creates < self.max_creates) and (
            self.max_cost is None or spent + cost <= self.max_cost
        )
