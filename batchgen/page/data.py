"""From a ledger to what the page shows of it. Reads the ledger, and looks whether clips and pictures lie where they should."""

from __future__ import annotations

import os
from array import array
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from batchgen.amounts import Use
from batchgen.ledger.images import RememberedImages
from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import may_be_charged
from batchgen.models import Record, State
from batchgen.money import periods
from batchgen.money.periods import Calendar
from batchgen.money.prices import BUILT_IN, Prices
from batchgen.page import causes, nights, runs
from batchgen.page.nights import Amounts, Money, Night, Slots, Usual
from batchgen.page.runs import Run
from batchgen.page.takes import KINDS, Take, Takes, began, micros
from batchgen.request.asked import parsed
from batchgen.request.image_fields import is_url
from batchgen.run import changed
from batchgen.run.charges import drift

NIGHTS = 14  # that are shown


@dataclass(frozen=True, slots=True)
class PageData:
    """Everything that the page shows. ``made`` is Unix seconds, ``calendar`` shows such times to people; ``nights`` are newest first."""

    ledger: str
    rehearsal: bool
    made: float
    calendar: Calendar
    takes: Sequence[Take]
    nights: Sequence[Night]
    usual: Usual | None
    slots: Slots | None
    money: Money
    failures: Sequence[causes.Group]
    risks: Sequence[causes.Risk]
    units: str
    budgets: Sequence[Use] = ()  # what is left of those that are set
    runs: Sequence[Run] = ()  # the newest
    drift: str | None = None  # what to say of a charge that isn't what was estimated


class _Sums:
    """What is summed up over all rows while they are read."""

    def __init__(self, calendar: Calendar, prices: Prices) -> None:
        self._calendar, self._prices = calendar, prices
        self.units = 0.0
        self.by_day: dict[tuple[date, str], Amounts] = defaultdict(Amounts)
        self.nights: dict[int, Night] = {}
        self.spans = array("d")  # accepted, ended (infinite while it runs)
        self.failed = array("d")
        self._drifted: Record | None = None

    def add(self, row: Record) -> None:
        cost, wall = micros(row), self._calendar.wall
        night = self.night(began(row))
        if cost or row.attempt:
            night.tasks += 1
        self.units += _number(row.units_charged)
        amounts = Amounts(cost)
        if row.charged is not None and may_be_charged(row):
            amounts.charged, amounts.difference = row.charged, row.charged - cost
            if row.state is not State.FAILED and row.charged != row.estimate:
                self._drifted = row
        if cost or amounts.charged:
            night.money.add(amounts)
            self.by_day[self._calendar.date(began(row)), row.manifest].add(amounts)
        if row.submitted_at is not None:
            running = row.state is State.SUBMITTED
            end = float("inf") if running else wall(row.finished_at or row.submitted_at)
            self.spans.extend((wall(row.submitted_at), end))
            if row.state is State.FAILED and row.finished_at is not None:
                self.failed.append(wall(row.finished_at))

    def night(self, at: float) -> Night:
        """The night that a moment in Unix seconds is in."""
        number = nights.night_of(self._calendar.wall(at))
        return self.nights.setdefault(number, Night(number))

    @property
    def drift(self) -> str | None:
        """What to say of the last charge that wasn't as estimated; nothing where the prices are those of the bill by now."""
        row = self._drifted
        if row is None or self._prices.estimate(parsed(row.canonical)) == row.charged:
            return None
        return drift(row, {"charged": row.charged}, self._prices)


@dataclass(frozen=True, slots=True)
class Account:
    """What a page's money is measured by: an account's prices, and the IANA name of the time zone where no budget names one."""

    prices: Prices = BUILT_IN
    timezone: str = "UTC"


PUBLISHED = Account()


