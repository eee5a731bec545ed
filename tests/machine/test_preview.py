"""A plan shows what one buys, and says what its words mean."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from batchgen.cli.preview import LEGEND, Subtotals, cut
from batchgen.models import Job, Place
from batchgen.run.plan import PAYS, Action, Step
from tests.support.pictures import make_png
from tests.support.program import Desk
from tests.support.terminal import on_a_terminal, read

LONG = "A very long prompt, " * 12 + "and its end"
URL = "https://cdn.example.com/a/b/far.png?signature=abc"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.write("pictures/hero.png", make_png())
    shots = [
        {"index": 1, "prompt": "First\nline", "duration": "2"},
        {"index": 2, "prompt": "Then", "duration": "3"},
    ]
    jobs: list[dict[str, Any]] = [
        {"id": "file", "image": "pictures/hero.png", "prompt": LONG, "sound": "on", "mode": "pro"},
        {"id": "url", "image": URL, "prompt": "猫" * 100, "duration": 10},
        {"id": "shots", "image": URL, "multi_shot": True, "shot_type": "customize", "multi_prompt": shots},
        {"id": "none", "image": URL},
        {"id": "inline", "image": base64.b64encode(make_png()).decode(), "prompt": "p"},
        {"id": "bad", "image": "gone.png", "prompt": "p"},
    ]
    desk.write("m.yaml", json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs}))
    return desk


def shown(desk: Desk, columns: int, *more: str) -> list[str]:
    env = {**desk.env, "COLUMNS": str(columns), "LANG": "C.UTF-8"}
    code, sent = on_a_terminal([*desk.program, "plan", *more, "m.yaml"], cwd=desk.folder, env=env)
    assert code == 0
    return read(sent).splitlines()


@pytest.mark.parametrize("columns", [40, 80])
def test_on_a_terminal_what_is_bought_is_cut_to_its_width(desk: Desk, columns: int) -> None:
    lines = [line for line in shown(desk, columns) if re.match(r" {4}\S", line)]
    assert len(lines) == 5  # not for the job that buys nothing
    assert lines[0].startswith("    hero.png, pro, 5 s, sound: A very") and lines[0].endswith("...")
    assert lines[1].startswith("    far.png, std, 10 s: 猫猫") and lines[1].endswith("...")
    assert all(len(line) + line.count("猫") <= columns for line in lines)
    assert LONG in " ".join(shown(desk, columns, "-v"))
    text = " ".join(line.strip() for line in shown(desk, columns))  # what is longer is folded
    assert re.search(r"unusable +m/bad +\(no such file: \S+gone\.png \(m\.yaml:1:\d+\)\)", text), text


def test_elsewhere_it_is_whole_and_a_line_for_each_job(desk: Desk) -> None:
    lines = desk.run("plan", "m.yaml").out.splitlines()
    assert lines[1] == f"    pictures/hero.png, pro, 5 s, sound: {LONG}"
    assert lines[3] == f"    {URL}, std, 10 s: {'猫' * 100}"
    assert lines[5] == f"    {URL}, std, 5 s: First line Then"
    assert lines[7] == f"    {URL}, std, 5 s: no prompt"
    assert lines[9] == "    Base64, std, 5 s: p"


def test_the_words_that_occur_are_explained_and_no_others(desk: Desk) -> None:
    lines = desk.run("plan", "m.yaml").out.splitlines()
    assert lines[-5:-3] == [f"  {word}: {LEGEND[word]}" for word in (Action.CREATE, Action.UNUSABLE)]
    assert set(LEGEND) == set(Action)
    for action, words in LEGEND.items():  # each that pays says so, and each that would with an option
        assert ("paid" in words) >= (action in PAYS)
        assert ("--" in words) <= ("pays" in words or "sends it again" in words)


def test_scripts_get_all_of_it(desk: Desk) -> None:
    jobs = {job["job_id"]: job for job in desk.run("plan", "--json", "m.yaml").json["jobs"]}
    names = ("prompt", "image", "image_sha256", "mode", "duration", "sound")
    digest = hashlib.sha256(make_png()).hexdigest()
    assert [jobs["file"][name] for name in names] == [
        LONG,
        str(desk.folder / "pictures/hero.png"),
        digest,
        "pro",
        "5",
        "on",
    ]
    assert [jobs["shots"][name] for name in names] == ["First\nline\nThen", URL, None, "std", "5", "off"]
    assert [jobs["inline"][name] for name in names[:3]] == ["p", None, digest]
    assert [jobs["bad"][name] for name in names] == [None] * 6


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc..."),
        ("猫猫猫", 6, "猫猫猫"),
        ("猫猫猫猫", 6, "猫..."),
        ("e\u0301" * 6, 6, "e\u0301" * 6),
        ("abcdef", 2, "..."),
    ],
)
def test_columns_are_counted_as_a_terminal_does(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected


def test_what_is_paid_for_is_summed_by_manifest_and_mode_and_the_sums_are_the_whole(desk: Desk) -> None:
    other = [{"id": name, "image": URL, "prompt": name, "mode": "pro"} for name in ("a", "b")]
    other.append({"id": "out", "image": "gone.png", "prompt": "p", "mode": "4k"})  # which pays for nothing
    desk.write("n.yaml", json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": other}))
    found = desk.run("plan", "--json", "m.yaml", "n.yaml").json
    sums = found["subtotals"]
    assert [(one["manifest"], one["mode"], one["creates"]) for one in sums] == [
        ("m", "pro", 1),
        ("m", "std", 4),
        ("n", "pro", 2),
    ]
    assert [one["cost_usd_estimate"] for one in sums] == [0.84, 2.1, 1.12]
    assert sum(one["creates"] for one in sums) == found["creates"] == 7
    assert round(sum(one["cost_usd_estimate"] for one in sums), 4) == found["cost_usd_estimate"]
    lines = desk.run("plan", "m.yaml", "n.yaml").out.splitlines()
    assert lines[-4:-1] == [
        "  m, pro: 1 to create, about $0.84",
        "  m, std: 4 to create, about $2.10",
        "  n, pro: 2 to create, about $1.12",
    ]
    assert not [line for line in desk.run("plan", "n.yaml").out.splitlines() if "to create, about" in line]


@pytest.mark.parametrize("action", Action)
def test_only_what_pays_is_among_the_sums(action: Action) -> None:
    request = {"image": URL, "mode": "pro", "duration": "5"}
    job = Job("m", "a", 1, "m.a", "0" * 64, request, "/clips", Place("m.yaml", 1, 1))
    sums = Subtotals()
    assert list(sums.counting([Step(job, action, "m.a", "", 560_000)])) == [
        Step(job, action, "m.a", "", 560_000)
    ]
    expected = [{"manifest": "m", "mode": "pro", "creates": 1, "cost_usd_estimate": 0.56}]
    assert sums.objects() == (expected if action in PAYS else [])
