"""What a ledger remembers of image files. Each is asked for when it is named: a ledger remembers those of years."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from batchgen.ledger.rows import IMAGE_COLUMNS, to_image
from batchgen.models import ImageFile

_SELECT = f"SELECT {', '.join(IMAGE_COLUMNS)} FROM images"
_MOST = 512  # rows that are read ahead


class RememberedImages(Mapping[str, ImageFile]):
    """Images by their absolute paths, as the ledger has them when they are asked for, or shortly before.

    With a path, the next ones in the order of their names are read: a folder's are asked for one after the other. Twice as
    many are read while most of them are asked for, and half as many where they aren't.
    """

    def __init__(self, query: Callable[[str, Sequence[Any]], Iterator[Sequence[Any]]]) -> None:
        """``query`` gives the rows that a statement finds with these values. Raises LedgerError."""
        self._query = query
        self._rows: dict[str, Sequence[Any]] = {}  # by path, not checked yet
        self._asked = 0  # how often one of these was asked for
        self._count = 1

    def __getitem__(self, path: str) -> ImageFile:
        row = self._rows.get(path) or self._read(path)
        if row is None:
            raise KeyError(path)
        self._asked += 1
        return to_image(row)[1]

    def __iter__(self) -> Iterator[str]:
        return (path for (path,) in self._query("SELECT path FROM images", ()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _read(self, path: str) -> Sequence[Any] | None:
        most = 2 * self._asked > len(self._rows)
        self._count = min(2 * self._count, _MOST) if most else max(self._count // 2, 1)
        self._rows = {
            row[0]: row
            for row in self._query(f"{_SELECT} WHERE path >= ? ORDER BY path LIMIT ?", (path, self._count))
        }
        self._asked = 0
        return self._rows.get(path)
