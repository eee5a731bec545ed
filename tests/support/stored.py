"""What a file holds: its bytes, and of a ledger also the texts that are packed in it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

from batchgen.ledger.packing import PACKED, unpacked


def lose(ledger: Path) -> None:
    """Remove a ledger with all that lies beside it, its backups too."""
    for file in ledger.parent.glob(f"{ledger.name}*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def stored(path: Path) -> bytes:
    """The bytes of a file, and the unpacked texts of a ledger behind them."""
    data = path.read_bytes()
    if not data.startswith(b"SQLite format 3"):
        return data
    if path.suffix in (
        ".new",
        ".part",
    ):  # the draft of a ledger, or of a backup, which is renamed: who opens it leaves files beside it
        return data
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tasks'").fetchall():
            return data  # it is being made
        rows = connection.execute(f"SELECT {', '.join(PACKED)} FROM tasks").fetchall()
    texts = [unpacked(cell) for row in rows for cell in row if isinstance(cell, bytes)]
    return b"\n".join([data, *(text.encode("utf-8", "surrogatepass") for text in texts)])
