"""What a picture is, from its headers: those facts that decide what has to be done before the API takes it.

Headers are read here and not by an imaging library: what is decided of them goes into the identity of jobs, which must be
the same on every machine and under every version of such a library. No pixel is decoded, and only headers are read.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from batchgen.errors import ImageError, Unfinished
from batchgen.files import Folders
from batchgen.images import isobmff
from batchgen.images.exif import is_adobe_rgb
from batchgen.images.headers import Headers
from batchgen.images.inspection import EXIF_BYTES, JPEG, PNG, kind_of, opened, orientation_of
from batchgen.images.profiles import ADOBE_RGB, MAX_BYTES, foreign_profile
from batchgen.models import Within

Format = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff", "heic", "avif"]
#: Suffixes of the files that can be prepared.
SUFFIXES: Final = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif", ".hif", ".avif"),
    *(".webp", ".tif", ".tiff", ".bmp", ".gif", ".mpo"),
)

_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_USUAL_FRAMES: Final = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; others few decoders read
_ALONE: Final = (0x01, *range(0xD0, 0xD8))
_SOS, _EOI = 0xDA, 0xD9
#: Chunks of a PNG that shape the picture; the others tell of it.
PNG_PICTURE: Final = frozenset(
    (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"cICP")
)
_TIFF_SIZES: Final = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)  # bytes of a value of each type


@dataclass(frozen=True, slots=True)
class Facts:
    """What a picture is. ``width`` and ``height`` are as stored, ``orientation`` says how it is to be turned: 1 is upright.

    ``size`` is the file's, in bytes. ``bits`` are those of a channel. ``profile`` is the name of a colour profile that isn't
    sRGB. ``frames``: more than one picture is in it. ``extra``: the file holds more than the picture: metadata, other
    pictures, bytes behind it. ``lossless`` pictures were not compressed with loss; ``unusual``: few decoders read its coding.
    """

    format: Format
    size: int
    width: int
    height: int
    orientation: int = 1
    colours: Literal["gray", "rgb", "palette", "cmyk"] = "rgb"
    alpha: bool = False
    bits: int = 8
    profile: str = ""
    frames: bool = False
    extra: bool = False
    lossless: bool = False
    unusual: bool = False


def examine(path: str, within: Within | None = None, folders: Folders | None = None) -> Facts:
    """The facts about an image file. Raises ImageError, and Unfinished, with the reason but without the path."""
    with opened(path, within, folders) as (file, status):
        try:
            return facts_of(Headers(lambda count, at: os.pread(file, count, at), status.st_size))
        except Unfinished as error:
            raise Unfinished(str(error), status.st_mtime) from None


def facts_of(headers: Headers) -> Facts:
    """The facts about a picture. Raises ImageError, and Unfinished."""
    head = headers.at(0, 512, short=True)
    if head.startswith(PNG):
        facts = _png(headers)
    elif head.startswith(JPEG):
        facts = _jpeg(headers)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        facts = _webp(headers)
    elif head[:4] == b"GIF8":
        facts = _gif(headers)
    elif head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124):
        facts = _bmp(headers)
    elif head[:4] in (b"II*\0", b"MM\0*"):
        facts = _tiff(headers)
    elif head[4:8] == b"ftyp" and (form := isobmff.format_of(head)):
        found = isobmff.read(headers)
        facts = Facts(
            form,
            headers.size,
            found.width,
            found.height,
            found.orientation,
            alpha=found.alpha,
            bits=found.bits,
            profile=foreign_profile(found.profile),
            frames=found.frames,
            extra=True,
        )
    else:
        raise ImageError(kind_of(head))
    if facts.width < 1 or facts.height < 1:
        raise ImageError("it is damaged: it has no pixels")
    return facts


def _png(headers: Headers) -> Facts:
    header = headers.at(16, 13)
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    bits, colour = header[8], header[9]
    facts = Facts(
        "png",
        headers.size,
        width,
        height,
        colours="gray" if colour in (0, 4) else "palette" if colour == 3 else "rgb",
        alpha=colour in (4, 6),
        bits=max(bits, 8),
        lossless=True,
    )
    orientation, extra, frames, srgb = 1, False, False, False
    profile: str | None = None
    for name, at, length in _chunks(headers):
        extra = extra or name not in PNG_PICTURE
        if name == b"tRNS":
            facts = replace(facts, alpha=True)
        elif name == b"eXIf":
            orientation = orientation_of(headers.at(at, min(length, EXIF_BYTES)))
        elif name == b"acTL":
            frames = True
        elif name == b"sRGB":
            srgb = True
        elif name == b"iCCP" and profile is None:  # there is one; each takes time to be unpacked
            profile = _unpacked_profile(headers.at(at, min(length, MAX_BYTES)))
        elif name == b"IEND":
            extra = extra or at + 4 < headers.size
    foreign = "" if srgb or profile is None else profile
    return replace(facts, orientation=orientation, profile=foreign, extra=extra, frames=frames)


def _chunks(headers: Headers) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length of a PNG's chunks."""
    at = 8
    while True:
        start = headers.at(at, 8)
        length, name = int.from_bytes(start[:4]), start[4:]
        yield name, at + 8, length
        if name == b"IEND":
            return
        at += 12 + length


