"""Nothing that an API does, or lacks, holds a run for ever: hours pass at once here (:mod:`tests.support.ahead`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from batchgen.sandbox.video import clip
from tests.support.ahead import Ahead
from tests.support.program import Result
from tests.support.wire import PATH, answer, made, request

SLOW_DOWN = answer({"code": 1302, "message": "too fast"}, 429)
WAIT_AN_HOUR = answer({"code": 1302, "message": "too fast"}, 429, Retry_After="3600")
NO_SLOT = answer({"code": 1303, "message": "parallel task over resource pack limit"}, 429)
UNKNOWN = answer({"code": 1203, "message": "task not found"}, 404)
VIDEO = {"videos": [{"id": "v", "url": "/clip.mp4"}]}

Says = Callable[[str, int], bytes]


@pytest.fixture
def desk(tmp_path: Path) -> Ahead:
    return Ahead(tmp_path)


class Host:
    """An API that answers a create, and a query of what it has made, as ``creates`` and ``queries`` say.

    They are given the external_task_id and how often that was asked before.
    """

    def __init__(self, *, creates: Says | None = None, queries: Says, finds_all: bool = False) -> None:
        self.creates, self.queries, self.finds_all = creates or accepted, queries, finds_all
        self.asked: dict[tuple[str, str], int] = {}
        self.made: set[str] = set()

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request to a connection: a client that keeps one looks after it by the machine's clock."""
        heard = await request(reader)
        if not heard.path.startswith(PATH):
            writer.write(answer(clip("a clip")))
            return
        name = unquote(heard.path.removeprefix(PATH)).removeprefix("/t-").removeprefix("/")
        if heard.method == "POST":
            name = json.loads(heard.body)["external_task_id"]
        key = heard.method, name
        times = self.asked[key] = self.asked.get(key, -1) + 1
        if heard.method == "POST":
            writer.write(said := self.creates(name, times))
            self.made |= {name} if b"task_id" in said else set()
        else:
            writer.write(self.queries(name, times) if self.finds_all or name in self.made else UNKNOWN)


def accepted(name: str, times: int) -> bytes:
    return made(f"t-{name}", task_info={"external_task_id": name})


def told(name: str, status: str, **more: Any) -> bytes:
    task = f"t-{name}".replace("~", "-")
    return made(task, task_info={"external_task_id": name}, task_status=status, **more)


def ended(name: str, times: int) -> bytes:
    return told(name, "succeed", task_result=VIDEO)


def night(desk: Ahead, host: Host, *options: str, count: int = 2) -> Result:
    listed = [
        {"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(count)
    ]
    manifest = {"version": 1, "name": "m", "defaults": {"model_name": "kling-v3"}, "jobs": listed}
    desk.write("m.yaml", json.dumps(manifest))
    with desk.against_api(host.play):
        return desk.run("run", *options, "--json", "m.yaml")


def kinds(result: Result) -> list[str]:
    return [stop["kind"] for stop in result.json["stops"]]


def test_an_honest_night_comes_home_in_virtual_time(desk: Ahead) -> None:
    host = Host(queries=lambda name, times: told(name, "processing") if times < 5 else ended(name, times))
    result = night(desk, host)
    assert (result.code, result.json["buckets"]["downloaded"]) == (0, 2), result.err


@pytest.mark.parametrize(
    "queries",
    [
        lambda name, times: told(name, "processing"),
        lambda name, times: told(name, "paused"),
        lambda name, times: told(name, "succeed"),
        lambda name, times: told(name, "succeed" if times < 3 else "processing"),
        lambda name, times: told(name, "succeed" if times % 9 == 5 else "processing"),
        lambda name, times: UNKNOWN,
        lambda name, times: UNKNOWN if times % 4 else told(name, "processing"),
        lambda name, times: answer(b"oh", 500) if times % 7 else told(name, "processing"),
    ],
    ids=[
        "never ends",
        "odd",
        "no clip",
        "no clip, then not ended",
        "both in turns",
        "unknown",
        "unknown in turns",
        "errors in turns",
    ],
)
def test_a_task_that_never_ends_in_whatever_way_holds_no_run(desk: Ahead, queries: Says) -> None:
    host = Host(queries=queries)
    result = night(desk, host)
    assert result.code == 4, result.err
    assert [row["state"] for row in desk.export()] == ["submitted"] * 2
    assert len(host.made) == 2


@pytest.mark.parametrize("said", [SLOW_DOWN, WAIT_AN_HOUR], ids=["too fast", "in an hour"])
def test_an_api_that_only_says_too_fast_to_creates_ends_the_run(desk: Ahead, said: bytes) -> None:
    host = Host(creates=lambda name, times: said, queries=ended)
    result = night(desk, host)
    assert (result.code, kinds(result)) == (4, ["throttled"]), result.err
    assert "says nothing but that it is asked too fast, for 2 h by when it may be asked again" in result.err
    assert result.json["buckets"]["pending"] == 2
    assert "how fast" in result.err


@pytest.mark.parametrize("said", [SLOW_DOWN, WAIT_AN_HOUR], ids=["too fast", "in an hour"])
def test_an_api_that_only_says_too_fast_to_queries_ends_the_run(desk: Ahead, said: bytes) -> None:
    host = Host(queries=lambda name, times: said)
    result = night(desk, host, count=40 if said is WAIT_AN_HOUR else 3)
    assert result.code == 4, result.err
    assert {row["state"] for row in desk.export()} == {"submitted"}


def test_an_account_whose_slots_somebody_else_has_for_hours_ends_the_run(desk: Ahead) -> None:
    host = Host(creates=lambda name, times: NO_SLOT, queries=ended)
    result = night(desk, host)
    assert (result.code, kinds(result)) == (4, ["full"]), result.err
    assert "no free slot for 2 h, though no task of this ledger runs" in result.err


def test_an_account_that_is_full_for_an_hour_is_waited_for(desk: Ahead) -> None:
    host = Host(
        creates=lambda name, times: NO_SLOT if times < 80 else accepted(name, times),
        queries=ended,
    )
    result = night(desk, host, count=1)
    assert (result.code, result.json["created"]) == (0, 1), result.err


def test_an_api_that_finds_a_task_for_any_id_is_not_asked_for_ever(desk: Ahead) -> None:
    host = Host(queries=ended, finds_all=True)
    result = night(desk, host, "--recover", count=1)
    assert result.code == 4, result.err
    assert "finds a task for any id" in result.err
    assert not any(method == "POST" for method, _ in host.asked)
