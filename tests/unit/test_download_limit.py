"""How many clips are fetched from one host at once: more while the sum grows, fewer where the host is busy; pure."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.run.download_limit import DOWNLOADS, ENOUGH, FIRST, MOST, DownloadLimit
from batchgen.storage.download import MIN_SPEED

MB = 1e6
PIECE = 0.05  # seconds between a download's pieces


def play(
    limit: DownloadLimit,
    seconds: float,
    *,
    line: float = math.inf,
    each: float = 2 * MB,
    bears: float = math.inf,
    lag: float = 0.1,
    began: float = 0.0,
) -> list[tuple[float, int]]:
    """Downloads of two seconds from a host that gives each ``each`` bytes a second, over a line of ``line`` in all.

    More than ``bears`` at once are refused. Returns (second, limit) at each change.
    """
    rng = random.Random(1)
    downloads: list[tuple[float, float]] = []  # (began, ends)
    changes = [(began, limit.limit)]
    now = began
    while now < began + seconds:
        while limit.free:
            if len(downloads) >= bears:
                limit.take()
                limit.give_back()
                limit.busy(now, now)
                break
            limit.take()
            downloads.append((now, now + 2 + rng.random() / 10))
        now += PIECE
        flowing = [one for one in downloads if now - one[0] > lag]
        share = min(each, line / max(len(flowing), 1))
        for start, _ in flowing:
            first = lag if now - start - PIECE <= lag else None
            limit.received(int(share * PIECE), now, lag=first, waiting=True)
        for one in [one for one in downloads if one[1] <= now]:
            downloads.remove(one)
            limit.give_back()
        if limit.limit != changes[-1][1]:
            changes.append((now, limit.limit))
    for _ in downloads:
        limit.give_back()
    return changes


def test_where_each_connection_is_what_is_slow_as_many_as_may_be_are_under_way_within_a_second() -> None:
    changes = play(DownloadLimit(16), 10)
    assert [number for _, number in changes] == [FIRST, 16]
    assert changes[-1][0] < 1


def test_a_larger_number_is_reached_too() -> None:
    assert play(DownloadLimit(64), 10)[-1][1] == 64


@pytest.mark.parametrize("line", [20 * MB, 4 * MB, 1 * MB, 250_000, 100_000])
def test_on_a_full_line_tries_end_and_get_rare(line: float) -> None:
    limit = DownloadLimit(16)
    changes = play(limit, 60, line=line, each=line / 2)
    assert [number for _, number in changes[::2]] == [FIRST] * len(changes[::2])
    assert len(changes) // 2 <= 6
    ends = [*(at for at, _ in changes[1:]), 60.0]
    assert sum(end - at for (at, number), end in zip(changes, ends, strict=True) if number > FIRST) < 6
    first, later = (sum(a <= at < a + 20 for at, _ in changes) for a in (0, 40))
    assert later <= first


@pytest.mark.parametrize("line", [1_000_000, 500_000, 250_000, 100_000])
def test_no_try_brings_downloads_below_the_least_speed(line: float) -> None:
    """On a line that is too slow for more, there are as many as ever, a few."""
    assert ENOUGH == 4 * MIN_SPEED
    most = max(number for _, number in play(DownloadLimit(MOST), 30, line=line, each=line))
    assert most == FIRST or line / most >= ENOUGH


def test_a_try_stays_where_the_sum_grows_by_far_less_than_the_number() -> None:
    assert play(DownloadLimit(16), 10, line=12 * MB)[-1][1] == 16  # four bring 8, sixteen 12


@pytest.mark.parametrize("bears", [1, 2, 3, 5, 9, 12])
def test_a_host_that_bears_fewer_is_asked_for_about_so_many(bears: int) -> None:
    limit = DownloadLimit(16)
    play(limit, 60, bears=bears)
    assert max(bears // 2, 1) <= limit.limit <= bears + 1
    refused = play(limit, 60, bears=bears, began=60)
    assert sum(number > bears for _, number in refused) <= 4  # tries are rare by then


def test_a_host_that_bears_more_again_gets_more_one_at_a_time() -> None:
    limit = DownloadLimit(16)
    play(limit, 20, bears=4)
    few = limit.limit
    changes = play(limit, 240, began=20)
    assert few <= 5
    assert limit.limit == 16
    assert all(after - before <= 1 for (_, before), (_, after) in itertools.pairwise(changes))


def test_refusals_of_downloads_that_went_out_together_count_once() -> None:
    limit = DownloadLimit(64)
    play(limit, 5)
    assert limit.limit == 64
    for _ in range(64):
        limit.busy(4.0, 5.5)
    assert limit.limit == 32
    limit.busy(5.6, 5.7)
    assert limit.limit == 16


def test_where_nobody_waits_nothing_is_tried() -> None:
    limit = DownloadLimit(16)
    for number in range(100):
        limit.received(100_000, number / 10, waiting=False)
        assert limit.limit == FIRST


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_smaller_number_than_the_first_holds(most: int) -> None:
    assert {number for _, number in play(DownloadLimit(most), 10)} == {most}


@given(
    st.integers(1, MOST),
    st.lists(
        st.tuples(
            st.sampled_from(["received", "busy"]),
            st.integers(0, 1 << 24),
            st.floats(0, 10),
            st.none() | st.floats(0, 5),
            st.booleans(),
        ),
        max_size=60,
    ),
)
def test_the_limit_is_never_below_one_nor_above_what_it_may_be(
    most: int, events: list[tuple[str, int, float, float | None, bool]]
) -> None:
    limit, now = DownloadLimit(most), 0.0
    for kind, count, passed, lag, waiting in events:
        now += passed
        if kind == "busy":
            limit.busy(now - (lag or 0.0), now)
        else:
            limit.received(count, now, lag=lag, waiting=waiting)
        assert 1 <= limit.limit <= most


def test_the_built_in_number_is_what_is_written_of_it() -> None:
    assert (DOWNLOADS, MOST) == (16, 256)
