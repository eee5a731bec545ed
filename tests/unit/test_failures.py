"""What a failed task means: its words, its retries, and when so many fail that no more are created."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.run.failures import LONGEST_WAIT, TRIPS, WARY, WINDOW, Breaker, Cause, cause_of, retry_wait

SAYS = {
    Cause.ACCOUNT: (
        "account balance not enough",
        "Account balance is insufficient",
        "insufficient_user_quota",
        "Insufficient credits, please recharge",
        "You exceeded your current quota",
        "Your resource pack is exhausted",
        "pre_consume_token_quota_failed",
        "credit prededuct failed",
        "The account was suspended by risk control",
        "account risk control",
        "Invalid API key",
        "余额不足",
        "用户额度不足, 剩余额度: $0.54",
        "预扣费额度失败, 用户剩余额度: $2.53, 需要预扣费额度: $2.62",
        "账户已欠费",
        "账户触发风控",
        "账号异常",
        "资源包已用尽",
    ),
    Cause.SERVICE: (
        "internal error",
        "Internal server error, please try again later",
        "Service unavailable",
        "The service is temporarily overloaded",
        "Server busy",
        "Generation timeout",
        "task timed out",
        "We are experiencing high demand",
        "upstream error: do request failed",
        "no available channel for model kling-v3",
        "bad response status code 502",
        "parallel task over resource pack limit",
        "5001",
        "do request failed: context canceled",
        "server error: the task was cancelled",
        "Something went wrong, please try again later",
        "系统繁忙，请稍后重试",
        "服务内部错误",
        "生成超时",
        "当前分组上游负载已饱和，请稍后再试",
        "服务器维护中",
    ),
    Cause.CONTENT: (
        "Failure to pass the risk control system",
        "Failure to pass the risk control system, please try again later",
        "Image pixel is invalid",
        "Content policy violation",
        "Your prompt was flagged by moderation",
        "output video may be related to copyright restrictions",
        "Mask dimension mismatch",
        "system error: the prompt contains sensitive words",
        "upstream error: the image violates our policy",
        "model error: unsafe input",
        "系统错误: 图片涉及敏感信息，请稍后重试",
        "the white balance of this image is not enough",
        "视频生成失败: 内容不符合规范",
        "触发平台内容安全风控",
        "图片审核不通过",
    ),
    Cause.CANCELLED: (
        "Task was cancelled by the user",
        "user cancelled, please try again later",
        "The task has been canceled",
        "image generation cancelled by operator: system maintenance",
        "Terminated by administrator",
        "任务已取消",
        "用户主动取消任务",
    ),
    Cause.UNKNOWN: ("", "failed", "generation_failed", "unknown error", "任务失败", "the pope resigned"),
}


@pytest.mark.parametrize(
    ("cause", "message"), [(cause, text) for cause, texts in SAYS.items() for text in texts]
)
def test_the_words_say_whose_fault_it_is_in_any_case(cause: Cause, message: str) -> None:
    assert {cause_of(message), cause_of(message.upper()), cause_of(f"  {message}\n")} == {cause}


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("expired", Cause.SERVICE),
        ("TIMED_OUT", Cause.SERVICE),
        ("failed", Cause.UNKNOWN),
        ("cancelled", Cause.CANCELLED),
        ("USER_CANCELED", Cause.CANCELLED),
        ("aborted", Cause.CANCELLED),
        ("rejected", Cause.CONTENT),
    ],
)
def test_without_a_message_the_status_says_it(status: str, cause: Cause) -> None:
    assert cause_of("", status) is cause
    assert cause_of("余额不足", status) is Cause.ACCOUNT


def test_a_status_says_that_a_task_was_cancelled_where_its_words_blame_nobody() -> None:
    assert cause_of("no details", "Cancelled") is Cause.CANCELLED
    assert cause_of("internal error", "cancelled") is Cause.SERVICE
    assert cause_of("no details", "failed") is Cause.UNKNOWN


@given(st.text())
def test_any_words_have_a_cause(message: str) -> None:
    assert cause_of(message) in Cause


@given(st.integers(1, 100), st.floats(0.1, 600), st.integers())
def test_retries_wait_longer_each_time_and_half_an_hour_and_a_half_at_most(
    failures: int, first: float, seed: int
) -> None:
    wait = retry_wait(failures, random.Random(seed), first)
    assert min(first * 2 ** (failures - 1), LONGEST_WAIT) <= wait <= 1.5 * LONGEST_WAIT


def test_retries_of_many_jobs_do_not_come_in_step() -> None:
    rng = random.Random(1)
    waits = [retry_wait(1, rng, 120.0) for _ in range(50)]
    assert max(waits) - min(waits) > 30


def failures_until_it_trips(cause: Cause, *, wary: bool = False) -> int:
    breaker = Breaker(wary=wary)
    return next(count for count in range(1, 100) if breaker.failed(cause) is not None)


@pytest.mark.parametrize(
    ("cause", "tasks", "when_wary"),
    [(Cause.UNKNOWN, 5, 2), (Cause.SERVICE, 5, 2), (Cause.CONTENT, 10, 4), (Cause.ACCOUNT, 2, 1)],
)
def test_so_many_failures_in_a_row_stop_all_creating(cause: Cause, tasks: int, when_wary: int) -> None:
    assert failures_until_it_trips(cause) == tasks
    assert failures_until_it_trips(cause, wary=True) == when_wary


@pytest.mark.parametrize("cause", [Cause.UNKNOWN, Cause.SERVICE, Cause.CONTENT])
def test_one_failing_job_stops_nothing_with_all_its_tasks(cause: Cause) -> None:
    breaker = Breaker()
    assert [breaker.failed(cause) for _ in range(3)] == [None] * 3


@given(st.sampled_from([Cause.UNKNOWN, Cause.SERVICE, Cause.CONTENT]), st.integers(1, 4), st.integers(1, 60))
def test_one_failure_between_good_tasks_never_stops_anything(cause: Cause, good: int, turns: int) -> None:
    breaker = Breaker()
    for _ in range(turns):
        for _ in range(good):
            breaker.succeeded()
        assert breaker.failed(cause) is None
        assert not breaker.wary


def test_a_service_that_lets_few_tasks_through_is_stopped_although_some_succeed() -> None:
    breaker = Breaker()
    said = []
    for turn in range(3 * WINDOW):
        if turn % 5 == 4:
            breaker.succeeded()
        else:
            said.append(breaker.failed(Cause.UNKNOWN))
    assert said.index(next(text for text in said if text)) == 0.8 * WINDOW
    assert f"16 of the last {WINDOW} tasks failed" in said


def test_failures_from_before_the_run_are_a_reason_to_be_wary_and_none_to_stop() -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.failed_before(Cause.UNKNOWN)
    assert breaker.wary
    assert breaker.failed(Cause.UNKNOWN) is None
    assert breaker.failed(Cause.UNKNOWN) is not None


def test_after_three_failures_one_task_at_a_time_is_tried_until_one_succeeds() -> None:
    breaker = Breaker()
    assert WARY < TRIPS
    for _ in range(3):
        assert not breaker.wary
        breaker.failed(Cause.UNKNOWN)
    assert breaker.wary
    breaker.succeeded()
    assert not breaker.wary
