"""Counts where the jobs of a run ended, each in one bucket."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchgen.errors import BatchgenError
from batchgen.run.plan import Action, Step


class Counts(dict[str, int]):
    """How many of each name; 0 for every other. Unlike a Counter, ``dataclasses.asdict`` copies it right."""

    def __missing__(self, name: str) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Ending:
    """A job that needs a person, and what that person has to know."""

    bucket: str
    manifest: str
    job_id: str
    take: int
    external_task_id: str
    text: str


#: Steps that end in a bucket without anything being done.
_FINISHED = {
    Action.DONE: "downloaded",
    Action.REJECTED: "rejected",
    Action.FAILED: "failed",
    Action.CHANGED: "changed",
    Action.UNUSABLE: "unusable",
    Action.WAITING: "waiting",
    Action.ABANDONED: "abandoned",
}


#: Exit codes, the first that holds.
_ORDER = (75, 3, 130, 143, 2, 4, 5, 1)


def first_of(codes: Iterable[int]) -> int:
    """The one exit code for all of these; 0 where there is none."""
    return min(filter(None, codes), key=_ORDER.index, default=0)


def created_text(created: int, unsure: int, cost_usd: float, unsure_cost_usd: float) -> str:
    """What a run created, and what it may have created, with what they cost in US dollars; "none created" where nothing."""
    sure = created - unsure
    parts = [f"{sure:,} created for about ${cost_usd - unsure_cost_usd:,.2f}"] if sure else []
    if unsure:
        parts.append(f"{unsure:,} may have been created (up to ${unsure_cost_usd:,.2f})")
    return ", ".join(parts) or "none created"


def created_in(facts: Mapping[str, Any]) -> str:
    """What a run created, in the words of its summary, by the facts of its record."""
    return created_text(
        facts["created"],
        facts.get("unknown", 0),
        facts["cost_usd_estimate"],
        facts.get("unknown_cost_usd_estimate", 0.0),
    )


def did(facts: Mapping[str, Any]) -> Iterator[str]:
    """What a run did and why it stopped, in a few words each, by the facts of its record."""
    jobs: Mapping[str, int] = facts.get("jobs", {})
    if jobs:
        total = sum(jobs.values())
        yield f"{jobs.get('downloaded', 0):,} of {total:,} job{'' if total == 1 else 's'} done"
    if facts.get("created"):
        yield created_in(facts)
    yield from map(str, facts.get("stopped", ()))


@dataclass(slots=True)
class Tally:
    """The counts of a run. Each job of the plan is in one of ``buckets``, so that they sum to the plan.

    The buckets are the ledger's states, and ``retry`` (the last task failed, and a run makes another), ``changed``,
    ``unapproved``, ``unusable``, ``waiting``, ``unrecorded``, ``vanished`` and ``abandoned``.
    ``others`` counts the same for rows that the ledger had open and the plan doesn't mention. ``created`` has what
    became of the creates that this run pays for, by state: it sums to their number, where a job can have several.
    ``failed_tasks`` are all that ended failed meanwhile, whoever created them. ``manifests`` has the buckets of each
    manifest's jobs.
    """

    buckets: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    endings: list[Ending] = field(default_factory=list)
    created: Counter[str] = field(default_factory=Counter)
    failed_tasks: int = 0
    manifests: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def finished(self) -> int:
        """How many jobs have ended for this run; those whose image can't be sent don't count."""
        ended = self.buckets.total() + self.others.total()
        return ended - self.buckets["unusable"] - self.buckets["waiting"]

    def exit_code(self, stops: Iterable[BatchgenError], *, submit_only: bool = False) -> int:
        """The exit code of the run: 3, 130 or 143, 2, 4, 5, 1, the first that holds."""
        buckets = self.buckets + self.others
        left = buckets["pending"] + buckets["retry"] + (0 if submit_only else buckets["submitted"])
        undecided = sum(
            buckets[name] for name in ("unknown", "changed", "unapproved", "unrecorded", "vanished")
        )
        not_home = 0 if submit_only else buckets["succeeded"]
        failed = not_home + sum(buckets[name] for name in ("failed", "rejected", "unusable"))
        held = [4 * (left > 0), 5 * (undecided > 0), 1 * (failed > 0)]
        return first_of([*(reason.exit_code for reason in stops), *held])

    def count(self, manifest: str, bucket: str) -> None:
        """Count a job of the plan in the bucket that it ended in."""
        self.buckets[bucket] += 1
        self.manifests[manifest][bucket] += 1

    def leave_out(self, endings: Iterable[Ending]) -> None:
        """Count jobs for which nothing is done in this run, each with what a person has to know."""
        for ending in endings:
            self.count(ending.manifest, ending.bucket)
            self.endings.append(ending)

    def count_finished(self, steps: Iterable[Step]) -> list[Step]:
        """Count the steps without anything to do, and return the others."""
        left = []
        for step in steps:
            bucket = _FINISHED.get(step.action)
            if bucket is None:
                left.append(step)
                continue
            self.count(step.job.manifest, bucket)
            if step.action not in (Action.DONE, Action.ABANDONED):
                job = step.job
                self.endings.append(
                    Ending(bucket, job.manifest, job.id, job.take, step.external_task_id, step.reason)
                )
        return left
