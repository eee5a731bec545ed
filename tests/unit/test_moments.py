"""Times on the command line: what the clocks show, also in nights in which they change."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from batchgen.cli.moments import moment


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine is in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def read(now: str, given: str) -> datetime:
    return datetime.fromtimestamp(moment(given, datetime.fromisoformat(now).timestamp()), UTC)


NIGHTS = [
    # The clocks are put back from 3:00 to 2:00.
    ("2026-10-25T02:30+02:00", "30m", "2026-10-25T03:00+02:00"),
    ("2026-10-25T02:30+01:00", "30m", "2026-10-25T03:00+01:00"),
    ("2026-10-25T02:30+01:00", "02:45", "2026-10-25T02:45+01:00"),
    ("2026-10-25T02:30+02:00", "02:45", "2026-10-25T02:45+02:00"),
    ("2026-10-25T02:50+02:00", "02:45", "2026-10-25T02:45+01:00"),
    ("2026-10-25T02:50+01:00", "02:45", "2026-10-26T02:45+01:00"),
    ("2026-10-25T02:50+02:00", "2026-10-25T02:45", "2026-10-25T02:45+01:00"),
    ("2026-10-25T01:00+02:00", "2026-10-25T02:45", "2026-10-25T02:45+02:00"),
    ("2026-10-25T01:00+02:00", "06:30", "2026-10-25T06:30+01:00"),
    ("2026-10-24T22:30+02:00", "9h", "2026-10-25T06:30+01:00"),
    ("2026-10-25T02:30+01:00", "2026-10-25T06:30", "2026-10-25T06:30+01:00"),
    # They are put forward from 2:00 to 3:00.
    ("2026-03-29T01:00+01:00", "06:30", "2026-03-29T06:30+02:00"),
    ("2026-03-29T01:00+01:00", "2h", "2026-03-29T04:00+02:00"),
    ("2026-03-28T22:30+01:00", "02:30", "2026-03-29T03:00+02:00"),
    ("2026-03-28T22:30+01:00", "02:00", "2026-03-29T03:00+02:00"),
    ("2026-03-28T22:30+01:00", "03:00", "2026-03-29T03:00+02:00"),
    ("2026-03-28T22:30+01:00", "01:59", "2026-03-29T01:59+01:00"),
    ("2026-03-29T03:10+02:00", "02:30", "2026-03-30T02:30+02:00"),
    ("2026-03-28T22:30+01:00", "2026-03-29T02:30", "2026-03-29T03:00+02:00"),
    # An ordinary day.
    ("2026-06-01T06:30+02:00", "06:30", "2026-06-02T06:30+02:00"),
    ("2026-06-01T06:29+02:00", "6:30", "2026-06-01T06:30+02:00"),
    ("2026-06-01T06:29+02:00", "2026-06-01 06:30", "2026-06-01T06:30+02:00"),
    ("2026-06-01T06:29+02:00", "2026-06-01T06:30Z", "2026-06-01T08:30+02:00"),
]


@pytest.mark.parametrize(("now", "given", "means"), NIGHTS)
def test_a_time_is_what_this_machine_s_clocks_show(now: str, given: str, means: str) -> None:
    assert read(now, given) == datetime.fromisoformat(means)


@pytest.mark.parametrize(("now", "given", "means"), NIGHTS)
def test_in_a_named_zone_it_is_what_the_clocks_there_show(
    monkeypatch: pytest.MonkeyPatch, now: str, given: str, means: str
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    zone = " Europe/Berlin" if ":" in given and "Z" not in given else ""
    assert read(now, given + zone) == datetime.fromisoformat(means)


@pytest.mark.parametrize(
    ("now", "given", "means"),
    [
        ("2026-10-04T01:00+10:30", "02:15 Australia/Lord_Howe", "2026-10-04T02:30+11:00"),  # half an hour
        ("2026-04-05T01:00+11:00", "01:45 Australia/Lord_Howe", "2026-04-05T01:45+11:00"),
        ("2026-04-05T01:50+11:00", "01:45 Australia/Lord_Howe", "2026-04-05T01:45+10:30"),
        ("2026-09-05T23:00-04:00", "00:30 America/Santiago", "2026-09-06T01:00-03:00"),  # over midnight
        ("2026-06-01T12:00+00:00", "07:30   UTC", "2026-06-02T07:30+00:00"),
        ("2026-06-01T12:00+00:00", "07:30 Asia/Kathmandu", "2026-06-02T07:30+05:45"),
    ],
)
def test_zones_change_their_clocks_in_other_ways(now: str, given: str, means: str) -> None:
    assert read(now, given) == datetime.fromisoformat(means)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("tomorrow", "no time and no duration; write 06:30"),
        ("25:00", "no time and no duration; write 06:30"),
        ("7:30pm", "no time and no duration; write 06:30"),
        ("2026-02-30T06:30", "no time and no duration; write 06:30"),
        ("9" * 400 + "h", "no time and no duration; write 06:30"),
        ("2001-01-01T06:30", "has passed"),
        ("2001-01-01T06:30Z", "has passed"),
        ("2026-06-01T06:30+02:00 Europe/Berlin", "no time and no duration; write 06:30"),
        ("06:30 Berlin", "'Berlin' is no time zone; write its IANA name, such as Europe/Berlin"),
        ("06:30 CEST", "'CEST' is no time zone; write its IANA name"),
        ("06:30 pm", "'pm' is no time zone"),
        ("2h Europe/Berlin", "no time and no duration; write 06:30"),
    ],
)
def test_what_can_not_be_read_says_what_to_write(given: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        read("2026-06-01T01:00+02:00", given)


def test_the_present_moment_has_not_passed() -> None:
    assert read("2026-06-01T01:00+02:00", "0s") == datetime.fromisoformat("2026-06-01T01:00+02:00")
    assert read("2026-06-01T01:00+02:00", "2026-06-01T01:00") == datetime.fromisoformat(
        "2026-06-01T01:00+02:00"
    )
