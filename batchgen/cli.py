"""The surface: runs commands, prints, exits. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from batchgen import logs, options, settings
from batchgen.errors import BatchgenError, Interrupted, ManifestError, UsageError

if TYPE_CHECKING:
    from batchgen.ledger import Ledger
    from batchgen.models import ImageFile, Manifest, Problem
    from batchgen.plan import Step
    from batchgen.pool import Pool
    from batchgen.records import Records
    from batchgen.runner import Runner

log = logging.getLogger("batchgen")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; argparse exits by itself on a bad command line."""
    args = options.parser().parse_args(argv)
    try:
        with logs.configured(args):
            code: int = COMMANDS[args.command](args)
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BatchgenError as error:
        return _refuse(args, error)
    except KeyboardInterrupt:
        _say("batchgen: interrupted; nothing was being created")
        return 130


def _refuse(args: argparse.Namespace, error: BatchgenError) -> int:
    """Say why a command could not do its work at all."""
    if args.json:
        from batchgen.report import SCHEMA_VERSION, problem_object

        problems = [problem_object(problem) for problem in getattr(error, "problems", ())]
        _print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "exit_code": error.exit_code,
                "error": str(error),
                "problems": problems,
            }
        )
    lines = str(error).splitlines() or [type(error).__name__]
    if isinstance(error, ManifestError):
        _say(*lines)
    else:
        _say(f"batchgen {args.command}: {lines[0]}", *lines[1:])
    return error.exit_code


# -- commands -----------------------------------------------------------------------------------------------


def _validate(args: argparse.Namespace) -> int:
    from batchgen import manifest, report

    manifests, problems = manifest.read(args.paths, output_dir=args.output_dir)
    unusable = [bad.problem for one in manifests for bad in one.unusable]
    jobs = sum(len(one.jobs) + len(one.unusable) for one in manifests)
    if args.json:
        found = [report.problem_object(problem) for problem in [*problems, *unusable]]
        _print_json(
            {
                "schema_version": report.SCHEMA_VERSION,
                "manifests": len(manifests),
                "jobs": jobs,
                "problems": found,
            }
        )
    else:
        _say(*problems, *unusable)
        if not problems and not unusable and not args.quiet:
            print(f"{len(manifests)} manifests, {jobs:,} jobs: no problems")
    return 2 if problems or unusable else 0


def _plan(args: argparse.Namespace) -> int:
    from batchgen import report
    from batchgen.ledger import Ledger

    path = settings.ledger_path(args.ledger, os.environ)
    with Ledger.read(path) if os.path.exists(path) else contextlib.nullcontext() as ledger:
        manifests, problems = _manifests(args, _remembering(ledger, []))
        steps = _steps(args, manifests, ledger)
        if args.json:
            _print_json(report.plan_object(steps, problems))
        else:
            _print(report.plan_text(steps))
    _say(*problems)
    return 2 if problems else 0


def _run(args: argparse.Namespace) -> int:
    if args.dry_run:
        return _plan(args)
    return asyncio.run(_run_in_sandbox(args) if args.sandbox else _run_with(args, *_api_settings(args)))


async def _run_in_sandbox(args: argparse.Namespace) -> int:
    """A rehearsal: its API, ledger and clips are made for it, and stay in a folder to look at."""
    import tempfile

    from batchgen.sandbox import Config, Sandbox

    home = tempfile.mkdtemp(prefix="batchgen-sandbox-")
    args.ledger = args.ledger or os.path.join(home, "ledger.db")
    args.output_dir = args.output_dir or os.path.join(home, "clips")
    args.poll_interval = args.poll_interval or 0.5
    sandbox = Sandbox(Config(slots=3, task_seconds=(1.0, 3.0), journal=os.path.join(home, "journal.jsonl")))
    url = await sandbox.start()
    try:
        return await _run_with(args, url, "sandbox")
    finally:
        await sandbox.stop()
        if not args.quiet:
            _say(f"rehearsed in {home}: clips in {args.output_dir}, ledger in {args.ledger}")


