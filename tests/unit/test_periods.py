"""Days, weeks and months in a named time zone: each moment is in one of each, whatever its clocks do."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.money.periods import QUARTER, Calendar, checked, containing, zone

HOUR = 3600.0
BERLIN = "Europe/Berlin"

zones = st.sampled_from(sorted(zoneinfo.available_timezones() - {"localtime", "Factory"})).map(ZoneInfo)
# Also moments around changes of clocks, which are whole quarters of an hour.
moments = st.integers(0, 4_000_000_000) | st.integers(0, 4_000_000_000 // QUARTER).map(lambda n: n * QUARTER)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@given(moments, zones)
def test_a_moment_is_in_its_day_its_week_and_its_month(moment: float, where: ZoneInfo) -> None:
    day, week, month = containing(moment, where)
    assert [one.name for one in (day, week, month)] == ["day", "week", "month"]
    assert day.begins <= moment < day.ends
    assert week.begins <= day.begins < day.ends <= week.ends
    assert month.begins <= day.begins < day.ends <= month.ends


@given(moments, zones)
def test_periods_follow_each_other_without_gap_and_are_the_same_at_any_moment_of_theirs(
    moment: float, where: ZoneInfo
) -> None:
    for number, period in enumerate(containing(moment, where)):
        assert (
            containing(period.begins, where)[number] == period == containing(period.ends - 1, where)[number]
        )
        assert containing(period.ends, where)[number].begins == period.ends
        assert containing(period.begins - 1, where)[number].ends == period.begins


@given(moments, zones)
def test_no_date_begins_before_its_clocks_show_it_nor_after_a_later_one_is_shown(
    moment: float, where: ZoneInfo
) -> None:
    day, week, month = containing(moment, where)
    first = datetime.fromtimestamp(day.begins, where)
    before = datetime.fromtimestamp(day.begins - 1, where)
    assert before.date() < first.date()
    assert (
        datetime.fromtimestamp(week.begins - 1, where).date()
        < datetime.fromtimestamp(week.begins, where).date()
    )
    assert (
        datetime.fromtimestamp(month.begins, where).month
        != datetime.fromtimestamp(month.begins - 1, where).month
    )
    monday = datetime.fromtimestamp(week.begins, where)
    assert monday.weekday() == 0 or monday.date() - before_of(week.begins, where).date() > timedelta(1)


def before_of(moment: float, where: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(moment - 1, where)


@pytest.mark.parametrize(
    ("name", "moment", "begins", "hours"),
    [
        (BERLIN, "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", 23),
        (BERLIN, "2026-10-25T02:30+01:00", "2026-10-25T00:00+02:00", 25),  # the second 2:30 of that night
        (BERLIN, "2026-10-24T23:59:59+02:00", "2026-10-24T00:00+02:00", 24),
        ("Asia/Kathmandu", "2026-11-29T00:00+05:45", "2026-11-29T00:00+05:45", 24),
        ("Australia/Lord_Howe", "2026-04-05T12:00+10:30", "2026-04-05T00:00+11:00", 24.5),
        ("Australia/Lord_Howe", "2026-10-04T12:00+11:00", "2026-10-04T00:00+10:30", 23.5),
        ("Pacific/Apia", "2011-12-31T00:00+14:00", "2011-12-31T00:00+14:00", 24),  # there was no December 30
        ("Pacific/Apia", "2011-12-29T23:59-10:00", "2011-12-29T00:00-10:00", 24),
        ("America/Sao_Paulo", "2018-11-04T12:00-02:00", "2018-11-04T01:00-02:00", 23),  # no midnight
        ("America/Havana", "2026-11-01T00:30-05:00", "2026-11-01T00:00-04:00", 25),  # midnight twice
        (
            "America/St_Johns",
            "2010-11-06T23:30-03:30",
            "2010-11-07T00:00-02:30",
            25,
        ),  # put back over midnight
        (
            "America/Toronto",
            "1919-03-31T12:00-04:00",
            "1919-03-31T00:30-04:00",
            23.5,
        ),  # put forward over midnight
        ("Asia/Beirut", "2026-03-29T12:00+03:00", "2026-03-29T01:00+03:00", 23),
        ("Africa/Casablanca", "2026-02-15T12:00+00:00", "2026-02-15T00:00+01:00", 25),
        ("UTC", "1970-01-01T00:00+00:00", "1970-01-01T00:00+00:00", 24),
    ],
)
def test_days_of_odd_nights(name: str, moment: str, begins: str, hours: float) -> None:
    day, _, _ = containing(at(moment), ZoneInfo(name))
    assert (day.begins, day.ends - day.begins) == (at(begins), hours * HOUR)


def test_weeks_begin_on_monday_across_years_and_months_have_their_own_lengths() -> None:
    _, week, _ = containing(at("2027-01-03T23:59:59+01:00"), ZoneInfo(BERLIN))
    assert (week.begins, week.ends) == (at("2026-12-28T00:00+01:00"), at("2027-01-04T00:00+01:00"))
    _, _, month = containing(at("2028-02-29T12:00+01:00"), ZoneInfo(BERLIN))
    assert (month.begins, month.ends) == (at("2028-02-01T00:00+01:00"), at("2028-03-01T00:00+01:00"))
    _, _, october = containing(at("2026-10-31T12:00+01:00"), ZoneInfo(BERLIN))
    assert october.ends - october.begins == (31 * 24 + 1) * HOUR


@given(st.integers(1_767_225_600, 2_000_000_000), zones)
def test_todays_periods_begin_at_whole_quarters_of_an_hour(moment: float, where: ZoneInfo) -> None:
    for period in containing(moment, where):
        assert period.begins % QUARTER == period.ends % QUARTER == 0


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("Berlin", BERLIN),
        ("europe/berlin", BERLIN),
        ("Europe/Berln", BERLIN),
        ("New York", "America/New_York"),
        ("Germany/Berlin", BERLIN),
        ("Katmandu ", "Asia/Kat"),
        ("", "Europe/Berlin or UTC"),
        ("GMT+2", "Etc/GMT+2"),
        ("+02:00", "Europe/Berlin or UTC"),
        ("MESZ\n", "IANA"),
        ("../../etc/passwd", "IANA"),
        ("/usr/share/zoneinfo/Europe/Berlin", BERLIN),
        ("posix/Europe/Berlin", BERLIN),
        ("Europe", "IANA"),
        ("localtime", "IANA"),
        ("a\0b", "IANA"),
        ("\ud800", "IANA"),
        ("x" * 10_000, "IANA"),
    ],
)
def test_a_name_that_is_no_time_zone_is_refused_with_those_that_may_be_meant(name: str, close: str) -> None:
    with pytest.raises(ValueError, match="is no time zone; write its IANA name, such as ") as caught:
        checked(name)
    assert close in str(caught.value)
    assert len(str(caught.value)) < 300


@given(zones)
def test_every_zone_of_the_list_is_taken(where: ZoneInfo) -> None:
    assert zone(checked(where.key)).key == where.key


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../x", "Europe", "a\0b", "\ud800", "x" * 10_000])
def test_a_name_that_this_machine_doesnt_know_is_a_clear_error(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone is called .* on this machine") as caught:
        zone(name)
    assert len(str(caught.value)) < 200


def test_a_moment_that_no_calendar_has_is_an_error() -> None:
    for moment in (1e18, -1e18, float("inf"), float("nan"), datetime.max.replace(tzinfo=UTC).timestamp()):
        with pytest.raises((OverflowError, ValueError)):
            containing(moment, ZoneInfo(BERLIN))


@given(st.lists(st.integers(1_600_000_000, 4_000_000_000), min_size=1, max_size=4), zones)
def test_a_calendar_has_the_days_and_the_clocks_of_its_zone_in_any_order(
    begin: list[int], where: ZoneInfo
) -> None:
    calendar = Calendar(where)
    for moment in (one + step for one in begin for step in (0, 1, 899, 900, 86_400, -3_600, 0)):
        day = containing(moment, where)[0]
        assert calendar.date(moment) == datetime.fromtimestamp(day.begins, where).date()
        shown = datetime.fromtimestamp(calendar.wall(moment), UTC).replace(tzinfo=None)
        assert shown == datetime.fromtimestamp(moment, where).replace(tzinfo=None, fold=0)
