"""The commands that talk to the API: run, collect and recover."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from batchgen.cli import keys, report, settings
from batchgen.cli.ending import AFTER_DEADLINE, End
from batchgen.cli.output import Output
from batchgen.errors import BatchgenError, EndedEarly, ManifestError
from batchgen.http.endpoint import origin
from batchgen.images import inspection
from batchgen.ledger.reader import Records
from batchgen.ledger.writer import Ledger
from batchgen.manifest import reader
from batchgen.models import ImageFile, Job, Manifest, Problem, Within
from batchgen.run import recovery
from batchgen.run.failures import Breaker
from batchgen.run.following import TASKS_FAIL
from batchgen.run.inventory import Inventory
from batchgen.run.plan import Step
from batchgen.run.planning import planned
from batchgen.run.pool import Lane, Limits, Pool
from batchgen.run.queries import Queries
from batchgen.run.runner import Runner
from batchgen.run.tally import Tally
from batchgen.run.waits import Waits

USUAL_GC = (700, 10, 10)  # Python's own thresholds
CONCURRENCY = 8  # create requests in flight, where nobody says otherwise


def run(args: argparse.Namespace, out: Output) -> int:
    """Create, follow and collect what is missing."""
    args.clip_hosts = settings.clip_hosts(args.clip_hosts, os.environ)
    if args.sandbox:
        return asyncio.run(_rehearse(args, out))
    base_url, key = _api_settings(args, out)
    with end_of(args, out) as end, _ledger(args, out, base_url, end) as ledger:
        return asyncio.run(_run(args, out, ledger, (base_url, key), end))


def collect(args: argparse.Namespace, out: Output) -> int:
    """Follow and download what the ledger has open."""
    args.paths = ()
    args.clip_hosts = settings.clip_hosts(args.clip_hosts, os.environ)
    base_url, key = _api_settings(args, out)
    Records.read(settings.ledger_path(args.ledger, os.environ)).close()  # collecting makes no ledger
    with end_of(args, out) as end, _ledger(args, out, base_url, end) as ledger:
        return asyncio.run(_run(args, out, ledger, (base_url, key), end))


def recover(args: argparse.Namespace, out: Output) -> int:
    """Adopt every task of these manifests that the API knows and the ledger doesn't."""
    base_url, key = _api_settings(args, out)
    with End(out) as end, _ledger(args, out, base_url, end) as ledger:
        return asyncio.run(_recover(args, out, ledger, (base_url, key), end))


async def _rehearse(args: argparse.Namespace, out: Output) -> int:
    """A run whose API, ledger and clips are made for it, and stay in a folder to look at."""
    from batchgen.sandbox.config import Config
    from batchgen.sandbox.server import Sandbox

    home = tempfile.mkdtemp(prefix="batchgen-sandbox-")
    args.ledger = args.ledger or os.path.join(home, "ledger.db")
    args.output_dir = args.output_dir or os.path.join(home, "clips")
    args.poll_interval = args.poll_interval or 0.5
    args.retry_wait = 1.0 if args.retry_wait is None else args.retry_wait
    sandbox = Sandbox(Config(slots=3, task_seconds=(1.0, 3.0), journal=os.path.join(home, "journal.jsonl")))
    url = await sandbox.start()
    try:
        with end_of(args, out) as end, _ledger(args, out, url, end) as ledger:
            return await _run(args, out, ledger, (url, "sandbox"), end)
    finally:
        await sandbox.stop()
        if not args.quiet:
            out.say(f"rehearsed in {home}: clips in {args.output_dir}, ledger in {args.ledger}")


