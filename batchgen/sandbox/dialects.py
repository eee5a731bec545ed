"""Gateways' dialects of the API: the same answers in other shapes, with other words and HTTP statuses.

A dialect turns the vendor's answer (document, HTTP status, whether it answers a query) into the gateway's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from batchgen.sandbox.envelope import Document

Answer = tuple[Document, int]
Speak = Callable[[Document, int, bool], Answer]

_UPPER = {"submitted": "SUBMITTED", "processing": "IN_PROGRESS", "succeed": "SUCCESS", "failed": "FAILURE"}
_FLAT = {"submitted": "queued", "processing": "in_progress", "succeed": "succeeded", "failed": "failed"}
_VIDEO = {"submitted": "queued", "processing": "in_progress", "succeed": "completed", "failed": "failed"}

#: The vendor's codes that gateways answer themselves -> their word and HTTP status.
_OWN: Mapping[int, tuple[str, int]] = {
    **dict.fromkeys((1000, 1001, 1002, 1003, 1004), ("token_invalid", 500)),
    **dict.fromkeys((1100, 1101, 1102), ("insufficient_user_quota", 403)),
    **dict.fromkeys((1103, 1304), ("access_denied", 403)),
    **dict.fromkeys((1200, 1201, 1202, 1203), ("invalid_request", 400)),
    1302: ("rate_limit_exceeded", 429),
}


class Dialect(NamedTuple):
    """A dialect, with its description for the command line."""

    speak: Speak
    text: str


def _vendor(document: Document, status: int, query: bool) -> Answer:
    return document, status


def _wrapped(document: Document, status: int, query: bool) -> Answer:
    if not _is_success(document):
        code = document.get("code")
        if code == 1203 and query:
            return {"code": "task_not_exist", "message": "task_not_exist", "data": None}, 400
        if isinstance(code, int) and (own := _OWN.get(code)) is not None:
            return {"code": own[0], "message": document.get("message"), "data": None}, own[1]
        return {"code": "fail_to_fetch_task", "message": json.dumps(document), "data": None}, status
    task = _task(document, _UPPER)
    inner = {name: task[name] for name in ("task_id", "status", "url", "error") if name in task}
    return {"code": "success", "message": "", "data": inner}, status


def _flat(document: Document, status: int, query: bool) -> Answer:
    if not _is_success(document):
        return _refusal(document, status, query, {"message": "task not found"})
    task = _task(document, _FLAT)
    metadata = {"external_task_id": task.pop("external"), "url": task.pop("url", "")}
    return {**task, "metadata": metadata}, status


def _video(document: Document, status: int, query: bool) -> Answer:
    if not _is_success(document):
        missing = {"message": "Task not found", "type": "invalid_request_error", "code": "task_not_found"}
        return _refusal(document, status, query, missing)
    task = _task(document, _VIDEO)
    answer: Document = {"object": "video", "status": task["status"], "progress": 0}
    answer |= {"id": task["task_id"]} if "task_id" in task else {}
    answer |= {"error": {"message": task["error"]}} if task["error"] else {}
    return {**answer, "metadata": {"external_task_id": task["external"], "url": task.get("url")}}, status


def _refusal(document: Document, status: int, query: bool, missing: Document) -> Answer:
    code = document.get("code")
    if code == 1203 and query:
        return {"error": missing}, 404
    word, own = _OWN.get(code, (str(code), status)) if isinstance(code, int) else (code, status)
    return {"error": {"message": document.get("message"), "type": "api_error", "code": word}}, own


def _is_success(document: Document) -> bool:
    return document.get("code") in (0, "0")


def _task(document: Document, words: Mapping[str, str]) -> Document:
    """The vendor's task under neutral names; an absent task id or clip stays absent."""
    data: Mapping[str, Any] = document.get("data") or {}
    info, result = data.get("task_info"), data.get("task_result")
    videos = result.get("videos") if isinstance(result, dict) else None
    status = data.get("task_status")
    answer = {
        "status": words.get(status, status) if isinstance(status, str) else status,
        "error": data.get("task_status_msg") or None,
        "external": info.get("external_task_id") if isinstance(info, dict) else None,
    }
    answer |= {"task_id": data["task_id"]} if "task_id" in data else {}
    urls = [video.get(name) for video in videos or () for name in ("url", "watermark_url") if video.get(name)]
    return answer | ({"url": urls[0]} if urls else {})


DIALECTS: Mapping[str, Dialect] = {
    "vendor": Dialect(_vendor, "as the specification says"),
    "wrapped": Dialect(
        _wrapped, "{code: success, data: {task_id, status, url, error}}; says no external_task_id"
    ),
    "flat": Dialect(_flat, "{task_id, status, error, metadata: {url}}"),
    "video": Dialect(_video, "{id, status, progress, metadata: {url}}"),
}
