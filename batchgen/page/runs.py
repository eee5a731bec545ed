"""The newest runs, as the page shows them."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from batchgen.ledger.reader import Records
from batchgen.ledger.runs import the_one_on
from batchgen.money.periods import Calendar
from batchgen.page import nights
from batchgen.run.tally import did
from batchgen.run.waits import shown_duration

SHOWN = 14


class Run(NamedTuple):
    """One run: its ``name`` is its ``run_id`` in `export`, ``began`` its time for people, ``night`` the one that it began in."""

    name: str
    began: str
    night: date
    took: str
    end: str
    words: str


def newest(ledger: Records, calendar: Calendar) -> list[Run]:
    """The newest runs, the newest first. Raises LedgerError."""
    found = ledger.runs.last(SHOWN)
    on = the_one_on(found)
    rows = []
    for run in found:
        end = f"exit {run.exit_code}" if run.ended is not None else "on" if run == on else "killed"
        if run.ended is None and not run.here:
            end = "no end"
        took = "" if run.ended is None else shown_duration(max(run.ended - run.began, 0.0))
        night = nights.Night(nights.night_of(calendar.wall(run.began))).date
        began = f"{datetime.fromtimestamp(run.began, calendar.zone):%d %b, %H:%M}"
        rows.append(Run(run.name, began, night, took, end, "; ".join([run.command, *did(run.facts)])))
    return rows
