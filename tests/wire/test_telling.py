"""Receivers of every kind are told of a run within their time, and what one does keeps no other from hearing of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchgen.night import ping
from batchgen.night.metrics import HELP
from batchgen.night.receivers import Receivers
from batchgen.night.summary import Summary
from batchgen.night.telling import Outcome, Teller
from tests.support.receivers import Monitor, dead_end, monitor

RUN = "0c06e098-fc19-4a18-bf4c-0925a189cd18"
SUMMARY = Summary(
    RUN,
    "run",
    "machine",
    1,
    1000.0,
    1090.5,
    {
        "exit_code": 1,
        "buckets": {"downloaded": 2, "failed": 1},
        "created": 3,
        "cost_usd_estimate": 1.68,
        "stops": [],
    },
    ["batchgen: 2 of 3 jobs done", "      1  failed"],
    ["a warning"],
    states=frozenset({"fail"}),
)
ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def server() -> Iterator[Monitor]:
    with monitor() as found:
        yield found


@pytest.fixture
def heard(server: Monitor) -> Monitor:
    server.heard.clear()
    return server


def tell(to: Receivers, total: float = 5.0, environ: Mapping[str, str] = ENVIRON) -> dict[str, Outcome]:
    """Tell of a run's beginning and end."""
    teller = Teller(to, RUN, environ, total=total)
    teller.begin()
    return {one.receiver: one for one in teller.finish(SUMMARY)}


def python(tmp_path: Path, source: str) -> str:
    """A command that runs this program."""
    path = tmp_path / "hook.py"
    path.write_text(source)
    return f"{sys.executable} {path}"


# -- pings ------------------------------------------------------------------------------------------------------------


def test_a_monitor_hears_of_the_start_and_the_exit_code_of_one_run_with_its_summary_and_log(
    heard: Monitor,
) -> None:
    (outcome,) = tell(Receivers(ping_url=heard.at("ok"))).values()
    assert (outcome.ok, outcome.text) == (True, "it answers 'OK'")
    assert heard.signals == ["start", "1"]
    assert {one.run_id for one in heard.heard} == {RUN}
    start, end = heard.heard
    assert start.body == ""
    assert end.body == "batchgen: 2 of 3 jobs done\n      1  failed\n\nlog:\na warning"


def test_a_ping_keeps_what_its_address_asks_for_and_takes_its_password_out_of_it(heard: Monitor) -> None:
    url = heard.at("ok").replace("http://", "http://me:p%40ss@")
    ping.send(f"{url}/?create=1", "start", RUN, "", seconds=5)
    (one,) = heard.heard
    assert (one.path, one.run_id) == ("ping-9c2b7a4f-secret/start", RUN)
    assert one.headers["Authorization"] == "Basic bWU6cEBzcw=="
    assert "@" not in one.headers["Host"]


@pytest.mark.parametrize(
    ("whim", "text"),
    [
        ("missing", "it answers HTTP 404"),
        ("broken", "it answers HTTP 500"),
        ("unknown", "it answers 'OK (not found)'"),
        ("nonsense", "it answers something else than HTTP"),
        ("moved", "it redirects (HTTP 302) to 127.0.0.1, which isn't followed: name that address"),
    ],
)
def test_a_monitor_that_answers_otherwise_is_told_of_by_its_kind(
    heard: Monitor, whim: str, text: str
) -> None:
    (outcome,) = tell(Receivers(ping_url=heard.at(whim))).values()
    assert (outcome.ok, outcome.text) == (False, text)
    assert not any(one.path.startswith("elsewhere") for one in heard.heard)
    assert outcome.receiver == "the ping to 127.0.0.1"


def test_a_ping_that_fails_for_a_moment_is_sent_again_and_one_that_is_refused_is_not(heard: Monitor) -> None:
    heard.fails = 2
    ping.send(heard.at("flaky"), "0", RUN, "", seconds=5)
    assert heard.signals == ["0"] * 3
    with pytest.raises(OSError, match="404"):
        ping.send(heard.at("missing"), "0", RUN, "", seconds=5)
    assert len(heard.heard) == 4


def test_where_nobody_listens_that_is_said_without_the_address(heard: Monitor) -> None:
    with dead_end() as url:
        (outcome,) = tell(Receivers(ping_url=url), total=1.0).values()
    assert (outcome.ok, outcome.text) == (False, "Connection refused")


@pytest.mark.parametrize("whim", ["stalls", "drips", "endless"])
def test_a_monitor_that_never_ends_is_left_when_its_time_is_over(heard: Monitor, whim: str) -> None:
    began = time.monotonic()
    (outcome,) = tell(Receivers(ping_url=heard.at(whim)), total=0.6).values()
    assert time.monotonic() - began < 1.5
    assert outcome.ok is (whim == "endless")  # it was taken, and what follows isn't read
    assert len(outcome.text) < 200
    assert "9c2b7a4f" not in f"{outcome}"


