"""Notes that are written once, also beside a run: whoever comes first decides, and all read the same."""

from __future__ import annotations

from batchgen.ledger import beside, database


def settle(path: str, key: str, value: str) -> str:
    """Write a note into an existing ledger, unless it has one of that key. Returns what it has. Raises LedgerError."""
    with beside.transaction(path) as connection:
        database.execute(connection, "INSERT OR IGNORE INTO notes VALUES (?, ?)", (key, value))
        ((kept,),) = database.execute(connection, "SELECT value FROM notes WHERE key = ?", (key,))
    return str(kept)
