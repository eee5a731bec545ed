"""A run ends when it was told to, whatever still runs, and what is open is safe."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import pytest

from batchgen.cli import options
from batchgen.cli.output import Output
from batchgen.cli.shared import end_of, run_options
from batchgen.masking import Mask
from batchgen.sandbox.video import clip
from tests.support.program import ENDS, KEY, Desk, until
from tests.support.wire import PATH, answer, made, request, served

WAITS = ("--poll-interval", "0.05", "--timeout", "3", "--settle", "1")


class Host:
    """An API whose tasks run until ``done``. A create is answered when ``held`` (Unix seconds) has passed, a query as ``queries`` says."""

    def __init__(self, *, held: float = 0.0, queries: bytes = b"") -> None:
        self.held, self.queries, self.done = held, queries, False
        self.names: list[str] = []  # of the creates that came whole
        self.asked = 0

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard = await request(reader)
            if not heard.path.startswith(PATH):
                writer.write(answer(clip("large")))
            elif heard.method == "POST":
                self.names.append(name := json.loads(heard.body)["external_task_id"])
                await asyncio.sleep(max(self.held - time.time(), 0.0))
                writer.write(made(f"t-{name}", task_info={"external_task_id": name}))
            else:
                self.asked += 1
                writer.write(self.queries or self.says(unquote(heard.path.removeprefix(f"{PATH}/"))))

    def says(self, asked: str) -> bytes:
        name = asked.removeprefix("t-")
        if name not in self.names:
            return answer({"code": 1203, "message": "task not found"}, 404)
        data: dict[str, Any] = {"task_info": {"external_task_id": name}, "task_status": "processing"}
        if self.done:
            data |= {"task_status": "succeed", "task_result": {"videos": [{"id": "v", "url": "/clip.mp4"}]}}
        return made(f"t-{name}", **data)


@contextmanager
def against(desk: Desk, host: Host) -> Iterator[None]:
    with served(host.play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
        yield


def jobs(count: int) -> str:
    listed = [
        {"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(count)
    ]
    defaults = {"model_name": "kling-v3"}
    return json.dumps(
        {"version": 1, "name": "m", "output_dir": "clips", "defaults": defaults, "jobs": listed}
    )


def states(desk: Desk) -> list[str]:
    return [row["state"] for row in desk.export()]


def test_a_run_leaves_at_its_end_says_how_many_still_run_and_the_next_goes_on(desk: Desk) -> None:
    host = Host()
    desk.write("m.yaml", jobs(3))
    with against(desk, host):
        left = desk.run("run", *WAITS, "--max-running", "3", "--until", "4s", "--json", "m.yaml")
        assert states(desk) == ["submitted"] * 3
        again = desk.run("collect", *WAITS, "--until", "3s")
        host.done = True
        home = desk.run("collect", *WAITS, "--until", "1h")
    assert (left.code, again.code, home.code) == (4, 4, 0)
    (stop,) = left.json["stops"]
    assert stop["kind"] == "until"
    assert "A later --until" in stop["advice"]
    for ended in (left, again):
        assert "stopped: its end has come (--until); 3 tasks still run. What is open is safe" in ended.err
    assert home.err == ""
    assert states(desk) == ["downloaded"] * 3
    assert len(host.names) == len(set(host.names)) == 3


def test_at_the_end_a_create_in_flight_gets_its_answer_and_none_is_begun(desk: Desk) -> None:
    end = time.time() + 4
    host = Host(held=end + 1)
    desk.write("m.yaml", jobs(5))
    with against(desk, host):
        at = datetime.fromtimestamp(end).astimezone().isoformat()
        left = desk.run("run", *WAITS, "--timeout", "8", "--concurrency", "1", "--until", at, "m.yaml")
    assert left.code == 4, left.err
    assert "1  running" in left.err and "4  not created" in left.err
    assert "The next run goes on with them." in left.err
    assert len(host.names) == 1
    assert sorted(states(desk)) == ["submitted"]


class Moody(Host):
    """One that knows no task by its name, and refuses creates for no reason that is known unless it is ``calm``."""

    calm = True

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await request(reader)
        if heard.method == "POST" and not self.calm:
            self.asked += 1
            writer.write(answer({"code": 1999, "message": "oops"}, 400))
        elif heard.method == "POST":
            self.names.append(name := json.loads(heard.body)["external_task_id"])
            while self.held > time.time():
                await asyncio.sleep(0.05)
            writer.write(made(f"t-{name}"))
        elif "/t-" in heard.path or not heard.path.startswith(PATH):
            said = self.says(unquote(heard.path.removeprefix(f"{PATH}/")))
            writer.write(said if heard.path.startswith(PATH) else answer(clip("large")))
        else:
            writer.write(self.says("unknown"))


def test_creates_that_wait_behind_one_after_an_unclear_answer_are_not_begun_after_the_end(desk: Desk) -> None:
    host = Moody()
    host.done = True
    desk.write("m.yaml", jobs(1))
    with against(desk, host):
        assert desk.run("run", *WAITS, "m.yaml").code == 0  # the manifest is known from here on
        desk.write("m.yaml", jobs(20))
        host.calm = False
        options = ("--timeout", "9", "--max-running", "9", "--verbose")
        process = desk.start("run", *WAITS, *options, "m.yaml")
        until(lambda: host.asked >= 8)
        host.calm, host.held = True, time.time() + 60
        until(lambda: len(host.names) == 2)
        host.held = time.time() + 2
        process.send_signal(signal.SIGTERM)
        ended = desk.finish(process)
    assert ended.code == 143, ended.err
    assert len(host.names) == 2


def test_a_run_under_nohup_goes_on_when_its_terminal_is_closed(desk: Desk) -> None:
    host = Host()
    desk.write("m.yaml", jobs(1))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it; the process inherits that
    try:
        with against(desk, host):
            process = desk.start("run", *WAITS, "m.yaml")
            until(lambda: host.asked > 0 and bool(host.names))
            process.send_signal(signal.SIGHUP)
            host.done = True
            ended = desk.finish(process)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (ended.code, ended.err) == (0, "")
    assert states(desk) == ["downloaded"]


@pytest.mark.parametrize("how", ["until", "signal"])
@pytest.mark.parametrize("option", ["--verbose", "--recover"])
def test_a_question_that_the_api_puts_off_for_an_hour_holds_no_run_beyond_its_end(
    desk: Desk, how: str, option: str
) -> None:
    host = Host(queries=answer({"code": 1302, "message": "too fast"}, 429, Retry_After="3600"))
    desk.write("m.yaml", jobs(2))
    with against(desk, host):
        end = ("--until", "4s") if how == "until" else ()
        process = desk.start("run", option, *WAITS, *end, "m.yaml")
        until(lambda: host.asked > 0)
        if how == "signal":
            process.send_signal(signal.SIGTERM)
        ended = desk.finish(process)
    assert ended.code == (4 if how == "until" else 143), ended.err
    assert "2  not created" in ended.err
    assert host.names == []


def test_an_end_that_comes_before_anything_was_begun_begins_nothing(desk: Desk) -> None:
    host = Host()
    desk.write("m.yaml", jobs(2))
    with against(desk, host):
        ended = desk.run("run", *WAITS, "--until", "0s", "--json", "m.yaml")
    assert ended.code == ended.json["exit_code"] == 4
    assert ended.json["stops"][0]["kind"] == "until"
    assert "its end has come (--until) before anything was begun" in ended.err
    assert (host.names, host.asked) == ([], 0)


def test_another_run_is_waited_for_until_the_end_and_no_longer(desk: Desk) -> None:
    host = Host()
    desk.write("m.yaml", jobs(1))
    with against(desk, host):
        first = desk.start("run", *WAITS, "m.yaml")
        until(lambda: bool(host.names))
        second = desk.run("collect", *WAITS, "--lock-wait", "1h", "--until", "3s", "--verbose")
        third = desk.start("collect", *WAITS, "--lock-wait", "1h", "--log-file", "third.log")
        log = desk.folder / "third.log"
        until(lambda: log.exists() and "waiting for the ledger since" in log.read_text())
        host.done = True
        assert desk.finish(first).code == 0
    assert second.code == 75
    assert "waiting for the ledger since" in second.err
    assert "another run holds the ledger" in second.err
    ended = desk.finish(third)
    assert (ended.code, ended.err) == (0, "")
    assert "waited for the ledger for" in log.read_text()


def test_without_an_end_of_its_own_a_run_ends_four_hours_after_its_deadline() -> None:
    for given, least in (
        ([], 1e7),
        (["--deadline", "1h"], 5 * 3600),
        (["--deadline", "1h", "--until", "2h"], 2 * 3600),
    ):
        args = options.parser().parse_args(["run", *given, "m.yaml"])
        assert end_of(run_options(args), Output(args, Mask())).left >= least - 60
        assert len(given) == 0 or end_of(run_options(args), Output(args, Mask())).left <= least


@pytest.mark.parametrize(
    ("given", "says"),
    [("tomorrow", "no time and no duration"), ("25:00", "write 06:30"), ("2001-01-01T06:30", "has passed")],
)
def test_an_end_is_written_as_a_deadline_is(desk: Desk, given: str, says: str) -> None:
    ended = desk.run("run", "--until", given, "m.yaml")
    assert ended.code == 2
    assert "--until" in ended.err and says in ended.err


HANGS = """
import asyncio, time
from batchgen.cli import ending, options
from batchgen.masking import Mask
from batchgen.cli.output import Output
ending.LAST_RESORT = 0.2
async def work(end):
    with end.graceful(lambda reason: None):
        print("begun", flush=True)
        time.sleep(60)  # as a disk that doesn't answer
