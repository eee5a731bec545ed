"""Short writes beside a run: what people say of clips, and the takes that they order.

The lock beside a ledger makes one run the only writer of everything that a create depends on: it decides by what it has
read, and nobody else may change that. Verdicts and orders need no such lock. No run writes them, they are only ever added
to, and each write is one short transaction: SQLite lets one at a time through, a run's own ones among them. What a run
relies on of an order is read again in the transaction of the create's intent (:mod:`batchgen.ledger.writer`), and what an
order relies on of the tasks in the transaction that writes it; so each sees the other whole, or not yet.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator

from batchgen.errors import LedgerBusy
from batchgen.ledger import backup, database, integrity

WAIT_SECONDS = 30  # for a run's commit, which waits for the disk, or for another such write


@contextlib.contextmanager
def transaction(path: str) -> Iterator[sqlite3.Connection]:
    """One transaction on an existing ledger of the present version; what it wrote is on disk when it ends.

    Raises LedgerBusy where another program holds the file for longer than a commit takes, and LedgerError where the ledger
    can't be used; then nothing was written.
    """
    integrity.check_link(path)
    path = os.path.realpath(path)
    backup.refuse(path)
    database.refuse_special(path)
    with contextlib.closing(database.open_to_write(path, None, migrate=False)) as connection:
        with database.translated(path):
            connection.execute("PRAGMA wal_autocheckpoint = 0")  # a checkpoint is the run's to make
            connection.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
            _begin(connection, path)
        try:
            with database.translated(path):
                yield connection
                connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _begin(connection: sqlite3.Connection, path: str) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise LedgerBusy(
            f"the ledger {path} has been held by another program for {WAIT_SECONDS} seconds (a backup, an sqlite3 shell,"
            " `ledger compact`): nothing was written."
        ) from error
