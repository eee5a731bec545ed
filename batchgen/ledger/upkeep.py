"""What is done to a ledger's file as a whole, under its lock."""

from __future__ import annotations

from batchgen.errors import LedgerBusy, LedgerError, LedgerOutdated
from batchgen.ledger import database
from batchgen.ledger.lock import Lock


def bring_up_to_date(path: str, outdated: LedgerOutdated) -> None:
    """Migrate a ledger that ``outdated`` says is of an older version. Raises LedgerError that says why it can't be."""
    try:
        lock = Lock.acquire(f"{path}.lock")
        try:
            database.open_to_write(path, None).close()
        finally:
            lock.release()
    except LedgerBusy as error:
        raise LedgerBusy(f"{outdated} It is brought up to date once it is free, and {error}") from error
    except LedgerError as error:
        raise LedgerError(
            f"{outdated} It can't be brought up to date where it is: {error} Where it can't be written, copy it to"
            " where it can, and name the copy with --ledger."
        ) from error
