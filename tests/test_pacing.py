"""Pacing: waits stay in their bounds, the learned limit is proven and recovers, questions are few."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from batchgen.pacing import PROBE_CAP, Lengths, Slots, backoff


@given(st.integers(0, 10_000), st.floats(0.01, 10), st.floats(10, 100), st.integers())
def test_a_wait_is_within_its_bounds(attempt: int, first: float, cap: float, seed: int) -> None:
    seconds = backoff(attempt, random.Random(seed), first=first, cap=cap)
    assert first <= seconds <= 1.5 * cap


def test_waits_are_jittered_at_the_cap_too() -> None:
    rng = random.Random(1)
    waits = {backoff(100, rng, cap=60) for _ in range(50)}
    assert len(waits) == 50
    assert max(waits) - min(waits) > 15


class Account:
    """An account with slots, some of them held by a neighbour, and a Slots that works against it."""

    def __init__(self, told: int | None, capacity: int) -> None:
        self.slots = Slots(told)
        self.capacity = capacity
        self.running = 0
        self.creates = 0
        self.refusals = 0
        self.proven = 0

    def create(self) -> None:
        self.slots.take()
        self.creates += 1
        if self.running < self.capacity:
            self.running += 1
            self.proven = max(self.proven, self.running)
            self.slots.started()
        else:
            self.refusals += 1
            self.slots.refused()

    def end(self) -> None:
        self.running -= 1
        self.slots.ended()


@given(st.integers(1, 30), st.lists(st.sampled_from(["create", "end", "grow", "shrink"]), max_size=300))
def test_the_learned_limit_is_at_most_one_above_what_was_proven(capacity: int, steps: list[str]) -> None:
    account = Account(None, capacity)
    for step in steps:
        if step == "create" and account.slots.free:
            account.create()
        elif step == "end" and account.running:
            account.end()
        elif step == "grow":
            account.capacity += 1
        elif step == "shrink" and account.capacity > 1:
            account.capacity -= 1
        assert account.slots.limit == float("inf") or account.slots.limit <= max(account.proven, 1) + 1
        assert account.slots.running == account.running
        assert account.slots.limit >= 1


@given(st.integers(1, 20), st.lists(st.sampled_from(["create", "end"]), max_size=200))
def test_a_told_limit_is_never_exceeded(told: int, steps: list[str]) -> None:
    account = Account(told, 10)
    for step in steps:
        if step == "create" and account.slots.free:
            account.create()
        elif step == "end" and account.running:
            account.end()
        assert account.running <= told


def turnover(account: Account, ends: int) -> None:
    for _ in range(ends):
        while account.slots.free:
            account.create()
        account.end()


def test_a_steady_limit_costs_few_refusals() -> None:
    account = Account(None, 20)
    turnover(account, 3000)
    assert account.running >= 18
    assert account.refusals / account.creates < 0.02


@given(st.integers(1, 10), st.integers(11, 30))
def test_the_limit_recovers_when_a_neighbour_leaves(few: int, many: int) -> None:
    account = Account(None, few)
    turnover(account, 500)
    account.capacity = many
    turnover(account, 2 * PROBE_CAP + 20 * (many - few))
    assert account.slots.limit >= many


def test_the_limit_falls_when_a_neighbour_comes() -> None:
    account = Account(None, 20)
    turnover(account, 100)
    while account.running > 5:
        account.end()
    account.capacity = 6
    turnover(account, 50)
    assert account.slots.limit <= 7


def asks(lengths: Lengths, length: float, *, wanted: bool) -> tuple[int, float]:
    """(questions, seconds between the task's end and the question that saw it)"""
    age, count = 0.0, 0
    while True:
        age += lengths.next_ask("pro/5", age, wanted=wanted)
        count += 1
        if age >= length:
            return count, age - length


def test_questions_are_few_and_ends_are_seen_soon_where_lengths_are_known() -> None:
    rng = random.Random(3)
    lengths = Lengths()
    lengths.learn("pro/5", [rng.uniform(90, 110) for _ in range(200)])
    results = [asks(lengths, rng.uniform(90, 110), wanted=True) for _ in range(500)]
    assert sum(count for count, _ in results) / 500 <= 12
    assert sum(lag for _, lag in results) / 500 <= 3.0


def test_questions_are_lazier_when_no_slot_is_waited_for() -> None:
    lengths = Lengths()
    lengths.learn("pro/5", [60.0, 90.0, 120.0] * 20)
    assert lengths.next_ask("pro/5", 100.0, wanted=False) > 2 * lengths.next_ask("pro/5", 100.0, wanted=True)


@given(st.lists(st.floats(0, 1e6), max_size=50), st.floats(0, 1e7), st.booleans())
def test_a_question_never_comes_at_once_and_never_too_late(
    seen: list[float], age: float, wanted: bool
) -> None:
    lengths = Lengths()
    if seen:
        lengths.learn("std/5", seen)
    wait = lengths.next_ask("std/5", age, wanted=wanted)
    assert 1.0 <= wait <= max(10.0, *seen, age, 0.0) * 3


def test_a_kind_never_seen_starts_with_the_stated_first_wait() -> None:
    assert Lengths(first=0.2).next_ask("std/5", 0.0, wanted=True) == 0.2
