"""Leaves a line in the ledger for a run that ended before it began: cron did start it, and this is why nothing came of it.

Where there is no ledger yet, none is made for that: it would be bound to an API that may be the wrong one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from batchgen.cli.arguments import Parser, WrongCommandLine
from batchgen.errors import BatchgenError

if TYPE_CHECKING:
    from batchgen.ledger.runs import RunRecord

RUNS = ("run", "collect")
_REHEARSALS = {"--sandbox", "-n", "--dry-run"}
_HEARD = {
    "--ledger",
    "--ping-url",
    "--on-finish",
    "--notify-file",
    "--notify-url",
    "--notify-on",
    "--metrics-file",
}


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


def understood(words: Sequence[str], error: WrongCommandLine, parser: Parser) -> argparse.Namespace | None:
    """What is known of a run whose command line couldn't be read: its ledger, and who is told of it; None where none was meant.

    Raises BatchgenError.
    """
    command = words[0] if words else ""
    if command not in RUNS or _REHEARSALS & set(words):
        return None
    from batchgen.cli import config

    args = parser.parse_args([command, *_kept(words, error), *(["-"] if command == "run" else [])])
    config.configure(args, parser.commands, os.environ)
    return args


def without_values(words: Sequence[str]) -> list[str]:
    """The command and the options of such a line. What it gave them isn't recorded: it may be the key."""
    return [*words[:1], *(word.partition("=")[0] for word in words if word.startswith("-"))]


def _kept(words: Sequence[str], error: WrongCommandLine) -> list[str]:
    """Of the options that are heard all the same those that are there, and aren't what is wrong."""
    kept = []
    for word, value in zip(words, [*words[1:], ""], strict=True):
        name, equals, _ = word.partition("=")
        if name in _HEARD and name not in error.text and (equals or value):
            kept.append(word if equals else f"{name}={value}")
    return kept
