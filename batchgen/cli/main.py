"""Starts a command, and turns the errors that end it into a message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from batchgen.cli import config, logs, options
from batchgen.cli.output import Output, open_streams, quiet_pipe
from batchgen.errors import ApiError, BatchgenError, Bug, Interrupted, ManifestError, UsageError, cited
from batchgen.manifest.isolation import to_report
from batchgen.masking import Mask


def main(argv: Sequence[str] | None = None, *, mask: Mask | None = None) -> int:
    """Run one command. Returns the exit code; argparse exits by itself on a bad command line.

    All output passes through ``mask``, which learns the key as soon as it is known.
    """
    gc.set_threshold(100_000, 20, 100)  # until there is a plan: it makes millions of values, and no cycles
    open_streams()
    try:
        parser = options.parser()
        args = parser.parse_args(argv)
    except SystemExit:
        try:
            with quiet_pipe():
                sys.stdout.flush()  # --help | head
        except UsageError as error:
            sys.stderr.write(f"batchgen: {error}\n")
            return error.exit_code
        raise
    mask = mask if mask is not None else Mask()
    words = sys.argv[1:] if argv is None else argv
    out = Output(args, mask, words)
    code = 0
    try:
        _learn(mask)
        if args.command not in UNCONFIGURED:
            config.configure(args, parser.commands, os.environ)
            out = Output(args, mask, words)
        with quiet_pipe(), logs.configured(args, mask):
            with _uninterrupted():
                importlib.import_module("orjson")  # a Ctrl-C during its import breaks it
            code = COMMANDS[args.command](args, out)
            sys.stdout.flush()
    except BatchgenError as error:
        return _refuse(args, out, error)
    except OSError as error:  # the machine fails: no descriptors, no memory, no current folder
        gone = isinstance(error, FileNotFoundError) and not error.filename
        text = "the current folder is gone" if gone else f"{error.strerror or error}"
        return _refuse(args, out, UsageError(f"{text}: {error.filename}" if error.filename else text))
    except MemoryError:
        return _refuse(args, out, UsageError("it needs more memory than there is"))
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        return _refuse(args, out, Bug(f"it failed; {to_report(error)}"))
    except KeyboardInterrupt:
        return _refuse(args, out, Interrupted("interrupted; nothing was being created", 130))
    return code


def _learn(mask: Mask) -> None:
    """Give the mask of all output the key in the environment, whether or not the command needs it."""
    from batchgen.api import keys
    from batchgen.cli import core_dumps

    if key := keys.key_without_waiting(os.environ):
        core_dumps.keep_out_of_core_dumps()
        mask.learn(key)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the end of this."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _refuse(args: argparse.Namespace, out: Output, error: BatchgenError) -> int:
    """Report why a command could not do its work. Returns its exit code."""
    problems = error.problems if isinstance(error, ManifestError) else ()
    if args.json:
        from batchgen.cli import report

        out.document(
            {
                "exit_code": error.exit_code,
                "error": str(error),
                **report.problem_fields(problems, verbose=args.verbose),
                "stops": [report.stop_object(error)],
            }
        )
    text = cited(str(error), error.code, error.request_id) if isinstance(error, ApiError) else str(error)
    first, *more = text.splitlines() or [type(error).__name__]
    if problems:
        from batchgen.cli.report import problem_lines

        out.say(*problem_lines(problems, verbose=args.verbose))
        return error.exit_code
    out.say(*[f"batchgen {args.command}: {first}", *more, *filter(None, [error.advice])])
    return error.exit_code


def _init(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.init import init

    return init(args, out)


def _validate(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.validate import validate

    return validate(args, out)


def _plan(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.plan import plan

    return plan(args, out)


def _run(args: argparse.Namespace, out: Output) -> int:
    if args.dry_run:
        return _plan(args, out)
    from batchgen.cli.run import run

    return run(args, out)


def _collect(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.collect import collect

    return collect(args, out)


def _recover(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.recover import recover

    return recover(args, out)


def _status(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.status import status

    return status(args, out)


def _why(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.why import why

    return why(args, out)


def _runs(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.runs import runs

    return runs(args, out)


def _report(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.report_page import report

    return report(args, out)


def _review(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.review import review

    return review(args, out)


def _export(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.export import export

    return export(args, out)


def _resolve(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.resolve import resolve

    return resolve(args, out)


def _retake(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.retake import retake

    return retake(args, out)


def _budget(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.budget import budget

    return budget(args, out)


def _spend(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.spend import spend

    return spend(args, out)


def _ledger(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.ledger import ledger

    return ledger(args, out)


def _completion(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.completion import completion

    return completion(args, out)


def _verify(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.verify import verify

    return verify(args, out)


def _help(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.help import help_

    return help_(args, out)


def _sandbox(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.sandbox import sandbox

    return sandbox(args, out)


UNCONFIGURED = {"help"}  # which are needed where the file is wrong
COMMANDS: dict[str, Callable[[argparse.Namespace, Output], int]] = {
    "init": _init,
    "validate": _validate,
    "plan": _plan,
    "run": _run,
    "collect": _collect,
    "status": _status,
    "why": _why,
    "runs": _runs,
    "report": _report,
    "review": _review,
    "export": _export,
    "resolve": _resolve,
    "retake": _retake,
    "budget": _budget,
    "spend": _spend,
    "verify": _verify,
    "ledger": _ledger,
    "recover": _recover,
    "sandbox": _sandbox,
    "completion": _completion,
    "help": _help,
}
