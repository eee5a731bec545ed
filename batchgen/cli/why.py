"""``batchgen why JOB``: every decision about a job with its rule, oldest first, and what would make it move now."""

from __future__ import annotations

import argparse
import bisect
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from batchgen.advice import command
from batchgen.amounts import dollars
from batchgen.cli import settings
from batchgen.cli.details import event_object
from batchgen.cli.job_names import Name
from batchgen.cli.job_names import rows as job_rows
from batchgen.cli.output import Output, folded
from batchgen.cli.report import SHOWN
from batchgen.cli.status import kind_of
from batchgen.errors import cited
from batchgen.ledger.reader import Records
from batchgen.ledger.runs import RunRecord
from batchgen.models import HistoryEntry, Record, State
from batchgen.run.buckets import ADVICE
from batchgen.run.decisions import explained
from batchgen.storage.clips import iso

_MADE = frozenset({"accepted", "adopted", "recovered", "resolved_as_created"})


class Line(NamedTuple):
    """One decision. ``at`` is Unix seconds; ``row`` is the id that it is about, None where it is about the job as a whole."""

    at: float
    what: str
    rule: str
    run: RunRecord | None = None
    row: str | None = None
    event: HistoryEntry | None = None


class Story(NamedTuple):
    """A take of a job: its decisions, oldest first, the kind of what it waits for, and what would make it move."""

    name: Name
    lines: Sequence[Line]
    kind: str
    moves: Sequence[str]


def why(args: argparse.Namespace, out: Output) -> int:
    """Show why some jobs are where they are. Returns the exit code. Raises UsageError and LedgerError."""
    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) as ledger:
        takes = {name: rows for text in args.jobs for name, rows in job_rows(ledger, text, many=True).items()}
        runs = RunsByTime(ledger.runs.all())
        stories = (_story(ledger, runs, name, rows) for name, rows in takes.items())
        if args.json:
            out.document({"ledger": path, "jobs": [_object(one) for one in stories]})
            return 0
        most = len(takes) if args.all or args.verbose else SHOWN
        for number, (_, story) in enumerate(zip(range(most), stories, strict=False)):
            out.lines([*[""] * bool(number), *_text(story, out.width)])
        if len(takes) > most:
            out.lines(["", f"... and {len(takes) - most:,} more; --all shows them all"])
    return 0


class RunsByTime:
    """Finds the run that wrote a line of history: only one at a time can."""

    def __init__(self, runs: Sequence[RunRecord]) -> None:
        self._runs = [
            run for run in runs if run.exit_code != 75
        ]  # those that found the ledger taken wrote none
        self._began = [run.began for run in self._runs]

    def at(self, moment: float) -> RunRecord | None:
        """The run that was on at a moment (Unix seconds); None where none is recorded."""
        place = bisect.bisect_right(self._began, moment) - 1
        if place < 0:
            return None
        run = self._runs[place]
        return run if run.ended is None or moment <= run.ended else None

    @property
    def last(self) -> RunRecord | None:
        return self._runs[-1] if self._runs else None


def _story(ledger: Records, runs: RunsByTime, name: Name, rows: Sequence[Record]) -> Story:
    earlier = {row.external_task_id: ledger.rows_of(*row.key) for row in rows}
    lines = [
        line
        for row in rows
        for line in _row_lines(ledger, runs, row, _before(earlier[row.external_task_id], row))
    ]
    for row in rows:
        lines += [
            Line(
                said.at,
                f"verdict {said.verdict}" if said.verdict else "verdict taken back",
                _said(said.note, said.by),
                row=row.external_task_id,
            )
            for said in ledger.verdicts.history(row.external_task_id)
        ]
    lines += [
        Line(
            order.at,
            f"take {order.take} {'withdrawn' if gone else 'ordered'}",
            _said(order.note, order.by),
        )
        for order, gone in ledger.orders.history(name.manifest, name.job_id)
        if order.take == name.take
    ]
    refused = next((one for one in ledger.unusable() if one.key == tuple(name)), None)
    if refused is not None:
        rule = "Nothing of it was sent. The next run checks its image again."
        lines.append(Line(refused.since, f"image refused: {refused.text}", rule))
    lines.sort(key=lambda line: line.at)
    last = rows[-1] if rows else None
    if refused is not None and (last is None or last.state not in (State.SUBMITTED, State.SUCCEEDED)):
        kind = "abandoned" if refused.given_up else "unusable"
    else:
        kind = kind_of(ledger, last) if last is not None else "pending"
    return Story(name, lines, kind, list(_moves(ledger, runs, kind, name, last, refused is not None)))


