"""``batchgen notify``: who is told of a run; with ``--test``, each of them is tried."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from batchgen.cli import settings
from batchgen.cli.output import Output
from batchgen.cli.receivers import receivers

if TYPE_CHECKING:
    from batchgen.night.receivers import Receivers
    from batchgen.night.telling import Outcome

NOBODY = "nobody is told of a run: see --ping-url, --on-finish, --notify-file and --metrics-file, or `batchgen help monitoring`"


def notify(args: argparse.Namespace, out: Output) -> int:
    """Show who is told of a run, or try each of them. Returns 1 where a trial failed, and 2 where there is nobody to try."""
    to = receivers(args, os.environ)
    if to is None:
        return _said(args, out, [], [NOBODY], 2 if args.test else 0)
    if not args.test:
        return _said(args, out, [], list(_who(to)), 0)
    outcomes = _tried(to, out)
    lines = [f"{'ok' if one.ok else 'failed':<6}  {one.receiver}: {one.text}" for one in outcomes]
    return _said(args, out, outcomes, lines, int(not all(one.ok for one in outcomes)))


def _said(args: argparse.Namespace, out: Output, outcomes: list[Outcome], lines: list[str], code: int) -> int:
    if args.json:
        tried = [{"receiver": one.receiver, "ok": one.ok, "text": one.text} for one in outcomes]
        out.document({"exit_code": code, "receivers": lines if not args.test else [], "tried": tried})
    elif code == 2:
        out.say(*(f"batchgen notify: {line}" for line in lines))
    else:
        out.lines(lines)
    return code


def _who(to: Receivers) -> Iterator[str]:
    """Who is told of a run, a line each, without secrets."""
    from batchgen.night import ping

    if to.ping_url:
        yield f"ping: {ping.host(to.ping_url)}, when a run begins and when it ends"
    if to.on_finish:
        yield "command: the one of --on-finish, when a run has ended"
    if to.notify_urls:
        schemes = ", ".join(url.partition(":")[0] for url in to.notify_urls)
        yield f"notifications: {schemes}, for {', '.join(sorted(to.notify_on))}"
    if to.metrics_file:
        yield f"metrics: {to.metrics_file}"


def _tried(to: Receivers, out: Output) -> list[Outcome]:
    """Tell each of the receivers that this is a test."""
    from batchgen.cli.conclusion import for_test
    from batchgen.night import hook
    from batchgen.night.telling import Teller
    from batchgen.run.clock import Clock
    from batchgen.run.recording import new_run

    for secret in to.secrets():
        out.mask.hide(secret)
    run = new_run(Clock(), out.command, ())
    environ = hook.stripped(os.environ, out.mask.finds)
    environ["BATCHGEN_LEDGER"] = settings.ledger_path(None, os.environ)
    return [*Teller(to, run.name, environ).test(for_test(run, time.time()))]
