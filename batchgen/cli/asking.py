"""Asks on a terminal whether a run may pay for what it would create, before it begins."""

from __future__ import annotations

import argparse
from dataclasses import replace

from batchgen.amounts import about
from batchgen.cli.forecast import forecast
from batchgen.cli.output import Output
from batchgen.cli.preview import Subtotals
from batchgen.cli.report import counted
from batchgen.errors import EndedEarly
from batchgen.money.approval import made
from batchgen.run.approved import approved
from batchgen.run.loading import Loaded
from batchgen.run.options import RunOptions


def asked(
    args: argparse.Namespace, options: RunOptions, out: Output, base_url: str
) -> tuple[RunOptions, Loaded]:
    """Show what a run would pay for, and ask. The options have what was agreed to as their approval.

    Returns the manifests, too, as they were shown. No other run is kept waiting meanwhile. Raises EndedEarly where the
    answer isn't yes.
    """
    with forecast(args, out, base_url, options.prices) as found:
        sums, loaded, api = Subtotals(), found.loaded, found.api
        jobs = [job for step in sums.counting(found.steps) if (job := approved(step)) is not None]
        identity = found.ledger.identity if found.ledger is not None else None
        lines = list(found.fit.lines()) if jobs else []
    if jobs:
        out.say(f"{counted(len(jobs), 'clip')} to create, about {about(sums.cost)}, at {api}")
        out.say(*sums.lines(), *lines)
        if options.max_jobs is not None and options.max_jobs < len(jobs):
            out.say(f"  {options.max_jobs:,} of them at most, by --max-jobs")
        if loaded.problems:
            out.say(
                f"  without the manifests that have problems ({counted(len(loaded.problems), 'problem')})"
            )
        if not out.agreed("Create them, and pay? [y/N] "):
            raise EndedEarly("declined; nothing was created", kind="declined")
    return replace(options, approval=made(jobs, ledger=identity, origin=api)), loaded
