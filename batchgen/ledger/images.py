"""What a ledger remembers of image files. Each is asked for when it is named: a ledger remembers those of years."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from batchgen.ledger.rows import IMAGE_COLUMNS, to_image
from batchgen.models import ImageFile

_SELECT = f"SELECT {', '.join(IMAGE_COLUMNS)} FROM images"


class RememberedImages(Mapping[str, ImageFile]):
    """Images by their absolute paths, as the ledger has them when they are asked for."""

    def __init__(self, query: Callable[[str, Sequence[Any]], Iterator[Sequence[Any]]]) -> None:
        """``query`` gives the rows that a statement finds with these values. Raises LedgerError."""
        self._query = query

    def __getitem__(self, path: str) -> ImageFile:
        for row in self._query(f"{_SELECT} WHERE path = ?", (path,)):
            return to_image(row)[1]
        raise KeyError(path)

    def __iter__(self) -> Iterator[str]:
        return (path for (path,) in self._query("SELECT path FROM images", ()))

    def __len__(self) -> int:
        return sum(1 for _ in self)
