"""An approval: the creates of one plan that a person has agreed to pay for, and the form of its file.

It names a ledger by its identity, and creates by ``external_task_id``, digest and price: what is created under an id is
in that ledger from then on, so nothing that was approved can be paid twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from batchgen.amounts import LARGEST, shown
from batchgen.errors import UsageError

VERSION = 1  # of the file's form

_HEAD = re.compile(rb'\s*\{\s*"approval"\s*:')
_IDENTITY = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Approved(NamedTuple):
    """One create that was approved. ``micros`` is its estimate in micro-dollars, ``action`` why it pays: create or retry."""

    external_task_id: str
    manifest: str
    job_id: str
    take: int
    mode: str
    digest: str
    action: str
    micros: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What names the job to a person: manifest name, job id, take."""
        return (self.manifest, self.job_id, self.take)


@dataclass(frozen=True, slots=True)
class Approval:
    """The creates that were approved, by ``external_task_id``.

    ``ledger`` is the identity of the ledger that it was made with, None where there was none yet; ``origin`` the API's.
    ``made_at`` is ISO 8601, ``program`` the version of batchgen that made it.
    """

    ledger: str | None
    origin: str
    jobs: Mapping[str, Approved]
    made_at: str = ""
    program: str = ""

    @property
    def micros(self) -> int:
        """What all of it may cost, in micro-dollars."""
        return sum(job.micros for job in self.jobs.values())

    @property
    def sha256(self) -> str:
        """The digest of what it says, however its file is laid out. It shows accidents: whoever changes the file can make another."""
        return _sha256(self._content())

    def allows(self, external_task_id: str, digest: str, micros: int | None) -> bool:
        """Whether exactly this create was approved."""
        job = self.jobs.get(external_task_id)
        return job is not None and (job.digest, job.micros) == (digest, micros)

    def text(self) -> str:
        """The file: JSON, indented and sorted. It holds no key, no image and no prompt."""
        content = {**self._content(), "sha256": self.sha256}
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        if not text.isascii() and re.search(
            "[\ud800-\udfff]", text
        ):  # an odd file name, which UTF-8 can't hold
            text = json.dumps(content, indent=2, sort_keys=True)
        return f"{text}\n"

    def _content(self) -> dict[str, Any]:
        clips, costs = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for job in self.jobs.values():
            clips[job.manifest, job.mode] += 1
            costs[job.manifest, job.mode] += job.micros
        return {
            "approval": VERSION,
            "batchgen": self.program,
            "jobs": [job._asdict() for job in sorted(self.jobs.values(), key=_place)],
            "ledger": self.ledger,
            "made_at": self.made_at,
            "origin": self.origin,
            "subtotals": [
                {"manifest": key[0], "mode": key[1], "creates": clips[key], "micros": costs[key]}
                for key in sorted(clips)
            ],
            "total": {"creates": len(self.jobs), "micros": self.micros, "usd": shown(self.micros)},
        }


def made(
    jobs: Iterable[Approved], *, ledger: str | None, origin: str, made_at: str = "", program: str = ""
) -> Approval:
    """An approval of these creates."""
    return Approval(ledger, origin, {job.external_task_id: job for job in jobs}, made_at, program)


def looks_like_one(head: bytes) -> bool:
    """Whether a file that begins like this is an approval, whole or not."""
    return bool(_HEAD.match(head))


def parse(content: bytes) -> Approval:
    """The approval that a file holds. Raises UsageError where it is none, was changed, or is of another version."""
    try:
        found = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_refused)
    except (ValueError, RecursionError):
        whole = "it is cut short or was changed" if looks_like_one(content[:200]) else "it is no JSON"
        raise UsageError(f"is no approval that can be read: {whole}; {_AGAIN}") from None
    if not isinstance(found, dict) or "approval" not in found:
        raise UsageError(f"is no approval; {_AGAIN}")
    if found["approval"] != VERSION or isinstance(found["approval"], bool):
        raise UsageError(
            f"is an approval in the form {str(found['approval'])[:20]}, and this batchgen knows the form {VERSION};"
            f" use the version that made it, or {_AGAIN}"
        )
    digest = found.pop("sha256", None)
    try:
        approval = _approval(found)
        unchanged = digest == _sha256(found) == approval.sha256
    except (KeyError, TypeError, ValueError, UnicodeEncodeError):
        unchanged = False
    if not unchanged:
        raise UsageError(
            f"was changed since it was written, or damaged: its content isn't that of its sha256; {_AGAIN}"
        )
    return approval


_AGAIN = "make one with `batchgen plan -o FILE PATH`"


def _approval(found: Mapping[str, Any]) -> Approval:
    """The approval of a file's content. Raises KeyError, TypeError or ValueError for what no approval can be."""
    jobs: dict[str, Approved] = {}
    for row in found["jobs"]:
        job = Approved(**row)
        numbers = (job.take, job.micros)
        if not all(type(number) is int and 0 <= number <= LARGEST for number in numbers):
            raise ValueError("a number")
        if not all(isinstance(text, str) for text in (*job[:3], *job[4:7])) or not _DIGEST.fullmatch(
            job.digest
        ):
            raise ValueError("a text")
        if job.external_task_id in jobs:
            raise ValueError("an id is there twice")
        jobs[job.external_task_id] = job
    if not _IDENTITY.fullmatch(found["ledger"]):
        raise ValueError("a ledger's identity")
    texts = (found["origin"], found["made_at"], found["batchgen"])
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a text")
    return Approval(found["ledger"], found["origin"], jobs, found["made_at"], found["batchgen"])


def _place(job: Approved) -> tuple[str, str, int, str]:
    return (*job.key, job.external_task_id)


def _sha256(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refused(word: str) -> None:
    raise ValueError(word)
