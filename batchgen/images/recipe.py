"""Decides what has to be done to a picture before the API takes it: the least that makes it acceptable.

Everything here is pure, and arithmetic in whole numbers, so that the same picture gets the same recipe everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from batchgen.errors import ImageError
from batchgen.images.facts import Facts
from batchgen.images.inspection import MAX_BYTES, MAX_RATIO, MIN_SIDE
from batchgen.models import Recipe

#: Part of the identity of every job with a prepared image. Another number would be another id for each of them.
VERSION: Final = 1
#: Bytes of a picture that is made, at most: its Base64, too, has less than 10 MB, whichever of both is counted.
MADE_BYTES: Final = 7_500_000
MOST_PIXELS: Final = 3840 * 2160  # of a picture that is made: no clip has more
AS_PNG: Final = 2_400_000  # pixels whose PNG has no more bytes, even where nothing can be compressed
SOURCE_BYTES: Final = 256 << 20  # of a picture that is prepared
SOURCE_PIXELS: Final = (
    120_000_000  # the same; a JPEG may have more, since it is made smaller while it is decoded
)
JPEG_PIXELS: Final = 250_000_000
_LEAST_SIDE: Final = 100  # pixels; nothing is enlarged more than three times
_QUARTERS: Final = 5  # EXIF's orientations from 5 on turn by a quarter
#: Colours by their names: an unquoted # begins a comment in YAML.
COLOURS: Final = {"white": "#ffffff", "black": "#000000", "gray": "#808080", "grey": "#808080"}
STRIPPED: Final = "metadata left out"
HEIF_READER: Final = "pillow_heif"  # the module that has Pillow read HEIC
NO_HEIF: Final = "HEIC needs pillow-heif, batchgen's extra [heif]: pip install pillow-heif, or pipx inject batchgen pillow-heif"
_CROP: Final = "fit: crop pads nothing"
_SAVE: Final = "save the image turned, and paint the mask on that"
_NAMES: Final = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
    "heic": "HEIC",
    "avif": "AVIF",
}


@dataclass(frozen=True, slots=True)
class Options:
    """How pictures are prepared. Those but ``max_pixels`` matter only where a picture has to be encoded anew."""

    max_pixels: int | None = None
    fit: Literal["pad", "crop"] = "pad"
    background: str = "#ffffff"
    quality: int = 92
    format: Literal["jpeg", "png"] | None = None

    @property
    def named(self) -> tuple[tuple[str, int | str], ...]:
        """Those that differ from their defaults, by name: what is written or not makes no other id."""
        return tuple(
            (field.name, getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name) != field.default
        )


def options(prepare: Any) -> Options | None:
    """The options that ``prepare`` of a checked job asks for; None where nothing is to be prepared."""
    if not isinstance(prepare, Mapping):
        return Options() if prepare is True else None
    given = dict(prepare)
    if "background" in given:
        colour = str(given["background"]).lower()
        given["background"] = COLOURS.get(colour, f"#{colour.removeprefix('#')}")
    return Options(**given)


def recipe(facts: Facts, options: Options) -> Recipe:
    """What is done to a picture. Raises ImageError where it can't be made acceptable."""
    check_source(facts, least=_LEAST_SIDE)
    seen = _seen(facts)
    kept, frame = _framed(seen, options.fit)
    words = _changes(facts, options)
    doubts = []
    too_many = options.max_pixels is not None and math.prod(frame) > options.max_pixels
    if (
        not words
        and facts.format in ("jpeg", "png")
        and kept == frame == seen
        and facts.size <= MAX_BYTES
        and min(frame) >= MIN_SIDE
        and not too_many
    ):
        extra = (STRIPPED,) if facts.extra else ()
        return Recipe(facts.format, seen, seen, seen, words=extra)
    inner, canvas = _sized(kept, frame, options.max_pixels or MOST_PIXELS)
    form = options.format or ("png" if facts.lossless and math.prod(canvas) <= AS_PNG else "jpeg")
    if form != facts.format:
        words.insert(0, f"{_NAMES[facts.format]} becomes {_NAMES[form]}")
    if kept != seen:
        words.append(f"cropped from {_size(seen)} to {_size(kept)}")
    if inner > kept:
        doubts.append(f"enlarged from {_size(kept)} to {_size(inner)} px, which makes it no sharper")
        words.append(f"enlarged from {_size(kept)} to {_size(inner)}")
    elif inner != kept:
        words.append(f"made smaller, from {_size(kept)} to {_size(inner)}")
    elif facts.size > MAX_BYTES:
        words.append("compressed anew, to fewer bytes")
    if canvas != inner:
        words.append(f"padded to {_size(canvas)} with {options.background}")
    if facts.colours == "cmyk" and not facts.profile:
        doubts.append(
            "its colours are those of printing (CMYK), and no profile says which: they become similar ones"
        )
    return Recipe(
        facts.format,
        (facts.width, facts.height),
        inner,
        canvas,
        facts.orientation,
        kept if kept != seen else None,
        form,
        options.quality,
        options.background,
        profile=facts.profile,
        options=options.named,
        words=(*words, STRIPPED),
        doubts=tuple(doubts),
    )


