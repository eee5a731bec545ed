"""``batchgen export``: the ledger's rows for other programs."""

from __future__ import annotations

import argparse
import os

from batchgen.cli import settings
from batchgen.cli.export_rows import csv_lines, export_row, json_lines
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
        said, names = ledger.verdicts.all(), ledger.runs.names()
        rows = (
            export_row(
                row,
                request,
                current=current,
                verdict=said.get(row.external_task_id),
                run_id=names.get(row.run) if row.run else None,
            )
            for row, request, current in ledger.exported()
        )
        if args.json:
            out.document({"tasks": rows})
        elif args.excel or args.format == "csv":
            out.data(csv_lines(rows, excel=args.excel), end="\r\n" if args.excel else "\n")
        else:
            out.lines(json_lines(rows))
    return 0
