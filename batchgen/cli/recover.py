"""``batchgen recover``: a lost ledger, rebuilt."""

from __future__ import annotations

import argparse
import asyncio

from batchgen.cli import config, logs, report
from batchgen.cli.ending import End
from batchgen.cli.output import Output
from batchgen.cli.shared import api_settings, open_ledger
from batchgen.cli.wanted import load_manifests, wanted
from batchgen.errors import BatchgenError, ManifestError
from batchgen.ledger.writer import Ledger
from batchgen.run import doubts, recovery
from batchgen.run.clock import Clock
from batchgen.run.events import Events
from batchgen.run.inventory import Inventory
from batchgen.run.loading import remember
from batchgen.run.queries import Queries
from batchgen.run.session import Account


def recover(args: argparse.Namespace, out: Output) -> int:
    """Record every task of these manifests that the API or a clips' folder has and the ledger hasn't."""
    account = api_settings(args, out)
    with End(out) as end, open_ledger(args, out, account.base_url, end) as ledger:
        return asyncio.run(_recover(args, out, ledger, account, end))


async def _recover(
    args: argparse.Namespace, out: Output, ledger: Ledger, account: Account, ending: End
) -> int:
    loaded = load_manifests(wanted(args), out, ledger)
    await remember(ledger, loaded)
    manifests, problems = loaded.manifests, loaded.problems
    if not manifests:
        raise ManifestError(problems)
    from batchgen.api.client import Api

    clock = Clock()
    events = Events(clock.now, logs.write)
    inventory = Inventory(ledger, events, config.prices(args))
    await doubts.doubtful(ledger, manifests, inventory, thoroughly=True)
    ended: list[BatchgenError] = []

    def end(reason: BatchgenError) -> None:
        ended.append(reason)
        work.cancel()

    async with Api(account.base_url, account.key, timeout=args.timeout, now=clock.now) as api:
        queries = Queries(
            ledger,
            api,
            timeout=args.timeout,
            pause=lambda seconds: max(seconds, 1.0),
            give_up=end,
            events=events,
        )
        work = asyncio.create_task(recovery.recover(queries, inventory, loaded.jobs, clock.rng))
        with ending.graceful(end):
            try:
                found = await work
            except asyncio.CancelledError:
                raise ended[0] from None
    proven = queries.lookups_proven
    for one in manifests:
        if proven:
            await doubts.trusted(ledger, one.name)
        elif doubts.restored(ledger, one.name):  # a person is told that nothing is proven, and decides
            await doubts.doubted(ledger, one.name)
    code = 2 if problems else 0 if proven or not found.missing else 5
    if args.json:
        out.document(
            {
                "exit_code": code,
                "tasks": found.tasks,
                "clips": {row.external_task_id: row.video_path for row in inventory.imported},
                "missing": found.missing,
                "lookups_proven": proven,
                **report.problem_fields(problems, verbose=args.verbose),
            }
        )
    out.say(*report.problem_lines(problems, verbose=args.verbose))
    if not args.quiet and not args.json:
        out.say(
            *report.recovery_text(found.tasks, found.missing, proven=proven, clips=len(inventory.imported))
        )
    return code
