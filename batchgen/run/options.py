"""The options of one run: what it may do, and how long it waits. They don't change while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batchgen.amounts import micros
from batchgen.errors import UsageError
from batchgen.models import Manifest
from batchgen.money.approval import Approval
from batchgen.money.prices import BUILT_IN, Prices
from batchgen.run.download_limit import DOWNLOADS, MOST
from batchgen.run.pool import Limits
from batchgen.run.waits import Waits
from batchgen.storage.clip_hosts import AllowedHost

CONCURRENCY = 8  # create requests in flight, where neither the options nor a manifest say otherwise
AFTER_DEADLINE = 4 * 3600.0  # seconds: three for a task that runs then, one for its clip
_MAY_BE_ZERO = frozenset({"retry_wait", "deadline", "until"})
_KINDS: Mapping[str, tuple[Any, str]] = {  # of the fields, by their annotations
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "True or False"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one run may do. Money in US dollars, durations in seconds, moments in Unix seconds, speeds in bytes a second.

    What limits creating is None for no limit. Raises UsageError for a value of another type ("no" would be true), and
    for a number that isn't above 0; only ``retry_wait`` and moments may be 0.
    """

    concurrency: int | None = None  # create requests in flight; None: 8, or more where a manifest states more
    max_running: int | None = None  # slots: tasks that may run at once; None: learned
    max_jobs: int | None = None  # tasks that are created at most
    max_cost: float | None = None  # what those tasks may cost
    deadline: float | None = None  # the moment after which nothing is created
    until: float | None = None  # the moment at which the run ends, whatever still runs
    submit_only: bool = False  # leave once every job has a task id
    retry_failed: bool = False  # try failed and refused jobs again, too
    accept_changes: bool = False  # pay again for jobs that changed since they were paid
    recover: bool = False  # first look up the manifests' tasks that only the API knows, and record them
    timeout: float = 60.0  # that a request may take without progress
    settle: float = 300.0  # before an uncertain create is believed not to have made a task, or a clip is left
    poll_interval: float | None = None  # before a task is asked for first; None: learned
    retry_wait: float = 120.0  # before a job whose task failed gets a second one; twice that before a third
    clip_timeout: float = 3600.0  # for each file of a clip
    min_speed: float = 16384.0  # of a clip's transfer, averaged over ``timeout``
    downloads: int | None = None  # clips that are downloaded at once; None: 16, or what the manifests state
    usual_concurrency: int = CONCURRENCY  # in place of the 8 above, where nothing else says how many
    usual_downloads: int = DOWNLOADS  # in place of the 16
    clip_hosts: tuple[AllowedHost, ...] = ()  # hosts of clips besides public ones over https
    prices: Prices = BUILT_IN  # of the account
    approval: Approval | None = None  # what is created, and nothing else; None: whatever is missing

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value: Any = getattr(self, field.name)
            kind, _, nothing = str(field.type).partition(" | ")
            if kind not in _KINDS or (nothing and value is None):
                continue
            types, wanted = _KINDS[kind]
            if not isinstance(value, types) or isinstance(value, bool) is not (kind == "bool"):
                raise UsageError(f"{field.name} is {value!r}, and has to be {wanted}")
            if kind != "bool":
                least = 0.0 if field.name in _MAY_BE_ZERO else 1e-9
                if not least <= value < 1e12:
                    raise UsageError(f"{field.name} is {value!r}, and has to be above 0")
        hosts: Any = self.clip_hosts
        if not isinstance(hosts, tuple) or not all(isinstance(host, AllowedHost) for host in hosts):
            raise UsageError(f"clip_hosts is {hosts!r}, and has to be what allowed_hosts() returns")
        for name, number in (("downloads", self.downloads), ("usual_downloads", self.usual_downloads)):
            if number is not None and number > MOST:
                raise UsageError(f"{name} is {number!r}, and has to be {MOST} at most")

    @property
    def end(self) -> tuple[float | None, str]:
        """The moment at which the run ends whatever still runs, None for never; and why it ended, for people."""
        if self.until is not None or self.deadline is None:
            return self.until, "its end has come (--until)"
        hours = f"{AFTER_DEADLINE / 3600:.0f} hours"
        return self.deadline + AFTER_DEADLINE, f"{hours} have passed since --deadline"

    @property
    def waits(self) -> Waits:
        """How long the run waits for what."""
        return Waits(self.timeout, self.settle, self.poll_interval, self.retry_wait, self.clip_timeout)

    def limits(self, manifests: Iterable[Manifest]) -> Limits:
        """The run's own limits, their moments by the wall clock.

        Without a ``concurrency``, a manifest that states more than the usual number gets it. Without ``downloads``, the
        run has the most that one of its manifests wants: what it states, or else the usual number.
        """
        manifests = list(manifests)
        concurrency = self.concurrency or max(
            [self.usual_concurrency, *(one.concurrency or 0 for one in manifests)]
        )
        downloads = self.downloads or max(
            (one.downloads or self.usual_downloads for one in manifests), default=self.usual_downloads
        )
        cap = None if self.max_cost is None else micros(self.max_cost)
        return Limits(
            concurrency=concurrency,
            max_running=self.max_running,
            max_jobs=self.max_jobs,
            max_cost=cap,
            deadline=self.deadline,
            until=self.until,
            submit_only=self.submit_only,
            downloads=downloads,
        )
