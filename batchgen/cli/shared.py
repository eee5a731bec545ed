"""What the commands that talk to the API share: key, ledger, manifests, and when they end."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

from batchgen.api import keys
from batchgen.cli import core_dumps, settings
from batchgen.cli.ending import AFTER_DEADLINE, End
from batchgen.cli.output import Output
from batchgen.http.endpoint import origin
from batchgen.ledger.writer import Ledger
from batchgen.run.loading import Loaded, load
from batchgen.run.options import RunOptions
from batchgen.run.session import Account


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which manifests are read, and how: the folder that their clips go to instead, whether warnings refuse them."""

    paths: Sequence[str]
    output_dir: str | None
    strict: bool


def wanted(args: argparse.Namespace) -> Wanted:
    """What the command line says of manifests."""
    return Wanted(args.paths, args.output_dir, args.strict)


def run_options(args: argparse.Namespace) -> RunOptions:
    """What the command line, and for some of it the environment, says of a run, or of collecting. Raises UsageError."""
    names = {field.name for field in fields(RunOptions)} - {"clip_hosts"}
    given = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    return RunOptions(**given, clip_hosts=settings.clip_hosts(args.clip_hosts, os.environ))


def load_manifests(wanted: Wanted, out: Output, ledger: Ledger) -> Loaded:
    """The manifests; no image is read again that the ledger knows by size, times and inode."""
    return load(
        wanted.paths,
        output_dir=wanted.output_dir,
        strict=wanted.strict,
        known=ledger.images(),
        now=time.time(),
        holds_key=out.mask.holds_key,
    )


def api_settings(args: argparse.Namespace, out: Output) -> Account:
    """Which API, and the key. Raises UsageError."""
    core_dumps.keep_out_of_core_dumps()
    base_url, key = settings.base_url(args.base_url, os.environ), keys.api_key(os.environ)
    out.mask.learn(key)
    return Account(base_url, key)


def end_of(args: argparse.Namespace, out: Output) -> End:
    """When the run ends: at --until, else a while after --deadline, by which all of it should have."""
    deadline = getattr(args, "deadline", None)
    if args.until is not None or deadline is None:
        return End(out, args.until, timeout=args.timeout)
    why = f"{AFTER_DEADLINE / 3600:.0f} hours have passed since --deadline"
    return End(out, deadline + AFTER_DEADLINE, why, timeout=args.timeout)


def open_ledger(args: argparse.Namespace, out: Output, base_url: str, end: End) -> Ledger:
    """The ledger, to be written; another run is waited for until the end at most."""
    path = settings.ledger_path(args.ledger, os.environ)
    wait = min(args.lock_wait, end.left)
    return Ledger.open(path, origin=origin(base_url), lock_wait=wait, masked=out.mask)
