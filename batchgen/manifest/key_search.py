"""The API's key in what jobs are made of, looked for in many jobs at once: hardly any ever holds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from batchgen.manifest.locations import Draft
from batchgen.manifest.placeholders import PROMPTS
from batchgen.models import Job
from batchgen.request.body import LONG
from batchgen.request.findings import Finding

HOLDS_KEY: Final = "holds the API key: take it out; nothing of this manifest is sent until then"
BLOCK: Final = 1 << 16  # characters that are looked through at once


class KeySearch:
    """Finds jobs that hold a key, which belongs in no request and would be in the ledger.

    ``holds_key`` says of a text whether it does, and of one that is joined by spaces what it says of its parts.
    """

    def __init__(self, holds_key: Callable[[str], bool]) -> None:
        self.holds_key = holds_key
        self._waiting: list[tuple[Draft, Mapping[str, Any], Job]] = []
        self._texts: list[str] = []
        self._room = BLOCK

    @property
    def is_due(self) -> bool:
        """Whether so much waits that it should be looked through."""
        return self._room < 0

    def add(self, text: str, draft: Draft, common: Mapping[str, Any], job: Job) -> None:
        """Let the job wait that was made of a draft and of what many have in ``common``; ``text`` is :func:`text_of` it."""
        self._waiting.append((draft, common, job))
        self._texts.append(text)
        self._room -= len(text) + draft.origin.weight

    def found(self) -> Iterator[tuple[Draft, Job, list[Finding]]]:
        """Of the jobs that wait those that hold the key, with the fields that do; none waits afterwards."""
        waiting, text = self._waiting, " ".join(self._texts)
        self._waiting, self._texts, self._room = [], [], BLOCK
        if waiting and self.holds_key(text):
            for draft, common, job in waiting:
                filled_in = {name: job.request[name] for name in PROMPTS if name in job.request}
                if findings := self.look(draft, {**common, **draft.fields, **filled_in}):
                    yield draft, job, findings

    def look(self, draft: Draft, fields: Mapping[str, Any]) -> list[Finding]:
        """The fields of a draft that hold the key."""
        texts = _texts(draft, fields)
        if not self.holds_key(" ".join(texts.values())):
            return []
        return [Finding((name,), HOLDS_KEY) for name, text in texts.items() if self.holds_key(text)]


def text_of(draft: Draft, fields: Mapping[str, Any]) -> str:
    """Everything that a job asks for, its id and its file, as one text to look through."""
    try:
        text = " ".join([*fields.values(), draft.id or "", draft.file or ""])
    except TypeError:  # not all of it is text
        text = ""
    return text if 0 < len(text) < LONG else " ".join(_texts(draft, fields).values())


def _texts(draft: Draft, fields: Mapping[str, Any]) -> dict[str, str]:
    """What is looked through of each field: not what is too long, which is looked through as it is sent."""
    fields = {**fields, "id": fields.get("id", draft.id), "image": draft.file or fields.get("image")}
    return {
        name: value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in fields.items()
        if value and (not isinstance(value, str) or len(value) < LONG)
    }
