"""The changes of a row's state that are allowed, and the columns that each of them sets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from batchgen.errors import TransitionError
from batchgen.escapes import excerpt
from batchgen.models import Change, Record, State
from batchgen.money.periods import QUARTER

ABANDONED = "abandoned"  # the error code of a row that a person has given up

_S = State

ALLOWED: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        # An intent; given up; or a create that was believed not to exist is found after all.
        _S.PENDING: frozenset({_S.SUBMITTING, _S.REJECTED, _S.SUBMITTED}),
        # Accepted; refused; outcome unknown (also after a crash); or certainly not sent (DNS, 1302, 1303).
        _S.SUBMITTING: frozenset({_S.SUBMITTED, _S.REJECTED, _S.UNKNOWN, _S.PENDING}),
        # Found at the API and adopted; proven not created; or abandoned by a person.
        _S.UNKNOWN: frozenset({_S.SUBMITTED, _S.PENDING, _S.REJECTED}),
        # Progress; the task ended; or its clip was found on disk. Never back: it is paid for and its slot is known.
        _S.SUBMITTED: frozenset({_S.SUBMITTED, _S.SUCCEEDED, _S.FAILED, _S.DOWNLOADED}),
        # The clip is on disk; its URL was asked for again; or a person gave up a clip that is gone.
        _S.SUCCEEDED: frozenset({_S.SUCCEEDED, _S.DOWNLOADED, _S.FAILED}),
        # Nothing was made, so the id is free: it is tried again, since its content changed or a person says so; found
        # after all; or given up, so that it is reported no more.
        _S.REJECTED: frozenset({_S.SUBMITTING, _S.PENDING, _S.SUBMITTED, _S.REJECTED}),
        # Final, but may be given up. A retry of a failed task is another row, ID~2.
        _S.FAILED: frozenset({_S.FAILED}),
        # Its file was moved or renamed; or it is no longer on disk, and is fetched again.
        _S.DOWNLOADED: frozenset({_S.DOWNLOADED, _S.SUCCEEDED}),
    }
)

# No create is sent for a job in one of these: it may have been paid for, and its clip may exist.
MAY_BE_PAID = frozenset({_S.SUBMITTING, _S.UNKNOWN, _S.SUBMITTED, _S.SUCCEEDED, _S.DOWNLOADED})

# States in which a task may be found, at the API or beside a clip on disk, that the ledger doesn't have; and the states
# of rows without a task, which it may be recorded in.
IMPORTABLE = frozenset({_S.SUBMITTED, _S.SUCCEEDED, _S.FAILED, _S.DOWNLOADED})
WITHOUT_TASK = frozenset({_S.PENDING, _S.REJECTED, _S.SUBMITTING, _S.UNKNOWN})

CLIP_GONE = "clip_gone"  # the error code of a downloaded row whose clip is neither on disk nor at the API

# Columns that a Change may set, with their types; None is always allowed.
_TEXT, _NUMBER = (str,), (int, float)
SETTABLE: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "task_id": _TEXT,
        "error_code": _TEXT,
        "error_message": _TEXT,
        "request_id": _TEXT,
        "submitted_at": _NUMBER,
        "finished_at": _NUMBER,
        "output_path": _TEXT,
        "output_dir": _TEXT,
        "video_url": _TEXT,
        "video_path": _TEXT,
        "video_sha256": _TEXT,
        "video_size": (int,),
        "estimate": (int,),
        "charged": (int,),
        "units_charged": _TEXT,
        "balance": _TEXT,
        "parts": _TEXT,
    }
)

# Columns that a row in a state must have, so that a run after a crash can rely on them.
REQUIRED: Mapping[State, tuple[str, ...]] = MappingProxyType(
    {
        _S.SUBMITTED: ("task_id",),
        _S.SUCCEEDED: ("task_id", "video_url"),
        _S.FAILED: ("task_id",),
        _S.DOWNLOADED: ("task_id", "video_path", "video_sha256"),
    }
)

_FOREIGN_TEXT = frozenset(
    {"error_code", "error_message", "request_id", "video_url", "units_charged", "balance", "parts"}
)
_ENDED = frozenset({_S.SUCCEEDED, _S.FAILED})


def advance(record: Record, change: Change, at: float) -> dict[str, Any]:
    """The columns that ``change`` sets in ``record`` at the time ``at``. Raises TransitionError.

    Besides the state and ``change.values``:

    - ``error_code`` and ``error_message`` become ``change.code`` and ``change.message``, None included;
    - ``request_id`` becomes the change's, where it has one;
    - ``submitted_at`` and ``finished_at`` become ``at`` where the task begins or ends and ``values`` don't set them;
    - a create that was certainly not accepted (submitting -> pending) doesn't count as an attempt.
    """
    if change.to not in ALLOWED[record.state]:
        raise TransitionError(f"{record.external_task_id}: {record.state} can't become {change.to}.")
    if change.to is State.SUBMITTING:
        raise TransitionError(f"{record.external_task_id}: an intent is recorded by begin() alone.")
    columns = changed_columns(record, change, at)
    if record.state is State.SUBMITTING and change.to is State.PENDING:
        columns["attempt"] = max(record.attempt - 1, 0)
    return columns


def intended(record: Record, before: Record | None, at: float) -> Record:
    """The row of a create that is about to be sent, one attempt later than ``before``, the row of its id so far.

    Raises TransitionError where no create may be sent for it.
    """
    if before is not None and State.SUBMITTING not in ALLOWED[before.state]:
        raise TransitionError(
            f"{before.external_task_id}: is {before.state}, so no create may be sent for it."
        )
    return record._replace(
        state=State.SUBMITTING,
        attempt=(before.attempt if before else 0) + 1,
        created_at=before.created_at if before else record.created_at or at,
        task_id=None,
        error_code=None,
        error_message=None,
        request_id=None,
        submitted_at=None,
        finished_at=None,
        video_url=None,
        video_path=None,
        video_sha256=None,
        charged=None,
        units_charged=None,
        balance=None,
        quarter=quarter_of(at),
    )


def changed_columns(record: Record, change: Change, at: float) -> dict[str, Any]:
    """The columns that :func:`advance` sets, without its check of the state before. Raises TransitionError."""
    to, values = change.to, change.values
    code = None if change.code is None else str(change.code)
    columns: dict[str, Any] = {"state": to, "error_code": code, "error_message": change.message}
    if change.request_id is not None:
        columns["request_id"] = change.request_id
    if to is State.SUBMITTED and record.submitted_at is None:
        columns["submitted_at"] = at
    if to in _ENDED and record.finished_at is None:
        columns["finished_at"] = at
    for name, value in values.items():
        types = SETTABLE.get(name)
        if types is None:
            raise TransitionError(f"{record.external_task_id}: a change can't set {name!r}.")
        if value is not None and not isinstance(value, types):
            raise TransitionError(f"{record.external_task_id}: {name} can't be {excerpt(repr(value))}.")
        columns[name] = value
    if record.task_id and columns.get("task_id", record.task_id) != record.task_id:
        raise TransitionError(
            f"{record.external_task_id}: is task {record.task_id}; it can't become {excerpt(repr(columns['task_id']))}."
        )
    for name in REQUIRED.get(to, ()):
        if not columns.get(name, getattr(record, name)):
            raise TransitionError(f"{record.external_task_id}: {to} needs {name}.")
    return columns


def may_be_charged(record: Record) -> bool:
    """Whether the row can have cost anything: a refused create and one that was never sent can't; a failed task can."""
    if record.state is State.REJECTED:  # a person may give up a create that nobody knows the outcome of
        return record.error_code == ABANDONED and record.attempt > 0
    return record.state is not State.PENDING


def counted(record: Record) -> int:
    """What a row counts of the money that is spent, in micro-dollars: its charge, or its estimate while it may be charged."""
    if not may_be_charged(record):
        return 0
    return (record.estimate or 0) if record.charged is None else record.charged


def quarter_of(at: float) -> int:
    """The quarter of an hour, counted from 1970, that a time in Unix seconds is in."""
    return int(at // QUARTER)


def task_seconds(row: Record) -> float | None:
    """Seconds from the task's acceptance to its end; None where one is unknown, or the clocks disagree."""
    if row.submitted_at is None or row.finished_at is None or row.finished_at < row.submitted_at:
        return None
    return row.finished_at - row.submitted_at


def masked_change(change: Change, masked: Callable[[str], str]) -> Change:
    """The change with its foreign texts masked by ``masked``; ids and paths stay as they are."""
    code, message, request_id, values = change.code, change.message, change.request_id, change.values
    return change._replace(
        code=masked(code) if isinstance(code, str) else code,
        message=message and masked(message),
        request_id=request_id and masked(request_id),
        values={
            name: masked(value) if name in _FOREIGN_TEXT and isinstance(value, str) else value
            for name, value in values.items()
        },
    )
