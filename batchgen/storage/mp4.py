"""Whether a file is a whole MP4, by its boxes; and what is no video at all, but a page or a message."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

START = 512  # bytes that tell a page from a video
MOST_BOXES = 100_000  # at the top of a file; a clip has a handful, one in fragments has hundreds
STRAY = 7  # bytes after the last box, which can't be a box of their own

#: Boxes that a file may begin with, most of them of no interest to a player.
FIRST = frozenset({b"ftyp", b"styp", b"free", b"skip", b"wide", b"moov", b"mdat", b"uuid", b"pnot", b"sidx"})

_MARKUP = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*[<{]")

_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|RIFF....WEBP", re.DOTALL)


def is_page(start: bytes) -> bool:
    """Whether these first bytes are a text: what a host says instead of a clip. A video's have zeros in them."""
    if _MARKUP.match(start):
        return True
    text = start.decode("utf-8", "ignore")
    return bool(text) and all(character.isprintable() or character.isspace() for character in text)


def is_picture(start: bytes) -> bool:
    """Whether these first bytes are those of a still picture: a preview, whatever a status nobody knows may say."""
    return _PICTURE.match(start) is not None


def begins_with_a_box(start: bytes) -> bool:
    """Whether these first bytes are those of a file of the MP4 family."""
    return start[4:8] in FIRST


class Oddity(NamedTuple):
    """What about a file is not as a whole MP4 has it. ``cut``: it looks as if its end were missing."""

    text: str
    cut: bool = False


def oddity(read: Callable[[int, int], bytes], size: int) -> Oddity | None:
    """What is odd about a file of ``size`` bytes; None where it is whole. ``read(count, at)`` gives its bytes.

    A whole one's boxes fill it, but for a few stray bytes at the end; one of them is the index, and one holds the
    pictures.
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
