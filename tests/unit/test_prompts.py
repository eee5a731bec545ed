"""Which characters a prompt may have: all that people write with, and none that they can't type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchgen.manifest import reader
from batchgen.models import Job
from batchgen.request import rules
from tests.support.pictures import make_png

URL = "https://example.com/a.png"
HEAD = "version: 1\nname: m\ndefaults: {model_name: kling-v3}\njobs:\n"

TYPED = {
    "tabs": "one\ttwo",
    "lines": "one\ntwo\r\nthree\rfour",
    "Word's soft return": "one\x0btwo",
    "a page's end": "one\x0ctwo",
    "U+2028": "one\u2028two\u2029three",
    "no break": "5\xa0km, 5\u202fkm, \u2060x",
    "soft hyphen": "Dampf\xadschiff",
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 wave",
    "a heart": "\u2764\ufe0f and \U0001f44d\U0001f3fd",
    "Scotland": "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "Persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "Hebrew with marks": "\u200f\u05e9\u05dc\u05d5\u05dd\u200e (1)",
    "Arabic in isolates": "the sign \u2067\u0645\u0631\u062d\u0628\u0627\u2069 glows",
    "embedded": "\u202bshalom\u202c and \u202aabc\u202c",
    "Hindi": "\u0915\u094d\u200d\u0937",
    "Thai": "\u0e2a\u0e27\u200b\u0e31\u0e2a\u0e14\u0e35",
    "Mongolian": "\u182d\u180b",
    "combining": "Cafe\u0301",
    "private use": "\ue000",
    "a mark of order": "\ufeffa cat",
}
REFUSED = {
    "NUL": ("a\0b", "U+0000 at character 2"),
    "BEL": ("a\x07", "U+0007 at character 2"),
    "backspace": ("abc\x08", "U+0008 at character 4"),
    "SO": ("a\x0e", "U+000E at character 2"),
    "ESC": ("a cat\x1b[31m", "U+001B at character 6"),
    "US": ("a\x1f", "U+001F at character 2"),
    "DEL": ("ab\x7f", "U+007F at character 3"),
    "C1": ("it\x92s", "U+0092 at character 3"),
    "CSI": ("\x9b31m", "U+009B at character 1"),
    "NEL": ("a\x85b", "U+0085 at character 2"),
    "left to right": ("a \u202dcat", "U+202D at character 3"),
    "right to left": ("a \u202ecat", "U+202E at character 3"),
    "in a line": ("one\r\ntwo\n  \x1bthree", "U+001B at character 3 of its line 3"),
}


def read(root: Path, entry: str) -> tuple[list[Job], list[str]]:
    (root / "m.yaml").write_text(HEAD + entry)
    found, problems = reader.read([str(root / "m.yaml")])
    return [job for one in found for job in one.jobs], [str(one).replace(f"{root}/", "") for one in problems]


@pytest.mark.parametrize("text", TYPED.values(), ids=TYPED.keys())
def test_what_people_write_with_is_taken_as_it_is(tmp_path: Path, text: str) -> None:
    entry = f"  - {{id: a, image: {URL}, prompt: {json.dumps(text)}, negative_prompt: {json.dumps(text)}}}\n"
    (job,), problems = read(tmp_path, entry)
    assert problems == []
    assert job.request["prompt"] == job.request["negative_prompt"] == text


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_nobody_types_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    spelt = json.dumps(text)
    shots = (
        f"multi_shot: true, shot_type: customize, multi_prompt: [{{index: 1, duration: 5, prompt: {spelt}}}]"
    )
    for fields, path in (
        (f"prompt: {spelt}", "prompt"),
        (f"negative_prompt: {spelt}", "negative_prompt"),
        (shots, "multi_prompt[0].prompt"),
    ):
        jobs, (problem,) = read(tmp_path, f"  - {{id: a, image: {URL}, {fields}}}\n")
        assert jobs == []
        assert problem.startswith("m.yaml:5:")
        assert f"jobs[0] (a).{path}: holds the character {says}" in problem
        assert text not in problem


def test_a_job_that_was_paid_for_with_such_a_character_may_be_left_out_as_its_problem_says(
    tmp_path: Path,
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(make_png())
    (tmp_path / "in" / "a.txt").write_text("it\x92s")
    (tmp_path / "t.csv").write_text(f"id,image,prompt,skip\nr,{URL},it\x92s,false\n")
    entries = f'  - {{id: j, image: {URL}, prompt: "it\\x92s"}}\n  - folder: in\n  - table: t.csv\n'
    _, problems = read(tmp_path, entries)
    assert len(problems) == 3 and all("keep it by `skip: true`" in one for one in problems)
    (tmp_path / "in" / "a.yaml").write_text("skip: true")
    (tmp_path / "t.csv").write_text(f"id,image,prompt,skip\nr,{URL},it\x92s,true\n")
    assert read(tmp_path, entries.replace('s"}', 's", skip: true}')) == ([], [])


def test_what_nobody_types_is_refused_wherever_a_prompt_comes_from(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox" / "odd\u202efolder"
    inbox.mkdir(parents=True)
    for name in ("a", "b", "c"):
        (inbox / f"{name}.png").write_bytes(make_png())
    (inbox / "a.txt").write_bytes(b"HOME=/home/you\0KEY=x\0")
    (inbox / "b.yaml").write_text('negative_prompt: "\\e[2J"')
    (tmp_path / "t.csv").write_bytes(f"id,image,prompt\nr,{URL},a\x1b[2J\n".encode())
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "l", "image": URL, "prompt": "\0"}))
    entry = "  - folder: inbox\n    match: '**/*.png'\n    prompt: '{parent}'\n  - table: t.csv\n  - table: t.jsonl\n"
    jobs, problems = read(tmp_path, entry)
    assert jobs == []
    told = [one.partition(": holds the character ")[::2] for one in problems]
    assert [(where.rpartition(": ")[2], what[:6]) for where, what in told] == [
        ("jobs[0] (odd\\u202efolder/a).prompt", "U+0000"),
        ("jobs[0] (odd\\u202efolder/b).prompt", "U+202E"),  # and one more like it
        ("jobs[0] (odd\\u202efolder/b).negative_prompt", "U+001B"),
        ("row 2 (r).prompt", "U+001B"),
        ("row 1 (l).prompt", "U+0000"),
    ]


def test_a_request_that_is_no_text_is_left_to_the_schema() -> None:
    for fields in (
        {"prompt": 5},
        {"negative_prompt": ["\0"]},
        {"multi_prompt": ["\0"]},
        {"voice_list": "\0"},
    ):
        assert not [one for one in rules.check(fields) if "character" in one.text]


def test_a_voice_has_no_such_characters_either() -> None:
    request = {"prompt": "<<<voice_1>>>", "voice_list": [{"voice_id": "v\x7f"}]}
    (finding,) = rules.check(request)
    assert finding.path == ("voice_list", 0, "voice_id")
