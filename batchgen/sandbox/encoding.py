"""Encodes a clip from a task's picture: a slow push-in as H.264, with the prompt and the mode as a small caption.

PyAV, which the extra ``demo`` installs, and Pillow do it; they are imported where a clip is made, and nowhere else. The
same scene gives the same bytes with the same versions of them. Orientation in EXIF data is not applied, as nobody
knows whether the API does: a portrait that lies on its side does so in its clip.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

FPS = 24
PIXELS = 640 * 360  # of a clip, whatever the ratio of its sides: so all take the same time
PUSH = 0.13  # the part of the picture that the push-in leaves behind
_MARGIN = 10  # pixels around the caption
_SUPPORT = (
    1 + PUSH
)  # pictures are kept so much larger than their clips, that the last frame is as sharp as the first
_OPTIONS = {
    "preset": "superfast",
    "crf": "25",
    "threads": "1",
}  # more threads would give other bytes on other machines


@dataclass(frozen=True, slots=True)
class Scene:
    """What a clip shows. ``picture`` and ``tail``, its last frame, are from :func:`shrink`; None: none was sent.

    ``shots`` are prompts with their seconds. ``seed`` decides where the camera goes, and what is shown without a picture.
    """

    picture: bytes | None
    tail: bytes | None
    shots: Sequence[tuple[int, str]]
    label: str
    seed: str


def installed() -> bool:
    """Whether PyAV is there."""
    return importlib.util.find_spec("av") is not None


def shrink(data: bytes) -> bytes | None:
    """A picture as JPEG, not larger than a clip needs it; None for one that can't be decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            size = _size(picture.size, _SUPPORT)
            picture.draft("RGB", size)
            upright = _in_rgb(picture).resize(size, Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    kept = io.BytesIO()
    upright.save(kept, "JPEG", quality=92, subsampling=0)
    return kept.getvalue()


def encode(scene: Scene) -> bytes:
    """The scene as an MP4 that browsers play, its index before its frames."""
    import av

    first, last = _pictures(scene)
    size = _size(first.size)
    focus = [0.3 + 0.4 * share for share in _shares(scene.seed, 2)]
    captions = [(seconds * FPS, _caption(text, scene.label, size)) for seconds, text in scene.shots]
    total = sum(frames for frames, _ in captions)
    with tempfile.TemporaryDirectory(prefix="batchgen-clip-") as folder:
        path = os.path.join(folder, "clip.mp4")  # its index is moved to the front, which takes a file
        with av.open(path, "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("h264", rate=FPS, options=_OPTIONS)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            number = 0
            for frames, caption in captions:
                for _ in range(frames):
                    frame = _frame(first, last, size, focus, number / total)
                    frame.paste(caption, (0, size[1] - caption.height), caption)
                    container.mux(stream.encode(av.VideoFrame.from_image(frame)))
                    number += 1
            container.mux(stream.encode())
        with open(path, "rb") as file:
            return file.read()


def _frame(
    first: Image, last: Image | None, size: tuple[int, int], focus: Sequence[float], at: float
) -> Image:
    """The frame at ``at``, from 0 to 1; towards a last picture, the first one dissolves into it."""
    from PIL import Image

    def seen(picture: Image.Image, scale: float) -> Image.Image:
        width, height = picture.width * scale, picture.height * scale
        left, top = (picture.width - width) * focus[0], (picture.height - height) * focus[1]
        return picture.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))

    if last is None:
        return seen(first, 1 - PUSH * at)
    mixed = min(1.0, max(0.0, 1.5 * at - 0.25))
    return Image.blend(seen(first, 1 - PUSH * at), seen(last, 1 - PUSH * (1 - at)), mixed)


def _pictures(scene: Scene) -> tuple[Image, Image | None]:
    """The first picture and the last, of one size; a generated one where none was sent."""
    from PIL import Image, ImageOps

    found = [
        Image.open(io.BytesIO(data)).convert("RGB")
        for data in (scene.picture, scene.tail)
        if data is not None
    ]
    if not found:
        return _generated(scene.seed), None
    first, *rest = found
    return first, ImageOps.fit(rest[0], first.size) if rest else None


def _generated(seed: str) -> Image:
    """A field of two colours that ``seed`` chooses."""
    from PIL import Image, ImageOps

    hue, turn = _shares(seed, 2)
    dark, light = (
        Image.new("HSV", (1, 1), (round(255 * angle) % 256, 150, value)).convert("RGB").getpixel((0, 0))
        for angle, value in ((hue, 60), (hue + 0.1 + turn / 4, 230))
    )
    size = _size((16, 9), _SUPPORT)
    field = Image.linear_gradient("L").rotate(35, Image.Resampling.BICUBIC).crop((48, 48, 208, 208))
    assert isinstance(dark, tuple) and isinstance(light, tuple)
    return ImageOps.colorize(field.resize(size, Image.Resampling.BICUBIC), dark, light)


def _caption(text: str, label: str, size: tuple[int, int]) -> Image:
    """The first words of a prompt over the label, white with a dark edge, on nothing."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(14)
    room = size[0] - 2 * _MARGIN
    words, line = _drawable(text, font).split(), ""
    for number, word in enumerate(words):
        longer = f"{line} {word}".strip()
        more = "..." if number + 1 < len(words) else ""
        if font.getlength(longer + more) > room:
            line += "..."
            break
        line = longer
    lines = [one for one in (line, label) if font.getlength(one) <= room]
    caption = Image.new("RGBA", (size[0], 20 * len(lines) + _MARGIN), (0, 0, 0, 0))
    draw = ImageDraw.Draw(caption)
    for number, one in enumerate(lines):
        place = (_MARGIN, 20 * number)
        draw.text(place, one, "white", font, stroke_width=1, stroke_fill=(0, 0, 0, 190))
    return caption


def _drawable(text: str, font: FreeTypeFont | ImageFont) -> str:
    """The text without the characters that the font doesn't have."""
    box = bytes(font.getmask("\U0010fffd"))
    return "".join(
        letter if letter.isspace() or bytes(font.getmask(letter)) != box else " " for letter in text
    )


def _in_rgb(picture: Image) -> Image:
    """A picture's first frame in RGB: 16 bits brought to 8, what is transparent on white."""
    from PIL import Image

    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return picture.convert("RGB")


def _size(sides: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
    """Even sides of the same ratio, that make ``PIXELS`` at scale 1."""
    width, height = sides
    factor = scale * (PIXELS / (width * height)) ** 0.5
    return max(2, 2 * round(width * factor / 2)), max(2, 2 * round(height * factor / 2))


def _shares(seed: str, count: int) -> list[float]:
    """Numbers from 0 to 1 that are always the same for a seed."""
    return [byte / 255 for byte in hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()[:count]]
