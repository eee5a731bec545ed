"""What ``run`` and ``collect`` do: manifests, plan, runner, summary."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import math
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence

from batchgen.cli import report
from batchgen.cli.ending import End
from batchgen.cli.output import Output
from batchgen.cli.shared import Wanted, jobs_of, load_manifests
from batchgen.errors import BatchgenError, EndedEarly
from batchgen.ledger.writer import Ledger
from batchgen.models import Manifest
from batchgen.run import recovery
from batchgen.run.clock import Clock
from batchgen.run.failures import Breaker
from batchgen.run.following import TASKS_FAIL
from batchgen.run.inventory import Inventory
from batchgen.run.options import RunOptions
from batchgen.run.plan import Step
from batchgen.run.planning import planned
from batchgen.run.pool import Lane, Limits, Pool
from batchgen.run.runner import Runner
from batchgen.run.tally import Tally

USUAL_GC = (700, 10, 10)  # Python's own thresholds


async def execute(
    options: RunOptions, wanted: Wanted | None, out: Output, ledger: Ledger, account: tuple[str, str], end: End,
    *, rehearsal: bool = False,
) -> int:  # fmt: skip
    """Do what the manifests ask for and what the ledger has open, then say how it went.

    Without ``wanted`` manifests, only what is open. A ``rehearsal`` is told of even where it went well.
    """
    end.watch()
    creating = wanted is not None
    manifests, problems = await load_manifests(wanted, out, ledger) if wanted is not None else ([], [])
    breaker = Breaker(wary=ledger.note(TASKS_FAIL) == "yes")
    clock = Clock()
    pool = Pool(_limits(options, manifests, clock) if creating else Limits(), clock.rng, breaker)
    recovers = bool(manifests) and options.recover
    inventory = Inventory(ledger)
    doubts = await recovery.doubtful(ledger, manifests, inventory, thoroughly=recovers)
    await inventory.look(
        [one.name for one in manifests] if creating else ledger.manifests(), _output_dirs(manifests)
    )
    pool.lanes += [_lane(one, inventory, doubtful=doubts[one.name]) for one in manifests]
    await inventory.note_mounts(_output_dirs(manifests))
    tally, stops, ended = Tally(), list[BatchgenError](), False

    async def settled() -> list[Step]:
        steps = planned(
            manifests, ledger, retry_failed=options.retry_failed, accept_changes=options.accept_changes
        )
        left = tally.settle(inventory.found.applied(steps))
        await inventory.place()
        return left

    steps = None if recovers else await settled()
    if steps or recovers or inventory.found.missing or next(ledger.open_records(), None) is not None:
        runner = await _work(
            options,
            (out, end, clock),
            inventory,
            account,
            pool,
            tally,
            manifests,
            settled if steps is None else steps,
        )
        stops, ended = runner.stops, runner.ended is not None
    end.over()
    await inventory.log.remember()
    for lane in pool.lanes:
        if not lane.left and not ended:
            await recovery.trusted(ledger, lane.name)
    code = report.exit_code(tally, stops, refused=bool(problems), submit_only=options.submit_only)
    why_not = list({id(reason): reason for reason in (*stops, *pool.stops)}.values())
    skipped = sum(len(one.skipped) for one in manifests)
    warned = [warning for one in manifests for warning in one.warnings]
    if out.json:
        summary = report.run_object(tally, why_not, code, pool.budget, verbose=out.verbose)
        summary |= report.problem_fields(problems, verbose=out.verbose)
        summary |= report.problem_fields(warned, "warnings", verbose=out.verbose)
        out.document({**summary, "skipped": skipped})
    out.say(*report.problem_lines(problems, verbose=out.verbose))
    if out.verbose or (not out.quiet and sys.stderr.isatty()):  # no reason for a mail
        out.say(*report.problem_lines(warned, report.warning_text, verbose=out.verbose))
    if code or (not out.quiet and (sys.stderr.isatty() or rehearsal)):
        out.say(*report.run_text(tally, why_not, pool.budget, problems=len(problems), verbose=out.verbose))
        if skipped and out.verbose:
            out.say(f"{report.counted(skipped, 'job')} skipped")
    return code


async def _work(
    options: RunOptions, around: tuple[Output, End, Clock], inventory: Inventory, account: tuple[str, str], pool: Pool, tally: Tally,
    manifests: Sequence[Manifest], steps: Sequence[Step] | Callable[[], Awaitable[Sequence[Step]]],
) -> Runner:  # fmt: skip
    """Everything that needs the API, whose client isn't even loaded where there is nothing to do.

    ``steps`` may be a function that plans them, once the ledger has been recovered here.
    """
    from batchgen.api.client import Api
    from batchgen.storage.clip_hosts import ClipHosts
    from batchgen.storage.download import Downloads

    out, ending, clock = around
    api = Api(*account, timeout=options.timeout, now=clock.now)
    lend, masked = api.credentials.headers, api.credentials.masked
    downloads = Downloads(
        timeout=options.timeout,
        min_speed=options.min_speed,
        lend=lend,
        masked=masked,
        roots=inventory.roots,
        hosts=ClipHosts(api.url, options.clip_hosts, api.reached),
        now=clock.now,
    )
    async with api, downloads:
        ledger = inventory.ledger
        runner = Runner(inventory, api, downloads, pool, options.waits, tally, clock)
        first = (
            asyncio.create_task(_recovered(runner, inventory, pool, manifests, clock))
            if callable(steps)
            else None
        )

        def end(reason: BatchgenError) -> None:
            runner.end(reason, answers=options.timeout if reason.kind == "until" else 0.0)
            if first is not None:
                first.cancel()

        with ending.graceful(end), out.progress(runner, pool):
            todo: Sequence[Step] = ()
            if not callable(steps):
                todo = steps
            elif first is not None:
                with contextlib.suppress(asyncio.CancelledError):  # then they are counted, and that is all
                    await first
                todo = await steps()
            # The plan stays to the end and is looked through for cycles no more; what a night leaves behind is.
            gc.freeze()
            gc.set_threshold(*USUAL_GC)
            open_records = inventory.begin(itertools.chain(ledger.open_records(), inventory.missing()))
            await runner.run(todo, open_records, submit_only=options.submit_only)
    return runner


async def _recovered(
    runner: Runner, inventory: Inventory, pool: Pool, manifests: Sequence[Manifest], clock: Clock
) -> None:
    """Adopt what the API has, before anything is planned."""
    found = await recovery.recover(runner.queries, inventory, jobs_of(manifests), clock.rng)
    if found.missing and not runner.queries.lookups_proven:
        for lane in pool.lanes:
            if lane.asks == math.inf:
                lane.unrecorded = True
                text = f"{lane.name}: nothing was found, which proves nothing at this API"
                lane.closed = EndedEarly(text, kind="unproven")


def _output_dirs(manifests: Iterable[Manifest]) -> set[str]:
    return {job.output_dir for job in jobs_of(manifests)}


def _lane(one: Manifest, inventory: Inventory, *, doubtful: bool) -> Lane:
    """A manifest's share of the run."""
    lane = Lane(one.name, one.concurrency, one.max_running, one.max_cost_usd)
    lane.asks = math.inf if doubtful else recovery.SAMPLE
    lane.closed = inventory.unwritable(one)
    return lane


# -- what they share -----------------------------------------------------------------------------------------------


def _limits(options: RunOptions, manifests: Sequence[Manifest], clock: Clock) -> Limits:
    now = asyncio.get_running_loop().time()
    deadline = None if options.deadline is None else now + options.deadline - clock.now()
    return options.limits(manifests, deadline)