def test_a_body_is_bounded_and_what_is_left_out_is_the_oldest_of_the_log() -> None:
    long = replace(SUMMARY, log=[f"{number} {'ü' * 100}" for number in range(200)])
    body = ping.text(long)
    assert ping.BODY - 300 < len(body.encode()) <= ping.BODY
    assert body.startswith("batchgen: 2 of 3") and body.endswith(long.log[-1])
    assert "\n0 ü" not in body


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://hc-ping.com/0c06", None),
        ("http://user:pw@[::1]:8000/ping/x/y?create=1", None),
        ("hc-ping.com/0c06", "is no URL; write https://HOST/..."),
        ("ftp://host/x", "is no URL; write https://HOST/..."),
        ("https:///x", "is no URL; write https://HOST/..."),
        ("https://host:port/x", "is no URL"),
        ("https://host/a b", "is no URL: it has spaces or invisible characters"),
        ("https://host/a\u200b", "is no URL: it has spaces or invisible characters"),
        ("https://host/\u00e9", "has letters that belong percent-encoded"),
        ("https://host/a#b", "has a #, behind which nothing is sent"),
    ],
)
def test_an_address_that_can_not_be_pinged_is_known_before(url: str, why: str | None) -> None:
    assert ping.problem(url) == why


# -- commands ---------------------------------------------------------------------------------------------------------

SHOW = """
import json, os, sys
found = json.load(sys.stdin)
print(found["buckets"]["failed"], os.environ["BATCHGEN_EXIT_CODE"], os.environ["BATCHGEN_STATES"], os.environ["BATCHGEN_DONE"])
print(os.environ["BATCHGEN_HEADLINE"], os.environ["BATCHGEN_SECONDS"], os.environ["BATCHGEN_RUN_ID"], file=sys.stderr)
"""


def test_a_command_gets_the_summary_on_its_input_and_the_facts_in_its_environment(tmp_path: Path) -> None:
    (outcome,) = tell(Receivers(on_finish=python(tmp_path, SHOW))).values()
    assert (outcome.ok, outcome.text) == (True, "it ended with exit code 0")
    assert sorted(outcome.output.splitlines()) == ["1 1 fail 2", f"2 of 3 jobs done 90.5 {RUN}"]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("false", "it ended with exit code 1"),
        ("sh -c 'kill -9 $$'", "it ended with signal 9"),
        ("/nowhere/at-all", "it can't be started: No such file or directory; give the program's whole path"),
        ("true", "it ended with exit code 0"),  # and reads nothing
    ],
)
def test_how_a_command_ends_is_said(command: str, text: str) -> None:
    (outcome,) = tell(Receivers(on_finish=command)).values()
    assert (outcome.text, outcome.ok) == (text, text.endswith("code 0"))


def test_a_summary_that_is_not_read_holds_nothing_up_however_long() -> None:
    long = replace(SUMMARY, document={**SUMMARY.document, "endings": ["x" * 1000] * 5000})
    (outcome,) = Teller(Receivers(on_finish="sleep 0.05"), RUN, ENVIRON).finish(long)
    assert outcome.text == "it ended with exit code 0"


def test_of_what_a_command_prints_the_end_is_kept(tmp_path: Path) -> None:
    source = "import sys\nfor n in range(3000): print(n, 'x' * 1000, file=sys.stderr)\nprint('the end')"
    (outcome,) = tell(Receivers(on_finish=python(tmp_path, source))).values()
    assert outcome.ok
    assert len(outcome.output) <= 4096
    assert outcome.output.endswith("the end\n")


HANGS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("began", flush=True)
if os.fork() == 0:
    open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(60)
"""


def gone(process: int) -> bool:
    """Whether a process has ended, read or not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_command_that_hangs_and_hears_no_signal_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    command = f"{python(tmp_path, HANGS)} {child}"
    began = time.monotonic()
    (outcome,) = tell(Receivers(on_finish=command), total=1.5).values()
    assert 1.0 < time.monotonic() - began < 3.0
    assert outcome.ok is False
    assert outcome.text == "it took longer than 1.35 seconds and was ended, with all that it had started"
    assert outcome.output == "began\n"
    assert gone(int(child.read_text()))


def test_what_a_command_leaves_in_the_background_lives_on_and_is_not_waited_for(tmp_path: Path) -> None:
    left = tmp_path / "left"
    began = time.monotonic()
    (outcome,) = tell(Receivers(on_finish=f"sh -c 'sleep 20 & echo $! > {left}'"), total=10.0).values()
    assert time.monotonic() - began < 5.0
    assert outcome.ok
    process = int(left.read_text())
    assert not gone(process)
    os.kill(process, signal.SIGKILL)


