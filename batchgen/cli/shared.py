"""Shared by the commands that talk to the API: options, account, ledger, manifests, the end of a run."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

from batchgen.api import keys
from batchgen.cli import config, core_dumps, settings
from batchgen.cli.ending import AFTER_DEADLINE, End
from batchgen.cli.output import Output
from batchgen.errors import LedgerBusy, LedgerError
from batchgen.http.endpoint import origin
from batchgen.ledger import runs
from batchgen.ledger.writer import Ledger
from batchgen.run.clock import Clock
from batchgen.run.loading import Loaded, load, with_orders
from batchgen.run.options import RunOptions
from batchgen.run.recording import new_run, refused
from batchgen.run.session import Account


@dataclass(frozen=True, slots=True)
class Wanted:
    """The manifests on a command line: their paths, another output folder, whether warnings refuse them.

    Without paths, what the ledger has open. ``only`` are the jobs that the command is about; none means all.
    ``loaded`` are the manifests as they were shown to a person, who agreed; they aren't read again.
    """

    paths: Sequence[str] = ()
    output_dir: str | None = None
    strict: bool = False
    only: Sequence[str] = ()
    loaded: Loaded | None = None


def wanted(args: argparse.Namespace) -> Wanted:
    """The manifests that a command line names."""
    return Wanted(args.paths, args.output_dir, args.strict, getattr(args, "only", None) or ())


def run_options(args: argparse.Namespace) -> RunOptions:
    """The options of a run or of collecting, from the command line and the environment. Raises UsageError."""
    names = {field.name for field in fields(RunOptions)} - {"clip_hosts", "downloads", "prices"}
    given = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    return RunOptions(
        **given,
        downloads=settings.downloads(args.downloads, os.environ),
        clip_hosts=settings.clip_hosts(args.clip_hosts, os.environ),
        prices=config.prices(os.environ),
    )


def load_manifests(wanted: Wanted, out: Output, ledger: Ledger) -> Loaded:
    """Load the manifests, and the takes that were ordered of them. Images that the ledger knows by size, times and inode are not read again."""
    loaded = wanted.loaded or load(
        wanted.paths,
        output_dir=wanted.output_dir,
        strict=wanted.strict,
        known=ledger.images(),
        now=time.time(),
        holds_key=out.mask.holds_key,
    )
    return with_orders(loaded, ledger)


def api_settings(args: argparse.Namespace, out: Output) -> Account:
    """The API and the key, which is masked in all output from here on. Raises UsageError."""
    core_dumps.keep_out_of_core_dumps()
    base_url, key = settings.base_url(args.base_url, os.environ), keys.api_key(os.environ)
    out.mask.learn(key)
    return Account(base_url, key)


def end_of(args: argparse.Namespace, out: Output) -> End:
    """The end of the run: --until, else some hours after --deadline."""
    deadline = getattr(args, "deadline", None)
    if args.until is not None or deadline is None:
        return End(out, args.until, timeout=args.timeout)
    why = f"{AFTER_DEADLINE / 3600:.0f} hours have passed since --deadline"
    return End(out, deadline + AFTER_DEADLINE, why, timeout=args.timeout)


def open_ledger(args: argparse.Namespace, out: Output, base_url: str, end: End) -> Ledger:
    """Open the ledger for writing; another run is waited for, up to --lock-wait and --until."""
    path = settings.ledger_path(args.ledger, os.environ)
    wait = min(args.lock_wait, end.left)
    try:
        return Ledger.open(path, origin=origin(base_url), lock_wait=wait, masked=out.mask)
    except LedgerBusy as error:
        with contextlib.suppress(
            LedgerError
        ):  # the one that has it may be a newer version's; it is said all the same
            runs.add(path, refused(new_run(Clock(), out.command, out.arguments, out.mask), error))
        raise
