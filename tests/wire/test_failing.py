"""Nights in which tasks fail, over the wire: the journal says how many creates went out, and when."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from batchgen.run.plan import MAX_ANY, MAX_TASKS
from batchgen.sandbox.journal import Entry
from tests.support.program import KEY, Desk, Server, sandbox, until
from tests.support.wire import answer, made, request, served

TASKS = ("--task-seconds", "0.05-0.2")
PACE = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "1")
SOON = ("--retry-wait", "0.1")


def write_jobs(desk: Desk, count: int) -> None:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(count)]
    desk.write("m.yaml", json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs}))


def creates(server: Server) -> list[Entry]:
    return [entry for entry in server.entries() if entry.kind == "create"]


def states(desk: Desk) -> list[str]:
    return [row["state"] for row in desk.export()]


@pytest.mark.parametrize("words", ["task_fails_unsaid", "task_fails_balance", "task_fails_outage"])
def test_a_night_of_failures_makes_few_tasks_and_the_next_one_makes_all_clips(desk: Desk, words: str) -> None:
    write_jobs(desk, 10)
    with sandbox(desk.folder, *TASKS, "--fault", f"{words}=1") as server:
        desk.against(server)
        night = desk.run("run", *PACE, "m.yaml")  # with the waits that are built in
        assert night.code == 4
        assert len(creates(server)) <= 10
        assert "tasks in a row failed, the last with: " in night.err
        message = desk.export()[0]["error_message"]
        assert message in night.err
        spent = len(creates(server))
        assert desk.run("run", *PACE, "m.yaml").code == 4
        assert len(creates(server)) - spent == {"task_fails_balance": 1}.get(words, 2)
        server.ask("faults", {"clear": True})
        healthy = desk.run("run", *PACE, "m.yaml")
        assert (healthy.code, healthy.err) == (0, "")
        assert states(desk).count("downloaded") == 10
        assert server.summary()["twice"] == []


def test_pictures_that_are_all_refused_stop_the_night_as_well_and_are_tried_once_more(desk: Desk) -> None:
    write_jobs(desk, 14)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails=1") as server:
        desk.against(server)
        night = desk.run("run", *PACE, "m.yaml")
        assert (night.code, len(creates(server)) <= 14) == (4, True)
        assert (
            "tasks in a row failed, the last with: the task failed: the platform's risk control" in night.err
        )
        server.ask("faults", {"clear": True})
        assert desk.run("run", *PACE, "m.yaml").code == 0
        assert states(desk).count("downloaded") == 14


def test_three_jobs_that_all_fail_cost_five_tasks_and_not_nine(desk: Desk) -> None:
    write_jobs(desk, 3)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails_unsaid=1") as server:
        desk.against(server)
        assert desk.run("run", *SOON, *PACE, "m.yaml").code == 4
        assert len(creates(server)) == 5


def test_one_job_that_fails_alone_stops_nothing(desk: Desk) -> None:
    write_jobs(desk, 2)
    with sandbox(desk.folder, *TASKS) as server:
        desk.against(server)
        assert desk.run("run", "--max-jobs", "1", *PACE, "m.yaml").code == 4
        server.ask("faults", {"add": ["task_fails_unsaid@1"]})
        for _ in range(2):  # the same job, again and again
            assert desk.run("run", "--max-jobs", "1", *SOON, *PACE, "m.yaml").code == 4
            server.ask("faults", {"clear": True, "add": ["task_fails_unsaid@1"]})
        write_jobs(desk, 12)
        result = desk.run("run", *SOON, *PACE, "m.yaml")
        assert "in a row" not in result.err
        assert states(desk).count("downloaded") == 12


def test_what_the_api_blames_on_the_picture_is_paid_twice_and_not_three_times(desk: Desk) -> None:
    write_jobs(desk, 1)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails=1") as server:
        desk.against(server)
        result = desk.run("run", "--json", *SOON, *PACE, "m.yaml")
        assert (result.code, len(creates(server))) == (1, 2)
        assert "risk control" in result.json["endings"][0]["text"]
        assert (result.json["created"], sum(result.json["tasks"].values())) == (2, 2)
        assert desk.run("run", *SOON, *PACE, "m.yaml").code == 1
        assert len(creates(server)) == 2
        assert {row["error_code"] for row in desk.export()} == {"failed_content"}


def test_what_failed_for_no_fault_of_the_job_is_tried_once_a_night_after_the_first(desk: Desk) -> None:
    write_jobs(desk, 1)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails_outage=1") as server:
        desk.against(server)
        made = []
        for _ in range(4):
            night = desk.run("run", *SOON, *PACE, "m.yaml")
            assert night.code == 4
            assert "tries it again" in night.err
            made.append(len(creates(server)))
        assert made == [3, 4, 5, 6]
        assert {row["error_code"] for row in desk.export()} == {"failed_service"}
        server.ask("faults", {"clear": True})
        assert desk.run("run", *PACE, "m.yaml").code == 0
        assert states(desk) == ["failed"] * 6 + ["downloaded"]


def test_words_that_blame_the_service_every_night_are_not_paid_for_ever(desk: Desk) -> None:
    write_jobs(desk, 1)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails_outage=1") as server:
        desk.against(server)
        for _ in range(MAX_ANY - MAX_TASKS):
            assert desk.run("run", *SOON, *PACE, "m.yaml").code == 4
        night = desk.run("run", *SOON, *PACE, "m.yaml")
        assert (night.code, len(creates(server))) == (1, MAX_ANY)
        plan = desk.run("plan", "m.yaml").out
        assert f"its task failed {MAX_ANY} times" in plan
        server.ask("faults", {"clear": True})
        assert desk.run("run", "--retry-failed", *PACE, "m.yaml").code == 0
        assert states(desk) == ["failed"] * MAX_ANY + ["downloaded"]


@pytest.mark.parametrize(
    ("jobs", "paths", "first"), [(4, ["m.yaml"], "m.j3"), (3, ["m.yaml", "z.yaml"], "z.j0")]
)
def test_jobs_that_fail_every_night_hold_up_no_others(
    desk: Desk, jobs: int, paths: list[str], first: str
) -> None:
    write_jobs(desk, 3)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails_outage=1") as server:
        desk.against(server)
        assert desk.run("run", *SOON, *PACE, "m.yaml").code == 4  # and leaves word that tasks fail
        before = len(creates(server))
        server.ask(
            "faults", {"clear": True, "add": [f"task_fails_outage@{','.join(map(str, range(7, 99)))}"]}
        )
        write_jobs(desk, jobs)
        other = (desk.folder / "m.yaml").read_text().replace("example.com", "example.org")
        desk.write("z.yaml", other)
        desk.run("run", *SOON, *PACE, *paths)
        assert (creates(server)[before].external_task_id or "").startswith(first)


def test_a_retry_waits_longer_each_time_and_holds_no_slot_meanwhile(desk: Desk) -> None:
    write_jobs(desk, 2)
    with sandbox(desk.folder, "--task-seconds", "0.1-0.1", "--fault", "task_fails_unsaid@1,3") as server:
        desk.against(server)
        options = ("--max-running", "1", "--concurrency", "1", "--retry-wait", "1.5s")
        assert desk.run("run", *options, *PACE, "m.yaml").code == 0
        first, other, again, last = creates(server)
        assert (again.external_task_id, last.external_task_id) == (
            f"{first.external_task_id}~2",
            f"{first.external_task_id}~3",
        )
        assert other.at < again.at, "it had the slot meanwhile"
        assert again.at - first.at >= 1.5
        assert last.at - again.at >= 3.0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--deadline", "90s"), ""),
        (("--max-jobs", "3"), "the cap of 3 jobs was reached"),
        (("--submit-only", "--max-running", "1"), ""),
    ],
    ids=["deadline", "cap", "submit only"],
)
def test_a_retry_that_this_run_will_not_create_is_left_to_the_next_at_once(
    desk: Desk, options: tuple[str, ...], why: str
) -> None:
    write_jobs(desk, 3)
    with sandbox(desk.folder, "--task-seconds", "0.5-0.6", "--fault", "task_fails_unsaid@1") as server:
        desk.against(server)
        if options == ("--submit-only",):
            assert desk.run("run", "--submit-only", *PACE, "m.yaml").code == 0
            until(lambda: server.ask("stats")["running"] == 0)
        night = desk.run("run", *options, "--json", *PACE, "m.yaml")
        assert night.code == 4
        assert len(creates(server)) == 3
        assert (night.json["buckets"]["retry"], night.json["buckets"]["pending"]) == (1, 0)
        assert why in (night.json["stopped"] or "")
        (left,) = (ending for ending in night.json["endings"] if ending["bucket"] == "retry")
        assert (
            "failed: task failed [request id" in left["text"]
            and "the next run tries it again" in left["text"]
        )
        assert left["external_task_id"] in server.accepted().values()
        assert desk.run("run", *PACE, "m.yaml").code == 0
        assert len(creates(server)) == 4


def test_a_signal_ends_the_wait_for_a_retry(desk: Desk) -> None:
    write_jobs(desk, 1)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails_unsaid@1") as server:
        desk.against(server)
        process = desk.start("run", *PACE, "m.yaml")
        until(lambda: states(desk) == ["failed"])
        process.send_signal(signal.SIGTERM)
        ended = desk.finish(process)
        assert ended.code == 143
        assert "the next run tries it again" in ended.err
        assert desk.run("run", *PACE, "m.yaml").code == 0
        assert len(creates(server)) == 2


def test_the_numbers_of_a_capped_night_with_failures_add_up(desk: Desk) -> None:
    write_jobs(desk, 20)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails_unsaid@2,5,8,11") as server:
        desk.against(server)
        capped = desk.run("run", "--json", "--max-jobs", "12", *SOON, *PACE, "m.yaml")
        said = capped.json
        assert (capped.code, said["created"], len(creates(server))) == (4, 12, 12)
        assert said["tasks"] == {"downloaded": 8, "succeeded": 0, "submitted": 0, "failed": 4, "unknown": 0}
        assert said["failed_tasks"] == 4
        assert said["buckets"]["downloaded"] == 8
        assert said["cost_usd_estimate"] == pytest.approx(12 * 0.42), "a failed task may be charged"
        rows = desk.export()
        assert sum(row["cost_usd_estimate"] for row in rows) == pytest.approx(12 * 0.42)


def test_the_summary_says_how_many_tasks_failed_and_what_became_of_the_rest(desk: Desk) -> None:
    write_jobs(desk, 6)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails_unsaid@2,4") as server:
        desk.against(server)
        said = desk.run(
            "run", "--max-jobs", "5", "--concurrency", "1", "--retry-wait", "1m", *PACE, "m.yaml"
        ).err
        assert "3 of 6 jobs done; 5 created for about $2.10: " in said
        assert "3 done" in said and "2 failed" in said
        assert "2 tasks failed, which may be charged" in said


def test_a_refused_create_costs_nothing_in_the_export_and_an_unknown_one_its_estimate(desk: Desk) -> None:
    write_jobs(desk, 3)
    faults = ("--fault", "refuse_policy@1", "--fault", "reset_after@1", "--no-lookups", "--no-unique")
    with sandbox(desk.folder, *TASKS, *faults) as server:
        desk.against(server)
        assert desk.run("run", "--concurrency", "1", *PACE, "m.yaml").code == 5
        rows = {row["job_id"]: row for row in desk.export()}
        assert [(rows[job]["state"], rows[job]["cost_usd_estimate"]) for job in ("j0", "j1", "j2")] == [
            ("rejected", 0.0),
            ("unknown", 0.42),
            ("downloaded", 0.42),
        ]
        assert desk.run("resolve", rows["j1"]["external_task_id"], "--abandon").code == 0
        assert [row["cost_usd_estimate"] for row in desk.export()] == [0.0, 0.42, 0.42], (
            "it may have been paid"
        )


def test_a_create_is_not_believed_lost_where_the_api_finds_nothing_of_its_time_any_more(desk: Desk) -> None:
    """With another account's key it knows none of this one's tasks; after a month it has forgotten them all."""
    pace = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "0.02")
    write_jobs(desk, 2)
    with sandbox(desk.folder, *TASKS, "--fault", "internal_before@1") as server:
        desk.against(server)
        assert desk.run("run", *pace, "m.yaml").code == 0
        before = len(creates(server))
        assert before == 3, "where its neighbour is found, what isn't there was not made"
        server.ask("faults", {"clear": True, "add": ["internal_after=1", "query_not_found=1"]})
        write_jobs(desk, 3)
        night = desk.run("run", *pace, "m.yaml")
        assert (night.code, len(creates(server)) - before) == (5, 1)
        assert "with this key it finds none that was made at that time either" in night.err
        server.ask("faults", {"clear": True})
        assert desk.run("run", *pace, "m.yaml").code == 0
        assert (states(desk), len(creates(server)) - before) == (["downloaded"] * 3, 1)
        assert server.summary()["twice"] == []


def test_a_task_that_somebody_cancelled_is_not_paid_again_unless_that_is_asked_for(desk: Desk) -> None:
    write_jobs(desk, 2)
    with sandbox(desk.folder, *TASKS, "--fault", "task_cancelled@1") as server:
        desk.against(server)
        night = desk.run("run", *SOON, *PACE, "m.yaml")
        assert night.code == 1, night.err
        assert "task cancelled by user" in night.err and "(its task was cancelled)" in night.err
        assert "--retry-failed, which pays for another task" in night.err
        assert desk.run("run", *SOON, *PACE, "m.yaml").code == 1
        assert len(creates(server)) == 2
        assert sorted(str(row["error_code"]) for row in desk.export()) == ["None", "failed_cancelled"]
        assert "its task was cancelled" in desk.run("plan", "m.yaml").out
        again = desk.run("run", "--retry-failed", *SOON, *PACE, "m.yaml")
        assert again.code == 0, again.err
        assert len(creates(server)) == 3
        assert server.summary()["twice"] == []


@pytest.mark.parametrize("status", ["cancelled", "Canceled", "user_canceled", "ABORTED"])
def test_a_gateways_word_for_it_is_enough(desk: Desk, status: str) -> None:
    write_jobs(desk, 1)
    posts = list[str]()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await request(reader)
        if heard.method == "POST":
            posts.append(heard.path)
            writer.write(made("t1"))
        elif heard.path.endswith("/t1"):
            writer.write(answer({"task_id": "t1", "status": status, "metadata": {}}))
        else:
            writer.write(answer({"error": {"message": "task not found"}}, 404))
        await writer.drain()

    with served(play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
        for _ in range(2):
            night = desk.run("run", *SOON, *PACE, "m.yaml")
            assert night.code == 1, night.err
            assert "its task was cancelled" in night.err
    assert len(posts) == 1


def test_a_job_whose_failed_task_waits_for_another_is_not_called_not_created(desk: Desk) -> None:
    write_jobs(desk, 2)
    with sandbox(desk.folder, *TASKS, "--fault", "task_fails_unsaid@1") as server:
        desk.against(server)
        night = desk.run("run", "--max-jobs", "2", *SOON, *PACE, "m.yaml")
        assert night.code == 4
        assert "1  failed, to be tried again" in night.err
        assert "not created" not in night.err
        late = desk.run("run", "--deadline", "1s", "--retry-wait", "5", "--json", *PACE, "m.yaml").json
        assert sum(late["buckets"].values()) == late["jobs"] == 2
        assert desk.run("run", *SOON, *PACE, "m.yaml").code == 0
