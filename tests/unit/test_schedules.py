"""When a schedule's next night is due, and which of its nights were missed: by its zone's clocks, across changes of them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from batchgen.ledger.schedules import EARLY, GRACE, LATE, Schedule

DAY = 86400.0


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def schedule(
    time: str = "22:30", zone: str = "UTC", kind: str = "cron", since: str = "2026-11-01"
) -> Schedule:
    return Schedule("batchgen", kind, time, zone, 0.0, "host", ("run", "/m"), at(since, zone), None)


@pytest.mark.parametrize(
    ("zone", "now", "due"),
    [
        ("UTC", "2026-11-29T22:29:59", "2026-11-29T22:30"),
        ("UTC", "2026-11-29T22:30:01", "2026-11-30T22:30"),
        ("Europe/Berlin", "2026-10-24T23:00", "2026-10-25T22:30"),  # 25 hours long
        ("Pacific/Kiritimati", "2026-11-29T00:10", "2026-11-29T22:30"),
        ("Pacific/Pago_Pago", "2026-11-29T23:10", "2026-11-30T22:30"),
    ],
)
def test_the_next_night_is_by_the_zones_clocks(zone: str, now: str, due: str) -> None:
    assert schedule(zone=zone).next(at(now, zone)) == at(due, zone)


def test_a_schedule_that_is_no_more_has_no_next_night() -> None:
    assert schedule()._replace(until=at("2026-11-02")).next(at("2026-11-29")) is None


def test_nights_are_missed_from_the_installation_on_until_the_removal() -> None:
    nights = [at(f"2026-11-0{day}T22:30") for day in (1, 2, 3)]
    one = schedule()
    now = nights[-1] + GRACE + 1
    assert one.missed([], 0.0, now) == nights
    assert one.missed([], 0.0, now - 2) == nights[:-1]  # it may begin yet
    assert one.missed([], nights[1], now) == nights[1:]
    assert one._replace(until=nights[1] + 1).missed([], 0.0, now) == nights[:-1]
    assert one._replace(delay=600.0).missed([], 0.0, now) == nights[:-1]
    assert one.missed([nights[0] + 1, nights[2] + 300], 0.0, now) == [nights[1]]


def test_cron_makes_up_for_hours_and_a_persistent_timer_for_all_but_the_next_night() -> None:
    first = at("2026-11-01T22:30")
    now = first + DAY - EARLY
    for kind, late, missed in (
        ("cron", LATE - 1, []),
        ("cron", LATE + 1, [first]),
        ("systemd", LATE + 1, []),
        ("systemd", DAY - EARLY + 1, [first]),
    ):
        assert schedule(kind=kind).missed([first + late], 0.0, now) == missed, (kind, late)


def test_a_time_that_a_night_has_not_is_met_by_a_run_before_it_or_after() -> None:
    one = schedule("02:30", "Europe/Berlin", since="2026-03-28T12:00")
    changed = at("2026-03-29T01:00")  # UTC: from 02:00 to 03:00
    (due,) = one.missed([], 0.0, changed + DAY / 2)
    assert changed <= due <= changed + 3600
    for moment in (changed + 1, due + 60):
        assert one.missed([moment], 0.0, changed + DAY / 2) == []


def test_a_time_that_a_night_has_twice_is_one_night() -> None:
    one = schedule("02:30", "Europe/Berlin", since="2026-10-24T12:00")
    began = at("2026-10-25T02:30", "Europe/Berlin")
    assert one.missed([began], 0.0, began + DAY / 2) == []
    assert one.missed([], 0.0, began + DAY / 2) == [began]
