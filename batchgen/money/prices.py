"""What clips cost: prices with their date, the estimate for a request, and what the API's words on a charge mean.

Money is a whole number of micro-dollars (millionths of a US dollar): sums and comparisons are exact.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType
from typing import Any

from batchgen.amounts import MICROS
from batchgen.request.schema import defaults

VOICE = "voice"  # stands for a request's sound, where a prompt names a voice
VOICE_BOUND = (
    2  # times the price with sound: a stated upper bound, since no price with a named voice is published
)
MOST_CHARGED = 1_000 * MICROS  # for one task; what is more is no charge in dollars, or not of one task

_LONGEST = 40  # characters of a number
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices that hold for one account, in micro-dollars. The bill is authoritative.

    ``per_second`` has the price of a second of video by sound (``off``, ``on``, ``voice``) and mode; ``voice`` is a bound.
    ``unit`` is the price of one unit, in which the API says what it charged. ``read_on`` is their date, ISO 8601.
    """

    per_second: Mapping[tuple[str, str], int]
    unit: int
    read_on: str

    def estimate(self, request: Mapping[str, Any]) -> int:
        """What the clip of a checked request costs, and with a named voice at most."""
        standard = defaults()
        sound = VOICE if self.is_bound(request) else request.get("sound", standard["sound"])
        mode = request.get("mode", standard["mode"])
        return self.per_second[sound, mode] * int(request.get("duration", standard["duration"]))

    def is_bound(self, request: Mapping[str, Any]) -> bool:
        """Whether the estimate is an upper bound, because a voice is named: ``voice_list`` has one, and a prompt refers to it."""
        if not request.get("voice_list"):
            return False
        shots = request.get("multi_prompt", ())
        prompts = (request.get("prompt", ""), *(shot.get("prompt", "") for shot in shots))
        return any("<<<voice_" in prompt for prompt in prompts)

    def charge(self, units: str | None, balance: str | None, *, failed: bool = False) -> int | None:
        """What the API says a task was charged: ``final_unit_deduction``, and ``final_balance_deduction`` as JSON.

        An account pays with units, from a balance, or with both. Of a balance its ``quota`` was taken, in US dollars, and
        ``list_price`` is what that is without a discount. None where the words say nothing, or nothing that can be trusted.
        A clip for nothing needs the words of both; a ``failed`` task may be free by one.
        """
        of_units, of_balance = _number(units), _quota(balance)
        if _UNREADABLE in (of_units, of_balance) or of_units is of_balance is None:
            return None
        both = of_units is not None and of_balance is not None
        exact = (of_units or Decimal()) * self.unit + (of_balance or Decimal()) * MICROS
        if exact > MOST_CHARGED or (not exact and not both and not failed):
            return None
        return int(exact.to_integral_value(ROUND_CEILING))


_UNREADABLE = Decimal(-1)


def _number(word: str | None) -> Decimal | None:
    """A number of units or dollars; None where there is none, and -1 where it can't be one."""
    text = "" if word is None else word.strip()
    if not text:
        return None
    return Decimal(text) if len(text) <= _LONGEST and _NUMBER.fullmatch(text) else _UNREADABLE


def _quota(balance: str | None) -> Decimal | None:
    """The dollars that were taken from a balance, by the JSON of ``final_balance_deduction``."""
    if balance is None or not balance.strip():
        return None
    try:  # numbers as they are written: a float would change them
        taken = json.loads(
            balance, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError):
        return _UNREADABLE
    if not isinstance(taken, dict):
        return None if taken is None else _UNREADABLE
    quota = taken.get("quota")
    if taken.get("currency") not in (None, "", "USD") or not isinstance(quota, str | None):
        return _UNREADABLE
    return _number(quota)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is given twice")
    return made


def with_voice(per_second: Mapping[tuple[str, str], int]) -> Mapping[tuple[str, str], int]:
    """The prices, with the bound for a named voice in every mode that has none."""
    bounds = {
        (VOICE, mode): VOICE_BOUND * price for (sound, mode), price in per_second.items() if sound == "on"
    }
    return MappingProxyType({**bounds, **per_second})


#: The vendor's published prices for kling-v3.
BUILT_IN = Prices(
    per_second=with_voice(
        {
            ("off", "std"): 84_000,
            ("off", "pro"): 112_000,
            ("off", "4k"): 420_000,
            ("on", "std"): 126_000,
            ("on", "pro"): 168_000,
            ("on", "4k"): 420_000,
        }
    ),
    unit=140_000,
    read_on="2026-10-05",
)
