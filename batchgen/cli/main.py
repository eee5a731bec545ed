"""Starts a command, and turns the errors that end it into a message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from batchgen.cli import config, logs, options, refusals
from batchgen.cli.arguments import WrongCommandLine
from batchgen.cli.output import Output, open_streams, quiet_pipe
from batchgen.errors import BatchgenError, UsageError
from batchgen.masking import Mask


def main(argv: Sequence[str] | None = None, *, mask: Mask | None = None) -> int:
    """Run one command. Returns the exit code; argparse exits by itself on a bad command line.

    All output passes through ``mask``, which learns the key as soon as it is known.
    """
    gc.set_threshold(100_000, 20, 100)  # until there is a plan: it makes millions of values, and no cycles
    open_streams()
    words = sys.argv[1:] if argv is None else argv
    parser = options.parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as left:
        if isinstance(left, WrongCommandLine):
            mask = mask if mask is not None else Mask()
            with contextlib.suppress(BatchgenError, OSError):  # the command line's fault is said already
                _learn(mask)
                from batchgen.cli.telling import told_of_command_line

                told_of_command_line(words, left, parser, mask)
        try:
            with quiet_pipe():
                sys.stdout.flush()  # --help | head
        except UsageError as error:
            sys.stderr.write(f"batchgen: {error}\n")
            return error.exit_code
        raise
    mask = mask if mask is not None else Mask()
    out = Output(args, mask, words)
    code, fault = 0, None
    try:
        _learn(mask)
        if args.command not in UNCONFIGURED:
            try:
                config.configure(args, parser.commands, os.environ)
                out = Output(args, mask, words)
            except BatchgenError as error:
                fault = error
        with quiet_pipe(), contextlib.ExitStack() as held:
            try:
                held.enter_context(logs.configured(args, mask))
            except BatchgenError as error:
                fault = fault or error
            with _uninterrupted():
                importlib.import_module("orjson")  # a Ctrl-C during its import breaks it
            code = COMMANDS[args.command](args, out) if fault is None else _faulty(args, out, fault)
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        known = (BatchgenError, OSError, MemoryError, KeyboardInterrupt)
        if sys.flags.dev_mode and not isinstance(error, known):
            raise
        return _refuse(args, out, refusals.refusal(error))
    return code


def _faulty(args: argparse.Namespace, out: Output, fault: BatchgenError) -> int:
    """Raise what is wrong with the configuration or the log file, and tell those who are told of runs, as far as they are known."""
    if args.command not in ("run", "collect"):
        raise fault
    from batchgen.cli.telling import told

    def work(night: object) -> int:
        raise fault

    return told(args, out, work)


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
    if args.json:
        out.document(refusals.document(error, verbose=args.verbose))
    out.say(*refusals.lines(args.command, error, verbose=args.verbose), level=logging.ERROR)
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

    if not args.stay_awake:
        return run(args, out)
    from batchgen.night.awake import awake

    with awake(os.environ):
        return run(args, out)


def _collect(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.collect import collect

    return collect(args, out)


def _notify(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.notify import notify

    return notify(args, out)


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


def _schedule(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.schedule import schedule

    return schedule(args, out)


def _verify(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.verify import verify

    return verify(args, out)


def _listen(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.listen import listen

    return listen(args, out)


def _help(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.help import help_

    return help_(args, out)


def _doctor(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.doctor import doctor

    return doctor(args, out)


def _sandbox(args: argparse.Namespace, out: Output) -> int:
    from batchgen.cli.sandbox import sandbox

    return sandbox(args, out)


UNCONFIGURED = {"help", "doctor"}  # which are needed where the file is wrong
COMMANDS: dict[str, Callable[[argparse.Namespace, Output], int]] = {
    "init": _init,
    "validate": _validate,
    "plan": _plan,
    "run": _run,
    "collect": _collect,
    "notify": _notify,
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
    "schedule": _schedule,
    "ledger": _ledger,
    "recover": _recover,
    "doctor": _doctor,
    "listen": _listen,
    "sandbox": _sandbox,
    "completion": _completion,
    "help": _help,
}
