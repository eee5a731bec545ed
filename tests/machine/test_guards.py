"""What a run does before it pays: a ledger that may have lost tasks is never taken at its word.

The API of these tests takes an external_task_id twice, so that a second payment shows in its journal.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.machine.test_bounds import UNKNOWN, Host, accepted, ended, night
from tests.support.ahead import Ahead
from tests.support.pictures import make_png
from tests.support.program import Desk, sandbox, until
from tests.support.wire import answer

QUICK = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "0.5")
FAST = ("--task-seconds", "0.05-0.1", "--no-unique")


def manifest(count: int, **top: object) -> str:
    jobs = [
        {"id": f"j{n:02}", "image": f"https://example.com/{n}.png", "prompt": str(n)} for n in range(count)
    ]
    return json.dumps({"version": 1, **top, "defaults": {"model_name": "kling-v3"}, "jobs": jobs})


def lose(desk: Desk) -> None:
    shutil.rmtree(desk.folder / "home/.local/state/batchgen")  # with its backups
    shutil.rmtree(desk.folder / "clips", ignore_errors=True)  # with the record beside them, which would tell


def test_a_lost_ledger_is_noticed_through_answers_that_say_nothing(desk: Desk) -> None:
    desk.write("m.yaml", manifest(3))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        lose(desk)
        server.ask("faults", {"add": ["query_500@1,2"]})
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 5
        assert "batchgen recover" in result.err
        assert server.summary()["twice"] == []


def test_a_lost_ledger_is_noticed_at_the_first_job_that_was_paid_wherever_it_stands(desk: Desk) -> None:
    desk.write("m.yaml", manifest(10))
    with sandbox(desk.folder, *FAST, "--fault", "refuse_policy@1,2,3,4,5,6,7,8") as server:
        assert desk.against(server).run("run", "--concurrency", "1", *QUICK, "m.yaml").code == 1
        assert len(server.accepted()) == 2
        lose(desk)
        result = desk.run("run", "--concurrency", "1", *QUICK, "m.yaml")
        assert (result.code, result.err.count("which the ledger had not")) == (5, 1), result.err
        assert "batchgen recover" in result.err
        assert len(server.accepted()) == 2 + 8
        assert server.summary()["twice"] == []


def test_a_recovery_that_broke_off_leaves_the_ledger_in_doubt(desk: Desk) -> None:
    desk.write("m.yaml", manifest(60))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", "--submit-only", *QUICK, "m.yaml").code == 0
        lose(desk)
        server.ask("faults", {"add": ["query_stall@30"]})
        asked = len(server.entries())
        process = desk.start("recover", *QUICK, "--timeout", "60", "m.yaml")
        until(lambda: len(server.entries()) >= asked + 60)
        process.send_signal(signal.SIGTERM)
        assert desk.finish(process).code == 143
        assert 0 < len(desk.export()) < 60
        server.ask("faults", {"clear": True})
        result = desk.run("run", *QUICK, "m.yaml")
        assert (result.code, "batchgen recover" in result.err) == (5, True), result.err
        assert server.summary()["twice"] == []


def test_a_new_manifest_is_trusted_once_all_of_it_was_created(desk: Desk) -> None:
    desk.write("m.yaml", manifest(3))
    with sandbox(desk.folder, *FAST, "--no-lookups") as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        asked = sum(entry.path.rsplit("/", 1)[-1].startswith("m.j") for entry in server.entries())
        assert asked == 3
        desk.write("m.yaml", manifest(20))
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        asked = sum(entry.path.rsplit("/", 1)[-1].startswith("m.j") for entry in server.entries())
        assert asked == 3 + 5


def test_run_with_recover_creates_nothing_where_nothing_that_was_found_proves_nothing(desk: Desk) -> None:
    desk.write("m.yaml", manifest(2))
    with sandbox(desk.folder, *FAST, "--no-lookups") as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        lose(desk)
        result = desk.run("run", "--recover", *QUICK, "m.yaml")
        assert result.code == 5
        assert "proves nothing" in result.err
        assert server.summary()["twice"] == []


def test_an_uncertain_create_is_not_believed_missing_because_the_network_is_impatient(desk: Desk) -> None:
    desk.write("m.yaml", manifest(2))
    with sandbox(desk.folder, *FAST, "--lookup-lag", "3", "--fault", "reset_after@2") as server:
        desk.against(server)
        result = desk.run(
            "run",
            "--concurrency",
            "1",
            "--poll-interval",
            "0.05",
            "--timeout",
            "0.5",
            "--settle",
            "8",
            "m.yaml",
        )
        assert result.code == 0
        assert server.summary()["twice"] == []
        assert len(server.accepted()) == 2


@pytest.mark.parametrize("said", ["external_task_id must be unique", "invalid parameter"])
@pytest.mark.parametrize("finds", [True, False], ids=["found then", "never found"])
def test_a_second_create_that_is_refused_as_taken_is_no_refusal(
    tmp_path: Path, said: str, finds: bool
) -> None:
    """The first one's answer was lost, and the API's lookups found its task too late, or never do."""
    refusal = answer({"code": 1201, "message": said}, 400)

    def create(name: str, times: int) -> bytes:
        if ".j1." not in name:
            return accepted(name, times)
        return refusal if times else b""

    def query(name: str, times: int) -> bytes:
        lags = ".j1." in name and not (finds and host.asked.get(("POST", name), -1) > 0)
        return UNKNOWN if lags or ("POST", name) not in host.asked else ended(name, times)

    host = Host(creates=create, queries=query, finds_all=True)
    desk = Ahead(tmp_path)
    result = night(desk, host, "--concurrency", "1")
    (taken,) = (name for method, name in host.asked if method == "POST" and ".j1." in name)
    assert host.asked["POST", taken] == 1, "it was sent twice"
    assert "Nothing was paid" not in result.err
    states = {row["job_id"]: row["state"] for row in desk.export()}
    if finds:
        assert (result.code, states) == (0, {"j0": "downloaded", "j1": "downloaded"}), result.err
    else:
        assert (result.code, states) == (4, {"j0": "downloaded", "j1": "pending"}), result.err
        assert "refused as if its id were taken, and no task of that id can be found" in result.err


def test_a_job_that_cannot_be_asked_for_is_left_to_the_next_run(desk: Desk) -> None:
    desk.write("m.yaml", manifest(1))
    with sandbox(desk.folder, *FAST, "--fault", "reset_after@1") as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0  # that proved that lookups work
        desk.write("m.yaml", manifest(2))
        server.ask("faults", {"add": ["query_html_404=1"]})
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 4
        assert "whether it has a task already could not be asked" in result.err
        assert len(server.accepted()) == 1


def test_an_uncertain_create_of_a_killed_run_counts_for_submit_only(desk: Desk) -> None:
    desk.write("m.yaml", manifest(1))
    with sandbox(desk.folder, *FAST, "--no-lookups", "--fault", "stall_after@1") as server:
        process = desk.against(server).start("run", *QUICK, "m.yaml")
        until(lambda: len(server.accepted()) == 1)
        process.kill()
        process.communicate()
        result = desk.run("run", "--submit-only", "--json", *QUICK, "m.yaml")
        assert (result.code, result.json["buckets"]["unknown"]) == (5, 1)
        assert len(server.accepted()) == 1


def test_a_cap_waits_for_creates_in_flight_that_come_to_nothing(desk: Desk) -> None:
    desk.write("m.yaml", manifest(6))
    with sandbox(desk.folder, *FAST, "--fault", "refuse_policy@1,2") as server:
        result = desk.against(server).run("run", "--max-jobs", "2", "--json", *QUICK, "m.yaml")
        assert (result.code, len(server.accepted())) == (4, 2)
        assert [result.json["buckets"][name] for name in ("downloaded", "rejected", "pending")] == [2, 2, 2]


def test_an_account_that_stopped_and_a_signal_are_both_told_and_the_account_decides_the_code(
    desk: Desk,
) -> None:
    desk.write("m.yaml", manifest(4))
    with sandbox(desk.folder, "--task-seconds", "600", "--fault", "balance@2") as server:
        process = desk.against(server).start("run", "--concurrency", "1", *QUICK, "m.yaml")
        until(lambda: any(entry.code == 1101 for entry in server.entries()))
        process.terminate()
        result = desk.finish(process)
        assert result.code == 3
        assert "arrears" in result.err and "SIGTERM" in result.err


def test_one_job_with_anothers_id_harms_no_other(desk: Desk) -> None:
    desk.write("m.yaml", manifest(3))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        taken = next(iter(server.accepted().values()))
        changed = json.loads(manifest(4))
        changed["jobs"][1] |= {"external_task_id": taken, "prompt": "another"}
        del changed["jobs"][0]
        desk.write("m.yaml", json.dumps(changed))
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 5
        assert len(server.accepted()) == 4  # the new job; the one with the taken id is not created


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..", "~", " ", "a/b", "x\u202ey"])
def test_a_manifests_name_is_the_name_of_one_folder(desk: Desk, name: str) -> None:
    desk.write("m.yaml", manifest(1, name=name))
    result = desk.run("validate", "m.yaml")
    assert result.code == 2
    assert "can't be used as a name" in result.err


def test_one_file_whose_name_is_no_text_harms_no_other(desk: Desk) -> None:
    for name in (b"good.png", b"bad\xff.png"):
        folder = desk.folder / "in"
        folder.mkdir(exist_ok=True)
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(make_png())
    desk.write(
        "m.yaml", 'version: 1\ndefaults: {model_name: kling-v3}\njobs: [{folder: in, prompt: "{stem}: go"}]\n'
    )
    with sandbox(desk.folder, *FAST) as server:
        result = desk.against(server).run("run", *QUICK, "m.yaml")
        assert result.code == 1
        assert "the file's name is not UTF-8; rename the file" in result.err
        assert len(server.accepted()) == 1


@pytest.mark.parametrize("seed", range(2))
def test_every_job_ends_in_exactly_one_bucket_whatever_happens(desk: Desk, seed: int) -> None:
    jobs = json.loads(manifest(24))
    jobs["jobs"] += [{"id": f"bad{n}", "image": "missing.png"} for n in range(2)]
    desk.write("m.yaml", json.dumps(jobs))
    faults = [
        "refuse_policy=0.1",
        "reset_after=0.1",
        "task_fails=0.3",
        "video_404=0.2",
        "query_not_found=0.1",
        "rate_limited=0.1",
    ]
    options = [part for fault in faults for part in ("--fault", fault)]
    with sandbox(desk.folder, *FAST, "--slots", "5", "--seed", str(seed), *options) as server:
        desk.against(server)
        for more in ((), ("--max-jobs", "3"), ("--deadline", "1s")):
            result = desk.run("run", "--json", "--retry-wait", "0.1", *QUICK, *more, "m.yaml")
            assert sum(result.json["buckets"].values()) == result.json["jobs"] == 26
            assert sum(result.json["tasks"].values()) == result.json["created"]
            assert result.json["exit_code"] == result.code
        assert server.summary()["twice"] == []
