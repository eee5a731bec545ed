"""Finds the task in an answer, with its ids, status and clips, in the vendor's shape and its gateways'."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from batchgen.api import codes
from batchgen.errors import ApiError
from batchgen.http import fields
from batchgen.http.addresses import address, clip_links
from batchgen.models import ClipLink, TaskView


def task_in(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object that describes a task: ``data``, else the document itself where it has a task's id."""
    data = document.get("data")
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    inner = fields.mapping(data)
    return inner if inner or not {"task_id", "id"} & document.keys() else document


def is_task(task: Mapping[str, Any], document: Mapping[str, Any] | None) -> bool:
    """Whether an answer without a ``code`` describes a task; other JSON may have an id and a status, too.

    ``document`` is a create's answer, None for a query's: an error beside the task makes it no success of a create.
    """
    status = status_of(task)
    known = codes.word(status) in codes.STATUS_WORDS
    if document is not None:
        return not document.get("error") and ("task_id" in task or ("id" in task and known))
    return bool(status) and ("task_id" in task or ("id" in task and known))


def ids_of(task: Mapping[str, Any]) -> Iterator[str]:
    """The ids that a task can be asked for by: ``task_id`` first, since a gateway's ``id`` may be of its own database."""
    return filter(None, map(fields.task_id, (task.get("task_id"), task.get("id"))))


def external_id(task: Mapping[str, Any]) -> str | None:
    """The ``external_task_id`` that the answer says the task has."""
    places = (fields.mapping(task.get("task_info")), task, fields.mapping(task.get("metadata")))
    return next(filter(None, (fields.text(place.get("external_task_id")) for place in places)), None)


def status_of(task: Mapping[str, Any]) -> str:
    """The task's status as it came, or empty."""
    return (
        fields.bounded_line(task.get("task_status"), 100)
        or fields.bounded_line(task.get("status"), 100)
        or ""
    )


def view(task: Mapping[str, Any], asked: str, request_id: str | None, base: str) -> TaskView:
    """The task as a value. ``base`` is the API's address. Raises ApiError where it isn't the task that was asked for."""
    external = external_id(task)
    ids = list(ids_of(task))
    if not ids or asked not in (*ids, external or asked):
        other = task.get("task_id", task.get("id"))
        raise ApiError(f"asked for {asked}, answered for {fields.short(str(other))}", request_id=request_id)
    raw, clips = status_of(task), _clips(task, base)
    status = codes.STATUS_WORDS.get(codes.word(raw))
    units = task.get("final_unit_deduction")
    return TaskView(
        task_id=asked if asked in ids else ids[0],
        external_task_id=external,
        status=status,
        raw_status=raw,
        message=_reason(task) if status in (None, "failed") else "",
        created_at=_first_moment(task, "created_at", "submit_time"),
        updated_at=_first_moment(task, "completed_at", "finish_time", "updated_at"),
        clips=clips,
        units_charged=fields.bounded_line(str(units), 50) if isinstance(units, str | int | float) else None,
        balance=_balance(task.get("final_balance_deduction")),
        request_id=request_id,
    )


def _balance(value: object) -> str | None:
    """What was taken from the account's balance, as JSON, as it came; None where there is nothing, or something else."""
    found = {
        name: part if isinstance(part, int | float) else fields.bounded_line(part, 50)
        for name in ("quota", "list_price")
        if (part := fields.mapping(value).get(name)) is not None
    }
    return json.dumps(found, sort_keys=True) if found else None


def _first_moment(task: Mapping[str, Any], *names: str) -> float | None:
    return next(filter(None, (fields.moment(task.get(name)) for name in names)), None)


def _reason(task: Mapping[str, Any]) -> str:
    """Why a task failed."""
    error = task.get("error")
    places = (
        task.get("task_status_msg"),
        error,
        fields.mapping(error).get("message"),
        *(task.get(name) for name in ("fail_reason", "reason", "message")),
    )
    return next(filter(None, map(fields.bounded_line, places)), "")


def _clips(task: Mapping[str, Any], base: str) -> tuple[ClipLink, ...]:
    """The files of a task's result: from the vendor's ``task_result``, else from where gateways put the clip's address."""
    upstream = fields.mapping(task.get("data"))  # a gateway may keep the vendor's whole answer here
    upstream = fields.mapping(upstream.get("data")) or upstream
    for place in (task, upstream):
        if found := clip_links(fields.mapping(place.get("task_result")), base) or _loose(place, base):
            return found
    return ()


def _loose(task: Mapping[str, Any], base: str) -> tuple[ClipLink, ...]:
    metadata = fields.mapping(task.get("metadata"))
    places = [metadata.get("url"), *(task.get(name) for name in ("video_url", "result_url", "url"))]
    reason = task.get("fail_reason")  # where an older gateway puts the address
    places += [reason] if isinstance(reason, str) and reason.startswith(("http://", "https://")) else []
    url = next(filter(None, (address(place, base) for place in places)), None)
    return (ClipLink("", url),) if url else ()
