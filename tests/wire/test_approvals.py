"""Approvals: ``plan -o`` writes what would be paid for, and ``run --plan`` pays for that and nothing else.

The sandbox's journal is the witness of what was created.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchgen.ledger.reader import Records
from batchgen.money.approval import parse
from tests.support.program import KEY, Desk, Result, Server, sandbox, until
from tests.support.stored import lose
from tests.support.terminal import on_a_terminal, read

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


# -- run --plan --------------------------------------------------------------------------------------------------------


def approve(desk: Desk, *options: str, file: str = "ok.json") -> set[str]:
    """Approve the plan. Returns the ids of it."""
    assert desk.run("plan", "-q", "-o", file, *options).code == 0
    return {job["external_task_id"] for job in approved(desk, file)["jobs"]}


def spend(desk: Desk, *options: str, file: str = "ok.json") -> Result:
    return desk.run("run", *QUICK, "--plan", file, *options)


def made(server: Server) -> list[str]:
    """The ids of all tasks that were made, each as often as it was."""
    return sorted(server.accepted().values())


def doctored(desk: Desk, **fields: Any) -> None:
    """Change the first job of the approval, as somebody would who can make a digest."""
    one = parse((desk.folder / "ok.json").read_bytes())
    jobs = sorted(one.jobs.values())
    jobs[0] = jobs[0]._replace(**fields)
    desk.write("ok.json", replace(one, jobs={job.external_task_id: job for job in jobs}).text())


def endings(result: Result) -> dict[str, str]:
    """Why each job wasn't created as approved, by job."""
    return {one["job_id"]: one["text"] for one in result.json["endings"] if one["bucket"] == "unapproved"}


def test_exactly_what_was_approved_is_created(desk: Desk, server: Server) -> None:
    write(desk, "bags", "tote", "vase", "lamp")
    ids = approve(desk, "bags.yaml", "--only", "tote", "--only", "vase")
    result = spend(desk, "bags.yaml")
    assert result.code == 5 and made(server) == sorted(ids) and len(ids) == 2
    assert "not as approved" in result.err and "bags/lamp: not approved (new)" in result.err
    assert approved(desk)["sha256"] in result.err
    assert spend(desk, "bags.yaml").code == 5 and len(made(server)) == 2
    result = spend(desk, "bags.yaml", "--only", "tote", "--only", "vase")
    assert (result.code, result.err) == (0, "") and len(made(server)) == 2


def test_a_run_that_went_as_approved_says_nothing_away_from_a_terminal_and_scripts_get_the_digest(
    desk: Desk, server: Server
) -> None:
    write(desk, "bags", "tote")
    approve(desk, "bags.yaml")
    result = spend(desk, "bags.yaml", "--json")
    assert (result.code, result.err) == (0, "") and made(server)
    assert result.json["approval"] == {
        "sha256": approved(desk)["sha256"],
        "creates": 1,
        "cost_usd_estimate": 0.42,
    }
    again = spend(desk, "bags.yaml")
    assert (again.code, again.out, again.err) == (0, "", "")


@pytest.mark.parametrize("fault", ["stall_after@2", "stall_before@2", "stall_early@2"])
def test_a_run_that_was_killed_goes_on_with_the_same_file_and_pays_nothing_twice(
    desk: Desk, server: Server, fault: str
) -> None:
    write(desk, "bags", "a", "b", "c", "d")
    ids = approve(desk, "bags.yaml", "--only", "a", "--only", "b", "--only", "c")
    server.ask("faults", {"add": [fault]})
    program = desk.start("run", *QUICK, "--concurrency", "1", "--plan", "ok.json", "bags.yaml")
    until(lambda: any(entry.fault == fault[:-2] for entry in server.entries()))
    program.send_signal(signal.SIGKILL)
    program.communicate()
    server.ask("faults", {"clear": True})
    assert spend(desk, "bags.yaml").code == 5  # for d
    assert made(server) == sorted(ids)
    assert endings(spend(desk, "bags.yaml", "--json")) == {"d": "not approved (new)"}
    assert made(server) == sorted(ids)


