"""One night of which everything is told at once: a failed job, a refused one, an unknown, a stuck task, and a cap.

What ping, notification, hook, metrics, log, status, why, runs and the page say of it agrees, and says what to do.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.program import Desk, Result, sandbox
from tests.support.receivers import monitor

JOBS = ("good", "rude", "weak", "lost", "stuck", "left")
FAULTS = ("refuse_policy@2", "reset_after@3", "task_fails_unsaid@2", "task_never_ends@4")


class Night:
    """What was told, by who was told."""

    def __init__(self, folder: Path) -> None:
        faults = [part for fault in FAULTS for part in ("--fault", fault)]
        with (
            sandbox(folder, "--task-seconds", "0.05-0.1", "--no-lookups", *faults) as server,
            monitor() as receiver,
        ):
            desk = self.desk = Desk(folder).against(server)
            defaults = {"model_name": "kling-v3", "prompt": "A secret plan"}
            jobs = [{"id": name, "image": f"https://example.com/{name}.png"} for name in JOBS]
            desk.write("bags.yaml", json.dumps({"version": 1, "defaults": defaults, "jobs": jobs}))
            desk.env["BATCHGEN_NOTIFY_URLS"] = receiver.at("ok").replace("http:", "json:")
            self.run = desk.finish(
                desk.start(
                    *("run", "bags.yaml", "--concurrency", "1", "--max-jobs", "4", "--until", "6s"),
                    *(
                        "--poll-interval",
                        "0.05",
                        "--settle",
                        "1",
                        "--timeout",
                        "2",
                        "--log-file",
                        "night.log",
                    ),
                    *("--ping-url", receiver.at("ok"), "--metrics-file", "night.prom"),
                    *("--on-finish", "sh -c 'cat > hook.json; env > hook.env'"),
                )
            )
            self.heard = list(receiver.heard)
        self.why = {name: desk.run("why", f"bags/{name}").out for name in JOBS[:-1]}
        self.status = desk.run("status").out
        self.runs = desk.run("runs").out
        self.made: Result = desk.run("report", "-o", "page.html")
        self.hook = json.loads((folder / "hook.json").read_text())
        self.log = (folder / "night.log").read_text()
        self.ids = {row["job_id"]: row["external_task_id"] for row in desk.export()}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return Night(tmp_path_factory.mktemp("night"))


def test_the_summary_names_each_job_that_needs_somebody_with_what_to_do(night: Night) -> None:
    assert night.run.code == 4, night.run.err
    text = night.run.err
    assert text.startswith(
        "batchgen: 1 of 6 jobs done; 3 created for about $1.26, 1 may have been created (up to $0.42)"
    )
    for name, advice in (
        ("rude", "Nothing was paid. Change the job"),
        ("weak", "pays for another task"),
        ("lost", "May be paid: don't create it by other means."),
    ):
        lines = text.splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith(f"  bags/{name}: "))
        told = [line for line in lines[:at] if not line.startswith(" ")]
        assert (
            advice in told[-1] or name == "weak"
        )  # where a limit ended the run, it says what the next one does
        assert night.ids[name] in lines[at]
    assert "the cap of 4 jobs was reached" in text
    assert "1 task still runs" in text


def test_ping_notification_and_hook_have_that_summary(night: Night) -> None:
    start, *ends = night.heard
    assert start.path.endswith("/start")
    (ping,) = [one for one in ends if one.path.endswith("/4")]
    (told,) = [one for one in ends if one is not ping]
    summary = [line.strip() for line in night.run.err.splitlines() if line.strip()]
    body = [line.strip() for line in ping.body.splitlines()]
    assert [line for line in summary if line not in body] == []
    message = told.json["title"] + "\n" + told.json["message"]
    assert [line for line in summary[1:] if line not in message] == []
    assert summary[0].removeprefix("batchgen: ") in told.json["title"]
    hook = night.hook
    assert (hook["exit_code"], hook["created"], hook["unknown_cost_usd_estimate"]) == (4, 4, 0.42)
    assert {ending["job_id"]: ending["bucket"] for ending in hook["endings"]} == {
        "rude": "rejected",
        "weak": "retry",
        "lost": "unknown",
    }
    assert [stop["kind"] for stop in hook["stops"]] == ["until", "jobs_cap"]
    variables = dict(
        line.partition("=")[::2] for line in (night.desk.folder / "hook.env").read_text().splitlines()
    )
    assert variables["BATCHGEN_STATES"] == "decision,fail"
    assert variables["BATCHGEN_RUN_ID"] == hook["run_id"] == ping.run_id
    assert "secret plan" not in ping.body + told.body + json.dumps(hook)


def test_metrics_have_its_numbers(night: Night) -> None:
    metrics = dict(
        line.rsplit(" ", 1)
        for line in (night.desk.folder / "night.prom").read_text().splitlines()
        if not line.startswith("#")
    )
    assert float(metrics['batchgen_last_run_exit_code{command="run"}']) == 4
    for bucket, count in night.hook["buckets"].items():
        assert float(metrics[f'batchgen_last_run_jobs{{bucket="{bucket}",command="run"}}']) == count
    assert (
        float(metrics['batchgen_last_run_cost_usd_estimate{command="run"}'])
        == night.hook["cost_usd_estimate"]
    )


def test_log_and_runs_have_its_numbers_and_its_reasons(night: Night) -> None:
    (line,) = night.runs.splitlines()
    (end,) = [line for line in night.log.splitlines() if " ended: " in line]
    for text in (line, end):
        assert "1 of 6 jobs done; 3 created for about $1.26, 1 may have been created (up to $0.42)" in text
        assert "its end has come (--until); the cap of 4 jobs was reached" in text
    assert re.search(r"bags/lost unclear: no answer", night.log)
    assert "bags/lost not created" not in night.log


def test_status_and_why_and_the_page_say_the_same_of_each_job(night: Night) -> None:
    words = {
        "good": "done",
        "rude": "refused",
        "weak": "failed, to be tried again",
        "lost": "unknown",
        "stuck": "running",
    }
    for name, word in words.items():
        assert night.why[name].startswith(f"bags/{name}: {word}\n")
        if name != "good":
            at = night.status.index(f"  bags/{name}, for ")
            heading = [line for line in night.status[:at].splitlines() if not line.startswith(" ")][-1]
            assert heading.startswith(f"{word}: ")
            advice = heading.removeprefix(f"{word}: ").replace("resolve JOB", f"resolve {night.ids[name]}")
            assert advice in night.why[name]
    assert "--not-created" in night.why["lost"]
    assert "bags/good" not in night.status
    assert night.made.code == 0, night.made.err
