"""The pacing of whole runs, in virtual time: short nights, few questions, few refusals.

``make bench`` plays whole nights; ``tests/bench/README.md`` says what came of it.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.simulate import LENGTHS, Night, bound, goal, greedy, least_lag, simulate

QUERIES = 12
REFUSALS = 0.07  # of a short night; the tries at its start are as many as in a whole one


@pytest.mark.parametrize("told", [True, False], ids=["told", "learned"])
@pytest.mark.parametrize("lengths", ["steady", "within 20%", "threefold"])
def test_a_night_is_about_as_long_as_its_slots_make_it(lengths: str, told: bool) -> None:
    night = Night(5, lengths, told, rounds=20)
    outcome = simulate(night)
    limit = goal(night)
    assert limit is not None
    assert outcome.over_greedy <= limit
    assert outcome.queries <= QUERIES
    assert outcome.refusals == 0 or (not told and outcome.refusals < REFUSALS)
    assert outcome.most == 5


@pytest.mark.parametrize(("lengths", "lost"), [("bimodal", 0.05), ("heavy tail", 0.09)])
def test_lengths_of_any_shape_cost_few_questions_and_little_time(lengths: str, lost: float) -> None:
    outcome = simulate(Night(5, lengths, rounds=20))
    assert outcome.over_greedy <= lost
    assert outcome.queries <= QUERIES + 1


def test_a_neighbour_costs_the_slots_he_holds_and_little_more() -> None:
    outcome = simulate(Night(5, "threefold", told=False, known=True, neighbour=2, rounds=40))
    assert outcome.over_bound <= 0.12
    assert outcome.refusals < REFUSALS


@pytest.mark.parametrize("told", [True, False], ids=["told", "learned"])
def test_refusals_of_a_moment_cost_few_slots_and_little_more_than_themselves(told: bool) -> None:
    outcome = simulate(Night(5, "threefold", told, rounds=30, momentary=0.04))
    assert outcome.over_greedy <= 0.1
    assert outcome.refusals < 0.04 + REFUSALS


def test_an_account_with_one_slot_refuses_once_at_the_start_and_rarely_later() -> None:
    outcome = simulate(Night(1, "threefold", told=False, rounds=40))
    assert outcome.refusals < REFUSALS
    assert outcome.over_greedy <= 0.09


def test_many_slots_are_filled_soon_and_kept_full() -> None:
    outcome = simulate(Night(40, "within 20%", told=False, rounds=4))
    assert outcome.most == 40
    assert outcome.over_greedy <= 0.06
    assert outcome.refusals < REFUSALS


@settings(max_examples=6, deadline=None)
@given(
    st.integers(1, 8),
    st.sampled_from(sorted(LENGTHS)),
    st.booleans(),
    st.integers(0, 5),
    st.integers(0, 1000),
)
def test_no_night_ends_before_its_bound_or_without_all_its_tasks(
    slots: int, lengths: str, told: bool, neighbour: int, seed: int
) -> None:
    night = Night(slots, lengths, told, neighbour=min(neighbour, slots - 1), rounds=4, visit=600.0, seed=seed)
    outcome = simulate(night)
    assert outcome.bound <= outcome.makespan < math.inf
    assert outcome.bound <= outcome.greedy * (1 + 1e-9)
    assert outcome.most <= slots


def test_the_bound_counts_only_slots_that_were_free() -> None:
    assert bound([10.0] * 6, [(0.0, 2)]) == 30
    assert bound([10.0] * 6, [(0.0, 2), (10.0, 0), (50.0, 2)]) == 70
    assert bound([100.0, 1.0], [(0.0, 2)]) == 100
    assert greedy([3.0, 1.0, 1.0, 3.0], 2) == 5


def test_the_least_lag_of_even_lengths_is_what_arithmetic_says() -> None:
    lengths = [100 + step / 10 for step in range(1000)]
    least = least_lag(lengths, queries=5)
    # From 2/9 of the span, divided by the questions, to that of nine questions that are spread evenly.
    assert 100 * 2 / 9 / 5 < least < 100 / 18