async def _run(
    args: argparse.Namespace, out: Output, ledger: Ledger, account: tuple[str, str], end: End
) -> int:
    """Do what the manifests ask for and what the ledger has open, then say how it went."""
    end.watch()
    creating = args.command == "run"
    submit_only = creating and args.submit_only
    manifests, problems = await _manifests(args, out, ledger) if args.paths else ([], [])
    breaker = Breaker(wary=ledger.note(TASKS_FAIL) == "yes")
    pool = Pool(_limits(args, manifests) if creating else Limits(), random.Random(), breaker)
    recovers = bool(manifests) and args.recover
    inventory = Inventory(ledger)
    doubts = await recovery.doubtful(ledger, manifests, inventory, thoroughly=recovers)
    await inventory.look(
        [one.name for one in manifests] if creating else ledger.manifests(), _output_dirs(manifests)
    )
    pool.lanes += [_lane(one, inventory, doubtful=doubts[one.name]) for one in manifests]
    await inventory.note_mounts(_output_dirs(manifests))
    tally, stops, ended = Tally(), list[BatchgenError](), False

    names = ("retry_failed", "accept_changes") if creating else ()
    choices = {name: getattr(args, name) for name in names}

    async def settled() -> list[Step]:
        steps = tally.settle(inventory.found.applied(planned(manifests, ledger, **choices)))
        await inventory.place()
        return steps

    steps = None if recovers else await settled()
    if steps or recovers or inventory.found.missing or next(ledger.open_records(), None) is not None:
        runner = await _work(
            args, (out, end), inventory, account, pool, tally, manifests, settled if steps is None else steps
        )
        stops, ended = runner.stops, runner.ended is not None
    end.over()
    await inventory.log.remember()
    for lane in pool.lanes:
        if not lane.left and not ended:
            await recovery.trusted(ledger, lane.name)
    code = report.exit_code(tally, stops, refused=bool(problems), submit_only=submit_only)
    why_not = list({id(reason): reason for reason in (*stops, *pool.stops)}.values())
    skipped = sum(len(one.skipped) for one in manifests)
    warned = [warning for one in manifests for warning in one.warnings]
    if args.json:
        summary = report.run_object(tally, why_not, code, problems, pool.budget)
        out.document({**summary, **report.problem_fields(warned, "warnings"), "skipped": skipped})
    out.say(*report.problem_lines(problems))
    if args.verbose or (not args.quiet and sys.stderr.isatty()):  # no reason for a mail
        out.say(*report.problem_lines(warned, report.warning_text))
    if code or (not args.quiet and (sys.stderr.isatty() or (creating and args.sandbox))):
        out.say(*report.run_text(tally, why_not, pool.budget, problems=len(problems), verbose=args.verbose))
        if skipped and args.verbose:
            out.say(f"{report.counted(skipped, 'job')} skipped")
    return code


async def _work(
    args: argparse.Namespace, surface: tuple[Output, End], inventory: Inventory, account: tuple[str, str], pool: Pool, tally: Tally,
    manifests: Sequence[Manifest], steps: Sequence[Step] | Callable[[], Awaitable[Sequence[Step]]],
) -> Runner:  # fmt: skip
    """Everything that needs the API, whose client isn't even loaded where there is nothing to do.

    ``steps`` may be a function that plans them, once the ledger has been recovered here.
    """
    from batchgen.api.client import Api
    from batchgen.storage.clip_hosts import ClipHosts
    from batchgen.storage.download import Downloads

    out, ending = surface
    api = Api(*account, timeout=args.timeout)
    lend, masked = api.credentials.headers, api.credentials.masked
    downloads = Downloads(
        timeout=args.timeout,
        least_speed=args.min_speed,
        lend=lend,
        masked=masked,
        roots=inventory.roots,
        hosts=ClipHosts(api.url, args.clip_hosts, api.reached),
    )
    async with api, downloads:
        retry = getattr(args, "retry_wait", None)
        retry = Waits().retry if retry is None else retry
        waits = Waits(args.timeout, args.settle, args.poll_interval, retry, args.clip_timeout)
        ledger = inventory.ledger
        runner = Runner(inventory, api, downloads, pool, waits, tally)
        first = (
            asyncio.create_task(_recovered(runner, inventory, pool, manifests)) if callable(steps) else None
        )

        def end(reason: BatchgenError) -> None:
            runner.end(reason, answers=args.timeout if reason.kind == "until" else 0.0)
            if first is not None:
                first.cancel()

        with ending.graceful(end), out.progress(runner, pool):
            todo: Sequence[Step] = ()
            if not callable(steps):
                todo = steps
            elif first is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await first
                    todo = await steps()
            # The plan stays to the end and is looked through for cycles no more; what a night leaves behind is.
            gc.freeze()
            gc.set_threshold(*USUAL_GC)
            submit_only = args.command == "run" and args.submit_only
            open_records = inventory.begin(itertools.chain(ledger.open_records(), inventory.missing()))
            await runner.run(todo, open_records, submit_only=submit_only)
    return runner


async def _recovered(runner: Runner, inventory: Inventory, pool: Pool, manifests: Sequence[Manifest]) -> None:
    """Adopt what the API has, before anything is planned."""
    found = await recovery.recover(runner.queries, inventory, _jobs(manifests))
    if found.missing and not runner.queries.lookups_proven:
        for lane in pool.lanes:
            if lane.asks == math.inf:
                lane.unrecorded = True
                text = f"{lane.name}: nothing was found, which proves nothing at this API"
                lane.closed = EndedEarly(text, kind="unproven")


def _output_dirs(manifests: Iterable[Manifest]) -> set[str]:
    return {job.output_dir for job in _jobs(manifests)}


