"""Takes out of a JPEG or PNG what isn't the picture: metadata, further pictures, bytes behind it. Its pixels stay."""

from __future__ import annotations

import re
from typing import Literal

from batchgen.errors import ImageError
from batchgen.images.facts import PNG_PICTURE, is_extra

_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
_EOI = 0xD9


def stripped(data: bytes, form: Literal["jpeg", "png"]) -> bytes:
    """The picture alone. Raises ImageError for one that is damaged."""
    try:
        return _png(data) if form == "png" else _jpeg(data)
    except IndexError:
        raise ImageError("the image is cut off") from None


def _jpeg(data: bytes) -> bytes:
    parts = [data[:2]]
    at = kept = 2
    while True:
        found = _MARKER.search(data, at)
        if found is None:
            raise IndexError
        start, marker = found.start(), data[found.start() + 1]
        if marker == _EOI:
            parts.append(data[kept : found.end()])
            return b"".join(parts)
        end = found.end() + max(int.from_bytes(data[found.end() : found.end() + 2]), 2)
        if is_extra(marker, data[found.end() + 2 : found.end() + 20]):
            parts.append(data[kept:start])
            kept = end
        at = end


def _png(data: bytes) -> bytes:
    parts = [data[:8]]
    at = 8
    while True:
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise IndexError
        if name in PNG_PICTURE:
            parts.append(data[at:end])
        if name == b"IEND":
            return b"".join(parts)
        at = end
