"""The surface: one function per command, the exit code, and the errors that keep a command from its work."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from batchgen.cli import logs, options, settings
from batchgen.cli.output import Output, open_streams, quiet_pipe
from batchgen.errors import ApiError, BatchgenError, Interrupted, ManifestError, UsageError, cited
from batchgen.masking import Mask


def main(argv: Sequence[str] | None = None, *, mask: Mask | None = None) -> int:
    """Run one command. Returns the exit code; argparse exits by itself on a bad command line.

    All that is said passes through ``mask``, which learns the key as soon as it is known.
    """
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
    mask = mask if mask is not None else Mask()
    out = Output(args, mask)
    code = 0
    try:
        _learn(mask)
        with quiet_pipe(), logs.configured(args, mask):
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


def _learn(mask: Mask) -> None:
    """Tell what stands in front of all output the key that the environment has, whether the command needs it or not."""
    from batchgen.cli import keys

    if key := keys.at_hand(os.environ):
        keys.keep_out_of_core_dumps()
        mask.learn(key)


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
        from batchgen.cli import report

        out.document(
            {
                "exit_code": error.exit_code,
                "error": str(error),
                **report.problem_fields(problems),
                "stops": [report.stop_object(error)],
            }
        )
    text = cited(str(error), error.code, error.request_id) if isinstance(error, ApiError) else str(error)
    first, *more = text.splitlines() or [type(error).__name__]
    if problems:
        from batchgen.cli.report import problem_lines

        out.say(*problem_lines(problems))
        return error.exit_code
    out.say(*[f"batchgen {args.command}: {first}", *more, *filter(None, [error.advice])])
    return error.exit_code


def _validate(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli import report
    from batchgen.manifest import reader

    manifests, problems = reader.read(
        args.paths,
        output_dir=args.output_dir,
        strict=args.strict,
        now=time.time(),
        holds_key=out.mask.holds_key,
    )
    warned = [warning for one in manifests for warning in one.warnings]
    warned += [bad.problem for one in manifests for bad in one.unusable if bad.waits]
    problems += [bad.problem for one in manifests for bad in one.unusable if not bad.waits]
    jobs = sum(len(one.jobs) + len(one.unusable) for one in manifests)
    skipped = sum(len(one.skipped) for one in manifests)
    code = 2 if problems else 0
    if args.json:
        out.document(
            {
                "exit_code": code,
                "manifests": len(manifests),
                "jobs": jobs,
                **report.problem_fields(problems),
                **report.problem_fields(warned, "warnings"),
                "skipped": skipped,
            }
        )
    else:
        out.say(*report.problem_lines(problems))
        if not args.quiet:
            out.say(*report.problem_lines(warned, report.warning_text))
        if not problems and not args.quiet:
            files = report.counted(len(manifests), "manifest")
            hint = f", {report.counted(len(warned), 'warning')}" if warned else ""
            left_out = f", {skipped:,} skipped" if skipped and args.verbose else ""
            out.lines([f"{files}, {report.counted(jobs, 'job')}{left_out}: no problems{hint}"])
    return code


def _plan(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli import preview, report
    from batchgen.http.endpoint import origin
    from batchgen.ledger.reader import Records
    from batchgen.manifest import reader
    from batchgen.run.planning import planned
    from batchgen.run.survey import Survey, survey, unrecorded
    from batchgen.storage.roots import Roots

    roots = Roots()
    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) if os.path.lexists(path) else contextlib.nullcontext() as ledger:
        known = ledger.images() if ledger is not None else {}
        manifests, problems = reader.read(
            args.paths,
            output_dir=args.output_dir,
            strict=args.strict,
            known=known,
            now=time.time(),
            holds_key=out.mask.holds_key,
        )
        if not manifests:
            raise ManifestError(problems)
        on_disk = survey(ledger, [one.name for one in manifests], roots) if ledger is not None else Survey()
        api = ledger.origin if ledger is not None else origin(settings.base_url(None, os.environ))
        beside = unrecorded(ledger, manifests, api, roots)
        choices = {"retry_failed": args.retry_failed, "accept_changes": args.accept_changes}
        steps = on_disk.applied(planned(manifests, ledger, beside, **choices))
        skipped = sum(len(one.skipped) for one in manifests)
        code = 2 if problems else 0
        warned = [warning for one in manifests for warning in one.warnings]
        if args.json:
            found = preview.plan_object(steps, problems) | report.problem_fields(warned, "warnings")
            out.document({"exit_code": code, **found, "skipped": skipped})
        else:
            out.lines(preview.plan_text(steps, width=out.width, verbose=args.verbose))
            if skipped and args.verbose:
                out.lines([f"{report.counted(skipped, 'job')} skipped"])
    out.say(*report.problem_lines(problems))
    if not args.quiet:
        out.say(*report.problem_lines(warned, report.warning_text))
    return code


def _run(args: argparse.Namespace, out: Output) -> int:
    if args.dry_run:
        return _plan(args, out)
    from batchgen.cli import execute

    return execute.run(args, out)


def _collect(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli import execute

    return execute.collect(args, out)


def _recover(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli import execute

    return execute.recover(args, out)


def _status(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.status import status

    return status(args, out)


def _export(args: argparse.Namespace, out: Output) -> int:
    import json

    from batchgen.cli.export_rows import export_row, write_csv
    from batchgen.ledger.reader import Records

    if args.excel and (args.json or args.format == "jsonl"):
        raise UsageError("--excel is for CSV: leave --json and --format jsonl out")
    if args.json and args.format == "csv":
        raise UsageError("--json prints one JSON object: leave it out for --format csv")
    with Records.read(settings.ledger_path(args.ledger, os.environ)) as ledger:
        current = ledger.current()
        rows = (export_row(row, current=row.external_task_id in current) for row in ledger.records())
        if args.json:
            out.document({"tasks": list(rows)})
        elif args.excel or args.format == "csv":
            write_csv(out.text, rows, excel=args.excel)
        else:
            out.lines(json.dumps(row, ensure_ascii=False) for row in rows)
    return 0


def _resolve(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.resolve import resolve

    return resolve(args, out)


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
