"""Ways in which a job's run ends once in a thousand nights: each is told, and none is paid twice or lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.machine.test_bounds import UNKNOWN, VIDEO, Host, accepted, ended, night, told
from tests.support.ahead import Ahead
from tests.support.program import KEY, Desk
from tests.support.wire import answer, served

PACE = ("--poll-interval", "0.05", "--timeout", "30", "--settle", "0.5")
OVERLOADED = answer({"code": 5000, "message": "internal error"}, 500)
REFUSED = answer({"code": 1301, "message": "content policy"}, 400)
TAKEN = answer({"code": 1201, "message": "external_task_id must be unique"}, 400)


@pytest.fixture
def ahead(tmp_path: Path) -> Ahead:
    """The program in virtual time."""
    return Ahead(tmp_path)


@contextmanager
def against(desk: Desk, host: Host) -> Iterator[None]:
    if isinstance(desk, Ahead):
        with desk.against_api(host.play):
            yield
        return
    with served(host.play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
        yield


def write_jobs(desk: Desk, count: int) -> None:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(count)]
    defaults = {"model_name": "kling-v3"}
    desk.write("m.yaml", json.dumps({"version": 1, "name": "m", "defaults": defaults, "jobs": jobs}))


def states(desk: Desk) -> list[str]:
    return [row["state"] for row in desk.export()]


def creates(host: Host) -> int:
    return sum(times + 1 for (method, _), times in host.asked.items() if method == "POST")


def ledger(desk: Desk) -> sqlite3.Connection:
    path = desk.folder / "home/.local/state/batchgen/ledger.db"
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def test_a_task_that_failed_is_told_where_no_manifest_asks_for_its_job_any_more(desk: Desk) -> None:
    host = Host(queries=lambda name, times: told(name, "failed", task_status_msg="no such style"))
    write_jobs(desk, 1)
    with against(desk, host):
        assert desk.run("run", "--submit-only", *PACE, "m.yaml").code == 0
        result = desk.run("collect", *PACE)
        assert desk.run("collect", *PACE).err == ""
    assert (result.code, states(desk), creates(host)) == (1, ["failed"], 1), result.err
    assert "m/j0: its task t-m.j0." in result.err
    assert "failed: no such style" in result.err


def test_an_uncertain_create_that_the_api_says_nothing_clear_about_is_left_unknown(ahead: Ahead) -> None:
    host = Host(creates=lambda name, times: b"", queries=lambda name, times: OVERLOADED, finds_all=True)
    result = night(ahead, host, count=1)
    assert (result.code, states(ahead), creates(host)) == (5, ["unknown"], 1), result.err
    assert "asked for its task, the API gave no clear answer either: " in result.err


def test_a_job_that_was_uncertain_once_is_asked_for_in_the_next_run_before_it_is_created(
    ahead: Ahead,
) -> None:
    """Its id was refused as taken, and its task not found: it is there now."""
    hidden = True

    def create(name: str, times: int) -> bytes:
        if ".j1." not in name:
            return accepted(name, times)
        return TAKEN if times else b""

    def query(name: str, times: int) -> bytes:
        return UNKNOWN if ("POST", name) not in host.asked or (hidden and ".j1." in name) else ended(name, 0)

    host = Host(creates=create, queries=query, finds_all=True)
    write_jobs(ahead, 2)
    with against(ahead, host):
        first = ahead.run("run", "--concurrency", "1", "m.yaml")
        assert (first.code, sorted(states(ahead)), creates(host)) == (4, ["downloaded", "pending"], 3)
        hidden = False
        second = ahead.run("run", "m.yaml")
    assert (second.code, states(ahead), creates(host)) == (0, ["downloaded"] * 2, 3), second.err


def test_a_row_that_another_program_changes_meanwhile_is_left_as_it_is_and_holds_up_no_other(
    desk: Desk,
) -> None:
    def query(name: str, times: int) -> bytes:
        if ".j0." in name:
            with ledger(desk) as shell:
                shell.execute("UPDATE tasks SET state = 'rejected' WHERE job_id = 'j0'")
            shell.close()
        return ended(name, times)

    host = Host(queries=query)
    write_jobs(desk, 2)
    with against(desk, host):
        result = desk.run("run", *PACE, "m.yaml")
    assert "rejected can't become succeeded" in result.err
    assert {row["job_id"]: row["state"] for row in desk.export()} == {"j0": "rejected", "j1": "downloaded"}


def test_a_create_whose_answer_can_not_be_written_down_is_told_as_unknown_and_found_by_the_next_run(
    desk: Desk,
) -> None:
    shells: list[sqlite3.Connection] = []

    def create(name: str, times: int) -> bytes:
        shells.append(ledger(desk))
        shells[-1].execute("BEGIN IMMEDIATE")
        return accepted(name, times)

    host = Host(creates=create, queries=ended)
    write_jobs(desk, 1)
    with against(desk, host):
        result = desk.run("run", "--json", *PACE, "m.yaml")
        for shell in shells:
            shell.close()
        assert (result.code, result.json["buckets"]["unknown"], states(desk)) == (4, 1, ["submitting"])
        again = desk.run("run", *PACE, "m.yaml")
    assert (again.code, states(desk), creates(host)) == (0, ["downloaded"], 1), again.err


@pytest.mark.parametrize("paid", [2, 3])
def test_a_recovery_that_finds_several_tasks_of_a_job_brings_all_their_clips_home(
    ahead: Ahead, paid: int
) -> None:
    """Each was paid for after the other by a run whose ledger is lost; the latest is the job's clip."""

    first: list[str] = []  # the first take's id: nothing is known of another

    def query(name: str, times: int) -> bytes:
        first.append(name)
        known = name.partition("~")[0] == first[0] and not name.endswith(f"~{paid + 1}")
        return told(name, "succeed", task_result=VIDEO) if known else UNKNOWN

    host = Host(queries=query, finds_all=True)
    write_jobs(ahead, 1)
    with against(ahead, host):
        assert ahead.run("recover", *PACE, "m.yaml").code == 0
        assert ahead.run("collect", *PACE).code == 0
        assert ahead.run("run", *PACE, "m.yaml").err == ""
    rows = ahead.export()
    assert ([row["state"] for row in rows], creates(host)) == (["downloaded"] * paid, 0)
    assert rows[0]["external_task_id"] + f"~{paid}" == rows[-1]["external_task_id"]
    clips = ahead.folder / "clips/m"
    assert Path(rows[-1]["video_path"]) == clips / "j0.mp4"
    assert {Path(row["video_path"]).parent for row in rows[:-1]} == {clips / "superseded"}
    assert len(list(ahead.folder.rglob("*.mp4"))) == paid