def test_a_signal_ends_the_telling_and_what_was_started_for_it(tmp_path: Path, heard: Monitor) -> None:
    child = tmp_path / "child"
    to = Receivers(on_finish=f"{python(tmp_path, HANGS)} {child}", ping_url=heard.at("stalls"))
    teller = Teller(to, RUN, ENVIRON, total=6.0)

    def stop() -> None:
        while not (child.exists() and child.read_text()):
            time.sleep(0.01)
        teller.stop()

    began = time.monotonic()
    thread = threading.Thread(target=stop)
    thread.start()
    outcomes = {one.receiver: one for one in teller.finish(SUMMARY)}
    thread.join()
    assert time.monotonic() - began < 4.0
    assert outcomes["the ping to 127.0.0.1"].text == "left, at a signal"
    assert not outcomes["the command of --on-finish"].ok
    assert gone(int(child.read_text()))


# -- notifications ----------------------------------------------------------------------------------------------------


def apprise(heard: Monitor, whim: str = "ok") -> str:
    return heard.at(whim).replace("http://", "json://")


def test_a_notification_has_the_summary_and_is_sent_for_the_states_that_it_is_for(heard: Monitor) -> None:
    to = Receivers(notify_urls=(apprise(heard),))
    (outcome,) = tell(to).values()
    assert (outcome.receiver, outcome.ok, outcome.text) == ("the notification by JSON", True, "taken")
    (one,) = heard.heard
    assert one.json["title"] == "batchgen run on machine: 2 of 3 jobs done"
    assert one.json["message"] == "      1  failed"
    assert tell(replace(to, notify_on=frozenset({"money", "decision"}))) == {}
    assert len(heard.heard) == 1


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_are_a_file_that_prometheus_reads_whatever_was_there(tmp_path: Path) -> None:
    path = tmp_path / "batchgen.prom"
    for before in (None, "no metrics {", 'batchgen_last_run_jobs{weird="1"} 3\nnode_x 1\n', "\0"):
        if before is not None:
            path.write_text(before)
        (outcome,) = tell(Receivers(metrics_file=str(path))).values()
        assert outcome.ok, outcome
        families = list(text_string_to_metric_families(path.read_text()))
        found = {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}
        assert found["batchgen_last_run_exit_code", "run"] == 1
        assert found["batchgen_last_run_jobs", "failed", "run"] == 1
        assert found["batchgen_last_run_duration_seconds", "run"] == 90.5
        assert {name for name, *_ in found} <= HELP.keys()
        assert {family.documentation for family in families} <= set(HELP.values())
    assert os.listdir(tmp_path) == ["batchgen.prom"]


def test_a_metrics_file_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (outcome,) = tell(Receivers(metrics_file=str(tmp_path / "no/such.prom"))).values()
    assert (outcome.ok, outcome.text.rpartition(": ")[2]) == (False, "No such file or directory")


# -- all of them ------------------------------------------------------------------------------------------------------


def test_all_are_told_in_their_time_beside_those_that_hang(tmp_path: Path, heard: Monitor) -> None:
    services = (
        *(apprise(heard, "broken"), apprise(heard, "stalls"), apprise(heard)),
        "nothing://such-9c2b7a4f-secret",
    )
    to = Receivers(
        ping_url=heard.at("stalls"),
        on_finish="sleep 60",
        notify_urls=services,
        metrics_file=str(tmp_path / "m.prom"),
    )
    began = time.monotonic()
    outcomes = list(Teller(to, RUN, ENVIRON, total=3.0).finish(SUMMARY))
    assert time.monotonic() - began < 4.0
    assert "9c2b7a4f" not in f"{outcomes}"
    notified = [one for one in outcomes if one.receiver.startswith("the notification")]
    assert [one.ok for one in notified] == [False, False, True, False]
    assert "500" in notified[0].text
    assert notified[1].text == "no answer in time"
    assert notified[3].text == "it is no URL that Apprise knows"
    others = {one.receiver: one.ok for one in outcomes if one not in notified}
    assert others == {
        "the ping to 127.0.0.1": False,
        "the command of --on-finish": False,
        "the metrics file": True,
    }


def test_a_test_changes_no_state_at_the_monitor_and_no_metrics(tmp_path: Path, heard: Monitor) -> None:
    path = tmp_path / "m.prom"
    to = Receivers(ping_url=heard.at("ok"), metrics_file=str(path))
    tell(to)
    before = path.read_text()
    assert all(one.ok for one in Teller(to, RUN, ENVIRON).test(replace(SUMMARY, exit_code=0)))
    assert path.read_text() == before
    assert heard.signals == ["start", "1", "log"]
