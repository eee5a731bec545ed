"""Budgets of the ledger: whether one more create fits is decided in the transaction of its intent, whoever else writes."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.errors import LedgerError, OverBudget
from batchgen.ledger.budgets import Setting, check, set_budgets
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Record, State

ORIGIN = "https://api.example"
DOLLAR = 1_000_000
BERLIN = "Europe/Berlin"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass
class Clock:
    now: float

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(at("2026-11-25T12:00+01:00"))  # a Wednesday


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


@pytest.fixture
def ledger(path: str, clock: Clock) -> Iterator[Ledger]:
    with Ledger.open(path, origin=ORIGIN, clock=clock) as opened:
        yield opened


def row(name: str, micros: int | None, digest: str = "d") -> Record:
    output = f"/clips/{name}.mp4"
    return Record(
        name,
        name,
        "m",
        name,
        1,
        digest,
        '{"mode":"pro","duration":"5"}',
        State.PENDING,
        output,
        estimate=micros,
    )


def allow(path: str, clock: Clock, zone: str = BERLIN, **limits: int | None) -> None:
    set_budgets(path, limits, zone, usual="UTC", at=clock.now, by="me")


def begin(ledger: Ledger, name: str, micros: int | None = DOLLAR, digest: str = "d") -> Record:
    return asyncio.run(ledger.begin(row(name, micros, digest)))


def change(ledger: Ledger, name: str, to: State, event: str = "x", **values: Any) -> Record:
    return asyncio.run(ledger.apply(Change(name, to, event, values=values)))


def fail(ledger: Ledger, name: str, **values: Any) -> None:
    change(ledger, name, State.SUBMITTED, task_id=f"t-{name}")
    change(ledger, name, State.FAILED, **values)


def spent(path: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT ifnull(sum(micros), 0) FROM spent").fetchone()[0])


def test_a_budget_is_used_to_its_last_micro_dollar_and_not_beyond(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    allow(path, clock, day=2 * DOLLAR)
    begin(ledger, "a", DOLLAR)
    begin(ledger, "b", DOLLAR - 1)
    with pytest.raises(OverBudget):
        begin(ledger, "c", 2)
    begin(ledger, "d", 1)
    assert spent(path) == 2 * DOLLAR


def test_a_create_without_room_leaves_nothing_in_the_ledger(ledger: Ledger, path: str, clock: Clock) -> None:
    allow(path, clock, month=DOLLAR)
    begin(ledger, "a", DOLLAR)
    with pytest.raises(OverBudget) as caught:
        begin(ledger, "b", 840_000)
    assert ledger.record("b") is None and ledger.events("b") == []
    assert (caught.value.exit_code, caught.value.kind) == (4, "budget")
    assert str(caught.value) == (
        "the month's budget of $1.00 has no room for more: $1.00 is spent or held; for the next clip it would have to be $1.84;"
        " the month ends 2026-12-01 00:00 (Europe/Berlin)"
    )


def test_every_budget_without_room_is_named_with_its_own_numbers(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    allow(path, clock, month=10 * DOLLAR)
    begin(ledger, "earlier", 4 * DOLLAR)
    clock.now += 86400
    allow(path, clock, day=DOLLAR, week=5 * DOLLAR)
    begin(ledger, "today", DOLLAR)
    with pytest.raises(OverBudget) as caught:
        begin(ledger, "more")
    assert [(one.period, one.limit, one.spent, one.ends) for one in caught.value.uses] == [
        ("day", DOLLAR, DOLLAR, at("2026-11-27T00:00+01:00")),
        ("week", 5 * DOLLAR, 5 * DOLLAR, at("2026-11-30T00:00+01:00")),
    ]


@pytest.mark.parametrize(
    ("period", "last", "next_"),
    [
        ("day", "2026-11-25T23:59:59+01:00", "2026-11-26T00:00+01:00"),
        ("week", "2026-11-29T23:59:59+01:00", "2026-11-30T00:00+01:00"),
        ("month", "2026-11-30T23:59:59+01:00", "2026-12-01T00:00+01:00"),
    ],
)
def test_a_period_that_ends_makes_room_at_that_second(
    ledger: Ledger, path: str, clock: Clock, period: str, last: str, next_: str
) -> None:
    set_budgets(path, {period: DOLLAR}, BERLIN, usual="UTC", at=clock.now, by=None)
    begin(ledger, "a")
    clock.now = at(last)
    with pytest.raises(OverBudget):
        begin(ledger, "b")
    clock.now = at(next_)
    begin(ledger, "b")
    with pytest.raises(OverBudget):
        begin(ledger, "c")


def test_a_night_in_which_the_clocks_change_is_one_day_of_25_hours(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    clock.now = at("2026-10-25T00:00+02:00")
    allow(path, clock, day=DOLLAR)
    begin(ledger, "a")
    for moment in ("2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-25T23:59+01:00"):
        clock.now = at(moment)
        with pytest.raises(OverBudget):
            begin(ledger, "b")
    clock.now = at("2026-10-26T00:00+01:00")
    begin(ledger, "b")


def test_another_time_zone_holds_from_the_next_create_on_for_what_was_spent_before(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    clock.now = at("2026-11-25T22:00+00:00")
    allow(path, clock, "UTC", day=DOLLAR)
    begin(ledger, "a")
    clock.now = at("2026-11-25T23:30+00:00")
    allow(path, clock, "Asia/Kathmandu")  # whose day began at 18:15 UTC
    with pytest.raises(OverBudget):
        begin(ledger, "b")
    allow(path, clock, BERLIN)  # whose day began at 23:00 UTC
    begin(ledger, "b")


def test_money_that_a_clock_left_in_the_future_counts_when_it_is_set_back(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    clock.now += 40 * 86400
    begin(ledger, "ahead")
    clock.now -= 40 * 86400
    allow(path, clock, day=DOLLAR)
    with pytest.raises(OverBudget):
        begin(ledger, "now")


@pytest.mark.parametrize(
    ("end", "left"),
    [
        (lambda ledger: change(ledger, "a", State.REJECTED), DOLLAR),  # refused
        (lambda ledger: change(ledger, "a", State.PENDING), DOLLAR),  # never sent
        (lambda ledger: change(ledger, "a", State.UNKNOWN), 0),
        (lambda ledger: (change(ledger, "a", State.UNKNOWN), change(ledger, "a", State.PENDING)), DOLLAR),
        (lambda ledger: change(ledger, "a", State.SUBMITTED, task_id="t"), 0),
        (lambda ledger: fail(ledger, "a"), 0),
        (lambda ledger: fail(ledger, "a", charged=0), DOLLAR),
        (lambda ledger: fail(ledger, "a", charged=400_000), 600_000),
    ],
)
def test_money_is_held_until_it_is_known_that_it_was_not_spent(
    ledger: Ledger, path: str, clock: Clock, end: Any, left: int
) -> None:
    allow(path, clock, day=DOLLAR)
    begin(ledger, "a")
    end(ledger)
    with pytest.raises(OverBudget):
        begin(ledger, "b", left + 1)
    begin(ledger, "b", left)
    assert spent(path) == DOLLAR


def test_a_late_bill_above_its_estimate_leaves_less_and_one_below_more(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    allow(path, clock, day=3 * DOLLAR)
    begin(ledger, "a")
    change(ledger, "a", State.SUBMITTED, task_id="t")
    change(ledger, "a", State.SUCCEEDED, video_url="https://cdn.example/1", charged=2_500_000)
    with pytest.raises(OverBudget) as caught:
        begin(ledger, "b")
    assert caught.value.uses[0].spent == 2_500_000
    change(ledger, "a", State.SUCCEEDED, charged=2 * DOLLAR)
    begin(ledger, "b")


def test_a_create_that_is_sent_again_gives_back_what_it_counted_in_this_period_alone(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    begin(ledger, "a")
    change(ledger, "a", State.UNKNOWN)
    asyncio.run(ledger.apply(Change("a", State.REJECTED, "abandoned", code="abandoned")))  # still counts
    allow(path, clock, day=DOLLAR)
    begin(ledger, "a", DOLLAR, "changed")
    asyncio.run(ledger.apply(Change("a", State.UNKNOWN, "lost")))
    asyncio.run(ledger.apply(Change("a", State.REJECTED, "abandoned", code="abandoned")))
    clock.now += 86400
    begin(ledger, "b", DOLLAR)
    with pytest.raises(OverBudget) as caught:  # what it counts is yesterday's
        begin(ledger, "a", DOLLAR, "changed again")
    assert caught.value.uses[0].spent == DOLLAR


def test_a_budget_of_nothing_allows_nothing_and_none_is_no_limit(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    allow(path, clock, day=0)
    with pytest.raises(OverBudget):
        begin(ledger, "a", 1)
    allow(path, clock, day=None)
    begin(ledger, "a", 10**15)


def test_what_earlier_nights_spent_counts_from_the_first_budget_on(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    begin(ledger, "a", 3 * DOLLAR)
    allow(path, clock, month=3 * DOLLAR)
    with pytest.raises(OverBudget):
        begin(ledger, "b")


def test_budgets_are_set_while_a_run_holds_the_ledger_and_hold_its_next_create(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    begin(ledger, "a")
    allow(path, clock, day=DOLLAR)
    with pytest.raises(OverBudget):
        begin(ledger, "b")
    allow(path, clock, day=2 * DOLLAR)
    begin(ledger, "b")
    assert [(one.day, one.week, one.by) for one in ledger.budgets.history()] == [
        (DOLLAR, None, "me"),
        (2 * DOLLAR, None, "me"),
    ]


def test_what_is_not_named_stays_as_it_was(path: str, ledger: Ledger, clock: Clock) -> None:
    allow(path, clock, day=1, month=3)
    after = set_budgets(path, {"week": 2, "month": None}, None, usual="UTC", at=5.0, by=None)
    assert after == Setting(5.0, 1, 2, None, BERLIN, None) == ledger.budgets.standing()
    assert set_budgets(path, {}, "UTC", usual="x", at=6.0, by="you").limits == (1, 2, None)


def test_no_line_of_the_history_can_be_changed(path: str, ledger: Ledger, clock: Clock) -> None:
    allow(path, clock, day=1)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in ("UPDATE budgets SET day = 5", "DELETE FROM budgets"):
            with pytest.raises(sqlite3.IntegrityError, match="history is append-only"):
                connection.execute(statement)


def test_many_creates_at_once_share_what_is_left(ledger: Ledger, path: str, clock: Clock) -> None:
    allow(path, clock, day=10 * DOLLAR)

    async def all_of_them() -> list[Record | BaseException]:
        wanted = (ledger.begin(row(f"j{number}", DOLLAR)) for number in range(50))
        return await asyncio.gather(*wanted, return_exceptions=True)

    results = asyncio.run(all_of_them())
    assert sum(isinstance(one, Record) for one in results) == 10
    assert sum(isinstance(one, OverBudget) for one in results) == 40
    assert spent(path) == 10 * DOLLAR and len(list(ledger.records())) == 10


def test_a_budget_that_is_set_between_two_creates_is_seen_by_the_second_however_close(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    async def night() -> list[bool]:
        made = []
        for number in range(20):
            allow(path, clock, day=DOLLAR * (number // 2))
            try:
                await ledger.begin(row(f"j{number}", DOLLAR))
                made.append(True)
            except OverBudget:
                made.append(False)
        return made

    assert asyncio.run(night()) == [False, False, *[True, False] * 9]


def test_the_uses_say_what_is_spent_of_each_period_and_left(ledger: Ledger, path: str, clock: Clock) -> None:
    assert ledger.budgets.uses(clock.now) == [] and ledger.budgets.standing() is None
    begin(ledger, "a", 3 * DOLLAR)
    clock.now += 86400
    begin(ledger, "b", DOLLAR)
    allow(path, clock, day=DOLLAR // 2, month=10 * DOLLAR)
    uses = ledger.budgets.uses(clock.now)
    assert [(one.period, one.limit, one.spent, one.left) for one in uses] == [
        ("day", DOLLAR // 2, DOLLAR, 0),
        ("week", None, 4 * DOLLAR, None),
        ("month", 10 * DOLLAR, 4 * DOLLAR, 6 * DOLLAR),
    ]


def write(path: str, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER budgets_stay")
        connection.execute(statement)
        connection.execute(
            "CREATE TRIGGER budgets_stay BEFORE UPDATE ON budgets BEGIN SELECT RAISE(ABORT, 'history is append-only'); END"
        )
        connection.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE budgets SET day = 'much'",
        "UPDATE budgets SET day = 1.5",
        "UPDATE budgets SET month = -1",
        "UPDATE budgets SET timezone = 7",
        "UPDATE budgets SET timezone = 'Mars/Olympus'",
        "UPDATE budgets SET at = 'now'",
        "INSERT INTO spent VALUES (9999999, 'x')",
        "INSERT INTO spent VALUES (9999999, 0.5)",
    ],
)
def test_budgets_that_cannot_be_read_allow_no_create(
    ledger: Ledger, path: str, clock: Clock, statement: str
) -> None:
    allow(path, clock, day=10 * DOLLAR)
    write(path, statement)
    with pytest.raises(LedgerError) as caught:
        begin(ledger, "a")
    assert not isinstance(caught.value, OverBudget)
    assert ledger.record("a") is None


def test_a_clock_that_is_in_no_calendar_creates_nothing(ledger: Ledger, path: str, clock: Clock) -> None:
    allow(path, clock, day=10 * DOLLAR)
    clock.now = 1e14
    with pytest.raises(LedgerError, match="clock is in no calendar"):
        ledger.budgets.uses(clock.now)
    with pytest.raises(LedgerError, match="clock is in no calendar"):
        begin(ledger, "a")
    assert ledger.record("a") is None


def test_a_check_reads_no_rows_of_tasks_and_of_the_sums_only_its_period(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    allow(path, clock, day=DOLLAR)
    asked: list[str] = []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(asked.append)
        check(connection, None, row("a", 1), clock.now)
        connection.set_trace_callback(None)
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in asked]
    steps = [step[-1] for plan in plans for step in plan if "SCALAR SUBQUERY" not in step[-1]]
    assert len(asked) == 2 and len(steps) == 5
    assert [one for one in steps if "tasks" in one] == []
    assert sum(one.startswith("SEARCH spent USING INTEGER PRIMARY KEY") for one in steps) == 3


def test_where_no_budget_limits_anything_a_check_reads_one_row(
    ledger: Ledger, path: str, clock: Clock
) -> None:
    asked: list[str] = []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(asked.append)
        check(connection, None, row("a", 1), clock.now)
        allow(path, clock, day=None)
        check(connection, None, row("a", 1), clock.now)
    assert len(asked) == 2 and all("LIMIT 1" in one and "FROM budgets" in one for one in asked)


HOURS = st.integers(-30, 30).map(lambda hours: hours * 3600.0)
ENDS: Mapping[str, Any] = {
    "refused": lambda ledger, name: change(ledger, name, State.REJECTED),
    "never sent": lambda ledger, name: change(ledger, name, State.PENDING),
    "unknown": lambda ledger, name: change(ledger, name, State.UNKNOWN),
    "free": lambda ledger, name: fail(ledger, name, charged=0),
    "cheap": lambda ledger, name: fail(ledger, name, charged=1),
    "failed": fail,
    "killed": lambda ledger, name: None,
}


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(sorted(ENDS)), HOURS),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["UTC", BERLIN, "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_no_budget_is_ever_exceeded_nor_held_by_money_that_was_not_spent(
    creates: list[tuple[int, str, float]], timezone: str
) -> None:
    """Against a model of its own, which knows each create's money and moment, and no quarters of an hour."""
    import tempfile
    from zoneinfo import ZoneInfo

    zone, clock = ZoneInfo(timezone), Clock(at("2026-10-24T20:00+00:00"))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/ledger.db"
        ledger = Ledger.open(path, origin=ORIGIN, clock=clock)
        allow(path, clock, timezone, day=4, week=7, month=9)
        paid: list[tuple[float, int]] = []
        for number, (cost, end, hours) in enumerate(creates):
            today = datetime.fromtimestamp(clock.now, zone)

            def same(moment: float, today: datetime = today) -> tuple[bool, bool, bool]:
                then = datetime.fromtimestamp(moment, zone)
                return (
                    then.date() >= today.date(),
                    then.isocalendar()[:2] >= today.isocalendar()[:2],
                    (then.year, then.month) >= (today.year, today.month),
                )

            sums = [sum(micros for moment, micros in paid if same(moment)[kind]) for kind in range(3)]
            fits = all(used + cost <= limit for used, limit in zip(sums, (4, 7, 9), strict=True))
            name = f"j{number}"
            try:
                begin(ledger, name, cost)
                assert fits
                ENDS[end](ledger, name)
                counts = {"refused": 0, "never sent": 0, "free": 0, "cheap": 1}.get(end, cost)
                paid.append((clock.now, counts))
            except OverBudget:
                assert not fits
            if end == "killed":
                ledger.close()
                ledger = Ledger.open(path, origin=ORIGIN, clock=clock)
            clock.now += hours
        assert spent(path) == sum(micros for _, micros in paid)
        ledger.close()
