"""What the page says is worked out right: nights, slots, money, causes, links, and columns that pack small."""

from __future__ import annotations

from datetime import date, timedelta
from urllib.parse import unquote

import pytest

from batchgen.page import causes, nights
from batchgen.page.columns import _differences
from batchgen.page.drawing import night_bar, timeline
from batchgen.page.links import pattern_of, relative_to
from batchgen.page.nights import DAY, NOON, Amounts, Night
from batchgen.page.takes import BUCKETS, KINDS, Take
from batchgen.run.buckets import ADVICE
from batchgen.run.failures import Cause

# -- nights ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hour", "night"), [(0, -1), (11.99, -1), (12, 0), (23.99, 0)])
def test_a_night_is_from_noon_to_noon_and_called_after_its_evening(hour: float, night: int) -> None:
    assert nights.night_of(1000 * DAY + hour * 3600) == 1000 + night


def night(number: int, done: int, micros: int = 0) -> Night:
    made = Night(number)
    made.counts["done"], made.money.estimated = done, micros
    return made


def test_usual_is_the_median_of_the_nights_before_and_nothing_where_there_are_none() -> None:
    assert nights.usual([night(5, 100)]) is None
    usual = nights.usual([night(5, 100), night(4, 7, 10), night(3, 9, 30), night(2, 1000, 20)])
    assert usual == (9, 0, 20, 3)


# -- slots -------------------------------------------------------------------------------------------------------------


def test_slots_are_counted_from_the_spans_of_tasks() -> None:
    found = nights.slots([(0, 10), (5, 15), (5, 10)], [7], 0, 100)
    assert found is not None
    assert found.steps == [(0, 1), (5, 3), (10, 1), (15, 0)]
    assert (found.most, found.mean, found.start, found.end, found.failed) == (3, 25 / 15, 0, 15, [7])


def test_slots_are_cut_to_the_night_and_to_when_any_was_held() -> None:
    found = nights.slots([(-50, 20), (90, float("inf"))], [-10, 95, 300], 0, 100)
    assert found is not None and (found.start, found.end, found.failed) == (0, 100, [95])
    assert nights.slots([(-50, -20)], [], 0, 100) is None


def test_a_clock_that_went_back_holds_a_slot_for_a_second() -> None:
    found = nights.slots([(50, 40)], [], 0, 100)
    assert found is not None and found.steps == [(50, 1), (51, 0)]


def test_a_long_night_keeps_its_peaks_in_few_points() -> None:
    spans = [(second, second + 30) for second in range(0, 20_000, 7)] + [(9_000, 9_001)] * 50
    found = nights.slots(spans, [], 0, DAY)
    assert found is not None
    assert len(found.steps) <= nights.POINTS + 1
    assert max(running for _, running in found.steps) == found.most > 50


def test_the_drawing_stays_inside_and_its_line_has_every_step() -> None:
    found = nights.slots([(0, 3600), (1800, 7200)], [3600], 0, DAY)
    assert found is not None
    drawn = timeline(found)
    assert drawn.line == "M0 100H0V75H250V50H500V75H1000V100"
    assert drawn.area.endswith("V100Z") and drawn.failed == [50.0]
    assert drawn.hours[0][1:] == ("00:00", "start")
    places = [hour[0] for hour in drawn.hours] + [level[0] for level in drawn.levels]
    assert all(0 <= place <= 100 for place in places)


@pytest.mark.parametrize("seconds", [1, 59, 3600, 9 * 3600, DAY])
def test_a_drawing_has_some_hours_and_never_more_than_fit(seconds: int) -> None:
    found = nights.slots([(NOON + 1, NOON + 1 + seconds)], [], 0, 3 * DAY)
    assert found is not None and len(timeline(found).hours) <= 9


def test_a_bar_shows_even_one_of_thousands() -> None:
    one = night(1, 5000)
    one.counts["failed"] = 1
    bars = night_bar(one, 5001)
    assert [bar.name for bar in bars] == ["done", "failed"] and bars[1].width >= 8


# -- money -------------------------------------------------------------------------------------------------------------


def test_money_adds_up_by_day_and_manifest_and_in_all() -> None:
    first = date(2026, 10, 1)
    sums = {
        (first + timedelta(day), f"m{name}"): Amounts(100 * name + day, 90 * name, day - 5)
        for day in range(40)
        for name in range(9)
    }
    table = nights.money(sums, days=31, manifests=6)
    for name in ("estimated", "charged", "difference"):
        whole = sum(getattr(one, name) for one in sums.values())
        parts = [
            [getattr(one, name) for one in column]
            for column in (table.by_manifest, [row[2] for row in table.days])
        ]
        assert [sum(part) for part in parts] == [whole, whole] and getattr(table.all, name) == whole
    assert len(table.manifests) == 6 and table.manifests[0] == "m8" and table.manifests[-1] == ""
    assert [row[0] for row in table.days] == [first + timedelta(39 - day) for day in range(31)] + [None]
    assert all(sum(cells) == amounts.estimated for _, cells, amounts in table.days)
    assert table.by_manifest[0] == Amounts(sum(800 + day for day in range(40)), 720 * 40, sum(range(-5, 35)))


