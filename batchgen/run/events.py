"""The events of a run, as frozen values, and how listeners get them.

Everything that a person sees while a run works is made of these. An event is emitted once what it reports is durable.
An exception of a listener is ignored, and the listener gets the next event all the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:  # for types alone: importing them would slow down the start of the command line
    from batchgen.errors import BatchgenError
    from batchgen.models import Record
    from batchgen.run.plan import Step
    from batchgen.run.tally import Ending

#: How much an event matters to a person. A notice is for a terminal and for log files, but not for cron's mail.
Level = Literal["info", "notice", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run, at ``at`` (Unix seconds).

    ``text`` describes it for a person; it is None where a log has no line for it. ``action`` is its name in logs, and
    ``level`` how much it matters.
    """

    at: float
    action: str = ""
    text: str | None = None
    level: Level = "info"

    @property
    def message(self) -> str:
        """The line of a log."""
        return self.text or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(Event):
    """Something that happened to a job.

    ``external_task_id`` is empty for a job whose image can't be sent. ``cost_usd`` is the estimate for one of its tasks in
    US dollars, None where nothing is created.
    """

    manifest: str
    job_id: str
    take: int
    external_task_id: str
    task_id: str | None = None
    cost_usd: float | None = None

    @property
    def message(self) -> str:
        """The line of a log."""
        return f"{self.manifest}/{self.job_id} {self.action.replace('_', ' ')}: {self.text or ''}"


# -- the run -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Began(Event):
    """The plan is made: the number of jobs, and how many of them are settled because nothing is to be done about them."""

    jobs: int
    settled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals(Event):
    """The progress of the run. ``jobs`` includes open rows of earlier runs; ``cost_usd`` is what this run may have spent."""

    jobs: int
    finished: int
    running: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """Creating has stopped; following and downloading go on, unless the run was ended as a whole.

    ``reason`` has ``kind`` and ``advice``, and for an answer of the API ``code`` and ``request_id``.
    """

    reason: BatchgenError
    action: str = "creates_stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed(Event):
    """Something that isn't about a single job, such as a clips' folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """The run is over: the last event, and the only one of its kind.

    ``jobs`` has how many jobs of the plan ended in which bucket, ``others`` the same for open rows of earlier runs:
    the ledger's states, and ``retry``, ``changed``, ``unusable``, ``waiting``, ``unrecorded``, ``vanished``, ``abandoned``.
    ``manifests`` has the same as ``jobs`` for each manifest. ``created`` counts what this run paid for or may have,
    ``unsure`` those of them that nobody knows of; ``cost_usd`` and ``unsure_cost_usd`` are what those cost, estimated. ``tasks`` has what became of the created ones, by state.
    ``failed_tasks`` are all that failed meanwhile. ``endings`` are the jobs that need a person. ``stops`` is why the run,
    or a manifest of it, stopped with work left. ``exit_code`` is what ``batchgen run`` would return, refused manifests
    aside.
    """

    jobs: Mapping[str, int]
    others: Mapping[str, int]
    manifests: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tasks: Mapping[str, int]
    failed_tasks: int
    created: int
    cost_usd: float
    unsure: int
    unsure_cost_usd: float
    endings: tuple[Ending, ...]
    stops: tuple[BatchgenError, ...]
    exit_code: int


# -- its jobs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(JobEvent):
    """How a job ended in this run: its last event, and the only one of its kind.

    ``bucket`` is as in :class:`Ended`; ``reason`` is what a person has to know, or empty.
    """

    bucket: str
    reason: str


Listener = Callable[[Event], object]
_J = TypeVar("_J", bound=JobEvent)


class Events:
    """Emits the events of one run to its listeners, in order. ``now`` returns Unix seconds."""

    def __init__(self, now: Callable[[], float], *listeners: Listener) -> None:
        self._now = now
        self._listeners = listeners

    @property
    def now(self) -> float:
        """The present time, in Unix seconds."""
        return self._now()

    def emit(self, event: Event) -> None:
        """Give an event to all listeners. Their exceptions are ignored."""
        for listener in self._listeners:
            with contextlib.suppress(Exception):
                listener(event)

    def notice(self, text: str, action: str = "", level: Level = "warning") -> None:
        """Emit a :class:`Noticed`."""
        self.emit(Noticed(at=self._now(), action=action, text=text, level=level))

    def emit_job(self, kind: type[_J], row: Record, text: str | None = None, **values: Any) -> None:
        """Emit an event about the job of a row."""
        self.emit(
            kind(
                at=self._now(),
                manifest=row.manifest,
                job_id=row.job_id,
                take=row.take,
                text=text,
                external_task_id=row.external_task_id,
                cost_usd=row.cost_usd_estimate,
                **{"task_id": row.task_id, **values},
            )
        )

    def emit_step(self, kind: type[_J], step: Step, **values: Any) -> None:
        """Emit an event about the job of a step, which may have no row."""
        job = step.job
        self.emit(
            kind(
                at=self._now(),
                manifest=job.manifest,
                job_id=job.id,
                take=job.take,
                external_task_id=step.external_task_id,
                cost_usd=step.cost or None,
                **values,
            )
        )


def masked(event: Event, mask: Callable[[str], str]) -> Event:
    """The event with the key masked in its texts. The texts of its errors are masked in place."""
    errors = (
        event.stops if isinstance(event, Ended) else (event.reason,) if isinstance(event, Stopped) else ()
    )
    for error in errors:
        error.args = tuple(mask(one) if isinstance(one, str) else one for one in error.args)
    values: dict[str, Any] = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    clean: dict[str, Any] = {
        name: mask(value) if type(value) is str else value for name, value in values.items()
    }
    if isinstance(event, Ended):
        clean["endings"] = tuple(
            dataclasses.replace(ending, text=mask(ending.text)) for ending in event.endings
        )
    return event if clean == values else dataclasses.replace(event, **clean)