def test_a_job_that_is_still_asked_for_when_creating_stops_is_asked_for_no_more(ahead: Ahead) -> None:
    host = Host(
        creates=lambda name, times: answer({"code": 1101, "message": "account in arrears"}, 429),
        queries=lambda name, times: OVERLOADED if ".j1." in name else UNKNOWN,
        finds_all=True,
    )
    result = night(ahead, host, "--max-running", "2", count=2)
    asked = {name: times + 1 for (method, name), times in host.asked.items() if method == "GET"}
    assert (result.code, creates(host), result.json["buckets"]["pending"]) == (3, 1, 2), result.err
    assert [times for name, times in asked.items() if ".j1." in name] in ([1], [2])


def test_jobs_that_are_skipped_are_counted_where_somebody_wants_to_know(desk: Desk) -> None:
    job = {"image": "https://example.com/a.png", "prompt": "x", "model_name": "kling-v3"}
    listed = [{"id": "a", **job}, {"id": "b", "skip": True, **job}]
    desk.write("m.yaml", json.dumps({"version": 1, "name": "m", "jobs": listed}))
    with against(desk, Host(creates=lambda name, times: REFUSED, queries=ended)):
        told_all = desk.run("run", "-v", *PACE, "m.yaml")
        told_less = desk.run("run", *PACE, "m.yaml")
    assert "\n1 job skipped\n" in told_all.err
    assert "skipped" not in told_less.err
