"""`batchgen ledger compact`: makes the ledger's file smaller."""

from __future__ import annotations

import argparse
import os

from batchgen.cli import settings
from batchgen.cli.output import Output
from batchgen.cli.quantities import shown_size
from batchgen.errors import LedgerError


def ledger(args: argparse.Namespace, out: Output) -> int:
    """Compact the ledger. Returns the exit code. Raises LedgerError."""
    path = settings.ledger_path(args.ledger, os.environ)
    folder = os.path.dirname(os.path.realpath(path))
    # /var/tmp may be too small for a copy, and be read by others. SQLite looks when it is loaded, which is below.
    temporary = os.environ.setdefault("SQLITE_TMPDIR", folder)
    from batchgen.ledger.upkeep import compact

    try:
        done = compact(path, temporary=temporary, lock_wait=args.lock_wait)
    except OSError as error:
        raise LedgerError(f"the ledger {path} stays as it is: {error.filename}: {error.strerror}.") from error
    if out.json:
        out.document(
            {"ledger": path, "bytes_before": done.before, "bytes_after": done.after, "in_use": done.read}
        )
        return 0
    saved = f"{shown_size(done.before)} before, {shown_size(done.after)} now"
    out.lines([f"{path}: {saved}{'; its file shrinks once nobody reads it' if done.read else ''}"])
    return 0
