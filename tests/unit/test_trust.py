"""What a folder's texts and a table's rows may set: pictures and words, and more where the entry says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchgen.manifest import reader
from batchgen.models import Job
from tests.support.pictures import make_png

URL = "https://example.com/a.png"
HOOK = "https://example.com/hook"
HEAD = "version: 1\nname: night\ndefaults: {model_name: kling-v3, prompt: x%s}\njobs:\n"
ALLOWS = "`allow_fields: [%s]` there allows it, and changes no id"


def read(root: Path, files: dict[str, str], entry: str, *, defaults: str = "") -> tuple[list[Job], list[str]]:
    (root / "inbox").mkdir(exist_ok=True)
    (root / "inbox" / "cat.png").write_bytes(make_png())
    for name, text in files.items():
        (root / name).write_text(text)
    (root / "night.yaml").write_text(HEAD % defaults + entry)
    found, problems = reader.read([str(root / "night.yaml")])
    return [job for one in found for job in one.jobs], [str(one).replace(f"{root}/", "") for one in problems]


SIDECARS = {
    "callback_url": (f"callback_url: {HOOK}", "callback_url", "callback_url"),
    "a callback taken away": ("callback_url: null", "callback_url", "callback_url"),
    "external_task_id": ("external_task_id: mine", "external_task_id", "external_task_id"),
    "a number for an id": ("external_task_id: 17", "external_task_id", "external_task_id"),
    "image_tail": (f"image_tail: {URL}", "image_urls", "image_tail"),
    "in capitals": (f"image_tail: {URL.replace('https', 'HTTPS')}", "image_urls", "image_tail"),
    "static_mask": (f"static_mask: {URL}", "image_urls", "static_mask"),
    "a mask": (
        f"dynamic_masks: [{{mask: '{URL}', trajectories: [{{x: 1, y: 1}}, {{x: 9, y: 9}}]}}]",
        "image_urls",
        "dynamic_masks[0].mask",
    ),
    "masks as JSON": (
        f"""dynamic_masks: '[{{"mask": "{URL}", "trajectories": [{{"x": 1, "y": 1}}, {{"x": 9, "y": 9}}]}}]'""",
        "image_urls",
        "dynamic_masks[0].mask",
    ),
}


@pytest.mark.parametrize(("text", "word", "place"), SIDECARS.values(), ids=SIDECARS.keys())
def test_a_sidecar_sets_more_than_pictures_and_words_only_where_its_entry_says_so(
    tmp_path: Path, text: str, word: str, place: str
) -> None:
    hook = f", callback_url: '{HOOK}/mine'" if "null" in text else ""
    files = {"inbox/cat.yaml": text}
    jobs, problems = read(tmp_path, files, "  - folder: inbox\n", defaults=hook)
    assert jobs == []
    (problem,) = problems
    assert problem.startswith("inbox/cat.yaml:1:")
    assert f"jobs[0] (cat).{place}: a file beside an image" in problem
    assert problem.endswith(ALLOWS % word)

    allowed = f"  - folder: inbox\n    allow_fields: [{word}]\n"
    jobs, problems = read(tmp_path, files, allowed, defaults=hook)
    assert (len(jobs), problems) == (1, [])


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize(("field", "value"), [("callback_url", HOOK), ("external_task_id", "mine-")])
def test_a_row_sets_more_than_pictures_and_words_only_where_its_entry_says_so(
    tmp_path: Path, suffix: str, field: str, value: str
) -> None:
    """What is wrong with every row of a table is said once; and nothing is, where the cells are empty."""
    rows = [{"id": f"j{n}", "image": URL, field: f"{value}{n}"} for n in range(3)]
    spelt = {
        "csv": "\n".join([f"id,image,{field}", *(",".join(row.values()) for row in rows)]),
        "jsonl": "\n".join(map(json.dumps, rows)),
    }
    files = {f"t.{suffix}": spelt[suffix]}
    jobs, (problem,) = read(tmp_path, files, f"  - table: t.{suffix}\n")
    assert jobs == []
    assert problem.startswith(f"t.{suffix}:{2 if suffix == 'csv' else 1}:")
    assert f"(j0).{field}: a row sets {field} only where its entry says so" in problem
    assert problem.endswith(f"{ALLOWS % field} (and 2 more like it)")

    jobs, problems = read(tmp_path, files, f"  - table: t.{suffix}\n    allow_fields: [{field}]\n")
    assert problems == []
    assert len({job.external_task_id for job in jobs}) == 3
    if field == "external_task_id":
        assert [job.external_task_id for job in jobs] == ["mine-0", "mine-1", "mine-2"]

    empty = {"t.csv": f"id,image,{field}\na,{URL},\n"}
    assert read(tmp_path, empty, "  - table: t.csv\n")[1] == []


def test_a_message_repeats_what_the_entry_allows_already(tmp_path: Path) -> None:
    files = {"t.csv": f"id,image,external_task_id,callback_url\na,{URL},mine,{HOOK}\n"}
    _, (problem,) = read(tmp_path, files, "  - table: t.csv\n    allow_fields: [callback_url]\n")
    assert problem.endswith(ALLOWS % "callback_url, external_task_id")


def test_what_the_entry_or_the_defaults_say_is_the_authors(tmp_path: Path) -> None:
    files = {"t.csv": f"id,image\na,{URL}\n", "inbox/cat.yaml": "mode: pro"}
    entry = f"  - folder: inbox\n    callback_url: {HOOK}\n    image_tail: {URL}\n  - table: t.csv\n"
    jobs, problems = read(tmp_path, files, entry, defaults=f", callback_url: '{HOOK}'")
    assert problems == []
    assert [job.request["callback_url"] for job in jobs] == [HOOK, HOOK]
    assert jobs[0].request["image_tail"] == URL


def test_what_is_left_out_is_not_asked_what_it_may_set(tmp_path: Path) -> None:
    files = {"inbox/cat.yaml": "external_task_id: mine"}
    entry = "  - folder: inbox\n    skip: true\n    allow_fields: 5\n"
    assert read(tmp_path, files, entry) == ([], [])
