"""Rows of the ledger as other programs read them. The fields and their order are a contract: see DESIGN.md."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from batchgen.models import Record, State
from batchgen.transitions import ABANDONED

EXPORT_FIELDS = (
    "external_task_id",
    "task_id",
    "state",
    "manifest",
    "job_id",
    "take",
    "attempt",
    "error_code",
    "error_message",
    "request_id",
    "created_at",
    "submitted_at",
    "finished_at",
    "video_url",
    "video_path",
    "video_sha256",
    "cost_usd_estimate",
    "units_charged",
)


def export_row(record: Record) -> dict[str, Any]:
    """The fields of one row, in order; times as ISO 8601 in UTC, what is empty as None."""
    row = {name: getattr(record, name) for name in EXPORT_FIELDS}
    row["state"] = record.state.value
    if not _may_be_charged(record):
        row["cost_usd_estimate"] = 0.0
    for name in ("created_at", "submitted_at", "finished_at"):
        row[name] = iso(row[name])
    return {name: None if value == "" else value for name, value in row.items()}


def _may_be_charged(record: Record) -> bool:
    """Whether the row can have cost anything: not what was refused or never sent; a failed task may be charged."""
    if record.state is State.REJECTED:  # a person may give up a create that nobody knows the outcome of
        return record.error_code == ABANDONED and record.attempt > 0
    return record.state is not State.PENDING


def iso(seconds: float | None) -> str | None:
    """Unix seconds as ``2026-01-31T23:59:59.250Z``; None for none, and for what no calendar has."""
    if seconds is None:
        return None
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
