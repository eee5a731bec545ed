"""Searches jobs for the API key, many at once, because hardly any job ever has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from batchgen.manifest.locations import Draft
from batchgen.manifest.placeholders import PROMPTS
from batchgen.models import Job
from batchgen.request.body import LONG
from batchgen.request.findings import Finding

HOLDS_KEY: Final = "holds the API key: take it out; nothing of this manifest is sent until then"
BLOCK: Final = 1 << 16  # characters that are looked through at once


class KeySearch:
    """Finds jobs that have the key, which must be in no request and would get into the ledger.

    ``holds_key`` says whether a text has the key; a text that is joined by spaces has it where one of its parts has.
    """

    def __init__(self, holds_key: Callable[[str], bool]) -> None:
        self.holds_key = holds_key
        self._waiting: list[tuple[Draft, Mapping[str, Any], Job]] = []
        self._texts: list[str] = []
        self._room = BLOCK

    @property
    def is_due(self) -> bool:
        """Whether enough text waits to be searched."""
        return self._room < 0

    def add(self, text: str, draft: Draft, common: Mapping[str, Any], job: Job) -> None:
        """Add the job of a draft with the shared fields ``common``; ``text`` is its :func:`text_of`."""
        self._waiting.append((draft, common, job))
        self._texts.append(text)
        self._room -= len(text) + draft.origin.weight

    def found(self) -> Iterator[tuple[Draft, Job, list[Finding]]]:
        """Search the jobs that wait: those that have the key, with findings for their fields. None waits afterwards."""
        waiting, text = self._waiting, " ".join(self._texts)
        self._waiting, self._texts, self._room = [], [], BLOCK
        if waiting and self.holds_key(text):
            for draft, common, job in waiting:
                filled_in = {name: job.request[name] for name in PROMPTS if name in job.request}
                if findings := self.look(draft, {**common, **draft.fields, **filled_in}):
                    yield draft, job, findings

    def look(self, draft: Draft, fields: Mapping[str, Any]) -> list[Finding]:
        """Findings for the fields of a draft that have the key."""
        texts = _texts(draft, fields)
        if not self.holds_key(" ".join(texts.values())):
            return []
        return [Finding((name,), HOLDS_KEY) for name, text in texts.items() if self.holds_key(text)]


def is_in_id(draft: Draft, findings: Iterable[Finding]) -> bool:
    """Whether these findings are about a job's id, too: where it has none of its own, it is taken from its image's name."""
    fields = {finding.path[0] for finding in findings}
    is_taken = draft.id is None and draft.fields.get("id") is None
    return "id" in fields or (is_taken and not fields.isdisjoint(("image", "image_tail")))


def text_of(draft: Draft, fields: Mapping[str, Any]) -> str:
    """All fields of a job, its id and its file as one text to be searched."""
    try:
        text = " ".join([*fields.values(), draft.id or "", draft.file or ""])
    except TypeError:  # not all of it is text
        text = ""
    return text if 0 < len(text) < LONG else " ".join(_texts(draft, fields).values())


def _texts(draft: Draft, fields: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a job's fields. Long ones (Base64) are left out: they are searched when they are sent."""
    fields = {**fields, "id": fields.get("id", draft.id), "image": draft.file or fields.get("image")}
    return {
        name: value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in fields.items()
        if value and (not isinstance(value, str) or len(value) < LONG)
    }
