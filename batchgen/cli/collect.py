"""``batchgen collect``: follow and download what the ledger has open."""

from __future__ import annotations

import argparse
import os

from batchgen import loops
from batchgen.cli import settings
from batchgen.cli.execute import execute
from batchgen.cli.output import Output
from batchgen.cli.shared import api_settings, end_of, open_ledger, run_options
from batchgen.cli.telling import Night, told
from batchgen.cli.wanted import Wanted
from batchgen.ledger.reader import Records


def collect(args: argparse.Namespace, out: Output) -> int:
    """Follow and download what the ledger has open, and tell of it. Returns the exit code."""
    return told(args, out, lambda night: _collect(args, out, night))


def _collect(args: argparse.Namespace, out: Output, night: Night) -> int:
    night.begin()
    options = run_options(args)
    account = api_settings(args, out)
    Records.read(settings.ledger_path(args.ledger, os.environ)).close()  # collecting makes no ledger
    with end_of(options, out) as end, open_ledger(args, out, account.base_url, end) as ledger:
        return loops.drive(execute(options, Wanted(only=args.only or ()), out, ledger, account, end, night))
