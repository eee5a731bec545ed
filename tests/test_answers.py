"""Reading the API's answers: what each code, wrapped or not, means for a create and for a query."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.answers import CODES, Accepted, Answer, read_create, read_query
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


# The table of PLATFORM.md, written again by hand: the code's own table is held to it.
MEANINGS: dict[type[ApiError], set[int]] = {
    AccountStop: {1000, 1001, 1002, 1003, 1004, 1100, 1101, 1102, 1103, 1304},
    Refused: {1200, 1201, 1202, 1203, 1300, 1301},
    Throttled: {1302},
    SlotsFull: {1303},
    MaybeAccepted: {5000, 5001, 5002},
}


def test_the_code_table_is_the_platforms() -> None:
    assert {code: kind for kind, codes in MEANINGS.items() for code in codes} == {
        code: kind for code, (kind, _) in CODES.items()
    }


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in error"])
def test_a_known_code_decides_whatever_the_status_and_the_wrapping(
    code: int, status: int, wrapped: bool
) -> None:
    inner = {"code": code, "message": "why", "request_id": "R9"}
    error = create_error(answer({"error": inner} if wrapped else inner, status))
    assert type(error) is CODES[code][0]
    assert (error.code, error.request_id) == (code, "R9")
    assert "why" in str(error)


@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        pytest.param(answer({"error": {"message": "no money"}}, 402), AccountStop, "no money", id="402 gateway"),
        pytest.param(answer({"error": {"message": "who?", "code": "bad_key"}}, 401), AccountStop, "who?", id="401"),
        pytest.param(answer({"error": "slow down"}, 429, retry_after="7"), Throttled, "slow down", id="429"),
        pytest.param(answer(b"<html><h1>403 Forbidden</h1></html>", 403), AccountStop, "403 Forbidden", id="403 HTML"),
        pytest.param(answer(b"<html><h1>Not here</h1></html>", 404), UnknownCode, "Not here", id="404 HTML"),
        pytest.param(answer(b"too large", 413), Refused, "too large", id="413"),
        pytest.param(answer(b"<h1>Bad Gateway</h1>", 502), MaybeAccepted, "Bad Gateway", id="502 HTML"),
        pytest.param(answer(b"", 500), MaybeAccepted, "HTTP 500 with an empty body", id="500 empty"),
        pytest.param(answer(b"", 408), MaybeAccepted, "empty body", id="408"),
        pytest.param(answer({"code": 1399, "message": "odd"}), UnknownCode, "odd", id="unknown code"),
        pytest.param(answer({"code": 1399, "message": "odd"}, 500), MaybeAccepted, "odd", id="unknown code, 500"),
        pytest.param(answer({"code": 7777, "message": "odd"}), MaybeAccepted, "odd", id="code of no family"),
        pytest.param(answer({"code": -1, "message": "odd"}), MaybeAccepted, "odd", id="negative code"),
        pytest.param(answer({"code": 504, "message": "late"}), MaybeAccepted, "late", id="status 504 as code"),
        pytest.param(answer({"code": 500, "message": "oops"}), MaybeAccepted, "oops", id="status 500 as code"),
        pytest.param(answer({"error": {"code": 402, "message": "pay"}}), AccountStop, "pay", id="status 402 as code"),
        pytest.param(answer({"code": 5999}), MaybeAccepted, "5999", id="unknown 5xxx"),
        pytest.param(answer(b"{}"), MaybeAccepted, "can't be read", id="200 without a code"),
        pytest.param(answer(b"\xff\xfe{"), MaybeAccepted, "can't be read", id="not UTF-8"),
        pytest.param(answer(b"[" * 100_000), MaybeAccepted, "can't be read", id="nested without end"),
        pytest.param(answer(accepted(), complete=False), MaybeAccepted, "", id="cut off"),
        pytest.param(answer(accepted(), 500), MaybeAccepted, "ok", id="success with a 500"),
        pytest.param(answer(accepted(task_id="")), MaybeAccepted, "without a usable task id", id="empty task id"),
        pytest.param(answer(accepted(task_id=None)), MaybeAccepted, "without a usable task id", id="no task id"),
        pytest.param(answer(accepted(task_id="../x")), MaybeAccepted, "without a usable task id", id="path as id"),
        pytest.param(answer(accepted(task_id=["T"])), MaybeAccepted, "without a usable task id", id="list as id"),
        pytest.param(
            answer(accepted(task_info={"external_task_id": "e2"})), MaybeAccepted, "somebody else's", id="foreign"
        ),
        pytest.param(
            answer(b"", 307, location="https://elsewhere/"), MaybeAccepted, "never followed", id="redirect"
        ),
    ],
)  # fmt: skip
def test_every_other_answer_to_a_create_has_its_meaning(
    reply: Answer, kind: type[ApiError], says: str
) -> None:
    error = create_error(reply)
    assert type(error) is kind
    assert says in str(error)


def test_a_number_as_task_id_is_taken_as_text() -> None:
    assert read_create(answer(accepted(task_id=987654321012345678)), "e1").task_id == "987654321012345678"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("99999", 3600.0), ("soon", None), (None, None)])
def test_retry_after_is_read_and_bounded(header: str | None, seconds: float | None) -> None:
    assert create_error(answer({"code": 1302}, 429, retry_after=header)).retry_after == seconds


def task(status: str, **data: Any) -> Answer:
    return answer(accepted(task_status=status, created_at=1_700_000_000_000, **data))


def test_a_query_reads_what_the_api_says_of_a_task() -> None:
    view = read_query(
        task(
            "succeed",
            updated_at=1_700_000_060_000,
            final_unit_deduction="3.5",
            task_result={"videos": [{"id": "v", "url": "https://cdn/v.mp4", "duration": "5"}]},
        ),
        "T1",
    )
    assert (view.status, view.video_url, view.units_charged) == ("succeed", "https://cdn/v.mp4", "3.5")
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
