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
from batchgen.ledger.reader import Records
from batchgen.models import HistoryEntry, Record, Unusable
from batchgen.storage.clips import iso


def show_jobs(args: argparse.Namespace, out: Output, ledger: Records, path: str) -> None:
    """Show everything about some jobs."""
    takes = {name: rows for text in args.jobs for name, rows in job_rows(ledger, text, many=True).items()}
    rows = {row.external_task_id: row for rows in takes.values() for row in rows}
    refused = [one for one in ledger.unusable() if one.key in takes]
    found = ((exported(ledger, row), ledger.events(name)) for name, row in rows.items())
    if args.json:
        tasks = [{**row, "history": [event_object(event) for event in past]} for row, past in found]
        images = [unusable_object(one) for one in refused]
        out.document({"ledger": path, "tasks": tasks, "unusable": images})
        return
    most = None if args.all or args.verbose else SHOWN
    for number, (row, past) in enumerate(itertools.islice(found, most)):
        out.lines([*[""] * bool(number), *record_text(row, past)])
    left = max(len(rows) - most, 0) + max(len(refused) - most, 0) if most is not None else 0
    more = [f"... and {left:,} more; --all shows them all"] if left else []
    out.lines([*[""] * bool(rows and (refused or more)), *map(unusable_text, refused[:most]), *more])


def exported(ledger: Records, row: Record) -> dict[str, Any]:
    """A row for scripts."""
    return export_row(row, current=ledger.is_current(row.external_task_id))


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
