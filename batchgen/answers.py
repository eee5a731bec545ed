"""Reading the API's answers: bytes in, a value or the right error out. No network here.

The table below is the one place where codes are judged. It decides on the body's ``code``, and on the HTTP
status only where there is none: 429 covers both "wait" and "waiting never helps", and gateways re-wrap.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from batchgen.addresses import clip_links
from batchgen.errors import (
    AccountStop,
    ApiError,
    MaybeAccepted,
    NotFound,
    Refused,
    SlotsFull,
    Throttled,
    UnknownCode,
)
from batchgen.models import TASK_ID, TaskView

#: code -> (the error it means on a create, what it means in words)
CODES: Mapping[int, tuple[type[ApiError], str]] = {
    1000: (AccountStop, "the key was not accepted"),
    1001: (AccountStop, "the key is missing or empty"),
    1002: (AccountStop, "the key is wrong"),
    1003: (AccountStop, "the key is not valid yet: most often this machine's clock is wrong"),
    1004: (AccountStop, "the key has expired"),
    1100: (AccountStop, "the account is in an abnormal state"),
    1101: (AccountStop, "the account is in arrears"),
    1102: (AccountStop, "the resource pack is empty or expired"),
    1103: (AccountStop, "the account has no permission for this model or call"),
    1200: (Refused, "a parameter was refused"),
    1201: (Refused, "a parameter was refused"),
    1202: (Refused, "the method was refused"),
    1203: (Refused, "no such resource"),
    1300: (Refused, "refused by the platform's policy"),
    1301: (Refused, "refused by the content policy"),
    1302: (Throttled, "requests come too fast"),
    1303: (SlotsFull, "every slot of the account is taken"),
    1304: (AccountStop, "this machine's address is not on the account's allow list"),
    5000: (MaybeAccepted, "internal error"),
    5001: (MaybeAccepted, "unavailable for maintenance"),
    5002: (MaybeAccepted, "internal timeout"),
}

#: HTTP status -> the error it means on a create, where the body has no code. Others of 4xx: UnknownCode;
#: everything else: MaybeAccepted.
STATUSES: Mapping[int, type[ApiError]] = {
    400: Refused,
    401: AccountStop,
    402: AccountStop,
    403: AccountStop,
    408: MaybeAccepted,
    409: MaybeAccepted,
    413: Refused,
    422: Refused,
    425: MaybeAccepted,
    429: Throttled,
    499: MaybeAccepted,
}

_STATUS_WORDS: Mapping[str, Literal["submitted", "processing", "succeed", "failed"]] = {
    "submitted": "submitted",
    "processing": "processing",
    "succeed": "succeed",
    "succeeded": "succeed",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A create that was accepted."""

    task_id: str
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer as it came. ``retry_after`` is the header's text; ``body`` is bounded by who read it."""

    status: int
    body: bytes
    retry_after: str | None = None
    location: str | None = None
    complete: bool = True  # False: the body broke off, or was larger than anybody should read


def read_create(answer: Answer, external_task_id: str) -> Accepted:
    """The task that a create made. Raises the :class:`ApiError` that says what to do instead."""
    document = _document(answer)
    code, message, request_id = _envelope(document)
    if code == 0 and answer.status < 400:
        data = _mapping(document.get("data"))
        task_id = _task_id(data.get("task_id"))
        theirs = _text(_mapping(data.get("task_info")).get("external_task_id"))
        if theirs and theirs != external_task_id:
            raise MaybeAccepted(
                f"accepted, but for somebody else's external_task_id {_short(theirs)}", request_id=request_id
            )
        if task_id is None:
            raise MaybeAccepted(
                f"accepted without a usable task id ({_short(json.dumps(data.get('task_id')))})",
                code=0,
                request_id=request_id,
            )
        return Accepted(task_id, request_id)
    _refuse(answer, code, message, request_id)


def read_query(answer: Answer, asked: str, base: str = "") -> TaskView:
    """The task that was asked for by its task id or ``external_task_id``; ``base`` is the API's own address.

    Raises NotFound, Throttled, AccountStop, or a plain :class:`ApiError` for everything that says nothing
    about the task (ask again later).
    """
    document = _document(answer)
    code, message, request_id = _envelope(document)
    if code == 0 and answer.status < 400:
        return _view(_mapping(document.get("data")), asked, request_id, base)
    if code == 1203:
        raise NotFound(message or "no such task", code=code, request_id=request_id)
    try:
        _refuse(answer, code, message, request_id)
    except (Throttled, AccountStop):
        raise
    except ApiError as error:
        raise ApiError(
            str(error), code=error.code, request_id=error.request_id, retry_after=error.retry_after
        ) from None