# -- causes ------------------------------------------------------------------------------------------------------------


def take(kind: str, code: str | None = None, message: str | None = None, **more: object) -> Take:
    made = Take("shop", "mug", 1, kind, 0.0, code=code, message=message)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_failures_are_grouped_by_kind_and_code_and_alike_messages_are_one() -> None:
    groups = causes.failures(
        [
            take("failed", "failed_content", "frame 1 was refused"),
            take("failed", "failed_content", "frame 22 was refused"),
            take("refused", "1301", "policy"),
            take("done"),
            take("waiting"),
        ]
    )
    assert [(one.kind, one.count) for one in groups] == [("failed", 2), ("refused", 1)]
    assert groups[0].said == [("frame 1 was refused", 2)]
    assert groups[1].token == "refused-1301" and "content policy" in groups[1].title


@pytest.mark.parametrize("kind", causes.FAILURES)
def test_every_kind_of_failure_has_a_title_and_something_to_do(kind: str) -> None:
    for code in [None, *Cause, "1101", "1301", "insufficient_user_quota", "<b>", "\u0663"]:
        (group,) = causes.failures([take(kind, code, "said")])
        assert group.title and all(group.advice)
        assert group.advice[-1] == ADVICE[BUCKETS[kind]][1]
        assert set(group.token) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


def test_an_empty_balance_says_top_up() -> None:
    for code in ("1101", "insufficient_quota"):
        (group,) = causes.failures([take("waiting", code, "x")])
        assert "Top up" in group.advice[0]


def test_every_kind_is_in_a_bucket_with_advice_or_needs_nobody() -> None:
    assert KINDS.keys() - BUCKETS.keys() == {"done", "given-up"}
    assert all(ADVICE[bucket][1] for bucket in BUCKETS.values())


def test_a_risk_says_when_the_first_clip_is_deleted() -> None:
    day = causes.DAY
    some = [
        take("coming", risk="link", finished_at=0.0, micros=560_000),
        take("coming", risk="link", finished_at=10 * day, micros=560_000),
        take("coming", risk="link", finished_at=None),
    ]
    (risk,) = causes.risks(some, now=29 * day + 1)
    assert (risk.count, risk.micros) == (3, 1_120_000)
    assert "the first of these is deleted within a day" in risk.text
    assert "deleted in 9 days; 1 of them is past that" in causes.risks(some, now=31 * day)[0].text


def test_what_is_at_risk_is_named_the_oldest_first_and_changed_whatever_else_it_is() -> None:
    some = [
        take("coming", risk="link", finished_at=20.0, job_id="b"),
        take("coming", risk="link", finished_at=10.0, job_id="a", changed=""),
    ]
    found = {one.token: one.names for one in causes.risks(some, now=30)}
    assert found == {"link": ["shop/a", "shop/b"], "changed": ["shop/a"]}


def test_the_worst_kinds_of_failures_stand_first_and_then_the_most() -> None:
    some = [take("refused", "1301")] * 3 + [take("failed", "x")] + [take("failed", "y")] * 2
    assert [one.token for one in causes.failures(some)] == ["failed-y", "failed-x", "refused-1301"]


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/a/b/clips/x.mp4", "./clips/x.mp4"),
        ("/a/b/100% #1 ?&.mp4", "./100%25%20%231%20%3F%26.mp4"),
        ("/a/b/javascript:x.mp4", "./javascript%3Ax.mp4"),
        ("/a/c/x.mp4", "../c/x.mp4"),
        ("/mnt/x.mp4", "../../mnt/x.mp4"),
        ("/a/b/é\udcff.mp4", "./%C3%A9%FF.mp4"),
        ("/a/b//c/./x.mp4", "./c/x.mp4"),
        ("/a/b/'\"<>.mp4", "./%27%22%3C%3E.mp4"),
        ("/a/bc/x.mp4", "../bc/x.mp4"),
    ],
)
def test_a_link_is_relative_and_nothing_in_a_name_is_more_than_a_name(path: str, url: str) -> None:
    assert relative_to("/a/b")(path) == url


@pytest.mark.parametrize("job", ["mug", "a/b c", "100%", "*", "('!')", "é", "mug/mug", "\udcff", ""])
def test_a_pattern_gives_the_link_back(job: str) -> None:
    url = relative_to("/a")(f"/a/clips/{job}.take2.mp4")
    pattern = pattern_of(url, job)
    assert unquote(pattern.replace("*", job), errors="surrogateescape") == unquote(
        url, errors="surrogateescape"
    )
    assert ("*" in pattern) == (job not in ("", "\udcff"))


def test_columns_of_differences_give_the_numbers_back() -> None:
    numbers, total = [5, 5, 9, 2], 0
    for number, difference in zip(numbers, _differences(numbers), strict=True):
        total += difference
        assert total == number
