"""Searches jobs for the API key, many at once, because hardly any job ever has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from batchgen.manifest.locations import Draft
from batchgen.manifest.placeholders import PROMPTS
from batchgen.models import Job
from batchgen.request.body import LONG
from batchgen.request.findings import Finding

HOLDS_KEY: Final = "holds the API key: take it out; nothing of this manifest is sent until then"
BLOCK: Final = 1 << 14  # characters, about, that are looked through at once: from 30,000 on, it is slower
_USUAL: Final = 256  # characters of a job, about


class KeySearch:
    """Finds jobs that have the key, which must be in no request and would get into the ledger.

    ``holds_key`` says whether a text has the key; a text that is joined by spaces has it where one of its parts has.
    """

    def __init__(self, holds_key: Callable[[str], bool]) -> None:
        self.holds_key = holds_key
        self._waiting: list[tuple[Draft, Mapping[str, Any], Job]] = []
        self._values: list[Sequence[Any]] = []
        self.room = BLOCK  # below 0, enough waits to be searched

    def add(self, values: Sequence[Any], draft: Draft, common: Mapping[str, Any], job: Job) -> None:
        """Add the job of a draft with the shared fields ``common``; ``values`` are of its fields, its id and its file."""
        self._waiting.append((draft, common, job))
        self._values.append(values)
        self.room -= _USUAL + draft.origin.weight

    def found(self) -> Iterator[tuple[Draft, Job, list[Finding]]]:
        """Search the jobs that wait: those that have the key, with findings for their fields. None waits afterwards."""
        waiting, values = self._waiting, [*chain.from_iterable(self._values)]
        self._waiting, self._values, self.room = [], [], BLOCK
        if waiting and self.holds_key(_joined(values)):
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


def _joined(values: Sequence[Any]) -> str:
    """The values as one text to be searched."""
    try:
        if max(map(len, values)) < LONG:
            return " ".join(values)
    except TypeError:  # not all of it is text
        pass
    return " ".join(map(_text, values))


def _texts(draft: Draft, fields: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a job's fields."""
    fields = {**fields, "id": fields.get("id", draft.id), "image": draft.file or fields.get("image")}
    return {name: text for name, value in fields.items() if (text := _text(value))}


def _text(value: Any) -> str:
    """The text of a value; none of a long one (Base64), which is searched when it is sent."""
    if isinstance(value, str):
        return value if len(value) < LONG else ""
    return json.dumps(value, default=str) if value else ""
