"""How a run went, as one value: what pings, hooks, notifications and metrics tell of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

#: What a notification may be about.
STATES: Final = ("fail", "decision", "money", "always")
USUAL: Final = frozenset({"fail", "decision"})

_UNDECIDED: Final = ("unknown", "changed", "unapproved", "unrecorded", "vanished")
_FAILED: Final = ("failed", "rejected", "unusable", "succeeded")
_PLANNED: Final = frozenset(
    {"jobs_cap", "cost_cap", "manifest_cost_cap", "approval_cap", "budget", "deadline", "until"}
)
_MONEY: Final = frozenset(
    {"balance", "cost_cap", "manifest_cost_cap", "approval_cap", "budget", "breaker_account"}
)
_WELL: Final = frozenset({0, 4, 5})


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run went. Times are Unix seconds.

    ``document`` is the object of ``--json``, ``lines`` are the same for people, and ``log`` is what was said meanwhile,
    the newest last; none has the key, an address behind its host or, unless that was asked for, a prompt. ``manifests``
    has what became of each manifest's jobs, ``slots`` how many tasks ran at once at most. ``states`` are those of :data:`STATES` that hold, without ``always``.
    """

    run_id: str
    command: str
    host: str
    exit_code: int
    began: float
    ended: float
    document: Mapping[str, Any]
    lines: Sequence[str]
    log: Sequence[str] = ()
    manifests: Mapping[str, Part] = field(default_factory=dict)
    slots: int = 0
    states: frozenset[str] = frozenset()

    @property
    def headline(self) -> str:
        """The first line, without the program's name."""
        first = self.lines[0] if self.lines else f"exit code {self.exit_code}"
        return first.removeprefix("batchgen: ").removeprefix(f"batchgen {self.command}: ")


@dataclass(slots=True)
class Part:
    """What a run did for one manifest: its jobs by where they ended, its tasks, and their cost in US dollars, estimated."""

    jobs: dict[str, int] = field(default_factory=dict)
    created: int = 0
    failed_tasks: int = 0
    cost_usd: float = 0.0


def states(document: Mapping[str, Any], *, prices_differ: bool = False) -> frozenset[str]:
    """What holds of a run with this ``--json``: it failed, it needs a decision, money is the matter."""
    code = document["exit_code"]
    kinds = {stop["kind"] for stop in document.get("stops", ())}
    counts: dict[str, int] = dict(document.get("others", {}))
    for bucket, count in document.get("buckets", {}).items():
        counts[bucket] = counts.get(bucket, 0) + count
    failed = code not in _WELL or kinds - _PLANNED or any(counts.get(name) for name in _FAILED)
    undecided = code == 5 or any(counts.get(name) for name in _UNDECIDED)
    money = prices_differ or kinds & _MONEY
    held = {"fail": failed, "decision": undecided, "money": money}
    return frozenset(name for name, holds in held.items() if holds)
