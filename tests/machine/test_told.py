"""What all who are told of a night hear: the same, also of one that couldn't begin; and it changes nothing of the night."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchgen.cli import report, voice
from batchgen.night import observer, systemd
from tests.support.program import KEY, PROGRAM, Desk, sandbox, until
from tests.support.receivers import Monitor, ServiceManager, dead_end, monitor
from tests.support.terminal import on_a_terminal
from tests.support.wire import answer, request, served

QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "1", "--retry-wait", "0.1")
PROMPT = "A grey cat on a windowsill turns its head, slow push-in, rain outside"
SECRET = "ping-9c2b7a4f-secret"  # of every receiver's address


@pytest.fixture(scope="module")
def server() -> Iterator[Monitor]:
    with monitor() as found:
        yield found


@pytest.fixture
def heard(server: Monitor) -> Monitor:
    server.heard.clear()
    return server


def jobs(desk: Desk, count: int, **more: object) -> None:
    entries = [
        {"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{PROMPT} {n}", **more}
        for n in range(count)
    ]
    manifest = {"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": entries}
    desk.write("m.yaml", json.dumps(manifest))


def hook(desk: Desk) -> str:
    """A command that keeps what it was given."""
    source = (
        "import json, os, sys\njson.dump([json.load(sys.stdin), dict(os.environ)], open('hook.json', 'w'))\n"
    )
    return f"{sys.executable} {desk.write('hook.py', source)}"


def hooked(desk: Desk) -> tuple[dict[str, Any], dict[str, str]]:
    document, environ = json.loads((desk.folder / "hook.json").read_text())
    return document, environ


def metrics(path: Path) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(path.read_text())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def listens(desk: Desk, heard: Monitor, *, apprise: bool = True) -> None:
    """Let everybody be told of this desk's nights, by its configuration file."""
    urls = [heard.at("ok").replace("http://", "json://")] if apprise else []
    config = {
        "ping_url": heard.at("ok"),
        "on_finish": hook(desk),
        "notify_url": urls,
        "notify_on": "always",
        "metrics_file": str(desk.folder / "night.prom"),
    }
    file = desk.write("home/.config/batchgen/config.yaml", json.dumps(config))
    file.chmod(0o600)


# -- the night of one failed, one refused, one unknown, one stuck task and a cap -----------------------------------------


