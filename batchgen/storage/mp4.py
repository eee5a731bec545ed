"""Whether a file is a whole MP4, by its boxes; and whether it is a page or a picture instead of a video."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

START = 512  # bytes at the start by which a page is distinguished from a video
MOST_BOXES = 100_000  # at the top of a file; a clip has a handful, one in fragments has hundreds
STRAY = 7  # bytes after the last box that are tolerated: too few for a box

#: Types of boxes that a file may begin with.
FIRST = frozenset({b"ftyp", b"styp", b"free", b"skip", b"wide", b"moov", b"mdat", b"uuid", b"pnot", b"sidx"})

_MARKUP = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*[<{]")

_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|RIFF....WEBP", re.DOTALL)


def is_page(start: bytes) -> bool:
    """Whether these first bytes are text, such as an error page. A video has zero bytes at its start."""
    if _MARKUP.match(start):
        return True
    text = start.decode("utf-8", "ignore")
    return bool(text) and all(character.isprintable() or character.isspace() for character in text)


def is_picture(start: bytes) -> bool:
    """Whether these first bytes are those of a still picture, such as a preview."""
    return _PICTURE.match(start) is not None


def begins_with_a_box(start: bytes) -> bool:
    """Whether these first bytes are those of a file of the MP4 family."""
    return start[4:8] in FIRST


class Oddity(NamedTuple):
    """What is wrong with a file for a whole MP4. ``cut``: its end seems to be missing."""

    text: str
    cut: bool = False


def oddity(read: Callable[[int, int], bytes], size: int) -> Oddity | None:
    """What is wrong with a file of ``size`` bytes; None where it is a whole MP4. ``read(count, at)`` returns its bytes.

    The boxes of a whole file fill it, but for a few stray bytes at the end; ``moov`` (the index) and ``mdat`` (the
    pictures) are among them.
    """
    if not begins_with_a_box(read(16, 0)):
        return Oddity("what came is no MP4 video: it begins as none does")
    at = boxes = 0
    kinds: set[bytes] = set()
    while at < size and not (size - at <= STRAY and {b"moov", b"mdat"} <= kinds):
        head = read(16, at)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = size - at
        if length < 8 or at + length > size:
            return Oddity(f"the video ends early, after {size:,} bytes", cut=True)
        at += length
        boxes += 1
        if boxes > MOST_BOXES:
            return Oddity(f"what came is no MP4 video: it has more than {MOST_BOXES:,} boxes")
        kinds.add(kind)
    for kind, name in ((b"moov", "its index is"), (b"mdat", "its pictures are")):
        if kind not in kinds:
            return Oddity(f"the video ends early, after {size:,} bytes: {name} missing", cut=True)
    return None
