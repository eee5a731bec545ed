"""Caps and budgets in a run: the smallest room decides, a job waits while money may come back, and nothing waits for ever."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from batchgen.amounts import Use
from batchgen.errors import OverBudget
from batchgen.models import Job, Record, State
from batchgen.run.lanes import Lane, Work
from batchgen.run.plan import Action, Step
from batchgen.run.pool import Limits, Pool

PERIOD = 1000.0  # seconds


def job(lane: Lane, cost: int) -> Work:
    return Work(lane, Step(cast(Job, None), Action.CREATE, "x", "new", cost))


def ended(work: Work, charged: int | None, state: State = State.FAILED) -> Record:
    return Record(
        "x", "x", "m", "x", 1, "d", "{}", state, "/clips/x.mp4", estimate=work.cost, charged=charged
    )


def refusal(spent: int, limit: int, cost: int, ends: float = PERIOD) -> OverBudget:
    return OverBudget([Use("day", limit, spent, 0.0, ends, "soon")], cost)


@dataclass
class Night:
    """A run's pool beside a ledger's budget, whose money it knows as the ledger does: exactly, and at once."""

    pool: Pool
    budget: int | None
    now: float = 0.0
    flying: list[Work] = field(default_factory=list)
    running: list[Work] = field(default_factory=list)
    spent: int = 0  # in this period, charges and estimates
    of_run: int = 0
    of_lane: dict[str, int] = field(default_factory=dict)

    def count(self, work: Work, micros: int) -> None:
        self.spent += micros
        self.of_run += micros
        self.of_lane[work.lane.name] = self.of_lane.get(work.lane.name, 0) + micros

    def permit(self) -> bool:
        """Let one create go, if one may; the ledger refuses it where the budget has no room."""
        work = self.pool.next(self.now)
        if work is None:
            return False
        if self.budget is not None and self.spent + work.cost > self.budget:
            self.pool.over_budget(
                work, self.now, refusal(self.spent, self.budget, work.cost), self.now + PERIOD
            )
            work.lane.again.append(work)
        else:
            self.count(work, work.cost)
            self.flying.append(work)
        return True

    def answer(self, *, accepted: bool) -> None:
        work = self.flying.pop(0)
        if accepted:
            self.pool.started(work, self.now)
            self.running.append(work)
        else:
            self.count(work, -work.cost)
            self.pool.came_back(work, self.now)

    def end(self, charged: int | None) -> None:
        work = self.running.pop(0)
        self.count(work, 0 if charged is None else charged - work.cost)
        work.record = ended(work, charged)
        self.pool.ended(work)


def night(costs: list[list[int]], run: int | None, own: int | None, budget: int | None) -> Night:
    pool = Pool(Limits(concurrency=3, max_running=5, max_cost=run), random.Random(1))
    for number, its in enumerate(costs):
        lane = Lane(f"m{number}", max_cost=own)
        lane.queue.extend(job(lane, cost) for cost in its)
        pool.lanes.append(lane)
    return Night(pool, budget)


LIMIT = st.none() | st.integers(1, 60)
COSTS = st.lists(st.lists(st.integers(1, 12), max_size=12), min_size=1, max_size=3)
# What becomes of creates and tasks: refused; what it was charged; None is not known.
FATES = st.lists(st.sampled_from(["refused", "free", "cheap", "full", "unsaid"]), min_size=1, max_size=20)


@settings(max_examples=200, phases=[Phase.explicit, Phase.generate])
@given(COSTS, LIMIT, LIMIT, LIMIT, FATES, st.integers())
def test_no_cap_is_exceeded_by_a_micro_dollar_and_what_is_left_has_no_room(
    costs: list[list[int]],
    run: int | None,
    own: int | None,
    budget: int | None,
    fates: list[str],
    seed: int,
) -> None:
    one, rng, turn = night(costs, run, own, budget), random.Random(seed), 0
    for _ in range(400):
        fate = fates[turn % len(fates)]
        if rng.random() < 0.6 and one.permit():
            pass
        elif one.flying and (rng.random() < 0.5 or not one.running):
            one.answer(accepted=fate != "refused")
            turn += 1
        elif one.running:
            charge = {"free": 0, "cheap": 1, "full": one.running[0].cost}.get(fate)
            one.end(charge)
            turn += 1
        elif not one.permit():
            break
        assert run is None or one.of_run <= run
        assert budget is None or one.spent <= budget
        assert own is None or all(spent <= own for spent in one.of_lane.values())
    else:
        raise AssertionError("it never ends")
    assert one.pool.budget.spent == one.of_run and one.pool.budget.running == 0
    for lane in one.pool.lanes:
        assert lane.budget.spent == one.of_lane.get(lane.name, 0)
        if lane.waiting:
            cost = lane.next_cost
            assert (
                (run is not None and one.of_run + cost > run)
                or (budget is not None and one.spent + cost > budget)
                or (own is not None and one.of_lane.get(lane.name, 0) + cost > own)
            )
            assert one.pool.closed or lane.closed


def test_a_cheaper_job_of_another_manifest_is_tried_where_a_dearer_one_has_no_room() -> None:
    one = night([[10, 10], [3, 3]], None, None, 13)
    while one.permit():
        pass
    assert [work.cost for work in one.flying] == [10, 3] and one.pool.closed is None


def test_a_run_without_room_waits_for_its_tasks_and_is_not_called_stuck() -> None:
    one = night([[5, 5]], None, None, 5)
    one.permit()
    one.answer(accepted=True)
    one.permit()
    pool = one.pool
    assert pool.next(1.0) is None and pool.full and pool.blocked and pool.closed is None
    assert pool.delay(1.0) == PERIOD - 1.0
    one.end(0)
    assert one.permit() and len(one.flying) == 1 and pool.closed is None


def test_a_period_that_ends_lets_the_next_create_be_tried() -> None:
    one = night([[5, 5]], None, None, 5)
    one.permit()
    one.answer(accepted=True)
    one.permit()
    one.now, one.spent = PERIOD, 0
    assert one.permit() and len(one.flying) == 1


@pytest.mark.parametrize(
    ("run", "own", "budget", "kind", "says"),
    [
        (
            9,
            None,
            None,
            "cost_cap",
            "the cost cap of $0.000009 was reached: $0.000005 is spent or held; for what is left",
        ),
        (None, 9, None, "manifest_cost_cap", "m0: its cost cap of $0.000009 was reached: $0.000005 is spent"),
        (
            None,
            None,
            9,
            "budget",
            "the day's budget of $0.000009 has no room for more: $0.000005 is spent or held",
        ),
    ],
)
def test_tasks_that_never_end_leave_the_cap_or_budget_as_the_reason(
    run: int | None, own: int | None, budget: int | None, kind: str, says: str
) -> None:
    one = night([[5, 5, 5]], run, own, budget)
    one.permit()
    one.answer(accepted=True)
    one.permit()
    assert one.pool.blocked
    one.pool.close_as_stuck()
    reason = one.pool.closed or one.pool.lanes[0].closed
    assert reason is not None and reason.kind == kind
    assert str(reason).startswith(says) and "$0.000015" in str(reason)


def test_a_charge_that_comes_after_the_end_is_counted_and_one_of_an_earlier_run_is_not() -> None:
    one = night([[5, 5]], 9, None, None)
    one.permit()
    (work,) = one.flying
    one.answer(accepted=True)
    work.record = ended(work, None, State.SUBMITTED)  # it succeeded, and its clip isn't there yet
    one.pool.ended(work)
    assert one.pool.budget.spent == 5 and one.pool.budget.running == 0
    work.record = ended(work, 3, State.SUCCEEDED)
    one.pool.ended(work)
    assert one.pool.budget.spent == 3
    earlier = job(one.pool.lanes[0], 7)
    one.pool.found(earlier)
    earlier.record = ended(earlier, 7)
    one.pool.ended(earlier)
    assert one.pool.budget.spent == 3


@pytest.mark.parametrize(
    ("costs", "left"), [([3, 2], "1 of them costs"), ([3, 2, 4, 1], "2 of them cost"), ([3, 3], None)]
)
@pytest.mark.parametrize("limit", ["run", "own", "budget"])
def test_a_cheaper_job_behind_one_without_room_keeps_no_run_busy_and_is_spoken_of(
    limit: str, costs: list[int], left: str | None
) -> None:
    """A manifest's order is what its writer wanted first: it is kept, and the room that stays is named."""
    one = night([costs], *(2 if name == limit else None for name in ("run", "own", "budget")))
    assert not any([one.permit() for _ in range(3)][1:]) and not one.flying
    reason = one.pool.closed or one.pool.lanes[0].closed
    assert reason is not None
    said = f"; {left} no more than the $0.000002 that is left, but stand"
    assert (said in str(reason)) if left else "behind a dearer job" not in str(reason)


