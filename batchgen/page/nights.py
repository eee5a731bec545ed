"""Nights, days and slots, from when tasks began and ended. Pure: times are seconds of a wall clock, counted as if in UTC."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

DAY = 86_400
NOON = DAY // 2
USUAL = 7  # nights that a night is compared with
POINTS = 480  # of a drawn timeline


def day_of(wall: float) -> int:
    """The calendar day, counted from 1970."""
    return int(wall // DAY)


def night_of(wall: float) -> int:
    """The night, counted by the day on which it begins: from noon to noon."""
    return int((wall - NOON) // DAY)


def date_of(number: int) -> date:
    """The date of a day, or on which a night begins."""
    return datetime.fromtimestamp(number * DAY, UTC).date()


@dataclass(slots=True)
class Night:
    """What was begun in one night. ``counts`` are takes by what became of them; money is in micro-dollars of all tasks."""

    number: int
    counts: Counter[str] = field(default_factory=Counter)
    micros: int = 0  # estimated
    charged: int = 0
    difference: int = 0  # of what has a charge: how much more that is than had been estimated
    tasks: int = 0

    @property
    def date(self) -> date:
        return date_of(self.number)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class Usual(NamedTuple):
    """What is usual: the medians of the nights before one."""

    done: float
    failed: float
    micros: float
    nights: int


def usual(nights: Sequence[Night]) -> Usual | None:
    """The medians of some nights before the newest of ``nights``, which are newest first; None where there are none."""
    before = nights[1 : USUAL + 1]
    if not before:
        return None
    done, failed = (median(one.counts[name] for one in before) for name in ("done", "failed"))
    return Usual(done, failed, median(one.micros for one in before), len(before))


class Slots(NamedTuple):
    """Slots in use over a night: ``steps`` are (second, tasks that run from then on); ``failed`` when tasks failed."""

    start: float
    end: float
    steps: Sequence[tuple[float, int]]
    failed: Sequence[float]
    most: int
    mean: float


def slots(
    spans: Iterable[tuple[float, float]], failed: Iterable[float], start: float, end: float
) -> Slots | None:
    """The slots that tasks held between ``start`` and ``end``, cut to when any was held; None where none was.

    ``spans`` are (accepted, ended). A span of no length counts for a second.
    """
    changes: dict[float, int] = defaultdict(int)
    for accepted, ended in spans:
        begin, stop = max(accepted, start), min(max(ended, accepted + 1), end)
        if begin < stop:
            changes[begin] += 1
            changes[stop] -= 1
    if not changes:
        return None
    steps, running, held = [], 0, 0.0
    times = sorted(changes)
    for at, after in zip(times, [*times[1:], times[-1]], strict=True):
        running += changes[at]
        held += running * (after - at)
        steps.append((at, running))
    start, end = times[0], times[-1]
    return Slots(
        start,
        end,
        _thinned(steps, start, end),
        [at for at in failed if start <= at <= end],
        max(running for _, running in steps),
        held / (end - start),
    )


def _thinned(steps: Sequence[tuple[float, int]], start: float, end: float) -> list[tuple[float, int]]:
    """At most one step for each point of a drawing: the highest."""
    if len(steps) <= POINTS:
        return list(steps)
    width = (end - start) / POINTS
    best: dict[int, int] = {}
    level = 0
    for at, running in steps:
        bin_ = min(int((at - start) / width), POINTS - 1)
        best[bin_] = max(best.get(bin_, level), running)
        level = running
    return [*((start + bin_ * width, running) for bin_, running in sorted(best.items())), (end, level)]


class Money(NamedTuple):
    """Money that was estimated, in micro-dollars, by day and manifest: the newest days and the largest manifests, with the rest summed up.

    ``days`` are (day or None for all earlier ones, one sum for each of ``manifests``, their total).
    """

    manifests: Sequence[str]  # the last one is "" where it stands for all others
    days: Sequence[tuple[date | None, Sequence[int], int]]
    totals: Sequence[int]
    total: int
    charged: Sequence[int] = ()  # by manifest, of all days
    differences: Sequence[int] = ()


def money(
    sums: Mapping[tuple[int, str], int],
    bills: Mapping[str, tuple[int, int]] = MappingProxyType({}),
    *,
    days: int = 31,
    manifests: int = 6,
) -> Money:
    """The table of money from estimates by day and manifest, and by manifest what was charged and how much more that is."""
    by_manifest = Counter(dict.fromkeys(bills, 0))
    for (_, manifest), micros in sums.items():
        by_manifest[manifest] += micros
    named = [name for name, _ in by_manifest.most_common()]
    if len(named) > manifests:
        named = [*named[: manifests - 1], ""]
    column = {name: index for index, name in enumerate(named)}
    newest = sorted({day for day, _ in sums}, reverse=True)
    shown = set(newest[:days])
    table: dict[int | None, list[int]] = {day: [0] * len(named) for day in newest[:days]}
    if len(newest) > days:
        table[None] = [0] * len(named)
    for (day, manifest), micros in sums.items():
        table[day if day in shown else None][column.get(manifest, len(named) - 1)] += micros
    rows = [(None if day is None else date_of(day), cells, sum(cells)) for day, cells in table.items()]
    totals = [sum(cells[index] for _, cells, _ in rows) for index in range(len(named))]
    charged, differences = [0] * len(named), [0] * len(named)
    for manifest, (amount, more) in bills.items():
        charged[column.get(manifest, len(named) - 1)] += amount
        differences[column.get(manifest, len(named) - 1)] += more
    return Money(named, rows, totals, sum(totals), charged, differences)
