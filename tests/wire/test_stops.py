"""Why a run stopped is said with its cause, with what the API's support asks for, and with what a person does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchgen.errors import ADVICE
from batchgen.sandbox.journal import Entry
from tests.support import wire
from tests.support.program import Desk, Result, Server, sandbox

PACE = ("--timeout", "1", "--settle", "1", "--poll-interval", "0.05")
TASKS = ("--task-seconds", "0.05-0.1")
GATEWAYS = {"gateway_402": "insufficient_quota", "html_403": "HTTP 403"}  # their own words in place of a code
PAYS = "to create them"  # what "run again" is said for


def write_jobs(desk: Desk, count: int, **more: Any) -> None:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(count)]
    manifest = {"version": 1, "name": "m", "defaults": {"model_name": "kling-v3"}, "jobs": jobs}
    desk.write("m.yaml", json.dumps({**manifest, **more}))


def run(desk: Desk, *options: str) -> Result:
    return desk.run("run", *PACE, "--concurrency", "1", *options, "m.yaml")


def refused(server: Server) -> Entry:
    (entry,) = (one for one in server.entries() if one.kind == "create" and one.fault)
    return entry


@pytest.mark.parametrize(
    ("fault", "kind", "does"),
    [
        ("auth_failed", "key", "POWERTOKENS_API_KEY"),
        ("key_not_yet", "clock", "clock"),
        ("account", "account", "vendor"),
        ("balance", "balance", "Top up"),
        ("pack_empty", "balance", "Top up"),
        ("wrapped_1101", "balance", "Top up"),
        ("gateway_402", "balance", "Top up"),
        ("no_permission", "permission", "allow this key"),
        ("bad_ip", "address", "allow list"),
        ("html_403", "blocked", "proxy or firewall"),
    ],
)
def test_a_stopped_account_is_told_with_code_request_id_and_the_advice_of_its_cause(
    desk: Desk, fault: str, kind: str, does: str
) -> None:
    write_jobs(desk, 3)
    with sandbox(desk.folder, *TASKS, "--fault", f"{fault}@2") as server:
        ended = run(desk.against(server), "--json")
        (stop,) = ended.json["stops"]
        entry = refused(server)
    assert ended.code == 3
    assert stop["kind"] == kind
    assert stop["code"] == (str(entry.code) if entry.code else GATEWAYS[fault])
    assert entry.code is None or stop["request_id"] == f"sandbox-{entry.seq}"
    assert does in stop["advice"]
    assert ended.json["stopped"] == stop["message"]
    (line,) = (line for line in ended.err.splitlines() if line.startswith("stopped: "))
    assert stop["message"] in line
    assert does in line
    if entry.code:
        assert f"[code {entry.code}, request id sandbox-{entry.seq}]" in line
    assert PAYS not in ended.err


@pytest.mark.parametrize(
    ("options", "more", "kind", "says", "does"),
    [
        (("--max-jobs", "1"), {}, "jobs_cap", "cap of 1 job was", "--max-jobs"),
        (("--max-cost", "0.5"), {}, "cost_cap", "cost cap of $0.50", "--max-cost"),
        ((), {"max_cost_usd": 0.5}, "manifest_cost_cap", "m: its cost cap of $0.50", "max_cost_usd"),
        (("--deadline", "0.001s"), {}, "deadline", "deadline", "--deadline"),
        ((), {"output_dir": "m.yaml"}, "output", "can't be written", "--output-dir"),
    ],
)
def test_a_limit_is_told_with_what_it_was_and_what_would_do(
    desk: Desk, options: tuple[str, ...], more: dict[str, Any], kind: str, says: str, does: str
) -> None:
    write_jobs(desk, 3, **more)
    with sandbox(desk.folder, *TASKS) as server:
        ended = run(desk.against(server), "--json", *options)
    assert ended.code == 4
    (stop,) = ended.json["stops"]
    assert stop["kind"] == kind
    assert says in stop["message"]
    assert (stop["code"], stop["request_id"]) == (None, None)
    assert does in stop["advice"]
    assert PAYS not in ended.err
    mended = "The next run goes on with them." not in ended.err
    assert ("once what stopped this one is gone" in ended.err) == mended == (kind == "output")


def test_a_limit_that_kept_nothing_back_stopped_nothing(desk: Desk) -> None:
    write_jobs(desk, 1)
    with sandbox(desk.folder, *TASKS) as server:
        ended = run(
            desk.against(server), "--json", "--max-jobs", "1", "--max-cost", "0.43", "--deadline", "2h"
        )
    assert ended.code == 0
    assert (ended.json["stops"], ended.json["stopped"]) == ([], None)


def test_a_command_that_the_account_keeps_from_its_work_says_why_as_well(desk: Desk) -> None:
    write_jobs(desk, 1)
    with sandbox(desk.folder, *TASKS, "--fault", "query_key_expired=1") as server:
        ended = desk.against(server).run("recover", "--json", "m.yaml")
        shown = desk.run("recover", "m.yaml")
    assert ended.code == shown.code == 3
    (stop,) = ended.json["stops"]
    assert (stop["kind"], stop["code"]) == ("key", "1004")
    assert stop["request_id"] in ended.err
    assert ADVICE["key"] in shown.err


@pytest.mark.parametrize("word", ["model_not_found", "get_channel_failed"])
def test_a_gateway_without_a_channel_is_waited_for_and_no_job_is_refused_for_it(
    desk: Desk, word: str
) -> None:
    body = {"error": {"message": "No available channel for kling-v3", "code": word, "type": "new_api_error"}}
    down, tasks = 2, list[str]()

    async def play(reader: Any, writer: Any) -> None:
        nonlocal down
        while True:
            heard = await wire.request(reader)
            name = heard.path.rpartition("/")[2]
            if heard.method == "GET":
                here = name in tasks
                writer.write(wire.made(name) if here else wire.answer({"code": 1203, "message": "no"}, 404))
            elif down:
                down -= 1
                writer.write(wire.answer(body, 503))
            else:
                tasks.append(f"t{len(tasks)}")
                writer.write(wire.made(tasks[-1]))

    write_jobs(desk, 2)
    with wire.served(play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": "k"}
        assert run(desk, "--submit-only").code == 0
    assert tasks == ["t0", "t1"]
    assert {row["state"] for row in desk.export()} == {"submitted"}
