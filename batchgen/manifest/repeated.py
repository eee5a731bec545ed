"""Finds values that come more than once, among a million of them, without keeping them all."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

_PARTS: Final = (
    4  # a set of numbers takes eight times the memory of an array of them, so one part is looked at at a time
)
Item = TypeVar("Item")


def repeated(items: Callable[[], Iterable[Item]], value: Callable[[Item], str]) -> list[Item]:
    """The items, in their order, that have a value in common with another one."""
    twice = _twice(map(hash, map(value, items())))
    if not twice:
        return []
    some = [item for item in items() if hash(value(item)) in twice]
    counts = Counter(map(value, some))
    return [item for item in some if counts[value(item)] > 1]


def _twice(numbers: Iterable[int]) -> set[int]:
    all_numbers, found = array("q", numbers), set[int]()
    for part in range(_PARTS):
        some = [number for number in all_numbers if number % _PARTS == part]
        if len(set(some)) < len(some):
            found.update(number for number, count in Counter(some).items() if count > 1)
    return found
