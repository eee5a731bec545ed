"""Small valid images for tests, made in a moment."""

from __future__ import annotations

import io
import struct
import zlib


def make_png(width: int = 320, height: int = 320, seed: int = 0) -> bytes:
    """A valid PNG (8-bit RGB, one colour). Other seeds make other bytes, up to 16 million of them."""
    row = b"\0" + (seed % 0x1000000).to_bytes(3, "big") * width
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * height, 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def make_jpeg(width: int = 320, height: int = 320, seed: int = 0) -> bytes:
    """A valid baseline JPEG of one colour. Other seeds make other bytes: they also stand in a comment."""
    from PIL import Image

    file = io.BytesIO()
    colour = (seed & 0xFF, seed >> 8 & 0xFF, seed >> 16 & 0xFF)
    Image.new("RGB", (width, height), colour).save(file, "JPEG", comment=str(seed).encode())
    return file.getvalue()


def make_large_png(size: int, seed: int = 0) -> bytes:
    """A valid PNG of exactly ``size`` bytes, most of them in a chunk that decoders pass by."""
    small, kind = make_png(seed=seed), b"prVt"
    data = (seed % 0x100).to_bytes(1, "big") * (size - len(small) - 12)
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return small[:33] + chunk + small[33:]
