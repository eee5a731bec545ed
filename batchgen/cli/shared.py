"""Shared by the commands that talk to the API: options, account, ledger, the end of a run."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import fields

from batchgen.api import keys
from batchgen.cli import config, core_dumps, logs, settings
from batchgen.cli.ending import End
from batchgen.cli.output import Output
from batchgen.errors import LedgerBusy
from batchgen.http.endpoint import origin
from batchgen.ledger.writer import Ledger
from batchgen.run.options import RunOptions
from batchgen.run.session import Account
from batchgen.run.waits import shown_duration


def run_options(args: argparse.Namespace) -> RunOptions:
    """The options of a run or of collecting, from the command line and the environment. Raises UsageError."""
    names = {field.name for field in fields(RunOptions)} - {"clip_hosts", "downloads", "prices"}
    usual = {f"usual_{name}": args.usual[name] for name in ("concurrency", "downloads") if name in args.usual}
    given = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    return RunOptions(
        **given,
        **usual,
        downloads=settings.downloads(args.downloads, os.environ),
        clip_hosts=settings.clip_hosts(args.clip_hosts, os.environ),
        prices=config.prices(args),
    )


def api_settings(args: argparse.Namespace, out: Output) -> Account:
    """The API and the key, which is masked in all output from here on. Raises UsageError."""
    core_dumps.keep_out_of_core_dumps()
    base_url, key = settings.base_url(args.base_url, os.environ), keys.api_key(os.environ)
    out.mask.learn(key)
    return Account(base_url, key)


def end_of(options: RunOptions, out: Output) -> End:
    """The end of the run: --until, else some hours after --deadline."""
    return End(out, *options.end, timeout=options.timeout)


def open_ledger(args: argparse.Namespace, out: Output, base_url: str, end: End) -> Ledger:
    """Open the ledger for writing; another run is waited for, up to --lock-wait and --until."""
    path = settings.ledger_path(args.ledger, os.environ)
    api, wait = origin(base_url), min(args.lock_wait, end.left)
    try:
        return Ledger.open(path, origin=api, masked=out.mask)
    except LedgerBusy as error:
        if wait <= 0:
            raise
        from batchgen.run.held import span

        began = time.time()
        told = f"waiting for the ledger {span(began, began + wait)}: {error}"
        logs.log.log(logs.NOTICE, "%s", told, extra={"action": "waiting"})
    ledger = Ledger.open(path, origin=api, lock_wait=wait, masked=out.mask)
    told = f"waited for the ledger for {shown_duration(time.time() - began)}"
    logs.log.log(logs.NOTICE, "%s", told, extra={"action": "waited"})
    return ledger
