"""How long a clip may take: less after tries in vain, never less than is fair, and all of it back for what came home."""

from __future__ import annotations

import pytest

from batchgen.run.clip_times import ClipTime, ClipTimes


def tried(times: ClipTimes, seconds: float, places: int = 4) -> ClipTime:
    one = ClipTime(times)
    one.limit(0.0, 0.0)
    one.tried(seconds, places)
    return one


def test_each_time_that_all_places_were_in_vain_for_as_long_as_a_clip_may_take_halves_it() -> None:
    times = ClipTimes(60, 10)
    assert times.allowed == 60
    for _ in range(4):
        tried(times, 60)
    assert times.allowed == 30
    for _ in range(4):
        tried(times, 60)
    assert times.allowed == 15
    for _ in range(40):
        tried(times, 60)
    assert times.allowed == 10


def test_never_is_it_more_than_the_user_said() -> None:
    assert ClipTimes(5, 75).allowed == 5


def test_a_place_that_is_the_only_one_of_its_host_counts_whole() -> None:
    times = ClipTimes(60, 10)
    tried(times, 60, places=1)
    assert times.allowed == 30


def test_a_clip_that_came_home_after_all_takes_nothing_from_others() -> None:
    times = ClipTimes(60, 10)
    one = tried(times, 60)
    one.tried(60, 4)
    assert times.allowed < 60
    one.clip_came()
    one.clip_came()
    assert times.allowed == 60


def test_waiting_for_a_place_takes_no_time_and_waiting_for_the_next_try_does() -> None:
    one = ClipTime(ClipTimes(60, 10))
    assert not one.over(1e9)  # before its first try
    assert one.limit(100, waited=50) == 160
    assert one.limit(200, waited=70) == 230
    assert not one.over(229.9)
    assert one.over(230)


def test_a_clips_next_file_has_as_much_time_as_any() -> None:
    one = ClipTime(ClipTimes(60, 10))
    one.limit(0, 0)
    one.file_came()
    assert one.limit(50, 10) == 110


@pytest.mark.parametrize(("clips", "most"), [(16, 1.0), (2000, 7.0), (20_000, 31.0)])
def test_clips_that_never_end_take_hours_of_a_night_and_not_days(clips: int, most: float) -> None:
    """At the defaults, 16 at a time; without the rule two thousand take 125 hours."""
    times = ClipTimes(3600, 75)
    hours = 0.0
    for _ in range(clips // 16):
        hours += times.allowed / 3600
        allowed = times.allowed
        for _ in range(16):
            tried(times, allowed, places=16)
    assert most / 2 < hours <= most
