"""Hints: what calls change about the next query of a task, in virtual time, and what they can't change."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable

import pytest

from batchgen.run.hints import EARLY, LATEST, MISSED, Hints, Line
from batchgen.run.polling import DOUBTS, LONGEST_QUIET
from tests.support import virtual_time
from tests.support.virtual_time import Loop

NAMES = ("842250903629086785", "m.hero.0123")


def listening(scene: Callable[[Loop, Hints, Line], Awaitable[None]], *, addressed: bool = False) -> None:
    """Play ``scene`` while the task with these NAMES is followed."""

    async def main(loop: Loop) -> None:
        hints = Hints()
        with hints.line(NAMES, addressed=addressed) as line:
            await scene(loop, hints, line)

    virtual_time.run(main)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ended", [True, False])
def test_a_call_of_a_tasks_end_ends_the_wait_for_its_query_and_no_other_call_does(
    name: str, ended: bool
) -> None:
    async def scene(loop: Loop, hints: Hints, line: Line) -> None:
        loop.call_later(7.0, lambda: hints.hear([name], ended=ended))
        assert await line.wait(100.0) is ended
        assert loop.time() == (7.0 if ended else 100.0)
        assert await line.wait(5.0) is False  # once

    listening(scene)


def test_a_call_that_comes_while_the_query_is_under_way_is_heard_after_it() -> None:
    async def scene(loop: Loop, hints: Hints, line: Line) -> None:
        hints.hear(NAMES, ended=True)
        hints.hear(NAMES, ended=False)  # late, or out of order
        assert (await line.wait(100.0), loop.time()) == (True, 0.0)

    listening(scene)


def test_a_call_that_comes_before_its_task_is_followed_is_heard_then() -> None:
    async def scene(loop: Loop, hints: Hints, line: Line) -> None:
        hints.hear(["1", "m.other"], ended=True)
        hints.hear(["1", "m.other"], ended=False)
        with hints.line(("1", "m.other"), addressed=True) as other:
            assert (await other.wait(100.0), loop.time()) == (True, 0.0)
        with hints.line(("1", "m.other"), addressed=True) as again:
            assert await again.wait(1.0) is False

    listening(scene)


def test_names_that_nobody_follows_are_kept_up_to_a_number_the_latest_of_them() -> None:
    async def scene(loop: Loop, hints: Hints, line: Line) -> None:
        for number in range(3 * EARLY):
            hints.hear([f"x{number}"], ended=True)
            assert len(hints._early) <= EARLY
        assert sys.getsizeof(hints._early) < 1 << 20
        with hints.line((f"x{2 * EARLY}",), addressed=False) as kept:
            assert await kept.wait(1.0) is True
        with hints.line(("x0",), addressed=False) as gone:
            assert await gone.wait(1.0) is False

    listening(scene)


def test_a_task_that_is_called_ended_too_early_is_queried_a_few_times_and_then_as_if_nobody_had_called() -> (
    None
):
    """However many such calls come: the next one is listened to after ever longer times."""

    async def scene(loop: Loop, hints: Hints, line: Line) -> None:
        async def flood() -> None:
            while True:
                hints.hear(NAMES, ended=True)
                await asyncio.sleep(0.01)

        flooding = asyncio.create_task(flood())
        queries, wait = [], 1000.0
        while loop.time() < 3600:
            assert await line.wait(wait)
            queries.append(loop.time())
            wait = min(1000.0, line.doubt())
            assert (wait < 1000.0) is (len(queries) <= DOUBTS)
        flooding.cancel()
        pauses = [after - before for before, after in itertools.pairwise(queries)]
        assert [round(one) for one in pauses[:7]] == [1, 2, 4, 8, 16, 32, 60]
        assert min(pauses[6:]) > LONGEST_QUIET - 1e-6
        assert len(queries) < 70

    listening(scene)


def test_a_failed_query_is_repeated_after_its_own_wait_however_many_calls_come() -> None:
    async def scene(loop: Loop, hints: Hints, line: Line) -> None:
        loop.call_later(1.0, lambda: hints.hear(NAMES, ended=True))
        assert (await line.wait(line.rest(30.0)), loop.time()) == (True, 30.0)

    listening(scene)


def test_an_end_is_expected_to_be_called_of_a_task_that_was_called_before_or_was_told_to_call() -> None:
    async def scene(loop: Loop, hints: Hints, line: Line) -> None:
        with hints.line(("2",), addressed=False) as mute:
            assert (line.expected, mute.expected) == (False, False)
            hints.hear(["2"], ended=False)  # its own call
            assert (line.expected, mute.expected) == (False, True)
            hints.hear(["2"], ended=True)
            mute.end()  # now calls of ends are known to come, for those that were told to call
            assert line.expected
            with hints.line(("3",), addressed=False) as foreign:
                assert not foreign.expected

    listening(scene, addressed=True)


def test_no_end_is_expected_to_be_called_while_several_of_the_latest_were_not() -> None:
    async def scene(loop: Loop, hints: Hints, line: Line) -> None:
        hints.hear(NAMES, ended=False)
        for number in range(MISSED):
            assert line.expected
            with hints.line((f"{number}",), addressed=True) as other:
                hints.hear([f"{number}"], ended=False)
                other.end()
        assert not line.expected
        with hints.line(("4",), addressed=False) as foreign:
            foreign.end()  # which says nothing about calls
        for number in range(LATEST - MISSED + 1):
            assert (line.expected, hints.proven) == (False, False)
            with hints.line((f"{number}",), addressed=True) as other:
                hints.hear([f"{number}"], ended=True)
                other.end()
        assert (line.expected, hints.proven) == (True, True)

    listening(scene)
