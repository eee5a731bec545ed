"""Reads the API's answers, the vendor's and its gateways': bytes in, a value or the right error out.

A body's code decides, then its words (:mod:`batchgen.api.codes` has the tables), and the HTTP status only where there is
neither: 429 covers both "wait" and "waiting never helps", and gateways re-wrap. A body that isn't JSON in one of the API's
shapes is not taken for an answer of the API, whatever its status.
"""

from __future__ import annotations

import html
import json
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from batchgen.api import codes
from batchgen.api import task_shapes as shapes
from batchgen.api.codes import CODES, PAGES, STATUSES
from batchgen.errors import AccountStop, ApiError, MaybeAccepted, NotFound, Throttled, UnknownCode
from batchgen.http import fields
from batchgen.http.bodies import retry_after
from batchgen.models import TaskView


class Accepted(NamedTuple):
    """A create that was accepted."""

    task_id: str
    request_id: str | None


class Answer(NamedTuple):
    """One HTTP answer as it came, its body cut at the client's limit.

    ``retry_after`` is the header's text. ``date`` is when the server says that it answered, else when the answer was
    read (Unix seconds).
    """

    status: int
    body: bytes
    retry_after: str | None = None
    location: str | None = None
    complete: bool = (
        True  # False: the body broke off, was larger than anybody should read, or can't be unpacked
    )
    date: float = 0.0
    is_dated: bool = False  # the server said when


class _Envelope(NamedTuple):
    """What an answer says about the request. ``code`` is 0 for success, and text where a gateway gives a word."""

    code: int | str | None
    message: str
    request_id: str | None
    kind: str = ""  # a gateway's second word, ``type``

    @property
    def shaped(self) -> bool:
        """Whether the answer has the API's shape at all."""
        return self.code is not None or bool(self.kind)


def read_create(answer: Answer, external_task_id: str) -> Accepted:
    """The task that a create made. Raises the :class:`ApiError` that says what to do instead."""
    document = _document(answer)
    envelope = _envelope(document)
    task = shapes.task_in(document)
    if answer.status < 400 and (
        envelope.code == 0 or (envelope.code is None and shapes.is_task(task, document))
    ):
        task_id = next(shapes.ids_of(task), None)
        theirs = shapes.external_id(task)
        if theirs and theirs != external_task_id:
            raise MaybeAccepted(
                f"accepted, but for somebody else's external_task_id {fields.short(theirs)}",
                request_id=envelope.request_id,
            )
        if task_id is None:
            raise MaybeAccepted(
                f"accepted without a usable task id ({fields.short(json.dumps(task.get('task_id')))})",
                code=0,
                request_id=envelope.request_id,
            )
        return Accepted(task_id, envelope.request_id)
    _refuse(answer, envelope, certain=next(shapes.ids_of(task), None) is None)


def read_query(answer: Answer, asked: str, base: str = "") -> TaskView:
    """The task that was asked for by its task id or ``external_task_id``; ``base`` is the API's own address.

    Raises NotFound, Throttled, AccountStop, or a plain :class:`ApiError` for everything that says nothing
    about the task (ask again later).
    """
    document = _document(answer)
    envelope = _envelope(document)
    task = shapes.task_in(document)
    if answer.status < 400 and (
        envelope.code == 0 or ("code" not in document and shapes.is_task(task, None))
    ):
        return shapes.view(task, asked, envelope.request_id, base)
    if _denies(answer, envelope, asked):
        raise NotFound(envelope.message or "no such task", code=envelope.code, request_id=envelope.request_id)
    try:
        _refuse(answer, envelope)
    except (Throttled, AccountStop):
        raise
    except ApiError as error:
        raise ApiError(
            str(error),
            code=error.code,
            request_id=error.request_id,
            retry_after=error.retry_after,
            kind=error.kind,
        ) from None


def _denies(answer: Answer, envelope: _Envelope, asked: str) -> bool:
    """Whether an answer to a query says that there is no such task. A page, or a missing path or model, doesn't say so."""
    if codes.about_something_else(envelope.message.replace(asked, " ")):
        return False
    if envelope.code == 1203 or (isinstance(envelope.code, str) and envelope.code in codes.NO_TASK_WORDS):
        return True
    statuses = {
        answer.status,
        envelope.code if isinstance(envelope.code, int) and envelope.code >= 100 else answer.status,
    }
    return (
        statuses <= codes.NO_TASK_STATUSES
        and envelope.code != 0
        and codes.denies_task(envelope.message, asked)
    )


# -- errors ---------------------------------------------------------------------------------------------------------


