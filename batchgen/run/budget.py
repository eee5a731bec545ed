"""What creates may cost: how many there may be, for how much, and how many there are."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Room(enum.Enum):
    """Whether a budget has room for one more create."""

    NOW = enum.auto()
    LATER = enum.auto()  # if one in flight comes back without a task
    NEVER = enum.auto()


@dataclass(slots=True)
class Budget:
    """How many creates are allowed, for how much (US dollars), and how many there are; those in flight apart.

    ``creates`` and ``spent`` count all that may have been accepted, ``unsure`` and ``unsure_cost`` those of them that
    nobody knows of.
    """

    max_creates: int | None = None
    max_cost: float | None = None
    creates: int = 0
    spent: float = 0.0
    unsure: int = 0
    unsure_cost: float = 0.0
    reserved: int = 0
    reserved_cost: float = 0.0

    def room(self, cost: float) -> Room:
        """Whether one more create of this cost may go out."""
        if not self._holds(self.creates, self.spent, cost):
            return Room.NEVER
        fits = self._holds(self.creates + self.reserved, self.spent + self.reserved_cost, cost)
        return Room.NOW if fits else Room.LATER

    def reserve(self, creates: int, cost: float) -> None:
        """A create goes out (1), or has come back (-1)."""
        self.reserved += creates
        self.reserved_cost += creates * cost

    def pay(self, creates: int, cost: float) -> None:
        """A create was accepted, or may have been (1); or turned out not to have been (-1)."""
        self.creates += creates
        self.spent += creates * cost

    def doubt(self, creates: int, cost: float) -> None:
        """Nobody knows whether a create that is paid for was accepted (1); or that is known now (-1)."""
        self.unsure += creates
        self.unsure_cost += creates * cost

    def _holds(self, creates: int, spent: float, cost: float) -> bool:
        return (self.max_creates is None or creates < self.max_creates) and (
            self.max_cost is None or spent + cost <= self.max_cost + 1e-9
        )
