"""Asks on a terminal whether a run may pay for what it would create, before it begins."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from dataclasses import replace

from batchgen.amounts import about
from batchgen.cli import only, settings
from batchgen.cli.fit import Fit
from batchgen.cli.output import Output
from batchgen.cli.preview import Subtotals
from batchgen.cli.report import counted
from batchgen.errors import EndedEarly
from batchgen.http.endpoint import origin
from batchgen.ledger.reader import Records
from batchgen.money.approval import made
from batchgen.run.approved import approved
from batchgen.run.loading import Loaded, load, with_orders
from batchgen.run.options import RunOptions
from batchgen.run.planning import planned
from batchgen.run.survey import Survey, survey, unrecorded
from batchgen.storage.roots import Roots


def asked(
    args: argparse.Namespace, options: RunOptions, out: Output, base_url: str
) -> tuple[RunOptions, Loaded]:
    """Show what a run would pay for, and ask. The options have what was agreed to as their approval.

    Returns the manifests, too, as they were shown. No other run is kept waiting meanwhile. Raises EndedEarly where the
    answer isn't yes.
    """
    path, api = settings.ledger_path(args.ledger, os.environ), origin(base_url)
    there = os.path.lexists(path)
    with (
        Records.read(path, origin=api) if there else contextlib.nullcontext() as ledger,
        Roots() as roots,
    ):
        loaded = load(
            args.paths,
            output_dir=args.output_dir,
            strict=args.strict,
            known=ledger.images() if ledger is not None else {},
            now=time.time(),
            holds_key=out.mask.holds_key,
        )
        manifests = list(with_orders(loaded, ledger).manifests)
        chosen = only.of_manifests(args.only, manifests) if manifests else None
        steps = planned(
            manifests,
            ledger,
            unrecorded(ledger, manifests, api, roots),
            retry_failed=options.retry_failed,
            accept_changes=options.accept_changes,
            prices=options.prices,
        )
        on_disk = survey(ledger, manifests, roots) if ledger is not None else Survey()
        uses = ledger.budgets.uses(time.time()) if ledger is not None else []
        sums, fit = Subtotals(), Fit(manifests, uses, options.max_cost)
        wanted = (step for step in on_disk.applied(steps) if chosen is None or step.job.key in chosen)
        jobs = [job for step in fit.counting(sums.counting(wanted)) if (job := approved(step)) is not None]
        identity = ledger.identity if ledger is not None else None
        lines = list(fit.lines()) if jobs else []
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
