"""What `schedule` writes, as text: crontabs with and without its lines, words that no shell and no unit reads otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.night import crontab, units

ENTRY = "30 22 * * * true"
CRONTABS = st.one_of(
    st.just(""),
    st.lists(
        st.sampled_from(["MAILTO=a@b", "# mine", "", "0 5 * * * echo \\%", "# begin", "*/5 * * * * x\r"]),
        max_size=6,
    ).map(lambda lines: "".join(f"{line}\n" for line in lines)),
    st.text(alphabet="ab #\n%\udcff", max_size=30),
)


@given(CRONTABS)
def test_what_was_put_in_is_taken_out_and_every_other_byte_stays(text: str) -> None:
    once = crontab.with_block(text, "batchgen", "said", ENTRY)
    assert once.startswith(text) and ENTRY in once.splitlines()
    assert crontab.with_block(once, "batchgen", "said", ENTRY) == once
    assert crontab.without_block(once, "batchgen") == text
    other = crontab.with_block(once, "other", "said", "0 1 * * * false")
    left = crontab.without_block(crontab.without_block(other, "batchgen"), "other")
    assert left in (text, f"{text}\n")  # an end that the line above needed meanwhile
    assert crontab.without_block(other, "other") == once


def test_a_schedule_that_changes_keeps_its_place() -> None:
    text = crontab.with_block("MAILTO=a@b\n", "batchgen", "said", ENTRY) + "0 1 * * * mine\n"
    changed = crontab.with_block(text, "batchgen", "now", "0 3 * * * true")
    assert changed.splitlines() == [
        "MAILTO=a@b",
        "# begin batchgen schedule batchgen",
        "# now",
        "0 3 * * * true",
        "# end batchgen schedule batchgen",
        "0 1 * * * mine",
    ]


def test_a_name_that_another_begins_with_is_another_schedule() -> None:
    text = crontab.with_block("", "night-shop", "said", ENTRY)
    assert crontab.without_block(text, "night") == text


@pytest.mark.parametrize(
    "lost", ["# begin batchgen schedule batchgen\n", "# end batchgen schedule batchgen\n"]
)
def test_marks_that_do_not_belong_to_each_other_change_nothing(lost: str) -> None:
    text = crontab.with_block("mine\n", "batchgen", "said", ENTRY).replace(lost, "")
    with pytest.raises(ValueError, match="crontab -e"):
        crontab.with_block(text, "batchgen", "said", ENTRY)
    with pytest.raises(ValueError, match="crontab -e"):
        crontab.without_block(text, "batchgen")


@pytest.mark.parametrize(("word", "why"), [("a\nb", "line breaks"), ("x" * 1000, "990 characters")])
def test_what_no_crontab_can_hold_is_refused(word: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        crontab.line(22, 30, {}, ["run", word])


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/plain/path", "/plain/path"),
        ("a b", '"a b"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("", '""'),
        ("it's", '"it\'s"'),
        ("ä", "ä"),
    ],
)
def test_words_of_a_unit_mean_themselves(word: str, written: str) -> None:
    assert units.quoted(word, command=True) == written


def test_a_unit_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line breaks"):
        units.service(units.Service("x", ["/bin/batchgen", "a\nb"]), "# mark")
