"""``batchgen export``: the ledger's rows for other programs."""

from __future__ import annotations

import argparse
import json
import os

from batchgen.cli import settings
from batchgen.cli.export_rows import csv_lines, export_row
from batchgen.cli.output import Output
from batchgen.errors import UsageError
from batchgen.ledger.reader import Records


def export(args: argparse.Namespace, out: Output) -> int:
    """Print the ledger's rows for other programs."""
    if args.excel and (args.json or args.format == "jsonl"):
        raise UsageError("--excel is for CSV: leave --json and --format jsonl out")
    if args.json and args.format == "csv":
        raise UsageError("--json prints one JSON object: leave it out for --format csv")
    with Records.read(settings.ledger_path(args.ledger, os.environ)) as ledger:
        said = ledger.verdicts.all()
        rows = (
            export_row(row, current=current, verdict=said.get(row.external_task_id))
            for row, current in ledger.exported()
        )
        if args.json:
            out.document({"tasks": rows})
        elif args.excel or args.format == "csv":
            out.data(csv_lines(rows, excel=args.excel), end="\r\n" if args.excel else "\n")
        else:
            out.lines(map(json.JSONEncoder(ensure_ascii=False).encode, rows))
    return 0
