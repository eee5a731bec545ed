"""References in prompts: the forms of the specification pass, what is meant as one is told, mere text is left alone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.request import references
from batchgen.request.references import read
from batchgen.sandbox import checks

VOICE_ID = "829826751244537879"
LISTS: dict[str, Any] = {
    "voice_list": [{"voice_id": VOICE_ID}],
    "element_list": [{"element_id": 160}, {"element_id": 7}],
}


def told(prompt: str, **fields: Any) -> list[str]:
    """What is said of a prompt; a voice is named besides, so that the list is used."""
    found = references.check({"prompt": f"{prompt} and <<<voice_1>>>", **LISTS, **fields})
    assert {path for path, _ in found} <= {("prompt",)}
    return [text for _, text in found]


@pytest.mark.parametrize(
    "text",
    [
        "<<<voice_1>>>",
        "A man<<<voice_1>>>says",
        "<<<element_1>>><<<element_2>>>",
        "<<<image_1>>>",
        "«<<<voice_1>>>»",
    ],
)
def test_the_specification_s_forms_pass(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            "<<<Voice_1>>>",
            "<<<VOICE_1>>>",
            "<<<voice1>>>",
            "<<<voice 1>>>",
            "<<<voice-1>>>",
            "<<<voices_1>>>",
        ),
        *(
            "<<< voice_1 >>>",
            "<<<voice_1 >>>",
            "<<<\u00a0voice_1>>>",
            "<<<voice_1\u200b>>>",
            "<<<\tvoice_1>>>",
        ),
        *(
            "<voice_1>",
            "<<voice_1>>",
            "<<<voice_1>>",
            "<<voice_1>>>",
            "<<<<voice_1>>>>",
            "<<<voice_1>>>>",
            "<< voice_1 >>",
        ),
        *("<<<voice_01>>>", "<<<voice_001>>>", "<<<voice_１>>>", "<<<voice＿1>>>", "<<<voice\\_1>>>"),
        *(
            "＜＜＜voice_1＞＞＞",
            "‹‹‹voice_1›››",
            "«voice_1»",
            "««« voice_1 »»»",
            "《voice_1》",
            "〈〈〈voice_1〉〉〉",
        ),
        *("{{voice_1}}", "{voice_1}", "[voice_1]", "[[voice_1]]", "@voice_1", "@Voice1"),
        *(
            "&lt;&lt;&lt;voice_1&gt;&gt;&gt;",
            "\\<\\<\\<voice_1\\>\\>\\>",
            "&#60;&#60;&#60;voice_1&#62;&#62;&#62;",
        ),
        *("<<<voice_1", "<<voice_1", "voice_1>>>", "voice_1>>", "<<<voice_1>"),
    ],
)
def test_what_is_meant_as_a_reference_is_told_what_to_write(text: str) -> None:
    [said] = told(f"A man {text}, who says")
    assert said.endswith("is no reference; write <<<voice_1>>>"), said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"<<<voice_{VOICE_ID}>>>",
            f"<<<voice_{VOICE_ID}>>> holds an id; write its place in voice_list: <<<voice_1>>>",
        ),
        ("<<<element_7>>>", "<<<element_7>>> holds an id; write its place in element_list: <<<element_2>>>"),
        (
            f"<<<{VOICE_ID}>>>",
            f'"<<<{VOICE_ID}>>>" holds an id; write its place in voice_list: <<<voice_1>>>',
        ),
        (f"<<Voice_{VOICE_ID}>>", f'"<<Voice_{VOICE_ID}>>" is no reference; write <<<voice_1>>>'),
        (
            "<<<voice_829826751244537880>>>",
            "<<<voice_829826751244537880>>> holds an id; put that into voice_list and write its place there: <<<voice_1>>>",
        ),
        ("<<<voice_2>>>", "<<<voice_2>>> refers to nothing: voice_list has 1 entry, counted from 1"),
        ("<<<voice_0>>>", "<<<voice_0>>> refers to nothing: voice_list has 1 entry, counted from 1"),
        (
            "<<voice_2>>",
            '"<<voice_2>>" is no reference; write <<<voice_1>>> for the first entry of voice_list, and so on',
        ),
        ("<<<video_1>>>", "<<<video_1>>> is for another call of the API; this one has no videos"),
        ("<<<image_2>>>", "<<<image_2>>> is for another call of the API; this one has a single image"),
        ("<<Video_1>>", '"<<Video_1>>" is for another call of the API; this one has no videos'),
        ("<<image_1>>", '"<<image_1>>" is no reference; write <<<image_1>>>'),
    ],
)
def test_what_was_meant_is_told(text: str, said: str) -> None:
    assert told(text) == [said]


@pytest.mark.parametrize(
    "text",
    [
        "<<hero>>",
        "<<<hero>>>",
        "<<<my hero>>>",
        "<<< >>>",
        "<<<voice_N>>>",
        "<<<voice>>>",
        "<<<speaker_1>>>",
        "<<x>>>",
    ],
)
def test_every_other_text_between_such_brackets_is_told_as_well(text: str) -> None:
    [said] = told(text)
    assert "is no reference that this call knows" in said


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a << b",
            "a << b >> c",
            "cout << x; cin >> y",
            "cout<<a; cin>>b;",
            "cat <<EOF",
            "cat <<EOF >>log",
            "1 << 2",
        ),
        *(
            "cout << voice1 << endl",
            "vector<vector<int>>",
            "x >> 2",
            "a->>b",
            "<3",
            "x<y>z",
            "<<<<<<< HEAD",
            ">>> print(1)",
        ),
        *(
            "«Bonjour»",
            "«Image 1»",
            "[image 1]",
            "voice_1",
            *("bob@voice1.example", "@voice 1", "@ voice_1"),
            "invoice_1",
            "{}",
            "-->",
            "<b>bold</b>",
            "&lt;b&gt;",
        ),
        "<<a\nb>>",
    ],
)
def test_mere_text_is_left_alone(text: str) -> None:
    assert told(text) == []


def test_a_list_of_voices_is_used_by_a_prompt_or_a_shot() -> None:
    shots = [{"index": 1, "prompt": "<<<voice_1>>>", "duration": "5"}]
    unused = [
        (
            ("voice_list",),
            "no prompt names a voice of it; write <<<voice_1>>> where it speaks, or leave the list out",
        )
    ]
    voices = {"voice_list": LISTS["voice_list"]}
    assert references.check({"prompt": "<<<voice_1>>>", **voices}) == []
    assert references.check({"multi_prompt": shots, **voices}) == []
    assert references.check({"prompt": "a", **voices}) == unused
    assert references.check(voices) == unused
    assert references.check({"prompt": "a", "voice_list": []}) == []
    # one mistake is one finding: what was meant for a voice uses the list, and nobody knows what is in a bad prompt
    assert len(references.check({"prompt": "<<voice_1>>", **voices})) == 1
    assert references.check({"prompt": 5, **voices}) == []


def test_a_mistake_that_is_repeated_is_told_once() -> None:
    assert len(told("<<voice_1>> <<voice_1>> <<voice_2>>")) == 2


@given(st.text("<>＜＞{}[]«»&lt;#60 \\voice_1\n", max_size=40))
def test_any_text_is_read_and_what_is_found_stands_in_it(text: str) -> None:
    exact, mistakes = read(text)
    for kind, number in exact:
        assert f"<<<{kind}_{number}>>>" in text
    for mistake in mistakes:
        assert mistake.text in text


@pytest.mark.parametrize(
    "text", ["<" * 2500, "< " * 1250, "<voice_" * 350, "&lt;" * 600, "<<" + "a" * 2498, "\\<" * 1250]
)
def test_hostile_prompts_are_read_quickly(text: str) -> None:
    started = time.process_time()
    told(text)
    assert time.process_time() - started < 1


@given(st.text("<>＜{«&lt; \\voice_1;a\n", min_size=3, max_size=30))
def test_what_passes_here_passes_the_sandbox_which_reads_the_specification_on_its_own(text: str) -> None:
    prompt = f"<<<voice_1>>> {text}"
    request = {
        "model_name": "kling-v3",
        "image": "https://example.com/a.png",
        "prompt": prompt,
        "sound": "on",
    }
    request["voice_list"] = LISTS["voice_list"]
    refusal = checks.read(json.dumps(request).encode()).refusal
    assert references.check(request) or refusal is None
