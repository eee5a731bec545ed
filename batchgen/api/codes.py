"""What the API and the gateways before it say, as tables: codes, words, HTTP statuses, and where a task stands.

:mod:`batchgen.api.responses` judges by these tables and by nothing else. A gateway's word is in a table only if it is
used for nothing but requests that were turned away before they reached a model. Any other word may come after the task
was made, so such an answer is judged by its HTTP status.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Literal, NamedTuple, TypeVar

from batchgen.errors import AccountStop, ApiError, MaybeAccepted, Refused, SlotsFull, Throttled, UnknownCode

Status = Literal["submitted", "processing", "succeed", "failed"]
Meant = TypeVar("Meant", bound="Meaning | Status")


class Meaning(NamedTuple):
    """What a code or word means on a create: the error, what it says, and its cause (a key of errors.ADVICE)."""

    error: type[ApiError]
    words: str
    kind: str


#: The API's own codes, which win over everything else.
CODES: Mapping[int, Meaning] = {
    1000: Meaning(AccountStop, "the key was not accepted", "key"),
    1001: Meaning(AccountStop, "the key is missing or empty", "key"),
    1002: Meaning(AccountStop, "the key is wrong", "key"),
    1003: Meaning(AccountStop, "the key is not valid yet: most often this machine's clock is wrong", "clock"),
    1004: Meaning(AccountStop, "the key has expired", "key"),
    1100: Meaning(AccountStop, "the account is in an abnormal state", "account"),
    1101: Meaning(AccountStop, "the account is in arrears", "balance"),
    1102: Meaning(AccountStop, "the resource pack is empty or expired", "balance"),
    1103: Meaning(AccountStop, "the account has no permission for this model or call", "permission"),
    1200: Meaning(Refused, "a parameter was refused", "parameters"),
    1201: Meaning(Refused, "a parameter was refused", "parameters"),
    1202: Meaning(Refused, "the method was refused", "parameters"),
    1203: Meaning(Refused, "no such resource", "parameters"),
    1300: Meaning(Refused, "refused by the platform's policy", "policy"),
    1301: Meaning(Refused, "refused by the content policy", "policy"),
    1302: Meaning(Throttled, "requests come too fast", "speed"),
    1303: Meaning(SlotsFull, "every slot of the account is taken", "slots"),
    1304: Meaning(AccountStop, "this machine's address is not on the account's allow list", "address"),
    5000: Meaning(MaybeAccepted, "internal error", "internal"),
    5001: Meaning(MaybeAccepted, "unavailable for maintenance", "internal"),
    5002: Meaning(MaybeAccepted, "internal timeout", "internal"),
}

#: HTTP status -> the error of a create and its cause, where the body has neither code nor word. Other 4xx statuses are
#: UnknownCode; everything else is MaybeAccepted. A page instead of JSON never refuses a single job (:data:`PAGES`).
STATUSES: Mapping[int, tuple[type[ApiError], str]] = {
    400: (Refused, "parameters"),
    401: (AccountStop, "key"),
    402: (AccountStop, "balance"),
    403: (AccountStop, "permission"),
    404: (UnknownCode, "endpoint"),
    405: (UnknownCode, "endpoint"),
    408: (MaybeAccepted, "internal"),
    409: (MaybeAccepted, "internal"),
    413: (Refused, "parameters"),
    422: (Refused, "parameters"),
    425: (MaybeAccepted, "internal"),
    429: (Throttled, "speed"),
    499: (MaybeAccepted, "internal"),
}
#: Statuses that mean something else where a page comes with them: a proxy's, say, which is not about this job.
PAGES: Mapping[int, tuple[type[ApiError], str]] = {400: (UnknownCode, "page"), 422: (UnknownCode, "page")}

_KEY = Meaning(AccountStop, "the key was not accepted", "key")
_MONEY = Meaning(AccountStop, "the account has no money left for this", "balance")
_PERMISSION = Meaning(AccountStop, "the account has no permission for this model or call", "permission")
_ACCOUNT = Meaning(AccountStop, "the account is in an abnormal state", "account")
_ADDRESS = CODES[1304]
_ENDPOINT = Meaning(AccountStop, "the host doesn't know this address", "endpoint")
_NOT_NOW = Meaning(UnknownCode, "the gateway has nothing that makes this now", "unavailable")
_PARAMETERS = Meaning(Refused, "the request was refused", "parameters")
_POLICY = Meaning(Refused, "refused by the content policy", "policy")
_SPEED = CODES[1302]


def _split(text: str, separator: str | None = None) -> frozenset[str]:
    """The parts of a text, separated by spaces or by ``separator``."""
    return frozenset(" ".join(part.split()) for part in text.split(separator))


def _each(meaning: Meant, words: str) -> dict[str, Meant]:
    """The same meaning for some words, separated by spaces."""
    return dict.fromkeys(_split(words), meaning)


def _phrases(
    statuses: Container[int], meaning: Meaning, phrases: str
) -> Iterator[tuple[str, Container[int], Meaning]]:
    """The rows of :data:`PHRASES` for some phrases, separated by semicolons, that mean the same with the same statuses."""
    return ((phrase, statuses, meaning) for phrase in _split(phrases, ";"))


#: Gateways' words for errors, as :func:`word` spells them: in ``code``, else in ``type``.
WORDS: Mapping[str, Meaning] = {
    **_each(
        _KEY,
        """
        token_invalid invalid_token token_expired token_disabled token_revoked token_not_found
        invalid_api_key invalid_apikey incorrect_api_key api_key_invalid missing_api_key api_key_missing
        api_key_expired invalid_key authentication_error authentication_failed invalid_authentication
        invalid_credentials unauthorized unauthenticated auth_failed
        """,
    ),
    **_each(
        _MONEY,
        """
        insufficient_user_quota insufficient_quota insufficient_token_quota quota_not_enough
        pre_consume_token_quota_failed token_quota_not_enough token_exhausted quota_exhausted no_quota
        insufficient_balance insufficient_user_balance balance_not_enough balance_insufficient
        insufficient_credits insufficient_credit not_enough_credits credits_exhausted insufficient_funds
        credit_balance_too_low payment_required billing_not_active billing_hard_limit_reached
        account_overdue arrearage account_in_arrears entitlement_required entitlement_inactive
        entitlement_daily_limit_exceeded entitlement_total_limit_exceeded
        """,
    ),
    **_each(
        _PERMISSION,
        """
        access_denied permission_denied permission_error forbidden insufficient_permissions
        model_not_allowed model_access_denied group_access_denied
        """,
    ),
    **_each(_ACCOUNT, "account_deactivated account_disabled account_suspended user_banned user_disabled"),
    **_each(_ADDRESS, "ip_not_allowed ip_forbidden ip_not_in_whitelist"),
    **_each(
        _NOT_NOW,
        """
        model_not_found get_channel_failed no_available_channel no_available_channels no_channel
        channel_no_available_key channel_not_found no_available_candidate model_price_error
        invalid_api_platform model_not_available model_unavailable
        """,
    ),
    **_each(
        _PARAMETERS,
        """
        invalid_request bad_request_body read_request_body_failed convert_request_failed invalid_parameter
        invalid_parameters invalid_params validation_error missing_parameter
        """,
    ),
    **_each(_POLICY, "sensitive_words_detected content_policy_violation content_filter"),
    **_each(_SPEED, "rate_limit_exceeded rate_limited rate_limit_error too_many_requests"),
}

ANY = range(100, 600)
LOGIN = (401, 403, 500)  # with other statuses, "invalid token" may be a JSON parser's error

#: Phrases of messages (lower case), the HTTP statuses that they count with, and what they mean. Used where neither code
#: nor word is known; the first phrase that is found counts.
PHRASES: tuple[tuple[str, Container[int], Meaning], ...] = (
    ("parallel task over resource pack limit", ANY, CODES[1303]),
    ("no available channel", ANY, _NOT_NOW),
    ("无可用渠道", ANY, _NOT_NOW),
    ("no available upstream", ANY, _NOT_NOW),
    *_phrases(
        ANY,
        _MONEY,
        """
        insufficient balance; balance is insufficient; balance not enough; balance is not enough; not enough
        balance; insufficient quota; insufficient user quota; quota is not enough; quota not enough;
        insufficient credit; credit limit is insufficient; credit balance is too low; account in arrears;
        resource pack depleted; resource pack is empty; 额度不足; 余额不足; 额度已用尽; 欠费
        """,
    ),
    *_phrases(
        ANY,
        _KEY,
        """
        invalid api key; incorrect api key; api key is invalid; api key has expired; 无效的令牌; 令牌已过期; 令牌状态不可用
        """,
    ),
    *_phrases(LOGIN, _KEY, "invalid token; token is invalid; token has expired"),
    *_phrases(ANY, _ADDRESS, "ip allow list; ip whitelist"),
    *_phrases(
        (404, 405),
        _ENDPOINT,
        """
        invalid url (; route not found; no such route; unknown endpoint; unknown url; path not found; cannot
        post /; no route matched
        """,
    ),
)

#: A task's status, as :func:`word` spells it.
STATUS_WORDS: Mapping[str, Status] = {
    **_each(
        "submitted",
        """
        submitted submit created accepted received pending queued queuing queueing in_queue waiting
        scheduled not_start not_started initialized
        """,
    ),
    **_each(
        "processing",
        """
        processing process in_progress inprogress in_process running generating started starting active
        working rendering uploading preparing
        """,
    ),
    **_each("succeed", "succeed succeeded success successful complete completed finish finished done"),
    **_each(
        "failed",
        """
        failed fail failure error errored canceled cancelled user_canceled user_cancelled expired timeout
        timed_out timedout rejected aborted terminated
        """,
    ),
}

#: ``code`` where all is well.
GOOD = {"success", "succeed", "succeeded", "ok"}

#: "No such task" as a word (:func:`word`), and as a message without its filler words.
NO_TASK_WORDS = _split("task_not_exist task_not_exists task_not_found task_does_not_exist no_such_task")
NO_TASK_PHRASES = _split(
    """
    task not found; task not exist; task not exists; task does not exist; task doesn t exist; task was not
    found; task could not be found; task cannot be found; task can t be found; no such task; no task found;
    no task exists; unknown task; can not find task; cannot find task; could not find task; 任务不存在; 任务未找到;
    未找到任务; 找不到任务
    """,
    ";",
)
#: HTTP statuses that such a message is believed with.
NO_TASK_STATUSES = {200, 400, 404}
_FILLERS = _split("the this that a your requested specified given with for of id error")
#: Other things that a "not found" can be about: then it says nothing about the task.
_OTHERS = _split(
    """
    model models channel channels user users account token group route url path page endpoint method file
    image element voice tenant project host
    """
)


def word(text: str) -> str:
    """A word in snake case: ``In Progress``, ``in-progress`` and ``inProgress`` become ``in_progress``."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text)
    return "_".join(re.findall(r"\w+", text.replace("_", " "))).casefold()


def phrase(message: str, status: int) -> Meaning | None:
    """What a message means by the first known phrase in it."""
    text = " ".join(message.casefold().split())
    return next((meaning for known, where, meaning in PHRASES if status in where and known in text), None)


def about_something_else(message: str) -> bool:
    """Whether a "not found" is about a model, a channel, a path: anything but the task that was asked for."""
    return not _OTHERS.isdisjoint(_words(message))


def denies_task(message: str, asked: str) -> bool:
    """Whether a message says that there is no task ``asked``, and nothing else."""
    text = re.sub(r"\(?\brequest[ _]?id\b\W*[\w-]+\)?", " ", message.casefold()).replace(
        asked.casefold(), " "
    )
    return " ".join(one for one in _words(text) if one not in _FILLERS) in NO_TASK_PHRASES


def _words(message: str) -> list[str]:
    return re.findall(r"[^\W_]+", message.casefold())
