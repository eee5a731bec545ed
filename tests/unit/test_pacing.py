"""Pacing: waits stay in their bounds, the learned limit is proven and recovers, questions are few."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.run.lanes import Lane, Work
from batchgen.run.polling import CHANCE, TICK, Lengths, align_to_tick
from batchgen.run.pool import Limits, Pool
from batchgen.run.slots import FIRST, TRY_AFTER, TRY_AFTER_CONFIGURED, TRY_SOON, Slots
from batchgen.run.waits import backoff


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
    """An account with slots, and a Slots that works against it. Some ends are seen late."""

    def __init__(self, told: int | None, capacity: int) -> None:
        self.slots = Slots(told)
        self.capacity = capacity
        self.now = 0.0
        self.running = 0
        self.unseen: list[float] = []
        self.creates = 0
        self.refusals = 0
        self.known = 0  # the most that the slots took to be running

    def create(self) -> None:
        self.now += 1
        self.slots.take()
        self.creates += 1
        if self.running < self.capacity:
            self.running += 1
            self.slots.started(self.now)
        else:
            self.refusals += 1
            self.slots.refused(self.now)
        self.known = max(self.known, self.slots.running)

    def fill(self) -> None:
        while self.slots.free:
            self.create()

    def end(self, *, seen: bool = True) -> None:
        self.now += 1
        self.running -= 1
        self.unseen.append(self.now)
        if seen:
            self.see()

    def see(self) -> None:
        self.slots.ended(self.unseen.pop())

    def turn_over(self, ends: int) -> None:
        for _ in range(ends):
            self.fill()
            self.end()
        self.fill()


@given(
    st.integers(1, 30),
    st.lists(st.sampled_from(["create", "end", "miss", "see", "grow", "shrink"]), max_size=300),
)
def test_the_learned_limit_is_close_to_what_was_seen_to_work(capacity: int, steps: list[str]) -> None:
    account = Account(None, capacity)
    slots = account.slots
    for step in steps:
        if step == "create" and slots.free:
            account.create()
        elif step in ("end", "miss") and account.running:
            account.end(seen=step == "end")
        elif step == "see" and account.unseen:
            account.see()
        elif step == "grow":
            account.capacity += 1
        elif step == "shrink" and account.capacity > 1:
            account.capacity -= 1
        beyond = 1 if account.refusals else FIRST + account.known // 2
        assert 1 <= slots.limit <= max(account.known, 1) + beyond
        assert slots.running == account.running + len(account.unseen)


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.lists(st.sampled_from(["create", "end", "miss", "see"]), max_size=200),
)
def test_a_told_limit_is_never_exceeded(told: int, capacity: int, steps: list[str]) -> None:
    account = Account(told, capacity)
    for step in steps:
        if step == "create" and account.slots.free:
            account.create()
        elif step in ("end", "miss") and account.running:
            account.end(seen=step == "end")
        elif step == "see" and account.unseen:
            account.see()
        assert account.running <= told
        assert account.slots.limit <= told


@pytest.mark.parametrize("capacity", [1, 5, 20, 100])
def test_a_steady_limit_costs_few_refusals(capacity: int) -> None:
    account = Account(None, capacity)
    account.turn_over(100 * capacity)
    assert account.running == capacity
    assert account.refusals / account.creates < (0.05 if capacity == 1 else 0.02)


@given(st.integers(2, 50), st.integers(0, 40))
def test_a_task_that_had_ended_when_the_account_was_full_leaves_the_limit_when_it_is_seen(
    capacity: int, missed: int
) -> None:
    account = Account(None, capacity)
    account.turn_over(TRY_AFTER)
    for _ in range(min(missed, capacity - 1)):
        account.end(seen=False)
    account.turn_over(3 * TRY_AFTER)
    while account.unseen:
        account.see()
    assert account.slots.limit <= capacity + 1
    assert account.slots.running == account.running


@given(st.integers(1, 10), st.integers(11, 30))
def test_the_limit_recovers_soon_when_a_neighbour_has_come_and_gone(few: int, many: int) -> None:
    account = Account(None, many)
    account.turn_over(100)
    account.capacity = few
    while account.running > few:
        account.end()
    account.turn_over(300)
    refusals = account.refusals
    account.capacity = many
    account.turn_over(2 * TRY_AFTER)
    assert account.running == many
    assert account.refusals <= refusals + 2


@given(st.integers(1, 10), st.integers(11, 30))
def test_the_limit_is_found_in_half_the_time_that_a_neighbour_hid_it(few: int, many: int) -> None:
    account = Account(None, few)
    account.turn_over(400)
    account.capacity = many
    account.turn_over(200 + TRY_AFTER)
    assert account.running == many


def test_the_limit_falls_when_a_neighbour_comes() -> None:
    account = Account(None, 20)
    account.turn_over(100)
    while account.running > 5:
        account.end()
    account.capacity = 6
    account.turn_over(50)
    assert account.slots.limit <= 7


def asks(lengths: Lengths, length: float) -> tuple[int, float]:
    """(questions, seconds between the task's end and the question that saw it)"""
    age, count = 0.0, 0
    while True:
        age += lengths.next_ask("pro/5", age, wanted=True)
        count += 1
        if age >= length:
            return count, age - length


@pytest.mark.parametrize(
    ("draw", "late"),
    [
        pytest.param(lambda rng: rng.uniform(90, 110), 0.01, id="within 20%"),
        pytest.param(lambda rng: rng.uniform(50, 150), 0.04, id="threefold"),
        pytest.param(lambda rng: rng.choice((60, 240)) * rng.uniform(0.9, 1.1), 0.03, id="bimodal"),
        pytest.param(lambda rng: rng.expovariate(0.01) + 10, 0.08, id="heavy tail"),
    ],
)
def test_questions_are_few_and_ends_are_seen_soon_whatever_lengths_look_like(
    draw: object, late: float
) -> None:
    assert callable(draw)
    rng = random.Random(3)
    lengths = Lengths()
    lengths.learn("pro/5", [draw(rng) for _ in range(200)])
    tasks = [draw(rng) for _ in range(1000)]
    results = [asks(lengths, length) for length in tasks]
    assert sum(count for count, _ in results) / len(tasks) <= 1.2 / CHANCE
    assert sum(lag for _, lag in results) <= late * sum(tasks)


def test_equal_lengths_need_one_question() -> None:
    lengths = Lengths()
    lengths.learn("pro/5", [100.0] * 50)
    assert asks(lengths, 96.0) == (1, 4.0)
    assert asks(lengths, 100.0)[0] <= 4


def test_questions_are_lazier_when_no_slot_is_waited_for() -> None:
    lengths = Lengths()
    lengths.learn("pro/5", [float(second) for second in range(60, 121)])
    assert lengths.next_ask("pro/5", 80.0, wanted=False) > 2 * lengths.next_ask("pro/5", 80.0, wanted=True)


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


@pytest.mark.parametrize(
    ("first", "age", "wanted", "wait"),
    [
        (None, 0.0, True, 10.0),
        (None, 4.0, True, 6.0),
        (None, 9.5, True, 1.9),  # a fifth of its age from here on
        (None, 50.0, True, 10.0),
        (None, 50.0, False, 30.0),
        (None, 1.0, False, 9.0),
        (0.2, 0.0, True, 0.2),
        (0.2, 0.1, True, 0.2),
        (0.2, 10.0, True, 2.0),
        (5.0, 4.9, True, 1.0),
    ],
)
def test_a_task_of_a_kind_never_seen_is_asked_for_after_ten_seconds_then_after_a_fifth_of_its_age(
    first: float | None, age: float, wanted: bool, wait: float
) -> None:
    assert Lengths(first=first).next_ask("pro/5", age, wanted=wanted) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("seen", "age", "wanted", "wait"),
    [
        ([100.0], 0.0, True, 70.0),  # of one length little is known
        ([100.0] * 4, 0.0, True, 85.0),
        (
            range(100, 200, 10),
            95.0,
            True,
            6.0,
        ),  # 1.1 of eleven ends: the one at 100, and a tenth of the way to 110
        (range(100, 200, 10), 95.0, False, 28.0),
        (range(100, 200, 10), 100.0, True, 10.0),
        (range(100, 200, 10), 185.0, True, 1.85),
        (range(100, 200, 10), 185.0, False, 5.55),
        ([10.0], 10.0, True, 1.0),  # from the longest on, after half the time since
        ([100.0], 100.0, False, 3.0),
        ([100.0], 102.0, True, 1.02),
        ([100.0], 110.0, True, 5.0),
        ([100.0], 300.0, True, 100.0),
    ],
)
def test_a_task_is_asked_for_when_a_tenth_of_those_that_ran_as_long_had_ended(
    seen: Sequence[float], age: float, wanted: bool, wait: float
) -> None:
    lengths = Lengths()
    lengths.learn("pro/5", seen)
    assert lengths.next_ask("pro/5", age, wanted=wanted) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("first", "seen", "age", "wait"),
    [
        (None, [], 0.0, 300.0),  # of a kind never seen
        (None, [], 299.0, 74.75),
        (0.2, [], 0.0, 6.0),
        (None, [100.0], 0.0, 125.0),
        (None, [100.0], 120.0, 30.0),  # a quarter of its age from here on
        (None, [100.0], 400.0, 100.0),
        (None, range(101, 201), 10.0, 235.0),  # a quarter more than 95 of 100 took
        (None, [1.0], 0.0, 1.25),
        (None, [0.1], 0.0, 1.0),
        (0.2, [0.1], 0.0, 0.2),
    ],
)
@pytest.mark.parametrize("wanted", [True, False])
def test_a_task_whose_end_will_be_called_is_asked_for_when_nearly_all_of_its_kind_would_have_ended(
    first: float | None, seen: Sequence[float], age: float, wait: float, wanted: bool
) -> None:
    lengths = Lengths(first=first)
    lengths.learn("pro/5", seen)
    assert lengths.next_ask("pro/5", age, wanted=wanted, called=True) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("seen", "overdue", "after_deadline"),
    [
        ([], 10_800, 1800),
        ([100.0], 1800, 200),
        ([30.0, 10.0], 1800, 90),  # a request may take so long
        ([600.0], 2400, 1200),
        ([10_000.0], 21_600, 10_800),
    ],
)
def test_a_task_is_overdue_at_four_times_the_longest_of_its_kind_and_at_two_after_the_deadline(
    seen: list[float], overdue: float, after_deadline: float
) -> None:
    lengths = Lengths()
    lengths.learn("pro/5", seen)
    assert lengths.overdue_at("pro/5") == overdue
    assert lengths.overdue_after_deadline("pro/5", 90) == after_deadline


