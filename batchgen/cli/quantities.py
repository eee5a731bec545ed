"""Reads durations, numbers and speeds as people write them on the command line."""

from __future__ import annotations

import re

from batchgen.run.download_limit import MOST


def shown_size(count: int) -> str:
    """A number of bytes in one unit for people: ``512 bytes``, ``45 kB``, ``1.5 MB``, ``2.1 GB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.9995 * size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:.0f} kB" if count >= 999.5 else f"{count} bytes"


_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?:in)?)?(?:{_NUMBER}s?)?")


def seconds(text: str) -> float:
    """A duration: ``90``, ``90s``, ``15m``, ``2h``, ``1h30m``. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip().lower())
    if not match or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration; write 90, 90s, 15m, 2h or 1h30m")
    hours, minutes, rest = (float(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + rest


def bytes_per_second(text: str) -> float:
    """A speed: ``16384``, ``16K``, ``1.5M``, with units of 1024. Raises ValueError."""
    match = re.fullmatch(rf"{_NUMBER}\s*(?:([kmg])(?:i?b)?(?:/s)?)?", text.strip().lower())
    if not match:
        raise ValueError(f"{text!r} is no speed; write bytes a second: 16384, 16K or 1M")
    return float(match[1]) * {None: 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2]]


def downloads(text: str) -> int:
    """A number of downloads at once, from 1 to 256. Raises ValueError."""
    if not text.strip().isascii() or not text.strip().isdigit() or not 1 <= int(text) <= MOST:
        raise ValueError(f"{text[:80]!r} is no whole number from 1 to {MOST}")
    return int(text)
