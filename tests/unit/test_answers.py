"""Reading the API's answers: what each code, wrapped or not, means for a create and for a query."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.api.codes import CODES
from batchgen.api.responses import Accepted, Answer, read_create, read_query
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


def answer(body: Any, status: int = 200, **more: Any) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, raw, **more)


def accepted(**data: Any) -> dict[str, Any]:
    task: dict[str, Any] = {
        "task_id": "T1",
        "task_status": "submitted",
        "task_info": {"external_task_id": "e1"},
    }
    return {"code": 0, "message": "ok", "request_id": "R1", "data": {**task, **data}}


def create_error(reply: Answer) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_create(reply, "e1")
    return caught.value


def test_an_accepted_create_gives_its_task_id() -> None:
    assert read_create(answer(accepted()), "e1") == Accepted("T1", "R1")
    assert read_create(answer(accepted(task_info=None)), "e1") == Accepted("T1", "R1")


# The table of the API's codes, written again by hand: the code's own table is held to it.
MEANINGS: dict[type[ApiError], set[int]] = {
    AccountStop: {1000, 1001, 1002, 1003, 1004, 1100, 1101, 1102, 1103, 1304},
    Refused: {1200, 1201, 1202, 1203, 1300, 1301},
    Throttled: {1302},
    SlotsFull: {1303},
    MaybeAccepted: {5000, 5001, 5002},
}


def test_the_code_table_is_the_platforms() -> None:
    assert {code: kind for kind, codes in MEANINGS.items() for code in codes} == {
        code: meaning.error for code, meaning in CODES.items()
    }


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in error"])
def test_a_known_code_decides_whatever_the_status_and_the_wrapping(
    code: int, status: int, wrapped: bool
) -> None:
    inner = {"code": code, "message": "why", "request_id": "R9"}
    error = create_error(answer({"error": inner} if wrapped else inner, status))
    assert type(error) is CODES[code].error
    assert (error.code, error.request_id) == (code, "R9")
    assert "why" in str(error)


@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        pytest.param(
            answer({"error": {"message": "no money"}}, 402), AccountStop, "no money", id="402 gateway"
        ),
        pytest.param(
            answer({"error": {"message": "who?", "code": "bad_key"}}, 401), AccountStop, "who?", id="401"
        ),
        pytest.param(answer({"error": "slow down"}, 429, retry_after="7"), Throttled, "slow down", id="429"),
        pytest.param(
            answer(b"<html><h1>403 Forbidden</h1></html>", 403), AccountStop, "403 Forbidden", id="403 HTML"
        ),
        pytest.param(answer(b"<html><h1>Not here</h1></html>", 404), UnknownCode, "Not here", id="404 HTML"),
        pytest.param(answer(b"too large", 413), Refused, "too large", id="413"),
        pytest.param(answer(b"<h1>Bad Gateway</h1>", 502), MaybeAccepted, "Bad Gateway", id="502 HTML"),
        pytest.param(answer(b"", 500), MaybeAccepted, "HTTP 500 with an empty body", id="500 empty"),
        pytest.param(answer(b"", 408), MaybeAccepted, "empty body", id="408"),
        pytest.param(answer({"code": 1399, "message": "odd"}), UnknownCode, "odd", id="unknown code"),
        pytest.param(
            answer({"code": 1399, "message": "odd"}, 500), MaybeAccepted, "odd", id="unknown code, 500"
        ),
        pytest.param(answer({"code": 7777, "message": "odd"}), MaybeAccepted, "odd", id="code of no family"),
        pytest.param(answer({"code": -1, "message": "odd"}), MaybeAccepted, "odd", id="negative code"),
        pytest.param(
            answer({"code": 504, "message": "late"}), MaybeAccepted, "late", id="status 504 as code"
        ),
        pytest.param(
            answer({"code": 500, "message": "oops"}), MaybeAccepted, "oops", id="status 500 as code"
        ),
        pytest.param(
            answer({"error": {"code": 402, "message": "pay"}}), AccountStop, "pay", id="status 402 as code"
        ),
        pytest.param(answer({"code": 5999}), MaybeAccepted, "5999", id="unknown 5xxx"),
        pytest.param(answer(b"{}"), MaybeAccepted, "can't be read", id="200 without a code"),
        pytest.param(answer(b"\xff\xfe{"), MaybeAccepted, "can't be read", id="not UTF-8"),
        pytest.param(answer(b"[" * 100_000), MaybeAccepted, "can't be read", id="nested without end"),
        pytest.param(answer(accepted(), complete=False), MaybeAccepted, "", id="cut off"),
        pytest.param(answer(accepted(), 500), MaybeAccepted, "ok", id="success with a 500"),
        pytest.param(
            answer(accepted(task_id="")), MaybeAccepted, "without a usable task id", id="empty task id"
        ),
        pytest.param(
            answer(accepted(task_id=None)), MaybeAccepted, "without a usable task id", id="no task id"
        ),
        pytest.param(
            answer(accepted(task_id="../x")), MaybeAccepted, "without a usable task id", id="path as id"
        ),
        pytest.param(
            answer(accepted(task_id=["T"])), MaybeAccepted, "without a usable task id", id="list as id"
        ),
        pytest.param(
            answer(accepted(task_info={"external_task_id": "e2"})),
            MaybeAccepted,
            "somebody else's",
            id="foreign",
        ),
        pytest.param(
            answer(b"", 307, location="https://elsewhere/"),
            MaybeAccepted,
            "followed; is --base-url right?",
            id="redirect",
        ),
    ],
)
def test_every_other_answer_to_a_create_has_its_meaning(
    reply: Answer, kind: type[ApiError], says: str
) -> None:
    error = create_error(reply)
    assert type(error) is kind
    assert says in str(error)


@pytest.mark.parametrize("status", [401, 403])
def test_a_page_that_refuses_doesnt_blame_the_key_alone(status: int) -> None:
    page = create_error(answer(b"\n<html><title>Access denied</title></html>", status))
    assert (type(page), page.kind) == (AccountStop, "blocked")
    assert "firewall" in page.advice and "--base-url" in page.advice
    assert create_error(answer({"detail": "Forbidden"}, status)).kind in ("key", "permission")


def test_a_number_as_task_id_is_taken_as_text() -> None:
    assert read_create(answer(accepted(task_id=987654321012345678)), "e1").task_id == "987654321012345678"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("99999", 3600.0),
        ("soon", None),
        ("-7", None),
        (None, None),
        ("Wed, 15 Nov 2023 00:00:30 GMT", 30.0),
        ("Wed, 15 Nov 2023 02:00:30 +0200", 30.0),
        ("Tue, 14 Nov 2023 00:00:00 GMT", 0.0),
        ("Wed, 15 Nov 2028 00:00:30 GMT", 3600.0),
        ("Wed, 15 Nov 99999 00:00:30 GMT", None),
        ("Wed, 35 Nov 2023 00:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_its_forms_and_bounded(header: str | None, seconds: float | None) -> None:
    reply = answer({"code": 1302}, 429, retry_after=header, date=1_700_006_400.0)
    assert create_error(reply).retry_after == seconds


def task(status: str, **data: Any) -> Answer:
    return answer(accepted(task_status=status, created_at=1_700_000_000_000, **data))


def test_a_query_reads_what_the_api_says_of_a_task() -> None:
    view = read_query(
        task(
            "succeed",
            updated_at=1_700_000_060_000,
            final_unit_deduction="3.5",
            final_balance_deduction={"quota": "0.49", "list_price": 0.7, "more": "x"},
            task_result={"videos": [{"id": "v", "url": "https://cdn/v.mp4", "duration": "5"}]},
        ),
        "T1",
    )
    assert (view.status, view.video_url, view.units_charged) == ("succeed", "https://cdn/v.mp4", "3.5")
    assert view.balance == '{"list_price": 0.7, "quota": "0.49"}'
    assert (view.created_at, view.updated_at) == (1_700_000_000.0, 1_700_000_060.0)


def test_the_other_word_for_success_and_unknown_words_are_read() -> None:
    assert read_query(task("succeeded"), "e1").status == "succeed"
    assert (read_query(task("dreaming"), "T1").status, read_query(task("dreaming"), "T1").raw_status) == (
        None,
        "dreaming",
    )


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/x", "javascript:1", "", 7, None, "http://", "https://[::1"]
)
def test_a_video_url_of_another_scheme_is_no_url(url: object) -> None:
    assert read_query(task("succeed", task_result={"videos": [{"url": url}]}), "T1").video_url is None


@pytest.mark.parametrize("videos", [None, {}, [], [None], "x", [[]]])
def test_a_result_of_the_wrong_shape_has_no_url(videos: object) -> None:
    assert read_query(task("succeed", task_result={"videos": videos}), "T1").video_url is None


def test_a_query_tells_not_found_from_trouble() -> None:
    with pytest.raises(NotFound):
        read_query(answer({"code": 1203, "message": "task not found"}, 404), "e1")
    for reply, kind in [
        (answer(b"<h1>404</h1>", 404), ApiError),
        (answer({"code": 5000}, 500), ApiError),
        (answer({"code": 1002}, 401), AccountStop),
        (answer({"code": 1302}, 429), Throttled),
    ]:
        with pytest.raises(ApiError) as caught:
            read_query(reply, "e1")
        assert type(caught.value) is kind


def test_an_answer_about_another_task_is_not_believed() -> None:
    with pytest.raises(ApiError, match="answered for"):
        read_query(task("succeed"), "T2")


@given(st.binary(max_size=300), st.integers(100, 599))
def test_no_bytes_get_anything_but_a_judgement_out(body: bytes, status: int) -> None:
    for read in (read_create, read_query):
        try:
            read(Answer(status, body), "e1")
        except ApiError as error:
            assert str(error)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = ["code", "message", "request_id", "data", "error"]
_DATA = [
    "task_id",
    "task_status",
    "task_info",
    "task_result",
    "created_at",
    "updated_at",
    "final_unit_deduction",
]


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(_FIELDS, _JSON)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(_DATA, _JSON)),
    st.booleans(),
)
def test_wrong_types_in_any_field_never_break_the_reading(
    envelope: dict[str, Any], data: dict[str, Any], good: bool
) -> None:
    document = {**envelope, **({"code": 0, "data": data} if good else {})}
    for read in (read_create, read_query):
        try:
            result = read(answer(document), "e1")
        except ApiError as error:
            assert str(error)
        else:
            assert result.task_id


# -- gateways: their words, their shapes, their denials -------------------------------------------------------------

# What gateways certainly turned away before the upstream was called, in the spellings that are seen.
GATEWAY_WORDS = [
    ("token_invalid", AccountStop, "key"),
    ("invalid_api_key", AccountStop, "key"),
    ("InvalidApiKey", AccountStop, "key"),
    ("access_denied", AccountStop, "permission"),
    ("AccessDenied", AccountStop, "permission"),
    ("insufficient_user_quota", AccountStop, "balance"),
    ("insufficient_quota", AccountStop, "balance"),
    ("quota_not_enough", AccountStop, "balance"),
    ("pre_consume_token_quota_failed", AccountStop, "balance"),
    ("Arrearage", AccountStop, "balance"),
    ("model_not_found", UnknownCode, "unavailable"),
    ("get_channel_failed", UnknownCode, "unavailable"),
    ("channel:no_available_key", UnknownCode, "unavailable"),
    ("invalid_request", Refused, "parameters"),
    ("bad_request_body", Refused, "parameters"),
    ("sensitive_words_detected", Refused, "policy"),
    ("rate_limit_exceeded", Throttled, "speed"),
]
SHAPES: dict[str, Callable[[str, str], Any]] = {
    "in error": lambda word, said: {"error": {"message": said, "type": "new_api_error", "code": word}},
    "as type": lambda word, said: {"error": {"message": said, "type": word, "code": None}},
    "at the top": lambda word, said: {"code": word, "message": said, "data": None},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize(("word", "kind", "cause"), GATEWAY_WORDS)
def test_a_gateways_word_decides_at_any_status(
    shape: Any, status: int, word: str, kind: type[ApiError], cause: str
) -> None:
    error = create_error(answer(shape(word, "as it says"), status))
    assert (type(error), error.kind) == (kind, cause)
    assert "as it says" in str(error)
    assert bool(error.advice) == (kind not in (Refused, Throttled))


@pytest.mark.parametrize(
    ("said", "status", "kind", "cause"),
    [
        (
            "No available channel for model kling-v3 under group default (distributor)",
            503,
            UnknownCode,
            "unavailable",
        ),
        (
            "当前分组 default 下对于模型 kling-v3 无可用渠道 (request id: 20251215)",
            503,
            UnknownCode,
            "unavailable",
        ),
        ("user quota is not enough", 403, AccountStop, "balance"),
        (
            "User's credit limit is insufficient, remaining credit limit: $0.000000",
            403,
            AccountStop,
            "balance",
        ),
        ("用户额度不足, 剩余额度: ＄0.00", 403, AccountStop, "balance"),
        ("Account balance not enough", 429, AccountStop, "balance"),
        ("无效的令牌 (request id: 2025)", 401, AccountStop, "key"),
        ("Invalid token", 500, AccountStop, "key"),
        ("Invalid token '<' in JSON at position 7", 400, Refused, "parameters"),
        ("parallel task over resource pack limit", 400, SlotsFull, "slots"),
        ("Invalid URL (POST /kling/v1/videos/image2video)", 404, AccountStop, "endpoint"),
        ("image: Invalid URL (no host)", 400, Refused, "parameters"),
    ],
)
def test_a_message_decides_where_no_word_does(
    said: str, status: int, kind: type[ApiError], cause: str
) -> None:
    error = create_error(answer({"error": {"message": said, "type": "one_api_error"}}, status))
    assert (type(error), error.kind) == (kind, cause)


@pytest.mark.parametrize(
    "word",
    [
        "do_request_failed",
        "fail_to_fetch_task",
        "read_response_body_failed",
        "bad_response_status_code",
        "server_error",
        "upstream_error",
        "internal_error",
        "timeout",
        "unmarshal_response_failed",
        "task_failed",
    ],
)
def test_a_word_that_may_come_after_the_task_was_made_leaves_it_open(word: str) -> None:
    for shape in SHAPES.values():
        assert type(create_error(answer(shape(word, "oops"), 500))) is MaybeAccepted


@pytest.mark.parametrize("status", [200, 402, 500])
def test_no_word_refuses_what_names_a_task(status: int) -> None:
    body = {"id": "T9", "error": {"code": "insufficient_user_quota", "message": "x"}}
    assert type(create_error(answer(body, status))) is MaybeAccepted


@pytest.mark.parametrize("code", [c for c in CODES if c != 1203])
def test_what_the_vendor_said_counts_where_a_gateway_wraps_it_in_its_message(code: int) -> None:
    said = json.dumps({"code": code, "message": "upstream", "request_id": "R7"})
    error = create_error(answer({"code": "fail_to_fetch_task", "message": said, "data": None}, 429))
    assert (type(error), error.code, error.request_id) == (CODES[code].error, code, "R7")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (
            answer(
                b"<html><head><title>Back soon</title></head><body><h1>We&#39;re fixing it</h1></body></html>"
            ),
            "Back soon: We're fixing it",
        ),
        (
            answer(b"<!doctype html>\n<title>Just a moment...</title>\n<script>x()</script>"),
            "Just a moment...",
        ),
        (answer(b"\n\nService paused until 06:00\nbye"), "Service paused until 06:00"),
        (answer({"status": "maintenance", "id": "req-1", "message": "back at six"}), "back at six"),
        (answer({"status": "ok"}), "ok"),
        (answer([]), "[]"),
        (answer({"maintenance": True}), "maintenance"),
    ],
)
def test_a_page_is_no_answer_of_the_api_and_is_shown(reply: Answer, says: str) -> None:
    error = create_error(reply)
    assert (type(error), error.kind) == (MaybeAccepted, "page")
    assert says in str(error)
    with pytest.raises(ApiError) as caught:
        read_query(reply, "e1")
    assert (type(caught.value), caught.value.kind) == (ApiError, "page")


def test_a_page_with_a_status_of_the_jobs_fault_refuses_no_job() -> None:
    error = create_error(answer(b"<h1>400 The plain HTTP request was sent to HTTPS port</h1>", 400))
    assert (type(error), error.kind) == (UnknownCode, "page")


CREATED: list[dict[str, Any]] = [
    {"code": "success", "data": {"task_id": "T1"}},
    {"code": "SUCCESS", "message": "", "data": {"task_id": "T1", "status": "queued"}},
    {"code": "0", "data": {"task_id": "T1"}},
    {"code": "200", "data": {"id": "T1"}},
    {"code": 200, "message": "ok", "data": {"id": "T1", "status": "submitted"}},
    {"task_id": "T1"},
    {"task_id": "T1", "status": "queued", "error": None, "metadata": {}},
    {"id": "T1", "object": "video", "status": "queued", "progress": 0},
    {"data": {"task_id": "T1", "status": "SUBMITTED"}},
]


@pytest.mark.parametrize("body", CREATED)
def test_a_gateways_good_answer_to_a_create_gives_its_task_id(body: dict[str, Any]) -> None:
    assert read_create(answer(body), "e1").task_id == "T1"


SUCCEEDED: list[dict[str, Any]] = [
    {
        "code": "success",
        "data": {"task_id": "T1", "status": "SUCCESS", "url": "https://c/v.mp4", "error": None},
    },
    {
        "code": "success",
        "data": {
            "id": 17,
            "task_id": "T1",
            "status": "SUCCESS",
            "fail_reason": "https://c/v.mp4",
            "data": {"code": 0, "data": {"task_id": "up", "task_status": "succeed"}},
        },
    },
    {
        "code": "success",
        "data": {
            "task_id": "T1",
            "status": "SUCCESS",
            "data": {
                "code": 0,
                "data": {"task_id": "up", "task_result": {"videos": [{"url": "https://c/v.mp4"}]}},
            },
        },
    },
    {"task_id": "T1", "status": "succeeded", "metadata": {"url": "https://c/v.mp4"}, "error": None},
    {
        "id": "T1",
        "object": "video",
        "status": "completed",
        "progress": 100,
        "metadata": {"url": "https://c/v.mp4"},
    },
    {
        "code": 0,
        "data": {
            "task_id": "T1",
            "task_status": "Completed",
            "task_result": {"videos": [{"url": "https://c/v.mp4"}]},
        },
    },
    {"code": 0, "data": {"task_id": "T1", "task_status": "Done", "video_url": "https://c/v.mp4"}},
]


@pytest.mark.parametrize("body", SUCCEEDED)
def test_an_end_with_a_clip_is_read_in_every_shape(body: dict[str, Any]) -> None:
    view = read_query(answer(body), "T1")
    assert (view.task_id, view.status, view.video_url) == ("T1", "succeed", "https://c/v.mp4")


FAILED: list[dict[str, Any]] = [
    {"code": "success", "data": {"task_id": "T1", "status": "FAILURE", "fail_reason": "risk control"}},
    {"task_id": "T1", "status": "failed", "error": {"code": "1301", "message": "risk control"}},
    {"id": "T1", "status": "Failed", "progress": 40, "error": {"message": "risk control"}},
    {"task_id": "T1", "status": "cancelled", "error": "risk control"},
    {"code": 0, "data": {"task_id": "T1", "task_status": "Expired", "task_status_msg": "risk control"}},
]


@pytest.mark.parametrize("body", FAILED)
def test_an_end_without_a_clip_is_read_in_every_shape_with_its_reason(body: dict[str, Any]) -> None:
    view = read_query(answer(body), "T1")
    assert (view.status, view.message) == ("failed", "risk control")


# The words that are seen, in the spellings that are seen.
WORDS_FOR = {
    "submitted": ["submitted", "SUBMITTED", "queued", "Queued", "pending", "NOT_START", "in queue"],
    "processing": [
        "processing",
        "in_progress",
        "IN_PROGRESS",
        "inProgress",
        "In Progress",
        "running",
        "generating",
    ],
    "succeed": ["succeed", "SUCCEED", "Succeed", "succeeded", "success", "completed", "complete", "finished"],
    "failed": ["failed", "FAILED", "fail", "failure", "error", "canceled", "Cancelled", "expired", "timeout"],
    None: ["dreaming", "", "unknown", "7"],
}


@pytest.mark.parametrize(
    ("status", "raw"), [(status, raw) for status, words in WORDS_FOR.items() for raw in words]
)
def test_a_tasks_status_is_known_by_its_word_in_any_case(status: str | None, raw: str) -> None:
    view = read_query(task(raw), "T1")
    assert (view.status, view.raw_status) == (status, raw)


def test_an_address_ends_no_task_that_is_said_to_run() -> None:
    videos = {"videos": [{"url": "https://c/v.mp4"}]}
    assert read_query(task("processing", task_result=videos), "T1").status == "processing"
    assert read_query(task("dreaming"), "T1").status is None
    view = read_query(task("dreaming", task_result=videos), "T1")
    assert (view.status, bool(view.video_url)) == (None, True)  # the follower waits whether it stays so


@pytest.mark.parametrize("body", [*SUCCEEDED, *FAILED, accepted(task_status="processing")])
def test_in_no_shape_an_answer_is_taken_for_another_tasks(body: dict[str, Any]) -> None:
    said = json.loads(json.dumps(body))
    inner = said.get("data", said)
    inner["task_info"] = {"external_task_id": "e1"}
    assert read_query(answer(said), "e1").task_id == "T1"
    for other in ("T2", "e2", "up", "17x"):
        with pytest.raises(ApiError, match="answered for"):
            read_query(answer(said), other)


DENIALS = [
    (404, {"code": 1203, "message": "the requested resource does not exist"}),
    (200, {"code": 1203}),
    (404, {"error": {"message": "task not found"}}),
    (400, {"error": {"message": "Task 'e1' not found.", "type": "invalid_request_error"}}),
    (400, {"code": "task_not_exist", "message": "task_not_exist", "data": None}),
    (404, {"error": {"code": "task_not_found", "message": "gone or never there"}}),
    (404, {"error": {"message": "The requested task does not exist (request id: 2025x)"}}),
    (404, {"code": 404, "message": "Task not found", "data": None}),
    (404, {"error": "no such task"}),
    (404, {"detail": "x", "error": {"message": "任务不存在"}}),
]


@pytest.mark.parametrize(("status", "body"), DENIALS)
def test_no_such_task_is_heard_in_each_of_its_forms(status: int, body: Any) -> None:
    with pytest.raises(NotFound):
        read_query(answer(body, status), "e1")


NO_DENIALS = [
    (404, b"<html><h1>task not found</h1></html>"),
    (404, b"404 page not found"),
    (404, b"task not found"),
    (404, {"detail": "Not Found"}),
    (404, {"error": {"message": "Invalid URL (GET /kling/v1/videos/image2video/e1)"}}),
    (404, {"error": {"message": "route not found"}}),
    (404, {"status": 404, "error": "Not Found", "path": "/kling/v1/videos/image2video/e1"}),
    (404, {"error": {"message": "not found"}}),
    (404, {"error": {"message": "video not found"}}),
    (404, {"error": {"message": "task result not found"}}),
    (404, {"error": {"message": "The model of this task was not found", "code": "task_not_found"}}),
    (400, {"error": {"message": "the channel of the task does not exist"}}),
    (404, {"code": 1203, "message": "the requested model does not exist"}),
    (404, {"error": {"message": "user not found"}}),
    (404, {"error": {"message": "token not found", "code": "token_not_found"}}),
    (404, {"error": {"code": "model_not_found", "message": "no such model"}}),
    (500, {"error": {"message": "task not found"}}),
    (503, {"code": "get_task_failed", "message": "task not found"}),
    (200, {"code": 500, "message": "task not found"}),
    (200, {"code": "success", "message": "task not found"}),
    (200, {"code": "success", "data": None}),
    (410, {"error": {"message": "task not found"}}),
    (404, {"error": {"message": "task not found: upstream timed out"}}),
    (404, {"error": {"message": "task e10 not found"}}),
]


@pytest.mark.parametrize(("status", "body"), NO_DENIALS)
def test_what_misses_anything_but_the_task_denies_nothing(status: int, body: Any) -> None:
    with pytest.raises(ApiError) as caught:
        read_query(answer(body, status), "e1")
    assert not isinstance(caught.value, NotFound)


_SPOKEN = st.sampled_from(
    [
        "success",
        "task_not_exist",
        "insufficient_user_quota",
        "1102",
        0,
        200,
        404,
        1303,
        None,
        "T1",
        "e1",
        "failed",
        "task not found",
        "https://c/v.mp4",
        {"message": "no available channel"},
        {"url": "https://c/v.mp4"},
    ]
)
_NAMES = (
    "code",
    "message",
    "error",
    "data",
    "task_id",
    "id",
    "status",
    "metadata",
    "url",
    "type",
    "request_id",
)


@given(
    st.dictionaries(
        st.sampled_from(_NAMES), st.one_of(_SPOKEN, st.dictionaries(st.sampled_from(_NAMES), _SPOKEN))
    ),
    st.sampled_from([200, 201, 400, 401, 404, 429, 500, 503]),
)
def test_no_mixture_of_shapes_is_an_acceptance_without_an_id_or_a_denial_of_a_task_it_names(
    body: dict[str, Any], status: int
) -> None:
    try:
        made = read_create(answer(body, status), "e1")
    except ApiError as error:
        assert str(error)
    else:
        assert status < 400
        assert made.task_id in json.dumps(body)
    try:
        view = read_query(answer(body, status), "e1")
    except NotFound:
        assert (
            "T1" not in json.dumps(body.get("data", {}))
            or status >= 400
            or body.get("code") not in (0, "success")
        )
    except ApiError as error:
        assert str(error)
    else:
        assert status < 400
        assert view.task_id
