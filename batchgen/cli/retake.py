"""``batchgen retake``: order another take of a job, or withdraw an order. It writes the ledger; the next run pays."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from batchgen import limits
from batchgen.advice import command
from batchgen.cli import settings
from batchgen.cli.details import order_object
from batchgen.cli.job_names import Name
from batchgen.cli.job_names import rows as job_rows
from batchgen.cli.output import Output
from batchgen.cli.report import counted
from batchgen.cli.resolve import who
from batchgen.errors import UsageError
from batchgen.judgements import Order, Verdict
from batchgen.ledger import orders, verdicts
from batchgen.ledger.orders import Placed, Wish
from batchgen.ledger.reader import Records
from batchgen.models import Record


def retake(args: argparse.Namespace, out: Output) -> int:
    """Order the next take of some jobs, withdraw orders, or show both. Returns the exit code. Raises UsageError."""
    path = settings.ledger_path(args.ledger, os.environ)
    _check(args, out)
    with Records.read(path) as ledger:
        if args.withdraw:
            return _withdraw(args, out, ledger)
        if args.keep:
            return _keep(args, out, ledger)
        if not (args.jobs or args.marked):
            return _show(args, out, ledger)
        wishes = _marked(args, ledger) if args.marked else _named(args, ledger)
        rehearsal = ledger.is_rehearsal
    placed = orders.order(path, wishes, at=time.time(), by=who(), again=args.again)
    ordered = [(one.order, one.last) for one in placed if one.order is not None]
    refused = [one for one in placed if one.order is None]
    # What is ordered already is as it was wished for; asking for it again is no mistake.
    if refused and not (ordered or args.marked or all(one.waiting for one in refused)):
        raise UsageError("\n".join(["no take was ordered:", *map(_refused, refused)]))
    if args.json:
        cost = sum(_cost(last) or 0.0 for _, last in ordered)
        out.document(
            {
                "ledger": path,
                "ordered": [order_object(order, _cost(last)) for order, last in ordered],
                "refused": [_refused_object(one) for one in refused],
                "withdrawn": [],
                "cost_usd_estimate": round(cost, 4),
            }
        )
        return 0
    if ordered:
        out.lines(_ordered_text(ordered, rehearsal=rehearsal))
    elif args.marked:
        out.lines(["no clip is marked whose take is not ordered"])
    if not args.quiet:
        out.say(*(_refused(one) for one in refused if not args.marked or out.verbose))
    return 0


def _check(args: argparse.Namespace, out: Output) -> None:
    """Raise UsageError for options that don't go with each other, and for a note that can't be kept."""
    if args.marked and (args.jobs or args.withdraw):
        raise UsageError("--marked orders a take of every marked clip; leave JOB and --withdraw out")
    if args.keep and (args.marked or args.withdraw or args.again or not args.jobs):
        raise UsageError("--keep goes with a JOB, and with --note alone")
    if args.withdraw and not args.jobs:
        raise UsageError("--withdraw takes a JOB; '*' withdraws all orders that no run has begun")
    if args.again and (args.withdraw or args.marked):
        raise UsageError("--again goes with a JOB, to order one more take of it")
    if args.note and not (args.jobs or args.marked):
        raise UsageError("--note goes with a JOB or --marked")
    if args.note and len(args.note) > limits.NOTE:
        raise UsageError(f"the note has {len(args.note):,} characters; {limits.NOTE:,} are the most")
    if args.note and out.mask.holds(args.note):
        raise UsageError("the note holds the API key; nothing was written")


def _named(args: argparse.Namespace, ledger: Records) -> list[Wish]:
    """A wish for each job that is named, whichever of its takes."""
    names = [name for text in args.jobs for name in job_rows(ledger, text, many=True)]
    return [Wish(*job, args.note) for job in dict.fromkeys((name.manifest, name.job_id) for name in names)]


def _marked(args: argparse.Namespace, ledger: Records) -> list[Wish]:
    """A wish for each job whose newest clip is marked, with the verdict's note."""
    wishes = []
    for verdict in ledger.verdicts.marked():
        row = ledger.record(verdict.external_task_id)
        if row is not None:
            wishes.append(Wish(row.manifest, row.job_id, args.note or verdict.note))
    return wishes


def _keep(args: argparse.Namespace, out: Output, ledger: Records) -> int:
    """Write the verdict that some clips are good. A JOB without ``@2`` is its first take."""
    rows = {}
    for text in args.jobs:
        takes = job_rows(ledger, text, many=True)
        for name, its in takes.items():
            home = [row for row in its if row.video_path is not None]
            if home and (name.take == 1 or len(takes) == 1 or "@" in text):
                rows[name] = home[-1]
    if not rows:
        raise UsageError("no clip of these jobs is here yet that could be judged")
    at, by = time.time(), who()
    said = [Verdict(row.external_task_id, at, "keep", args.note, by) for row in rows.values()]
    verdicts.give(ledger.path, said)
    if args.json:
        out.document({"ledger": ledger.path, "kept": [one.external_task_id for one in said]})
    elif not args.quiet:
        out.lines(f"kept               {name}" for name in rows)
    return 0


