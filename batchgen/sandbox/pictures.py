"""Checks pictures as the API does: Base64 in, digest and size out. Only headers are read, no pixels decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import pybase64

Keep = Callable[[str, bytes], None]  # a picture's digest and bytes

MAX_BYTES = 10 * 1024 * 1024
MIN_SIDE = 300
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # the markers among C0..CF that don't open a frame


class PictureError(Exception):
    """Why the API refuses a picture; the text follows the field's name."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that the API accepts. ``size`` is in bytes, ``width`` and ``height`` in pixels."""

    sha256: str
    size: int
    width: int
    height: int


def decode(text: str, keep: Keep | None = None) -> Picture:
    """The picture in ``text``, which must be plain Base64; raises :class:`PictureError`. Its bytes are given to ``keep``."""
    if text[:5].lower() == "data:":
        raise PictureError("must not have a prefix such as data:image/png;base64,")
    try:
        data = pybase64.b64decode(text, validate=True)
    except ValueError:
        raise PictureError("is neither an http(s) URL nor valid Base64") from None
    if len(data) > MAX_BYTES:
        raise PictureError("exceeds 10MB")
    width, height = _dimensions(data)
    if min(width, height) < MIN_SIDE:
        raise PictureError(f"is {width}x{height}, each side must be at least 300px")
    if 2 * max(width, height) > 5 * min(width, height):
        raise PictureError(f"is {width}x{height}, its aspect ratio must be within 1:2.5 ~ 2.5:1")
    digest = hashlib.sha256(data).hexdigest()
    if keep:
        keep(digest, data)
    return Picture(digest, len(data), width, height)


def _dimensions(data: bytes) -> tuple[int, int]:
    if data.startswith(_PNG):
        size = _png(data)
    elif data.startswith(_JPEG):
        size = _jpeg(data)
    else:
        raise PictureError("is not a .jpg / .jpeg / .png image")
    if size is None:
        raise PictureError("is truncated or damaged")
    return size


def _png(data: bytes) -> tuple[int, int] | None:
    if data[12:16] != b"IHDR":
        return None
    seen_pixels, at = False, len(_PNG)
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        seen_pixels |= kind == b"IDAT"
        if kind == b"IEND":
            size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
            return size if seen_pixels else None
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    size, at = None, 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:  # the scan: what follows is pixels up to the end marker
            return size if data.rfind(b"\xff\xd9") > at else None
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            size = int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
