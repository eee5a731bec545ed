"""Lists of a manifest's problems or warnings: bounded, and without repetitions."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from batchgen import limits
from batchgen.manifest.locations import Draft
from batchgen.models import Problem
from batchgen.request.findings import Finding

MORE = f"has more than {limits.PROBLEMS:,} problems; what comes after the first of them was not looked at"

#: The end of a warning that refuses its manifest.
STRICT = "(a warning; --strict lets it refuse the manifest)"


class Listing(list[Problem]):
    """The first problems, each of a bounded length; ``more`` is the number of those that are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.more = 0

    @property
    def is_full(self) -> bool:
        """Whether some were left out."""
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
    """Collects the findings of an entry's jobs. One that isn't about a job's own fields is the same for all: listed once.

    So is one whose text is among ``same``, because the entry has to be changed.
    """

    def __init__(self, listed: Listing, same: Collection[str] = ()) -> None:
        self._listed, self._same = listed, same
        self._shared: dict[Finding, list[int]] = {}  # [its number in the list, how many more there are]

    def add(self, draft: Draft, job_id: str | None, finding: Finding) -> None:
        if not (finding.path and finding.path[0] in draft.fields) or finding.text in self._same:
            if finding in self._shared:
                self._shared[finding][1] += 1
                return
            self._shared[finding] = [len(self._listed), 0]
        self._listed.append(draft.origin.problem(job_id, *finding))

    def finish(self) -> None:
        """Add to each shared finding how many more there are."""
        for number, more in self._shared.values():
            if more and number < len(self._listed):
                problem = self._listed[number]
                self._listed[number] = problem._replace(text=f"{problem.text}{and_more(more)}")


def bounded(problem: Problem) -> Problem:
    """The problem with its text cut at ``limits.MESSAGE`` characters."""
    if len(problem.text) <= limits.MESSAGE:
        return problem
    return problem._replace(text=f"{problem.text[: limits.MESSAGE]}...")


def and_more(count: int) -> str:
    return f" (and {count:,} more like it)" if count else ""
