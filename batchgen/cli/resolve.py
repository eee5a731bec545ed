"""``batchgen resolve``: a person decides about a job that the program can't decide about."""

from __future__ import annotations

import argparse
import getpass
import os
import socket
from collections.abc import Iterator, Sequence

from batchgen import loops
from batchgen.advice import command
from batchgen.cli import settings
from batchgen.cli.details import event_object, record_text, unusable_object, unusable_text
from batchgen.cli.export_rows import export_row
from batchgen.cli.job_names import Name
from batchgen.cli.job_names import rows as job_rows
from batchgen.cli.output import Output
from batchgen.errors import UsageError
from batchgen.ledger.reader import OPEN, Records
from batchgen.ledger.transitions import ABANDONED
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, HistoryEntry, Record, State, Unusable

_MADE = "--task-id T      a task was made, and this is its id: it is followed"
_NOT_MADE = "--not-created    no task was made: the next run creates it, and pays"
_ABANDON = "--abandon        give it up: it is neither followed nor created again, and no run tells of it"


def resolve(args: argparse.Namespace, out: Output) -> int:
    """Show a job and what may be decided about it, or write a decision. Returns the exit code. Raises UsageError."""
    path = settings.ledger_path(args.ledger, os.environ)
    with Records.read(path) as ledger:
        takes, origin = job_rows(ledger, args.job, many=False), ledger.origin
        refused = next((one for one in ledger.unusable() if one.key in takes), None)
        record = _one(ledger, args.job, [row for rows in takes.values() for row in rows])
        offered, past = (
            (choices(ledger, record), ledger.events(record.external_task_id)) if record else ((), [])
        )
        current = record is not None and ledger.is_current(record.external_task_id)
        said = ledger.verdicts.of([record.external_task_id] if record is not None else [])
        twin = next(iter(ledger.with_task(args.task_id)), None) if args.task_id else None
        run_id = ledger.runs.name(record.run) if record is not None else None
    if refused is not None and (record is None or record.state not in OPEN):
        return _refused_image(args, out, (path, origin), refused)
    if record is None:
        raise UsageError(
            f"{args.job!r} is ordered, and no run has begun it: `{command('retake', args.job, options='--withdraw')}` takes it back"
        )
    change, verdict = _decision(args, record), said.get(record.external_task_id)
    if change is not None:
        if not offered:
            raise UsageError(_nothing_to_decide(record))
        if (_MADE if args.task_id else _NOT_MADE if args.not_created else _ABANDON) not in offered:
            raise UsageError(_not_offered(record, offered))
        if twin is not None:
            raise UsageError(f"task {args.task_id} belongs to {twin.external_task_id} already")
        if args.task_id and out.mask.holds(args.task_id):
            raise UsageError("this is the API key, not a task's id; nothing was written")
        record, past = _decide(path, origin, record, change, args.lock_wait)
    if args.json:
        history = [event_object(event) for event in past]
        task = {**export_row(record, current=current, verdict=verdict, run_id=run_id), "history": history}
        out.document({"ledger": path, "task": task, "unusable": None})
    elif change is None:
        out.lines(
            [
                *record_text(export_row(record, current=current, verdict=verdict, run_id=run_id), past),
                *_offer(record, offered),
            ]
        )
    elif not args.quiet:
        out.lines([f"{record.external_task_id} is {record.state} now; {_after(change.event)}"])
    return 0


def _refused_image(args: argparse.Namespace, out: Output, ledger: tuple[str, str], refused: Unusable) -> int:
    """Show a job whose image failed its checks, or give it up: nothing of it was ever sent."""
    if args.task_id or args.not_created:
        raise UsageError(
            f"the image of {Name(*refused.key)} was refused, so nothing was sent; what it takes is --abandon"
        )
    path, origin = ledger

    async def give_up() -> Unusable:
        by = who()
        with Ledger.open(path, origin=origin, lock_wait=args.lock_wait) as writer:
            await writer.give_up(refused, by)
        return refused._replace(given_up=by)

    if args.abandon:
        if refused.given_up:
            raise UsageError(f"{Name(*refused.key)} was given up already: there is nothing to decide")
        refused = loops.drive(give_up())
    if args.json:
        out.document({"ledger": path, "task": None, "unusable": unusable_object(refused)})
    elif not (args.abandon and args.quiet):
        offer = [] if refused.given_up else [_offered(str(Name(*refused.key)), _ABANDON)]
        out.lines([unusable_text(refused), *offer])
    return 0