def test_the_latest_two_hundred_lengths_of_a_kind_count() -> None:
    lengths = Lengths()
    lengths.learn("pro/5", [1000.0])
    lengths.learn("std/5", [7.0])
    lengths.learn("pro/5", [10.0] * 199)
    assert (lengths.longest("pro/5"), lengths.longest("std/5")) == (1000.0, 7.0)
    lengths.learn("pro/5", [10.0])
    assert (lengths.longest("pro/5"), lengths.longest("std/5")) == (10.0, 7.0)


def test_a_wait_of_half_a_second_ends_with_its_half_second() -> None:
    assert align_to_tick(0.2, 0.5) == pytest.approx(0.8)
    assert align_to_tick(0.25, 1.25) == 1.25
    assert align_to_tick(0.2, 0.49) == 0.49


@given(st.floats(0, 1e7), st.floats(0, 3600))
def test_questions_wait_for_each_other_a_little_and_are_never_early(now: float, wait: float) -> None:
    drawn_out = align_to_tick(now, wait)
    assert wait - 1e-8 <= drawn_out <= wait + TICK
    if wait < TICK:
        assert drawn_out == wait
    else:
        assert min((now + drawn_out) % TICK, TICK - (now + drawn_out) % TICK) < 1e-8


@pytest.mark.parametrize(("account", "own"), [(1, None), (None, 1)], ids=["the account's", "the manifest's"])
def test_an_end_is_wanted_only_where_a_create_waits_for_its_slot(
    account: int | None, own: int | None
) -> None:
    lane = Lane("night", max_running=own)
    lane.queue.extend(Work(lane) for _ in range(2))
    pool = Pool(Limits(concurrency=8, max_running=account), random.Random(1))
    pool.lanes.append(lane)
    wanted = [pool.full]  # there is a slot for the next
    for moment in (0.0, 2.0):
        work = pool.next(moment)
        assert work is not None
        wanted.append(pool.full)
        pool.started(work, moment + 1)
        pool.ended(work)
        wanted.append(pool.full)
    assert wanted == [False, True, False, False, False]  # the second is the last: no other waits for its slot


