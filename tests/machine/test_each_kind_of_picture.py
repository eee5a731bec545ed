"""Pictures as cameras, phones and programs leave them: from a folder of each kind to clips that show them upright."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image

from batchgen.sandbox import encoding
from batchgen.sandbox.command import CLIPS_VARIABLE
from tests.support.clips import alike, shown
from tests.support.program import Desk, sandbox

COLOURS = [(220, 40, 40), (40, 200, 60), (50, 60, 220), (230, 210, 50)]  # of the quarters, row by row
#: An orientation of EXIF data, and what undoes the turn that it asks for.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quarters(width: int = 480, height: int = 320) -> Image.Image:
    """A picture of four colours."""
    picture = Image.new("RGB", (2, 2))
    picture.putdata(COLOURS)
    return picture.resize((width, height), Image.Resampling.NEAREST)


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def turned(orientation: int, width: int = 480, height: int = 320) -> bytes:
    """A JPEG that is upright once it is turned as its EXIF data say."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(quarters(width, height).transpose(TURNS[orientation]), "JPEG", quality=95, exif=exif)


def deep() -> bytes:
    """A PNG of 16 bits a channel."""
    size = quarters().size
    pixels = quarters().tobytes()
    row = size[0] * 3
    rows = b"".join(
        b"\0" + bytes(part for value in pixels[at : at + row] for part in (value, value))
        for at in range(0, len(pixels), row)
    )
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", *size, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def several(form: str, **options: Any) -> bytes:
    """A file of two pictures, of which the first is meant."""
    return saved(quarters(), form, save_all=True, append_images=[quarters().rotate(180)], **options)


def heic() -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(quarters()).save(file, quality=95)
    return file.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    "plain.jpg": lambda: saved(quarters(), "JPEG", quality=95),
    "plain.png": lambda: saved(quarters(), "PNG"),
    "portrait.jpg": lambda: turned(6, 320, 480),
    "lying.jpg": lambda: turned(8),
    "mirrored.jpg": lambda: turned(5),
    "head.jpg": lambda: turned(3),
    "phone.heic": heic,
    "web.webp": lambda: saved(quarters(), "WEBP", quality=95),
    "scan.tiff": lambda: saved(quarters(), "TIFF", compression="tiff_lzw"),
    "print.jpg": lambda: saved(quarters().convert("CMYK"), "JPEG", quality=95),
    "deep.png": deep,
    "cut-out.png": lambda: saved(quarters().convert("RGBA"), "PNG"),
    "camera.mpo": lambda: several("MPO", quality=95),
    "moving.gif": lambda: several("GIF"),
    "moving.png": lambda: several("PNG"),
    "moving.webp": lambda: several("WEBP", quality=95),
    "old.bmp": lambda: saved(quarters(), "BMP"),
    "tiny.jpg": lambda: saved(quarters(280, 210), "JPEG", quality=95),
    "panorama.jpg": lambda: saved(quarters(1500, 500), "JPEG", quality=95),
    "tower.jpg": lambda: saved(quarters(400, 1200), "JPEG", quality=95),
    "large.png": lambda: saved(quarters(2300, 1600), "PNG", compress_level=0),
    "progressive.jpg": lambda: saved(quarters(), "JPEG", quality=95, progressive=True),
    "trailing.jpg": lambda: saved(quarters(), "JPEG", quality=95) + b"\0\xff\xd8video" * 100,
}


def quarter_colours(picture: Image.Image) -> Iterator[tuple[int, ...]]:
    """The colours in the middle of the four quarters, row by row: a padded picture has its own there."""
    width, height = picture.size
    for down in (1, 3):
        for right in (1, 3):
            where = (right * width // 4, down * height // 4)
            colour = picture.convert("RGB").getpixel(where)
            assert isinstance(colour, tuple)
            yield colour


def test_every_kind_of_picture_becomes_a_clip_that_shows_it_upright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "FPS", 4)  # quick; only the first frame is looked at
    for name, make in KINDS.items():
        path = tmp_path / "shelf" / Path(name).suffix[1:] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())
    with sandbox(tmp_path, "--task-seconds", "0", "--clips", "real") as server:
        desk = Desk(tmp_path).against(server)
        desk.env[CLIPS_VARIABLE] = "real"
        started = desk.run("init", "shelf", "--json")
        assert started.code == 0, started.err
        assert started.json["pictures"] == started.json["creates"] == len(KINDS)
        text = (tmp_path / "shelf.yaml").read_text()
        assert "\n  prepare: true\n" in text
        (tmp_path / "shelf.yaml").write_text(text.replace("duration: 5", "duration: 3"))
        assert desk.run("validate", "shelf.yaml").code == 0
        result = desk.run("run", "--poll-interval", "0.05", "shelf.yaml")
        assert result.code == 0, result.err
    wrong = []
    for name in KINDS:
        clip = tmp_path / "clips/shelf" / Path(name).suffix[1:] / f"{Path(name).stem}.mp4"
        first = shown(clip.read_bytes()).frames[0]
        if not alike([*quarter_colours(first)], COLOURS, 40):
            wrong.append((name, first.size, [*quarter_colours(first)]))
        tall = name in ("portrait.jpg", "tower.jpg")
        assert (first.height > first.width) == tall, name
    assert wrong == []
