"""``batchgen run``: create, follow and collect what is missing; or a rehearsal of that."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace

from batchgen import advice, loops
from batchgen.cli import settings
from batchgen.cli.callbacks import callbacks_of, rehearsed
from batchgen.cli.execute import execute
from batchgen.cli.output import Output
from batchgen.cli.shared import api_settings, end_of, open_ledger, run_options
from batchgen.cli.telling import Night, told
from batchgen.cli.wanted import wanted
from batchgen.errors import UsageError
from batchgen.http.endpoint import origin
from batchgen.ledger.reader import REHEARSAL
from batchgen.run.options import RunOptions
from batchgen.run.session import Account


def run(args: argparse.Namespace, out: Output) -> int:
    """Create, follow and collect what is missing, and tell of it. Returns the exit code."""
    return told(args, out, lambda night: _run(args, out, night))


def _run(args: argparse.Namespace, out: Output, night: Night) -> int:
    asks = out.can_ask and not (args.yes or args.plan or args.sandbox)
    if not asks:
        night.begin()
    options = run_options(args)
    if args.sandbox and args.plan:
        raise UsageError(
            "--plan holds for the ledger that it was made with, and --sandbox has one of its own"
        )
    if args.sandbox:
        import asyncio

        return asyncio.run(_rehearse(args, options, out, night))
    account = api_settings(args, out)
    night.callbacks = callbacks_of(args, account.base_url, out)
    if args.plan:
        from batchgen.cli.approval import for_run

        path = settings.ledger_path(args.ledger, os.environ)
        options = replace(options, approval=for_run(args.plan, path, origin(account.base_url)))
    manifests = wanted(args)
    if asks:
        from batchgen.cli.asking import asked

        options, loaded = asked(args, options, out, account.base_url)
        manifests = replace(manifests, loaded=loaded)
        night.begin()
    with end_of(options, out) as end, open_ledger(args, out, account.base_url, end) as ledger:
        return loops.drive(execute(options, manifests, out, ledger, account, end, night))


async def _rehearse(args: argparse.Namespace, options: RunOptions, out: Output, night: Night) -> int:
    """Run against a sandbox of its own, with a ledger and clips in a new folder, which is kept."""
    from batchgen.sandbox.command import CLIPS_VARIABLE, real_clips
    from batchgen.sandbox.config import Config
    from batchgen.sandbox.server import Sandbox

    home = tempfile.mkdtemp(prefix="batchgen-sandbox-")
    if "ledger" not in args.given:  # that of the configuration file is for runs that pay
        args.ledger = os.path.join(home, "ledger.db")
    args.output_dir = args.output_dir or os.path.join(home, "clips")
    retry_wait = 1.0 if args.retry_wait is None else args.retry_wait
    options = replace(options, poll_interval=options.poll_interval or 0.5, retry_wait=retry_wait)
    journal = os.path.join(home, "journal.jsonl")
    clips = real_clips(None, os.environ)
    callbacks = night.callbacks = rehearsed(args, out)
    config = Config(slots=3, task_seconds=(1.0, 3.0), journal=journal, real_clips=clips)
    if callbacks is not None and callbacks.link is not None:
        called = frozenset({callbacks.link.getsockname()})
        config = replace(config, callbacks=called, webhook_secret=callbacks.signing)
    sandbox = Sandbox(config)
    url = await sandbox.start()
    try:
        with end_of(options, out) as end, open_ledger(args, out, url, end) as ledger:
            account = Account(url, "sandbox")
            await ledger.set_note(REHEARSAL, "yes")
            return await execute(options, wanted(args), out, ledger, account, end, night, rehearsal=True)
    finally:
        await sandbox.stop()
        if not args.quiet:
            out.say(f"rehearsed in {home}: clips in {args.output_dir}, ledger in {args.ledger}")
            if not clips and not os.environ.get(CLIPS_VARIABLE):
                out.say(
                    "  every clip is the same stand-in; with batchgen[demo], they are made of your pictures"
                )
            out.say(
                f"look at them on a page: {advice.command('report', options=f'--ledger {advice.quoted(args.ledger)}')}"
            )
