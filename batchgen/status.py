"""``batchgen status``: the ledger for people. What needs somebody is listed by what to do; the rest is counted."""

from __future__ import annotations

import argparse
import os
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from batchgen import job_names, report, settings
from batchgen.errors import cited
from batchgen.export import export_row, iso
from batchgen.models import Event, Record, State
from batchgen.output import Output
from batchgen.records import Records

#: The lists, in this order; what is done isn't listed.
_LISTED = (
    State.UNKNOWN, State.FAILED, State.REJECTED, State.PENDING, State.SUCCEEDED, State.SUBMITTING, State.SUBMITTED
)  # fmt: skip
_SUBMITTING = (
    "being created",
    "By a run that is on; one that was killed meanwhile left it to the next run to ask.",
)
#: What became of rows that are in no list, where their state doesn't tell.
_PAST = {
    State.PENDING: "changed since, or sent under another id",
    State.FAILED: "tried again since, or given up",
    State.REJECTED: "changed since, or given up",
}


def status(args: argparse.Namespace, out: Output) -> int:
    """The command."""
    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) as ledger:
        if args.jobs:
            _rows(args, out, ledger, path)
        elif args.json:
            out.document(
                {
                    "ledger": path,
                    "states": ledger.counts(),
                    "open": [
                        export_row(row)
                        for row in ledger.records(
                            states=[one for one in State if one is not State.DOWNLOADED]
                        )
                    ],
                    "attention": [attention_object(row, since) for row, since in ledger.waiting()],
                }
            )
        else:
            waiting, now = list(ledger.waiting()), time.time()
            out.lines(
                status_text(ledger.counts(), waiting, path, now=now, width=out.width, verbose=args.verbose)
            )
    return 0


def _rows(args: argparse.Namespace, out: Output, ledger: Records, path: str) -> None:
    """Everything about the rows of some jobs."""
    takes = [take for text in args.jobs for take in job_names.rows(ledger, text, many=True)]
    found = {record.external_task_id: record for take in takes for record in take}
    rows = ((export_row(record), ledger.events(name)) for name, record in found.items())
    if args.json:
        tasks = [{**row, "history": [event_object(event) for event in past]} for row, past in rows]
        out.document({"ledger": path, "tasks": tasks})
        return
    for number, (row, past) in enumerate(rows):
        out.lines([*[""] * bool(number), *record_text(row, past)])


def status_text(
    counts: Mapping[State, int],
    waiting: Iterable[tuple[Record, float]],
    path: str,
    *,
    now: float,
    width: int | None = None,
    verbose: bool = False,
) -> Iterator[str]:
    """The ledger in a screen: how many rows stand where, and those that somebody should look at.

    ``waiting`` are rows and the times (Unix seconds) when they came into their states; ``width`` is the terminal's,
    in columns, None where there is none: then each row is one line.
    """
    lists: dict[State, list[tuple[Record, float]]] = {}
    for record, since in waiting:
        lists.setdefault(record.state, []).append((record, since))
    yield f"{path}: {report.counted(sum(counts.values()), 'task')}"
    for state in State:
        if count := counts.get(state):
            past = count - len(lists.get(state, ()))
            yield f"  {count:>7,}  {state}" + (
                f" ({past:,} {_PAST[state]})" if past > 0 and state in _PAST else ""
            )
    for state in _LISTED:
        listed = lists.get(state, [])
        if listed:
            yield from folded(": ".join(_advice(state)), width, indent=2)
        for record, since in listed if verbose else listed[: report.SHOWN]:
            yield from folded(f"  {_line(record, now - since)}", width, indent=4)
        if len(listed) > report.SHOWN and not verbose:
            yield f"  ... and {len(listed) - report.SHOWN:,} more; -v shows them all"


def _line(record: Record, seconds: float) -> str:
    name = job_names.Name(record.manifest, record.job_id, record.take)
    why = cited(record.error_message, record.error_code, None) if record.error_message else ""
    return f"{name}, for {lasting(seconds)}" + (f": {why}" if why else "")


def _advice(state: State) -> tuple[str, str]:
    """What a list of rows in a state is called, and what to do about it."""
    return _SUBMITTING if state is State.SUBMITTING else report.ADVICE[state]


def attention_object(record: Record, since: float) -> dict[str, Any]:
    """A row that needs somebody, for scripts."""
    return {
        "kind": record.state.value,
        "manifest": record.manifest,
        "job_id": record.job_id,
        "take": record.take,
        "external_task_id": record.external_task_id,
        "task_id": record.task_id,
        "since": iso(since),
        "code": record.error_code,
        "message": record.error_message,
        "request_id": record.request_id,
        "advice": _advice(record.state)[1],
    }


def event_object(event: Event) -> dict[str, Any]:
    """A line of history for scripts."""
    row = {
        name: getattr(event, name)
        for name in ("event", "from_state", "to_state", "code", "message", "request_id")
    }
    return {"at": iso(event.at), **row, "detail": dict(event.detail)}


def record_text(row: Mapping[str, Any], history: Iterable[Event]) -> Iterator[str]:
    """Everything the ledger knows of one row: its fields, then its history."""
    width = max(map(len, row))
    for name, value in row.items():
        if value is not None:
            yield f"{name:<{width}}  {value}"
    yield "history"
    for event in history:
        parts = [f"  {iso(event.at)}", f"{event.event} -> {event.to_state}"]
        parts += [f"code {event.code}"] if event.code else []
        parts += [event.message] if event.message else []
        parts += [f"request id {event.request_id}"] if event.request_id else []
        parts += [f"{name} {value}" for name, value in event.detail.items()]
        yield "  ".join(parts)


def lasting(seconds: float) -> str:
    """A time of that length in the unit that says most: ``50 s``, ``12 min``, ``7 h``, ``3 days``."""
    for unit, size, until in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{max(seconds, 0) // size:.0f} {unit}"
    return f"{seconds // 86400:,.0f} days"


def folded(text: str, width: int | None, *, indent: int) -> Sequence[str]:
    """The text in lines of a width, the ones after the first indented; in one line where there is no width."""
    if width is None or len(text) <= width:
        return [text]
    first = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.lstrip(), max(width, 20), initial_indent=first, subsequent_indent=" " * indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
