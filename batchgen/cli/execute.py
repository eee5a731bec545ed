"""Runs a session for ``run`` and ``collect``, shows its events while it works, and prints its summary."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from batchgen import loops
from batchgen.cli import logs, only, preview, report
from batchgen.cli.callbacks import receiving
from batchgen.cli.ending import End
from batchgen.cli.output import Output
from batchgen.cli.progress import Bar
from batchgen.cli.telling import Night
from batchgen.cli.wanted import Wanted, load_manifests
from batchgen.ledger.writer import Ledger
from batchgen.run.clock import Clock
from batchgen.run.events import Began, Ended, Event, Events
from batchgen.run.loading import Loaded
from batchgen.run.options import RunOptions
from batchgen.run.recording import recorded
from batchgen.run.session import Account, Session
from batchgen.run.tally import first_of

RUN_GC = (
    5_000,
    10,
    10,
)  # seven times as seldom as usual: nearly all that a run drops is freed at once anyway


async def execute(
    options: RunOptions,
    wanted: Wanted,
    out: Output,
    ledger: Ledger,
    account: Account,
    end: End,
    night: Night,
    *,
    rehearsal: bool = False,
) -> int:
    """Run the manifests' jobs and what the ledger has open, then print the summary. Returns the exit code.

    Where no manifests are ``wanted``, only what is open. The summary of a ``rehearsal`` is printed even if all went well.
    """
    clock = Clock()
    run = night.run._replace(began=clock.now())  # before, another run's lock was waited for
    async with recorded(ledger, run) as recording:
        end.watch()
        loaded = load_manifests(wanted, out, ledger) if wanted.paths else None
        left_out, chosen = _choose(wanted, loaded, ledger)
        bar = Bar(out)
        events = Events(clock.now, logs.write, bar.remember, _tune, *night.listeners)
        session = Session(ledger, account, options, clock, events, chosen)
        if await session.prepare(loaded):
            calls = receiving(session.hints, night.callbacks, ledger, out)
            await _in_loop(_work(session, end, bar, night, calls))
        end.over()
        ended = await session.conclude()
        loaded = loaded or Loaded([])
        code = first_of([ended.exit_code, 2 if loaded.problems else 0])
        recording.over(ended, code, loaded.problems)
        document = _document(ended, code, loaded, out)
        if options.approval is not None and wanted.loaded is None:
            from batchgen.cli.approval import described

            document["approval"] = described(options.approval)
        document |= {"left_out": left_out, **report.run_facts(run, ended.at)}
        if out.json:
            out.document(document)
        night.conclude(run, ended, document, loaded, ledger)
        out.say(*report.problem_lines(loaded.problems, verbose=out.verbose), level=logging.ERROR)
        if out.verbose or (not out.quiet and sys.stderr.isatty()):  # no reason for a mail
            out.say(*report.problem_lines(loaded.warnings, report.warning_text, verbose=out.verbose))
            out.say(*map(preview.waiting_text, loaded.waiting))
        if code or (not out.quiet and (sys.stderr.isatty() or rehearsal)):
            level = logging.WARNING if code else logging.INFO
            text = report.run_text(ended, problems=len(loaded.problems), verbose=out.verbose)
            out.say(*text, level=level)
            if options.approval is not None and wanted.loaded is None:
                from batchgen.cli.approval import words

                out.say(f"approved: {words(options.approval)}")
            if loaded.skipped and out.verbose:
                out.say(f"{report.counted(loaded.skipped, 'job')} skipped")
        if left_out and (code or out.verbose or (not out.quiet and sys.stderr.isatty())):
            out.say(only.text(left_out, "job" if loaded.manifests else "task"))
        return code


async def _work(
    session: Session, end: End, bar: Bar, night: Night, receiving: AbstractAsyncContextManager[None]
) -> None:
    async with receiving:
        with end.graceful(session.end), bar.shown(), night.working():
            await session.work()


async def _in_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` on the event loop that runs, or else on one of its own."""
    if loops.running() is not None:
        await work
        return
    import asyncio

    asyncio.run(work)


def _document(ended: Ended, code: int, loaded: Loaded, out: Output) -> dict[str, Any]:
    """How the run went, for scripts."""
    return {
        **report.run_object(ended, code, verbose=out.verbose),
        **report.problem_fields(loaded.problems, verbose=out.verbose),
        **report.problem_fields(loaded.warnings, "warnings", verbose=out.verbose),
        "skipped": loaded.skipped,
        "waiting_orders": [preview.waiting_object(one) for one in loaded.waiting],
    }


def _choose(
    wanted: Wanted, loaded: Loaded | None, ledger: Ledger
) -> tuple[int, frozenset[tuple[str, str, int]] | None]:
    """How many jobs or tasks ``--only`` leaves out, and the keys of the others; None where it wasn't given."""
    if loaded is not None:
        keys = only.of_manifests(wanted.only, loaded.manifests) if loaded.manifests else None
        return only.left_out(keys, loaded.manifests), keys
    keys = only.chosen(wanted.only, ledger.names(), "no job in the ledger")
    return 0 if keys is None else sum(row.key not in keys for row in ledger.open_records()), keys


def _tune(event: Event) -> None:
    """Exclude the plan from garbage collection once it is made, and collect garbage as usual from then on."""
    if isinstance(event, Began):
        gc.freeze()
        gc.set_threshold(*RUN_GC)
