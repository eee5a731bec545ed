"""``batchgen listen``: receives callbacks for whatever run has the ledger, until it is ended."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal

from batchgen.cli import settings
from batchgen.cli.callbacks import new_secret, report, signature
from batchgen.cli.output import Output
from batchgen.ledger import notes
from batchgen.ledger.reader import Records


def listen(args: argparse.Namespace, out: Output) -> int:
    """Receive callbacks until a signal ends it. Returns the exit code. Raises UsageError and LedgerError."""
    return asyncio.run(_serve(settings.ledger_path(args.ledger, os.environ), args, out))


async def _serve(path: str, args: argparse.Namespace, out: Output) -> int:
    from batchgen.night import public_url
    from batchgen.night.callbacks import Gate, Receiver, bound
    from batchgen.night.hint_pipe import HintWriter

    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    _, verify = signature(out)
    with Records.read(path) as ledger:
        kept = ledger.note(public_url.NOTE)
    secret = kept if kept else await asyncio.to_thread(notes.settle, path, public_url.NOTE, new_secret())
    out.mask.hide(secret)
    writer = HintWriter(path)
    receiver = Receiver(Gate(secret, verify), writer.pass_on)
    link = bound(*args.address)
    await receiver.start(link)
    try:
        host, port = link.getsockname()[:2]
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if args.json:
            out.document({"address": shown, "ledger": path, "signed": verify is not None})
        elif not args.quiet:
            who = (
                "with a valid signature"
                if verify is not None
                else "at the address that the ledger's runs give the API"
            )
            out.say(f"receiving callbacks at {shown}, {who}, for the runs on {path}; Ctrl-C ends it")
        out.flush()
        await ended.wait()
    finally:
        await receiver.stop()
        report(receiver)
    return 0