def test_what_drifted_is_listed_by_job_and_reason_and_left_out(desk: Desk, server: Server) -> None:
    jobs = ["dear", "gone", "same", "sung"]
    write(desk, "bags", *jobs)
    write(desk, "cups", "cup")
    approve(desk, "bags.yaml", "cups.yaml")
    doctored(desk, micros=400_000)
    write(desk, "bags", "dear", "same", {"id": "sung", "prompt": "louder"}, "new")
    result = spend(desk, "bags.yaml", "--json")
    found = endings(result)
    old = next(job["external_task_id"] for job in approved(desk)["jobs"] if job["job_id"] == "sung")
    assert found == {
        "dear": "approved for $0.40, and its estimate is $0.42 now",
        "gone": "approved, and is no job of its manifest any more",
        "sung": f"changed since it was approved as {old}",
        "new": "not approved (new)",
        "cup": "approved, and its manifest isn't in this run",
    }
    assert result.code == 5 and [name.split(".")[1] for name in made(server)] == ["same"]
    assert result.json["buckets"]["unapproved"] == 5 and result.json["jobs"] == 6
    only = spend(desk, "--json", "--only", "same", "bags.yaml")
    assert (only.code, endings(only)) == (0, {})


def test_what_was_done_skipped_or_given_up_meanwhile_is_no_drift(desk: Desk, server: Server) -> None:
    write(desk, "bags", "done", "moved", "poor", "skip")
    approve(desk, "bags.yaml")
    server.ask("faults", {"add": ["refuse_policy@1"]})
    first = desk.run("run", *QUICK, "bags.yaml", "--only", "poor")
    assert first.code == 1 and not made(server)
    assert desk.run("resolve", "poor", "--abandon").code == 0
    assert desk.run("run", *QUICK, "bags.yaml", "--only", "done", "--only", "moved").code == 0
    write(desk, "bags", "done", "poor", {"id": "skip", "skip": True})
    result = spend(desk, "bags.yaml", "--json")
    assert (result.code, endings(result)) == (0, {})
    assert [name.split(".")[1] for name in made(server)] == ["done", "moved"]


def test_a_task_that_fails_gets_no_other_one_before_that_is_approved(desk: Desk, server: Server) -> None:
    write(desk, "bags", "tote")
    (first,) = approve(desk, "bags.yaml")
    server.ask("faults", {"add": ["task_fails_outage@1"]})
    result = spend(desk, "bags.yaml", "--json")
    assert result.code == 5 and made(server) == [first]
    assert result.json["failed_tasks"] == 1 and result.json["tasks"]["failed"] == result.json["created"] == 1
    assert "another task of it wasn't approved" in endings(result)["tote"]
    later = spend(desk, "bags.yaml", "--json")
    assert f"approved as {first}, and this is another task of it" in endings(later)["tote"]
    assert later.code == 5 and made(server) == [first]
    assert approve(desk, "bags.yaml") == {f"{first}~2"}
    assert spend(desk, "bags.yaml").code == 0 and made(server) == [first, f"{first}~2"]


@pytest.mark.parametrize("agreed", [True, False])
def test_an_uncertain_create_that_came_to_nothing_is_sent_again_only_where_it_was_approved(
    desk: Desk, server: Server, agreed: bool
) -> None:
    write(desk, "bags", "known", "tote", "vase")
    assert desk.run("run", *QUICK, "bags.yaml", "--only", "known").code == 0  # so that lookups are believed
    ids = approve(desk, "bags.yaml", "--only", "tote" if agreed else "vase")
    server.ask("faults", {"add": ["stall_before@1"]})
    program = desk.start("run", *QUICK, "--only", "tote", "bags.yaml")
    until(lambda: any(entry.fault == "stall_before" for entry in server.entries()))
    program.kill()
    program.communicate()
    server.ask("faults", {"clear": True})
    result = spend(desk, "bags.yaml", "--json")
    assert made(server)[1:] == sorted(ids) and len(ids) == 1
    if agreed:
        assert endings(result) == {"vase": "not approved (new)"}
    else:
        assert endings(result) == {"tote": "it wasn't created, and creating it wasn't approved"}
    assert result.code == 5


def test_without_the_ledger_that_it_was_made_with_an_approval_pays_for_nothing(
    desk: Desk, server: Server
) -> None:
    """Approved with an empty ledger, spent, and the ledger deleted: it can't be spent again."""
    write(desk, "bags", "tote")
    ids = approve(desk, "bags.yaml")
    assert spend(desk, "bags.yaml").code == 0 and made(server) == [*ids]
    lose(Path(desk.env["BATCHGEN_LEDGER"]))
    result = spend(desk, "bags.yaml")
    assert result.code == 2 and "there is no ledger" in result.err
    assert not os.path.lexists(desk.env["BATCHGEN_LEDGER"])
    approve(desk, "bags.yaml", file="other.json")
    result = spend(desk, "bags.yaml")
    assert result.code == 2 and "made with another ledger" in result.err and made(server) == [*ids]


