"""What happens in a run, as frozen values, and how those who listen hear of it.

All that a person is told while a run works is made of these. A listener hears an event when what it tells of is durable;
one that fails is not told so, and hears the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:  # what is told of is at hand by then: a command line that begins needs none of it
    from batchgen.errors import BatchgenError
    from batchgen.models import Record, State
    from batchgen.run.plan import Action, Step
    from batchgen.run.tally import Ending

#: How much an event matters to a person who isn't looking: a notice is no reason for a mail.
Level = Literal["info", "notice", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, at a moment in Unix seconds.

    ``text`` says it to a person; it is None where a log has no line of it. ``action`` is the word for it in logs, and
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

    ``external_task_id`` is empty for a job that can have none: its image can't be sent. ``cost_usd`` is the estimate of
    one task of it, in US dollars, None where nothing would be or was created.
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
    """The plan stands: so many jobs in all, and so many of them that are done or that nothing is done about."""

    jobs: int
    settled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals(Event):
    """How far the run is. ``jobs`` counts open rows of earlier runs, too; ``cost_usd`` may have been spent by this one."""

    jobs: int
    finished: int
    running: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """Nothing is created for so many seconds, because of what the API said, or because it can't be reached."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable(Event):
    """The API can't be reached since a moment (Unix seconds)."""

    since: float
    action: str = "unreachable"
    level: Level = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachable(Event):
    """The API answers again, after so many seconds."""

    seconds: float
    action: str = "reachable"
    level: Level = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """Nothing more is created; following and downloading go on, unless the run was ended as a whole.

    ``reason`` has ``kind`` and ``advice``, and for the API's words ``code`` and ``request_id``.
    """

    reason: BatchgenError
    action: str = "creates_stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed(Event):
    """Something about clips' folders, or anything else that is no single job's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """The run is over: the last event, and the only one of its kind.

    ``jobs`` has how many jobs of the plan ended in which bucket, ``others`` the same for open rows of earlier runs:
    the ledger's states, and ``retry``, ``changed``, ``unusable``, ``waiting``, ``unrecorded``, ``vanished``, ``abandoned``.
    ``created`` counts what this run paid for or may have, ``unsure`` those of them that nobody knows of; ``cost_usd`` and
    ``unsure_cost_usd`` are what those cost, estimated. ``tasks`` has what became of the created ones, by state.
    ``failed_tasks`` are all that failed meanwhile. ``endings`` are the jobs that need a person. ``stops`` is why the run,
    or a manifest of it, stopped with work left. ``exit_code`` is what ``batchgen run`` would return, refused manifests
    aside.
    """

    jobs: Mapping[str, int]
    others: Mapping[str, int]
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
class Planned(JobEvent):
    """What the run is about to do for a job, and why. Of jobs that nothing is done about, only ``Finished`` tells."""

    doing: Action
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(JobEvent):
    """A job goes back into its queue: it wasn't created after all, or its task failed and it gets another, at the
    earliest after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(JobEvent):
    """A task was made, and is paid."""

    action: str = "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(JobEvent):
    """A job has a task already, which is followed instead of creating another."""

    action: str = "adopted"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCreated(JobEvent):
    """A create made no task, or nobody knows: ``state`` is ``pending`` (it comes again), ``rejected`` or ``unknown``.

    ``code`` and ``request_id`` are the API's.
    """

    state: State
    code: str | None = None
    request_id: str | None = None
    action: str = "not_created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed(JobEvent):
    """A task has another status, in the API's own word, after so many seconds."""

    status: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded(JobEvent):
    """A task ended with a clip, which is downloaded next, after so many seconds."""

    seconds: float
    action: str = "task_succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(JobEvent):
    """A task ended without a clip; ``reason`` is the API's. ``Waiting`` follows where the job gets another one."""

    reason: str
    request_id: str | None = None
    action: str = "task_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded(JobEvent):
    """A file of a clip is on disk, complete, checked and recorded; a clip may have several."""

    path: str
    action: str = "downloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNoticed(JobEvent):
    """Something else about a job: its clip was moved, found again, or is odd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(JobEvent):
    """Where a job ended in this run: its last event, and the only one of its kind.

    ``bucket`` is as in :class:`Ended`; ``reason`` is what a person has to know, or empty.
    """

    bucket: str
    reason: str


Listener = Callable[[Event], object]
_J = TypeVar("_J", bound=JobEvent)


class Events:
    """Tells the listeners of one run what happens, in its order. ``now`` gives Unix seconds."""

    def __init__(self, now: Callable[[], float], *listeners: Listener) -> None:
        self._now = now
        self._listeners = listeners

    @property
    def now(self) -> float:
        """The moment, in Unix seconds."""
        return self._now()

    def emit(self, event: Event) -> None:
        """Tell everybody. What a listener raises is its own."""
        for listener in self._listeners:
            with contextlib.suppress(Exception):
                listener(event)

    def notice(self, text: str, action: str = "", level: Level = "warning") -> None:
        """Tell of something that is no single job's."""
        self.emit(Noticed(at=self._now(), action=action, text=text, level=level))

    def tell(self, kind: type[_J], row: Record, text: str | None = None, **values: Any) -> None:
        """Tell of what happened to the job of a row."""
        self.emit(
            kind(
                at=self._now(), manifest=row.manifest, job_id=row.job_id, take=row.take, text=text,
                external_task_id=row.external_task_id, cost_usd=row.cost_usd_estimate,
                **{"task_id": row.task_id, **values},
            )
        )  # fmt: skip

    def tell_of_step(self, kind: type[_J], step: Step, **values: Any) -> None:
        """Tell of what happened to a job that may have no row."""
        job = step.job
        self.emit(
            kind(
                at=self._now(), manifest=job.manifest, job_id=job.id, take=job.take,
                external_task_id=step.external_task_id, cost_usd=step.cost or None, **values,
            )
        )  # fmt: skip


def masked(event: Event, mask: Callable[[str], str]) -> Event:
    """The event as it may be shown: without the key, wherever what others say has it."""
    values: dict[str, Any] = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    clean: dict[str, Any] = {
        name: mask(value) if type(value) is str else value for name, value in values.items()
    }
    if isinstance(event, Ended):
        clean["endings"] = tuple(
            dataclasses.replace(ending, text=mask(ending.text)) for ending in event.endings
        )
    return event if clean == values else dataclasses.replace(event, **clean)
