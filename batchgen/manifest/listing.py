"""What is listed of the problems of a manifest, or of its warnings: the first of them, and each once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from batchgen import limits
from batchgen.manifest.locations import Draft
from batchgen.models import Problem
from batchgen.request.findings import Finding

MORE = f"has more than {limits.PROBLEMS:,} problems; what comes after the first of them was not looked at"

#: What is said behind a warning where it refuses its manifest.
STRICT = "(a warning; --strict lets it refuse the manifest)"


class Listing(list[Problem]):
    """The first problems, each cut to a length; ``more`` is how many there were besides."""

    def __init__(self) -> None:
        super().__init__()
        self.more = 0

    @property
    def is_full(self) -> bool:
        """Whether there were more than are listed."""
        return self.more > 0

    def append(self, problem: Problem) -> None:
        if len(self) >= limits.PROBLEMS:
            self.more += 1
        else:
            super().append(bounded(problem))

    def extend(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.append(problem)


class Gathered:
    """Findings of many jobs: one that isn't in a job's own fields is the same for all, and listed once.

    So is one whose text is among ``same``: the entry is what has to be changed.
    """

    def __init__(self, listed: Listing, same: Collection[str] = ()) -> None:
        self._listed, self._same = listed, same
        self._shared: dict[Finding, list[int]] = {}  # [where it is listed, how many more]

    def add(self, draft: Draft, job_id: str | None, finding: Finding) -> None:
        if not (finding.path and finding.path[0] in draft.fields) or finding.text in self._same:
            if finding in self._shared:
                self._shared[finding][1] += 1
                return
            self._shared[finding] = [len(self._listed), 0]
        self._listed.append(draft.origin.problem(job_id, *finding))

    def finish(self) -> None:
        """Say of each that is shared how many more there are."""
        for number, more in self._shared.values():
            if more and number < len(self._listed):
                problem = self._listed[number]
                self._listed[number] = replace(problem, text=f"{problem.text}{and_more(more)}")


def bounded(problem: Problem) -> Problem:
    """The problem with a text of a bounded length."""
    if len(problem.text) <= limits.MESSAGE:
        return problem
    return replace(problem, text=f"{problem.text[: limits.MESSAGE]}...")


def and_more(count: int) -> str:
    return f" (and {count:,} more like it)" if count else ""