def choices(ledger: Records, record: Record) -> Sequence[str]:
    """The decisions that a person may take about a row; none where another row of its job has changed after it."""
    match record.state:
        case State.SUBMITTING | State.UNKNOWN:
            return (_MADE, _NOT_MADE, _ABANDON)
        case State.SUBMITTED | State.SUCCEEDED:
            return (_ABANDON,)
        case State.REJECTED if record.error_code == ABANDONED:
            return (_MADE, _NOT_MADE) if ledger.is_last_word(record.external_task_id) else ()
        case State.PENDING | State.REJECTED | State.FAILED if record.error_code != ABANDONED:
            return (_ABANDON,) if ledger.is_last_word(record.external_task_id) else ()
    return ()


def _one(ledger: Records, text: str, rows: Sequence[Record]) -> Record | None:
    """The one row that can be decided about, else the last row, else None. Raises UsageError where there are several."""
    if not rows:
        return None
    undecided = [row for row in rows if choices(ledger, row)]
    if len(undecided) > 1:
        listed = [f"  {row.external_task_id}: {row.state}" for row in undecided]
        raise UsageError(
            "\n".join([f"{text!r} has {len(undecided)} tasks to decide about; say which:", *listed])
        )
    return (undecided or rows)[-1]


def _nothing_to_decide(record: Record) -> str:
    if record.error_code == ABANDONED:
        return f"{record.external_task_id} was given up already: there is nothing to decide"
    if record.state in (State.PENDING, State.REJECTED, State.FAILED):
        return f"{record.external_task_id} is {record.state}, and its job went on after it: there is nothing to decide"
    return f"{record.external_task_id} is {record.state}: there is nothing to decide"


def _not_offered(record: Record, offered: Sequence[str]) -> str:
    task = f", with task {record.task_id}" if record.task_id else ""
    options = " and ".join(choice.split()[0] for choice in offered)
    return f"{record.external_task_id} is {record.state}{task}; what it takes is {options}"


def _offer(record: Record, offered: Sequence[str]) -> Iterator[str]:
    """The lines that offer the decisions about a row."""
    if not offered:
        yield _nothing_to_decide(record)
        return
    if _MADE in offered or record.task_id:
        yield "decide only what you know, for example from the vendor's console or support, which asks for the request id:"
    for choice in offered:
        yield _offered(record.external_task_id, choice)


def _offered(name: str, choice: str) -> str:
    option, _, meaning = choice.partition("  ")
    return f"  {command('resolve', name, options=option)}  {meaning}"


def _decision(args: argparse.Namespace, record: Record) -> Change | None:
    """The person's decision as a change of the row, with who took it; None where there is none."""
    name, by = record.external_task_id, {"by": who()}
    if args.task_id:
        values = {"task_id": args.task_id, "submitted_at": record.submitted_at or record.created_at}
        return Change(name, State.SUBMITTED, "resolved_as_created", values=values, detail=by)
    if args.not_created:
        return Change(name, State.PENDING, "resolved_as_not_created", detail=by)
    if args.abandon:
        before = f"; before that: {record.error_message}" if record.error_message else ""
        values = {"error_code": ABANDONED, "error_message": f"given up by {by['by']}{before}"}
        if record.state in (State.PENDING, State.REJECTED):
            values["estimate"] = 0  # nothing was made
        to = State.FAILED if record.task_id else State.REJECTED
        return Change(name, to, "resolved_as_abandoned", values=values, detail=by)
    return None


def who() -> str:
    """``USER@HOST`` of the person who runs the command, for the history."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # nobody has this number
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _decide(
    path: str, origin: str, record: Record, change: Change, lock_wait: float
) -> tuple[Record, list[HistoryEntry]]:
    async def decide() -> tuple[Record, list[HistoryEntry]]:
        with Ledger.open(path, origin=origin, lock_wait=lock_wait) as ledger:
            present = ledger.record(record.external_task_id)
            if present is not None and present.state is State.SUBMITTING:
                await ledger.apply(Change(record.external_task_id, State.UNKNOWN, "lost_track"))
            decided = await ledger.apply(change)
            return decided, list(ledger.events(record.external_task_id))

    return loops.drive(decide())


def _after(event: str) -> str:
    """What the next run does after a decision, in words."""
    return {
        "resolved_as_created": "the next run, or `batchgen collect`, follows its task",
        "resolved_as_not_created": "the next run asks the API once more, then creates it",
        "resolved_as_abandoned": "no run follows it or creates it again; another `take` makes another clip",
    }[event]