def gather(
    ledger: Records,
    now: float,
    chosen: Container[tuple[str, str, int]] | None = None,
    account: Account = PUBLISHED,
) -> PageData:
    """Read everything that the page shows; ``now`` in Unix seconds, ``chosen`` the keys of the takes that it is about.

    Days and nights are those of the budgets' time zone, as `spend` has them. Raises LedgerError.
    """
    budgets, setting = ledger.budgets.uses(now), ledger.budgets.standing()
    calendar = Calendar(periods.zone(account.timezone if setting is None else setting.timezone))
    takes, sums = Takes(), _Sums(calendar, account.prices)
    why = changed.noted(ledger)
    differ: dict[tuple[str, str, int], str] = {}
    for row, _, current in ledger.exported():
        if chosen is not None and row.key not in chosen:
            continue
        takes.add(row, current=current)
        sums.add(row)
        if row.external_task_id in why:
            differ[row.key] = why[row.external_task_id]
    for key, reason in differ.items():
        takes.by_key[key].changed = reason
    for one in ledger.unusable():
        if chosen is not None and one.key not in chosen:
            continue
        takes.refuse_picture(one.key, one.text, one.since, given_up=one.given_up is not None)
    takes.mark_retries(ledger)
    takes.mark_verdicts(ledger)
    listed = list(takes.by_key.values())
    _find_risks(listed, ledger.images())
    for take in listed:
        if counts_for := KINDS[take.kind][1]:
            sums.night(take.at).counts[counts_for] += 1
    newest = sorted(
        (one for one in sums.nights.values() if one.total or one.tasks), key=lambda one: -one.number
    )
    return PageData(
        ledger.path,
        ledger.is_rehearsal,
        now,
        calendar,
        listed,
        newest[:NIGHTS],
        nights.usual(newest),
        _slots(sums, newest, calendar.wall(now)),
        nights.money(sums.by_day),
        causes.failures(listed),
        causes.risks(listed, now),
        f"{sums.units:,.2f}".rstrip("0").rstrip(".") if sums.units else "",
        [use for use in budgets if use.limit is not None],
        runs.newest(ledger, calendar),
        sums.drift,
    )


def _number(text: str | None) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if 0 <= value < 1e9 else 0.0


def _slots(sums: _Sums, newest: Sequence[Night], now: float) -> Slots | None:
    """The slots of the newest night in which a task ran."""
    pairs = [(begin, min(end, now)) for begin, end in zip(sums.spans[::2], sums.spans[1::2], strict=True)]
    for night in newest[:NIGHTS]:
        start = night.number * nights.DAY + nights.NOON
        if found := nights.slots(pairs, sums.failed, start, start + nights.DAY):
            return found
    return None


def _find_risks(takes: Sequence[Take], remembered: RememberedImages) -> None:
    listing = _Listing()
    others: dict[tuple[str, str], bool] = {}
    for take in takes:
        if take.kind == "unknown":
            take.risk = "unknown"
        elif take.kind == "coming":
            take.risk = "link"
        elif take.clip is not None and not listing.has(take.clip):
            take.risk, take.clip = "missing", None
        elif take.changed is not None or take.kind != "done" or not take.image or is_url(take.image):
            continue
        elif take.image_sha256:
            key = (take.image, take.image_sha256)
            if key not in others:
                others[key] = _is_another(*key, remembered)
            if others[key]:
                take.risk = "picture"


class _Listing:
    """Whether files are there, with one look at each folder: clips of years lie in few folders."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        folder, name = os.path.split(path)
        names = self._names.get(folder)
        if names is None:
            try:
                names = frozenset(os.listdir(folder))
            except OSError:
                names = frozenset()
            self._names[folder] = names
        return name in names


def _is_another(path: str, sha256: str, remembered: RememberedImages) -> bool:
    """Whether a picture is known to be another one than was sent, without reading it."""
    image = remembered.get(path)
    if image is None or image.sha256 == sha256:
        return False
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_size == image.size and max(found.st_mtime_ns, found.st_ctime_ns) == image.mtime_ns


def iter_pictures(takes: Sequence[Take]) -> Iterator[tuple[str, str]]:
    """The pictures that thumbnails can be made of, as (digest, path), the newest takes first, each digest once."""
    seen: set[str] = set()
    for take in reversed(takes):
        if take.image_sha256 and take.image and os.path.isabs(take.image) and take.image_sha256 not in seen:
            seen.add(take.image_sha256)
            yield take.image_sha256, take.image


def by_kind(takes: Sequence[Take]) -> Mapping[str, int]:
    """How many takes are of each kind, the kinds in order; those without any are left out."""
    counts = dict.fromkeys(KINDS, 0)
    for take in takes:
        counts[take.kind] += 1
    return {kind: count for kind, count in counts.items() if count}
