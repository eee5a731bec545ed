"""What a day, a week and a month may cost, and whether one more create fits. It is only ever added to; the last line counts.

The check is made in the transaction of a create's intent: whoever else writes the ledger has written before it, or waits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from batchgen.amounts import Use
from batchgen.errors import LedgerError, OverBudget
from batchgen.ledger import beside, database
from batchgen.ledger.integrity import CellTypes, wrong_cell
from batchgen.ledger.transitions import counted, quarter_of
from batchgen.models import Record
from batchgen.money import periods

Query = Callable[[str, Sequence[Any]], Iterator[Sequence[Any]]]

_FIELDS = "at, day, week, month, timezone, by"
_LAST = f"SELECT {_FIELDS} FROM budgets ORDER BY id DESC LIMIT 1"
_INSERT = f"INSERT INTO budgets ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?)"
_SPENT = f"SELECT {', '.join(['(SELECT ifnull(sum(micros), 0) FROM spent WHERE quarter >= ?)'] * len(periods.NAMES))}"


class Setting(NamedTuple):
    """Budgets as somebody set them, in micro-dollars; None is no limit, and 0 nothing. ``at`` is Unix seconds.

    ``timezone`` is the IANA name of the zone that days, weeks and months are those of.
    """

    at: float
    day: int | None
    week: int | None
    month: int | None
    timezone: str
    by: str | None = None

    @property
    def limits(self) -> tuple[int | None, int | None, int | None]:
        """The budgets of a day, a week and a month."""
        return self.day, self.week, self.month

    @property
    def has_limits(self) -> bool:
        return any(limit is not None for limit in self.limits)


_SETTING = CellTypes(Setting, Setting._fields)


class Budgets:
    """Reads the budgets of a ledger."""

    def __init__(self, query: Query) -> None:
        """``query`` gives the rows that a statement finds with these values. Raises LedgerError."""
        self._query = query

    def standing(self) -> Setting | None:
        """The budgets that hold now; None where none were ever set."""
        return next(map(_setting, self._query(_LAST, ())), None)

    def history(self) -> list[Setting]:
        """All that were ever set, oldest first."""
        return [_setting(row) for row in self._query(f"SELECT {_FIELDS} FROM budgets ORDER BY id", ())]

    def uses(self, at: float) -> list[Use]:
        """How much of a day's, a week's and a month's budget is used at a moment; nothing where none were ever set.

        Each has its use, also where it has no limit.
        """
        setting = self.standing()
        return [] if setting is None else _uses(self._query, setting, at)

    def refusal(self, before: Record | None, cost: int, at: float) -> OverBudget | None:
        """Why a create of this cost has no room at a moment, where its row was ``before`` (None: it is new); else None.

        What the clock's future has counts too: a clock that was set back leaves money there.
        """
        setting = self.standing()
        if setting is None or not setting.has_limits:
            return None
        freed = 0 if before is None else counted(before)
        over = []
        for use in _uses(self._query, setting, at):
            again = before is not None and (before.quarter or 0) >= quarter_of(use.begins)
            without = use._replace(spent=use.spent - freed) if again else use
            if not without.holds(cost):
                over.append(without)
        return OverBudget(over, cost) if over else None


def set_budgets(
    path: str,
    limits: Mapping[str, int | None],
    timezone: str | None,
    *,
    usual: str,
    at: float,
    by: str | None,
) -> Setting:
    """Set budgets, by the names of their periods and in micro-dollars, and their time zone. What isn't given stays as it was.

    ``usual`` is the zone where none was set before. A run may hold the ledger meanwhile: its next create is held to them.
    """
    with beside.transaction(path) as connection:
        before = Budgets(_query(connection)).standing() or Setting(at, None, None, None, usual)
        after = before._replace(**limits, timezone=timezone or before.timezone, at=at, by=by)
        database.execute(connection, _INSERT, after)
    return after


def check(connection: sqlite3.Connection, before: Record | None, after: Record, at: float) -> None:
    """Raise OverBudget where a row that becomes ``after`` at ``at`` has no room; nothing is written here."""
    if (refusal := Budgets(_query(connection)).refusal(before, counted(after), at)) is not None:
        raise refusal


def _query(connection: sqlite3.Connection) -> Query:
    return lambda sql, values: map(database.restored, database.execute(connection, sql, values))


def _uses(query: Query, setting: Setting, at: float) -> list[Use]:
    try:
        zone = periods.zone(setting.timezone)
    except ValueError as error:
        raise LedgerError(
            f"the budgets of this ledger can't be held: {error}. `batchgen budget set --timezone NAME` names another."
        ) from None
    try:
        current = periods.containing(at, zone)
    except (ValueError, OverflowError):
        raise LedgerError(
            "the budgets of this ledger can't be held: this machine's clock is in no calendar."
        ) from None
    (spent,) = query(_SPENT, [quarter_of(one.begins) for one in current])
    if any(type(micros) is not int for micros in spent):
        raise wrong_cell("micros", "spent", "is no amount")
    return [
        Use(
            one.name,
            limit,
            micros,
            one.begins,
            one.ends,
            f"{datetime.fromtimestamp(one.ends, zone):%Y-%m-%d %H:%M} ({zone.key})",
        )
        for one, limit, micros in zip(current, setting.limits, spent, strict=True)
    ]


def _setting(row: Sequence[Any]) -> Setting:
    """A Setting from the values of its fields."""
    _SETTING.check(row)
    setting = Setting(*row)
    if any(limit is not None and limit < 0 for limit in setting.limits):
        raise wrong_cell("a budget", setting.at, "is below 0")
    return setting
