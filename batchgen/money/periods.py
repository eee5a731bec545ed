"""The day, the ISO week and the calendar month that a moment is in, in a named time zone."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

NAMES = ("day", "week", "month")
QUARTER = 900  # seconds; the days and the offsets of every time zone change at a whole one

_NO_PLACE = frozenset({"localtime", "Factory"})  # another on each machine, and none at all


class Period(NamedTuple):
    """A calendar period: a ``day``, ``week`` or ``month``, from ``begins`` on and before ``ends``, in Unix seconds."""

    name: str
    begins: float
    ends: float


def zone(name: str) -> ZoneInfo:
    """The time zone of this IANA name. Raises ValueError for one that isn't known here."""
    import zoneinfo  # where budgets are set alone

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone is called {name[:80]!r} on this machine") from None


def checked(name: str) -> str:
    """The name of a time zone as a person may write it. Raises ValueError, with names that are like it, for any other.

    Only what is in the list of zones counts: files beside them may have leap seconds, or be another zone on each machine.
    """
    import zoneinfo

    names = zoneinfo.available_timezones() - _NO_PLACE
    if name in names:
        return name
    close = " or ".join(_like(name, names)) or "Europe/Berlin or UTC"
    raise ValueError(f"{name[:80]!r} is no time zone; write its IANA name, such as {close}")


def _like(name: str, names: set[str]) -> list[str]:
    """At most three of the names that ``name`` may mean: by their last part too, in any case."""
    import difflib  # for a mistake alone

    wanted = name.strip().replace(" ", "_").casefold()
    whole = {one.casefold(): one for one in sorted(names)}
    parts = {folded.rpartition("/")[2]: one for folded, one in whole.items()}
    found = [spelt[wanted] for spelt in (whole, parts) if wanted in spelt]
    found += [parts[one] for one in difflib.get_close_matches(wanted.rpartition("/")[2], parts, 3, 0.75)]
    return [*dict.fromkeys(found)][:3]


def containing(moment: float, where: ZoneInfo) -> tuple[Period, Period, Period]:
    """The day, the week (from Monday on) and the month that a moment in Unix seconds is in.

    A date begins when the zone's clocks first show it, or a later one: in some nights they are put back over midnight, and
    some zones have left a day out. So each moment is in one day, and days may have 23, 24.5 or 25 hours.
    Raises ValueError or OverflowError for a moment that no calendar has.
    """
    try:
        day = datetime.fromtimestamp(moment, where).date()
    except OSError as error:
        raise OverflowError(f"{moment} is in no calendar") from error
    while moment >= (ends := _begin(day + timedelta(1), where)):
        day += timedelta(1)
    monday, first = day - timedelta(day.weekday()), day.replace(day=1)
    following = (first + timedelta(31)).replace(day=1)
    return (
        Period("day", _begin(day, where), ends),
        Period("week", _begin(monday, where), _begin(monday + timedelta(7), where)),
        Period("month", _begin(first, where), _begin(following, where)),
    )


class Calendar:
    """The dates, and the wall clock, of a time zone, for many moments in Unix seconds: each quarter of an hour is looked up once."""

    def __init__(self, where: ZoneInfo) -> None:
        self.zone = where
        self._dates: dict[int, date] = {}
        self._offsets: dict[int, float] = {}

    def date(self, moment: float) -> date:
        """The date of the day that a moment is in, as :func:`containing` has it. Raises what that raises."""
        quarter = int(moment // QUARTER)
        found = self._dates.get(quarter)
        if found is None:
            begins = containing(moment, self.zone)[0].begins
            found = self._dates[quarter] = datetime.fromtimestamp(begins, self.zone).date()
        return found

    def wall(self, moment: float) -> float:
        """A moment as the zone's wall clock shows it, counted as if that were UTC."""
        quarter = int(moment // QUARTER)
        offset = self._offsets.get(quarter)
        if offset is None:
            shown = datetime.fromtimestamp(moment, self.zone).utcoffset() or timedelta()
            offset = self._offsets[quarter] = shown.total_seconds()
        return moment + offset


def _begin(day: date, where: ZoneInfo) -> float:
    """When the clocks of a zone first show this date, or a later one."""
    midnight = datetime.combine(day, time(), where)
    latest, earliest = int(midnight.timestamp()), int(midnight.replace(fold=1).timestamp())
    while earliest < latest:  # the clocks were put forward over midnight: in between is when
        middle = (earliest + latest) // 2
        if datetime.fromtimestamp(middle, where).date() >= day:
            latest = middle
        else:
            earliest = middle + 1
    return float(latest)
