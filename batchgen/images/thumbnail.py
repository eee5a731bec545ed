"""Makes small pictures of large ones for the page, with Pillow. Only :mod:`batchgen.images.worker` calls it, in its own process."""

from __future__ import annotations

import io
import warnings
from typing import Any, Final

from batchgen.errors import ImageError
from batchgen.images.make import FAULTS, read_heif

QUALITY: Final = 72
MAX_PIXELS: Final = 50_000_000  # decoded, after a JPEG was made smaller by its decoder
_FORMATS: Final[tuple[str, ...]] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
_HEIC: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def thumbnail(data: bytes, side: int) -> bytes:
    """A small upright JPEG of the picture with these bytes, ``side`` pixels at most each way. Raises ImageError."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # it would warn; what is decoded is bounded here
    Image.init()
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        read_heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata
            formats = [name for name in _FORMATS if name in Image.OPEN]
            with Image.open(io.BytesIO(data), formats=formats) as opened:
                return _small(opened, side)
    except ImageError:
        raise
    except (*FAULTS, MemoryError) as error:
        raise ImageError("it can't be decoded") from error


def _small(opened: Any, side: int) -> bytes:
    from PIL import Image, ImageOps

    opened.draft("RGB", (side, side))  # a JPEG is decoded at an eighth of its size where that will do
    if opened.width * opened.height > MAX_PIXELS:
        raise ImageError("it has too many pixels to be shown small")
    opened.thumbnail((side, side), reducing_gap=2.0)
    upright = ImageOps.exif_transpose(opened)
    if upright.mode.startswith("I"):  # 16 bits of grey
        upright = upright.convert("I").point(lambda value: value / 256).convert("L")
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        ground = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(ground, upright)
    written = io.BytesIO()
    upright.convert("RGB").save(written, "JPEG", quality=QUALITY, optimize=True)
    return written.getvalue()
