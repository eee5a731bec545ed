"""All that the ledger knows of some jobs, for people and scripts."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from batchgen.cli.export_rows import export_row
from batchgen.cli.job_names import Name
from batchgen.cli.job_names import rows as job_rows
from batchgen.cli.output import Output
from batchgen.cli.report import SHOWN
from batchgen.judgements import Order, Verdict
from batchgen.ledger.reader import Records
from batchgen.models import HistoryEntry, Record, Unusable
from batchgen.storage.clips import iso


def show_jobs(args: argparse.Namespace, out: Output, ledger: Records, path: str) -> None:
    """Show everything about some jobs."""
    takes = {name: rows for text in args.jobs for name, rows in job_rows(ledger, text, many=True).items()}
    rows = {row.external_task_id: row for rows in takes.values() for row in rows}
    refused = [one for one in ledger.unusable() if one.key in takes]
    found = (
        (exported(ledger, row), ledger.events(name), ledger.verdicts.history(name))
        for name, row in rows.items()
    )
    jobs = dict.fromkeys((name.manifest, name.job_id) for name in takes)
    orders = [line for job in jobs for line in ledger.orders.history(*job)]
    if args.json:
        tasks = [
            {
                **row,
                "history": [event_object(event) for event in past],
                "verdicts": [verdict_object(one) for one in said],
            }
            for row, past, said in found
        ]
        images = [unusable_object(one) for one in refused]
        ordered = [{**order_object(one), "withdrawn": gone} for one, gone in orders]
        out.document({"ledger": path, "tasks": tasks, "unusable": images, "orders": ordered})
        return
    most = None if args.all or args.verbose else SHOWN
    for number, (row, past, said) in enumerate(itertools.islice(found, most)):
        out.lines([*[""] * bool(number), *record_text(row, past), *_verdict_lines(said)])
    left = max(len(rows) - most, 0) + max(len(refused) - most, 0) if most is not None else 0
    more = [f"... and {left:,} more; --all shows them all"] if left else []
    out.lines([*[""] * bool(rows and (refused or more)), *map(unusable_text, refused[:most]), *more])
    out.lines([*[""] * bool(rows and orders), *(_order_line(*line) for line in orders[:most])])


def exported(ledger: Records, row: Record) -> dict[str, Any]:
    """A row for scripts."""
    name = row.external_task_id
    return export_row(
        row,
        current=ledger.is_current(name),
        verdict=ledger.verdicts.of([name]).get(name),
        run_id=ledger.runs.name(row.run),
    )


def verdict_object(one: Verdict) -> dict[str, Any]:
    """What a person said of a clip, for scripts; a null verdict takes back what was said."""
    return {"at": iso(one.at), "verdict": one.verdict, "note": one.note, "by": one.by}


def _verdict_lines(said: Iterable[Verdict]) -> Iterator[str]:
    """What people said of a clip, a line each."""
    for number, one in enumerate(said):
        if not number:
            yield "verdicts"
        parts = [
            f"  {iso(one.at)}",
            one.verdict or "taken back",
            *filter(None, (one.note, one.by and f"by {one.by}")),
        ]
        yield "  ".join(parts)


def order_object(order: Order, cost: float | None = None) -> dict[str, Any]:
    """An order for scripts."""
    return {
        "manifest": order.manifest,
        "job_id": order.job_id,
        "take": order.take,
        "ordered_at": iso(order.at),
        "note": order.note,
        "by": order.by,
        "begun": order.begun,
        "cost_usd_estimate": cost,
    }


def _order_line(order: Order, withdrawn: bool) -> str:
    """A line about an ordered take."""
    word = "withdrawn" if withdrawn else "ordered"
    parts = [
        word,
        iso(order.at) or "",
        str(Name(*order.key)),
        *filter(None, (order.note, order.by and f"by {order.by}")),
    ]
    return "  ".join([*parts, *([] if withdrawn or order.begun else ["no run has begun it"])])


def unusable_object(one: Unusable) -> dict[str, Any]:
    """A job whose image was refused, for scripts."""
    return {
        "manifest": one.manifest,
        "job_id": one.job_id,
        "take": one.take,
        "since": iso(one.since),
        "text": one.text,
        "given_up": one.given_up,
    }


def unusable_text(one: Unusable) -> str:
    """A job whose image was refused, in a line."""
    by = f"; given up by {one.given_up}, until the image is replaced" if one.given_up else ""
    return f"{Name(*one.key)}: image refused since {iso(one.since)}: {one.text}{by}"


def event_object(event: HistoryEntry) -> dict[str, Any]:
    """A line of history for scripts."""
    row = {
        name: getattr(event, name)
        for name in ("event", "from_state", "to_state", "code", "message", "request_id")
    }
    return {"at": iso(event.at), **row, "detail": dict(event.detail)}


def record_text(row: Mapping[str, Any], history: Iterable[HistoryEntry]) -> Iterator[str]:
    """Everything the ledger knows of one row: its fields, then its history."""
    width = max(map(len, row))
    for name, value in row.items():
        if value is not None:
            yield f"{name:<{width}}  {_text(value)}"
    yield "history"
    for event in history:
        parts = [f"  {iso(event.at)}", f"{event.event} -> {event.to_state}"]
        parts += [f"code {event.code}"] if event.code else []
        parts += [event.message] if event.message else []
        parts += [f"request id {event.request_id}"] if event.request_id else []
        parts += [f"{name} {_text(value)}" for name, value in event.detail.items()]
        yield "  ".join(parts)


def _text(value: Any) -> str:
    """A field's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
