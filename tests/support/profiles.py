"""Colour profiles as cameras, phones and screens embed them, made of their colorants."""

from __future__ import annotations

import struct
from collections.abc import Sequence

Colorants = Sequence[tuple[float, float, float]]

DISPLAY_P3: Colorants = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE_RGB: Colorants = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
_WHITE = (0.9642, 1.0, 0.8249)


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile_of(name: str, colorants: Colorants, gamma: float = 2.2) -> bytes:
    """An ICC profile of a screen with these colorants (XYZ, adapted to D50)."""
    text = name.encode("ascii") + b"\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"desc": desc + bytes(-len(desc) % 4), b"wtpt": b"XYZ \0\0\0\0" + _fixed(*_WHITE)}
    tags |= {
        key: b"XYZ \0\0\0\0" + _fixed(*xyz)
        for key, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for key, data in tags.items():
        table += key + struct.pack(">II", start + len(body), len(data))
        body += data
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*_WHITE)
    return header.ljust(128, b"\0") + table + body
