"""What nobody outside is told is cut out of what they are told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.night.redaction import PIECE, SHORT, Redaction, prompts_of

PROMPT = "A grey cat on a windowsill turns its head, slow push-in, rain outside"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"refused: {PROMPT!r} is unsafe", "refused: '[prompt]' is unsafe"),
        (f"refused: {PROMPT.upper()}", "refused: [prompt]"),
        ("refused: 'cat on a windowsill turns its head' is unsafe", "refused: '[prompt]' is unsafe"),
        (f"{PROMPT[:25]}... and {PROMPT[-25:]}", "[prompt]... and [prompt]"),
        (f"{PROMPT}{PROMPT}", "[prompt][prompt]"),
        (PROMPT.replace(" ", "\n"), "[prompt]"),
        ("the cat was refused", "the cat was refused"),
    ],
)
def test_a_prompt_that_came_back_is_cut_out_in_whole_and_in_part(text: str, told: str) -> None:
    assert Redaction([PROMPT])(text) == told


@pytest.mark.parametrize(
    ("prompt", "text", "told"),
    [
        ("x", "x is refused; text stays", "[prompt] is refused; text stays"),
        ("Slow pan", "refused 'slow pan'", "refused '[prompt]'"),
        ("slow pan", "slow panda", "slow panda"),
        ("猫が振り向く", "拒否: 猫が振り向くは。", "拒否: [prompt]は。"),
        ("", "nothing", "nothing"),
        (" ", "a b", "a b"),
        ("a.*b", "axxb a.*b", "axxb [prompt]"),
    ],
)
def test_a_short_prompt_is_cut_out_where_it_stands_as_a_whole(prompt: str, text: str, told: str) -> None:
    assert Redaction([prompt])(text) == told


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=SHORT),
    st.data(),
    st.text(),
    st.text(),
)
def test_no_longer_part_of_any_prompt_is_left(
    prompt: str, data: st.DataObject, before: str, after: str
) -> None:
    prompt = prompt.strip()
    if len(prompt) < SHORT:
        return
    start = data.draw(st.integers(0, len(prompt) - SHORT))
    part = prompt[start : start + SHORT]
    assert part not in Redaction([prompt])._without_prompts(f"{before}{part}{after}")
    assert SHORT == 2 * PIECE - 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("see https://user:pw@host.example/cb/token?x=1#y!", "see https://host.example/..."),
        ("https:\\/\\/h.example\\/a\\/b", "https:\\/\\/h.example/..."),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "discord://4174216298/..."),
        ("at http://127.0.0.1:8080", "at http://127.0.0.1:8080"),
        ('{"u": "https://h.example/a"}', '{"u": "https://h.example/..."}'),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw is wrong", "whsec_... is wrong"),
        ("/home/you/night.yaml:3:5", "/home/you/night.yaml:3:5"),
    ],
)
def test_of_an_address_only_the_host_is_told(text: str, told: str) -> None:
    assert Redaction()(text) == told


def test_every_text_of_a_value_is_cut_and_nothing_else() -> None:
    value = {"a prompt name": [PROMPT, 3, None, True, {"x": f"at {PROMPT}"}], "n": 0.42}
    told = {"a prompt name": ["[prompt]", 3, None, True, {"x": "at [prompt]"}], "n": 0.42}
    assert Redaction([PROMPT]).value(value) == told


def test_every_field_for_prompts_is_found_wherever_it_stands() -> None:
    request = {
        "prompt": "a",
        "negative_prompt": "b",
        "multi_prompt": [{"index": 1, "prompt": "c", "duration": "5"}],
        "model_name": "kling-v3",
        "shots": [{"prompt": "d"}],
    }
    assert sorted(prompts_of(json.loads(json.dumps(request)))) == ["a", "b", "c", "d"]
