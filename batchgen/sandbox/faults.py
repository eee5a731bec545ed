"""The faults by name: what each does and when, and the rules for how often.

A rule is written ``NAME=PROBABILITY``, or ``NAME@N`` or ``NAME@N,N,...`` for exactly the Nth request that the fault
applies to, counted per fault from 1. Both depend on the seed and the order of requests alone.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from batchgen.sandbox import replies
from batchgen.sandbox.chance import draw
from batchgen.sandbox.envelope import Document
from batchgen.sandbox.replies import Reply, altered, coded, gateway, html, rewritten


class Moment(Enum):
    """When a fault strikes; the value says which requests that is."""

    ARRIVED = "a create whose body has not been read"
    READ = "a create whose body was read; nothing is made"
    MADE = "a create that has made a task"
    ASKED = "any query"
    FOUND = "a query of a task that exists"
    MOVED = "a query of a task that is past submitted"
    DONE = "a query of a task that succeeded"
    BORN = "a new task"
    FETCHED = "a download of a clip that exists"
    CALLED = "a callback"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``reply`` is None where it isn't an answer but changes a task or a callback."""

    name: str
    moment: Moment
    text: str
    reply: Reply | None = None

    @property
    def made(self) -> bool:
        """Whether the create that it strikes makes a task."""
        return self.moment in (Moment.MADE, Moment.BORN)


def _data(**values: object) -> Reply:
    return altered(lambda document: {**document, "data": {**document["data"], **values}})


def _no_task_id(document: Document) -> Document:
    del document["data"]["task_id"]
    return document


def _wrong_types(document: Document) -> Document:
    data = {
        "task_id": int(document["data"]["task_id"]),
        "task_status": 7,
        "task_info": "none",
        "created_at": "soon",
        "updated_at": None,
        "task_result": ["no"],
    }
    return {"code": "0", "message": ["ok"], "data": data, "request_id": 9}


def _unfinished(status: str) -> Reply:
    def change(document: Document) -> Document:
        data = {key: value for key, value in document["data"].items() if key != "task_result"}
        return {**document, "data": {**data, "task_status": status}}

    return altered(change)


def _url(address: str) -> Reply:
    def change(document: Document) -> Document:
        for video in document["data"]["task_result"]["videos"]:
            video |= {name: address for name in ("url", "watermark_url") if name in video}
        return document

    return altered(change)


_FOREIGN = {"task_id": "1700000000000999999", "task_info": {"external_task_id": "somebody-else"}}
_A, _R, _M = Moment.ARRIVED, Moment.READ, Moment.MADE
_Q, _F, _D, _V = Moment.ASKED, Moment.FOUND, Moment.DONE, Moment.FETCHED

