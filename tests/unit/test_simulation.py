"""Whole nights in virtual time, with the program's own pacing: short nights, few questions, few refusals.

``make bench`` plays longer nights and more of them; ``tests/bench/README.md`` says what came of it.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.simulate import LENGTHS, Night, bound, goal, greedy, least_lag, simulate

QUERIES = 12
REFUSALS = 0.02


@pytest.mark.parametrize("told", [True, False], ids=["told", "learned"])
@pytest.mark.parametrize("lengths", ["steady", "within 20%", "threefold"])
@pytest.mark.parametrize("slots", [5, 20])
def test_a_night_is_about_as_long_as_its_slots_make_it(slots: int, lengths: str, told: bool) -> None:
    night = Night(slots, lengths, told)
    outcome = simulate(night)
    limit = goal(night)
    assert limit is not None
    assert outcome.over_bound <= limit
    assert outcome.queries <= QUERIES
    assert outcome.refusals == 0 or (not told and outcome.refusals < REFUSALS)
    assert outcome.most == slots


@pytest.mark.parametrize(("lengths", "lost"), [("bimodal", 0.04), ("heavy tail", 0.09)])
def test_lengths_of_any_shape_cost_few_questions_and_little_time(lengths: str, lost: float) -> None:
    outcome = simulate(Night(20, lengths, rounds=100))
    assert outcome.over_greedy <= lost
    assert outcome.queries <= QUERIES


@pytest.mark.parametrize("told", [True, False], ids=["told", "learned"])
def test_a_neighbour_costs_the_slots_he_holds_and_little_more(told: bool) -> None:
    night = Night(20, "threefold", told, known=True, neighbour=8, rounds=150)
    outcome = simulate(night)
    assert outcome.over_bound <= (0.06 if told else 0.09)
    assert outcome.refusals < REFUSALS


def test_slots_that_a_neighbour_gave_back_are_found_soon_where_there_are_few() -> None:
    outcome = simulate(Night(5, "threefold", known=True, neighbour=2))
    assert outcome.over_bound <= 0.06
    assert outcome.refusals < REFUSALS


def test_an_account_with_one_slot_refuses_once_at_the_start_and_rarely_later() -> None:
    outcome = simulate(Night(1, "threefold", told=False))
    assert outcome.refusals < REFUSALS
    assert outcome.over_bound <= 0.09


def test_waves_of_ends_do_not_carry_the_learned_limit_above_the_account() -> None:
    assert simulate(Night(100, "within 20%", told=False, rounds=30)).refusals <= 0.01


def test_a_thousand_slots_are_filled_and_kept_full() -> None:
    outcome = simulate(Night(1000, "within 20%", told=False, rounds=8))
    assert outcome.most == 1000
    assert outcome.over_greedy <= 0.09  # eight rounds pay for the learning of a whole night
    assert outcome.refusals < REFUSALS


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 12),
    st.sampled_from(sorted(LENGTHS)),
    st.booleans(),
    st.integers(0, 5),
    st.integers(0, 1000),
)
def test_no_night_ends_before_its_bound_or_without_all_its_tasks(
    slots: int, lengths: str, told: bool, neighbour: int, seed: int
) -> None:
    night = Night(slots, lengths, told, neighbour=min(neighbour, slots - 1), rounds=6, visit=600.0, seed=seed)
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
    assert (
        100 * 2 / 9 / 5 < least < 100 / 18
    )  # 2/9 of the span over the questions; nine of them spread evenly
