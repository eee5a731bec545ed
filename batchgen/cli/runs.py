"""``batchgen runs``: the nights, the newest first: when, how long, how they ended, what they made and cost."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

from batchgen.cli import missed, settings
from batchgen.cli.output import Output, folded
from batchgen.ledger.reader import Records
from batchgen.ledger.runs import RunRecord, the_one_on
from batchgen.run.tally import did
from batchgen.run.waits import shown_duration
from batchgen.storage.clips import iso


def runs(args: argparse.Namespace, out: Output) -> int:
    """Show the runs of the ledger. Returns the exit code. Raises LedgerError."""
    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) as ledger:
        found = ledger.runs.last(args.last)
        nights = missed.missed(ledger, found, args.last)
    on = the_one_on(found)
    if args.json:
        shown = [_object(run, on=run == on) for run in found]
        out.document({"ledger": path, "runs": shown, "missed": list(map(missed.fields, nights))})
        return 0
    if not found:
        out.lines(["no run is recorded in this ledger yet"])
    lines = [(run.began, _line(run, on=run == on)) for run in found]
    lines += [(night.due, missed.line(night)) for night in nights]
    for _, line in sorted(lines, key=lambda one: -one[0]):
        out.lines(folded(line, out.width, indent=2))
    return 0


def _line(run: RunRecord, *, on: bool) -> str:
    """A run in a line."""
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.began))
    if run.ended is not None:
        how = f"{shown_duration(max(run.ended - run.began, 0.0)):>8}  exit {run.exit_code}"
    elif on:
        how = f"      on  since {shown_duration(max(time.time() - run.began, 0.0))}, process {run.process}"
    elif not run.here:
        how = f"  no end  its end isn't recorded; process {run.process} on {run.host}, which alone can tell"
    else:
        how = f"  killed  its end isn't recorded; process {run.process} on {run.host}"
    return f"{began}  {how}  {'; '.join([run.command, *did(run.facts)])}"


def _object(run: RunRecord, *, on: bool) -> dict[str, Any]:
    """A run for scripts."""
    return {
        "run_id": run.name,
        "command": run.command,
        "arguments": json.loads(run.arguments),
        "began_at": iso(run.began),
        "ended_at": iso(run.ended),
        "on": on,
        "host": run.host,
        "process": run.process,
        "version": run.version,
        "exit_code": run.exit_code,
        "summary": run.facts or None,
    }
