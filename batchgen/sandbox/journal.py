"""The journal: every request as the server saw it. Tests prove by it that no task was made twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from batchgen import files

Kind = Literal["create", "query", "video", "callback", "elsewhere", "other"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. Entries are numbered and written in the order in which requests were decided.

    ``at`` is in seconds since the server started. ``accepted`` is true where this request made a task, whatever was
    answered. ``code`` and ``status`` are those of the answer, None where it had none. ``running`` is the number of slots
    in use afterwards. ``images`` has the SHA-256 and size of every image's decoded bytes, by field; ``fields`` is the
    request without image data. ``authorized``: an Authorization header was there; its value is never kept. ``clips`` has
    the SHA-256 of every file that a new task's answer will name, the clip itself first; none where clips are encoded
    from pictures, which is done when they are fetched.
    """

    seq: int
    at: float
    kind: Kind
    method: str = ""
    path: str = ""
    external_task_id: str | None = None
    task_id: str | None = None
    accepted: bool = False
    code: int | None = None
    status: int | None = None
    fault: str | None = None
    message: str = ""
    running: int = 0
    content_length: int | None = None
    images: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    authorized: bool = False
    clips: tuple[str, ...] = ()


class Journal:
    """The entries in order, in memory and as JSON Lines in ``path``, where that is given.

    A line is written before its request is answered, so it is there whichever side is killed.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._file: TextIO | None = None
        if path:
            self._file = open(path, "a", encoding="utf-8", buffering=1, opener=files.open_private)  # noqa: SIM115, closed by close()

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        if self._file:
            self._file.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def of(self, kind: Kind) -> list[Entry]:
        """The entries of one kind, in order."""
        return [entry for entry in self.entries if entry.kind == kind]

    def summary(self) -> dict[str, Any]:
        return summarize(self.entries)


def summarize(entries: list[Entry]) -> dict[str, Any]:
    """The journal's counts.

    ``accepts`` counts the tasks made per external id; ``twice`` lists the ids with more than one;
    ``refusals`` counts creates by the code they were refused with; ``faults`` what was played.
    """
    creates = [entry for entry in entries if entry.kind == "create"]
    made = [entry for entry in creates if entry.accepted]
    accepts = Counter(entry.external_task_id for entry in made if entry.external_task_id is not None)
    refused = (entry.code for entry in creates if not entry.accepted and entry.code)
    return {
        "requests": dict(Counter(entry.kind for entry in entries)),
        "tasks": len(made),
        "accepts": dict(accepts),
        "twice": sorted(name for name, count in accepts.items() if count > 1),
        "max_running": max((entry.running for entry in entries), default=0),
        "refusals": dict(Counter(refused)),
        "faults": dict(Counter(entry.fault for entry in entries if entry.fault)),
    }


def load(path: str | Path) -> list[Entry]:
    """The entries in a journal file; a last line that a kill cut short is left out."""
    with Path(path).open(encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    return [parse(line) for line in lines]


def parse(line: str | bytes) -> Entry:
    """The entry in a journal's line."""
    one = json.loads(line)
    return Entry(**{**one, "ignored": tuple(one["ignored"]), "clips": tuple(one["clips"])})
