"""Which path a row's clip gets where another row may have its clip at the proposed one."""

from __future__ import annotations

import hashlib
import os
import sqlite3

from batchgen.errors import LedgerError
from batchgen.ledger import database
from batchgen.ledger.rows import path_key
from batchgen.models import Record


def free_path(connection: sqlite3.Connection, record: Record) -> str:
    """The proposed path; with a hash of the job's id in its name where another row may have its clip there.

    Paths that differ only in case or Unicode composition count as one, as on some file systems. A row gives its path
    up when it can have no clip (rejected, failed, never sent), so a job that was refused and then corrected gets the
    plain name.
    """
    stem, suffix = os.path.splitext(record.output_path)
    name = ""
    for length in (0, 8, 16, 64):
        if length and not name:
            name = hashlib.sha256(record.base_id.encode("utf-8", "surrogatepass")).hexdigest()
        path = f"{stem}-{name[:length]}{suffix}" if length else record.output_path
        taken = database.execute(
            connection, "SELECT external_task_id FROM tasks WHERE output_key = ?", (path_key(path),)
        ).fetchone()
        if taken is None or taken[0] == record.external_task_id:
            return path
    raise LedgerError(f"{record.external_task_id}: no name near {record.output_path} is free.")
