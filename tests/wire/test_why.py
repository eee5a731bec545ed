"""Why a job is where it is: every decision with its rule, oldest first, and what would make it move."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchgen.cli.why import RunsByTime
from batchgen.ledger.runs import RunRecord
from tests.support.program import Desk, Server, sandbox

QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "1", "--no-progress", "--concurrency", "1")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    faults = ("reset_after@1", "refuse_policy@2", "task_fails_unsaid@2", "balance@4")
    options = [part for fault in faults for part in ("--fault", fault)]
    with sandbox(tmp_path_factory.mktemp("server"), "--task-seconds", "0.05-0.1", *options) as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path, server: Server) -> Desk:
    desk = Desk(tmp_path).against(server)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    jobs = [
        {"id": name, "image": f"https://example.com/{name}.png"} for name in ("lost", "rude", "weak", "poor")
    ]
    jobs.append({"id": "broken", "image": "broken.png"})
    defaults = {"model_name": "kling-v3", "prompt": "Slow push-in"}
    desk.write("bags.yaml", json.dumps({"version": 1, "defaults": defaults, "jobs": jobs}))
    return desk


def said(desk: Desk, job: str) -> list[str]:
    """The lines about a job, without their times."""
    result = desk.run("why", job)
    assert (result.code, result.err) == (0, "")
    return [re.sub(r"^ *(\d\d:\d\d:\d\d  )?", "", line) for line in result.out.splitlines()]


def test_a_night_of_every_kind_is_told_with_its_rules(desk: Desk, server: Server) -> None:
    first = desk.run("run", *QUICK, "bags.yaml")
    assert first.code == 3, first.err  # the balance
    row = {entry["job_id"]: entry for entry in desk.export()}

    lost = said(desk, "lost")
    assert lost[0] == "bags/lost: done"
    found = lost.index(f"found at the API: task {row['lost']['task_id']}")
    assert lost.index("no clear answer: no answer: Connection reset by peer") < found
    assert lost[-1].startswith("Nothing is left to do.")

    rude = said(desk, "rude")
    assert rude[0] == "bags/rude: refused"
    assert any(line.startswith("refused: ") and "code 1301" in line for line in rude)
    assert f"batchgen resolve {row['rude']['external_task_id']} --abandon" in rude[-1]

    poor = said(desk, "poor")
    assert poor[0] == "bags/poor: not created"
    assert any(line.startswith("stopped by the account: ") and "code 1101" in line for line in poor)
    assert any(line.startswith("The last run stopped: ") for line in poor[-2:])

    weak = said(desk, "weak")
    assert weak[0] == "bags/weak: failed, to be tried again"
    assert "It counts as one of the few tasks that a job may have." in weak

    broken = said(desk, "broken")
    assert broken[0] == "bags/broken: image refused"
    assert any(line.startswith("image refused: ") for line in broken)
    assert "Do what its message says" in broken[-1]

    assert desk.run("run", *QUICK, "bags.yaml").code == 1  # the refused ones are left
    weak = said(desk, "weak")
    assert weak[0] == "bags/weak: done"
    assert "Another task, since its task failed (1 of 3 tries)." in weak
    assert said(desk, "poor")[0] == "bags/poor: done"
    # What failed once and is done by now needs nobody.
    status = desk.run("status").out
    assert "bags/weak" not in status
    assert "bags/rude" in status


def test_what_people_decided_is_told_with_their_names(desk: Desk) -> None:
    desk.run("run", *QUICK, "bags.yaml")
    assert desk.run("resolve", "rude", "--abandon").code == 0
    assert desk.run("retake", "lost", "--note", "slower").code == 0
    assert desk.run("retake", "lost", "--keep").code == 0

    rude = said(desk, "rude")
    assert rude[0] == "bags/rude: given up"
    assert any(line.startswith("given up by hand, by ") for line in rude)
    assert any(line == "verdict keep" for line in said(desk, "lost@1"))
    # Whatever kind a decision is of, the oldest comes first.
    Path(desk.export()[0]["video_path"]).unlink()
    assert desk.run("collect", *QUICK[:-2]).code in (0, 1, 5)
    lost = said(desk, "lost@1")
    assert lost.index("verdict keep") < lost.index(
        next(line for line in lost if line.startswith("clip not on disk"))
    )
    second = said(desk, "lost@2")
    assert second[0] == "bags/lost@2: not created"
    assert any(line == "take 2 ordered" for line in second)
    assert any(line.endswith("slower") for line in second)


def test_scripts_get_the_same_decisions_with_run_and_id(desk: Desk) -> None:
    desk.run("run", *QUICK, "bags.yaml")
    (job,) = desk.run("why", "--json", "bags/rude").json["jobs"]
    assert (job["manifest"], job["job_id"], job["take"], job["kind"]) == ("bags", "rude", 1, "rejected")
    assert [line["event"] for line in job["decisions"]] == ["planned", "intent", "refused"]
    (run,) = desk.run("runs", "--json").json["runs"]
    assert {line["run_id"] for line in job["decisions"]} == {run["run_id"]}
    assert job["decisions"][-1]["code"] == "1301"
    assert all(line["rule"] for line in job["decisions"])
    assert "Nothing was paid" in job["advice"]


def test_a_run_without_room_in_the_budget_is_why_a_job_waits(desk: Desk) -> None:
    desk.run("run", *QUICK, "bags.yaml")
    assert desk.run("budget", "set", "--month", "0.01").code == 0
    poor = said(desk, "poor")
    assert any("the month's budget of $0.01 has no room for more" in line for line in poor)


def test_a_run_that_found_the_ledger_taken_decided_nothing() -> None:
    one = RunRecord(1, "one", 100.0, 200.0, "run", "[]", "host", 1, "0", 0, None)
    refused = one._replace(id=2, name="refused", began=150.0, ended=151.0, exit_code=75)
    killed = one._replace(id=3, name="killed", began=300.0, ended=None, exit_code=None)
    runs = RunsByTime([one, refused, killed])
    found = {
        moment: run and run.name for moment in (99.0, 150.5, 200.0, 201.0, 900.0) for run in [runs.at(moment)]
    }
    assert found == {99.0: None, 150.5: "one", 200.0: "one", 201.0: None, 900.0: "killed"}


def test_only_the_first_of_many_jobs_are_told_without_all(desk: Desk) -> None:
    jobs = [{"id": f"j{n}", "image": "none.png"} for n in range(22)]
    defaults = {"model_name": "kling-v3", "prompt": "Slow push-in"}
    desk.write("bags.yaml", json.dumps({"version": 1, "defaults": defaults, "jobs": jobs}))
    desk.run("run", *QUICK, "bags.yaml")
    told = desk.run("why", "*").out
    assert told.count("what would make it move") == 20
    assert told.endswith("... and 2 more; --all shows them all\n")
    assert desk.run("why", "*", "--all").out.count("what would make it move") == 22


def test_a_glob_names_many_and_a_name_that_nothing_has_is_an_error(desk: Desk) -> None:
    desk.run("run", *QUICK, "bags.yaml")
    told = desk.run("why", "bags/*").out
    assert told.count("what would make it move") == 5
    wrong = desk.run("why", "bags/lots")
    assert wrong.code == 2
    assert "near it:" in wrong.err and "bags/lost" in wrong.err