def _before(rows: Sequence[Record], row: Record) -> list[Record]:
    """The rows of a job before one of them."""
    names = [one.external_task_id for one in rows]
    return list(rows[: names.index(row.external_task_id)])


def _row_lines(ledger: Records, runs: RunsByTime, row: Record, earlier: Sequence[Record]) -> Iterator[Line]:
    history = ledger.events(row.external_task_id)
    for number, event in enumerate(history):
        what, rule = explained(event, history[:number], earlier, row.digest)
        by = event.detail.get("by")
        run = None if by else runs.at(event.at)
        if event.event == "intent" and row.estimate:
            what = f"{what}, for about ${dollars(row.estimate):,.2f}"
        if event.event in _MADE and row.task_id:
            what = f"{what}: task {row.task_id}"
        if event.message or event.code:
            what = f"{what}: {cited(event.message or '', event.code, event.request_id)}"
        if by:
            what = f"{what}, by {by}"
        yield Line(event.at, what, rule, run, row.external_task_id, event)


def _said(note: str | None, by: str | None) -> str:
    return "; ".join(filter(None, (by and f"By {by}", note)))


def _moves(
    ledger: Records, runs: RunsByTime, kind: str, job: Name, last: Record | None, refused: bool
) -> Iterator[str]:
    """What would make a job move, in sentences."""
    if kind == "downloaded":
        yield "Nothing is left to do. `batchgen retake` orders another take, which is paid for."
    elif kind == "abandoned":
        yield (
            "It was given up until its image is replaced."
            if refused
            else "It was given up: no run creates it again. Another `take` makes another clip."
        )
    else:
        name = last.external_task_id if last is not None else str(job)
        yield ADVICE[kind][1].replace("batchgen resolve JOB", command("resolve", name))
    if kind in ("pending", "retry") and last is not None and last.estimate:
        if (refusal := ledger.budgets.refusal(None, last.estimate, time.time())) is not None:
            yield f"Now {refusal}. {refusal.advice}"
        if runs.last is not None:
            yield from (f"The last run stopped: {reason}" for reason in runs.last.facts.get("stopped", ()))


def _text(story: Story, width: int | None) -> Iterator[str]:
    """A story for people: under each run its decisions, a line each with its rule below."""
    yield f"{story.name}: {ADVICE[story.kind][0]}"
    heading: object = ""
    row: str | None = None
    several = len({line.row for line in story.lines if line.row}) > 1
    for line in story.lines:
        if line.event is not None and line.event.event == "planned" and line.run is not None:
            continue  # its create begins in the same moment
        day = time.strftime("%Y-%m-%d", time.localtime(line.at))
        where = (day, line.run.name if line.run else None)
        if where != heading:
            heading = where
            yield f"{day}" + (f", {_run_text(line.run)}" if line.run else "")
        if several and line.row and line.row != row:
            row = line.row
            yield f"  {row}"
        clock = time.strftime("%H:%M:%S", time.localtime(line.at))
        yield from folded(f"  {clock}  {line.what}", width, indent=12)
        if line.rule:
            yield from folded(f"            {line.rule}", width, indent=12)
    yield "what would make it move"
    for sentence in story.moves:
        yield from folded(f"  {sentence}", width, indent=2)


def _run_text(run: RunRecord) -> str:
    began = time.strftime("%H:%M", time.localtime(run.began))
    if run.ended is not None:
        return f"{run.command} of {began}, exit {run.exit_code}"
    return f"{run.command} of {began}, {'on' if run.on else 'killed'}"


def _object(story: Story) -> dict[str, Any]:
    """A story for scripts."""
    return {
        "manifest": story.name.manifest,
        "job_id": story.name.job_id,
        "take": story.name.take,
        "kind": story.kind,
        "decisions": [_line_object(line) for line in story.lines],
        "advice": " ".join(story.moves),
    }


def _line_object(line: Line) -> dict[str, Any]:
    event = event_object(line.event) if line.event is not None else {"at": iso(line.at), "event": None}
    return {
        **event,
        "external_task_id": line.row,
        "run_id": line.run.name if line.run else None,
        "what": line.what,
        "rule": line.rule,
    }
