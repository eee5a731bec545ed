"""Nothing is paid twice and nothing is lost, fault by fault: the program as a process, the journal as the witness."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchgen.sandbox.faults import FAULTS, Moment
from batchgen.sandbox.journal import Entry
from batchgen.sandbox.video import clip
from tests.support import wire
from tests.support.program import Desk, Result, Server, sandbox, until

TASKS = ("--task-seconds", "0.05-0.2")
PACE = ("--timeout", "1", "--settle", "1", "--poll-interval", "0.05")
SETTLED = 1.0  # seconds

#: Creates that end without a word on whether they made a task, and made none.
UNCLEAR_BEFORE = (
    "internal_before",
    "unavailable_before",
    "timeout_before",
    "reset_before",
    "close_before",
    "stall_before",
    "html_502_before",
    "gateway_500",
    "redirect",
)
#: Spoilt answers that can be read all the same.
READABLE = {"wrong_types_after"}


def write_jobs(desk: Desk, count: int) -> None:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(count)]
    manifest = {
        "version": 1,
        "name": "m",
        "output_dir": "clips",
        "defaults": {"model_name": "kling-v3"},
        "jobs": jobs,
    }
    desk.write("m.yaml", json.dumps(manifest))


def run(desk: Desk, *options: str) -> Result:
    return desk.run("run", *PACE, *options, "m.yaml")


def states(desk: Desk) -> dict[str, str]:
    """The state of every job's newest row."""
    return {row["job_id"]: row["state"] for row in desk.export()}


