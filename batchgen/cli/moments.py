"""Reads moments as people write them: a time of day, a date and time, or how long from now; in a time zone where one is named.

A time that the clocks show twice in a night, because they are put back, is the first one that is still to come. One that
they leave out, because they are put forward, is when they first show a later one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from batchgen.cli.quantities import seconds

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

FORMS = "write 06:30, 2h, 2026-01-31T06:30 or '06:30 Europe/Berlin'"


def moment(text: str, now: float) -> float:
    """The time of ``--deadline`` or ``--until`` in Unix seconds; ``now`` is, too.

    Without a zone's name or an offset from UTC, times are those of this machine's zone. Raises ValueError for what can't be
    read, and for what has passed.
    """
    text = text.strip()
    time, where = _in_zone(text)
    try:
        at = _read(time, where, now)
        datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time and no duration; {FORMS}") from None
    if at < now:
        raise ValueError(f"{text!r} has passed")
    return at


def _in_zone(text: str) -> tuple[str, ZoneInfo | None]:
    """A time without the name of its zone, and the zone; None where it names none. Raises ValueError for an unknown one."""
    time, _, name = text.rpartition(" ")
    if ":" not in time or not name[:1].isalpha():
        return text, None
    from batchgen.money import periods

    return time.strip(), periods.zone(periods.checked(name))


def _read(text: str, where: ZoneInfo | None, now: float) -> float:
    if re.fullmatch(r"\d{1,2}:\d\d", text):
        hour, minute = map(int, text.split(":"))
        today = datetime.fromtimestamp(now, where).replace(
            tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0, fold=0
        )
        days = today, today + timedelta(days=1)
        return next(at for day in days for at in _shown(day, where) if at > now)
    if not re.match(r"\d{4}-", text):
        return now + seconds(text)
    given = datetime.fromisoformat(text)
    if given.tzinfo is None:
        return next((at for at in _shown(given, where) if at >= now), now - 1)
    if where is not None:
        raise ValueError("an offset from UTC, and a zone")
    return given.timestamp()


def _shown(wall: datetime, where: ZoneInfo | None) -> Iterator[float]:
    """When the clocks of a zone, or of this machine, show a time, in Unix seconds: once, or twice where they are put back."""
    first, second = (wall.replace(tzinfo=where, fold=fold).timestamp() for fold in (0, 1))
    if first <= second:
        yield from dict.fromkeys((first, second))
        return
    latest, earliest = int(first), int(second)  # they are put forward in between
    while earliest < latest:
        middle = (earliest + latest) // 2
        if datetime.fromtimestamp(middle, where).replace(tzinfo=None) >= wall:
            latest = middle
        else:
            earliest = middle + 1
    yield float(latest)