def _refuse(answer: Answer, envelope: _Envelope, *, certain: bool = True) -> NoReturn:
    """Raise the error that an answer without success means for a create.

    ``certain`` is false where the answer names a task all the same: then nothing in it proves a refusal.
    """
    status, code, message = answer.status, envelope.code, envelope.message
    if isinstance(code, int) and 100 <= code < 600:  # a gateway's: an HTTP status in the body
        status, code = (code if status < 400 else status), None
    kind: type[ApiError]
    meaning = _meaning(code, message, envelope.kind, status) if certain else None
    cause, text = "internal", message or _first_line(answer)
    if meaning is not None:
        kind, words, cause = meaning
        text = f"{words} ({message})" if message and message.lower() != words else words
    elif not answer.complete:
        kind = MaybeAccepted
    elif 300 <= status < 400:
        kind, cause = MaybeAccepted, "page"
        place = re.sub("//[^/]*@", "//", (answer.location or "nowhere").partition("?")[0])
        text = f"redirected to {fields.short(place)}, which is never followed; is --base-url right?"
    elif status >= 500 or not certain:
        kind = MaybeAccepted
    elif isinstance(code, int) and 1000 <= code < 5000:  # unknown, of the families that refuse
        kind, cause = UnknownCode, "unclear"
    elif 400 <= status < 500 and not isinstance(code, int):
        kind, cause = STATUSES.get(status, (UnknownCode, "unclear"))
        if not envelope.shaped:
            kind, cause = PAGES.get(status, (kind, cause))
            if cause in ("key", "permission") and answer.body.lstrip().startswith(b"<"):
                cause = "blocked"
    else:
        kind = MaybeAccepted
        if not code:
            text = f"an answer that can't be read: {_first_line(answer)}"
    if kind is MaybeAccepted and not envelope.shaped:
        cause = "page"
    raise kind(
        text[:1000],
        code=envelope.code if code is not None else f"HTTP {status}",
        request_id=envelope.request_id,
        retry_after=retry_after(answer.retry_after, answer.date),
        kind=cause,
    )


def _meaning(code: int | str | None, message: str, kind: str, status: int) -> codes.Meaning | None:
    """The meaning of the code; else of the first among its word, the message and the type that is known."""
    if isinstance(code, int):
        return CODES.get(code)
    known = codes.WORDS.get(code) if code else None
    return known or codes.phrase(message, status) or codes.WORDS.get(kind)


def _document(answer: Answer) -> Mapping[str, Any]:
    return _parsed(answer.body) if answer.complete else {}


def _parsed(body: bytes | str) -> Mapping[str, Any]:
    """A JSON object in UTF-8, empty where it is anything else. No other encoding: the key was masked in UTF-8 text."""
    try:
        if isinstance(body, bytes):  # "utf-8-sig" is a module that is loaded late
            body = body.removeprefix(BOM_UTF8).decode()
        return fields.mapping(json.loads(body))
    except (ValueError, RecursionError):
        return {}


def _envelope(document: Mapping[str, Any], *, nested: bool = True) -> _Envelope:
    """What a body says about the request, at its top or in ``{"error": {"message", "type", "code"}}``.

    Where a gateway's message is the vendor's whole answer as JSON, the vendor's code and message count.
    """
    error = document.get("error")
    inner = error if isinstance(error, dict) else {"message": error}
    code = _code(document.get("code"))
    if code is None or (code == 0 and error):
        code = _code(inner.get("code"))
    text = next(
        filter(
            None, (fields.text(place.get(name)) for place in (document, inner) for name in ("message", "msg"))
        ),
        "",
    )
    request_id = fields.bounded_line(document.get("request_id"), 200) or fields.bounded_line(
        inner.get("request_id"), 200
    )
    if nested and code != 0 and text.lstrip().startswith("{"):
        upstream = _envelope(_parsed(text), nested=False)
        if isinstance(upstream.code, int) and upstream.code in CODES and upstream.code != 0:
            return upstream._replace(request_id=upstream.request_id or request_id)
    kind = inner.get("type")
    return _Envelope(
        code,
        fields.bounded_line(text) or "",
        request_id,
        codes.word(kind[:100]) if isinstance(kind, str) else "",
    )


def _code(value: object) -> int | str | None:
    """A code as a number, or as a word in snake case; 0 for everything that means success."""
    number = fields.integer(value)
    if number is not None:
        return 0 if number == 200 else number
    found = codes.word(value[:100]) if isinstance(value, str) else ""
    return 0 if found in codes.GOOD else found or None


def _first_line(answer: Answer) -> str:
    """The part of a body that helps a person: a page's title and first words, or the first line of text."""
    if 3 * answer.body.count(b"\0") > len(answer.body) > 0:  # UTF-16, UTF-32
        return f"HTTP {answer.status} with a body that is no UTF-8 text"
    text = answer.body[:20_000].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, flags=re.S | re.I)
    bare = re.sub(r"(?is)<(style|script|title|head(?=[ >])).*?</\1>|<!--.*?-->|<[^>]*>", " ", text[:20_000])
    lines = [fields.in_a_line(html.unescape(line)) for line in bare.splitlines()]
    words = [fields.in_a_line(html.unescape(title[1]))] if title else []
    words += (
        [line for line in lines if line and line not in words][: 2 - len(words)]
        if title
        else [line for line in lines if line][:1]
    )
    return ": ".join(filter(None, words))[:200] or f"HTTP {answer.status} with an empty body"