def test_all_who_are_told_of_a_bad_night_agree_and_say_what_to_do(desk: Desk, heard: Monitor) -> None:
    """The API echoes prompts, addresses and the key in all that it says."""
    jobs(desk, 5, callback_url=f"https://{SECRET}.example/cb/{SECRET}")
    listens(desk, heard)
    asked_for: list[str] = []
    echo = f"not with {{0}}, https://{SECRET}.example/cb/{SECRET} or {KEY}"

    async def api(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked = await request(reader)
            sent = json.loads(asked.body) if asked.body else {}
            name = sent.get("external_task_id") or asked.path.rpartition("/")[2]
            said = echo.format(sent.get("prompt", f"{PROMPT} {name[3:4]}"))
            task = {"task_id": f"t-{name}", "task_status": "submitted"}
            asked_for.append(name[:6])
            if asked.method == "POST" and ".j0." in name:
                writer.write(answer({"code": 1301, "message": said, "request_id": "r"}, 400))
            elif asked.method == "POST" and ".j1." in name:
                writer.write(answer({"code": 5000, "message": said}, 500))
            elif asked.method == "POST":
                writer.write(answer({"code": 0, "data": task}))
            elif not name.startswith("t-"):
                writer.write(answer({"code": 1203, "message": "no such task"}, 404))
            elif ".j2." in name:
                ended = {"task_status": "failed", "task_status_msg": said}
                writer.write(answer({"code": 0, "data": {**task, "task_id": name, **ended}}))
            else:
                writer.write(answer({"code": 0, "data": {**task, "task_id": name}}))
            await writer.drain()

    desk.env |= {"POWERTOKENS_API_KEY": KEY}
    with served(api) as url:
        desk.env["POWERTOKENS_API_BASE"] = url
        options = ("--max-jobs", "3", "--log-file", "night.log", "--json")
        process = desk.start("run", *QUICK, "--retry-wait", "60", *options, "m.yaml")
        until(lambda: asked_for.count("t-m.j2") == 1 and asked_for.count("t-m.j3") >= 3)
        process.send_signal(signal.SIGTERM)
        ended = desk.finish(process)
    found, environ = hooked(desk)
    assert ended.code == found["exit_code"] == 143, ended.err
    assert heard.signals[0] == "start" and "143" in heard.signals
    counts = {bucket: count for bucket, count in found["buckets"].items() if count}
    assert counts == {"rejected": 1, "unknown": 1, "retry": 1, "submitted": 1, "pending": 1}
    assert {**found, "endings": 0, "stops": 0} == {**ended.json, "endings": 0, "stops": 0}
    assert [one["job_id"] for one in found["endings"]] == [one["job_id"] for one in ended.json["endings"]]
    assert environ["BATCHGEN_EXIT_CODE"] == "143"
    assert environ["BATCHGEN_STATES"] == "decision,fail"
    assert set(environ["BATCHGEN_STOPPED"].split(",")) == {"jobs_cap", "signal"}
    shown = ended.err[ended.err.index("batchgen: ") :].replace("\n  run", "\n  run")
    (ping,) = [one for one in heard.heard if one.path.endswith("/143")]
    (note,) = [one for one in heard.heard if one.path == SECRET]
    for line in ("refused: Nothing was paid.", "unknown: May be paid", "  m/j0: ", "stopped: "):
        assert line in shown and line in ping.body
        assert line in note.json["message"]
    assert note.json["title"].endswith(environ["BATCHGEN_HEADLINE"])
    assert f"batchgen: {environ['BATCHGEN_HEADLINE']}" in shown
    measured = metrics(desk.folder / "night.prom")
    assert measured["batchgen_last_run_exit_code", "run"] == 143
    assert {name: measured["batchgen_last_run_jobs", name, "run"] for name in counts} == counts
    assert {name: measured["batchgen_manifest_jobs", name, "m"] for name in counts} == counts
    assert measured["batchgen_manifest_created_tasks", "m"] == found["created"]
    assert {one.run_id for one in heard.heard if one.run_id} == {found["run_id"]}
    log = (desk.folder / "night.log").read_text()
    told = "".join([json.dumps(found), json.dumps(environ), *(one.body for one in heard.heard)])
    assert KEY not in told + log + ended.err
    assert "9c2b7a4f" not in told
    assert "windowsill" not in told
    assert "windowsill" in log  # which is for its owner alone
    assert "[prompt]" in ping.body and "[key]" in ping.body


def test_the_prompts_of_jobs_that_need_somebody_are_told_where_that_is_asked_for(
    desk: Desk, heard: Monitor
) -> None:
    jobs(desk, 2)
    listens(desk, heard, apprise=False)
    with sandbox(desk.folder, "--task-seconds", "0.1", "--fault", "refuse_policy=1.0") as api:
        ended = desk.against(api).run("run", *QUICK, "--tell-prompts", "m.yaml")
    assert ended.code == 1
    found, _ = hooked(desk)
    assert [one["prompt"] for one in found["endings"]] == [f"{PROMPT} {n}" for n in range(2)]
    (ping,) = [one for one in heard.heard if one.path.endswith("/1")]
    assert f"m/j1 was asked for: {PROMPT} 1" in ping.body


def test_a_good_night_is_told_of_too_and_its_command_has_no_key_and_no_receiver(
    desk: Desk, heard: Monitor
) -> None:
    jobs(desk, 1)
    listens(desk, heard, apprise=False)
    desk.env["BATCHGEN_PING_URL"] = heard.at("ok")
    desk.env |= {"POWERTOKENS_OTHER": "x", "BATCHGEN_CALLBACK_SECRET": "whsec_QUJDREVGR0hJSktMTU5PUFFS"}
    with sandbox(desk.folder, "--task-seconds", "0.1") as api:
        desk.against(api).env |= {"POWERTOKENS_API_KEY_COMMAND": "printenv VAULT", "VAULT": KEY}
        del desk.env["POWERTOKENS_API_KEY"]
        ended = desk.run("run", *QUICK, "m.yaml")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    _, environ = hooked(desk)
    assert not any(name.startswith(("POWERTOKENS_", "BATCHGEN_PING", "BATCHGEN_NOTIFY")) for name in environ)
    assert KEY not in json.dumps(environ) and "whsec_" not in json.dumps(environ)
    assert environ["BATCHGEN_DONE"] == environ["BATCHGEN_JOBS"] == "1"
    assert os.path.samefile(environ["BATCHGEN_LEDGER"], desk.folder / "home/.local/state/batchgen/ledger.db")


# -- nights that couldn't begin -----------------------------------------------------------------------------------------


def told_code(desk: Desk, heard: Monitor, *arguments: str) -> int:
    """The exit code of a run, which all who are told of it have heard as well."""
    heard.heard.clear()
    ended = desk.run("run", *QUICK, *arguments)
    signals = [one.path.rpartition("/")[2] for one in heard.heard if one.run_id]
    assert signals[-1] == str(ended.code), (signals, ended.err)
    found, environ = hooked(desk)
    assert found["exit_code"] == int(environ["BATCHGEN_EXIT_CODE"]) == ended.code
    assert metrics(desk.folder / "night.prom")["batchgen_last_run_exit_code", "run"] == ended.code
    said = ended.err.strip().splitlines()
    assert any(environ["BATCHGEN_HEADLINE"] in line for line in said) or found.get("problems"), said
    return ended.code


def test_what_keeps_a_run_from_beginning_is_told_with_its_exit_code(desk: Desk, heard: Monitor) -> None:
    jobs(desk, 1)
    listens(desk, heard, apprise=False)
    assert told_code(desk, heard, "m.yaml") == 2
    assert "there is no API key" in hooked(desk)[0]["error"]
    with sandbox(desk.folder, "--task-seconds", "60") as api:
        desk.against(api)
        assert told_code(desk, heard, "nowhere.yaml") == 2
        secret = {"version": 1, "jobs": [{"image": "https://a.org/a.png", "duration": 99, "prompt": PROMPT}]}
        desk.write("bad.yaml", json.dumps(secret))
        assert told_code(desk, heard, "bad.yaml") == 2
        problem = hooked(desk)[0]["problems"][0]
        assert problem["line"] == 1 and problem["text"] == "`batchgen validate` says what is wrong"
        process = desk.start("run", *QUICK, "m.yaml")
        until(lambda: len(api.accepted()) == 1)
        assert told_code(desk, heard, "m.yaml") == 75
        heard.heard.clear()
        process.send_signal(signal.SIGTERM)
        assert desk.finish(process).code == 143
        assert "143" in heard.signals
        assert hooked(desk)[0]["stops"][0]["kind"] == "signal"


def test_a_configuration_that_is_refused_is_told_to_those_who_are_known_by_then(
    desk: Desk, heard: Monitor
) -> None:
    jobs(desk, 1)
    desk.write("home/.config/batchgen/config.yaml", "max_cost: much\n").chmod(0o600)
    ended = desk.run("run", "--ping-url", heard.at("ok"), "m.yaml")
    assert ended.code == 2
    assert heard.signals == ["2"]


def test_a_command_line_that_is_wrong_is_told_as_well_and_is_said_once(desk: Desk, heard: Monitor) -> None:
    jobs(desk, 1)
    url = heard.at("ok")
    for words in (("--ping-url", url, "--nonsense"), (f"--ping-url={url}", "--max-jobs", "0")):
        ended = desk.run("run", *words, "m.yaml")
        assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended.err
    assert heard.signals == ["2", "2"]
    assert "there is no option --nonsense" in heard.heard[0].body
    assert desk.run("run", "--ping-url", "9c2b7a4f", "m.yaml").code == 2
    assert desk.run("plan", "--nonsense").code == 2
    assert desk.run("run", "--sandbox", "--ping-url", url, "--nonsense", "m.yaml").code == 2
    assert len(heard.heard) == 2


def test_a_signal_before_the_work_is_told(desk: Desk, heard: Monitor) -> None:
    jobs(desk, 1)
    began = desk.folder / "began"
    desk.env["POWERTOKENS_API_KEY_COMMAND"] = f"sh -c 'touch {began}; exec sleep 30'"
    process = desk.start("run", "--ping-url", heard.at("ok"), "m.yaml")
    until(began.exists)
    process.send_signal(signal.SIGTERM)
    assert desk.finish(process).code == 143
    assert heard.signals == ["start", "143"]


def test_a_run_that_is_killed_tells_nobody_and_the_next_one_goes_on(desk: Desk, heard: Monitor) -> None:
    jobs(desk, 1)
    with sandbox(desk.folder, "--task-seconds", "0.1") as api:
        desk.against(api)
        process = desk.start("run", *QUICK, "--ping-url", heard.at("stalls"), "m.yaml")
        until(lambda: len(heard.heard) == 1 and len(api.accepted()) == 1)
        until(lambda: desk.run("runs", "--json").json["runs"][0]["exit_code"] == 0)
        process.kill()  # in the middle of pinging
        process.communicate()
        ended = desk.run("run", *QUICK, "--ping-url", heard.at("ok"), "m.yaml")
        assert (ended.code, len(api.accepted())) == (0, 1)
    runs = desk.run("runs", "--json").json["runs"]
    assert [(run["exit_code"], run["on"]) for run in runs] == [(0, False), (0, False)]


# -- what changes nothing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whim", ["stalls", "broken", "endless", None])
def test_a_receiver_that_fails_changes_no_exit_code_and_is_said_without_its_address(
    desk: Desk, heard: Monitor, monkeypatch: pytest.MonkeyPatch, whim: str | None
) -> None:
    monkeypatch.setattr(voice, "TOTAL", 0.4)
    jobs(desk, 1)
    with sandbox(desk.folder, "--task-seconds", "0.05") as api, dead_end() as nobody:
        url = nobody if whim is None else heard.at(whim)
        command = "sh -c 'echo to https://hooks.example/T0/ping-9c2b7a4f-secret >&2; exit 3'"
        options = ("--ping-url", url, "--on-finish", command, "--metrics-file", "/proc/no/such.prom")
        ended = desk.against(api).run("run", *QUICK, *options, "--log-file", "night.log", "m.yaml")
    assert ended.code == 0
    lines = [line.partition(" WARNING ")[2].strip() for line in ended.err.splitlines()]
    assert any(line.startswith("the ping to 127.0.0.1: ") for line in lines) or whim == "endless"
    assert "the command of --on-finish: it ended with exit code 3" in lines
    assert "the command of --on-finish printed: to https://hooks.example/T0/[key]" in lines
    assert any(line.startswith("the metrics file: /proc/no/such.prom can't be written") for line in lines)
    kept = b"".join(path.read_bytes() for path in (desk.folder / "home").rglob("*") if path.is_file())
    assert SECRET not in ended.err + (desk.folder / "night.log").read_text() + kept.decode("latin-1")
    (run,) = desk.run("runs", "--json").json["runs"]
    assert run["arguments"].count("[hidden]") == 2


def test_a_run_that_a_person_declines_tells_nobody_and_one_that_is_agreed_to_begins_then(
    desk: Desk, heard: Monitor
) -> None:
    jobs(desk, 1)
    desk.env["BATCHGEN_PING_URL"] = heard.at("ok")
    with sandbox(desk.folder, "--task-seconds", "0.1") as api:
        words = [*desk.against(api).program, "run", *QUICK, "m.yaml"]
        code, shown = on_a_terminal(words, cwd=desk.folder, env=desk.env, answer="n\n")
        assert code == 4 and "declined" in shown
        assert heard.heard == []
        code, _ = on_a_terminal(words, cwd=desk.folder, env=desk.env, answer="y\n")
    assert (code, heard.signals) == (0, ["start", "0"])


def test_collecting_is_told_of_as_well(desk: Desk, heard: Monitor) -> None:
    jobs(desk, 1)
    with sandbox(desk.folder, "--task-seconds", "0.1") as api:
        assert desk.against(api).run("run", *QUICK, "--submit-only", "m.yaml").code == 0
        desk.env |= {
            "BATCHGEN_PING_URL": heard.at("ok"),
            "BATCHGEN_METRICS_FILE": str(desk.folder / "c.prom"),
        }
        assert desk.run("collect", *QUICK[:-2]).code == 0
        assert desk.run("collect", *QUICK[:-2], "--ledger", "nowhere.db").code == 2
    assert heard.signals == ["start", "0", "start", "2"]
    measured = metrics(desk.folder / "c.prom")
    assert measured["batchgen_last_run_exit_code", "collect"] == 2
    assert measured["batchgen_last_success_timestamp_seconds", "collect"] > 0


def test_a_rehearsal_and_a_plan_tell_nobody(desk: Desk, heard: Monitor) -> None:
    jobs(desk, 1)
    listens(desk, heard)
    assert desk.run("run", "--sandbox", "m.yaml").code == 0
    assert desk.run("run", "-n", "m.yaml").code == 0
    assert desk.run("plan", "m.yaml").code == 0
    assert heard.heard == []
    assert not (desk.folder / "hook.json").exists() and not (desk.folder / "night.prom").exists()


def test_a_package_that_is_missing_is_named_with_its_extra_and_changes_nothing_else(
    desk: Desk, heard: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    missing = {"apprise", "prometheus_client"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else real(name))
    jobs(desk, 1)
    listens(desk, heard)
    with sandbox(desk.folder, "--task-seconds", "0.05") as api:
        ended = desk.against(api).run("run", *QUICK, "m.yaml")
    assert ended.code == 0 and heard.signals == ["start", "0"]
    assert "install batchgen[notify]" in ended.err and "install batchgen[metrics]" in ended.err
    tried = desk.run("notify", "--test")
    assert tried.code == 1 and tried.out.count("failed  ") == 2


def test_a_file_of_addresses_that_is_not_there_keeps_no_run_from_its_work(desk: Desk) -> None:
    jobs(desk, 1)
    with sandbox(desk.folder, "--task-seconds", "0.05") as api:
        ended = desk.against(api).run("run", *QUICK, "--notify-file", "no/such", "m.yaml")
        assert (ended.code, len(api.accepted())) == (0, 1)
    assert "nobody is notified: no/such (--notify-file) can't be read: No such file" in ended.err


# -- notify -------------------------------------------------------------------------------------------------------------


def test_notify_tries_each_and_says_what_came_back_and_shows_no_address(desk: Desk, heard: Monitor) -> None:
    assert (desk.run("notify").code, desk.run("notify", "--test").code) == (0, 2)
    listens(desk, heard)
    shown = desk.run("notify")
    assert shown.code == 0 and "ping: 127.0.0.1" in shown.out
    tried = desk.run("notify", "--test")
    assert tried.code == 0, tried.out
    assert sorted(tried.out.splitlines()) == [
        "ok      the command of --on-finish: it ended with exit code 0",
        f"ok      the metrics file: {desk.folder}/night.prom is written",
        "ok      the notification by JSON: taken",
        "ok      the ping to 127.0.0.1: it answers 'OK'",
    ]
    assert "log" in heard.signals and hooked(desk)[0]["test"] is True
    desk.env["BATCHGEN_PING_URL"] = heard.at("missing")
    failed = desk.run("notify", "--test", "--json")
    assert failed.code == failed.json["exit_code"] == 1
    assert [one["text"] for one in failed.json["tried"] if not one["ok"]] == ["it answers HTTP 404"]
    assert SECRET not in shown.out + tried.out + failed.out


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        (
            "BATCHGEN_PING_URL",
            "hc-ping.com/9c2b7a4f",
            "BATCHGEN_PING_URL: the address to be pinged is no URL",
        ),
        ("BATCHGEN_ON_FINISH", "curl '9c2b7a4f", "BATCHGEN_ON_FINISH: the command is empty, or has a quote"),
        ("BATCHGEN_NOTIFY_ON", "sometimes", "'sometimes' is none of fail, decision, money, always"),
    ],
)
def test_a_variable_that_is_wrong_is_refused_without_showing_an_address(
    desk: Desk, variable: str, value: str, text: str
) -> None:
    desk.env |= {variable: value, "BATCHGEN_METRICS_FILE": "x.prom"}
    ended = desk.run("notify")
    assert ended.code == 2
    assert text in ended.err and "9c2b7a4f" not in ended.err