_ALL = (
    # before the body was read
    Fault(
        "body_refused_early",
        _A,
        "413 before the body was read, then the connection is closed",
        replies.early(413, "Request Entity Too Large"),
    ),
    Fault(
        "body_400_early",
        _A,
        "400 before the body was read, then the connection is closed",
        replies.early(400, "Bad Request"),
    ),
    Fault("reset_early", _A, "connection reset before the body was read", replies.RESET),
    Fault("stall_early", _A, "the body is not read until released", replies.STALL),
    # the body was read, nothing is made
    Fault("rate_limited", _R, "1302", coded(1302)),
    Fault("rate_limited_retry_after", _R, "1302 with Retry-After: 1", coded(1302, Retry_After="1")),
    Fault("slots_full", _R, "1303 although slots are free", coded(1303)),
    Fault("internal_before", _R, "5000, nothing made", coded(5000)),
    Fault("unavailable_before", _R, "5001, nothing made", coded(5001)),
    Fault("timeout_before", _R, "5002, nothing made", coded(5002)),
    Fault("reset_before", _R, "connection reset, nothing made", replies.RESET),
    Fault("close_before", _R, "connection closed without an answer, nothing made", replies.CLOSE),
    Fault("stall_before", _R, "no answer and nothing made until released", replies.STALL),
    Fault("html_502_before", _R, "502 as an HTML page, nothing made", html(502, "502 Bad Gateway")),
    Fault("html_403", _R, "403 as an HTML page", html(403, "403 Forbidden")),
    Fault("redirect", _R, "307 to another host", replies.redirect(307)),
    Fault("refuse_policy", _R, "1301, content policy", coded(1301)),
    Fault("refuse_platform", _R, "1300, platform policy", coded(1300)),
    Fault("refuse_parameters", _R, "1201 although the request is good", coded(1201)),
    Fault("auth_failed", _R, "1000 although the key is good", coded(1000)),
    Fault("key_not_yet", _R, "1003, the key is not valid yet", coded(1003)),
    Fault("key_expired", _R, "1004, the key has expired", coded(1004)),
    Fault("account", _R, "1100, account abnormal", coded(1100)),
    Fault("balance", _R, "1101, account in arrears", coded(1101)),
    Fault("pack_empty", _R, "1102, resource pack empty or expired", coded(1102)),
    Fault("no_permission", _R, "1103, no permission", coded(1103)),
    Fault("bad_ip", _R, "1304, address not on the allow list", coded(1304)),
    Fault("wrapped_1303", _R, "HTTP 200 with code 1303", coded(1303, status=200)),
    Fault("wrapped_1101", _R, "HTTP 200 with code 1101", coded(1101, status=200)),
    Fault(
        "gateway_402",
        _R,
        '402 with a gateway\'s {"error": ...}: no balance',
        gateway(402, "insufficient_quota", "insufficient balance"),
    ),
    Fault(
        "gateway_429",
        _R,
        '429 with a gateway\'s {"error": ...}: too fast',
        gateway(429, "rate_limit_exceeded", "rate limit reached"),
    ),
    Fault(
        "gateway_500",
        _R,
        '500 with a gateway\'s {"error": ...}',
        gateway(500, "server_error", "upstream failed"),
    ),
    Fault(
        "unknown_code",
        _R,
        "400 with a code that no document has",
        coded(4711, status=400, message="something new"),
    ),
    # the task is made; its answer is lost or spoilt
    Fault("internal_after", _M, "5000, though the task was made", coded(5000)),
    Fault("unavailable_after", _M, "5001, though the task was made", coded(5001)),
    Fault("timeout_after", _M, "5002, though the task was made", coded(5002)),
    Fault("reset_after", _M, "made, then connection reset", replies.RESET),
    Fault("close_after", _M, "made, then connection closed without an answer", replies.CLOSE),
    Fault("stall_after", _M, "made, no answer until released", replies.STALL),
    Fault("html_502_after", _M, "made, answered with a 502 HTML page", html(502, "502 Bad Gateway")),
    Fault("html_200_after", _M, "made, answered with a 200 HTML page", html(200, "Welcome")),
    Fault(
        "gateway_500_after",
        _M,
        'made, answered with a gateway\'s {"error": ...} and 500',
        gateway(500, "server_error", "upstream failed"),
    ),
    Fault("empty_after", _M, "made, answered with an empty 200", rewritten(lambda body: b"")),
    Fault(
        "garbage_after", _M, "made, answered with broken JSON", rewritten(lambda body: body[: len(body) // 2])
    ),
    Fault("half_answer_after", _M, "made, the answer ends before its Content-Length", replies.HALF),
    Fault(
        "bad_utf8_after",
        _M,
        "made, the answer's message is not UTF-8",
        rewritten(lambda body: body.replace(b"SUCCEED", b"\xff\xfe")),
    ),
    Fault("no_task_id", _M, "made, the answer has no task id", altered(_no_task_id)),
    Fault("empty_task_id_after", _M, "made, the answer's task id is empty", _data(task_id="")),
    Fault("task_id_traversal_after", _M, "made, the answer's task id is ../../x", _data(task_id="../../x")),
    Fault("wrong_types_after", _M, "made, the answer's fields have wrong types", altered(_wrong_types, None)),
    Fault(
        "list_answer_after",
        _M,
        "made, the answer is a JSON array",
        rewritten(lambda body: b"[" + body + b"]"),
    ),
    Fault(
        "foreign_external_id_after",
        _M,
        "made, answered with somebody else's task and external id",
        _data(**_FOREIGN),
    ),
    Fault("slow_answer", _M, "made, the good answer drips byte by byte", replies.SLOW),
    Fault("huge_answer", _M, "made, the answer never ends", replies.ENDLESS),
    Fault("gzip_bomb", _M, "made, the good answer behind 64 MiB of packed blanks", replies.BOMB),
    # tasks
    Fault("task_fails", Moment.BORN, "the task ends failed: risk control refused the result"),
    Fault("task_fails_balance", Moment.BORN, "the task ends failed for want of a balance"),
    Fault("task_fails_outage", Moment.BORN, "the task ends failed for an outage"),
    Fault("task_cancelled", Moment.BORN, "the task ends failed, since somebody cancelled it"),
    Fault("task_fails_unsaid", Moment.BORN, "the task ends failed, and nobody says why"),
    Fault("task_never_ends", Moment.BORN, "the task runs for ever"),
    # tasks whose clip is at a host of its own kind
    Fault(
        "clip_late",
        Moment.BORN,
        "for two seconds after the task's end, its clip's host answers 404, 403, 410 or 503",
    ),
    Fault(
        "clip_signed",
        Moment.BORN,
        "the clip's address is signed over its exact bytes and soon expires; each answer has a new one",
    ),
    Fault("clip_redirect", Moment.BORN, "the clip's address leads to a signed one on another host"),
    Fault("clip_key", Moment.BORN, "the clip's host wants the API's key"),
    Fault(
        "clip_breaks",
        Moment.BORN,
        "the clip's downloads break off, and can be gone on with at a new signed address",
    ),
    Fault("clip_packed", Moment.BORN, "the clip's host packs it with gzip, though nobody asks for that"),
    Fault("clip_tail", Moment.BORN, "three stray bytes follow the clip's last box"),
    Fault("clip_odd", Moment.BORN, "the clip's last box is shorter than it says"),
    Fault("clip_several", Moment.BORN, "the result has two files, after an empty entry"),
    Fault("clip_watermark", Moment.BORN, "the result has no url, but a watermark_url"),
    Fault("clip_relative", Moment.BORN, "the clip's address is relative, or ends with a line break"),
    # queries
    Fault("query_500", _Q, "5000", coded(5000)),
    Fault("query_503", _Q, "5001", coded(5001)),
    Fault("query_1302", _Q, "1302", coded(1302)),
    Fault("query_key_expired", _Q, "1004, the key has expired", coded(1004)),
    Fault(
        "query_gateway_429",
        _Q,
        '429 with a gateway\'s {"error": ...}',
        gateway(429, "rate_limit_exceeded", "rate limit reached"),
    ),
    Fault("query_reset", _Q, "connection reset", replies.RESET),
    Fault("query_html", _Q, "502 as an HTML page", html(502, "502 Bad Gateway")),
    Fault("query_html_404", _Q, "404 as an HTML page: says nothing about a task", html(404, "404 Not Found")),
    Fault("query_stall", _Q, "no answer until released", replies.STALL),
    Fault("query_redirect", _Q, "302 to another host", replies.redirect(302)),
    Fault("query_not_found", _F, "1203 for a task that exists", coded(1203)),
    Fault("query_garbage", _F, "broken JSON", rewritten(lambda body: body[: len(body) // 2])),
    Fault("query_half", _F, "the answer ends before its Content-Length", replies.HALF),
    Fault("query_huge", _F, "the answer never ends", replies.ENDLESS),
    Fault("query_wrong_types", _F, "fields have wrong types", altered(_wrong_types, None)),
    Fault("query_foreign", _F, "somebody else's task", _data(**_FOREIGN)),
    Fault("query_unknown_status", _F, "a status that no document has", _unfinished("queueing")),
    Fault("query_backwards", Moment.MOVED, "submitted again", _unfinished("submitted")),
    Fault("query_succeeded", _D, "the newer word: succeeded", _data(task_status="succeeded")),
    Fault("query_no_video", _D, "succeed, without a result", _unfinished("succeed")),
    Fault("video_bad_scheme", _D, "the clip's URL is file:///etc/passwd", _url("file:///etc/passwd")),
    Fault("video_foreign_host", _D, "the clip's URL is on another host, which serves it", replies.MOVED_CLIP),
    # downloads
    Fault("video_404", _V, "404", html(404, "404 Not Found")),
    Fault("video_403", _V, "403, as for an expired link", html(403, "403 Forbidden")),
    Fault("video_500", _V, "500", html(500, "500 Internal Server Error")),
    Fault("video_short", _V, "ends before its Content-Length", replies.HALF),
    Fault(
        "video_truncated",
        _V,
        "a complete answer with half of the clip",
        replies.content(lambda clip: clip[: len(clip) // 2]),
    ),
    Fault("video_empty", _V, "a complete answer of 0 bytes", replies.content(lambda clip: b"")),
    Fault("video_html", _V, "200 with an HTML page", html(200, "Sign in")),
    Fault("video_stall", _V, "stops halfway until released, then closes", replies.HALF_THEN_HOLD),
    Fault("video_reset", _V, "connection reset halfway", replies.HALF_THEN_RESET),
    Fault("video_redirect", _V, "302 to another host, which serves it", replies.redirect(302)),
    Fault("video_endless", _V, "never ends", replies.ENDLESS),
    # callbacks
    Fault("callback_lost", Moment.CALLED, "is not sent"),
    Fault("callback_twice", Moment.CALLED, "is sent twice"),
    Fault("callback_late", Moment.CALLED, "is sent a minute late"),
    Fault("callback_after_next", Moment.CALLED, "is sent after the next one of its task"),
    Fault("callback_untrue", Moment.CALLED, "says that the task has succeeded, which it may not have"),
    Fault("callback_forged", Moment.CALLED, "is signed with another secret, or not at all"),
    Fault("callback_expired", Moment.CALLED, "was signed ten minutes ago"),
    Fault("callback_huge", Moment.CALLED, "its body is a gigabyte"),
    Fault("callback_stall", Moment.CALLED, "its body stops halfway, for a minute"),
)
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
HOSTS = tuple(name for name in FAULTS if name.startswith("clip_"))


@dataclass(frozen=True, slots=True)
class Rule:
    """How often a fault strikes: with ``probability``, or exactly at ``turns``."""

    fault: Fault
    probability: float = 0.0
    turns: frozenset[int] = frozenset()


def parse(text: str) -> Rule:
    """The rule in ``NAME=PROBABILITY`` or ``NAME@N[,N...]``; raises ValueError with the reason."""
    sign = "=" if "=" in text else "@"
    name, found, value = (part.strip() for part in text.partition(sign))
    if not found:
        raise ValueError(f"{text!r}: write NAME=PROBABILITY or NAME@N")
    if name not in FAULTS:
        near = difflib.get_close_matches(name, FAULTS, 1)
        raise ValueError(f"no fault is named {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        if sign == "=" and 0 <= (probability := float(value)) <= 1:
            return Rule(FAULTS[name], probability=probability)
        if sign == "@" and min(turns := {int(turn) for turn in value.split(",")}) >= 1:
            return Rule(FAULTS[name], turns=frozenset(turns))
    except ValueError:
        pass
    wanted = "a probability from 0 to 1" if sign == "=" else "counts from 1, separated by commas"
    raise ValueError(f"{text!r}: {value!r} must be {wanted}")


class Dice:
    """Decides which fault strikes a request. Each fault counts the requests that it applies to."""

    def __init__(self, seed: int, rules: Iterable[Rule] = ()) -> None:
        self._seed = seed
        self._counts: dict[str, int] = defaultdict(int)
        self._rules: dict[Moment, list[Rule]] = defaultdict(list)
        for rule in rules:
            self.add(rule)

    def add(self, rule: Rule) -> None:
        """Add a rule; its fault's requests are counted anew from here on."""
        self._rules[rule.fault.moment].append(rule)
        self._counts[rule.fault.name] = 0

    def clear(self) -> None:
        self._rules.clear()

    def strike(self, *moments: Moment) -> Fault | None:
        """The first fault, in the order of the rules, that strikes a request at one of its ``moments``."""
        struck = None
        for moment in moments:
            if moment not in self._rules:
                continue
            names = dict.fromkeys(rule.fault.name for rule in self._rules[moment])
            for name in names:
                self._counts[name] += 1
            for rule in self._rules[moment]:
                if struck is None and self._hits(rule, self._counts[rule.fault.name]):
                    struck = rule.fault
        return struck

    def _hits(self, rule: Rule, turn: int) -> bool:
        if rule.turns:
            return turn in rule.turns
        return draw(self._seed, rule.fault.name, turn) < rule.probability
