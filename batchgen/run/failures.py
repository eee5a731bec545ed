"""What a failed task means: for its own job, by the API's message; for all other jobs, by how many fail. Pure.

**Words.** :data:`WORDS` is the one table. A balance, an account's risk control, an outage or an overload are no fault
of the job: such a failure doesn't count among the few tasks that it may have. The API's usual "Failure to pass the risk
control system" is about the picture or the prompt, and counts; so does a message that says nothing. A task that was
cancelled was ended on purpose, in the vendor's console or by its operator: its job waits for ``--retry-failed``.

**Numbers.** A failed task costs money at many gateways, so :class:`Breaker` stops all creating where tasks fail in a
row. Failures are weighed in points; a task that succeeds takes them all back.

- A failure blamed on the content is half a point: a folder of pictures that are refused is no fault of the account,
  but nobody wants to pay for fifty of them. Of nights in which three tasks in ten fail so, one in 200 is stopped.
- One blamed on the account is three points: the next create meets the same balance, but a message can be misread, so
  it takes two. The three tasks of one job never stop creating otherwise.
- From ``WARY`` points on nothing is created while a task runs: three jobs that all fail cost five tasks then, not nine.
- At ``TRIPS`` points creating stops. Where every tenth task fails for its own reasons, five come in a row once in
  100,000 tasks.
- ``SHARE`` of the last ``WINDOW`` tasks: a service that lets one in six through costs six times the price.
- A run after one that was stopped begins at ``WARY``: another night of the same outage costs two tasks. The jobs that
  have had the fewest tasks go first, so that those which fail every night hold up nobody.
"""

from __future__ import annotations

import enum
import functools
import math
import random
import re
from collections import deque
from collections.abc import Mapping

from batchgen.run.waits import backoff

WARY = 3.0  # points
TRIPS = 5.0  # points
WINDOW = 20  # ended tasks
SHARE = 0.8  # of them, in points

TASKS_FAIL = "tasks_fail"  # the ledger's note that a run was stopped by its failed tasks
LONGEST_WAIT = 1800.0  # seconds before a retry


class Cause(enum.StrEnum):
    """Who is to blame for a failed task. The value is the ``error_code`` of its row."""

    ACCOUNT = "failed_account"  # its balance, its pack, its risk control
    SERVICE = "failed_service"  # an outage, an overload, an internal error, a timeout
    CONTENT = "failed_content"  # the picture or the words were refused
    CANCELLED = "failed_cancelled"  # somebody ended it: another one is paid for only with --retry-failed
    UNKNOWN = "failed"  # the message doesn't say


#: Causes that are no fault of the job.
EXCUSED = frozenset({Cause.ACCOUNT, Cause.SERVICE})

#: Points of one failure.
POINTS: Mapping[Cause, float] = {
    Cause.ACCOUNT: 3.0,
    Cause.SERVICE: 1.0,
    Cause.CONTENT: 0.5,
    Cause.CANCELLED: 1.0,
    Cause.UNKNOWN: 1.0,
}

_MONEY = r"(?:balance|credits?|quota|funds?|units?|points|resource packs?|resource packages?)"

