"""The commands that talk to the API: run, collect and recover."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence

from batchgen import images, manifest, recovery, report, settings
from batchgen.api import Api, origin
from batchgen.asking import Asker
from batchgen.download import Downloads
from batchgen.errors import BatchgenError, Interrupted, ManifestError, cited
from batchgen.ledger import Ledger
from batchgen.life import Waits
from batchgen.models import ImageFile, Job, Manifest, Problem, Record
from batchgen.output import Output
from batchgen.plan import PAYS, Action, Step, differences, plan
from batchgen.pool import Lane, Limits, Pool
from batchgen.records import Records
from batchgen.runner import Runner


def run(args: argparse.Namespace, out: Output) -> int:
    """Create, follow and collect what is missing."""
    if args.sandbox:
        return asyncio.run(_rehearse(args, out))
    return asyncio.run(_run(args, out, *_api_settings(args)))


def collect(args: argparse.Namespace, out: Output) -> int:
    """Follow and download what the ledger has open."""
    args.paths = ()
    return asyncio.run(_run(args, out, *_api_settings(args)))


def recover(args: argparse.Namespace, out: Output) -> int:
    """Adopt every task of these manifests that the API knows and the ledger doesn't."""
    return asyncio.run(_recover(args, out, *_api_settings(args)))


async def _rehearse(args: argparse.Namespace, out: Output) -> int:
    """A run whose API, ledger and clips are made for it, and stay in a folder to look at."""
    from batchgen.sandbox.config import Config
    from batchgen.sandbox.server import Sandbox

    home = tempfile.mkdtemp(prefix="batchgen-sandbox-")
    args.ledger = args.ledger or os.path.join(home, "ledger.db")
    args.output_dir = args.output_dir or os.path.join(home, "clips")
    args.poll_interval = args.poll_interval or 0.5
    sandbox = Sandbox(Config(slots=3, task_seconds=(1.0, 3.0), journal=os.path.join(home, "journal.jsonl")))
    url = await sandbox.start()
    try:
        return await _run(args, out, url, "sandbox")
    finally:
        await sandbox.stop()
        if not args.quiet:
            out.say(f"rehearsed in {home}: clips in {args.output_dir}, ledger in {args.ledger}")


async def _run(args: argparse.Namespace, out: Output, base_url: str, key: str) -> int:
    """Do what the manifests ask for and what the ledger has open, then say how it went."""
    creating = args.command == "run"
    with _ledger(args, base_url) as ledger:
        manifests, problems = await _manifests(args, ledger) if args.paths else ([], [])
        pool = Pool(_limits(args) if creating else Limits(), random.Random())
        pool.lanes += [
            Lane(one.name, one.concurrency, one.max_running, one.max_cost_usd) for one in manifests
        ]
        async with (
            Api(base_url, key, timeout=args.timeout) as api,
            Downloads(timeout=args.timeout) as downloads,
        ):
            runner = Runner(
                ledger, api, downloads, pool, Waits(args.timeout, args.timeout, args.poll_interval)
            )
            with _signals(out, runner.end), out.progress(runner, pool):
                steps: Iterable[Step] = ()
                if manifests:
                    if args.recover:
                        await recovery.recover(runner.asker, ledger, _jobs(manifests))
                    steps = await _guarded(runner.asker, ledger, manifests, planned(args, manifests, ledger))
                submit_only = creating and args.submit_only
                tally = await runner.run(steps, ledger.open_records(), submit_only=submit_only)
    code = report.exit_code(tally, runner.stopped, refused=bool(problems), submit_only=submit_only)
    stopped = str(runner.stopped or pool.closed or pool.capped or "") or None
    if args.json:
        out.document(
            report.run_object(tally, stopped, code, problems, created=pool.creates, spent=pool.spent)
        )
    out.say(*problems)
    if code or (not args.quiet and (sys.stderr.isatty() or (creating and args.sandbox))):
        out.say(
            *report.run_text(tally, stopped, created=pool.creates, spent=pool.spent, verbose=args.verbose)
        )
    return code


async def _recover(args: argparse.Namespace, out: Output, base_url: str, key: str) -> int:
    with _ledger(args, base_url) as ledger:
        manifests, problems = await _manifests(args, ledger)
        if not manifests:
            raise ManifestError(problems)
        ended: list[BatchgenError] = []

        def end(reason: BatchgenError) -> None:
            ended.append(reason)
            work.cancel()

        async with Api(base_url, key, timeout=args.timeout) as api:
            asker = Asker(ledger, api, timeout=args.timeout, pause=lambda seconds: None, give_up=end)
            work = asyncio.create_task(recovery.recover(asker, ledger, _jobs(manifests)))
            with _signals(out, end):
                try:
                    found = await work
                except asyncio.CancelledError:
                    raise ended[0] from None
    proven = asker.lookups_proven
    code = 2 if problems else 0 if proven or not found.missing else 5
    if args.json:
        listed = [report.problem_object(problem) for problem in problems]
        out.document(
            {
                "exit_code": code,
                "tasks": found.tasks,
                "missing": found.missing,
                "lookups_proven": proven,
                "problems": listed,
            }
        )
    out.say(*problems)
    if not args.quiet and not args.json:
        out.say(*report.recovery_text(found.tasks, found.missing, proven=proven))
    return code


