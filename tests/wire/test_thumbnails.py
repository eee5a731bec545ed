"""Thumbnails of the page: of every kind of picture, the right way up, made in processes of their own, or the reason why not."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from batchgen.images.recipe import NO_HEIF
from batchgen.page import pictures


def picture(format_: str, mode: str = "RGB", size: tuple[int, int] = (800, 600), **more: object) -> bytes:
    """A picture that is red above and blue below."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (0, size[1] // 2, *size))
    written = io.BytesIO()
    if format_ == "HEIF":
        register_heif_opener()
    if mode == "I;16":
        image = Image.new(mode, size, 0x8000)
    else:
        image = image.convert(mode)
    image.save(written, format_, **more)
    return written.getvalue()


def thumbnail(folder: Path, data: bytes, sha256: str | None = None) -> Image.Image | None:
    """The thumbnail of a picture with these bytes; None where there is none."""
    folder.mkdir(exist_ok=True)
    (folder / "picture").write_bytes(data)
    name = sha256 or hashlib.sha256(data).hexdigest()
    found = pictures.Thumbnailer(str(folder / "files")).make_missing([(name, str(folder / "picture"))])
    made = folder / "files" / pictures.file_name(name)
    assert made.exists() == (name in found.has) == (name not in found.lacking)
    return Image.open(io.BytesIO(made.read_bytes())) if found.has else None


@pytest.mark.parametrize(
    ("format_", "mode"),
    [
        *(("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA")),
        *(("PNG", "LA"), ("PNG", "I;16"), ("PNG", "1"), ("WEBP", "RGBA"), ("TIFF", "RGB"), ("BMP", "RGB")),
        *(("GIF", "P"), ("HEIF", "RGB")),
    ],
)
def test_a_thumbnail_is_made_of_every_kind_of_picture(tmp_path: Path, format_: str, mode: str) -> None:
    small = thumbnail(tmp_path, picture(format_, mode))
    assert small is not None and (small.format, small.mode, small.size) == ("JPEG", "RGB", (360, 270))
    if mode in ("RGB", "P", "RGBA", "CMYK"):
        above, below = small.getpixel((180, 40)), small.getpixel((180, 230))
        assert isinstance(above, tuple) and isinstance(below, tuple)
        assert above[0] > 200 > 60 > above[2] and below[2] > 200 > 60 > below[0]
    if mode == "I;16":
        assert small.getpixel((180, 40)) == (128, 128, 128)


def test_a_thumbnail_is_the_right_way_up(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    small = thumbnail(tmp_path, picture("JPEG", exif=exif))
    assert small is not None and small.size == (270, 360)
    left = small.getpixel((30, 180))
    assert isinstance(left, tuple) and left[2] > 200


def test_what_is_no_picture_or_another_one_has_no_thumbnail_and_harms_nobody(tmp_path: Path) -> None:
    good = picture("PNG")
    assert thumbnail(tmp_path / "other", good, "0" * 64) is None
    assert thumbnail(tmp_path / "half", picture("PNG", "RGB", (400, 400))[:200]) is None
    assert thumbnail(tmp_path / "text", b"<svg onload=alert(1)>") is None
    assert thumbnail(tmp_path / "empty", b"") is None
    missing = [("1" * 64, str(tmp_path / "nowhere")), ("2" * 64, str(tmp_path)), ("3" * 64, "/dev/zero")]
    found = pictures.Thumbnailer(str(tmp_path / "files")).make_missing(missing)
    assert found.has == set() and found.lacking.keys() == {name for name, _ in missing}
    assert found.lacking["1" * 64] == "the picture is gone"


def test_a_picture_that_only_pillow_heif_reads_says_so_where_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pillow_heif.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "a.heic").write_bytes(picture("HEIF"))
    name = hashlib.sha256((tmp_path / "a.heic").read_bytes()).hexdigest()
    found = pictures.Thumbnailer(str(tmp_path / "files")).make_missing([(name, str(tmp_path / "a.heic"))])
    assert found == (frozenset(), {name: NO_HEIF})


@pytest.mark.parametrize("by", ["its size", "its time"])
def test_a_picture_of_which_no_thumbnail_can_be_made_is_tried_again_once_it_is_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    good, path = picture("PNG"), tmp_path / "a.png"
    name = hashlib.sha256(good).hexdigest()
    path.write_bytes(bytes(len(good)) if by == "its time" else b"no picture")
    os.utime(path, (1.7e9, 1.7e9))
    one = pictures.Thumbnailer(str(tmp_path / "files"))
    first = one.make_missing([(name, str(path))])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere")  # no process is started for it
        assert one.make_missing([(name, str(path))]) == first
    path.write_bytes(good)
    os.utime(path, (1.7e9, 1.7e9 + (by == "its time")))
    assert one.make_missing([(name, str(path))]) == (frozenset({name}), {})


def test_a_bomb_is_not_decoded(tmp_path: Path) -> None:
    rows = zlib.compress(bytes(30_000 // 8 + 1) * 30_000, 9)
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    assert len(bomb) < 1_000_000 and thumbnail(tmp_path, bomb) is None
