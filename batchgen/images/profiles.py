"""Tells from an ICC profile whether a picture's colours are sRGB, as every player takes those of a clip to be."""

from __future__ import annotations

import struct
from codecs import BOM_UTF16_BE
from typing import Final

MAX_BYTES: Final = 4 << 20  # those of printing inks have some 500 KB

# The colorants of sRGB, adapted to D50 as profiles have them, and its curve's value at one half.
_COLORANTS: Final = (
    (b"rXYZ", (0.4360, 0.2225, 0.0139)),
    (b"gXYZ", (0.3851, 0.7169, 0.0971)),
    (b"bXYZ", (0.1431, 0.0606, 0.7141)),
)
_MIDDLE: Final = 0.2140
#: What a picture is said to have whose EXIF data say so, and that has no profile.
ADOBE_RGB: Final = "Adobe RGB"
_ADOBE_COLORANTS: Final = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
_ADOBE_GAMMA: Final = 563 / 256
_WHITE: Final = (0.9642, 1.0, 0.8249)
_NEAR: Final = 0.006  # of a colorant; nobody sees it
_NEAR_MIDDLE: Final = 0.012  # takes a gamma of 2.2 for sRGB's curve, too


def foreign_profile(profile: bytes) -> str:
    """The name of a profile whose colours are others than sRGB's; "" for sRGB, and for what is no profile."""
    if profile[36:40] != b"acsp":
        return ""
    tags = _tags(profile)
    if profile[16:20] == b"RGB " and all(_near(tags.get(name, b""), xyz) for name, xyz in _COLORANTS):
        if all(_like_srgb(tags.get(name, b"")) for name in (b"rTRC", b"gTRC", b"bTRC")):
            return ""
    if profile[16:20] == b"GRAY" and _like_srgb(tags.get(b"kTRC", b"")):
        return ""
    return _name(tags.get(b"desc", b"")) or "a profile without a name"


def _tags(profile: bytes) -> dict[bytes, bytes]:
    found = {}
    for at in range(132, 132 + 12 * min(int.from_bytes(profile[128:132]), 100), 12):
        start, length = (int.from_bytes(profile[at + skip : at + skip + 4]) for skip in (4, 8))
        found[profile[at : at + 4]] = profile[start : start + length]
    return found


def _number(data: bytes) -> float:
    """A number as profiles have it: 16 bits before the point and 16 after it."""
    return int.from_bytes(data[:4], signed=True) / 65536


def _near(tag: bytes, xyz: tuple[float, float, float]) -> bool:
    return len(tag) >= 20 and all(
        abs(_number(tag[8 + 4 * index :]) - value) < _NEAR for index, value in enumerate(xyz)
    )


def _like_srgb(curve: bytes) -> bool:
    """Whether a curve has about the value of sRGB's at one half."""
    middle = _middle(curve)
    return middle is not None and abs(middle - _MIDDLE) < _NEAR_MIDDLE


def _middle(curve: bytes) -> float | None:
    if curve[:4] == b"curv":
        count = int.from_bytes(curve[8:12])
        if count == 0:
            return 0.5
        if count == 1:
            return float(0.5 ** (int.from_bytes(curve[12:14]) / 256))
        at = 12 + 2 * (count // 2)
        return int.from_bytes(curve[at : at + 2]) / 65535
    if curve[:4] == b"para" and (kind := int.from_bytes(curve[8:10])) <= 4 and len(curve) >= 16:
        gamma = _number(curve[12:])
        a, b = (1.0, 0.0) if kind == 0 else (_number(curve[16:]), _number(curve[20:]))
        base = a * 0.5 + b
        return float(base**gamma) if 0 < base < 4 and 0 < gamma < 10 else None
    return None


def _name(tag: bytes) -> str:
    """The profile's description, in one line."""
    text = ""
    if tag[:4] == b"desc":
        text = tag[12 : 12 + min(int.from_bytes(tag[8:12]), 200)].decode("latin-1")
    elif tag[:4] == b"mluc" and len(tag) >= 28:
        length, start = int.from_bytes(tag[20:24]), int.from_bytes(tag[24:28])
        units = tag[start : start + min(length, 200)]
        text = (BOM_UTF16_BE + units).decode("utf-16", "replace")  # built in; "utf-16-be" is loaded late
    text = text.split("\0")[0]
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def adobe_rgb() -> bytes:
    """A profile of Adobe RGB (1998), made of its colorants and its curve."""

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(_ADOBE_GAMMA * 256), 0)
    name = ADOBE_RGB.encode() + b"\0"
    tags = {
        b"desc": (b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78)).ljust(104, b"\0"),
        b"cprt": b"text\0\0\0\0\0\0\0\0",
        b"wtpt": xyz(_WHITE),
        **{tag: xyz(values) for (tag, _), values in zip(_COLORANTS, _ADOBE_COLORANTS, strict=True)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(_WHITE)[8:]
    return head.ljust(128, b"\0") + table + body
