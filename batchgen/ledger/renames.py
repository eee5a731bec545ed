"""The names that jobs go by since they were renamed, of those whose takes were ordered under an earlier name.

A row keeps the name that it was made under, so an order that is placed by it would be of a job that no manifest has. The
run that finds the job under another name moves the order there (:mod:`batchgen.ledger.orders`), and notes both names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

NOTE = "renamed"
JobName = tuple[str, str]  # manifest, job id


class Renamed:
    """Which earlier name of a job means which later one."""

    def __init__(self, text: str | None = None) -> None:
        """``text`` is the note's; what isn't a pair of names in it is left out."""
        try:
            pairs = json.loads(text or "[]")
        except (ValueError, RecursionError):
            pairs = []
        self._later: dict[JobName, JobName] = {}
        for pair in pairs if isinstance(pairs, list) else ():
            if isinstance(pair, list) and len(pair) == 4 and all(isinstance(one, str) for one in pair):
                self._later[pair[0], pair[1]] = (pair[2], pair[3])

    @property
    def earlier(self) -> Sequence[JobName]:
        """The names that mean another one by now."""
        return list(self._later)

    def now(self, job: JobName) -> JobName:
        """The name that a job goes by."""
        seen = {job}
        while (later := self._later.get(job)) is not None and later not in seen:
            job = later
            seen.add(job)
        return job

    def names(self, job: JobName) -> list[JobName]:
        """All names of the job of this name, the one that it goes by first."""
        now = self.now(job)
        return [now, *(name for name in self._later if name != now and self.now(name) == now)]

    def add(self, job: JobName, later: JobName) -> None:
        """A job of one name goes by another now."""
        self._later.pop(later, None)
        self._later[job] = later

    def drop(self, jobs: Iterable[JobName]) -> None:
        """These names are those of other jobs now."""
        for job in jobs:
            self._later.pop(job, None)

    @property
    def text(self) -> str:
        return json.dumps([[*job, *later] for job, later in self._later.items()])


def read(query: Callable[[str, Sequence[Any]], Iterator[Sequence[Any]]]) -> Renamed:
    """What a ledger has noted. ``query`` gives the rows that a statement finds with these values."""
    for (text,) in list(query("SELECT value FROM notes WHERE key = ?", (NOTE,))):
        return Renamed(text)
    return Renamed()
