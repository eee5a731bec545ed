"""What the rows of a ledger cost, summed up by quarters of an hour in the transaction of each change.

So what a day or a month has cost is known without reading its rows.
"""

from __future__ import annotations

import sqlite3

from batchgen.ledger import database
from batchgen.ledger.transitions import counted
from batchgen.models import Record

_ADD = "INSERT INTO spent VALUES (?, ?) ON CONFLICT (quarter) DO UPDATE SET micros = micros + excluded.micros"


def account(connection: sqlite3.Connection, before: Record | None, after: Record) -> None:
    """Count what the change of a row does to the money that is spent, inside the change's transaction."""
    changes = [(after.quarter, counted(after))]
    if before is not None:
        changes.append((before.quarter, -counted(before)))
    if changes[0][0] == changes[-1][0]:
        changes = [(after.quarter, sum(micros for _, micros in changes))]
    for quarter, micros in changes:
        if micros:
            database.execute(connection, _ADD, (quarter, micros))