def history(desk: Desk, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.run("status", "--json", name).json["tasks"][0]["history"]
    return found


def creates(server: Server) -> list[Entry]:
    return [entry for entry in server.entries() if entry.kind == "create"]


def accepts(server: Server) -> list[int]:
    """How often each id was accepted, for all that were."""
    return list(Counter(server.accepted().values()).values())


def one_by_one(names: Iterable[str]) -> list[str]:
    """The options that play each of these faults once, with a good answer after each."""
    return [word for turn, name in enumerate(names) for word in ("--fault", f"{name}@{2 * turn + 1}")]


def run_to_the_end(desk: Desk, *options: str) -> int:
    """Run until all is done; how many runs that took."""
    for turn in range(1, 8):
        result = run(desk, *options)
        if result.code == 0:
            return turn
    raise AssertionError(result)


# -- creates that nobody can tell the outcome of --------------------------------------------------------------


def test_every_task_whose_answer_was_lost_or_spoilt_is_adopted_and_made_once(desk: Desk) -> None:
    names = [fault.name for fault in FAULTS.values() if fault.moment is Moment.MADE]
    write_jobs(desk, 2 * len(names))
    with sandbox(desk.folder, *TASKS, "--no-unique", "--lookup-lag", "0.8", *one_by_one(names)) as server:
        desk.against(server)
        run_to_the_end(desk)
        struck = {entry.fault or "": entry.external_task_id or "" for entry in creates(server) if entry.fault}
        assert struck.keys() == set(names)
        assert accepts(server) == [1] * 2 * len(names)
        assert {row["task_id"]: row["external_task_id"] for row in desk.export()} == server.accepted()
        assert set(states(desk).values()) == {"downloaded"}
        for fault, name in struck.items():
            said = [event["to_state"] for event in history(desk, name)]
            assert ("unknown" in said) == (fault not in READABLE), fault


def test_a_create_that_made_nothing_is_sent_again_under_its_id_once_that_is_settled(desk: Desk) -> None:
    write_jobs(desk, 2 * len(UNCLEAR_BEFORE))
    with sandbox(desk.folder, *TASKS, "--no-unique", *one_by_one(UNCLEAR_BEFORE)) as server:
        desk.against(server)
        run_to_the_end(desk, "--settle", "4")  # longer than the pause after an unclear answer
        assert accepts(server) == [1] * 2 * len(UNCLEAR_BEFORE)
        for fault in UNCLEAR_BEFORE:
            (first,) = (entry for entry in creates(server) if entry.fault == fault)
            name = first.external_task_id
            (again,) = (
                entry for entry in creates(server) if entry.accepted and entry.external_task_id == name
            )
            asked = [
                entry for entry in server.entries() if entry.path.endswith(f"/{name}") and entry.at < again.at
            ]
            assert again.at - first.at >= 4
            assert asked[-1].code == 1203, "asked right before the second create"
            assert asked[-1].at - first.at >= 4


def test_everything_the_api_said_about_a_job_stays_in_its_history(desk: Desk) -> None:
    write_jobs(desk, 2)
    rules = (
        "rate_limited@1",
        "slots_full@2",
        "unknown_code@3",
        "refuse_policy@4",
        "internal_after@1",
        "video_500@1",
    )
    with sandbox(desk.folder, *TASKS, *(word for rule in rules for word in ("--fault", rule))) as server:
        desk.against(server)
        run_to_the_end(desk, "--concurrency", "1", "--retry-failed")
        said = {name: history(desk, name) for name in server.accepted().values()}
        for entry in creates(server):
            events = said[entry.external_task_id or ""]
            (event,) = (event for event in events if event["request_id"] == f"sandbox-{entry.seq}")
            assert event["code"] == (str(entry.code) if entry.code else None)
            assert event["message"] or event["to_state"] == "submitted"
        assert {f"{entry.fault}" for entry in server.entries()} > {rule.partition("@")[0] for rule in rules}
        (broken,) = (entry for entry in server.entries() if entry.fault == "video_500")
        (row,) = (row for row in desk.export() if row["task_id"] == broken.task_id)
        assert any("HTTP 500" in (event["message"] or "") for event in said[row["external_task_id"]])
        assert accepts(server) == [1, 1]


def test_a_single_false_denial_makes_no_second_create(desk: Desk) -> None:
    write_jobs(desk, 3)
    with sandbox(
        desk.folder, *TASKS, "--no-unique", "--fault", "reset_after@2", "--fault", "query_not_found@1"
    ) as server:
        desk.against(server)
        assert run(desk).code == 0
        assert len(creates(server)) == 3


def test_a_denial_is_as_old_as_its_question(desk: Desk) -> None:
    """The API looks when it is asked and answers later: that the task could not be seen then proves little now."""
    made: dict[str, float] = {}  # names, and since when
    denied: list[float] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard = await wire.request(reader)
            now = asyncio.get_running_loop().time()
            name = heard.path.rpartition("/")[2]
            if heard.method == "POST":
                name = json.loads(heard.body)["external_task_id"]
                made[name] = now
                if len(made) == 2:  # no answer
                    return
            elif name not in made or (len(made) == 2 and now - made[name] < 0.9):
                if len(made) == 2:
                    await asyncio.sleep(0.45)
                    denied.append(now)
                writer.write(wire.answer({"code": 1203, "message": "no such task"}, 404))
                continue
            writer.write(wire.made(name, task_status="processing", task_info={"external_task_id": name}))

    write_jobs(desk, 2)
    with wire.served(play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": "k"}
        assert run(desk, "--concurrency", "1", "--submit-only").code == 0
    assert denied
    assert len(made) == 2
    said = [event["to_state"] for event in history(desk, list(made)[-1])]
    assert said[-2:] == ["unknown", "submitted"]


def test_submit_only_leaves_once_an_uncertain_create_is_adopted(desk: Desk) -> None:
    write_jobs(desk, 2)
    lag = ("--lookup-lag", "2")  # adopted when no pause is left that would end anyway
    with sandbox(desk.folder, "--task-seconds", "600", *lag, "--fault", "reset_after@2") as server:
        desk.against(server)
        assert run(desk, "--submit-only", "--settle", "4") == Result(0, "", "")
        assert states(desk) == {"j0": "submitted", "j1": "submitted"}
        assert accepts(server) == [1, 1]


def test_questions_that_fail_are_no_answer(desk: Desk) -> None:
    write_jobs(desk, 2)
    with sandbox(desk.folder, *TASKS, "--no-unique", "--fault", "reset_after@1") as server:
        desk.against(server)
        assert run(desk, "--max-jobs", "1").code == 4  # adopted: lookups work
        after_the_first = ",".join(map(str, range(2, 2000)))  # which is asked before the create
        server.ask("faults", {"clear": True, "add": ["reset_after@1", f"query_500@{after_the_first}"]})
        process = desk.start("run", *PACE, "m.yaml")
        until(lambda: len(creates(server)) == 2)
        lost = creates(server)[1]
        until(lambda: server.entries()[-1].at > lost.at + 2 * SETTLED)
        process.send_signal(signal.SIGTERM)
        assert desk.finish(process).code == 143
        assert server.entries()[-1].fault == "query_500"
        assert states(desk) == {"j0": "downloaded", "j1": "unknown"}
        server.ask("faults", {"clear": True})
        assert run(desk).code == 0
        assert len(creates(server)) == 2
        assert states(desk) == {"j0": "downloaded", "j1": "downloaded"}


def test_without_lookups_an_uncertain_create_waits_for_a_person_and_nothing_said_would_pay_twice(
    desk: Desk,
) -> None:
    write_jobs(desk, 3)
    with sandbox(desk.folder, *TASKS, "--no-lookups", "--no-unique", "--fault", "reset_after@2") as server:
        desk.against(server)
        first = run(desk)
        assert first.code == 5
        assert sorted(states(desk).values()) == ["downloaded", "downloaded", "unknown"]
        (name,) = (row["external_task_id"] for row in desk.export() if row["state"] == "unknown")
        assert "batchgen resolve" in first.err
        assert name in first.err
        for pays in ("--retry-failed", "--accept-changes", "run again"):
            assert pays not in first.err
        before, _, _ = first.err.partition("--not-created")
        assert before.endswith("only where it certainly is not, `batchgen resolve JOB ")
        assert first.err.count("--not-created") == 1  # said once, however many there are
        assert "whether its create was accepted: no answer: " in first.err  # what came of it
        for options in ((), ("--retry-failed",), ("--accept-changes",)):
            again = run(desk, *options)
            assert again.code == 5
            assert "none created" in again.err
        assert desk.run("collect", *PACE).code == 5
        assert len(creates(server)) == 3


def test_an_empty_ledgers_first_create_waits_until_a_lookup_has_been_seen_to_work(desk: Desk) -> None:
    write_jobs(desk, 1)
    with sandbox(desk.folder, *TASKS, "--no-unique", "--fault", "reset_before@1") as server:
        desk.against(server)
        assert run(desk).code == 5
        assert run(desk).code == 5
        assert len(creates(server)) == 1
        write_jobs(desk, 2)  # the second task is the proof
        run_to_the_end(desk)
        assert accepts(server) == [1, 1]
        assert states(desk) == {"j0": "downloaded", "j1": "downloaded"}


def test_a_lookup_is_made_again_right_before_the_second_create(desk: Desk) -> None:
    """The task shows itself after the settling time, and still before it would be made again."""
    write_jobs(desk, 2)
    with sandbox(
        desk.folder, *TASKS, "--no-unique", "--lookup-lag", "4", "--fault", "stall_after@2"
    ) as server:
        desk.against(server)
        assert run(desk, "--max-jobs", "1").code == 4
        (known,) = server.accepted().values()
        until(lambda: found(server, known))
        process = desk.start("run", *PACE, "m.yaml")
        until(lambda: len(server.accepted()) == 2)
        process.kill()
        process.communicate()
        lost = list(server.accepted().values())[1]
        assert desk.run("collect", "--settle", "0.3").code == 4
        assert states(desk)["j1"] == "pending", "denied for longer than the settling time"
        assert not found(server, lost)
        until(lambda: found(server, lost))
        assert run(desk).code == 0
        assert len(creates(server)) == 2
        assert states(desk) == {"j0": "downloaded", "j1": "downloaded"}


def test_a_retry_whose_answer_was_lost_is_adopted_under_its_own_id(desk: Desk) -> None:
    write_jobs(desk, 1)
    with sandbox(
        desk.folder, *TASKS, "--no-unique", "--fault", "task_fails@1", "--fault", "reset_after@2"
    ) as server:
        desk.against(server)
        assert run(desk, "--retry-wait", "0.1").code == 0
        first, second = server.accepted().values()
        assert second == f"{first}~2"
        assert [row["state"] for row in desk.export()] == ["failed", "downloaded"]


def found(server: Server, name: str) -> bool:
    """Whether the API finds a task by its external id, by now."""
    url = f"{server.url}/kling/v1/videos/image2video/{name}"
    request = urllib.request.Request(url, headers={"Authorization": "Bearer x"})
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False


# -- waiting, refusing, stopping ------------------------------------------------------------------------------


def test_too_fast_with_retry_after_pauses_everybody_and_spends_no_attempt(desk: Desk) -> None:
    write_jobs(desk, 4)
    with sandbox(desk.folder, *TASKS, "--fault", "rate_limited_retry_after@1") as server:
        desk.against(server)
        assert run(desk, "--concurrency", "1").code == 0
        limited, following, *_ = creates(server)
        assert limited.code == 1302
        assert following.at - limited.at >= 1.0
        assert {row["attempt"] for row in desk.export()} == {1}
        assert len(creates(server)) == 5


def test_over_the_slots_with_http_200_is_scheduling(desk: Desk) -> None:
    write_jobs(desk, 3)
    with sandbox(desk.folder, *TASKS, "--fault", "wrapped_1303@2") as server:
        desk.against(server)
        assert run(desk) == Result(0, "", "")
        assert {row["attempt"] for row in desk.export()} == {1}
        assert accepts(server) == [1, 1, 1]


@pytest.mark.parametrize("fault", ["wrapped_1101", "gateway_402", "bad_ip", "key_not_yet"])
def test_an_account_that_can_not_pay_stops_creates_and_nothing_is_lost(desk: Desk, fault: str) -> None:
    write_jobs(desk, 5)
    with sandbox(desk.folder, *TASKS, "--fault", f"{fault}@2") as server:
        desk.against(server)
        assert run(desk, "--concurrency", "1").code == 3
        assert len(creates(server)) == 2
        assert states(desk) == {"j0": "downloaded", "j1": "pending"}
        assert run(desk).code == 0
        assert accepts(server) == [1] * 5


# -- the network ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["refuses", "is silent"])
def test_on_a_dead_network_nothing_was_sent_and_the_next_run_makes_each_task_once(
    desk: Desk, network: str
) -> None:
    write_jobs(desk, 3)
    with deaf_port() as port:
        desk.env |= {"POWERTOKENS_API_BASE": f"http://127.0.0.1:{port}", "POWERTOKENS_API_KEY": "k"}
        if network == "is silent":
            result = desk.run("run", "--timeout", "0.2", "m.yaml")
    if network == "refuses":
        result = desk.run("run", "--timeout", "0.2", "m.yaml")
    assert result.code == 4
    assert "could not be reached" in result.err
    assert {(row["state"], row["attempt"]) for row in desk.export()} <= {("pending", 0)}
    with sandbox(desk.folder, *TASKS, "--port", str(port)) as server:
        assert run(desk).code == 0
        assert accepts(server) == [1, 1, 1]


def test_a_network_that_dies_ends_the_run_and_what_was_open_is_taken_up_later(desk: Desk) -> None:
    write_jobs(desk, 3)
    with sandbox(desk.folder, "--task-seconds", "1-2") as server:
        desk.against(server)
        process = desk.start("run", "--timeout", "0.3", "--poll-interval", "0.05", "m.yaml")
        until(lambda: len(server.accepted()) == 3)
        with server.frozen():
            result = desk.finish(process)
        assert result.code == 4
        assert run(desk).code == 0
        assert accepts(server) == [1, 1, 1]
        assert set(states(desk).values()) == {"downloaded"}


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port of this machine that takes no connection and refuses none."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:  # fill its queue
            caller = stack.enter_context(socket.socket())
            caller.settimeout(0.2)
            try:
                caller.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()[1]


# -- queries and clips ----------------------------------------------------------------------------------------


def test_no_answer_to_a_query_loses_a_task_or_makes_another(desk: Desk) -> None:
    moments = (Moment.ASKED, Moment.FOUND, Moment.MOVED, Moment.DONE)
    names = [fault.name for fault in FAULTS.values() if fault.moment in moments]
    write_jobs(desk, 12)
    with sandbox(desk.folder, *TASKS, "--no-unique", *one_by_one(names)) as server:
        desk.against(server)
        run_to_the_end(desk)
        missing = set(names) - {entry.fault for entry in server.entries()}
        for turn, name in enumerate(sorted(missing), 13):  # others struck where it was to
            server.ask("faults", {"clear": True, "add": [f"{name}@1"]})
            write_jobs(desk, turn)
            run_to_the_end(desk)
        assert {entry.fault for entry in server.entries() if entry.fault} == set(names)
        assert accepts(server) == [1] * (12 + len(missing))
        assert {row["task_id"]: row["external_task_id"] for row in desk.export()} == server.accepted()
        assert all(Path(row["video_path"]).read_bytes() == clip(row["task_id"]) for row in desk.export())
        hosts = {entry.authorized for entry in server.entries() if entry.kind == "elsewhere"}
        assert hosts <= {False}


def test_a_clip_whose_place_is_taken_is_paid_and_not_home_until_it_has_its_name(desk: Desk) -> None:
    """All of it was fetched, and the rename fails: the ledger must not run ahead of the disk."""
    write_jobs(desk, 1)
    with sandbox(desk.folder, "--task-seconds", "60") as server:
        desk.against(server)
        assert run(desk, "--submit-only").code == 0
        (task,) = server.accepted()
        sha256 = hashlib.sha256(clip(task)).hexdigest()
        taken = [desk.folder / f"clips/m/j0{tail}.mp4" for tail in ("", f"-{sha256[:8]}", f"-{sha256}")]
        for path in taken:
            path.mkdir(parents=True)
        server.ask("finish", {})
        process = desk.start("run", *PACE, "m.yaml")
        until(lambda: server.summary()["requests"].get("video", 0) == 2)  # the first one's end is on record
        process.terminate()
        assert desk.finish(process).code == 143
        assert states(desk) == {"j0": "succeeded"}
        for path in taken:
            path.rmdir()
        assert run(desk).code == 0
        assert taken[0].read_bytes() == clip(task)
        assert len(creates(server)) == 1


# -- power cuts -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    shutil.which("strace") is None, reason="needs strace: no other way to see what reached the disk"
)
def test_what_a_power_cut_must_not_undo_is_synced_before_the_next_step(desk: Desk) -> None:
    """What a SIGKILL can't show: the order of the system calls that write, sync, send and rename."""
    write_jobs(desk, 1)
    calls = "write,pwrite64,sendto,sendmsg,writev,fsync,fdatasync,rename,renameat,renameat2"
    trace = desk.folder / "trace"
    desk.program = (
        "strace",
        "-f",
        "-y",
        "-s",
        "60",
        "-e",
        f"trace={calls}",
        "-o",
        str(trace),
        sys.executable,
        "-m",
        "batchgen",
    )
    with sandbox(desk.folder, *TASKS) as server:
        desk.against(server)
        assert run(desk).code == 0
    steps = [step for line in trace.read_text(errors="replace").splitlines() if (step := kind_of(line))]
    order = "".join(steps)
    # W: ledger written, S: ledger synced, C: create sent, Q: query sent, P: clip synced, R: clip renamed, F: folder synced,
    # J: clips.jsonl synced
    assert re.search(r"WS+C", order), order  # 1: the intent before the first byte
    assert re.search(r"C(?!W*Q)W+S+Q", order), order  # 2: the task id before anything else
    assert re.search(r"PRFJF?W+S", order), order  # 4: the clip and its line, before the word of them


def kind_of(line: str) -> str:
    if "resumed>" in line:
        return ""
    for mark, pattern in (
        ("W", r"pwrite64\(\d+<[^>]*ledger\.db(-wal)?>"),
        ("S", r"f(data)?sync\(\d+<[^>]*ledger\.db(-wal)?>"),
        ("C", r"(sendto|sendmsg|write|writev)\(.*POST /"),
        ("Q", r"(sendto|sendmsg|write|writev)\(.*GET /kling"),
        ("P", r"f(data)?sync\(\d+<[^>]*\.part>"),
        ("R", r"rename(at2?)?\(.*\.part"),
        ("F", r"fsync\(\d+<[^>]*/clips/m>"),
        ("J", r"f(data)?sync\(\d+<[^>]*clips\.jsonl>"),
    ):
        if re.search(pattern, line):
            return mark
    return ""
