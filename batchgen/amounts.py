"""Amounts of money: whole micro-dollars (millionths of a US dollar), so that sums are exact.

A float stands only where a JSON number is written or read.
"""

from __future__ import annotations

import math
from typing import NamedTuple

MICROS = 1_000_000  # micro-dollars in a dollar
LARGEST = 10**15  # micro-dollars: a billion dollars. What says more is no amount


def micros(dollars: float | str) -> int:
    """US dollars in micro-dollars, rounded to the nearest. Raises ValueError for what is no number, or beyond ``LARGEST``."""
    try:
        amount = float(dollars) * MICROS  # up to LARGEST, off by less than half of one
    except (ValueError, OverflowError):
        amount = math.nan
    if not abs(amount) <= LARGEST:
        raise ValueError(f"{dollars!r} is no amount")
    return round(amount)


def dollars(amount: int) -> float:
    """Micro-dollars as the number of US dollars that JSON has."""
    return amount / MICROS


def shown(amount: int) -> str:
    """Micro-dollars for people, with as many digits as the amount has and two at least: ``$0.84``, ``-$1,234.5006``."""
    whole, rest = divmod(abs(amount), MICROS)
    digits = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}${whole:,}.{digits}"


def about(amount: int) -> str:
    """Micro-dollars for people, rounded to cents: ``$1,234.50``."""
    cents = (abs(amount) * 2 + 10_000) // 20_000
    return f"{'-' if amount < 0 else ''}${cents // 100:,}.{cents % 100:02}"


class Use(NamedTuple):
    """How much of a budget is used: of a ``day``, a ``week`` or a ``month``. ``limit`` None is no limit.

    ``spent`` is what counts against it, and ``ends`` when the period ends, in Unix seconds; ``end`` is that for people.
    """

    period: str
    limit: int | None
    spent: int
    begins: float
    ends: float
    end: str

    @property
    def left(self) -> int | None:
        """What may still be spent, 0 at least; None where there is no limit."""
        return None if self.limit is None else max(self.limit - self.spent, 0)

    def holds(self, cost: int) -> bool:
        """Whether there is room for this much more."""
        return self.limit is None or self.spent + cost <= self.limit