def waits_between_tries(slots: Slots, running: int, tries: int) -> list[int]:
    """Ended tasks before each try of one slot more, all of which the account refuses, while so many tasks run."""
    waits = []
    while slots.running < running:
        slots.take()
        slots.started()
    for _ in range(tries + 1):
        slots.take()
        slots.refused()
        ended = 0
        while not slots.free:
            slots.ended()
            ended += 1
            slots.take()
            slots.started()
        waits.append(ended)
    return waits[:tries]


@pytest.mark.parametrize(("told", "waits"), [(9, [20, 26, 34, 44]), (None, [54, 71, 92, 119])])
def test_a_try_at_the_highest_limit_that_held_makes_the_next_wait_for_three_tenths_longer(
    told: int | None, waits: list[int]
) -> None:
    """Below a limit that somebody stated there is something to be found: tries begin earlier."""
    assert waits_between_tries(Slots(told), 3, 5) == [2, *waits]  # the first refusal is doubted


def test_a_try_below_the_highest_limit_that_held_makes_the_next_wait_a_twentieth_longer() -> None:
    slots = Slots(9)
    for _ in range(6):
        slots.take()
        slots.started()
    for _ in range(20):  # six held for a while
        slots.ended()
        slots.take()
        slots.started()
    for _ in range(3):  # then somebody else took three
        slots.ended()
    assert waits_between_tries(slots, 3, 5) == [2, 20, 21, 23, 24]