# -- systemd ------------------------------------------------------------------------------------------------------------


def test_systemd_hears_that_a_run_is_ready_where_it_stands_that_it_lives_and_that_it_ends(desk: Desk) -> None:
    jobs(desk, 2)
    manager = ServiceManager(str(desk.folder / "notify"))
    desk.env |= {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "300000"}
    with sandbox(desk.folder, "--task-seconds", "0.5") as api:
        assert desk.against(api).run("run", *QUICK, "m.yaml").code == 0
    heard = manager.close()
    assert heard[0]["READY"] == "1"
    assert any(one.get("STATUS") == "2 jobs, 0 of them settled" for one in heard)
    assert any("of 2 jobs finished" in one.get("STATUS", "") for one in heard)
    assert sum("WATCHDOG" in one for one in heard) >= 4
    (stopping,) = [number for number, one in enumerate(heard) if "STOPPING" in one]
    assert stopping == max(number for number, one in enumerate(heard) if "STATUS" in one)


def test_systemd_may_listen_at_an_abstract_address_and_asks_for_no_watchdog_of_another_process() -> None:
    manager = ServiceManager(f"@batchgen-test-{os.getpid()}")
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    with systemd.Systemd(environ) as found:
        found.status("a\nb " + "x" * 1000)
        found.stopping()
    ready, status, stopping = manager.close()
    assert (ready["READY"], stopping["STOPPING"]) == ("1", "1")
    assert status["STATUS"].startswith("a b xxx") and len(status["STATUS"]) == systemd.LONGEST