async def _run_with(args: argparse.Namespace, base_url: str, key: str) -> int:
    from batchgen.pool import Lane

    path = settings.ledger_path(args.ledger, os.environ)
    with _writer(path, base_url, args.lock_wait) as ledger:
        fresh: list[ImageFile] = []
        manifests, problems = _manifests(args, _remembering(ledger, fresh))
        await ledger.remember_images(fresh)
        lanes = [Lane(one.name, one.concurrency, one.max_running, one.max_cost_usd) for one in manifests]
        steps = _steps(args, manifests, ledger)
        return await _work(args, ledger, base_url, key, steps, lanes, problems)


def _collect(args: argparse.Namespace) -> int:
    base_url, key = _api_settings(args)

    async def collect() -> int:
        with _writer(settings.ledger_path(args.ledger, os.environ), base_url, args.lock_wait) as ledger:
            return await _work(args, ledger, base_url, key, [], [], [])

    return asyncio.run(collect())


async def _work(
    args: argparse.Namespace, ledger: Ledger, base_url: str, key: str,
    steps: Iterable[Step], lanes: list[Any], problems: Sequence[Problem],
) -> int:  # fmt: skip
    """Run the steps and what the ledger has open, then say how it went."""
    import random

    from batchgen import report
    from batchgen.api import Api
    from batchgen.download import Downloads
    from batchgen.life import Waits
    from batchgen.pool import Limits, Pool
    from batchgen.runner import Runner

    loop = asyncio.get_running_loop()
    creating = args.command == "run"
    limits = Limits(
        concurrency=args.concurrency,
        max_running=args.max_running,
        max_jobs=args.max_jobs,
        max_cost=args.max_cost,
        deadline=None if args.deadline is None else loop.time() + args.deadline,
    ) if creating else Limits()  # fmt: skip
    pool = Pool(limits, random.Random())
    pool.lanes.extend(lanes)
    submit_only = creating and args.submit_only
    async with Api(base_url, key, timeout=args.timeout) as api, Downloads(timeout=args.timeout) as downloads:
        runner = Runner(ledger, api, downloads, pool, Waits(args.timeout, args.timeout, args.poll_interval))
        with _signals(runner), _progress(args, runner, pool):
            tally = await runner.run(steps, ledger.open_records(), submit_only=submit_only)
    code = report.exit_code(tally, runner.stopped, refused=bool(problems), submit_only=submit_only)
    stopped = str(runner.stopped or pool.closed or pool.capped or "") or None
    if args.json:
        _print_json(report.run_object(tally, stopped, code, problems, created=pool.creates, spent=pool.spent))
    _say(*problems)
    if code or (not args.quiet and (sys.stderr.isatty() or (creating and args.sandbox))):
        _say(*report.run_text(tally, stopped, created=pool.creates, spent=pool.spent, verbose=args.verbose))
    return code


def _status(args: argparse.Namespace) -> int:
    from batchgen import report
    from batchgen.export import export_row, iso
    from batchgen.ledger import Ledger
    from batchgen.models import State

    path = settings.ledger_path(args.ledger, os.environ)
    with Ledger.read(path) as ledger:
        if not args.ids:
            attention = ledger.records(states=[state for state in State if state is not State.DOWNLOADED])
            counts = ledger.counts()
            if args.json:
                states = {state.value: counts.get(state, 0) for state in State}
                rows = [export_row(record) for record in attention]
                _print_json(
                    {"schema_version": report.SCHEMA_VERSION, "ledger": path, "states": states, "open": rows}
                )
            else:
                _print(report.status_text(counts, attention, path))
            return 0
        found = []
        for asked in args.ids:
            record = ledger.record(asked)
            if record is None:
                raise UsageError(f"the ledger {path} has no task with the id {asked!r}")
            found.append((export_row(record), ledger.events(record.external_task_id)))
        if args.json:
            tasks = [
                {**row, "history": [{**dataclasses.asdict(event), "at": iso(event.at)} for event in history]}
                for row, history in found
            ]
            _print_json({"schema_version": report.SCHEMA_VERSION, "ledger": path, "tasks": tasks})
        else:
            for row, history in found:
                _print(report.record_text(row, history, iso))
    return 0


