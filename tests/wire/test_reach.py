"""A page in the API's place, and an API that can't be reached: what goes out, what is said, and how it heals."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import sys
import time
from pathlib import Path

import pytest

from batchgen.sandbox.video import clip
from tests.support import wire
from tests.support.ahead import Ahead
from tests.support.program import ENDS, Desk, Result, sandbox
from tests.support.terminal import on_a_terminal, read

SOON = 5.0  # seconds; two on a machine that has nothing else to do
PAGE = b"<html><head><title>Back soon</title></head><body><h1>We are fixing it</h1></body></html>"


@pytest.fixture
def ahead(tmp_path: Path) -> Ahead:
    """The program in virtual time."""
    return Ahead(tmp_path)


def write_jobs(desk: Desk, count: int) -> None:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(count)]
    manifest = {"version": 1, "name": "m", "output_dir": "clips", "defaults": {"model_name": "kling-v3"}}
    desk.write("m.yaml", json.dumps({**manifest, "jobs": jobs}))


class Host:
    """An API that can be replaced by a page; ``creates`` are the ids that it was asked to create, in order."""

    def __init__(self, *, makes: bool = False, heals_after: float = math.inf) -> None:
        self.down = True
        self.heals_after = heals_after  # pages
        self.makes = makes  # tasks behind the page
        self.creates: list[str] = []
        self.tasks: dict[str, str] = {}
        self.pages = 0

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard = await wire.request(reader)
            name = heard.path.rpartition("/")[2]
            if name.endswith(".mp4"):
                writer.write(wire.answer(clip(name.removesuffix(".mp4"))))
                continue
            if heard.method == "POST":
                name = json.loads(heard.body)["external_task_id"]
                self.creates.append(name)
                if not self.down or self.makes:
                    self.tasks[f"t{len(self.tasks)}"] = name
            if self.down:
                self.pages += 1
                self.down = self.pages < self.heals_after
                writer.write(wire.answer(PAGE, Content_Type="text/html"))
                continue
            task = next((one for one, external in self.tasks.items() if name in (one, external)), "")
            if not task:
                writer.write(wire.answer({"code": 1203, "message": "no such task"}, 404))
                continue
            videos = [{"url": f"http://{heard.headers['host']}/{task}.mp4"}]
            ended = {"task_status": "succeed", "task_result": {"videos": videos}}
            writer.write(wire.made(task, task_info={"external_task_id": self.tasks[task]}, **ended))


def night(ahead: Ahead, *options: str) -> Result:
    return ahead.run("run", *options, "m.yaml")


@pytest.mark.parametrize("makes", [False, True], ids=["nothing was made", "tasks were made"])
def test_a_page_to_everything_leaves_one_job_uncertain_and_the_next_healthy_night_heals_it(
    ahead: Ahead, makes: bool
) -> None:
    host = Host(makes=makes)
    write_jobs(ahead, 12)
    with ahead.against_api(host.play):
        first = night(ahead)
        assert first.code == 4, first.err
        assert len(host.creates) == 1, "nothing goes out before the API answers as itself"
        assert host.pages >= 3
        states = [row["state"] for row in ahead.export()]
        assert states.count("unknown") == 1
        assert "Back soon: We are fixing it" in first.err
        assert "1 may have been created (up to $0.42)" in first.err
        assert "0 created for" not in first.err
        host.down = False
        healthy = night(ahead)
        assert healthy.code == 0, healthy
    assert len(host.creates) == 12 + (not makes)
    assert sorted(host.tasks.values()) == sorted(set(host.creates))
    assert [row["state"] for row in ahead.export()] == ["downloaded"] * 12


def test_a_page_for_a_while_stops_nothing_and_what_was_made_behind_it_is_found(ahead: Ahead) -> None:
    host = Host(makes=True, heals_after=5)
    write_jobs(ahead, 4)
    with ahead.against_api(host.play):
        ended = night(ahead, "--json")
        assert ended.code == 0, ended.err
    assert [row["state"] for row in ahead.export()] == ["downloaded"] * 4
    assert len(host.creates) == len(host.tasks) == 4
    assert (ended.json["created"], ended.json["unknown_cost_usd_estimate"]) == (4, 0)


def test_where_unknowns_are_all_there_is_the_message_says_what_a_person_must_do_and_what_it_means(
    ahead: Ahead,
) -> None:
    host = Host()
    write_jobs(ahead, 1)
    with ahead.against_api(host.play):
        assert night(ahead).code in (4, 5)
        host.down = False
        second = night(ahead)
        assert second.code == 5
        (row,) = ahead.export()
        name = row["external_task_id"]
        for choice in ("--task-id T` follows it", "--not-created` has the next run create it, and pay"):
            assert f"batchgen resolve JOB {choice}" in second.err
        assert f"[{name}]" in second.err
        assert ahead.run("resolve", name, "--not-created").code == 0
        assert night(ahead).code == 0
    assert host.creates == [name, name]
    assert list(host.tasks.values()) == [name]


# -- an API that can't be reached ----------------------------------------------------------------------------------


def shown(desk: Desk, url: str, *, until: str, options: tuple[str, ...] = ()) -> tuple[float, str]:
    """Run on a terminal until a word is shown; the seconds that took since the first sign of life, and all of it."""
    env = {**desk.env, "POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": "k"}
    times: list[float] = []
    first: list[float] = []

    def more(text: str) -> None:
        first.append(time.monotonic())
        if until in text and not times:
            times.append(time.monotonic())

    command = [sys.executable, "-m", "batchgen", "run", "--timeout", "0.4", *options, "m.yaml"]
    _, text = on_a_terminal(command, cwd=desk.folder, env=env, more=more)
    assert times, text
    return times[0] - first[0], read(text)


def test_a_terminal_is_told_soon_that_nobody_listens_there_and_once(desk: Desk) -> None:
    write_jobs(desk, 2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    took, text = shown(
        desk, f"http://127.0.0.1:{port}", until="can't be reached since", options=("--log-file", "run.log")
    )
    assert took < SOON
    assert text.count("can't be reached since") == 1
    assert f"can't connect to 127.0.0.1:{port}: Connect" in text
    assert (desk.folder / "run.log").read_text().count("can't be reached since") == 1


def test_a_terminal_is_told_soon_of_a_host_that_takes_connections_and_says_nothing(
    desk: Desk,
) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    write_jobs(desk, 1)
    with wire.served(play) as url:
        took, text = shown(
            desk,
            url,
            until="can't be reached since",
            options=("--timeout", "1.4"),
        )
    assert took < SOON
    assert "no answer for 1 s" in text


def test_away_from_a_terminal_a_network_that_comes_back_is_no_reason_for_a_mail(desk: Desk) -> None:
    write_jobs(desk, 2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    desk.env |= {"POWERTOKENS_API_BASE": f"http://127.0.0.1:{port}", "POWERTOKENS_API_KEY": "k"}
    process = desk.start(
        "run", "--timeout", "9", "--poll-interval", "0.05", "--log-file", "run.log", "m.yaml"
    )
    log = desk.folder / "run.log"
    end = time.monotonic() + ENDS
    while not (log.exists() and "can't be reached since" in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    with sandbox(desk.folder, "--task-seconds", "0.1", "--port", str(port)):
        assert desk.finish(process) == Result(0, "", "")
    assert "the API answers again, after" in log.read_text()