def mask_recipe(facts: Facts, image: Recipe) -> Recipe:
    """What is done to a mask so that it fits its prepared image. Raises ImageError where that can't be known."""
    check_source(facts)
    size = _seen(facts)
    stored = image.source
    seen = stored[::-1] if image.orientation >= _QUARTERS else stored
    turn, target = 1, size
    words: list[str] = []
    if image.format is not None and (image.orientation != 1 or image.canvas != stored):
        if image.canvas != image.inner:
            raise ImageError(
                f"its image is padded, and what a mask means beside the image isn't known; {_CROP}"
            )
        if 1 < image.orientation < _QUARTERS or (image.orientation != 1 and stored[0] == stored[1]):
            raise ImageError(
                f"its image is turned, and from the mask's size nobody can tell whether it is; {_SAVE}"
            )
        if image.orientation != 1 and _alike(size, stored):
            turn = image.orientation
            size = size[::-1]
            words.append("turned like its image")
        if not _alike(size, seen):
            raise ImageError(
                f"the mask has {_size(size)} pixels, the image {_size(seen)}; their ratio must be the same"
            )
        target = image.canvas
        if target != size:
            words.append(f"scaled like its image, from {_size(size)} to {_size(target)}")
    elif not _alike(size, seen):
        raise ImageError(
            f"the mask has {_size(size)} pixels, the image {_size(seen)}; their ratio must be the same"
        )
    if not words and facts.format in ("jpeg", "png") and facts.orientation == 1:
        short, long = sorted(size)
        if short < MIN_SIDE or long * MAX_RATIO[1] > short * MAX_RATIO[0] or facts.size > MAX_BYTES:
            raise ImageError(
                "it breaks a limit of the API for images that a mask can't be freed from; save it anew"
            )
        extra = (STRIPPED,) if facts.extra else ()
        return Recipe(facts.format, size, size, size, is_mask=True, words=extra)
    if facts.orientation != 1:
        if turn != 1:
            raise ImageError(f"both the mask and its image are to be turned by their EXIF data; {_SAVE}")
        turn = facts.orientation
        words.append("turned as its EXIF data say")
    if facts.format != "png":
        words.insert(0, f"{_NAMES[facts.format]} becomes PNG")
    crop = None
    if image.crop is not None and image.format is not None:
        crop = (size[0] * image.crop[0] // seen[0], size[1] * image.crop[1] // seen[1])
    return Recipe(
        facts.format,
        (facts.width, facts.height),
        target,
        target,
        turn,
        crop,
        "png",
        is_mask=True,
        options=image.options,
        words=(*words, STRIPPED),
    )


def check_source(facts: Facts, *, least: int = 1) -> None:
    """Raise ImageError for a picture that is too large, or too small, to be prepared at all."""
    most = JPEG_PIXELS if facts.format == "jpeg" else SOURCE_PIXELS
    size = f"{facts.width}x{facts.height}"
    if facts.size > SOURCE_BYTES:
        raise ImageError(f"{facts.size:,} bytes: prepare takes files of at most {SOURCE_BYTES >> 20} MiB")
    if facts.width * facts.height > most:
        raise ImageError(f"{size}: prepare takes pictures of at most {most // 1_000_000} million pixels")
    if min(facts.width, facts.height) < least:
        raise ImageError(
            f"{size}: each side must be at least {MIN_SIDE} px; prepare enlarges from {least} px on"
        )


def _seen(facts: Facts) -> tuple[int, int]:
    """The size of a picture as it is seen."""
    size = facts.width, facts.height
    return size[::-1] if facts.orientation >= _QUARTERS else size


def _changes(facts: Facts, options: Options) -> list[str]:
    """What makes another picture of it whatever its size is, in words; its format isn't among them."""
    words = []
    if facts.unusual:
        words.append("a kind of JPEG that few programs read becomes the usual one")
    if facts.orientation != 1:
        words.append("turned upright")
    if facts.colours == "cmyk" or facts.profile:
        words.append(f"colours from {facts.profile or 'CMYK'} to sRGB")
    if facts.bits > 8:
        words.append(f"{facts.bits} bits a channel to 8")
    if facts.alpha:
        words.append(f"transparency laid on {options.background}")
    if facts.frames and facts.format not in ("jpeg", "png"):
        words.append("only the first of its pictures")
    return words


def _framed(size: tuple[int, int], fit: Literal["pad", "crop"]) -> tuple[tuple[int, int], tuple[int, int]]:
    """What is kept of a picture, and the size of what is sent, before scaling: equal unless it is padded."""
    long, short = max(size), min(size)
    if long * MAX_RATIO[1] <= short * MAX_RATIO[0]:
        return size, size
    wide = size[0] > size[1]
    if fit == "crop":
        long = short * MAX_RATIO[0] // MAX_RATIO[1]
        kept = (long, short) if wide else (short, long)
        return kept, kept
    short = -(-long * MAX_RATIO[1] // MAX_RATIO[0])
    return size, (long, short) if wide else (short, long)


def _sized(
    kept: tuple[int, int], frame: tuple[int, int], most: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """What is kept, and the frame, scaled to at most so many pixels, and to ``MIN_SIDE`` at least."""
    if math.prod(frame) <= most and min(frame) >= MIN_SIDE:
        return kept, frame
    if kept != frame:
        return _padded(kept, most)
    if min(frame) < MIN_SIDE:
        size = -(-frame[0] * MIN_SIDE // min(frame)), -(-frame[1] * MIN_SIDE // min(frame))
    else:
        width = math.isqrt(most * frame[0] // frame[1])
        size = width, frame[1] * width // frame[0]
    size = _framed(size, "crop")[0]  # rounding may have made it too long by a pixel
    return size, size


def _padded(kept: tuple[int, int], most: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """A picture that is to be padded, and its frame, which has the largest ratio that there may be."""
    long = max(kept)
    if -(-long * MAX_RATIO[1] // MAX_RATIO[0]) < MIN_SIDE:
        new = MIN_SIDE * MAX_RATIO[0] // MAX_RATIO[1]
    else:
        new = math.isqrt(most * MAX_RATIO[0] // MAX_RATIO[1])
        while new * -(-new * MAX_RATIO[1] // MAX_RATIO[0]) > most:
            new -= 1
    inner = max(kept[0] * new // long, 1), max(kept[1] * new // long, 1)
    return inner, _framed(inner, "pad")[1]


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes have one ratio, but for a pixel of rounding."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