def test_an_approval_for_another_api_is_refused(desk: Desk, server: Server) -> None:
    write(desk, "bags", "tote")
    approve(desk, "bags.yaml")
    with sandbox(desk.folder) as other:
        result = spend(desk, "--base-url", other.url, "bags.yaml")
        assert result.code == 2 and f"is for {server.url}, and this is {other.url}" in result.err
        assert not other.entries() and not server.entries()


def test_a_file_that_is_no_whole_approval_pays_for_nothing(desk: Desk, server: Server) -> None:
    write(desk, "bags", "tote")
    approve(desk, "bags.yaml")
    good = (desk.folder / "ok.json").read_text()
    os.mkfifo(desk.folder / "pipe")
    with open(desk.folder / "huge.json", "wb") as file:
        file.truncate(2**31)
    desk.write("half.json", good[: len(good) // 2])
    desk.write("more.json", good.replace("420000", "430000"))
    desk.write("old.json", good.replace('"approval": 1', '"approval": 0'))
    desk.write("yours.json", '{"jobs": [{"external_task_id": "x"}]}')
    for name, words in (
        ("half.json", "cut short"),
        ("more.json", "changed since it was written"),
        ("old.json", "in the form 0"),
        ("yours.json", "is no approval"),
        ("bags.yaml", "is no approval"),
        ("huge.json", "larger than any approval"),
        ("pipe", "not a regular file"),
        ("none.json", "No such file"),
        (".", "can't be read"),
    ):
        result = spend(desk, "bags.yaml", file=name)
        assert result.code == 2 and words in result.err and name in result.err, result.err
    assert not server.entries()
    for options, words in ((("-n",), "give one of the two"), (("--sandbox",), "one of its own")):
        result = spend(desk, *options, "bags.yaml")
        assert result.code == 2 and words in result.err


def test_the_total_is_a_cap_over_all_runs_of_an_approval(desk: Desk, server: Server) -> None:
    write(desk, "bags", "a", "b", "c")
    approve(desk, "bags.yaml")
    assert spend(desk, "--max-jobs", "1", "bags.yaml").code == 4
    with closing(sqlite3.connect(desk.env["BATCHGEN_LEDGER"])) as ledger, ledger:
        ledger.execute("UPDATE tasks SET charged = 840001")  # a bill of twice the estimate
    result = spend(desk, "bags.yaml", "--json")
    assert result.code == 4 and len(made(server)) == 1
    (stop,) = result.json["stops"]
    assert (
        stop["kind"] == "approval_cap" and "approval's cost cap of $0.419999 was reached" in stop["message"]
    )
    assert "plan -o FILE" in stop["advice"] and "--max-cost" not in stop["advice"]


def test_bills_above_what_was_approved_are_said(desk: Desk, server: Server) -> None:
    """They come when the creates are sent, and nothing takes them back."""
    write(desk, "bags", "a", "b", "c")
    desk.write(
        "home/.config/batchgen/config.yaml",
        "prices: {read_on: 2026-01-01, per_second_usd: {'off': {std: 0.042}}}\n",
    )
    approve(desk, "bags.yaml")
    result = spend(desk, "bags.yaml")
    assert result.code == 0 and len(made(server)) == 3
    said = "more was charged than was approved: $1.26 for what was approved at $0.63"
    assert said in result.err and said in spend(desk, "bags.yaml").err
    write(desk, "more", "d")
    desk.write("home/.config/batchgen/config.yaml", "")
    approve(desk, "more.yaml")
    assert "more was charged" not in spend(desk, "more.yaml").err


def test_a_manifest_of_which_some_was_left_out_stays_doubtful(desk: Desk, server: Server) -> None:
    """Its other jobs weren't looked up: a ledger that has lost them must not be believed."""
    write(desk, "bags", "a", "b")
    approve(desk, "bags.yaml", "--only", "a")
    assert spend(desk, "bags.yaml").code == 5
    with Records.read(desk.env["BATCHGEN_LEDGER"]) as ledger:
        assert ledger.note("doubtful:bags") == "yes"
    approve(desk, "bags.yaml")
    assert spend(desk, "bags.yaml").code == 0 and len(made(server)) == 2
    with Records.read(desk.env["BATCHGEN_LEDGER"]) as ledger:
        assert ledger.note("doubtful:bags") == "no"


def test_open_tasks_are_followed_though_nobody_approved_them(desk: Desk, server: Server) -> None:
    write(desk, "bags", "a", "b")
    assert desk.run("run", *QUICK, "--submit-only", "--only", "a", "bags.yaml").code == 0
    approve(desk, "bags.yaml")
    assert spend(desk, "bags.yaml").code == 0
    assert {row["state"] for row in desk.export()} == {"downloaded"} and len(made(server)) == 2


# -- asking ------------------------------------------------------------------------------------------------------------


def ask(desk: Desk, answer: str | None, *options: str) -> tuple[int, str]:
    command = [*desk.program, "run", *QUICK, *options]
    code, shown = on_a_terminal(command, cwd=desk.folder, env=desk.env, answer=answer)
    return code, read(shown)


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_on_a_terminal_a_run_says_what_it_would_pay_for_and_asks_once(
    desk: Desk, server: Server, answer: str
) -> None:
    write(desk, "bags", "tote", {"id": "vase", "mode": "pro"})
    code, shown = ask(desk, answer, "--max-jobs", "1", "bags.yaml")
    assert f"2 clips to create, about $0.98, at {server.url}" in shown and "1 of them at most" in shown
    assert "bags, pro: 1 to create, about $0.56" in shown and shown.count("[y/N]") == 1
    assert code == 4 and len(made(server)) == 1 and "approved:" not in shown
    code, shown = ask(desk, answer, "bags.yaml")
    assert code == 0 and len(made(server)) == 2 and "1 clip to create, about $0.56" in shown
    code, shown = ask(desk, None, "bags.yaml")
    assert code == 0 and "[y/N]" not in shown


@pytest.mark.parametrize("answer", ["\n", "n\n", "\x04", "no\n", "yeah sure\n", "\xff\n"])
def test_anything_but_yes_creates_nothing(desk: Desk, server: Server, answer: str) -> None:
    write(desk, "bags", "tote")
    code, shown = ask(desk, answer, "bags.yaml")
    assert code == 4 and "declined; nothing was created" in shown and "`batchgen collect`" in shown
    assert not server.entries() and not os.path.lexists(desk.env["BATCHGEN_LEDGER"])


def test_nothing_is_asked_where_it_was_answered_or_nobody_can_answer(desk: Desk, server: Server) -> None:
    write(desk, "bags", "a", "b", "c")
    code, shown = ask(desk, "n\n", "--yes", "--only", "a", "bags.yaml")
    assert code == 0 and "[y/N]" not in shown
    approve(desk, "bags.yaml", "--only", "b")
    code, shown = ask(desk, "n\n", "--plan", "ok.json", "--only", "b", "bags.yaml")
    assert code == 0 and "[y/N]" not in shown and approved(desk)["sha256"] in shown
    code, shown = ask(desk, None, "bags.yaml")  # stdin is a pipe
    assert code == 0 and "[y/N]" not in shown and len(made(server)) == 3


def test_what_nobody_was_asked_about_is_left_to_the_next_run(desk: Desk, server: Server) -> None:
    write(desk, "bags", "tote")
    server.ask("faults", {"add": ["task_fails_outage@1"]})
    code, shown = ask(desk, "y\n", "bags.yaml")
    assert code == 5 and len(made(server)) == 1 and "not as approved" in shown
    code, shown = ask(desk, "y\n", "bags.yaml")
    assert code == 0 and len(made(server)) == 2 and made(server)[1].endswith("~2")


def test_what_comes_while_the_question_stands_is_not_paid_for(desk: Desk, server: Server) -> None:
    """Another run paid meanwhile, and a picture came: neither is created by this one."""
    write(desk, "bags", "a", "b")
    seen = list[str]()

    def meanwhile(shown: str) -> None:
        if "[y/N]" in shown and not seen:
            seen.append(shown)
            assert desk.run("run", *QUICK, "--only", "a", "bags.yaml").code == 0
            write(desk, "bags", "a", "b", "c")

    command = [*desk.program, "run", *QUICK, "bags.yaml"]
    code, _ = on_a_terminal(command, cwd=desk.folder, env=desk.env, more=meanwhile, answer="y\n")
    assert code == 0 and [name.split(".")[1] for name in made(server)] == ["a", "b"]
