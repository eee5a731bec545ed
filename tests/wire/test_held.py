"""What a run waits for is told: when it begins, since when and until when, and when it is over."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from batchgen.run.events import Event, Events
from batchgen.run.held import GONE, TOLD, Holds, Reason, span
from batchgen.run.reach import UNREACHABLE
from batchgen.run.work_events import Held
from tests.support.nights import Night, play
from tests.support.program import Desk
from tests.support.terminal import on_a_terminal
from tests.support.virtual_time import EPOCH
from tests.wire.test_reach import write_jobs

HOUR = 3600.0
MINUTES = (60.0, 180.0)
CLIP = 0.42  # US dollars


def told(night: Night) -> list[Held]:
    return [event for event in night.heard if isinstance(event, Held)]


def lines(night: Night, kind: str) -> list[str]:
    return [event.text for event in told(night) if event.kind == kind and event.text]


def test_a_night_tells_once_that_it_waits_for_slots_and_once_that_it_does_so_no_more() -> None:
    async def scene(night: Night) -> None:
        assert (await night.run(max_running=5)).code == 0
        begun, over = told(night)
        assert (begun.kind, begun.over, begun.until) == ("slots", False, None)
        assert (over.kind, over.over) == ("slots", True)
        assert begun.since == over.since
        assert begun.since < night.loop.now() - HOUR / 8
        assert begun.level == over.level == "notice"
        assert begun.text == f"waiting for a slot {span(begun.since, None)}: 5 are taken, and no more may be"
        assert over.text is not None
        assert over.text.startswith("waited for a slot for ")

    play(scene, 40, slots=5, task_seconds=MINUTES)


def test_an_account_that_others_fill_is_told_with_when_the_next_create_tries() -> None:
    async def scene(night: Night) -> None:
        assert (await night.run()).code == 0
        first = next(event for event in told(night) if event.kind == "slots")
        assert first.until is not None
        assert first.at < first.until < first.at + 60
        assert first.text is not None
        assert first.text.endswith("the account has none to spare; 0 of ours run")
        assert len(lines(night, "slots")) == 2, "for each wait a line at its begin and one at its end"

    play(scene, 1, "slots_full@1,2,3,4,5,6", slots=2, task_seconds=MINUTES)


def test_an_api_that_is_gone_is_named_within_two_seconds_with_when_the_run_gives_up() -> None:
    async def scene(night: Night) -> None:
        asyncio.get_running_loop().call_later(300, night.sandbox.add_fault, "query_reset=1")
        asyncio.get_running_loop().call_later(600, night.sandbox.clear_faults)
        ran = await night.run(timeout=60.0)
        assert ran.code == 0
        (gone, back) = (event for event in told(night) if event.kind == "network")
        asked = min(entry.at for entry in night.entries if entry.fault == "query_reset")
        assert gone.at - EPOCH - asked < 2
        assert gone.until == pytest.approx(gone.since + UNREACHABLE * 60)
        assert (gone.over, back.over, back.since) == (False, True, gone.since)
        named = [event.message for event in night.heard if event.action == "unreachable"]
        assert len(named) == 1
        assert f"can't be reached {span(gone.since, gone.until)}, trying on" in named[0]

    play(scene, 4, slots=2, task_seconds=MINUTES)


def test_while_the_network_is_gone_the_pauses_that_come_of_it_are_not_told_besides() -> None:
    async def scene(night: Night) -> None:
        night.sandbox.add_fault("query_reset=1")
        asyncio.get_running_loop().call_later(240, night.sandbox.clear_faults)
        assert (await night.run(timeout=60.0, max_running=4)).code == 0
        assert [(event.kind, event.over) for event in told(night)] == [("network", False), ("network", True)]

    play(scene, 4, slots=4, task_seconds=MINUTES)


def test_a_pause_that_goes_on_and_on_is_told_once_with_its_end() -> None:
    async def scene(night: Night) -> None:
        night.sandbox.add_fault("rate_limited=1")
        asyncio.get_running_loop().call_later(900, night.sandbox.clear_faults)
        assert (await night.run(timeout=60.0)).code == 0
        begun, *more, over = (event for event in told(night) if event.kind == "pause")
        assert begun.until is not None
        assert begun.until > begun.at
        assert all(event.text is None and not event.over for event in more), (
            "where its end moves, no line is written"
        )
        assert over.over
        assert len(lines(night, "pause")) == 2
        assert 600 < over.at - begun.since < 1200

    play(scene, 4, slots=2, task_seconds=MINUTES)


def test_money_that_may_come_back_is_waited_for_aloud() -> None:
    async def scene(night: Night) -> None:
        ran = await night.run(max_cost=2 * CLIP, max_running=4)
        assert ran.kinds == ["cost_cap"]
        begun, over = lines(night, "money")
        assert ": the cost cap of $0.84 was reached: $0.84 is spent or held; for the next clip" in begun
        assert begun.endswith(". What runs may cost less than its estimate")
        assert over.startswith("waited for money for ")

    play(scene, 5, slots=4, task_seconds=MINUTES)


def test_a_retry_is_waited_for_aloud_where_nothing_else_is_left() -> None:
    async def scene(night: Night) -> None:
        assert (await night.run(retry_wait=600)).code == 0
        begun, over = (event for event in told(night) if event.kind == "retry")
        assert begun.until is not None
        assert begun.until - begun.since == pytest.approx(600, rel=0.6)
        assert over.over

    play(scene, 1, "task_fails_outage@1", task_seconds=MINUTES)


def test_a_night_without_any_wait_tells_of_none() -> None:
    async def scene(night: Night) -> None:
        assert (await night.run(max_running=9)).code == 0
        assert told(night) == []

    play(scene, 3, slots=9, task_seconds=MINUTES)


# -- how it is told ------------------------------------------------------------------------------------------------


def heard(seen: Sequence[tuple[float, Reason | None]]) -> list[tuple[Any, ...]]:
    """What is told where the run waits for these from these seconds on, as (second, kind, over, whether it has a line)."""
    now = 0.0
    events: list[Held] = []

    def hear(event: Event) -> None:
        assert isinstance(event, Held)
        events.append(event)

    holds = Holds(Events(lambda: 1000 + now, hear))
    waits = iter([*seen, (1e9, None)])
    at, found = next(waits)
    then, after = next(waits)
    now = at
    for _ in range(1000):
        again = holds.observe(found, now)
        now = min(then, now + again) if again is not None else then
        if now == then < 1e9:
            found = after
            then, after = next(waits)
    holds.close(now)
    return [
        (event.at - 1000, event.kind, event.over, event.text is not None)
        for event in events
        if event.at < 1e6
    ]


SLOTS, PAUSE = Reason("slots", "all are taken"), Reason("pause", "asked too fast", 60.0)


def test_a_wait_is_told_once_it_lasts_or_at_once_where_it_is_known_to() -> None:
    assert heard([(0, SLOTS), (TOLD - 1, None)]) == []
    assert heard([(0, SLOTS), (TOLD + 1, None)]) == [
        (TOLD, "slots", False, True),
        (TOLD + 1 + GONE, "slots", True, True),
    ]
    assert heard([(0, PAUSE), (60, None)])[0] == (0, "pause", False, True)
    assert heard([(0, Reason("pause", "asked too fast", 1.0)), (1, None)]) == []


def test_a_wait_that_comes_back_soon_goes_on_and_one_that_comes_back_late_is_another() -> None:
    flicker = [(second, SLOTS if second % 2 else None) for second in range(1, 101)]
    assert [event[2] for event in heard(flicker)] == [False, True]
    apart = [(0, SLOTS), (60, None), (120, SLOTS), (180, None)]
    assert [event[2] for event in heard(apart)] == [False, True, False, True]


def test_two_kinds_of_waits_are_told_each_by_its_own() -> None:
    told = heard([(0, SLOTS), (20, PAUSE), (26, SLOTS), (40, None)])
    assert [event[1:3] for event in told] == [
        ("slots", False),
        ("pause", False),
        ("pause", True),
        ("slots", True),
    ]


def test_where_its_end_moves_listeners_hear_of_it_and_logs_do_not() -> None:
    later = PAUSE._replace(until=90.0)
    assert [event[2:] for event in heard([(0, PAUSE), (10, later), (90, None)])] == [
        (False, True),
        (False, False),
        (True, True),
    ]


def test_a_moment_of_another_day_has_its_date() -> None:
    noon = time.mktime((2026, 11, 29, 12, 0, 0, 0, 0, -1))
    assert span(noon, noon + 60) == "since 12:00:00 until 12:01:00"
    assert span(noon, noon + 86400) == "since 12:00:00 until 2026-11-30 12:00:00"
    assert span(noon, None, "%H:%M") == "since 12:00"


def test_the_bar_on_a_terminal_shows_what_is_waited_for(desk: Desk) -> None:
    write_jobs(desk, 2)
    env = {**desk.env, "POWERTOKENS_API_BASE": "http://127.0.0.1:9", "POWERTOKENS_API_KEY": "k"}
    command = [sys.executable, "-m", "batchgen", "run", "--timeout", "0.2", "m.yaml"]
    _, shown = on_a_terminal(command, cwd=desk.folder, env=env)
    assert "0 running, $0.00, waits for the network since " in shown
