"""The page's drawings, as numbers and paths of SVG. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from batchgen.page.nights import Night, Slots

WIDTH, HEIGHT = 1000, 100  # of the timeline's path, in units of its own
TOP, SHARE = 8.0, 78.0  # where the path begins and how high it is, in percent of the drawing
HOUR = 3600
BAR = 1000  # units of a whole bar


class Timeline(NamedTuple):
    """The slots in use over a night, drawn. Places are in percent: ``hours`` are (x, text, anchor), ``levels`` (y, text), ``failed`` x."""

    area: str
    line: str
    hours: Sequence[tuple[float, str, str]]
    levels: Sequence[tuple[float, str]]
    failed: Sequence[float]
    begin: str
    end: str
    most: int
    mean: str


def timeline(slots: Slots) -> Timeline:
    """The drawing of a night's slots."""
    start, end = slots.start, max(slots.end, slots.start + 1)
    top = _nice(slots.most)

    def share(at: float) -> float:
        return (at - start) / (end - start)

    path = ["M0 100"]
    for at, running in slots.steps:
        path.append(f"H{share(at) * WIDTH:.4g}V{HEIGHT - running / top * HEIGHT:.4g}")
    line = "".join(path)
    return Timeline(
        f"{line}H{WIDTH}V{HEIGHT}Z",
        line,
        [(round(share(at) * 100, 2), _clock(at), _anchor(share(at))) for at in _hours(start, end)],
        [(round(TOP + SHARE * (1 - value / top), 2), str(value)) for value in _levels(top)],
        sorted({round(share(at) * 100, 1) for at in slots.failed}),
        _clock(start),
        _clock(end),
        slots.most,
        f"{slots.mean:.1f}",
    )


def _anchor(share: float) -> str:
    """On which side of its place a text stands, so that none leaves the drawing."""
    return "start" if share < 0.04 else "end" if share > 0.96 else "middle"


def _clock(at: float) -> str:
    minutes = int(at // 60) % 1440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _hours(start: float, end: float) -> list[float]:
    """Round times between two, at most nine."""
    for step in (60, 300, 900, 1800, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR):
        first = -(-start // step) * step
        count = int((end - first) // step) + 1
        if count <= 9:
            return [first + number * step for number in range(count)]
    return []


def _nice(most: int) -> int:
    """The first of 4, 8, 12, 20, 40, 60, 100, ... that is as much."""
    unit = 1
    while True:
        for factor in (4, 8, 12):
            if factor * unit >= most:
                return factor * unit
        unit *= 5


def _levels(top: int) -> list[int]:
    return [top // 2, top]


class Bar(NamedTuple):
    """One part of a night's bar: its class, where it begins and how wide it is, of :data:`BAR`."""

    name: str
    at: int
    width: int


def night_bar(night: Night, largest: int) -> Sequence[Bar]:
    """A night's takes as a bar, beside the largest night's."""
    bars, at = [], 0
    counts: Mapping[str, Any] = night.counts
    for name in ("done", "waiting", "unknown", "failed"):
        count = counts.get(name, 0)
        width = max(round(count / largest * BAR), 8) if count else 0
        if width:
            bars.append(Bar(name, at, width))
            at += width
    return bars
