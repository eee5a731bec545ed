"""Reads size, turning and colours of HEIC and AVIF pictures from their boxes (ISO/IEC 23008-12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from batchgen.errors import ImageError, Unfinished
from batchgen.images.headers import Headers

_HEIC: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2")
_AVIF: Final = (b"avif", b"avis")
_MAX_META: Final = 8 << 20  # bytes; real ones have some kilobytes

# The orientation, as EXIF counts them, that quarters of a turn against the clock come to.
_TURNS: Final = (1, 8, 3, 6)


class Picture(NamedTuple):
    """The primary picture of a file, as stored; ``profile`` is its ICC profile, or empty.

    ``orientation`` is exact to the quarter alone: which way a mirror lies is the decoder's to know.
    """

    width: int
    height: int
    orientation: int
    alpha: bool
    bits: int
    profile: bytes
    frames: bool


def format_of(head: bytes) -> Literal["heic", "avif"] | None:
    """The format of a file that begins with an ``ftyp`` box; None where it is neither HEIC nor AVIF."""
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, int.from_bytes(head[:4]), 4))]
    if any(brand in _AVIF for brand in brands):
        return "avif"
    return "heic" if any(brand in _HEIC for brand in brands) else None


def read(headers: Headers) -> Picture:
    """The primary picture. Its EXIF data turn nothing: by the standard, only its own properties do. Raises ImageError."""
    meta, frames = b"", False
    at = 0
    while at < headers.size:
        start = headers.at(at, 16, short=True)
        length, name, skip = int.from_bytes(start[:4]), start[4:8], 8
        if length == 1:
            length, skip = int.from_bytes(start[8:16]), 16
        length = headers.size - at if length == 0 else length
        if length < skip:
            raise ImageError("it is damaged: a box in it has no length")
        if at + length > headers.size:
            raise Unfinished(f"the image is cut off: it ends after {headers.size:,} bytes")
        if name == b"meta":
            meta = headers.at(at + skip + 4, min(length - skip - 4, _MAX_META))
        frames = frames or name == b"moov"
        at += length
    boxes = dict(_boxes(meta))
    primary = boxes.get(b"pitm", b"")
    long_ids = primary[:1] not in (b"", b"\0")
    item = int.from_bytes(primary[4 : 8 if long_ids else 6])
    properties = dict(_boxes(boxes.get(b"iprp", b"")))
    known = [*_boxes(properties.get(b"ipco", b""))]
    width, height, orientation, mirrored, bits, alpha, profile = 0, 0, 1, False, 8, False, b""
    for number in _associations(properties.get(b"ipma", b""), item):
        name, data = known[number - 1] if 0 < number <= len(known) else (b"", b"")
        if name == b"ispe":
            width, height = int.from_bytes(data[4:8]), int.from_bytes(data[8:12])
        elif name == b"irot" and data:
            orientation = _TURNS[data[0] & 3]
        elif name == b"imir":
            mirrored = True
        elif name == b"clap" and len(data) >= 16 and data[4:8] != b"\0\0\0\0" != data[12:16]:
            width, height = (
                int.from_bytes(data[a : a + 4]) // int.from_bytes(data[a + 4 : a + 8]) for a in (0, 8)
            )
        elif name == b"pixi" and len(data) > 5:
            bits = max(data[5], 8)
        elif name == b"colr" and data[:4] in (b"prof", b"rICC"):
            profile = data[4:]
    for name, data in known:
        alpha = alpha or (name == b"auxC" and (b"auxid:1" in data or b":alpha" in data))
    if not width:
        raise ImageError("it is damaged: its size can't be found")
    orientation = 2 if mirrored and orientation == 1 else orientation
    return Picture(width, height, orientation, alpha, bits, profile, frames)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of the boxes in ``data``."""
    at = 0
    while at + 8 <= len(data):
        length, skip = int.from_bytes(data[at : at + 4]), 8
        if length == 1:
            length, skip = int.from_bytes(data[at + 8 : at + 16]), 16
        if length < skip:
            return
        yield data[at + 4 : at + 8], data[at + skip : at + length]
        at += length


def _associations(ipma: bytes, item: int) -> list[int]:
    """The numbers of an item's properties."""
    if len(ipma) < 8:
        return []
    wide = 4 if ipma[0] >= 1 else 2
    step = 2 if ipma[3] & 1 else 1
    at = 8
    for _ in range(int.from_bytes(ipma[4:8])):
        if at >= len(ipma):
            break
        found = int.from_bytes(ipma[at : at + wide])
        count = ipma[at + wide] if at + wide < len(ipma) else 0
        at += wide + 1
        if found == item:
            mask = 0x7FFF if step == 2 else 0x7F
            return [int.from_bytes(ipma[a : a + step]) & mask for a in range(at, at + step * count, step)]
        at += step * count
    return []