def _withdraw(args: argparse.Namespace, out: Output, ledger: Records) -> int:
    """Withdraw the orders of some takes that no run has begun."""
    named = {name for text in args.jobs for name in job_rows(ledger, text, many=True)}
    renamed = ledger.orders.renamed()
    takes = named | {Name(*renamed.now(name[:2]), name.take) for name in named}
    standing = [order for order in ledger.orders.standing() if Name(*order.key) in takes]
    waiting = [order for order in standing if not order.begun]
    gone = orders.withdraw(ledger.path, waiting, at=time.time(), by=who(), note=args.note)
    if not gone:
        begun = [f"  {Name(*order.key)}: a run has begun it" for order in standing]
        raise UsageError("\n".join(["no order to withdraw", *begun]))
    marked = {renamed.now((one.manifest, one.job_id)) for one in _marked(args, ledger)}
    if args.json:
        objects = [order_object(order) for order in gone]
        out.document(
            {
                "ledger": ledger.path,
                "ordered": [],
                "refused": [],
                "withdrawn": objects,
                "cost_usd_estimate": 0.0,
            }
        )
    elif not args.quiet:
        out.lines(f"withdrawn          {Name(*order.key)}" for order in gone)
        still = [order for order in gone if (order.manifest, order.job_id) in marked]
        if still:
            out.lines(
                [
                    f"{counted(len(still), 'clip')} marked all the same: `batchgen retake --marked` orders it again"
                ]
            )
    return 0


def _show(args: argparse.Namespace, out: Output, ledger: Records) -> int:
    """What is ordered and what is marked, without a change."""
    waiting = [(order, _newest(ledger, order)) for order in ledger.orders.standing() if not order.begun]
    marked = [ledger.record(one.external_task_id) for one in ledger.verdicts.marked()]
    ordered = {(order.manifest, order.job_id) for order, _ in waiting}
    renamed = ledger.orders.renamed()
    rows = [row for row in marked if row is not None and renamed.now(row.key[:2]) not in ordered]
    if args.json:
        out.document(
            {
                "ledger": ledger.path,
                "waiting_orders": [order_object(order, _cost(last)) for order, last in waiting],
                "marked": [row.external_task_id for row in rows],
            }
        )
        return 0
    out.lines(
        _ordered_text(waiting, rehearsal=ledger.is_rehearsal)
        if waiting
        else ["no take is ordered that isn't begun"]
    )
    if rows:
        cost = sum(_cost(row) or 0.0 for row in rows)
        out.lines(
            [
                f"{counted(len(rows), 'clip')} marked: `batchgen retake --marked` orders another take of each, about ${cost:,.2f}"
            ]
        )
    return 0


def _newest(ledger: Records, order: Order) -> Record | None:
    """The newest row of the takes before an ordered one."""
    names = ledger.orders.renamed().names((order.manifest, order.job_id))
    for take in range(order.take - 1, 0, -1):
        if rows := [row for name in reversed(names) for row in ledger.rows_of(*name, take)]:
            return rows[-1]
    return None


def _cost(last: Record | None) -> float | None:
    """What a take costs, by the one before it: its manifest may say something else by now."""
    return last.cost_usd_estimate if last is not None else None


def _ordered_text(ordered: Sequence[tuple[Order, Record | None]], *, rehearsal: bool) -> Iterator[str]:
    """Orders in lines, and what becomes of them."""
    total = 0.0
    for order, last in ordered:
        cost = _cost(last)
        total += cost or 0.0
        price = f"${cost:.2f}" if cost is not None else ""
        note = f"  ({order.note})" if order.note else ""
        yield f"ordered   {price:>8}  {Name(*order.key)}{note}"
    if rehearsal:
        yield f"{counted(len(ordered), 'take')} ordered, in the ledger of a rehearsal: no run goes on with that, so nothing is made or paid"
        return
    some = str(Name(*ordered[0][0].key)) if len(ordered) == 1 else "JOB"
    back = (
        command("retake", some, options="--withdraw")
        if len(ordered) == 1
        else "batchgen retake --withdraw JOB"
    )
    it = "it, as its manifest says it" if len(ordered) == 1 else "them, as their manifests say them"
    yield f"{counted(len(ordered), 'take')} ordered, about ${total:,.2f}: the next run that begins creates {it} then, and pays"
    yield f"until then `batchgen plan PATH` shows what, and `{back}` takes it back"


def _refused(one: Placed) -> str:
    """Why a job got no order, in a line."""
    more = (
        f"; `{command('retake', str(Name(one.manifest, one.job_id)), options='--again')}` orders one more"
        if one.again
        else ""
    )
    return f"  {Name(one.manifest, one.job_id)}: {one.why}{more}"


def _refused_object(one: Placed) -> dict[str, Any]:
    return {"manifest": one.manifest, "job_id": one.job_id, "reason": one.why, "again": one.again}
