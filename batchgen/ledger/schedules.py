"""The schedules that this ledger's nights are started by, as far as `schedule --install` wrote them: when the next one is due, and which were missed.

They are a note of the ledger. Nothing here starts anything: cron and systemd do, by what was written for them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from batchgen.ledger import beside, database
from batchgen.ledger.integrity import wrong_cell
from batchgen.ledger.reader import Records
from batchgen.money import periods

NOTE = "schedules"
GRACE = 600.0  # seconds after its time until a night counts as missed
EARLY = 3600.0  # where clocks are put forward, cron starts before the time that the night doesn't have
LATE = 3 * 3600.0  # cron makes up for so long a gap; a timer of systemd for any, until the next night
PAST = 20  # schedules that are no more, and are remembered


class Schedule(NamedTuple):
    """One schedule. Times are Unix seconds; ``until`` is None while it is installed."""

    name: str
    kind: str  # "cron" or "systemd"
    at: str  # HH:MM, of ``timezone``
    timezone: str  # its IANA name
    delay: float  # seconds that a night may begin later, by chance
    host: str
    arguments: tuple[str, ...]  # of the command, masked, as a run records them
    since: float
    until: float | None

    def times(self, first: date) -> Iterator[float]:
        """Its times from that date on, the earliest first; without end."""
        hour, minute = map(int, self.at.split(":"))
        zone = periods.zone(self.timezone)
        day = first
        while day.year < 9999:
            yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()
            day += timedelta(1)

    def next(self, now: float) -> float | None:
        """When its next night is due; None where it is no more."""
        if self.until is not None:
            return None
        return next(moment for moment in self.times(_before(now)) if moment >= now)

    def missed(self, began: Sequence[float], since: float, now: float) -> list[float]:
        """The nights that should have begun by now and didn't, from ``since`` on; ``began`` is when its runs did, in order."""
        end = min(now - self.delay - GRACE, now if self.until is None else self.until)
        missed, times = [], self.times(_before(max(since, self.since)))
        moment = next(times)
        while moment < end:
            after = next(times)
            last = after - EARLY if self.kind == "systemd" else moment + self.delay + LATE
            found = bisect_left(began, moment - EARLY)
            if moment >= max(since, self.since) and not (found < len(began) and began[found] < last):
                missed.append(moment)
            moment = after
        return missed


class Missed(NamedTuple):
    """A night that should have been and wasn't."""

    due: float
    schedule: Schedule


def schedules(ledger: Records) -> list[Schedule]:
    """What is scheduled for this ledger, and what was, the oldest first. Raises LedgerError."""
    return _read(ledger.note(NOTE), ledger.path)


def next_run(ledger: Records, now: float) -> tuple[float, Schedule] | None:
    """When the next run is due by the schedules that are known, and which it is of. Raises LedgerError."""
    found = [(moment, one) for one in schedules(ledger) if (moment := one.next(now)) is not None]
    return min(found, key=lambda pair: pair[0], default=None)


def missed(ledger: Records, since: float, now: float) -> list[Missed]:
    """The nights from ``since`` on that should have begun by now and didn't, the newest first. Raises LedgerError.

    A night was there where a run with the schedule's own arguments is recorded, also one that found the ledger taken.
    """
    known = schedules(ledger)
    if not known:
        return []
    runs = ledger.runs.since(max(since, min(one.since for one in known)) - EARLY)
    found = []
    for one in known:
        began = [run.began for run in runs if run.words == one.arguments]
        found += [Missed(due, one) for due in one.missed(began, since, now)]
    return sorted(found, key=lambda night: -night.due)


def install(path: str, schedule: Schedule) -> None:
    """Record a schedule in place of the one of its name and host. Nothing changes where it is the same. Raises LedgerError."""
    _change(path, schedule.name, schedule.host, schedule.since, schedule)


def remove(path: str, name: str, host: str, at: float) -> None:
    """Record that a schedule is no more, since ``at``. Raises LedgerError."""
    _change(path, name, host, at, None)


def _change(path: str, name: str, host: str, at: float, new: Schedule | None) -> None:
    with beside.transaction(path) as connection:
        row = connection.execute("SELECT value FROM notes WHERE key = ?", (NOTE,)).fetchone()
        known = _read(row and row[0], path)
        for number, one in enumerate(known):
            if (one.name, one.host, one.until) == (name, host, None):
                if new is not None and new._replace(since=one.since) == one:
                    return
                known[number] = one._replace(until=at)
        known += [] if new is None else [new]
        there = [one for one in known if one.until is None]
        gone = [one for one in known if one.until is not None][-PAST:]
        text = json.dumps([one._asdict() for one in sorted([*gone, *there], key=lambda one: one.since)])
        sql = "INSERT INTO notes VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        database.execute(connection, sql, (NOTE, text))


def _read(text: str | None, path: str) -> list[Schedule]:
    if text is None:
        return []
    try:
        return [_schedule(one) for one in json.loads(text)]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise wrong_cell("notes.value", NOTE, "is no list of schedules") from error


def _schedule(one: dict[str, Any]) -> Schedule:
    found = Schedule(**{**one, "arguments": tuple(map(str, one["arguments"]))})
    if not 0 <= found.since < 1e11 or not 0 <= found.delay < 1e6:
        raise ValueError
    next(found.times(date(2026, 1, 1)))
    return found


def _before(moment: float) -> date:
    return datetime.fromtimestamp(moment, UTC).date() - timedelta(2)  # in any time zone
