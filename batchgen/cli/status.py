"""``batchgen status``: the ledger for people. Jobs that need a person or a run are listed by what to do, all are counted."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from batchgen.cli import report, settings
from batchgen.cli.job_names import Name
from batchgen.cli.output import Output, folded
from batchgen.errors import cited
from batchgen.ledger.reader import OPEN, Records
from batchgen.ledger.transitions import ABANDONED, CLIP_GONE
from batchgen.models import Record, State
from batchgen.run.buckets import ADVICE
from batchgen.run.waits import shown_duration

#: The lists of jobs that need a person or a run, in this order.
_KINDS = (
    *("unknown", "failed", "rejected", "unusable"),  # these wait for a person
    *("retry", "pending", "succeeded", "submitting", "submitted"),  # and these for a run
)
_WORDS: Mapping[str, tuple[str, str]] = {
    **ADVICE,
    "submitting": (
        "being created",
        "By a run that is on; what a run left that was killed, the next one asks the API for.",
    ),
}
#: What became of rows that are in no list, where their state doesn't say it.
_PAST = {
    State.PENDING: "changed since, or sent under another id",
    State.FAILED: "tried again since, or given up",
    State.REJECTED: "changed since, or given up",
}


class Waiting(NamedTuple):
    """A task or job that needs a person or a run. ``since`` is in Unix seconds; ``row`` is None for a refused image."""

    kind: str
    name: Name
    since: float
    message: str | None
    row: Record | None = None


def waiting(ledger: Records) -> Iterator[Waiting]:
    """Everything that needs a person or a run: tasks, then refused images."""
    refused = {one.key: one for one in ledger.unusable()}
    for row, since in ledger.waiting():
        name = Name(row.manifest, row.job_id, row.take)
        if name not in refused or row.state in OPEN:  # else its image is the last word
            yield Waiting(kind_of(ledger, row), name, since, row.error_message, row)
    for key, one in refused.items():
        if one.given_up is None:
            yield Waiting("unusable", Name(*key), one.since, one.text)


def kind_of(ledger: Records, row: Record) -> str:
    """What its job waits for, a key of :data:`ADVICE`, where a row is the last word about it."""
    if row.error_code == ABANDONED:
        return "abandoned"
    if row.state is State.DOWNLOADED and row.error_code == CLIP_GONE:
        return "vanished"
    return "retry" if row.state is State.FAILED and _may_retry(ledger, row) else row.state.value


def _may_retry(ledger: Records, row: Record) -> bool:
    """Whether the next run pays for another task of a job whose last task failed."""
    from batchgen.run.plan import may_retry

    series = [one for one in ledger.series(row.base_id) if one.digest == row.digest]
    return may_retry([one.error_code for one in series if one.state is State.FAILED])


def status(args: argparse.Namespace, out: Output) -> int:
    """Show the ledger, or everything about some jobs. Returns the exit code. Raises UsageError and LedgerError."""
    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) as ledger:
        if args.jobs:
            from batchgen.cli.details import show_jobs

            show_jobs(args, out, ledger, path)
        elif args.json:
            from batchgen.cli.details import exported

            unfinished = ledger.records(states=[state for state in State if state is not State.DOWNLOADED])
            out.document(
                {
                    "ledger": path,
                    "states": ledger.counts(),
                    "open": [exported(ledger, row) for row in unfinished],
                    "attention": [attention_object(one) for one in waiting(ledger)],
                }
            )
        else:
            shown = Shown(time.time(), out.width, args.all or args.verbose)
            out.lines(status_text(ledger.counts(), waiting(ledger), path, shown))
    return 0


class Shown(NamedTuple):
    """How a text is shown: the present time (Unix seconds), its width in columns (None: unfolded), and whether all of it."""

    now: float
    width: int | None = None
    everything: bool = False


def status_text(
    counts: Mapping[State, int], waiting: Iterable[Waiting], path: str, shown: Shown
) -> Iterator[str]:
    """The ledger in a screen: the number of rows in each state, and the lists of those that need a person or a run."""
    lists: dict[str, list[Waiting]] = {}
    for one in waiting:
        lists.setdefault(one.kind, []).append(one)
    yield f"{path}: {report.counted(sum(counts.values()), 'task')}"
    for state in State:
        if count := counts.get(state):
            past = count - len(lists.get(state, ())) - (state is State.FAILED) * len(lists.get("retry", ()))
            yield f"  {count:>7,}  {state}" + (
                f" ({past:,} {_PAST[state]})" if past > 0 and state in _PAST else ""
            )
    for kind in _KINDS:
        listed = lists.get(kind, [])
        if listed:
            yield from folded(": ".join(_WORDS[kind]), shown.width, indent=2)
        for one in listed if shown.everything else listed[: report.SHOWN]:
            code = one.row.error_code if one.row is not None else None
            why = f": {cited(one.message, code, None)}" if one.message else ""
            yield from folded(
                f"  {one.name}, for {shown_duration(shown.now - one.since)}{why}", shown.width, indent=4
            )
        if len(listed) > report.SHOWN and not shown.everything:
            yield f"  ... and {len(listed) - report.SHOWN:,} more; --all shows them all"


def attention_object(one: Waiting) -> dict[str, Any]:
    """An entry of ``attention`` for scripts."""
    from batchgen.storage.clips import iso

    names = ("external_task_id", "task_id", "error_code", "request_id")
    row = {name: getattr(one.row, name, None) for name in names}
    return {
        "kind": one.kind,
        "manifest": one.name.manifest,
        "job_id": one.name.job_id,
        "take": one.name.take,
        "external_task_id": row["external_task_id"],
        "task_id": row["task_id"],
        "since": iso(one.since),
        "code": row["error_code"],
        "message": one.message,
        "request_id": row["request_id"],
        "advice": _WORDS[one.kind][1],
    }
