"""Nights, days and slots, from when tasks began and ended. Pure: times are seconds of a wall clock, counted as if in UTC."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from statistics import median
from typing import NamedTuple

DAY = 86_400
NOON = DAY // 2
USUAL = 7  # nights that a night is compared with
POINTS = 480  # of a drawn timeline


def night_of(wall: float) -> int:
    """The night, counted by the day on which it begins: from noon to noon."""
    return int((wall - NOON) // DAY)


@dataclass(slots=True)
class Amounts:
    """Money of some tasks, in micro-dollars; ``difference`` is how much more was charged than estimated, of what has a charge."""

    estimated: int = 0
    charged: int = 0
    difference: int = 0

    def add(self, other: Amounts) -> None:
        self.estimated += other.estimated
        self.charged += other.charged
        self.difference += other.difference


@dataclass(slots=True)
class Night:
    """What was begun in one night. ``counts`` are takes by what became of them; money is that of all tasks."""

    number: int
    counts: Counter[str] = field(default_factory=Counter)
    money: Amounts = field(default_factory=Amounts)
    tasks: int = 0

    @property
    def date(self) -> date:
        return datetime.fromtimestamp(self.number * DAY, UTC).date()

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
    return Usual(done, failed, median(one.money.estimated for one in before), len(before))


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
    """Money by day and manifest: the newest days and the largest manifests, with the rest summed up.

    ``days`` are (day or None for all earlier ones, what each of ``manifests`` was estimated at, the day's amounts).
    """

    manifests: Sequence[str]  # the last one is "" where it stands for all others
    days: Sequence[tuple[date | None, Sequence[int], Amounts]]
    by_manifest: Sequence[Amounts]  # of all days
    all: Amounts


def money(sums: Mapping[tuple[date, str], Amounts], *, days: int = 31, manifests: int = 6) -> Money:
    """The table of money, from amounts by day and manifest."""
    estimated: Counter[str] = Counter()
    for (_, manifest), amounts in sums.items():
        estimated[manifest] += amounts.estimated
    named = [name for name, _ in estimated.most_common()]
    if len(named) > manifests:
        named = [*named[: manifests - 1], ""]
    column = {name: index for index, name in enumerate(named)}
    newest = sorted({day for day, _ in sums}, reverse=True)
    lines: dict[date | None, tuple[list[int], Amounts]] = {
        day: ([0] * len(named), Amounts()) for day in newest[:days]
    }
    if len(newest) > days:
        lines[None] = ([0] * len(named), Amounts())
    by_manifest, total = [Amounts() for _ in named], Amounts()
    for (day, manifest), amounts in sums.items():
        cells, of_day = lines[day if day in lines else None]
        place = column.get(manifest, len(named) - 1)
        cells[place] += amounts.estimated
        for one in (of_day, by_manifest[place], total):
            one.add(amounts)
    return Money(named, [(day, cells, of_day) for day, (cells, of_day) in lines.items()], by_manifest, total)
