"""Looks at a ledger without changing anything: no lock, no migration, no file beside it that wasn't there."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator

from batchgen.ledger import database, integrity
from batchgen.ledger.reader import Records

STEPS = 50_000  # of SQLite's machine, between two questions whether it is late
LATEST = 200  # clips whose sizes count


class Checkup:
    """A ledger that is looked at; ``records`` are its rows."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.records = Records(path, connection)
        self._connection = connection

    def damage(self, late: Callable[[], bool]) -> str | None:
        """What SQLite's quick check finds wrong with the file, or ""; None where it isn't through when it is ``late``."""
        self._connection.set_progress_handler(late, STEPS)
        try:
            (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return None
            return str(error)
        except sqlite3.DatabaseError as error:
            return str(error)
        finally:
            self._connection.set_progress_handler(None, 0)
        return "" if found == "ok" else " ".join(str(found).split())

    def clip_size(self) -> int | None:
        """The average size of the latest clips, in bytes; None where there is none. Raises LedgerError."""
        sql = f"SELECT video_size FROM tasks WHERE video_size > 0 ORDER BY id DESC LIMIT {LATEST}"
        with database.translated(self.records.path):
            sizes = [int(size) for (size,) in self._connection.execute(sql)]
        return sum(sizes) // len(sizes) if sizes else None


@contextlib.contextmanager
def checkup(path: str) -> Iterator[Checkup]:
    """The ledger at ``path``; a run may write it meanwhile.

    Raises LedgerError, also for another user's, which no run would take, and LedgerOutdated for an older one.
    """
    integrity.check_link(path)
    path = os.path.realpath(path)
    integrity.check_owner(path, writing=True)
    unchanging = not os.path.exists(f"{path}-wal")  # else whoever has it open may
    with contextlib.closing(database.open_to_read(path, None, unchanging=unchanging)) as connection:
        yield Checkup(path, connection)
