"""``batchgen sandbox``: its options, and the server until a signal stops it."""

# ruff: noqa: T201
# A program of its own, whichever command line starts it.

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from batchgen.errors import UsageError

if TYPE_CHECKING:
    from batchgen.sandbox.config import Config

CLIPS = ("real", "stand-in")
SIGNING_VARIABLE = "BATCHGEN_CALLBACK_SECRET"
CLIPS_VARIABLE = "BATCHGEN_SANDBOX_CLIPS"


def _range(text: str) -> tuple[float, float]:
    try:
        low, _, high = text.partition("-")
        pair = float(low), float(high or low)
    except ValueError:
        pair = (-1.0, 0.0)
    if not 0 <= pair[0] <= pair[1] < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: write seconds as 5 or 2-10")
    return pair


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``batchgen sandbox``."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_count, default=0, help="port to listen on (default: a free one)")
    parser.add_argument(
        "--slots", type=_count, metavar="N", help="tasks that may run at once (default: no limit)"
    )
    parser.add_argument(
        "--task-seconds",
        type=_range,
        default=(2.0, 6.0),
        metavar="LOW-HIGH",
        help="how long a task takes (default: 2-6)",
    )
    parser.add_argument("--scaled", action="store_true", help="longer and better clips take longer")
    parser.add_argument(
        "--seed", type=_count, metavar="N", help="repeat the chances of another run (default: random)"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="RULE",
        help="NAME=PROBABILITY or NAME@N,N: play a fault; may be given more than once",
    )
    parser.add_argument("--list-faults", action="store_true", help="list the faults and exit")
    parser.add_argument(
        "--lookup-lag",
        type=lambda text: _range(text)[0],
        default=0.0,
        metavar="SECONDS",
        help="how late a query sees a new external_task_id (default: 0)",
    )
    parser.add_argument("--no-lookups", action="store_true", help="queries never find an external_task_id")
    parser.add_argument("--no-unique", action="store_true", help="take an external_task_id twice")
    parser.add_argument(
        "--neighbour", type=_count, default=0, metavar="N", help="slots that somebody else uses at times"
    )
    parser.add_argument(
        "--callbacks",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="call back this receiver on this machine; may be given more than once (default: none)",
    )
    parser.add_argument(
        "--dialect",
        choices=("vendor", "wrapped", "flat", "video"),
        default="vendor",
        help="answer as gateways do (default: %(default)s)",
    )
    parser.add_argument(
        "--clips",
        choices=CLIPS,
        help="encode clips from their pictures, or take a stand-in for all (BATCHGEN_SANDBOX_CLIPS;"
        " default: real where batchgen[demo] is installed)",
    )
    parser.add_argument("--journal", metavar="FILE", help="append every request to FILE as JSON Lines")


def announce(url: str, seed: int) -> None:
    """Print the sandbox's address and how to use it."""
    print(url)
    print(
        f"POWERTOKENS_API_BASE={url} POWERTOKENS_API_KEY=sandbox batchgen run --ledger rehearsal.db manifests/"
    )
    print(f"seed {seed}; state: {url}/_sandbox/stats", flush=True)


def run(arguments: argparse.Namespace, announce: Callable[[str, int], None] = announce) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code. Raises UsageError."""
    import asyncio  # here and below, since every command's options are known at every start

    from batchgen.sandbox.faults import FAULTS

    if arguments.list_faults:
        width = max(map(len, FAULTS))
        for fault in FAULTS.values():
            print(f"{fault.name:{width}}  {fault.text}")
        return 0
    try:
        asyncio.run(_serve(configuration(arguments), arguments.host, arguments.port, announce))
    except (OSError, OverflowError) as error:
        raise UsageError(f"it can't start: {_why(error, arguments)}") from None
    return 0


def _why(error: OSError | OverflowError, arguments: argparse.Namespace) -> str:
    """What was in the way of serving: a file, or the address."""
    if isinstance(error, OverflowError):
        return str(error)
    number = error.errno or 0
    own = error.filename is not None or number <= 0  # else asyncio's, which repeat the address and its number
    words = str(error.strerror or error).partition(" (while")[0] if own else os.strerror(number)
    hint = "; another --port may be free" if number == errno.EADDRINUSE else ""
    return f"{error.filename or f'{arguments.host}:{arguments.port}'}: {words}{hint}"


def configuration(arguments: argparse.Namespace) -> Config:
    """How the sandbox of these options is to behave. Raises UsageError."""
    import random

    from batchgen.sandbox.config import Config
    from batchgen.sandbox.faults import parse
    from batchgen.sandbox.guard import address

    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed
    try:
        faults = tuple(map(parse, arguments.fault))
    except ValueError as error:
        raise UsageError(f"--fault: {error}") from None
    try:
        receivers = frozenset(map(address, arguments.callbacks))
    except ValueError as error:
        raise UsageError(f"--callbacks: {error}") from None
    return Config(
        slots=arguments.slots,
        task_seconds=arguments.task_seconds,
        scaled=arguments.scaled,
        seed=seed,
        faults=faults,
        lookup_lag=arguments.lookup_lag,
        lookups=not arguments.no_lookups,
        unique=not arguments.no_unique,
        neighbour=arguments.neighbour,
        callbacks=receivers,
        journal=arguments.journal,
        dialect=arguments.dialect,
        real_clips=real_clips(arguments.clips, os.environ),
        webhook_secret=os.environ.get(SIGNING_VARIABLE) or None,
    )


def real_clips(flag: str | None, environ: Mapping[str, str]) -> bool:
    """Whether clips are encoded: ``--clips``, ``BATCHGEN_SANDBOX_CLIPS``, or whether that is possible. Raises UsageError."""
    from batchgen.sandbox import encoding

    wanted = flag or environ.get(CLIPS_VARIABLE)
    if wanted and wanted not in CLIPS:
        raise UsageError(f"{CLIPS_VARIABLE}: {wanted!r} is neither real nor stand-in")
    if wanted == "real" and not encoding.installed():
        raise UsageError("real clips need PyAV: install batchgen[demo], or take --clips stand-in")
    return wanted != "stand-in" and encoding.installed()


async def _serve(config: Config, host: str, port: int, announce: Callable[[str, int], None]) -> None:
    import asyncio

    from batchgen.sandbox.server import Sandbox

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    sandbox = Sandbox(config)
    try:
        url = await sandbox.start(host, port)
        announce(url, config.seed)
        await stop.wait()
    finally:
        await sandbox.stop()
    done = sandbox.journal.summary()
    print(
        f"{done['tasks']} tasks made, at most {done['max_running']} at once; ids made twice: {len(done['twice'])}",
        file=sys.stderr,
    )