args = options.parser().parse_args(["collect"])
with ending.End(Output(args, Mask()), time.time() + 1.5, timeout=0.1) as end:
    end.watch()
    asyncio.run(work(end))
"""


def test_who_does_not_read_what_is_said_holds_no_process_far_beyond_its_end() -> None:
    program = HANGS.replace("time.sleep(60)", "end._out.say('x' * 10_000_000)").replace(
        "0.2", "0.2; ending.TO_SPEAK = 0.2"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.wait(30) == 4


def test_what_hangs_on_this_machine_holds_no_process_far_beyond_its_end() -> None:
    begun = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], check=False, capture_output=True, text=True, timeout=ENDS
    )
    assert time.monotonic() - begun < 30
    assert (ended.returncode, ended.stdout) == (4, "begun\n")
    assert "doesn't answer: stopped at once; what was open is in the ledger, run again" in ended.stderr


SLEPT = """
import time
from batchgen.cli import ending, options
from batchgen.masking import Mask
from batchgen.cli.output import Output
from batchgen.errors import EndedEarly
ending.CHECK = 0.05
args = options.parser().parse_args(["collect"])
now = time.time
with ending.End(Output(args, Mask()), now() + 3600) as end:
    end.watch()
    time.time = lambda: now() + 3600  # as after an hour of sleep
    try:
        time.sleep(60)
    except EndedEarly as error:
        print(error)
"""


def test_a_machine_that_slept_until_its_end_begins_nothing_more() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SLEPT], check=False, capture_output=True, text=True, timeout=ENDS
    )
    assert ended.stdout == "its end has come (--until) before anything was begun\n", ended.stderr
