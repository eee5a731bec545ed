"""The events of a run's work, loaded where there is any: of its reach of the API, and of its jobs on their way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from batchgen.run.events import Event, JobEvent, Level

if TYPE_CHECKING:  # for types alone
    from batchgen.models import State
    from batchgen.run.plan import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """Creating pauses for so many seconds, because of an answer of the API, or because it can't be reached."""

    seconds: float


#: What a run may wait for: the API to be reached, a free slot, the end of a pause, money, or a failed job's next try.
Awaited = Literal["network", "slots", "pause", "money", "retry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Event):
    """The run waits for something: ``kind``; or, with ``over``, it waits for that no more. Short waits aren't told.

    ``since`` and ``until`` are in Unix seconds. ``until`` is when the wait ends, is tried to be ended, or is given up at the
    latest; None where nobody can tell. Another value of it comes as another event.
    """

    kind: Awaited
    since: float
    until: float | None = None
    over: bool = False
    action: str = "waiting"
    level: Level = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable(Event):
    """The API can't be reached, since ``since`` (Unix seconds)."""

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
class Planned(JobEvent):
    """What the run is going to do about a job, and why. Jobs without anything to do have only ``Finished``."""

    doing: Action
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(JobEvent):
    """A job goes back into its queue for at least so many seconds: it wasn't created, or its task failed."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(JobEvent):
    """A task was made, and is paid."""

    action: str = "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(JobEvent):
    """A job turned out to have a task already, which is followed instead of creating another."""

    action: str = "adopted"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCreated(JobEvent):
    """A create made no task, or its outcome is unknown: ``state`` is ``pending`` (to be sent again), ``rejected`` or ``unknown``.

    ``code`` and ``request_id`` are the API's.
    """

    state: State
    code: str | None = None
    request_id: str | None = None
    action: str = "not_created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed(JobEvent):
    """A task has another status, as the API words it, after so many seconds."""

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
