"""The sandbox as gateways speak, and the program against it: the same nights, whatever the words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from batchgen.api.codes import CODES
from batchgen.api.responses import Accepted, Answer, read_create, read_query
from batchgen.errors import AccountStop, ApiError, MaybeAccepted, NotFound, Refused, SlotsFull, Throttled
from batchgen.sandbox.config import Config
from batchgen.sandbox.dialects import DIALECTS
from batchgen.sandbox.envelope import envelope
from batchgen.sandbox.server import Sandbox
from tests.support.program import Desk, sandbox
from tests.wire.test_api import NAME, create, query

GATEWAYS = [name for name in DIALECTS if name != "vendor"]
TASKS = ("--task-seconds", "0.05-0.2")
PACE = ("--timeout", "1", "--settle", "1", "--poll-interval", "0.05")


def heard(name: str, code: int, status: int, *, query: bool = False) -> Answer:
    document, http = DIALECTS[name].speak(envelope(code, "", None, "r1"), status, query)
    return Answer(http, json.dumps(document).encode())


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("code", sorted(CODES))
def test_what_a_dialect_says_of_a_create_means_what_the_code_means(name: str, code: int) -> None:
    meant = CODES[code].error
    with pytest.raises(ApiError) as caught:
        read_create(
            heard(name, code, 400 if meant is Refused else 500 if meant is MaybeAccepted else 429), "e1"
        )
    assert isinstance(caught.value, meant)
    if name == "vendor" or meant in (SlotsFull, MaybeAccepted):
        assert caught.value.code in (code, str(code), "HTTP 500") or meant is SlotsFull


@pytest.mark.parametrize("name", DIALECTS)
def test_what_a_dialect_says_of_a_query_means_what_the_code_means(name: str) -> None:
    for code, meant in ((1203, NotFound), (1004, AccountStop), (1302, Throttled), (5000, ApiError)):
        with pytest.raises(ApiError) as caught:
            read_query(heard(name, code, 500 if code == 5000 else 404, query=True), "e1")
        assert type(caught.value) is meant


@pytest.mark.parametrize("name", DIALECTS)
def test_a_task_is_created_found_and_read_in_every_dialect(name: str) -> None:
    async def scene() -> None:
        async with Sandbox(Config(dialect=name, task_seconds=(0, 0))) as server:
            made = await create(server.base_url)
            assert isinstance(made, Accepted)
            for asked in (made.task_id, NAME):
                view: Any = await query(server.base_url, asked)
                assert (view.task_id, view.status) == (made.task_id, "succeed")
                assert view.video_url == f"{server.base_url}/videos/{made.task_id}.mp4"
                assert view.external_task_id == (None if name == "wrapped" else NAME)
            assert isinstance(await query(server.base_url, "nobody"), NotFound)

    asyncio.run(scene())


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_night_at_a_gateway_makes_every_task_once_whatever_becomes_of_its_answers(
    desk: Desk, name: str
) -> None:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(8)]
    manifest = {
        "version": 1,
        "name": "m",
        "output_dir": "clips",
        "defaults": {"model_name": "kling-v3"},
        "jobs": jobs,
    }
    desk.write("m.yaml", json.dumps(manifest))
    rules = ("reset_after@3", "internal_after@5", "reset_before@6", "slots_full@4", "rate_limited@1")
    faults = [word for rule in rules for word in ("--fault", rule)]
    with sandbox(desk.folder, *TASKS, "--slots", "3", "--dialect", name, *faults) as server:
        desk.against(server)
        codes = list[int]()
        while codes[-1:] != [0] and len(codes) < 5:
            codes.append(desk.run("run", *PACE, "m.yaml").code)
        assert codes[-1] == 0
        assert server.summary()["twice"] == []
        rows = desk.export()
        assert {row["task_id"]: row["external_task_id"] for row in rows} == server.accepted()
        assert [row["state"] for row in rows] == ["downloaded"] * 8


@pytest.mark.parametrize("name", ["flat", "video"])  # where nothing says whose task it is, a person decides
def test_an_id_that_is_taken_is_looked_for_and_not_refused(desk: Desk, name: str) -> None:
    """The task was made by a run whose ledger is gone; lookups come too late to see it before the create."""
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(2)]
    manifest = {
        "version": 1,
        "name": "m",
        "output_dir": "clips",
        "defaults": {"model_name": "kling-v3"},
        "jobs": jobs,
    }
    desk.write("m.yaml", json.dumps(manifest))
    with sandbox(desk.folder, *TASKS, "--dialect", name, "--lookup-lag", "2.5") as server:
        desk.against(server)
        assert desk.run("run", *PACE, "--submit-only", "m.yaml").code == 0
        (desk.folder / "home/.local/state/batchgen/ledger.db").rename(desk.folder / "lost.db")
        codes = [desk.run("run", *PACE, "--settle", "4", "m.yaml").code for _ in range(3)]
        assert "rejected" not in {row["state"] for row in desk.export()}
        assert server.summary()["twice"] == []
        assert len(server.accepted()) == 2
        assert codes[-1] in (0, 5)
