"""An account's own prices, as its configuration gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from batchgen.amounts import dollars, micros
from batchgen.money.prices import BUILT_IN, VOICE, Prices, with_voice


def faults(given: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What no schema says: a date that no calendar has, and amounts that are finer than a micro-dollar."""
    try:
        date.fromisoformat(given["read_on"])
    except ValueError:
        yield ("read_on",), "is no date; write 2026-01-31"
    amounts: list[tuple[tuple[str, ...], float]] = []
    if "unit_usd" in given:
        amounts.append((("unit_usd",), given["unit_usd"]))
    amounts += [
        (("per_second_usd", sound, mode), price)
        for sound, modes in given.get("per_second_usd", {}).items()
        for mode, price in modes.items()
    ]
    for at, amount in amounts:
        if dollars(micros(amount)) != amount:
            yield at, "is finer than a millionth of a dollar, or has too many digits"


def own_prices(given: Mapping[str, Any]) -> Prices:
    """The built-in prices with those that are given, and for voices the bound that follows from them."""
    own = {
        (sound, mode): micros(price)
        for sound, modes in given.get("per_second_usd", {}).items()
        for mode, price in modes.items()
    }
    published = {key: price for key, price in BUILT_IN.per_second.items() if key[0] != VOICE}
    unit = micros(given["unit_usd"]) if "unit_usd" in given else BUILT_IN.unit
    return replace(BUILT_IN, per_second=with_voice({**published, **own}), unit=unit, read_on=given["read_on"])