#: Regular expressions. The first row with one that is found in the message says the cause; ``_`` and ``-`` are blanks.
WORDS: tuple[tuple[Cause, tuple[str, ...]], ...] = (
    (
        Cause.CANCELLED,
        (
            r"\b(?:cancell?ed|aborted|terminated|stopped|deleted) (?:\w+ ){0,2}by (?:\w+ ){0,2}(?:user|owner|customer|client|caller|operator|admin\w*|account|you)\b",
            r"\b(?:users?|owner|customer|operator|admin\w*|you) (?:\w+ ){0,2}cancell?(?:ed|s|ation)?\b",
            r"(?:用户|手动|人工|主动)\w{0,3}(?:取消|终止)",
        ),
    ),
    (  # whatever part of the service says it
        Cause.CONTENT,
        (
            r"\bsensitive|\bviolat\w+|\bnsfw\b|\binappropriate|\bprohibited|\bunsafe|\bcopyright|\bcelebrit\w+|\bpublic figure",
            r"敏感|违规|涉黄|涉政|色情|版权|侵权|肖像",
        ),
    ),
    (
        Cause.ACCOUNT,
        (
            rf"\binsufficient (?:\w+ ){{0,2}}{_MONEY}",
            rf"\b(?:not enough|no|out of) (?:\w+ )?{_MONEY}\b",
            rf"\b{_MONEY} (?:\w+ ){{0,2}}(?:insufficient|not enough|not sufficient|exhausted|depleted|expired|empty|used up|too low)",
            r"\bquota exceeded|\bexceeded your (?:\w+ )?quota|\barrears\b|\bpayment required|\bpre ?(?:consum|deduct)|\bbilling\b|\btop up\b",
            r"\baccount (?:\w+ ){0,3}(?:abnormal|suspended|disabled|banned|frozen|restricted|blocked|risk)",
            r"\brisk control (?:of|on|for) (?:the |your |this )?(?:account|user)|\b(?:user|account) risk\b",
            r"\b(?:api key|access key|token) (?:\w+ ){0,2}(?:invalid|expired|disabled)|\binvalid api key|\bunauthori[sz]ed\b",
            r"(?:余额|额度|配额|积分|点数)(?:不足|已|用)|欠费|资源包(?:不足|已|用|过期|耗尽)|预扣|请充值",
            r"(?:账户|账号|帐户|帐号|用户)(?:已|被|存在|触发|状态)*(?:异常|风控|风险|冻结|封禁|禁用|限制)",
        ),
    ),
    (
        Cause.SERVICE,
        (
            r"\binternal (?:\w+ )?error|\boverload(?:ed)?\b|\btoo busy|\bhigh demand|\bheavy load|\bat capacity|\bmaintenance\b",
            r"\b(?:server|system|service|network|upstream|backend|model) (?:\w+ ){0,2}(?:error|exception|busy|overload\w*|unavailable|failure|down)\b",
            r"\b(?:out of|no|insufficient) (?:capacity|resources?|workers?)\b|\btime ?outs?\b|\btimed out|\bdeadline exceeded",
            r"\bbad gateway|\bno available channel|\bchannel error|\brate limit|\btoo many requests|\bparallel task",
            r"\b(?:context|request|operation|connection) (?:was )?cancell?ed",  # as libraries say of a call between machines
            r"\bconnection (?:reset|refused|closed|aborted)|\b(?:http|status|code) (?:code )?5\d\d\b|\b500[0-2]\b",
            r"内部\w{0,3}(?:错误|异常)|超时|负载(?:过高|已?饱和)|过载|请求过于频繁|限流|排队过多|(?:算力|资源)(?:不足|紧张)|无可用渠道|维护中",
            r"(?:系统|服务|服务器|上游|网络|模型|接口)\w{0,4}(?:错误|异常|繁忙|忙|不可用|故障|升级|维护)",
        ),
    ),
    (Cause.CANCELLED, (r"\bcancell?(?:ed|ation)\b|取消",)),
    (
        Cause.CONTENT,
        (
            r"\brisk control|\bcontent\b|\bpolic(?:y|ies)\b|\bmoderat\w+|\bsafety|\bflagged|\baudit|\bimages?\b|\bpictures?\b|\bphotos?\b|\bpixels?\b|\bmasks?\b",
            r"\bprompts?\b|\bparameters?\b|\bfaces?\b|\bvoices?\b|\binvalid\b|\brejected\b",
            r"风控|审核|违反|不合规|不符合|人脸|图片|图像|提示词|参数",
        ),
    ),
    (  # polite phrases after any other reason; and tasks that were never started
        Cause.SERVICE,
        (r"\b(?:try|retry) (?:again )?later|\btemporar\w+|\bunavailable\b|\bexpired\b|稍后|重试|繁忙",),
    ),
)

_ENDED_BY_SOMEBODY = re.compile(r"cancel|abort|terminat", re.IGNORECASE)  # a status


@functools.cache
def _words() -> list[tuple[Cause, re.Pattern[str]]]:
    """``WORDS``, compiled once a task has failed: that takes milliseconds."""
    return [(cause, re.compile("|".join(words), re.IGNORECASE)) for cause, words in WORDS]


def cause_of(message: str, status: str = "") -> Cause:
    """The cause of a failed task by its ``task_status_msg``, or by its ``task_status`` where it has none."""
    text = " ".join(re.sub(r"[_\-]", " ", message or status).split())
    found = next((cause for cause, words in _words() if words.search(text)), Cause.UNKNOWN)
    ended = found is Cause.UNKNOWN and _ENDED_BY_SOMEBODY.match(status)
    return Cause.CANCELLED if ended else found


def retry_wait(failures: int, rng: random.Random, first: float) -> float:
    """Seconds before a job's next task, after ``failures`` failed ones.

    ``first``, doubling up to half an hour (or ``first``, if that is longer), and jittered by up to half.
    """
    return backoff(failures - 1, rng, first=first, cap=max(first, LONGEST_WAIT))


class Breaker:
    """Decides when so many tasks fail that creating has to stop. ``wary``: it stopped the run before."""

    def __init__(self, *, wary: bool = False) -> None:
        self.points = WARY if wary else 0.0
        self.row = 0  # failures since the last task that succeeded
        self._last: deque[float] = deque(maxlen=WINDOW)

    @property
    def wary(self) -> bool:
        """Whether creates are sent one at a time."""
        return self.points >= WARY

    def succeeded(self) -> None:
        """Count a task that succeeded."""
        self.points, self.row = 0.0, 0
        self._last.append(0.0)

    def failed_before(self, cause: Cause) -> None:
        """Count a task that failed before the run began: it may make the run wary, but never stops it."""
        self.points = max(self.points, min(self.points + POINTS[cause], WARY))

    def failed(self, cause: Cause) -> str | None:
        """Count a failed task. Returns why creating has to stop, in words; None where it goes on."""
        points = POINTS[cause]
        self.points += points
        self.row += 1
        self._last.append(points)
        if self.points >= TRIPS:
            return f"{self.row} tasks in a row failed" if self.row > 1 else "a task failed again"
        if len(self._last) == WINDOW and math.fsum(min(one, 1.0) for one in self._last) >= SHARE * WINDOW:
            return f"{sum(one > 0 for one in self._last)} of the last {WINDOW} tasks failed"
        return None
