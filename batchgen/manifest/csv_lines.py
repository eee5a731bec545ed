"""Reads the lines of a CSV file within limits, and says in words what the csv module doesn't like about them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from batchgen import limits


@contextmanager
def long_cells() -> Iterator[None]:
    """Lift the csv module's limit of 128 KiB per cell meanwhile; it is one for the whole process."""
    before = csv.field_size_limit(limits.ROW_LENGTH)
    try:
        yield
    finally:
        csv.field_size_limit(before)


class Lines:
    """Keeps the lines of the current row, whose length is bounded."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._room = 0

    def begin(self) -> None:
        """Start a new row."""
        self._kept.clear()
        self._room = limits.ROW_LENGTH

    def of(self, readline: Callable[[int], str], separator: str) -> Iterator[str]:
        """The lines of a file; each is kept until the next row begins. Raises csv.Error for a row that is too long."""
        while line := readline(self._room + 1):
            self._room -= len(line)
            if self._room < 0:
                raise csv.Error("field larger than field limit")
            if len(line) > limits.CELLS and line.count(separator) > limits.CELLS:
                raise csv.Error("too many cells")
            self._kept.append(line)
            yield line

    @property
    def text(self) -> str:
        """The current row as it is written."""
        return self._kept[0] if len(self._kept) == 1 else "".join(self._kept)


def words(error: csv.Error) -> str:
    """What the csv module's error means, for people."""
    text = str(error)
    if "unexpected end of data" in text:
        return "a double quote opens a cell here and is never closed"
    if "expected after" in text:
        return 'text follows a closing double quote; inside of a quoted cell, write a double quote twice ("")'
    if "field limit" in text:
        return f"longer than {limits.ROW_LENGTH >> 20} MiB"
    if "too many cells" in text:
        return f"more than {limits.CELLS:,} cells"
    return text
