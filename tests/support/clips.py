"""Looks into clips: what a player would show of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import av
from PIL import Image, ImageStat


class Shown(NamedTuple):
    """A clip as a player shows it: its codec, its layout of pixels, its seconds, its frames."""

    codec: str
    pixels: str
    seconds: float
    frames: list[Image.Image]


def shown(clip: bytes) -> Shown:
    """Decode a whole clip."""
    with av.open(io.BytesIO(clip), "r") as container:
        (stream,) = container.streams.video
        assert stream.duration is not None and stream.time_base is not None
        seconds = float(stream.duration * stream.time_base)
        pixels = stream.codec_context.pix_fmt or ""
        frames: list[Image.Image] = [frame.to_image() for frame in container.decode(stream)]
        return Shown(stream.codec.name, pixels, seconds, frames)


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """The mean colours of the four corners, row by row."""
    width, height = picture.size
    side = max(4, min(width, height) // 16)
    boxes = [(left, top, left + side, top + side) for top in (0, height - side) for left in (0, width - side)]
    means = (ImageStat.Stat(picture.convert("RGB").crop(box)).mean for box in boxes)
    return [tuple(round(value) for value in mean) for mean in means]


def alike(one: Sequence[tuple[int, ...]], other: Sequence[tuple[int, ...]], off: int = 24) -> bool:
    """Whether corners have the same colours, as far as an encoder keeps them."""
    return all(abs(a - b) <= off for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))
