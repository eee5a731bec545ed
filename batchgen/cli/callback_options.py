"""The options of callbacks."""

from __future__ import annotations

import argparse
import re

from batchgen.cli.arguments import Parser


def add_callbacks(run: argparse.ArgumentParser | Parser) -> None:
    """What lets a run be told of its tasks' ends."""
    run.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=address,
        help="receive the API's callbacks there, which say when to ask for a task; needs --public-url",
    )
    run.add_argument(
        "--public-url",
        metavar="URL",
        help="where the API reaches --listen, or `batchgen listen`: the callback_url of jobs that have none of their own begins with it",
    )


def address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` of an address to listen at."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[A-Za-z0-9.-]+):([0-9]{1,5})", text, re.ASCII)
    if not match or not 0 < int(match[3]) < 1 << 16:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no HOST:PORT to listen at; write 127.0.0.1:8090 or [::1]:8090"
        )
    return match[1].strip("[]"), int(match[3])