def in_a_line(text: str) -> str:
    """A stranger's text on one line, with nothing in it that could move a terminal's cursor."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


def _view(data: Mapping[str, Any], asked: str, request_id: str | None, base: str) -> TaskView:
    task_id = _task_id(data.get("task_id"))
    external = _text(_mapping(data.get("task_info")).get("external_task_id")) or _text(
        data.get("external_task_id")
    )
    if task_id is None or asked not in (task_id, external or asked):
        raise ApiError(
            f"asked for {asked}, answered for {_short(str(data.get('task_id')))}", request_id=request_id
        )
    raw = _told(data.get("task_status"), 100) or ""
    units = data.get("final_unit_deduction")
    return TaskView(
        task_id=task_id,
        external_task_id=external,
        status=_STATUS_WORDS.get(raw),
        raw_status=raw,
        message=_told(data.get("task_status_msg")) or "",
        created_at=_milliseconds(data.get("created_at")),
        updated_at=_milliseconds(data.get("updated_at")),
        clips=clip_links(_mapping(data.get("task_result")), base),
        units_charged=_told(str(units), 50) if isinstance(units, str | int | float) else None,
        request_id=request_id,
    )


def _refuse(answer: Answer, code: int | None, message: str, request_id: str | None) -> NoReturn:
    """Raise what an answer that is no success means for a create."""
    told = code if code is not None else f"HTTP {answer.status}"
    status = answer.status
    if code is not None and 100 <= code < 600:  # a gateway's: an HTTP status in the body
        status, code = (code if status < 400 else status), None
    kind: type[ApiError]
    text = message or _first_line(answer)
    if code is not None and code in CODES:
        kind, words = CODES[code]
        text = f"{words} ({message})" if message and message.lower() != words else words
    elif status >= 500 or not answer.complete:
        kind = MaybeAccepted
    elif 300 <= status < 400:
        kind = MaybeAccepted
        text = f"redirected to {_short(answer.location or 'nowhere')}, which is never followed"
    elif code is not None and 1000 <= code < 5000:  # unknown, of the families that refuse
        kind = UnknownCode
    elif code is None and 400 <= status < 500:
        kind = STATUSES.get(status, UnknownCode)
    elif code:
        kind = MaybeAccepted
    else:
        kind, text = MaybeAccepted, f"an answer that can't be read: {_first_line(answer)}"
    raise kind(text[:1000], code=told, request_id=request_id, retry_after=_seconds(answer.retry_after))


def _document(answer: Answer) -> Mapping[str, Any]:
    if not answer.complete:
        return {}
    try:
        return _mapping(json.loads(answer.body))
    except (ValueError, RecursionError):
        return {}


def _envelope(document: Mapping[str, Any]) -> tuple[int | None, str, str | None]:
    """(code, message, request_id), also of ``{"error": {"message", "type", "code"}}``."""
    error = document.get("error")
    inner = error if isinstance(error, dict) else {"message": error}
    code = _integer(document.get("code"))
    if code is None or (code == 0 and error):
        code = _integer(inner.get("code"))
    message = _told(document.get("message")) or _told(inner.get("message")) or ""
    return (
        code,
        message,
        _told(document.get("request_id"), 200) or _told(inner.get("request_id"), 200),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _told(value: object, longest: int = 1000) -> str | None:
    """What the API tells people, on one line and bounded."""
    return in_a_line((_text(value) or "")[: 4 * longest])[:longest] or None


def _integer(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9 else None


def _task_id(value: object) -> str | None:
    """A task id that can stand in a path and a file name; numbers are taken as text."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        value = str(value)
    return value if isinstance(value, str) and TASK_ID.fullmatch(value) else None


def _milliseconds(value: object) -> float | None:
    """Unix milliseconds as Unix seconds; None outside of the years 2001 to 2286."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else _integer(value)
    return number / 1000 if number is not None and 1e12 <= number < 1e13 else None


def _seconds(value: str | None) -> float | None:
    """``Retry-After`` in seconds (its date form is left to our own waiting), at most an hour."""
    return min(float(value), 3600.0) if value and re.fullmatch(r"\d{1,9}(\.\d+)?", value) else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _first_line(answer: Answer) -> str:
    """The first line of a body that a person can read something in, without markup."""
    text = re.sub(
        r"<(style|script).*?</\1>|<[^>]*>", " ", answer.body[:4000].decode("utf-8", "replace"), flags=re.S
    )
    lines = map(in_a_line, text.splitlines())
    return next((line[:200] for line in lines if line), f"HTTP {answer.status} with an empty body")
