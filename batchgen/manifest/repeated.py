"""Finds values that come more than once, among a million of them, without keeping them all."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

# Numbers that are in a set at once, about: a set takes eight times the memory of an array.
_PART: Final = 1 << 18
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
    parts = len(all_numbers) // _PART + 1
    for part in range(parts):
        some = [number for number in all_numbers if number % parts == part] if parts > 1 else all_numbers
        if len(set(some)) < len(some):
            found.update(number for number, count in Counter(some).items() if count > 1)
    return found