def test_the_watchdog_is_not_told_that_a_run_lives_whose_loop_stands_still(tmp_path: Path) -> None:
    manager = ServiceManager(str(tmp_path / "notify"))
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000"}
    stuck = threading.Event()

    async def work(found: systemd.Systemd) -> None:
        with found.working(asyncio.get_running_loop()):
            end = asyncio.get_running_loop().time() + 0.3
            while asyncio.get_running_loop().time() < end:
                await asyncio.sleep(0.01)
            found.status("alive until here")
            stuck.wait(0.5)  # the loop stands still
            found.status("stood still until here")

    with systemd.Systemd(environ) as found:
        asyncio.run(work(found))
        until(lambda: "WATCHDOG" in manager.messages[-1])  # outside of it, it lives again
    heard = manager.close()
    texts = [next(iter(one.items())) for one in heard]
    alive, still = (texts.index(("STATUS", text)) for text in ("alive until here", "stood still until here"))
    assert sum(name == "WATCHDOG" for name, _ in texts[:alive]) >= 6
    assert sum(name == "WATCHDOG" for name, _ in texts[alive:still]) <= 4


@pytest.mark.parametrize("address", ["/no/such-socket", "vsock:2:1234", "@", "relative", "@batchgen-nobody"])
def test_a_service_manager_that_is_gone_or_none_holds_nothing_up(address: str) -> None:
    began = time.monotonic()
    with systemd.Systemd({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "no number"}) as found:
        found.status("here")
        found.stopping()
    assert time.monotonic() - began < 5.0


