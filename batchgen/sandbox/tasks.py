"""The account: its tasks, from start to end on the server's clock, and the slots that they hold."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from batchgen.sandbox.chance import draw
from batchgen.sandbox.checks import Order
from batchgen.sandbox.config import Config

# Units per second of video, without and with sound: 0.14 US$ a unit.
_UNITS = {"std": (0.6, 0.9), "pro": (0.8, 1.2), "4k": (3.0, 3.0)}
_SLOWER = {"std": 1.0, "pro": 1.6, "4k": 3.0}
PROCESSING_AFTER = 0.2  # the part of a task's time in which it is submitted
#: fault -> the task_status_msg of a task that it makes fail
FAILURES = {
    "task_fails": "the task failed: the platform's risk control refused the result",
    "task_fails_balance": "account balance not enough",
    "task_fails_outage": "Internal server error, please try again later",
    "task_cancelled": "task cancelled by user",
    "task_fails_unsaid": "task failed",
}


@dataclass(slots=True, eq=False)
class Task:
    """One task. ``started`` and ``ends`` are on the server's clock; ``ends`` is infinite for a task that never ends."""

    id: str
    order: Order
    started: float
    ends: float
    failure: str = ""
    host: str = ""  # a name of faults.HOSTS
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # set where it is ended before its time

    @property
    def external_task_id(self) -> str | None:
        return self.order.external_task_id

    @property
    def processing_from(self) -> float:
        return (
            self.started + (self.ends - self.started) * PROCESSING_AFTER
            if self.ends < math.inf
            else self.started
        )

    @property
    def seconds(self) -> str:
        """The clip's length, in the API's own type."""
        return str(self.order.fields.get("duration", "5"))

    @property
    def callback_url(self) -> str:
        return str(self.order.fields.get("callback_url", ""))

    def status(self, now: float) -> str:
        if now >= self.ends:
            return "failed" if self.failure else "succeed"
        return "processing" if now >= self.processing_from else "submitted"


class Account:
    """One account of the API: its tasks and slots. Times come from ``clock``, in seconds.

    ``now`` returns Unix seconds, and is called once: from there on, time is counted by ``clock``.
    """

    def __init__(self, config: Config, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self.slots = config.slots
        self._config = config
        self._clock = clock
        self.started = clock()
        self._epoch = now() - self.started
        self._tasks: dict[str, Task] = {}
        self._named: dict[str, Task] = {}  # the newest of each external id
        self._ends: list[tuple[float, str]] = []  # a heap of the running tasks

    @property
    def now(self) -> float:
        return self._clock()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All that were ever made, the oldest first."""
        return tuple(self._tasks.values())

    @property
    def running(self) -> int:
        """Slots that our tasks hold."""
        while self._ends and self._ends[0][0] <= self.now:
            heapq.heappop(self._ends)
        return len(self._ends)

    @property
    def full(self) -> bool:
        return self.slots is not None and self.running + self._neighbour() >= self.slots

    def _neighbour(self) -> int:
        """Slots that somebody else on the account holds: another number every ``neighbour_seconds``."""
        if not self._config.neighbour:
            return 0
        period = math.floor((self.now - self.started) / self._config.neighbour_seconds)
        return math.floor(draw(self._config.seed, "neighbour", period) * (self._config.neighbour + 1))

    def taken(self, external_task_id: str | None) -> bool:
        return external_task_id is not None and external_task_id in self._named

    def make(self, order: Order, *, failure: str = "", endless: bool = False, host: str = "") -> Task:
        """A new task, running from now on."""
        number = len(self._tasks) + 1
        length = self._length(draw(self._config.seed, "length", number))
        fields = order.fields
        if self._config.scaled:
            length *= int(fields.get("duration", "5")) / 5 * _SLOWER[fields.get("mode", "std")]
        task = Task(
            id=f"{int((self._epoch + self.started) * 1000)}{number:06d}",
            order=order,
            started=self.now,
            ends=math.inf if endless else self.now + length,
            failure=order.failure or failure,
            host=host,
        )
        self._tasks[task.id] = task
        heapq.heappush(self._ends, (task.ends, task.id))
        if task.external_task_id is not None:
            self._named[task.external_task_id] = task
        return task

    def _length(self, chance: float) -> float:
        seconds = self._config.task_seconds
        return seconds(chance) if callable(seconds) else seconds[0] + (seconds[1] - seconds[0]) * chance

    def task(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    def find(self, name: str) -> Task | None:
        """The task with this task id or, once lookups find it, with this external id."""
        if task := self._tasks.get(name):
            return task
        task = self._named.get(name)
        if task is None or not self._config.lookups or self.now < task.started + self._config.lookup_lag:
            return None
        return task

    def finish(self) -> int:
        """End every running task now; returns how many."""
        count = self.running
        for _, task_id in self._ends:
            self._tasks[task_id].ends = self.now
            self._tasks[task_id].ended.set()
        self._ends.clear()
        return count

    def milliseconds(self, moment: float) -> int:
        """A moment of the server's clock as Unix milliseconds."""
        return int((self._epoch + moment) * 1000)

    def created(self, task: Task) -> dict[str, Any]:
        """``data`` of the create call's answer."""
        external = task.external_task_id
        born = self.milliseconds(task.started)
        return {
            "task_id": task.id,
            "task_status": "submitted",
            "task_info": {} if external is None else {"external_task_id": external},
            "created_at": born,
            "updated_at": born,
        }

    def described(self, task: Task) -> dict[str, Any]:
        """``data`` of a query's answer at this time, without its result."""
        now = self.now
        status = task.status(now)
        since = {"submitted": task.started, "processing": task.processing_from}.get(status, task.ends)
        data = self.created(task) | {
            "task_status": status,
            "task_status_msg": task.failure if status == "failed" else "",
            "updated_at": self.milliseconds(since),
        }
        if status == "failed":
            data["final_unit_deduction"] = "0"
        elif status == "succeed":
            fields = task.order.fields
            rate = _UNITS[fields.get("mode", "std")][fields.get("sound") == "on"]
            data["final_unit_deduction"] = f"{rate * int(task.seconds):g}"
        return data
