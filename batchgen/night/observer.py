"""Watches the events of a run for what its summary alone doesn't say."""

from __future__ import annotations

from collections import deque
from typing import Final

from batchgen.night.summary import Part
from batchgen.run.events import Event, JobEvent, Noticed, Totals
from batchgen.run.work_events import Created, Failed, NotCreated

LINES: Final = 200
REMEMBERED: Final = 200  # jobs, the last ones whose answers may have had their prompts


class Observer:
    """A listener of a run's events: what each manifest paid for, the most slots, whether prices differ."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.slots = 0
        self.prices_differ = False
        self.lines: deque[str] = deque(maxlen=LINES)  # of the log, the newest last
        self.answered: deque[str] = deque(
            maxlen=REMEMBERED
        )  # external_task_ids of jobs that the API said something of

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Totals():
                self.slots = max(self.slots, event.running)
            case Created():
                self._paid(event)
            case NotCreated():
                self.answered.append(event.external_task_id)
                if event.state == "unknown":
                    self._paid(event)
            case Failed():
                self.answered.append(event.external_task_id)
                self.part(event.manifest).failed_tasks += 1
            case Noticed(action="prices_differ"):
                self.prices_differ = True

    def part(self, manifest: str) -> Part:
        """What is known of a manifest."""
        return self.parts.setdefault(manifest, Part())

    def _paid(self, event: JobEvent) -> None:
        part = self.part(event.manifest)
        part.created += 1
        part.cost_usd += event.cost_usd or 0.0
