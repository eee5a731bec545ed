"""The surface: one function per command, the exit code, and the errors that keep a command from its work."""

from __future__ import annotations

import argparse
import contextlib
import gc
import getpass
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from batchgen import logs, options, settings
from batchgen.errors import BatchgenError, Interrupted, ManifestError, UsageError
from batchgen.output import Output, open_streams, quiet_pipe

if TYPE_CHECKING:
    from batchgen.models import Change, Event, Record


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; argparse exits by itself on a bad command line."""
    gc.set_threshold(100_000, 20, 100)  # until there is a plan: values by the million, without a cycle
    open_streams()
    try:
        args = options.parser().parse_args(argv)
    except SystemExit:
        try:
            with quiet_pipe():
                sys.stdout.flush()  # --help | head
        except UsageError as error:
            sys.stderr.write(f"batchgen: {error}\n")
            return error.exit_code
        raise
    out = Output(args)
    code = 0
    try:
        with quiet_pipe(), logs.configured(args):
            with _uninterrupted():
                importlib.import_module("orjson")  # whose own start does not survive a Ctrl-C
            code = COMMANDS[args.command](args, out)
            sys.stdout.flush()
    except BatchgenError as error:
        return _refuse(args, out, error)
    except OSError as error:  # the machine fails: no descriptors, no memory, no current folder
        gone = isinstance(error, FileNotFoundError) and not error.filename
        text = "the current folder is gone" if gone else f"{error.strerror or error}"
        return _refuse(args, out, UsageError(f"{text}: {error.filename}" if error.filename else text))
    except KeyboardInterrupt:
        return _refuse(args, out, Interrupted("interrupted; nothing was being created", 130))
    return code


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C is heard afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _refuse(args: argparse.Namespace, out: Output, error: BatchgenError) -> int:
    """Say why a command could not do its work at all."""
    problems = error.problems if isinstance(error, ManifestError) else ()
    if args.json:
        from batchgen import report

        listed = [report.problem_object(problem) for problem in problems]
        out.document({"exit_code": error.exit_code, "error": str(error), "problems": listed})
    first, *more = str(error).splitlines() or [type(error).__name__]
    out.say(*problems or [f"batchgen {args.command}: {first}", *more])
    return error.exit_code


def _validate(args: argparse.Namespace, out: Output) -> int:
    from batchgen import manifest, report

    manifests, problems = manifest.read(args.paths, output_dir=args.output_dir, strict=args.strict)
    warned = [warning for one in manifests for warning in one.warnings]
    problems += [bad.problem for one in manifests for bad in one.unusable]
    jobs = sum(len(one.jobs) + len(one.unusable) for one in manifests)
    code = 2 if problems else 0
    if args.json:
        found, hints = ([*map(report.problem_object, some)] for some in (problems, warned))
        out.document(
            {
                "exit_code": code,
                "manifests": len(manifests),
                "jobs": jobs,
                "problems": found,
                "warnings": hints,
            }
        )
    else:
        out.say(*problems)
        if not args.quiet:
            out.say(*map(report.warning_text, warned))
        if not problems and not args.quiet:
            files = report.counted(len(manifests), "manifest")
            hint = f", {report.counted(len(warned), 'warning')}" if warned else ""
            out.lines([f"{files}, {report.counted(jobs, 'job')}: no problems{hint}"])
    return code


def _plan(args: argparse.Namespace, out: Output) -> int:
    from batchgen import manifest, report
    from batchgen.online import planned
    from batchgen.records import Records

    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) if os.path.lexists(path) else contextlib.nullcontext() as ledger:
        known = ledger.images() if ledger is not None else {}
        manifests, problems = manifest.read(
            args.paths, output_dir=args.output_dir, strict=args.strict, known=known
        )
        if not manifests:
            raise ManifestError(problems)
        steps = planned(args, manifests, ledger)
        code = 2 if problems else 0
        if args.json:
            hints = [report.problem_object(warning) for one in manifests for warning in one.warnings]
            out.document({"exit_code": code, **report.plan_object(steps, problems), "warnings": hints})
        else:
            out.lines(report.plan_text(steps))
    out.say(*problems)
    if not args.quiet:
        out.say(*(report.warning_text(warning) for one in manifests for warning in one.warnings))
    return code


def _run(args: argparse.Namespace, out: Output) -> int:
    if args.dry_run:
        return _plan(args, out)
    from batchgen import online

    return online.run(args, out)


def _collect(args: argparse.Namespace, out: Output) -> int:
    from batchgen import online

    return online.collect(args, out)


def _recover(args: argparse.Namespace, out: Output) -> int:
    from batchgen import online

    return online.recover(args, out)


def _status(args: argparse.Namespace, out: Output) -> int:
    from batchgen import report
    from batchgen.export import export_row
    from batchgen.models import State
    from batchgen.records import Records

    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) as ledger:
        if args.ids:
            found = [_wanted(ledger.record(name), name, path) for name in args.ids]
            rows = [(export_row(record), ledger.events(record.external_task_id)) for record in found]
            if args.json:
                tasks = [
                    {**row, "history": [report.event_object(event) for event in past]} for row, past in rows
                ]
                out.document({"ledger": path, "tasks": tasks})
            else:
                for row, past in rows:
                    out.lines(report.record_text(row, past))
            return 0
        counts = ledger.counts()
        attention = ledger.records(states=[state for state in State if state is not State.DOWNLOADED])
        if args.json:
            out.document(
                {"ledger": path, "states": counts, "open": [export_row(record) for record in attention]}
            )
        else:
            out.lines(report.status_text(counts, attention, path))
    return 0


def _wanted(record: Record | None, name: str, path: str) -> Record:
    if record is None:
        raise UsageError(f"the ledger {path} has no task with the external_task_id {name!r}")
    return record


def _export(args: argparse.Namespace, out: Output) -> int:
    import csv
    import json

    from batchgen.export import EXPORT_FIELDS, export_row
    from batchgen.records import Records

    with Records.read(settings.ledger_path(args.ledger, os.environ)) as ledger:
        rows = map(export_row, ledger.records())
        if args.json:
            out.document({"tasks": list(rows)})
        elif args.format == "csv":
            writer = csv.DictWriter(sys.stdout, EXPORT_FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        else:
            out.lines(json.dumps(row, ensure_ascii=False) for row in rows)
    return 0


def _resolve(args: argparse.Namespace, out: Output) -> int:
    from batchgen import report
    from batchgen.export import export_row
    from batchgen.models import State
    from batchgen.records import Records

    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) as ledger:
        record, origin = _wanted(ledger.record(args.id), args.id, path), ledger.origin
        past = ledger.events(args.id)
        twin = next(iter(ledger.with_task(args.task_id)), None) if args.task_id else None
    change = _decision(args, record)
    if change is not None:
        if record.state not in report.CHOICES:
            raise UsageError(f"{args.id} is {record.state}: there is nothing to decide")
        if record.state in (State.SUBMITTED, State.SUCCEEDED) and not args.abandon:
            raise UsageError(
                f"{args.id} is {record.state}, with task {record.task_id}; it can only be abandoned"
            )
        if twin is not None:
            raise UsageError(f"task {args.task_id} belongs to {twin.external_task_id} already")
        record, past = _decide(path, origin, record, change, args.lock_wait)
    if args.json:
        history = [report.event_object(event) for event in past]
        out.document({"ledger": path, "task": {**export_row(record), "history": history}})
    elif change is None:
        out.lines([*report.record_text(export_row(record), past), *report.choices(record)])
    elif not args.quiet:
        out.lines([f"{record.external_task_id} is {record.state} now; {report.after_decision(change.event)}"])
    return 0


def _decision(args: argparse.Namespace, record: Record) -> Change | None:
    """What the person chose, as a change of the row, with who it was."""
    from batchgen.models import Change, State
    from batchgen.plan import ABANDONED

    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # nobody has this number
        user = f"user {os.getuid()}"
    by = {"by": f"{user}@{socket.gethostname()}"}
    if args.task_id:
        values = {"task_id": args.task_id, "submitted_at": record.submitted_at or record.created_at}
        return Change(args.id, State.SUBMITTED, "resolved_as_created", values=values, detail=by)
    if args.not_created:
        return Change(args.id, State.PENDING, "resolved_as_not_created", detail=by)
    if args.abandon:
        values = {"error_code": ABANDONED, "error_message": f"given up by {by['by']}"}
        to = State.FAILED if record.task_id else State.REJECTED
        return Change(args.id, to, "resolved_as_abandoned", values=values, detail=by)
    return None


def _decide(
    path: str, origin: str, record: Record, change: Change, lock_wait: float
) -> tuple[Record, list[Event]]:
    import asyncio

    from batchgen.ledger import Ledger
    from batchgen.models import Change, State

    async def decide() -> tuple[Record, list[Event]]:
        with Ledger.open(path, origin=origin, lock_wait=lock_wait) as ledger:
            present = ledger.record(record.external_task_id)
            if present is not None and present.state is State.SUBMITTING:
                await ledger.apply(Change(record.external_task_id, State.UNKNOWN, "lost_track"))
            decided = await ledger.apply(change)
            return decided, list(ledger.events(record.external_task_id))

    return asyncio.run(decide())


def _sandbox(args: argparse.Namespace, out: Output) -> int:
    from batchgen.sandbox import command
    from batchgen.sandbox.faults import FAULTS

    if not args.json:
        return command.run(args)
    if args.list_faults:
        out.document({"faults": {fault.name: fault.text for fault in FAULTS.values()}})
        return 0
    return command.run(args, lambda url, seed: out.document({"url": url, "seed": seed}))


COMMANDS: dict[str, Callable[[argparse.Namespace, Output], int]] = {
    "validate": _validate,
    "plan": _plan,
    "run": _run,
    "collect": _collect,
    "status": _status,
    "export": _export,
    "resolve": _resolve,
    "recover": _recover,
    "sandbox": _sandbox,
}