@pytest.mark.parametrize("told", [None, 5])
def test_a_refusal_of_a_moment_at_a_limit_that_held_is_tested_once_and_costs_no_other(
    told: int | None,
) -> None:
    account = Account(told, 5)
    account.turn_over(20)
    refusals = account.refusals
    account.end()
    account.slots.take()
    account.slots.refused(account.now)
    assert account.slots.limit == 4
    account.turn_over(TRY_SOON)
    assert (account.slots.limit, account.running) == (5, 5)
    account.turn_over(TRY_AFTER_CONFIGURED)
    assert account.refusals == refusals
    account.turn_over(TRY_AFTER)
    assert account.refusals == refusals + (told is None)  # the test is over: more is tried as ever


def test_a_neighbour_who_comes_is_believed_at_the_second_refusal() -> None:
    account = Account(None, 5)
    account.turn_over(20)
    refusals = account.refusals
    account.end()
    account.capacity = 4
    account.turn_over(TRY_AFTER // 2)
    assert account.refusals == refusals + 2
    assert account.slots.limit == 4
    account.capacity = 8  # more than there ever was: what is tried now doesn't end at the limit before him
    account.turn_over(TRY_AFTER)
    assert account.running == 8


def test_refusals_one_after_the_other_are_tested_up_to_the_limit_before_the_first_of_them() -> None:
    account = Account(None, 5)
    account.turn_over(20)
    refusals = account.refusals
    for _ in range(2):
        account.end()
        account.slots.take()
        account.slots.refused(account.now)
    assert account.slots.limit == 3
    account.turn_over(TRY_SOON)
    assert (account.slots.limit, account.running) == (5, 5)
    assert account.refusals == refusals


def test_a_limit_that_a_test_has_refuted_is_tried_no_more() -> None:
    """Else a task that had ended unseen made it look like one that holds, and it was tried ever again."""
    account = Account(None, 5)
    account.turn_over(20)
    account.end()
    account.capacity = 4
    account.turn_over(TRY_SOON + 1)  # the limit of five is doubted, tested and refused
    refusals = account.refusals
    account.end(seen=False)  # so that a try is accepted though there are no more slots
    account.turn_over(TRY_AFTER)
    assert account.refusals == refusals + 1
    account.see()
    assert (account.slots.limit, account.running) == (4, 4)


def test_a_refusal_of_a_moment_is_tested_soon_also_after_a_stated_limit_was_reached_by_tries() -> None:
    account = Account(5, 4)
    account.turn_over(TRY_AFTER_CONFIGURED)
    account.capacity = 5
    account.turn_over(2 * TRY_AFTER_CONFIGURED)
    assert account.running == 5
    account.end()
    account.slots.take()
    account.slots.refused(account.now)
    account.turn_over(TRY_SOON)
    assert (account.slots.limit, account.running) == (5, 5)


def test_a_limit_that_is_back_before_a_refusal_is_tested_is_not_exceeded_by_the_test() -> None:
    account = Account(None, 5)
    account.turn_over(20)
    refusals = account.refusals
    account.end()
    account.end()
    account.slots.take()
    account.slots.take()
    account.slots.refused(account.now)
    account.slots.started(account.now)  # which was on its way at the same time
    account.running += 1
    account.turn_over(2 * TRY_SOON)
    assert account.slots.limit == account.running == 5
    assert account.refusals == refusals


def test_the_words_for_slots_say_what_runs_and_what_may() -> None:
    slots = Slots(4)
    slots.take()
    slots.started()
    slots.take()
    assert repr(slots) == "<Slots 1 running, 1 creating, limit 4>"


def test_until_the_account_is_full_half_as_many_again_as_run_are_tried_and_one_more() -> None:
    slots, limits = Slots(), []
    for _ in range(6):
        slots.take()
        slots.started()
        limits.append(slots.limit)
    assert limits == [2, 4, 5, 7, 8, 10]
    slots.take()
    slots.refused()
    assert (slots.limit, slots.free) == (6, False)


def test_a_create_in_flight_holds_a_slot_until_it_comes_back() -> None:
    slots = Slots(2)
    free = [slots.free]
    for happens in (slots.take, slots.take, slots.give_back, slots.started, slots.take):
        happens()
        free.append(slots.free)
    assert free == [True, True, False, True, True, False]


@pytest.mark.parametrize(
    ("told", "runs", "free"), [(1, 0, True), (1, 1, False), (2, 1, True), (None, 5, True)]
)
def test_beyond_tasks_that_never_end_one_create_at_a_time_is_tried_up_to_the_stated_limit(
    told: int | None, runs: int, free: bool
) -> None:
    slots = Slots(told)
    for _ in range(runs):
        slots.found()
    assert slots.probe_free == free
    slots.take()
    assert not slots.probe_free


def test_a_stated_limit_that_holds_is_never_tried_beyond() -> None:
    account = Account(3, 10)
    for _ in range(5 * TRY_AFTER_CONFIGURED):
        account.fill()
        account.end()
        assert account.slots.limit == 3
    assert account.refusals == 0
    account.slots.take()
    account.slots.refused(account.now)  # no try was under way: this one is of a moment
    account.turn_over(TRY_SOON)
    assert (account.slots.limit, account.running, account.known) == (3, 3, 3)


def test_at_the_end_that_a_try_begins_with_two_creates_go_out() -> None:
    account = Account(None, 5)
    account.turn_over(20)
    ends = 0
    while account.slots.limit == 5:
        account.fill()
        account.end()
        ends += 1
    assert account.slots.limit - account.slots.running == 2
    assert ends <= TRY_AFTER


def test_a_limit_that_did_not_hold_for_a_while_is_not_the_highest_that_held() -> None:
    """Three of eight had ended unseen when the account was full: tries at five are tries at the highest."""
    slots = Slots()
    for _ in range(8):
        slots.take()
        slots.started()
    slots.take()
    slots.refused(sent=10.0)
    for _ in range(3):
        slots.ended(at=5.0)
    slots.take()
    slots.refused(sent=20.0)
    assert slots.limit == 5
    assert waits_between_tries(slots, 5, 4) == [54, 71, 92, 119]


def begin(slots: Slots, tasks: int) -> None:
    for _ in range(tasks):
        slots.take()
        slots.started()


def test_after_1303_one_create_more_is_tried_at_a_time() -> None:
    slots = Slots()
    begin(slots, 10)
    assert slots.limit == 16  # half as many again, and one
    slots.take()
    slots.refused()
    slots.ended()
    slots.ended()
    found = []
    for _ in range(3):
        begin(slots, 1)
        found.append((slots.running, slots.limit))
    assert found == [(9, 11), (10, 11), (11, 12)]


def test_an_account_that_is_full_of_others_tasks_is_tried_with_one_create() -> None:
    slots = Slots()
    slots.take()
    slots.refused()
    assert (slots.limit, slots.free, slots.probe_free) == (1, True, True)


def test_a_create_that_was_sent_before_the_account_was_full_shows_a_slot_more_and_a_later_one_does_not() -> (
    None
):
    slots = Slots()
    for sent in (1, 2, 3, 4, 5):
        slots.take()
        if sent < 3:
            slots.started(sent)
    slots.refused(5)
    assert slots.limit == 2
    limits = []
    for sent in (4, 5, 6):
        slots.take()
        slots.started(sent)
        limits.append(slots.limit)
    assert limits == [3, 4, 4]


def test_tasks_whose_times_nobody_knows_count_and_leave_the_limit_as_it_is() -> None:
    slots = Slots()
    slots.take()
    slots.refused(5.0)
    slots.found()
    slots.found()
    assert slots.limit == 2
    begin(slots, 1)
    assert slots.limit == 3
    slots.take()
    slots.refused()
    slots.ended(at=4.0)
    assert slots.limit == 3


def test_tasks_of_earlier_runs_do_not_raise_a_limit_that_was_told() -> None:
    slots = Slots(3)
    for _ in range(5):
        slots.found()
    assert (slots.limit, slots.free) == (3, False)
    slots.take()
    slots.refused()
    assert slots.limit == 3


def test_a_refusal_at_the_limit_is_no_doubt_about_it() -> None:
    slots = Slots()
    begin(slots, 3)
    for _ in range(2):  # one that is doubted, and the try after it
        slots.take()
        slots.refused()
        while not slots.free:
            slots.ended()
            begin(slots, 1)
    slots.take()
    slots.refused()
    slots.take()  # where no end of ours will ever free a slot
    slots.refused()
    for _ in range(TRY_SOON + 1):
        slots.ended()
        begin(slots, 1)
    assert (slots.limit, slots.free) == (3, False)


def test_the_most_that_ever_ran_is_the_highest_limit_that_held_and_a_refusal_there_shortens_the_waits_again() -> (
    None
):
    slots = Slots(9)
    begin(slots, 6)
    for _ in range(3):
        slots.ended()
    for _ in range(20):
        slots.ended()
        begin(slots, 1)
    assert waits_between_tries(slots, 3, 5) == [2, 20, 21, 23, 24]
    begin(slots, 1)
    slots.take()
    slots.refused()
    slots.ended()
    slots.take()
    slots.refused()  # below a limit that held
    assert waits_between_tries(slots, 3, 2) == [2, 20]


def test_each_refusal_of_a_moment_is_tested_after_two_ends() -> None:
    slots = Slots(5)
    begin(slots, 5)
    for _ in range(3):
        slots.ended()
        slots.take()
        slots.refused()
        limits = [slots.limit]
        for _ in range(2):
            slots.ended()
            begin(slots, 1)
            limits.append(slots.limit)
        begin(slots, 1)
        assert (limits, slots.running) == ([4, 4, 5], 5)


def test_two_refusals_of_a_moment_are_tested_up_to_the_limit_before_both() -> None:
    slots = Slots(5)
    begin(slots, 5)
    for _ in range(2):
        slots.ended()
        slots.take()
        slots.refused()
    assert slots.limit == 3
    for _ in range(2):
        slots.ended()
        begin(slots, 1)
    begin(slots, 2)
    assert (slots.running, slots.limit) == (5, 5)


def test_a_refusal_at_the_limit_leaves_the_waits_below_the_highest_as_they_are() -> None:
    slots = Slots(9)
    begin(slots, 6)
    for _ in range(20):
        slots.ended()
        begin(slots, 1)
    for _ in range(3):
        slots.ended()
    assert waits_between_tries(slots, 3, 3) == [2, 20, 21]
    slots.take()
    slots.refused()
    assert waits_between_tries(slots, 3, 1) == [24]  # which begins with a refusal where as many run as may


def test_as_many_as_ran_for_a_while_held_and_not_as_many_as_might_have() -> None:
    slots = Slots(9)
    begin(slots, 6)
    for _ in range(20):
        slots.ended()
        begin(slots, 1)
    assert waits_between_tries(slots, 6, 4) == [2, 20, 26, 34]


def test_a_limit_that_was_refused_before_it_held_for_a_while_was_none() -> None:
    slots = Slots(9)
    begin(slots, 6)
    for _ in range(3):
        slots.ended()
    slots.take()
    slots.refused()
    assert waits_between_tries(slots, 3, 4) == [2, 20, 26, 34]


def test_an_end_from_before_the_account_was_full_lowers_the_limit_and_a_later_one_does_not() -> None:
    limits = []
    for running, at in ((5, 9.0), (5, 10.0), (1, 9.0)):
        slots = Slots()
        begin(slots, running)
        slots.take()
        slots.refused(10.0)
        slots.ended(at)
        limits.append(slots.limit)
    assert limits == [4, 5, 1]
