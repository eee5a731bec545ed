"""Placeholders: what stands for what in prompts, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.manifest.placeholders import PlaceholderError, fill_in, stem


def filled(text: str, image: str = "/night/inbox/spring/hero.v2.png") -> str:
    return str(fill_in({"prompt": text}, lambda: image).get("prompt", text))


def test_placeholders_are_filled_in() -> None:
    assert filled("{stem}, {name} of {parent}") == "hero.v2, hero.v2.png of spring"
    assert filled("{{stem}} }}{{ {{{stem}}}") == "{stem} }{ {hero.v2}"
    assert filled("plain") == "plain"
    assert filled("{stem}", "https://x.org/a/My%20shot.png?size=2#x") == "My shot"
    assert filled("{parent}", "HTTPS://x.org/a/b.png") == "a"
    assert stem("https://x.org/") == ""


def test_all_kinds_of_prompts_are_filled_in() -> None:
    fields = {
        "negative_prompt": "{stem}",
        "multi_prompt": [{"index": 1, "prompt": "{name}"}, {"prompt": 5}, "x"],
        "id": "{x}",
    }
    assert fill_in(fields, lambda: "/a/b.png") == {
        "negative_prompt": "b",
        "multi_prompt": [{"index": 1, "prompt": "b.png"}, {"prompt": 5}, "x"],
    }


@pytest.mark.parametrize(
    ("text", "image", "problem"),
    [
        ("{", "/a/b.png", "a single {"),
        ("a } b", "/a/b.png", "a single }"),
        ("{{}", "/a/b.png", "a single }"),
        ("{}", "/a/b.png", "{} is no placeholder"),
        ("{Stem}", "/a/b.png", "did you mean {stem}?"),
        ("{ stem }", "/a/b.png", "did you mean {stem}?"),
        ("{stem!r}", "/a/b.png", "{stem!r} is no placeholder"),
        ("{stem:>9999999999}", "/a/b.png", "is no placeholder"),
        ("{stem.__class__}", "/a/b.png", "is no placeholder"),
        ("{0}", "/a/b.png", "{0} is no placeholder"),
        ("{stem}", "", "{stem} stands for nothing here"),
        ("{parent}", "https://x.org/a.png", "{parent} stands for nothing here"),
    ],
)
def test_wrong_placeholders(text: str, image: str, problem: str) -> None:
    with pytest.raises(PlaceholderError) as caught:
        fill_in({"multi_prompt": [{}, {"prompt": text}]}, lambda: image)
    assert problem in caught.value.text
    assert caught.value.path == ("multi_prompt", 1, "prompt")


@given(st.text(st.sampled_from("{}stemnaparxé "), max_size=30))
def test_filling_in_inverts_doubling_and_nothing_else_gets_through(text: str) -> None:
    assert filled(text.replace("{", "{{").replace("}", "}}")) == text
    try:
        result = filled(text)
    except PlaceholderError:
        return
    names = ("{stem}", "{name}", "{parent}", "{{", "}}")
    assert re.sub("|".join(map(re.escape, names)), "", text).count("{") == 0
    assert "{" not in result or "{{" in text
