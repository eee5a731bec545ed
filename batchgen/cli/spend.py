"""``batchgen spend``: money by day, week, month, manifest, mode or job: estimated, reserved, charged, and the difference."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from batchgen.amounts import dollars, shown
from batchgen.cli import settings
from batchgen.cli.budget import machine_zone
from batchgen.cli.output import Output
from batchgen.cli.report import counted
from batchgen.errors import UsageError
from batchgen.ledger.costs import Sums, Within
from batchgen.ledger.reader import Records
from batchgen.money import periods
from batchgen.names import composed

PERIODS: Mapping[str, Callable[[date], str]] = {
    "day": "{:%Y-%m-%d}".format,
    "week": "{:%G-W%V}".format,
    "month": "{:%Y-%m}".format,
}
BY = (*PERIODS, "manifest", "mode", "job")
_AMOUNTS = ("estimated", "reserved", "charged", "difference")
_FIELDS = ("tasks", *(f"{name}_usd" for name in _AMOUNTS))
AT_ONCE = 200  # lines of CSV
_TABLE_WIDTH = 78  # columns that the table needs, with a period's name


class Group(NamedTuple):
    """What a line is about, as fields of JSON and CSV, and its sums."""

    names: Mapping[str, str]
    sums: Sums


def spend(args: argparse.Namespace, out: Output) -> int:
    """Print what the ledger's tasks cost. Returns the exit code. Raises UsageError and LedgerError."""
    if args.json and args.format == "csv":
        raise UsageError("--json prints one JSON object: leave it out for --format csv")
    if args.since and args.until and args.since > args.until:
        raise UsageError(f"--since {args.since} is after --until {args.until}")
    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) as ledger:
        setting = ledger.budgets.standing()
        timezone = setting.timezone if setting is not None else machine_zone(os.environ)
        try:
            zone = periods.zone(timezone)
        except ValueError as error:
            raise UsageError(f"{error}; `batchgen budget set --timezone NAME` names another") from None
        groups = _groups(ledger, args.by, _within(args.since, args.until, zone), zone)
        if args.json:
            sums: dict[str, Any] = {}  # filled in once the groups before it are written
            out.document(
                {
                    "ledger": path,
                    "by": args.by,
                    "timezone": timezone,
                    "since": args.since and str(args.since),
                    "until": args.until and str(args.until),
                    "groups": _objects(groups, sums),
                    "sums": sums,
                }
            )
        elif args.format == "csv":
            out.data(_csv_lines(groups, args.by), end="\n")
        else:
            narrow = out.width is not None and out.width < _TABLE_WIDTH
            out.lines((_narrow if narrow else _table)(groups, args.by, timezone))
    return 0


def _within(since: date | None, until: date | None, zone: ZoneInfo) -> Within:
    """The quarters of an hour of the days from ``since`` to ``until``, both included."""
    within = Within()
    if since is not None:
        within = within._replace(first=int(_day(since, zone).begins // periods.QUARTER))
    if until is not None:
        within = within._replace(end=int(_day(until, zone).ends // periods.QUARTER))
    return within


def _day(day: date, zone: ZoneInfo) -> periods.Period:
    return periods.containing(datetime.combine(day, time(12), zone).timestamp(), zone)[0]


def _groups(ledger: Records, by: str, within: Within, zone: ZoneInfo) -> Iterator[Group]:
    """The groups in order: only those of jobs may be many, and they are never all in memory."""
    if by == "job":
        for manifest, job_id, sums in ledger.costs.by_job(within):
            yield Group({"manifest": composed(manifest), "job": composed(job_id)}, sums)
        return
    found: dict[str, Sums] = {}
    if by in PERIODS:
        calendar = periods.Calendar(zone)
        for quarter, sums in ledger.costs.by_quarter(within):
            name = PERIODS[by](calendar.date(quarter * periods.QUARTER))
            found.setdefault(name, Sums()).add(sums)
    else:
        costs = ledger.costs
        for text, sums in costs.by_manifest(within) if by == "manifest" else costs.by_mode(within):
            found.setdefault(composed(text), Sums()).add(sums)
    yield from (Group({by: name}, found[name]) for name in sorted(found))


def _objects(groups: Iterable[Group], total: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The groups for scripts; ``total`` is filled with their sums at the end."""
    all_ = Sums()
    for names, sums in groups:
        all_.add(sums)
        yield {**names, **_fields(sums)}
    total |= _fields(all_)


def _fields(sums: Sums) -> dict[str, Any]:
    return dict(zip(_FIELDS, _numbers(sums), strict=True))


def _numbers(sums: Sums) -> tuple[float, ...]:
    """The values of a group's fields."""
    return sums.tasks, *map(dollars, (sums.estimated, sums.reserved, sums.charged, sums.difference))


def _csv_lines(groups: Iterable[Group], by: str) -> Iterator[str]:
    """The groups as CSV, without their sums, so that a column sums up; many lines at once, which is quicker."""
    yield ",".join([*(("manifest", "job") if by == "job" else (by,)), *_FIELDS])
    rows = ([*names.values(), *_numbers(sums)] for names, sums in groups)
    while some := list(itertools.islice(rows, AT_ONCE)):
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(some)
        yield lines.getvalue().removesuffix("\n")


def _table(groups: Iterable[Group], by: str, timezone: str) -> Iterator[str]:
    """A line for each group, its numbers first, since names may be long; last the sums."""
    yield f"{'tasks':>9}{''.join(f'{name:>14}' for name in _AMOUNTS)}  {by}"
    total = Sums()
    for names, sums in groups:
        total.add(sums)
        yield _line(sums, "/".join(names.values()))
    yield _line(total, "all")
    yield from _zone(by, timezone)


def _line(sums: Sums, name: str) -> str:
    return f"{sums.tasks:>9,}{''.join(f'{amount:>14}' for amount in _texts(sums))}  {name}"


def _narrow(groups: Iterable[Group], by: str, timezone: str) -> Iterator[str]:
    """Three lines for each group and for the sums, for a terminal that has no room for the table."""
    total = Sums()
    for names, sums in groups:
        total.add(sums)
        yield from _lines(sums, "/".join(names.values()))
    yield from _lines(total, "all")
    yield from _zone(by, timezone)


def _lines(sums: Sums, name: str) -> Iterator[str]:
    estimated, reserved, charged, difference = _texts(sums)
    yield f"{name}: {counted(sums.tasks, 'task')}"
    yield f"  estimated {estimated}, reserved {reserved}"
    yield f"  charged {charged}, difference {difference}"


def _texts(sums: Sums) -> tuple[str, ...]:
    more = "+" if sums.difference > 0 else ""
    return (
        shown(sums.estimated),
        shown(sums.reserved),
        shown(sums.charged),
        f"{more}{shown(sums.difference)}",
    )


def _zone(by: str, timezone: str) -> Iterator[str]:
    if by in PERIODS:
        yield f"Days are those of {timezone}."
