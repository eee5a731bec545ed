"""Reads bytes of a file's headers at any place of it, for those who know a format's structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from batchgen.errors import ImageError, Unfinished

AHEAD: Final = 1 << 16  # bytes that are read at once; most headers end before
MAX_READS: Final = 100_000  # of a file: a malformed one may lead in circles


class Headers:
    """A file of ``size`` bytes; ``read`` gives a number of its bytes at an offset, fewer at its end."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self.size = size
        self._read = read
        self._head = read(AHEAD, 0)
        self._left = MAX_READS

    def at(self, offset: int, count: int, *, short: bool = False) -> bytes:
        """The ``count`` bytes at ``offset``. Raises Unfinished where the file ends before; not with ``short``."""
        self._left -= 1
        if self._left < 0:
            raise ImageError("it is damaged: its parts lead in circles, or are too many")
        if offset + count <= len(self._head):
            return self._head[offset : offset + count]
        data = self._read(count, offset) if offset < self.size else b""
        if len(data) < count and not short:
            if not self.size:
                raise Unfinished("the file is empty")
            raise Unfinished(f"the image is cut off: it ends after {self.size:,} bytes")
        return data
