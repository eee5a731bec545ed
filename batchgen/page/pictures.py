"""Thumbnails of source pictures, as files beside the page. Each is named after its picture's digest, and made once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from batchgen.files import open_regular

SIDE = 360  # pixels: two to a card, on screens that have two for each of the page's
QUALITY = 72
MAX_BYTES = 100 << 20  # of a picture
MAX_PIXELS = 50_000_000  # decoded, after a JPEG was made smaller by its decoder
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")


def file_name(sha256: str) -> str:
    """The thumbnail's name below the page's folder of files."""
    return f"{sha256[:16]}.jpg"


def make_missing(
    pictures: Iterable[tuple[str, str]], folder: str, *, advance: Callable[[], object] = lambda: None
) -> set[str]:
    """Make the thumbnails that are missing of some pictures, (digest, path). Returns the digests of those that are there.

    A picture that is gone, is another one now, or can't be decoded has none. Raises OSError where ``folder`` can't be
    written.
    """
    try:
        there = set(os.listdir(folder))
    except FileNotFoundError:
        there = set()
    found: set[str] = set()
    missing: list[tuple[str, str]] = []
    for sha256, path in pictures:
        if file_name(sha256) in there:
            found.add(sha256)
        else:
            missing.append((sha256, path))
    image = _imaging() if missing else None
    if image is None:
        return found
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # decoders leave the interpreter to others
        for sha256, made in _bounded(pool, image, missing):
            if made is not None:
                _write(os.path.join(folder, file_name(sha256)), made)
                found.add(sha256)
            advance()
    return found


def _imaging() -> Any:
    """Pillow's Image module; None where it isn't installed."""
    try:
        from PIL import Image
    except ImportError:
        return None
    Image.MAX_IMAGE_PIXELS = None  # it would warn; what is decoded is bounded here
    Image.init()  # its decoders, before threads do it at the same time
    return Image


def _bounded(
    pool: ThreadPoolExecutor, image: Any, missing: list[tuple[str, str]]
) -> Iterator[tuple[str, bytes | None]]:
    """The thumbnails, in order, with few pictures read ahead."""
    todo = iter(missing)

    def submit(one: tuple[str, str]) -> tuple[str, Future[bytes | None]]:
        return one[0], pool.submit(thumbnail, image, *one)

    waiting = [submit(one) for one in islice(todo, 8)]
    while waiting:
        sha256, future = waiting.pop(0)
        waiting += [submit(one) for one in islice(todo, 1)]
        yield sha256, future.result()


def thumbnail(image: Any, sha256: str, path: str) -> bytes | None:
    """A small upright JPEG of the picture at ``path``; None where that hasn't the digest, or can't be decoded."""
    try:
        with open(path, "rb", opener=open_regular) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    if len(data) > MAX_BYTES or hashlib.sha256(data).hexdigest() != sha256:
        return None
    # Whatever a decoder stumbles over, it is that picture's alone.
    with contextlib.suppress(Exception):
        with image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return _small(image, opened)
    return None


def _small(image: Any, opened: Any) -> bytes | None:
    from PIL import ImageOps

    opened.draft("RGB", (SIDE, SIDE))  # a JPEG is decoded at an eighth of its size where that will do
    if opened.width * opened.height > MAX_PIXELS:
        return None
    opened.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    upright = ImageOps.exif_transpose(opened)
    if upright.mode.startswith("I"):  # 16 bits of grey
        upright = upright.convert("I").point(lambda value: value / 256).convert("L")
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        ground = image.new("RGBA", upright.size, "white")
        upright = image.alpha_composite(ground, upright)
    written = io.BytesIO()
    upright.convert("RGB").save(written, "JPEG", quality=QUALITY, optimize=True)
    return written.getvalue()


def _write(path: str, data: bytes) -> None:
    """Write a file whole or not at all; one that is lost in a crash is made again."""
    draft = f"{path}.part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
    os.rename(draft, path)
