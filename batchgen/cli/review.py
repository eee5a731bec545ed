"""``batchgen review``: the page from this machine, with buttons that write verdicts, until it is ended."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time

from batchgen.cli import config, settings
from batchgen.cli.budget import machine_zone
from batchgen.cli.output import Output
from batchgen.cli.resolve import who
from batchgen.masking import Prints


def review(args: argparse.Namespace, out: Output) -> int:
    """Serve the page until a signal ends it. Returns the exit code. Raises UsageError and LedgerError.

    What serves a page has no use for the key: of it only prints are kept, by which a note that holds it is refused.
    """
    for name in list(os.environ):  # a browser that is started has no use for the key
        if name.startswith("POWERTOKENS_API_KEY") or name == "CREDENTIALS_DIRECTORY":
            del os.environ[name]
    prints = out.mask.forget(os.urandom(16))
    return asyncio.run(_serve(settings.ledger_path(args.ledger, os.environ), args, out, prints))


async def _serve(path: str, args: argparse.Namespace, out: Output, prints: Prints) -> int:
    from batchgen.page.content import Content
    from batchgen.page.data import Account
    from batchgen.page.server import PageServer

    loop, ended = asyncio.get_running_loop(), asyncio.Future[int]()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)):
        loop.add_signal_handler(number, end, code)
    account = Account(config.prices(args), machine_zone(os.environ))
    content = Content(path, time.time, account)
    server = PageServer(content, by=who(), clock=time.time, holds_key=prints.holds)
    try:
        await server.start(args.port or 0)
        if args.json:
            out.document({"url": server.url, "ledger": content.path})
        else:
            out.lines([server.url])
            if not args.quiet:
                out.say("whoever has this address can judge; Ctrl-C ends it")
        out.flush()
        if not args.no_browser and out.on_terminal:
            await asyncio.to_thread(_open, server.url_for_browser())
        return await ended
    finally:
        await server.stop()
        content.close()


def _open(url: str) -> None:
    import webbrowser

    webbrowser.open(url)
