"""What a run waits for, and how it is told: once when it begins, and once when it is over."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from batchgen.run.events import Events
from batchgen.run.pool import Pool
from batchgen.run.waits import shown_duration
from batchgen.run.work_events import Awaited, Held

TOLD = 5.0  # seconds that a wait takes before it is told
GONE = 10.0  # seconds without it after which it is over; one that comes back before goes on
MOVED = 3600.0  # seconds by which its end has to move to be told once more
WORDS: Mapping[Awaited, str] = {  # the first of them is what a bar shows
    "network": "the network",
    "slots": "a slot",
    "pause": "the end of a pause",
    "money": "money",
    "retry": "the next try of a failed job",
}


class Reason(NamedTuple):
    """What creates, or queries, wait for now. ``until`` is by the loop's clock; None where nobody can tell."""

    kind: Awaited
    why: str
    until: float | None = None


def reason(pool: Pool, now: float, quiet_until: float) -> Reason | None:
    """What the run waits for; None where it works, or only follows what runs. Queries pause until ``quiet_until``."""
    lanes = list(pool.pending_lanes())
    paused = max(quiet_until, pool.paused_until if lanes else -math.inf)
    if paused > now:
        return Reason("pause", "the API was asked too fast, or gave no clear answer", paused)
    if not lanes:
        times = [lane.retries[0][0] for lane in pool.lanes if lane.retries]
        if pool.has_retries and not pool.slots.running:
            return Reason("retry", "its task failed, and nothing else is left to be done", min(times))
        return None
    slots = pool.slots
    if slots.creating >= pool.limits.concurrency:
        return None
    if all(map(pool.waits_for_money, lanes)) and (short := pool.money_wait) is not None:
        spent = None if pool.no_room is None else pool.no_room.until
        return Reason("money", f"{short}. What runs may cost less than its estimate", spent)
    if now < pool.full_until:
        return Reason("slots", f"the account has none to spare; {slots.running} of ours run", pool.full_until)
    if pool.breaker.wary and slots.running + slots.creating:
        return Reason("slots", "tasks failed, so one runs at a time")
    if not slots.free:
        return Reason("slots", f"{slots.running + slots.creating} are taken, and no more may be")
    if all(lane.full or pool.waits_for_money(lane) for lane in lanes):
        return Reason("slots", "each manifest has as many as its max_running")
    return None


@dataclass(slots=True)
class _Wait:
    since: float
    told: float | None = None  # the ``until`` that was told
    said: bool = False
    gone: float | None = None  # since when there is no such wait


class Holds:
    """Tells what one run waits for. Times are of the loop's clock."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._waits: dict[Awaited, _Wait] = {}

    def observe(self, found: Reason | None, now: float) -> float | None:
        """Take what the run waits for from now on. Returns after how many seconds this is to be called again, if it is."""
        if found is not None:
            wait = self._waits.setdefault(found.kind, _Wait(now))
            wait.gone = None
            long = found.until is not None and found.until - wait.since >= TOLD
            if wait.said:
                self._update(found, wait, now)
            elif long or now >= wait.since + TOLD:
                self._begin(found, wait, now)
        times = []
        for kind, wait in list(self._waits.items()):
            if found is not None and kind == found.kind:
                times += [] if wait.said else [wait.since + TOLD]
                continue
            wait.gone = now if wait.gone is None else wait.gone
            if now >= wait.gone + GONE:
                self._end(kind, wait, now)
            else:
                times.append(wait.gone + GONE)
        return max(min(times) - now, 0.0) if times else None

    def close(self, now: float) -> None:
        """The run waits for nothing more."""
        for kind, wait in list(self._waits.items()):
            self._end(kind, wait, now)

    def _begin(self, found: Reason, wait: _Wait, now: float, *, line: bool = True) -> None:
        wait.said, wait.told = True, found.until
        at = self._events.now
        since = at - (now - wait.since)
        until = None if found.until is None else at + found.until - now
        text = f"waiting for {WORDS[found.kind]} {span(since, until)}: {found.why}"
        event = Held(at=at, kind=found.kind, since=since, until=until, text=text if line else None)
        self._events.emit(event)

    def _update(self, found: Reason, wait: _Wait, now: float) -> None:
        if found.until != wait.told:
            moved = abs((found.until or now) - (wait.told or now))
            self._begin(found, wait, now, line=moved >= MOVED)

    def _end(self, kind: Awaited, wait: _Wait, now: float) -> None:
        del self._waits[kind]
        if wait.said:
            at = self._events.now
            took = (now if wait.gone is None else wait.gone) - wait.since
            text = f"waited for {WORDS[kind]} for {shown_duration(took)}"
            since = at - (now - wait.since)
            event = Held(at=at, kind=kind, since=since, over=True, action="waited", text=text)
            self._events.emit(event)


def span(since: float, until: float | None, form: str = "%H:%M:%S") -> str:
    """``since 02:10:05``, ``since 02:10:05 until 02:20:05``; with its date where that is another day."""
    text = f"since {time.strftime(form, time.localtime(since))}"
    if until is None:
        return text
    same = time.localtime(until)[:3] == time.localtime(since)[:3]
    return f"{text} until {time.strftime(form if same else f'%Y-%m-%d {form}', time.localtime(until))}"