# -- manifests and the plan ----------------------------------------------------------------------------------------


def planned(
    args: argparse.Namespace, manifests: Sequence[Manifest], ledger: Records | None
) -> Iterator[Step]:
    """The steps of all jobs, changes told field by field. ``ledger`` is None where there is none yet."""
    if ledger is None:
        yield from plan(manifests, {}, {}, {})
        return
    history = ledger.history_of([one.name for one in manifests])
    unseen = [job for one in manifests for job in one.jobs if job.key not in history]
    series = ledger.briefs(job.external_task_id for job in unseen)
    twins = ledger.twins(job.digest for job in unseen)
    options = {"retry_failed": args.retry_failed, "accept_changes": args.accept_changes}
    for step in plan(manifests, history, series, twins, **options):
        if step.action in (Action.CHANGED, Action.REJECTED, Action.FAILED) and isinstance(step.job, Job):
            yield _explained(step, step.job, ledger.record(step.external_task_id))
        else:
            yield step


def _explained(step: Step, job: Job, record: Record | None) -> Step:
    """The step with what the ledger knows of its row: what changed, or why the API or the task refused."""
    if record is None:
        return step
    if step.action is not Action.CHANGED:
        told = cited(record.error_message or "", record.error_code, record.request_id)
    elif record.digest != job.digest:
        told = differences(record.canonical, job.canonical)
    else:
        return step
    return Step(job, step.action, step.external_task_id, f"{step.reason}: {told}")


def remembering(ledger: Records | None, fresh: list[ImageFile]) -> Callable[[str], ImageFile]:
    """An inspection that reads no image again which the ledger knows by size, mtime and inode."""
    known = ledger.images() if ledger is not None else {}

    def inspect(path: str) -> ImageFile:
        image = known.get(path)
        if image is not None and images.unchanged(image):
            return image
        image = images.inspect(path)
        fresh.append(image)
        return image

    return inspect


async def _manifests(args: argparse.Namespace, ledger: Ledger) -> tuple[list[Manifest], list[Problem]]:
    fresh: list[ImageFile] = []
    inspect = remembering(ledger, fresh)
    manifests, problems = manifest.read(args.paths, output_dir=args.output_dir, inspect=inspect)
    await ledger.remember_images(fresh)
    return manifests, problems


async def _guarded(
    asker: Asker, ledger: Ledger, manifests: Sequence[Manifest], steps: Iterator[Step]
) -> Iterator[Step]:
    """The plan, without the creates of manifests that the ledger has lost and the API still has."""
    lost = await recovery.unrecorded(asker, ledger, manifests)

    def guard(step: Step) -> Step:
        if step.action not in PAYS or step.job.manifest not in lost:
            return step
        reason = f"the API has {lost[step.job.manifest]}, and the ledger has no task of this manifest"
        return Step(step.job, Action.UNRECORDED, step.external_task_id, reason)

    return map(guard, steps)


def _jobs(manifests: Iterable[Manifest]) -> Iterator[Job]:
    return (job for one in manifests for job in one.jobs)


# -- what they share -----------------------------------------------------------------------------------------------


def _api_settings(args: argparse.Namespace) -> tuple[str, str]:
    return settings.base_url(args.base_url, os.environ), settings.api_key(os.environ)


def _limits(args: argparse.Namespace) -> Limits:
    now = asyncio.get_running_loop().time()
    deadline = None if args.deadline is None else now + args.deadline
    return Limits(args.concurrency, args.max_running, args.max_jobs, args.max_cost, deadline)


def _ledger(args: argparse.Namespace, base_url: str) -> Ledger:
    path = settings.ledger_path(args.ledger, os.environ)
    return Ledger.open(path, origin=origin(base_url), lock_wait=args.lock_wait)


@contextlib.contextmanager
def _signals(out: Output, end: Callable[[BatchgenError], object]) -> Iterator[None]:
    """The first signal ends the work gracefully, the second at once; the ledger is safe either way."""
    loop = asyncio.get_running_loop()
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
    seen: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if seen:
            out.say("batchgen: stopped at once; what was open is in the ledger, run again")
            os._exit(codes[number])
        seen.append(number)
        end(Interrupted(f"by {number.name}; what was open is safe, run again", codes[number]))

    for number in codes:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in codes:
            loop.remove_signal_handler(number)
