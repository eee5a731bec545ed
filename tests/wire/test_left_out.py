"""What a person leaves out: jobs with `skip: true`, and jobs whose image was refused and that were given up."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchgen.manifest import reader
from batchgen.models import Manifest
from tests.support.pictures import make_png
from tests.support.program import Desk, Result, Server, sandbox

QUICK = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "1")
URL = "https://example.com/1.png"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sandbox(tmp_path_factory.mktemp("server"), "--task-seconds", "0.05-0.1") as server:
        yield server


@pytest.fixture
def desk(desk: Desk, server: Server) -> Desk:
    return desk.against(server)


def write(folder: Path, *jobs: dict[str, Any], **top: Any) -> None:
    content = {"version": 1, "name": folder.name, "defaults": {"model_name": "kling-v3"}, "jobs": jobs, **top}
    (folder / "m.yaml").write_text(json.dumps(content))


def read(folder: Path) -> Manifest:
    (one,), problems = reader.read([str(folder / "m.yaml")])
    assert problems == []
    return one


def names(one: Manifest) -> tuple[list[str], list[str]]:
    """The jobs that would run, and those that are left out."""
    return [job.id for job in one.jobs], [job_id for _, job_id, _ in one.skipped]


# -- skip ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [True, "yes", "TRUE", "on"])
def test_a_job_that_is_skipped_is_left_out_unchecked(tmp_path: Path, value: object) -> None:
    write(
        tmp_path,
        {"id": "a", "image": URL, "prompt": "p"},
        {"id": "b", "image": "no/such.png", "duration": 99, "skip": value},
        {"id": "c", "skip": value},
        {"image": "inbox/d.png", "skip": value},
        {"id": "e", "image": URL, "prompt": "p", "skip": False},
    )
    assert names(read(tmp_path)) == (["a", "e"], ["b", "c", "d"])


def test_skip_is_no_part_of_the_identity(tmp_path: Path) -> None:
    job = {"id": "a", "image": URL, "prompt": "p"}
    write(tmp_path, job)
    before = read(tmp_path).jobs
    write(tmp_path, {**job, "skip": False})
    assert [one.external_task_id for one in read(tmp_path).jobs] == [one.external_task_id for one in before]
    assert [one.digest for one in read(tmp_path).jobs] == [one.digest for one in before]


def test_folders_tables_rows_and_sidecars_can_be_skipped_and_taken_back(tmp_path: Path) -> None:
    for number, name in enumerate(["a", "b", "c"]):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{name}.png").write_bytes(make_png(seed=number))
    (tmp_path / "in/b.yaml").write_text("skip: true")
    (tmp_path / "rows.csv").write_text(f"id,image,skip\nx,{URL},true\ny,{URL},\nz,{URL},FALSE\n")
    write(tmp_path, {"folder": "in", "prompt": "p"}, {"table": "rows.csv", "prompt": "q"})
    assert names(read(tmp_path)) == (["a", "c", "y", "z"], ["b", "x"])
    (tmp_path / "in/c.yaml").write_text("skip: false\nprompt: its own")
    (tmp_path / "in/a.yaml").write_text("skip: [broken")
    (tmp_path / "in/d.png").write_bytes(b"no picture")
    write(
        tmp_path,
        {"folder": "in", "prompt": "{typo}", "skip": True},
        {"table": "rows.csv", "prompt": "q", "skip": True},
        {"folder": "gone", "skip": True},
    )
    assert names(read(tmp_path)) == (["c", "z"], ["b", "d", "x", "y"])
    write(
        tmp_path,
        {"id": "i", "image": URL},
        {"id": "j", "image": URL, "skip": False},
        defaults={"model_name": "kling-v3", "skip": True},
    )
    assert names(read(tmp_path)) == (["j"], ["i"])


def test_a_word_that_is_neither_yes_nor_no_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, {"id": "a", "image": URL, "skip": "later"})
    _, (problem,) = reader.read([str(tmp_path / "m.yaml")])
    assert "skip" in problem.subject and "true" in problem.text


def test_the_id_of_a_skipped_job_stays_its_own(tmp_path: Path) -> None:
    write(tmp_path, {"id": "a", "image": URL, "skip": True}, {"id": "a", "image": URL, "prompt": "p"})
    _, (problem,) = reader.read([str(tmp_path / "m.yaml")])
    assert '"a" is the id of' in problem.text


def test_skipped_jobs_count_for_no_exit_code_and_are_counted_where_asked(desk: Desk) -> None:
    write(
        desk.folder, {"id": "a", "image": "gone.png", "skip": True}, {"id": "b", "image": URL, "prompt": "p"}
    )
    assert desk.run("run", *QUICK, "m.yaml") == Result(0, "", "")
    assert "1 job skipped" in desk.run("plan", "-v", "m.yaml").out
    assert "job skipped" not in desk.run("plan", "m.yaml").out
    assert desk.run("validate", "-v", "m.yaml").out == "1 manifest, 1 job, 1 skipped: no problems\n"
    for line in ("validate", "plan", "run"):
        told = desk.run(line, "--json", *(QUICK if line == "run" else ()), "m.yaml").json
        assert (told["exit_code"], told["skipped"]) == (0, 1), line


def test_another_job_of_the_same_content_is_not_the_skipped_one_renamed(desk: Desk, server: Server) -> None:
    job = {"image": URL, "prompt": str(desk.folder)}
    write(desk.folder, {"id": "a", **job})
    assert desk.run("run", *QUICK, "m.yaml").code == 0
    write(desk.folder, {"id": "a", **job, "skip": True}, {"id": "b", **job})
    (step,) = desk.run("plan", "--json", "m.yaml").json["jobs"]
    assert (step["job_id"], step["action"]) == ("b", "create")
    write(desk.folder, {"id": "b", **job})  # and without a, it is
    (step,) = desk.run("plan", "--json", "m.yaml").json["jobs"]
    assert (step["job_id"], step["action"]) == ("b", "done")


# -- images that were refused ---------------------------------------------------------------------------------------


def with_small_picture(desk: Desk) -> None:
    desk.write("in/small.png", make_png(width=100, height=100))
    desk.write("in/good.png", make_png(seed=1))
    write(desk.folder, {"folder": "in", "prompt": f"of {desk.folder}"})


def test_an_image_that_was_refused_is_told_every_night_until_it_is_given_up(desk: Desk) -> None:
    with_small_picture(desk)
    assert desk.run("run", *QUICK, "m.yaml").code == 1
    assert desk.run("run", *QUICK, "m.yaml").code == 1
    (told,) = desk.run("status", "--json").json["attention"]
    assert (told["kind"], told["job_id"], told["external_task_id"]) == ("unusable", "small", None)
    assert "100" in told["message"] and told["advice"]
    assert "image refused: " in desk.run("status").out
    assert "--abandon" in desk.run("resolve", "small").out
    assert "nothing was sent" in desk.run("resolve", "small", "--not-created").err
    given = desk.run("resolve", "small", "--abandon")
    assert (given.code, "given up by" in given.out, given.err) == (0, True, "")
    assert desk.run("run", *QUICK, "m.yaml") == Result(0, "", "")
    assert desk.run("run", "--json", *QUICK, "m.yaml").json["buckets"]["abandoned"] == 1
    assert desk.run("status", "--json").json["attention"] == []
    assert "given up by" in desk.run("status", "small").out
    assert desk.run("resolve", "small", "--abandon").code == 2
    (step,) = [one for one in desk.run("plan", "--json", "m.yaml").json["jobs"] if one["job_id"] == "small"]
    assert step["action"] == "abandoned"


@pytest.mark.parametrize("how", ["other bytes", "a later time", "gone", "good"])
def test_an_image_that_was_given_up_is_told_again_once_it_was_replaced(desk: Desk, how: str) -> None:
    with_small_picture(desk)
    desk.run("run", *QUICK, "m.yaml")
    assert desk.run("resolve", "small", "--abandon").code == 0
    path = desk.folder / "in/small.png"
    if how == "other bytes":
        path.write_bytes(make_png(width=200, height=100))
    elif how == "a later time":
        os.utime(path, (1, 1))
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(make_png(seed=5))
    result = desk.run("run", *QUICK, "m.yaml")
    assert (result.code, "small" in result.err) == ((0, False) if how in ("gone", "good") else (1, True))
    told = desk.run("status", "--json").json["attention"]
    assert [one["job_id"] for one in told] == ([] if how in ("gone", "good") else ["small"])
    if how == "gone":  # and it comes back
        path.write_bytes(make_png(width=100, height=100))
        assert desk.run("run", *QUICK, "m.yaml").code == 1


def test_an_image_that_is_not_there_can_be_given_up_until_it_comes(desk: Desk) -> None:
    write(desk.folder, {"id": "a", "image": "late.png", "prompt": f"of {desk.folder}"})
    assert desk.run("run", *QUICK, "m.yaml").code == 1
    assert desk.run("resolve", "a", "--abandon").code == 0
    assert desk.run("run", *QUICK, "m.yaml").code == 0
    desk.write("late.png", make_png(width=100, height=100))
    assert desk.run("run", *QUICK, "m.yaml").code == 1
    desk.write("late.png", make_png(seed=7))
    assert desk.run("run", *QUICK, "m.yaml") == Result(0, "", "")


def test_a_job_with_a_clip_whose_picture_became_bad_is_decided_about_as_its_image(desk: Desk) -> None:
    desk.write("in/a.png", make_png(seed=3))
    write(desk.folder, {"folder": "in", "prompt": f"of {desk.folder}"})
    assert desk.run("run", *QUICK, "m.yaml").code == 0
    desk.write("in/a.png", make_png(width=100, height=100))
    assert desk.run("run", *QUICK, "m.yaml").code == 1
    assert desk.run("resolve", "a", "--abandon").code == 0
    assert desk.run("run", *QUICK, "m.yaml").code == 0
    assert [row["state"] for row in desk.export()] == ["downloaded"]
