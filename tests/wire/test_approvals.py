"""Approvals: ``plan -o`` writes what would be paid for, and ``run --plan`` pays for that and nothing else.

The sandbox's journal is the witness of what was created.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchgen.ledger.reader import Records
from tests.support.program import KEY, Desk, Server, sandbox

QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "1", "--retry-wait", "0.05")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sandbox(tmp_path_factory.mktemp("server"), "--task-seconds", "0.05") as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    with sandbox(folder, "--task-seconds", "0.05") as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    served: Server = request.getfixturevalue("server" if "server" in request.fixturenames else "shared")
    desk = Desk(tmp_path).against(served)
    desk.env["BATCHGEN_LEDGER"] = str(tmp_path / "ledger.db")
    return desk


def write(desk: Desk, name: str, *jobs: Any, **more: Any) -> None:
    listed = [job if isinstance(job, dict) else {"id": job} for job in jobs]
    jobs_ = [{"image": f"https://example.com/{job['id']}.png", "prompt": job["id"], **job} for job in listed]
    content = {
        "version": 1,
        "output_dir": "clips",
        "defaults": {"model_name": "kling-v3"},
        **more,
        "jobs": jobs_,
    }
    desk.write(f"{name}.yaml", json.dumps(content))


def approved(desk: Desk, file: str = "ok.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((desk.folder / file).read_text())
    return found


# -- plan -o -----------------------------------------------------------------------------------------------------------


def test_an_approval_has_what_would_be_paid_for_and_makes_the_ledger_that_it_holds_for(desk: Desk) -> None:
    write(desk, "bags", {"id": "tote", "prompt": "a secret wish"}, {"id": "vase", "mode": "pro"})
    result = desk.run("plan", "-o", "ok.json", "bags.yaml")
    assert result.code == 0 and result.out.endswith("2 jobs: 2 create; about $0.98\n")
    found = approved(desk)
    assert found["sha256"] in result.err and "2 creates, about $0.98" in result.err
    assert "made the ledger" in result.err and "run bags.yaml --plan ok.json" in result.err
    with Records.read(desk.env["BATCHGEN_LEDGER"]) as ledger:
        assert (found["ledger"], found["origin"]) == (ledger.identity, desk.env["POWERTOKENS_API_BASE"])
    ids = {job["external_task_id"]: job["micros"] for job in found["jobs"]}
    planned = desk.run("plan", "--json", "bags.yaml").json["jobs"]
    assert ids == {job["external_task_id"]: round(job["cost_usd_estimate"] * 1e6) for job in planned}
    text = (desk.folder / "ok.json").read_text()
    assert "secret" not in text and "example.com" not in text.replace(found["origin"], "") and KEY not in text
    assert stat.S_IMODE(os.stat(desk.folder / "ok.json").st_mode) == 0o600
    again = desk.run("plan", "-o", "ok.json", "bags.yaml")
    assert "made the ledger" not in again.err and approved(desk)["ledger"] == found["ledger"]


def test_scripts_get_the_digest_and_the_file(desk: Desk) -> None:
    write(desk, "bags", "tote", "vase")
    found = desk.run("plan", "-o", "ok.json", "--json", "--only", "tote", "bags.yaml").json["approval"]
    assert found == {
        "file": str(desk.folder / "ok.json"),
        "sha256": approved(desk)["sha256"],
        "creates": 1,
        "cost_usd_estimate": 0.42,
    }
    assert "approval" not in desk.run("plan", "--json", "bags.yaml").json


def test_a_new_ledger_belongs_to_the_api_that_is_named(desk: Desk) -> None:
    write(desk, "bags", "tote")
    named = ("--base-url", "https://gateway.example.com")
    assert desk.run("plan", "-o", "ok.json", *named, "bags.yaml").code == 0
    assert approved(desk)["origin"] == named[1]
    other = desk.run("plan", "--base-url", "https://other.example.com", "bags.yaml")
    assert other.code == 2 and "belongs to https://gateway.example.com" in other.err
    assert desk.run("plan", "bags.yaml").code == 0


@pytest.mark.parametrize("content", ["", "{}", "version: 1", '{"jobs": []}'])
def test_another_file_is_never_overwritten(desk: Desk, content: str) -> None:
    write(desk, "bags", "tote")
    desk.write("mine.json", content)
    result = desk.run("plan", "-o", "mine.json", "bags.yaml")
    assert result.code == 2 and "isn't overwritten" in result.err
    assert (desk.folder / "mine.json").read_text() == content
    assert not os.path.lexists(desk.env["BATCHGEN_LEDGER"])


def test_where_no_file_can_be_nothing_is_made(desk: Desk) -> None:
    write(desk, "bags", "tote")
    os.mkfifo(desk.folder / "pipe")
    for name, words in (
        ("pipe", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("none/ok.json", "no folder"),
        (".", "can't be written"),
    ):
        result = desk.run("plan", "-o", name, "bags.yaml")
        assert result.code == 2 and words in result.err, result.err
    assert not os.path.lexists(desk.env["BATCHGEN_LEDGER"])


def test_an_approval_is_replaced_whole_and_through_a_link(desk: Desk) -> None:
    write(desk, "bags", "tote")
    assert desk.run("plan", "-o", "ok.json", "bags.yaml").code == 0
    (desk.folder / "link.json").symlink_to("ok.json")
    write(desk, "bags", "tote", "vase")
    assert desk.run("plan", "-o", "link.json", "bags.yaml").code == 0
    assert (desk.folder / "link.json").is_symlink() and len(approved(desk)["jobs"]) == 2
    assert not [name for name in os.listdir(desk.folder) if name.startswith(".")]


def test_a_manifest_with_problems_is_no_part_of_an_approval(desk: Desk) -> None:
    write(desk, "bags", "tote")
    write(desk, "odd", {"id": "vase", "mode": "best"})
    assert desk.run("plan", "-o", "ok.json", "bags.yaml", "odd.yaml").code == 2
    assert [job["job_id"] for job in approved(desk)["jobs"]] == ["tote"]
    os.unlink(desk.folder / "ok.json")
    assert desk.run("plan", "-o", "ok.json", "odd.yaml").code == 2
    assert not (desk.folder / "ok.json").exists()
