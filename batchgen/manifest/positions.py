"""The positions of a YAML document's nodes, in a few bytes each: a document may have millions."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

Place = tuple[int, int]  # line and column, from 1


class Marks:
    """The nodes of one document in order, keys and values alike. The parser's events are added one by one."""

    def __init__(self) -> None:
        self._lines = array("I")  # each node's, from 0
        self._columns = array("I")
        self._names = array("q")  # the hash of a text, to find keys by; 0 for other nodes
        self._ends = array("I")  # the number of the next node after it and its content; 0 while it is open
        self._kinds = bytearray()  # "{" for mappings, "[" for lists, " " for all others
        self._open: list[int] = []
        self._anchors: dict[str, int] = {}
        self._aliases: dict[int, int] = {}  # alias -> the node that it stands for
        self._items: dict[int, array[int]] = {}  # list -> its items, for lists that were looked up

    def add(self, event: Any, value: Any) -> None:
        """Add the next node: a scalar, an alias, or the start of a collection, with its value."""
        number = len(self._lines)
        kind = "{" if type(value) is dict else "[" if type(value) is list else " "
        anchor = event.anchor
        if hasattr(event, "implicit"):  # no alias
            if anchor is not None:
                self._anchors[anchor] = number
        elif anchor in self._anchors:
            self._aliases[number] = self._anchors[anchor]
            kind = " "
        self._lines.append(event.start_mark.line)
        self._columns.append(event.start_mark.column)
        self._names.append(hash(value) if type(value) is str else 0)
        self._kinds += kind.encode()
        self._ends.append(number + 1 if kind == " " else 0)
        if kind != " ":
            self._open.append(number)

    def close(self) -> None:
        """End the collection that was started last."""
        self._ends[self._open.pop()] = len(self._lines)

    def find(self, path: Sequence[str | int], *, key: bool = False) -> Place:
        """Line and column of the node at ``path``, else of the nearest one above it that exists.

        With ``key``, those of the key instead of its value (of an item of a list: of the item).
        """
        if not self._lines:
            return 1, 1
        at = 0
        for depth, step in enumerate(path, 1):
            holder = self._aliases.get(at, at)
            found = self._key(holder, step) if isinstance(step, str) else self._item(holder, step)
            if found is None:
                break
            at = found
            if isinstance(step, str) and not (key and depth == len(path)):
                at += 1
        return self._lines[at] + 1, self._columns[at] + 1

    def _key(self, holder: int, name: str) -> int | None:
        if self._kinds[holder : holder + 1] != b"{":
            return None
        wanted, at, end = hash(name), holder + 1, self._ends[holder]
        while at < end:
            if self._names[at] == wanted:
                return at
            at = self._ends[at + 1]
        return None

    def _item(self, holder: int, number: int) -> int | None:
        if self._kinds[holder : holder + 1] != b"[":
            return None
        if holder not in self._items:
            items, at, end = array("I"), holder + 1, self._ends[holder]
            while at < end:
                items.append(at)
                at = self._ends[at]
            self._items[holder] = items
        items = self._items[holder]
        return items[number] if 0 <= number < len(items) else None
