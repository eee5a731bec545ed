"""What needs a person: failures by their cause, and paid work that may be lost; each with what to do. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from batchgen.api.codes import CODES, WORDS, Meaning
from batchgen.errors import ADVICE as BY_CAUSE
from batchgen.page.takes import BUCKETS, Take, Trouble
from batchgen.run.buckets import ADVICE
from batchgen.run.failures import Cause

KEPT_DAYS = 30  # the API deletes clips so long after their tasks ended
SHOWN = 3  # messages of one cause
NAMES = 6  # jobs that are named
DAY = 86_400

#: Kinds that stand among the failures, the worst first.
FAILURES = ("failed", "refused", "picture", "gone", "retry", "waiting")
_TITLES: Mapping[str, str] = {
    Cause.ACCOUNT: "The account could not pay, or was held back",
    Cause.SERVICE: "The service failed",
    Cause.CONTENT: "The picture or the prompt was turned down",
    Cause.CANCELLED: "Cancelled by somebody",
    Cause.UNKNOWN: "Failed without a clear reason",
}
_KIND_TITLES: Mapping[str, str] = {
    "failed": "Failed",
    "refused": "Refused",
    "picture": "Image refused",
    "gone": "The clip is gone",
    "retry": "Failed",
    "waiting": "Not created",
}
_NUMBERS = re.compile(r"\d+")


@dataclass(slots=True)
class Group:
    """Failures of one cause. ``token`` is what the page's filter calls them; ``messages`` are (text, how often)."""

    token: str
    kind: str
    title: str
    advice: Sequence[str]
    count: int = 0
    micros: int = 0
    messages: Counter[str] = field(default_factory=Counter)

    @property
    def said(self) -> Sequence[tuple[str, int]]:
        return self.messages.most_common(SHOWN)


@dataclass(frozen=True, slots=True)
class Risk:
    """Paid work that may be lost, or paid again. ``token`` is what the page's filter calls it."""

    token: str
    title: str
    text: str
    advice: str
    count: int
    micros: int
    names: Sequence[str]


def token_of(kind: str, code: str | None) -> str:
    """What the page's filter calls a cause."""
    return re.sub(r"[^a-z0-9_]+", "-", f"{kind} {code or ''}".lower()).strip("-")


def trouble_of(take: Take) -> Trouble | None:
    """Why a take stands among the failures; None where it doesn't."""
    if take.later is not None:
        return take.later
    if take.kind not in FAILURES or (take.kind == "waiting" and not take.message):
        return None
    return Trouble(take.kind, take.code, take.message)


def failures(takes: Iterable[Take]) -> list[Group]:
    """The failures by kind and code, the worst kinds first."""
    groups: dict[str, Group] = {}
    alike: dict[tuple[str, str], str] = {}  # messages that differ only in numbers are one
    for take in takes:
        trouble = trouble_of(take)
        if trouble is None:
            continue
        token = token_of(trouble.kind, trouble.code)
        group = groups.get(token)
        if group is None:
            group = groups[token] = Group(
                token, trouble.kind, _title(trouble), list(_advice(trouble.kind, trouble.code))
            )
        group.count += 1
        group.micros += take.micros
        if trouble.message:
            key = (token, _NUMBERS.sub("0", trouble.message))
            group.messages[alike.setdefault(key, trouble.message)] += 1
    return sorted(groups.values(), key=lambda one: (FAILURES.index(one.kind), -one.count))


def _meaning(code: str | None) -> Meaning | None:
    if code is None:
        return None
    return CODES.get(int(code)) if code.isascii() and code.isdigit() else WORDS.get(code)


def _title(trouble: Trouble) -> str:
    kind, code, _ = trouble
    if kind in ("failed", "retry") and code is not None and code in _TITLES:
        return _TITLES[code]
    meaning = _meaning(code)
    title = f"{_KIND_TITLES[kind]}: {meaning.words}" if meaning else _KIND_TITLES[kind]
    return f"{title} (code {code})" if code and kind in ("refused", "waiting") else title


def _advice(kind: str, code: str | None) -> Iterator[str]:
    meaning = _meaning(code)
    if meaning is not None and meaning.kind in BY_CAUSE:
        yield BY_CAUSE[meaning.kind]
    elif code == Cause.ACCOUNT:
        yield BY_CAUSE["breaker_account"]
    yield ADVICE[BUCKETS[kind]][1]


def risks(takes: Iterable[Take], now: float) -> list[Risk]:
    """What is at risk, the most urgent first; ``now`` in Unix seconds."""
    found: dict[str, list[Take]] = {}
    for take in takes:
        if take.risk:
            found.setdefault(take.risk, []).append(take)
        if take.changed is not None:
            found.setdefault("changed", []).append(take)
    listed = []
    for token, words in RISKS.items():
        some = found.get(token)
        if not some:
            continue
        some.sort(key=lambda take: take.finished_at or take.at)
        listed.append(
            Risk(
                token,
                words.title,
                words.text + (_deadline(some, now) if words.expires else ""),
                words.advice,
                len(some),
                sum(take.micros for take in some),
                [name_of(take) for take in some[:NAMES]],
            )
        )
    return listed


def name_of(take: Take) -> str:
    """``MANIFEST/JOB_ID@TAKE`` as messages show it."""
    return f"{take.manifest}/{take.job_id}" + (f"@{take.take}" if take.take > 1 else "")


def _deadline(takes: Iterable[Take], now: float) -> str:
    """When the first of some clips is deleted at the API, in words."""
    left = [
        (take.finished_at + KEPT_DAYS * DAY - now) / DAY for take in takes if take.finished_at is not None
    ]
    if not left:
        return ""
    gone = sum(days <= 0 for days in left)
    coming = [days for days in left if days > 0]
    text = f" The API keeps clips for {KEPT_DAYS} days:"
    if coming:
        days = int(min(coming))
        text += (
            f" the first of these is deleted in {days} day{'' if days == 1 else 's'}"
            if days
            else (" the first of these is deleted within a day")
        )
    if gone:
        text += f"{';' if coming else ''} {gone:,} of them {'is' if gone == 1 else 'are'} past that"
    return f"{text}."


class _Words(NamedTuple):
    title: str
    text: str
    advice: str
    expires: bool = False


RISKS: Mapping[str, _Words] = {
    "unknown": _Words(
        "Unknown outcome",
        "A create was sent, and nobody knows whether a task was made.",
        ADVICE["unknown"][1],
    ),
    "link": _Words(
        "Paid, and not on this disk yet",
        "The clip is made, and its link expires.",
        ADVICE["succeeded"][1],
        True,
    ),
    "missing": _Words(
        "Paid, and no longer on this disk",
        "The file is not where it was put.",
        (
            "Put it back, anywhere below the output folder; else the next run of its manifest fetches it again at no"
            " cost, as long as the API has it."
        ),
        True,
    ),
    "changed": _Words(
        "Changed since it was paid",
        (
            "A prompt, a field or a picture is another one than what was paid, as the last run of the manifest found; the"
            " card says what. `batchgen plan PATH` says how it is now."
        ),
        ADVICE["changed"][1],
    ),
    "picture": _Words(
        "The source picture has changed since",
        (
            "The file that was sent is another one now; the clip as it was is paid. A run, or `batchgen plan PATH`, says"
            " whether its job still asks for it."
        ),
        ADVICE["changed"][1],
    ),
}
