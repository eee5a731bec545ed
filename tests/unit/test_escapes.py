"""What a person sees of paths, ids and cells: everything that is in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.escapes import visible
from batchgen.request.messages import shown
from tests.support.pictures import make_png
from tests.support.program import Desk

INVISIBLE = {
    "zero width space": "\u200b",
    "zero width joiner": "\u200d",
    "no-break space": "\u00a0",
    "narrow no-break space": "\u202f",
    "ideographic space": "\u3000",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "right-to-left mark": "\u200f",
    "override": "\u202e",
    "isolate": "\u2066",
    "word joiner": "\u2060",
    "grapheme joiner": "\u034f",
    "variation selector": "\ufe0f",
    "ideographic variation": "\U000e0100",
    "tag": "\U000e0041",
    "hangul filler": "\u3164",
    "private use": "\uf022",
    "escape": "\x1b",
    "line separator": "\u2028",
}


@pytest.mark.parametrize("letter", INVISIBLE.values(), ids=INVISIBLE)
def test_what_cannot_be_seen_is_escaped(letter: str) -> None:
    escaped = json.dumps(letter)[1:-1]
    assert visible(f"a{letter}b") == f"a{escaped}b"
    assert visible(letter) == escaped
    assert shown(f"a{letter}b") == f'"a{escaped}b"'


@pytest.mark.parametrize("text", ["👩‍🚀 waves", "❤️", "👨‍👩‍👧‍👦", "👍🏽", "1️⃣", "日本語 café", "©️", "a b"])
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_emoji_hide_nothing_beside_them() -> None:
    heart, pilot = "\u2764\ufe0f", "👩\u200d🚀"
    hidden = f"a\u200b{pilot}\u200d\u200b{heart}\ufe0f\u202e"
    assert visible(hidden) == rf"a\u200b{pilot}\u200d\u200b{heart}\ufe0f\u202e"


@given(st.text())
def test_what_is_shown_means_the_same_and_is_shown_the_same(text: str) -> None:
    escaped = visible(text)
    assert visible(escaped) == escaped
    if "\\" not in text and '"' not in text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert json.loads(f'"{escaped}"') == text


@pytest.mark.parametrize("letter", ["\u200b", "\u00a0", "\ufeff", "\u202e", "\U000e0041", "\ufe0f"])
def test_every_message_about_a_path_an_id_or_a_cell_shows_it(tmp_path: Path, letter: str) -> None:
    desk = Desk(tmp_path)
    desk.write(f"in/a{letter}b.png", make_png()[:100])
    desk.write(
        "night.yaml",
        "version: 1\ndefaults: {model_name: kling-v3, prompt: x}\njobs:\n  - {folder: in}\n  - {table: t.csv}\n"
        f'  - {{id: "c{letter}d", image: "no{letter}ne.png"}}\n',
    )
    desk.write("t.csv", f"id,image,mode\ne{letter}f,https://example.com/a.png,p{letter}ro\n")
    result = desk.run("validate", "night.yaml")
    escaped = json.dumps(letter)[1:-1]
    assert result.code == 2
    for name in ("a{}b.png", "c{}d", "no{}ne.png", "e{}f", "p{}ro"):
        assert name.format(escaped) in result.err, name
    assert letter not in result.out + result.err
