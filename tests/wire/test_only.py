"""``--only``: the jobs that a command is about. All others stay as they are, whatever their names and pictures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import QUICK, Desk, Server

pytestmark = pytest.mark.usefixtures("server")


def write(desk: Desk, name: str, *jobs: Any) -> None:
    listed = [job if isinstance(job, dict) else {"id": job} for job in jobs]
    jobs_ = [{"image": f"https://example.com/{job['id']}.png", "prompt": job["id"], **job} for job in listed]
    desk.write(
        f"{name}.yaml", json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs_})
    )


def planned(desk: Desk, *options: str) -> tuple[list[str], int]:
    found = desk.run("plan", "--json", "bags.yaml", "lamps.yaml", *options).json
    names = [f"{one['manifest']}/{one['job_id']}@{one['take']}" for one in found["jobs"]]
    return names, found["left_out"]


@pytest.fixture
def both(desk: Desk) -> Desk:
    write(desk, "bags", "tote", {"id": "tote", "take": 2}, "spring/clutch")
    write(desk, "lamps", "tote", "desk", {"id": "old", "skip": True})
    return desk


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["bags/tote"], ["bags/tote@1", "bags/tote@2"]),
        (["tote"], ["bags/tote@1", "bags/tote@2", "lamps/tote@1"]),
        (["bags/tote@2"], ["bags/tote@2"]),
        (["*/tote@1"], ["bags/tote@1", "lamps/tote@1"]),
        (["clutch"], ["bags/spring/clutch@1"]),
        (["bags/*"], ["bags/tote@1", "bags/tote@2", "bags/spring/clutch@1"]),
        (["desk", "clutch"], ["bags/spring/clutch@1", "lamps/desk@1"]),
        (["old"], []),
    ],
)
def test_names_ends_globs_and_takes_choose(both: Desk, texts: list[str], names: list[str]) -> None:
    options = [word for text in texts for word in ("--only", text)]
    assert planned(both, *options) == (names, 5 - len(names))
    found = both.run("validate", "--json", "bags.yaml", "lamps.yaml", *options).json
    assert (found["jobs"], found["left_out"]) == (len(names), 5 - len(names))


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_what_means_no_job_is_an_error_with_what_is_near(both: Desk, server: Server, command: str) -> None:
    result = both.run(command, "bags.yaml", "lamps.yaml", "--only", "tote", "--only", "totte")
    assert (
        result.code == 2 and "no job of these manifests goes by 'totte'; near it:\n  bags/tote" in result.err
    )
    assert server.accepted() == {}


def test_a_run_creates_what_is_chosen_alone_says_what_it_left_and_the_next_does_the_rest(
    both: Desk, server: Server
) -> None:
    first = both.run(
        "run", *QUICK, "-v", "bags.yaml", "lamps.yaml", "--only", "bags/tote@2", "--only", "desk"
    )
    assert first.code == 0, first.err
    assert "3 jobs left out by --only" in first.err
    made = Counter(name.rsplit(".", 1)[0] for name in server.accepted().values())
    assert made == {"bags.tote": 1, "lamps.desk": 1}
    assert (
        both.run("plan", "bags.yaml", "--only", "clutch").out.splitlines()[-1] == "2 jobs left out by --only"
    )
    rest = both.run("run", *QUICK, "--json", "bags.yaml", "lamps.yaml")
    assert (rest.code, rest.json["jobs"], rest.json["left_out"]) == (0, 5, 0)
    assert len(server.accepted()) == 5 and server.summary()["twice"] == []


def test_a_job_that_is_left_out_is_not_taken_for_one_that_was_renamed(desk: Desk, server: Server) -> None:
    """A new job that asks for the same clip is another job, and pays for itself."""
    same = {"image": "https://example.com/1.png", "prompt": "the same"}
    write(desk, "bags", {"id": "a", **same})
    assert desk.run("run", *QUICK, "bags.yaml").code == 0
    write(desk, "bags", {"id": "a", **same}, {"id": "b", **same})
    assert desk.run("run", *QUICK, "bags.yaml", "--only", "b").code == 0
    assert len(server.accepted()) == 2
    assert sorted(path.name for path in (desk.folder / "clips/bags").glob("*.mp4")) == ["a.mp4", "b.mp4"]


def test_a_lost_ledger_is_doubted_until_all_jobs_were_looked_up(desk: Desk, server: Server) -> None:
    """With --only a run looks up its own jobs; those of later runs may be paid all the same."""
    write(desk, "bags", *(f"j{number}" for number in range(8)))
    desk.run("run", *QUICK, "--submit-only", "bags.yaml")
    (ledger,) = desk.folder.rglob("ledger.db")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{ledger}{suffix}").unlink(missing_ok=True)
    for number in range(8):
        desk.run("run", *QUICK, "bags.yaml", "--only", f"j{number}")
    assert len(server.accepted()) == 8
    assert Counter(row["state"] for row in desk.export()) == {"downloaded": 8}


def test_an_image_that_was_refused_stays_known_where_others_are_chosen(desk: Desk) -> None:
    write(desk, "bags", "tote", {"id": "bad", "image": "bad.png"})
    assert desk.run("run", *QUICK, "bags.yaml").code == 1
    assert desk.run("run", *QUICK, "bags.yaml", "--only", "tote").code == 0
    assert [one["job_id"] for one in desk.run("status", "--json").json["attention"]] == ["bad"]


def test_collect_brings_home_what_is_chosen_and_leaves_the_rest_open(desk: Desk, server: Server) -> None:
    write(desk, "bags", "tote", "vase")
    desk.run("run", *QUICK, "--submit-only", "bags.yaml")
    result = desk.run("collect", *QUICK, "--json", "--only", "tote")
    assert (result.code, result.json["left_out"]) == (0, 1), result.err
    assert {row["job_id"]: row["state"] for row in desk.export()} == {
        "tote": "downloaded",
        "vase": "submitted",
    }
    wrong = desk.run("collect", *QUICK, "--only", "totte")
    assert wrong.code == 2 and "no job in the ledger goes by 'totte'; near it:\n  bags/tote" in wrong.err


def test_an_ordered_take_is_chosen_by_its_number(desk: Desk, server: Server) -> None:
    write(desk, "bags", "tote", "vase")
    assert desk.run("run", *QUICK, "bags.yaml").code == 0
    desk.run("retake", "tote")
    desk.run("retake", "vase")
    assert desk.run("run", *QUICK, "bags.yaml", "--only", "tote@2").code == 0
    made = Counter(name.rsplit(".", 1)[0] for name in server.accepted().values())
    assert made == {"bags.tote": 2, "bags.vase": 1}


def test_a_page_is_about_what_is_chosen(desk: Desk) -> None:
    write(desk, "bags", "tote", {"id": "tote", "take": 2}, "vase")
    assert desk.run("run", *QUICK, "bags.yaml").code == 0
    found = desk.run("report", "--json", "--only", "tote").json
    assert (found["takes"], found["kinds"], found["left_out"]) == (2, {"done": 2}, 1)
    assert desk.run("report", "--only", "tote@2", "--json").json["takes"] == 1
    assert desk.run("report", "--json").json["takes"] == 3
    assert "no job in the ledger goes by 'totte'" in desk.run("report", "--only", "totte").err