def _unpacked_profile(chunk: bytes) -> str:
    _, _, packed = chunk.partition(b"\0")
    try:
        return foreign_profile(zlib.decompressobj().decompress(packed[1:], MAX_BYTES))
    except zlib.error:
        return ""


def _jpeg(headers: Headers) -> Facts:
    """Read the segments up to the first scan; the picture's own end is found when it is checked."""
    frame, usual, orientation, extra, adobe_rgb = b"", True, 1, False, False
    profile: dict[int, bytes] = {}
    at = 2
    while True:
        start = headers.at(at, 4)
        if start[0] != 0xFF:
            raise ImageError("the JPEG is damaged: something stands where a marker belongs")
        marker = start[1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_SOS, _EOI):
            break
        length = int.from_bytes(start[2:])
        data = headers.at(at + 4, min(max(length - 2, 0), 18), short=True)
        if marker in _FRAMES and not frame:
            frame, usual = data, marker in _USUAL_FRAMES
        elif marker == 0xE1 and data.startswith(b"Exif\0\0"):
            exif = headers.at(at + 10, max(length - 8, 0))
            orientation, adobe_rgb = orientation_of(exif[:EXIF_BYTES]), is_adobe_rgb(exif)
        elif marker == 0xE2 and data.startswith(b"ICC_PROFILE\0"):
            profile[data[12] if len(data) > 12 else 0] = headers.at(at + 18, max(length - 16, 0))
        extra = extra or is_extra(marker, data)
        at += 2 + max(length, 2)
    if len(frame) < 6:
        raise ImageError("the JPEG is damaged: it has no pixels")
    height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
    icc = b"".join(profile[number] for number in sorted(profile))
    return Facts(
        "jpeg",
        headers.size,
        width,
        height,
        orientation,
        colours={1: "gray", 4: "cmyk"}.get(frame[5], "rgb"),  # type: ignore[arg-type]  # mypy widens a dict's literals to str
        bits=max(frame[0], 8),
        profile=foreign_profile(icc) if icc or not adobe_rgb or frame[5] != 3 else ADOBE_RGB,
        frames=False,
        extra=extra or headers.at(max(headers.size - 2, 0), 2) != b"\xff\xd9",
        unusual=not usual or frame[5] not in (1, 3, 4),
    )


def is_extra(marker: int, start: bytes) -> bool:
    """Whether a JPEG's segment tells of the picture and doesn't shape it; ``start`` are its first bytes."""
    if marker == 0xFE:  # a comment
        return True
    if marker not in range(0xE0, 0xF0):
        return False
    kept = ((0xE0, b"JFIF\0"), (0xEE, b"Adobe"), (0xE2, b"ICC_PROFILE\0"))
    return not any(marker == kind and start.startswith(name) for kind, name in kept)


