"""A key that is changed in the middle of a night: what the old one had open goes on with the new one, paid once."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import pytest

from batchgen.sandbox.video import clip
from tests.machine.test_key import QUICK, holding, urls
from tests.support.program import ENDS, Desk, until
from tests.support.wire import PATH, answer, made, request, served

OLD = "sk-old-A7bQ9zKx3LmN5pRt8vWy2CdF"
NEW = "sk-new-Zp4HhT6nJr2VbXe9GkQs7MwL"
JOBS = 8


class Account:
    """One account of an API, with the keys that it has at the time."""

    def __init__(self) -> None:
        self.keys = {OLD}
        self.creates: Counter[str] = Counter()
        self.tasks: dict[str, str] = {}
        self.ended = False
        self.last = JOBS + 1  # the old key is revoked after so many creates
        self.base = ""

    def play(self) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def api(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                heard = await request(reader)
                key = heard.headers.get("authorization", "").removeprefix("Bearer ")
                if heard.path.startswith("/clips/"):
                    writer.write(answer(clip(heard.path)))
                elif key not in self.keys:
                    writer.write(answer({"code": 1004, "message": f"{key} has expired"}, 401))
                elif heard.method == "POST":
                    name = json.loads(heard.body)["external_task_id"]
                    self.creates[name] += 1
                    self.tasks[task := f"t{len(self.tasks)}"] = name
                    if len(self.tasks) == self.last:
                        self.keys = {NEW}
                    writer.write(made(task, task_info={"external_task_id": name}))
                else:
                    writer.write(self.told(unquote(heard.path.removeprefix(f"{PATH}/"))))

        return api

    def told(self, asked: str) -> bytes:
        task = next((task for task, name in self.tasks.items() if asked in (task, name)), "")
        if not task:
            return answer({"code": 1203, "message": "no such task"}, 404)
        info = {"task_info": {"external_task_id": self.tasks[task]}}
        if not self.ended:
            return made(task, task_status="processing", **info)
        videos = [{"url": f"{self.base}/clips/{task}.mp4"}]
        return made(task, task_status="succeed", task_result={"videos": videos}, **info)


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.write("m.yaml", urls(JOBS))
    desk.write("key", OLD).chmod(0o600)
    return desk


def test_a_key_that_is_revoked_in_a_run_loses_nothing_and_pays_for_nothing_twice(desk: Desk) -> None:
    account = Account()
    account.last = 3
    with served(account.play()) as account.base:
        desk.env |= {
            "POWERTOKENS_API_BASE": account.base,
            "POWERTOKENS_API_KEY_FILE": str(desk.folder / "key"),
        }
        stopped = desk.run("run", "--concurrency", "1", *QUICK, "m.yaml")
        assert stopped.code == 3
        assert "stopped: the key has expired ([key] has expired) [code 1004]" in stopped.err
        assert "Put a valid key where this one came from" in stopped.err
        states = Counter(row["state"] for row in desk.export())
        assert states["submitted"] == 3 and states.keys() <= {"submitted", "pending"}

        account.ended = True
        desk.write("key", NEW)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
    assert account.creates == Counter({row["external_task_id"]: 1 for row in desk.export()})
    assert [row["state"] for row in desk.export()] == ["downloaded"] * JOBS
    assert holding(OLD, desk.folder) == []
    (desk.folder / "key").unlink()
    assert holding(NEW, desk.folder) == []


def test_a_key_that_is_replaced_before_it_is_revoked_costs_one_restart(desk: Desk) -> None:
    """As the manual has it: both keys are good while the run is ended and started again."""
    account = Account()
    with served(account.play()) as account.base:
        desk.env |= {
            "POWERTOKENS_API_BASE": account.base,
            "POWERTOKENS_API_KEY_FILE": str(desk.folder / "key"),
        }
        process = desk.start("run", *QUICK, "m.yaml")
        until(lambda: len(account.tasks) == JOBS)
        account.keys = {OLD, NEW}
        desk.write("key", NEW)
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDS) == 143
        desk.finish(process)
        account.keys, account.ended = {NEW}, True
        assert desk.run("run", *QUICK, "m.yaml").code == 0
    assert set(account.creates.values()) == {1}
    assert [row["state"] for row in desk.export()] == ["downloaded"] * JOBS
