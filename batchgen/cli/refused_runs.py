"""Leaves a line in the ledger for a run that ended before it began: cron did start it, and this is why nothing came of it.

Where there is no ledger yet, none is made for that: it would be bound to an API that may be the wrong one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from batchgen.cli.arguments import Parser, WrongCommandLine
from batchgen.errors import BatchgenError, UsageError

if TYPE_CHECKING:
    from batchgen.ledger.runs import RunRecord

RUNS = ("run", "collect")
_REHEARSALS = {"--sandbox", "-n", "--dry-run"}


def record(run: RunRecord, error: BatchgenError, ledger: str | None, masked: Callable[[str], str]) -> None:
    """Write the line of a run that ended with this error into the ledger, and log it, unless it has one."""
    from batchgen.cli import settings
    from batchgen.ledger import runs
    from batchgen.run.clock import Clock
    from batchgen.run.recording import log_refused, refused

    line, new = refused(run, error, Clock().now(), masked), True
    # A ledger that can't be written is no other error: the one that is recorded here is said all the same.
    with contextlib.suppress(BatchgenError, OSError):
        new = runs.add(settings.ledger_path(ledger, os.environ), line)
    if new:
        log_refused(line)


def of_command_line(
    words: Sequence[str], error: WrongCommandLine, parser: Parser, masked: Callable[[str], str]
) -> None:
    """Record a run whose command line couldn't be read. What it gave its options isn't: it may be the key."""
    command = words[0] if words else ""
    if command not in RUNS or _REHEARSALS & set(words):
        return
    from batchgen.cli import config
    from batchgen.run.clock import Clock
    from batchgen.run.recording import new_run

    with contextlib.suppress(BatchgenError, WrongCommandLine, OSError):
        args = parser.parse_args([command, *_ledger(words), *(["-"] if command == "run" else [])])
        config.configure(args, parser.commands, os.environ)
        names = [word.partition("=")[0] for word in words if word.startswith("-")]
        run = new_run(Clock(), command, [command, *names], masked)
        record(run, UsageError(error.text), args.ledger, masked)


def _ledger(words: Sequence[str]) -> list[str]:
    """The option that names the ledger, where there is one."""
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--ledger="):
            return [word]
        if word == "--ledger" and value:
            return [f"--ledger={value}"]
    return []
