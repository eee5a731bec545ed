"""``takes: 3`` is the same as the job three times, with ``take: 1``, ``take: 2`` and ``take: 3``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchgen.manifest import reader
from batchgen.models import Manifest
from tests.support.pictures import make_png

URL = "https://example.com/1.png"
HERO = {"id": "hero", "image": URL, "prompt": "Drift"}


def write(folder: Path, *jobs: dict[str, Any], **top: Any) -> str:
    defaults = {"model_name": "kling-v3", **top.pop("defaults", {})}
    file = folder / "night.yaml"
    file.write_text(json.dumps({"version": 1, "defaults": defaults, "jobs": jobs, **top}))
    return str(file)


def read(folder: Path, *jobs: dict[str, Any], **top: Any) -> Manifest:
    (one,), problems = reader.read([write(folder, *jobs, **top)])
    assert problems == []
    return one


def names(one: Manifest) -> list[tuple[str, int]]:
    return [(job.id, job.take) for job in one.jobs]


def ids(one: Manifest) -> list[str]:
    return [job.external_task_id for job in one.jobs]


def problems(folder: Path, *jobs: dict[str, Any], **top: Any) -> list[str]:
    _, found = reader.read([write(folder, *jobs, **top)])
    return [f"{one.subject}: {one.text}" for one in found]


@pytest.mark.parametrize("value", [3, "3", 3.0])
def test_takes_are_the_jobs_that_their_numbers_would_make(tmp_path: Path, value: object) -> None:
    several = read(tmp_path, {**HERO, "takes": value})
    single = read(tmp_path, *({**HERO, "take": take} for take in (1, 2, 3)))
    assert names(several) == [("hero", 1), ("hero", 2), ("hero", 3)]
    assert ids(several) == ids(single)
    assert [job.digest for job in several.jobs] == [job.digest for job in single.jobs]
    assert read(tmp_path, HERO).jobs[0] == read(tmp_path, {**HERO, "takes": 1}).jobs[0]
    assert [one.text for one in several.warnings] == []


def test_takes_of_defaults_of_an_entry_a_row_and_a_sidecar(tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = tmp_path / "inbox" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(make_png(seed=ord(name)))
    (tmp_path / "inbox" / "b.yaml").write_text("takes: 3\n")
    (tmp_path / "shots.csv").write_text(f"id,image,takes\nr1,{URL}?1,\nr2,{URL}?2,2.0\n")
    folder, table = {"folder": "inbox", "prompt": "p"}, {"table": "shots.csv", "prompt": "p"}
    one = read(tmp_path, {**folder, "takes": 2}, table)
    assert names(one) == [
        *[("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3)],
        *[("r1", 1), ("r2", 1), ("r2", 2)],
    ]
    assert names(read(tmp_path, table, defaults={"takes": 2})) == [("r1", 1), ("r1", 2), ("r2", 1), ("r2", 2)]


def test_the_nearer_of_take_and_takes_counts(tmp_path: Path) -> None:
    inline = read(tmp_path, {**HERO, "take": 4}, defaults={"takes": 3})
    assert names(inline) == [("hero", 4)]
    assert names(read(tmp_path, {**HERO, "takes": 2}, defaults={"take": 4})) == [("hero", 1), ("hero", 2)]
    assert names(read(tmp_path, {**HERO, "takes": None}, defaults={"takes": 3})) == [("hero", 1)]
    (tmp_path / "shots.csv").write_text(f"id,image,take\nr1,{URL},2\n")
    entry = {"table": "shots.csv", "prompt": "p", "takes": 3}
    assert names(read(tmp_path, entry, defaults={"take": 5})) == [("r1", 2)]


def test_a_job_that_is_left_out_or_has_a_bad_picture_is_so_in_all_its_takes(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    one = read(tmp_path, {**HERO, "takes": 2, "skip": True}, {"id": "bad", "image": "bad.png", "takes": 2})
    assert one.skipped == [("night", "hero", 1), ("night", "hero", 2)]
    assert [bad.key for bad in one.unusable] == [("night", "bad", 1), ("night", "bad", 2)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"takes": 0}, "takes: "),
        ({"takes": 101}, "takes: "),
        ({"takes": "many"}, "takes: "),
        ({"takes": True}, "takes: "),
        ({"take": 2, "takes": 3}, "says how many takes there are, and take says which one"),
        ({"takes": 2, "external_task_id": "mine"}, "external_task_id is the id of one"),
    ],
)
def test_what_takes_can_not_be_is_one_problem(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    (found,) = problems(tmp_path, {**HERO, **fields})
    assert words in found and "hero" in found


def test_both_in_defaults_or_an_entry_is_one_problem(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, HERO, defaults={"take": 1, "takes": 2})
    assert found.startswith("defaults.takes: says how many")
    (tmp_path / "shots.csv").write_text(f"id,image\nr1,{URL}\n")
    (found,) = problems(tmp_path, {"table": "shots.csv", "take": 1, "takes": 2})
    assert "says how many" in found


def test_a_take_that_is_written_besides_is_the_same_job_twice(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, {**HERO, "takes": 3}, {**HERO, "take": 2})
    assert '"hero" (take 2) is the id of' in found
    (found,) = problems(tmp_path, {**HERO, "take": 2}, {**HERO, "takes": 3})
    assert '"hero" (take 2) is the id of' in found


def test_the_longest_name_of_a_clip_counts(tmp_path: Path) -> None:
    long = "x" * 200
    assert names(read(tmp_path, {**HERO, "id": long, "takes": 100}))[-1] == (long, 100)