def _webp(headers: Headers) -> Facts:
    if int.from_bytes(headers.at(4, 4), "little") + 8 > headers.size:
        raise Unfinished(f"the image is cut off: it ends after {headers.size:,} bytes")
    width = height = 0
    orientation, alpha, frames, lossless, profile = 1, False, False, False, ""
    at = 12
    while at + 8 <= headers.size:
        start = headers.at(at, 8)
        name, length = start[:4], int.from_bytes(start[4:], "little")
        data = headers.at(at + 8, min(length, 16), short=True)
        if name == b"VP8X":
            alpha, frames = bool(data[0] & 0x10), bool(data[0] & 0x02)
            width = int.from_bytes(data[4:7], "little") + 1
            height = int.from_bytes(data[7:10], "little") + 1
        elif name == b"VP8 " and not width:
            width = int.from_bytes(data[6:8], "little") & 0x3FFF
            height = int.from_bytes(data[8:10], "little") & 0x3FFF
        elif name == b"VP8L":
            lossless = True
            bits = int.from_bytes(data[1:5], "little")
            if not width:
                width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
        elif name == b"ICCP":
            profile = foreign_profile(headers.at(at + 8, min(length, MAX_BYTES)))
        elif name == b"EXIF":
            exif = headers.at(at + 8, min(length, EXIF_BYTES))
            orientation = orientation_of(exif.removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return Facts(
        "webp",
        headers.size,
        width,
        height,
        orientation,
        alpha=alpha,
        profile=profile,
        frames=frames,
        extra=True,
        lossless=lossless,
    )


def _gif(headers: Headers) -> Facts:
    screen = headers.at(6, 7)
    width, height = int.from_bytes(screen[:2], "little"), int.from_bytes(screen[2:4], "little")
    at = 13 + (3 << (screen[4] & 7) + 1 if screen[4] & 0x80 else 0)
    alpha, pictures = False, 0
    while pictures < 2 and (start := headers.at(at, 1, short=pictures > 0)) in (b"!", b","):
        if start == b"!":
            control = headers.at(at, 4)
            alpha = alpha or (pictures == 0 and control[1] == 0xF9 and bool(control[3] & 1))
            at += 2
        else:
            pictures += 1
            flags = headers.at(at + 9, 1)[0]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        while length := headers.at(at, 1)[0]:
            at += 1 + length
        at += 1
    return Facts(
        "gif",
        headers.size,
        width,
        height,
        1,
        "palette",
        alpha,
        frames=pictures > 1,
        extra=True,
        lossless=True,
    )


def _bmp(headers: Headers) -> Facts:
    if int.from_bytes(headers.at(14, 4), "little") == 12:
        width, height = (int.from_bytes(headers.at(at, 2), "little") for at in (18, 20))
        bits = int.from_bytes(headers.at(24, 2), "little")
    else:
        width, height = (int.from_bytes(headers.at(at, 4), "little", signed=True) for at in (18, 22))
        bits = int.from_bytes(headers.at(28, 2), "little")
        rows = abs(height) * ((width * bits + 31) // 32 * 4)
        plain = headers.at(30, 4) in (b"\0\0\0\0", b"\3\0\0\0")
        if plain and int.from_bytes(headers.at(10, 4), "little") + rows > headers.size:
            raise Unfinished(f"the image is cut off: it ends after {headers.size:,} bytes")
    colours: Literal["palette", "rgb"] = "palette" if bits <= 8 else "rgb"
    return Facts("bmp", headers.size, width, abs(height), 1, colours, extra=True, lossless=True)


def _tiff(headers: Headers) -> Facts:
    order: Literal["little", "big"] = "little" if headers.at(0, 1) == b"I" else "big"
    at = int.from_bytes(headers.at(4, 4), order)
    count = int.from_bytes(headers.at(at, 2), order)
    tags: dict[int, list[int]] = {}
    profile = b""
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        data = headers.at(entry, 12)
        tag, kind, many = (int.from_bytes(data[a:b], order) for a, b in ((0, 2), (2, 4), (4, 8)))
        length = (_TIFF_SIZES[kind] if kind < len(_TIFF_SIZES) else 1) * many
        where = entry + 8 if length <= 4 else int.from_bytes(data[8:], order)
        if tag in tags:  # the first one counts, and each takes time
            continue
        if tag == 34675:
            tags[tag] = []
            profile = headers.at(where, min(length, MAX_BYTES))
        elif kind in (3, 4) and tag in (254, 256, 257, 258, 259, 262, 273, 274, 277, 279, 324, 325, 338, 339):
            size = _TIFF_SIZES[kind]
            values = headers.at(where, min(length, 1 << 20))
            tags[tag] = [int.from_bytes(values[a : a + size], order) for a in range(0, len(values), size)]
    for starts, lengths in ((273, 279), (324, 325)):
        ends = [sum(both) for both in zip(tags.get(starts, []), tags.get(lengths, []), strict=False)]
        if max(ends, default=0) > headers.size:
            raise Unfinished(f"the image is cut off: it ends after {headers.size:,} bytes")
    first = {tag: values[0] for tag, values in tags.items() if values}
    samples, colour = first.get(277, 1), first.get(262, 1)
    if first.get(339, 1) != 1 or first.get(258, 1) > 16:
        raise ImageError("it is a TIFF image whose pixels are no whole numbers of 8 or 16 bits")
    following = headers.at(at + 2 + 12 * count, 4, short=True)
    return Facts(
        "tiff",
        headers.size,
        first.get(256, 0),
        first.get(257, 0),
        first.get(274, 1) if first.get(274, 1) in range(1, 9) else 1,
        colours={0: "gray", 1: "gray", 3: "palette", 5: "cmyk"}.get(colour, "rgb"),  # type: ignore[arg-type]  # mypy widens a dict's literals to str
        alpha=any(extra in (1, 2) for extra in tags.get(338, [])) and samples in (2, 4),
        bits=max(first.get(258, 1), 8),
        profile=foreign_profile(profile),
        frames=any(following),
        extra=True,
        lossless=first.get(259, 1) not in (6, 7),
    )
