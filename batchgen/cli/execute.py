"""What ``run`` and ``collect`` show of a run: what happens as it happens, and how it went."""

from __future__ import annotations

import gc
import sys

from batchgen.cli import report
from batchgen.cli.ending import End
from batchgen.cli.output import Output
from batchgen.cli.shared import Wanted, load_manifests
from batchgen.ledger.writer import Ledger
from batchgen.run.clock import Clock
from batchgen.run.loading import Loaded
from batchgen.run.options import RunOptions
from batchgen.run.session import Account, Session

USUAL_GC = (700, 10, 10)  # Python's own thresholds


async def execute(
    options: RunOptions, wanted: Wanted | None, out: Output, ledger: Ledger, account: Account, end: End,
    *, rehearsal: bool = False,
) -> int:  # fmt: skip
    """Do what the manifests ask for and what the ledger has open, then say how it went.

    Without ``wanted`` manifests, only what is open. A ``rehearsal`` is told of even where it went well.
    """
    end.watch()
    loaded = load_manifests(wanted, out, ledger) if wanted is not None else None
    session = Session(ledger, account, options, Clock())
    if await session.prepare(loaded):
        with end.graceful(session.end), out.progress(session):
            await session.work(_plan_stands)
    end.over()
    await session.conclude()
    loaded = loaded or Loaded([])
    tally, budget = session.tally, session.pool.budget
    refused = bool(loaded.problems)
    code = report.exit_code(tally, session.stops, refused=refused, submit_only=options.submit_only)
    why_not = list({id(reason): reason for reason in (*session.stops, *session.pool.stops)}.values())
    if out.json:
        summary = report.run_object(tally, why_not, code, budget, verbose=out.verbose)
        summary |= report.problem_fields(loaded.problems, verbose=out.verbose)
        summary |= report.problem_fields(loaded.warnings, "warnings", verbose=out.verbose)
        out.document({**summary, "skipped": loaded.skipped})
    out.say(*report.problem_lines(loaded.problems, verbose=out.verbose))
    if out.verbose or (not out.quiet and sys.stderr.isatty()):  # no reason for a mail
        out.say(*report.problem_lines(loaded.warnings, report.warning_text, verbose=out.verbose))
    if code or (not out.quiet and (sys.stderr.isatty() or rehearsal)):
        problems = len(loaded.problems)
        out.say(*report.run_text(tally, why_not, budget, problems=problems, verbose=out.verbose))
        if loaded.skipped and out.verbose:
            out.say(f"{report.counted(loaded.skipped, 'job')} skipped")
    return code


def _plan_stands() -> None:
    """It stays to the end and is looked through for cycles no more; what a night leaves behind is."""
    gc.freeze()
    gc.set_threshold(*USUAL_GC)
