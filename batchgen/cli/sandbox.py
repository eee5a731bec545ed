"""``batchgen sandbox``: a local API."""

from __future__ import annotations

import argparse

from batchgen.cli.output import Output
from batchgen.sandbox import command
from batchgen.sandbox.faults import FAULTS


def sandbox(args: argparse.Namespace, out: Output) -> int:
    """Serve the local API until a signal stops it."""
    if not args.json:
        return command.run(args)
    if args.list_faults:
        out.document({"faults": {fault.name: fault.text for fault in FAULTS.values()}})
        return 0
    return command.run(args, lambda url, seed: out.document({"url": url, "seed": seed}))
