"""The options that say who is told of a run, and their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from batchgen.cli.arguments import Parser

T = TypeVar("T")
STATES = ("fail", "decision", "money", "always")


def telling() -> Parser:
    """Who is told of a run."""
    found = Parser(add_help=False)
    group = found.add_argument_group("who is told of a run")
    group.add_argument(
        "--ping-url",
        metavar="URL",
        type=_typed(ping_url),
        help="ping a monitor such as healthchecks.io: URL/start, then URL/EXIT_CODE (BATCHGEN_PING_URL)",
    )
    group.add_argument(
        "--on-finish",
        metavar="CMD",
        type=_typed(command_line),
        help="run this command at the end, without a shell, the summary's JSON on its standard input (BATCHGEN_ON_FINISH)",
    )
    group.add_argument(
        "--notify-file",
        metavar="FILE",
        help="notify through Apprise: its URLs are in this file, one a line (BATCHGEN_NOTIFY_FILE)",
    )
    group.add_argument(
        "--notify-url",
        metavar="URL",
        action="append",
        help="such a URL; may be given several times (BATCHGEN_NOTIFY_URLS)",
    )
    group.add_argument(
        "--notify-on",
        metavar="STATES",
        type=_typed(states),
        help="what a notification is sent for: fail, decision, money, always; with commas (BATCHGEN_NOTIFY_ON; default fail,decision)",
    )
    group.add_argument(
        "--tell-prompts",
        action="store_true",
        help="those who are told may have the prompts of jobs that need a person",
    )
    group.add_argument(
        "--metrics-file",
        metavar="FILE",
        help="write metrics for Prometheus' node_exporter to FILE, which ends in .prom (BATCHGEN_METRICS_FILE)",
    )
    return found


def ping_url(text: str) -> str:
    """An address to be pinged. Raises ValueError, whose message doesn't show it."""
    from batchgen.night.ping import problem

    if why := problem(text):
        raise ValueError(f"the address to be pinged {why}")
    return text


def command_line(text: str) -> str:
    """A command. Raises ValueError, whose message doesn't show it."""
    from batchgen.night.receivers import words_of

    try:
        words_of(text)
    except ValueError:
        raise ValueError("the command is empty, or has a quote that is never closed") from None
    return text


def states(text: str) -> frozenset[str]:
    """States in which a notification is sent. Raises ValueError."""
    found = frozenset(filter(None, (word.strip().casefold() for word in text.split(","))))
    if not found or not found <= set(STATES):
        raise ValueError(f"{text[:60]!r} is none of {', '.join(STATES)}, with commas between them")
    return found


def _typed(read: Callable[[str], T]) -> Callable[[str], T]:
    def parse(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse
