"""The manifests that a command line names, and how they are loaded."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

from batchgen.cli import config
from batchgen.cli.output import Output
from batchgen.ledger.reader import Records
from batchgen.run.loading import Loaded, load, with_orders


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
    usual_output_dir: str = "clips"


def wanted(args: argparse.Namespace) -> Wanted:
    """The manifests that a command line names."""
    only = getattr(args, "only", None) or ()
    usual = config.usual_output_dir(args)
    return Wanted(args.paths, args.output_dir, args.strict, only, usual_output_dir=usual)


def load_manifests(wanted: Wanted, out: Output, ledger: Records | None) -> Loaded:
    """Load the manifests, and the takes that were ordered of them. Images that the ledger knows by size, times and inode are not read again."""
    loaded = wanted.loaded or load(
        wanted.paths,
        output_dir=wanted.output_dir,
        usual_output_dir=wanted.usual_output_dir,
        strict=wanted.strict,
        known=ledger.images() if ledger is not None else {},
        now=time.time(),
        holds_key=out.mask.holds_key,
    )
    return with_orders(loaded, ledger)
