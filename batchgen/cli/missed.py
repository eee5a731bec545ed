"""The nights that should have been and weren't, as `runs` shows them."""

from __future__ import annotations

import time
from typing import Any

from batchgen.ledger import schedules
from batchgen.ledger.reader import Records
from batchgen.ledger.runs import RunRecord
from batchgen.ledger.schedules import Missed
from batchgen.storage.clips import iso


def missed(ledger: Records, shown: list[RunRecord], most: int) -> list[Missed]:
    """The nights beside those that are ``shown``, of at most ``most``, the newest first. Raises LedgerError."""
    since = shown[-1].began if len(shown) == most else 0.0
    return schedules.missed(ledger, since, time.time())[:most]


def line(night: Missed) -> str:
    """A night that should have been, in a line, and where to look."""
    due = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(night.due))
    one = night.schedule
    where = "cron's log, and its mail" if one.kind == "cron" else f"journalctl --user -u {one.name}"
    return f"{due}    missed  no run began; the schedule {one.name} ({one.kind}) on {one.host} had one then: see {where}"


def fields(night: Missed) -> dict[str, Any]:
    """The same for scripts."""
    one = night.schedule
    return {"due_at": iso(night.due), "schedule": one.name, "kind": one.kind, "host": one.host}