def test_what_goes_to_the_journal_has_its_priority_and_what_goes_elsewhere_has_none(desk: Desk) -> None:
    jobs(desk, 1)

    def said(*words: str, journal: bool = True) -> list[str]:
        path = desk.folder / "stderr"
        with open(path, "wb") as stderr:
            found = os.fstat(stderr.fileno())
            env = {**desk.env, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino if journal else 1}"}
            subprocess.run([*PROGRAM, *words], env=env, cwd=desk.folder, stderr=stderr, check=False)
        return path.read_text().splitlines()

    with sandbox(desk.folder, "--fault", "auth_failed=1.0") as api:
        desk.against(api)
        lines = said("run", *QUICK, "-v", "m.yaml")
    assert all(line[:3] in ("<3>", "<4>", "<5>", "<6>") for line in lines)
    (summary,) = [line for line in lines if "batchgen: 0 of 1 job" in line]
    began = next(line for line in lines if " INFO " in line)
    (refused,) = said("status", "--ledger", "nowhere")
    assert (summary[:3], began[:3], refused[:3]) == ("<4>", "<6>", "<3>")
    (elsewhere,) = said("status", "--ledger", "nowhere", journal=False)
    assert elsewhere == refused[3:]


def test_of_many_messages_each_is_told_without_the_prompt_of_its_job(
    desk: Desk, heard: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "REMEMBERED", 1)  # jobs whose prompts are cut out of all texts
    prompts = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(report.SHOWN + 5)]
    entries = [
        {"id": f"j{n}", "image": f"https://a.org/{n}.png", "prompt": text} for n, text in enumerate(prompts)
    ]
    manifest = {"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": entries}
    desk.write("m.yaml", json.dumps(manifest))
    desk.env |= {"POWERTOKENS_API_KEY": KEY, "BATCHGEN_ON_FINISH": hook(desk)}

    async def api(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked = await request(reader)
            message = f"not with {json.loads(asked.body)['prompt']}" if asked.body else "no such task"
            writer.write(answer({"code": 1301 if asked.body else 1203, "message": message}, 400))
            await writer.drain()

    with served(api) as url:
        desk.env["POWERTOKENS_API_BASE"] = url
        assert desk.run("run", *QUICK, "m.yaml").code == 1
    endings = hooked(desk)[0]["endings"]
    assert len(endings) == len(prompts)
    assert all("not with [prompt]" in one["text"] for one in endings)