def _lane(one: Manifest, inventory: Inventory, *, doubtful: bool) -> Lane:
    """A manifest's share of the run."""
    lane = Lane(one.name, one.concurrency, one.max_running, one.max_cost_usd)
    lane.asks = math.inf if doubtful else recovery.SAMPLE
    lane.closed = inventory.unwritable(one)
    return lane


async def _recover(
    args: argparse.Namespace, out: Output, ledger: Ledger, account: tuple[str, str], ending: End
) -> int:
    manifests, problems = await _manifests(args, out, ledger)
    if not manifests:
        raise ManifestError(problems)
    from batchgen.api.client import Api

    inventory = Inventory(ledger)
    await recovery.doubtful(ledger, manifests, inventory, thoroughly=True)
    ended: list[BatchgenError] = []

    def end(reason: BatchgenError) -> None:
        ended.append(reason)
        work.cancel()

    async with Api(*account, timeout=args.timeout) as api:
        queries = Queries(
            ledger, api, timeout=args.timeout, pause=lambda seconds: max(seconds, 1.0), give_up=end
        )
        work = asyncio.create_task(recovery.recover(queries, inventory, _jobs(manifests)))
        with ending.graceful(end):
            try:
                found = await work
            except asyncio.CancelledError:
                raise ended[0] from None
    proven = queries.lookups_proven
    for one in manifests if proven else ():
        await recovery.trusted(ledger, one.name)
    code = 2 if problems else 0 if proven or not found.missing else 5
    if args.json:
        out.document(
            {
                "exit_code": code,
                "tasks": found.tasks,
                "clips": {row.external_task_id: row.video_path for row in inventory.adopted},
                "missing": found.missing,
                "lookups_proven": proven,
                **report.problem_fields(problems),
            }
        )
    out.say(*report.problem_lines(problems))
    if not args.quiet and not args.json:
        out.say(
            *report.recovery_text(found.tasks, found.missing, proven=proven, clips=len(inventory.adopted))
        )
    return code


# -- manifests and the plan ----------------------------------------------------------------------------------------


async def _manifests(
    args: argparse.Namespace, out: Output, ledger: Ledger
) -> tuple[list[Manifest], list[Problem]]:
    """The manifests; no image is read again that the ledger knows by size, times and inode."""
    fresh: list[ImageFile] = []

    def inspect(path: str, within: Within | None) -> ImageFile:
        image = inspection.inspect(path, within)
        fresh.append(image)
        return image

    found = reader.read(
        args.paths,
        output_dir=args.output_dir,
        strict=args.strict,
        known=ledger.images(),
        inspect=inspect,
        now=time.time(),
        holds_key=out.mask.holds_key,
    )
    await ledger.remember_images(fresh)
    await ledger.note_unusable(found[0])
    return found


def _jobs(manifests: Iterable[Manifest]) -> Iterator[Job]:
    return (job for one in manifests for job in one.jobs)


# -- what they share -----------------------------------------------------------------------------------------------


def _api_settings(args: argparse.Namespace, out: Output) -> tuple[str, str]:
    keys.keep_out_of_core_dumps()
    base_url, key = settings.base_url(args.base_url, os.environ), keys.api_key(os.environ)
    out.mask.learn(key)
    return base_url, key


def _limits(args: argparse.Namespace, manifests: Sequence[Manifest]) -> Limits:
    """The run's own limits. Without --concurrency, a manifest that states more than the built-in number gets it."""
    concurrency = args.concurrency or max([CONCURRENCY, *(one.concurrency or 0 for one in manifests)])
    now = asyncio.get_running_loop().time()
    deadline = None if args.deadline is None else now + args.deadline - time.time()
    return Limits(concurrency, args.max_running, args.max_jobs, args.max_cost, deadline)


def end_of(args: argparse.Namespace, out: Output) -> End:
    """When the run ends: at --until, else a while after --deadline, by which all of it should have."""
    deadline = getattr(args, "deadline", None)
    if args.until is not None or deadline is None:
        return End(out, args.until, timeout=args.timeout)
    why = f"{AFTER_DEADLINE / 3600:.0f} hours have passed since --deadline"
    return End(out, deadline + AFTER_DEADLINE, why, timeout=args.timeout)


def _ledger(args: argparse.Namespace, out: Output, base_url: str, end: End) -> Ledger:
    """The ledger, to be written; another run is waited for until the end at most."""
    path = settings.ledger_path(args.ledger, os.environ)
    wait = min(args.lock_wait, end.left)
    return Ledger.open(path, origin=origin(base_url), lock_wait=wait, masked=out.mask)