def waits_for(one: Night) -> str:
    return one.pool.money_wait or ""


def test_a_wait_for_money_is_known_with_what_it_is_for_and_a_wait_for_a_slot_is_none() -> None:
    for limit, begins in (
        ("run", "the cost cap of"),
        ("own", "m0: its cost cap of"),
        ("budget", "the day's budget of"),
    ):
        one = night([[5] * 9], *(9 if name == limit else None for name in ("run", "own", "budget")))
        assert waits_for(one) == ""
        one.permit()
        one.answer(accepted=True)
        one.permit()
        text = waits_for(one)
        assert (
            text.startswith(begins)
            and "$0.000005 is spent or held; for the next clip it would have to be $0.00001" in text
        )
        one.end(0)
        assert waits_for(one) == ""
    full = night([[5] * 9], None, None, None)
    while full.permit():
        full.answer(accepted=True)
    assert full.pool.full and waits_for(full) == ""


def test_a_cheaper_job_is_tried_before_a_run_that_does_nothing_else_is_closed() -> None:
    one = night([[10], [3]], None, None, 5)
    assert [one.permit(), one.permit()] == [True, True]
    assert [work.cost for work in one.flying] == [3] and one.pool.closed is None


def test_an_end_that_gives_money_back_lets_the_next_create_go_while_others_run() -> None:
    one = night([[5, 5, 5]], None, None, 10)
    for _ in range(2):
        one.permit()
        one.answer(accepted=True)
    assert one.permit() and not one.permit()  # refused, and known to be
    one.end(0)
    assert one.permit() and len(one.flying) == 1 and len(one.running) == 1


def test_a_refusal_from_before_the_last_end_closes_no_run_that_has_room_since() -> None:
    one = night([[5, 5]], None, None, 5)
    one.permit()
    one.answer(accepted=True)
    late = one.pool.next(0.0)
    assert late is not None
    one.end(0)  # while the refusal is on its way
    one.pool.over_budget(late, 0.0, refusal(5, 5, 5), PERIOD)
    late.lane.again.append(late)
    assert one.pool.closed is None
    assert one.permit() and one.flying == [late]