def _export(args: argparse.Namespace) -> int:
    import csv

    from batchgen.export import EXPORT_FIELDS, export_row
    from batchgen.ledger import Ledger

    with Ledger.read(settings.ledger_path(args.ledger, os.environ)) as ledger:
        rows = (export_row(record) for record in ledger.records())
        if args.format == "csv":
            writer = csv.DictWriter(sys.stdout, EXPORT_FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        else:
            _print(json.dumps(row, ensure_ascii=False) for row in rows)
    return 0


def _sandbox(args: argparse.Namespace) -> int:
    from batchgen.sandbox import command

    return command.run(args)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "validate": _validate,
    "plan": _plan,
    "run": _run,
    "collect": _collect,
    "status": _status,
    "export": _export,
    "sandbox": _sandbox,
}

# -- what commands share ------------------------------------------------------------------------------------


def _api_settings(args: argparse.Namespace) -> tuple[str, str]:
    return settings.base_url(args.base_url, os.environ), settings.api_key(os.environ)


@contextlib.contextmanager
def _writer(path: str, base_url: str, lock_wait: float) -> Iterator[Ledger]:
    from batchgen.api import origin
    from batchgen.ledger import Ledger

    with Ledger.open(path, origin=origin(base_url), lock_wait=lock_wait) as ledger:
        yield ledger


def _manifests(
    args: argparse.Namespace, inspect: Callable[[str], ImageFile]
) -> tuple[list[Manifest], list[Problem]]:
    """The good manifests and the others' problems. Raises ManifestError where none is good."""
    from batchgen import manifest

    manifests, problems = manifest.read(args.paths, output_dir=args.output_dir, inspect=inspect)
    if not manifests:
        raise ManifestError(problems)
    return manifests, problems


def _remembering(ledger: Records | None, fresh: list[ImageFile]) -> Callable[[str], ImageFile]:
    """An inspection that reads no image again which the ledger knows by size, mtime and inode."""
    from batchgen import images

    known = ledger.images() if ledger is not None else {}

    def inspect(path: str) -> ImageFile:
        image = known.get(path)
        if image is not None and images.unchanged(image):
            return image
        image = images.inspect(path)
        fresh.append(image)
        return image

    return inspect


def _steps(args: argparse.Namespace, manifests: list[Manifest], ledger: Records | None) -> Iterable[Step]:
    from batchgen.plan import plan

    history = ledger.history_of([one.name for one in manifests]) if ledger is not None else {}
    unseen = [job.external_task_id for one in manifests for job in one.jobs if job.key not in history]
    series = ledger.briefs(unseen) if ledger is not None else {}
    return plan(
        manifests, history, series, retry_failed=args.retry_failed, accept_changes=args.accept_changes
    )


@contextlib.contextmanager
def _signals(runner: Runner) -> Iterator[None]:
    """The first signal ends the run gracefully, the second at once; the ledger is safe either way."""
    loop = asyncio.get_running_loop()
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}

    def stop(number: signal.Signals) -> None:
        if isinstance(runner.ended, Interrupted):
            _say("batchgen: stopped at once; what was open is in the ledger, run again")
            os._exit(codes[number])
        runner.end(Interrupted(f"stopped by {number.name}; what was open is safe, run again", codes[number]))

    for number in codes:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in codes:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _progress(args: argparse.Namespace, runner: Runner, pool: Pool) -> Iterator[None]:
    """A bar on a terminal: jobs done, tasks running, money so far."""
    if args.quiet or args.no_progress or args.json or not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    form = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} jobs [{elapsed}<{remaining}{postfix}]"

    async def show() -> None:
        while True:
            bar.total = runner.total
            bar.n = runner.finished
            bar.set_postfix_str(f"{pool.slots.running} running, ${pool.spent:,.2f}", refresh=True)
            await asyncio.sleep(0.2)

    with tqdm(total=0, bar_format=form, dynamic_ncols=True, leave=False) as bar, logging_redirect_tqdm([log]):
        task = asyncio.create_task(show())
        try:
            yield
        finally:
            task.cancel()


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def _print_json(value: dict[str, Any]) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)
    sys.stdout.write("\n")


def _say(*lines: object) -> None:
    """Write to stderr; a closed one is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        for line in lines:
            print(line, file=sys.stderr)
        sys.stderr.flush()
