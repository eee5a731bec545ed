"""What is broken off, by the API's answers or by a person, creates nothing more, says why, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from batchgen.manifest.takes import MOST
from batchgen.run.dispositions import UNCLEAR
from batchgen.run.recovery import LOOKUP_ATTEMPTS
from batchgen.run.runner import GRACE
from tests.machine.test_bounds import UNKNOWN, Host, accepted, ended, kinds, night, told
from tests.support.ahead import Ahead
from tests.support.program import ENDS, KEY, Desk, until
from tests.support.wire import PATH, answer, request, served

UNHEARD_OF = answer({"code": 4711, "message": "something new"}, 400)
NO_ANSWER = answer({"code": 5000, "message": "internal error"}, 500)
PACE = ("--poll-interval", "0.05", "--timeout", "30", "--settle", "0.5")


@pytest.fixture
def ahead(tmp_path: Path) -> Ahead:
    """The program in virtual time."""
    return Ahead(tmp_path)


def creates(host: Host) -> int:
    return sum(times + 1 for (method, _), times in host.asked.items() if method == "POST")


# -- unclear answers in a row --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "code", "left"),
    [(NO_ANSWER, 4, {"unknown": UNCLEAR, "pending": 2}), (UNHEARD_OF, 3, {"pending": 10})],
    ids=["nobody knows", "unheard of"],
)
def test_after_eight_unclear_answers_in_a_row_nothing_more_is_created(
    ahead: Ahead, said: bytes, code: int, left: dict[str, int]
) -> None:
    host = Host(creates=lambda name, times: said, queries=ended)
    result = night(ahead, host, "--concurrency", "1", "--settle", "1", count=10)
    assert (result.code, creates(host)) == (code, UNCLEAR), result.err
    assert (kinds(result), result.json["buckets"] | left) == (["unclear"], result.json["buckets"])
    assert "the API gave unclear answers 8 times in a row, the last: " in result.err


def test_an_accepted_create_between_them_begins_the_row_anew(ahead: Ahead) -> None:
    turns = list[str]()

    def create(name: str, times: int) -> bytes:
        turns.append(name)
        return accepted(name, times) if len(turns) % UNCLEAR == 0 else UNHEARD_OF

    host = Host(creates=create, queries=ended)
    result = night(ahead, host, "--concurrency", "1", count=3)
    assert (result.code, result.json["created"]) == (0, 3), result.err
    assert len(turns) == 3 * UNCLEAR


def test_a_burst_of_unclear_answers_counts_once(ahead: Ahead) -> None:
    host = Host(
        creates=lambda name, times: accepted(name, times) if times else UNHEARD_OF,
        queries=ended,
    )
    result = night(ahead, host, "--concurrency", "9", "--max-running", "9", count=9)
    assert (result.code, result.json["created"]) == (0, 9), result.err
    assert creates(host) == 18


# -- signals -------------------------------------------------------------------------------------------------------


class Holding:
    """An API that holds back what it would say to a ``held`` kind of request, and knows the tasks that it made."""

    def __init__(self, *held: str) -> None:
        self.held = set(held)  # methods
        self.heard: list[tuple[str, str]] = []
        self.made: list[str] = []

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard = await request(reader)
            name = unquote(heard.path.removeprefix(f"{PATH}/")).removeprefix("t-")
            if heard.method == "POST":
                name = json.loads(heard.body)["external_task_id"]
                self.made.append(name)
            self.heard.append((heard.method, name))
            if heard.method in self.held:
                await asyncio.sleep(ENDS)
            writer.write(told(name, "submitted") if name in self.made else UNKNOWN)

    def asked(self, method: str) -> list[str]:
        return [name for heard, name in self.heard if heard == method]


@contextmanager
def against(desk: Desk, host: Holding | Host) -> Iterator[None]:
    if isinstance(desk, Ahead):
        with desk.against_api(host.play):
            yield
        return
    with served(host.play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
        yield


def write_jobs(desk: Desk, count: int) -> None:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}"} for n in range(count)]
    defaults = {"model_name": "kling-v3"}
    desk.write("m.yaml", json.dumps({"version": 1, "name": "m", "defaults": defaults, "jobs": jobs}))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_a_run_at_once_and_the_next_one_pays_nothing_twice(
    desk: Desk, number: signal.Signals, code: int
) -> None:
    host = Holding("POST")
    write_jobs(desk, 1)
    with against(desk, host):
        process = desk.start("run", *PACE, "m.yaml")
        until(lambda: len(host.made) == 1)
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() < begun + ENDS:  # as somebody who is in a hurry
            process.send_signal(number)
            time.sleep(0.02)
        stopped = desk.finish(process)
        assert time.monotonic() - begun < GRACE, "a create in flight has longer"
        assert (stopped.code, [row["state"] for row in desk.export()]) == (code, ["submitting"])
        assert stopped.err == "batchgen: stopped at once; what was open is in the ledger, run again\n"
        host.held.clear()
        again = desk.run("run", "--submit-only", *PACE, "m.yaml")
    assert (again.code, [row["state"] for row in desk.export()]) == (0, ["submitted"]), again.err
    assert len(host.made) == 1


# -- recovery ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [("recover",), ("run", "--recover", "--submit-only")], ids=["recover", "run"]
)
def test_a_recovery_gives_up_where_an_id_gets_no_answer_and_keeps_what_it_found(
    ahead: Ahead, command: tuple[str, ...]
) -> None:
    first: list[str] = []  # the first take's id: nothing is known of another

    def says(name: str, times: int) -> bytes:
        if ".j1." in name:
            return NO_ANSWER
        first.append(name)
        return told(name, "submitted") if name == first[0] else UNKNOWN

    host = Host(queries=says, finds_all=True)
    write_jobs(ahead, 2)
    with against(ahead, host):
        result = ahead.run(*command, "m.yaml")
    asked = {name: times + 1 for (_, name), times in host.asked.items()}
    (silent,) = (name for name in asked if ".j1." in name)
    assert (result.code, asked[silent], creates(host)) == (4, LOOKUP_ATTEMPTS, 0), result.err
    assert f"the API gave no answer about {silent}: " in result.err
    assert "run it again" in result.err
    assert [(row["job_id"], row["state"]) for row in ahead.export()] == [("j0", "submitted")]


def test_a_recovery_ends_where_the_api_says_of_every_id_that_it_knows_it(ahead: Ahead) -> None:
    """Takes that were ordered have no end that a lost ledger could tell."""
    host = Host(
        queries=lambda name, times: UNKNOWN if "~" in name else told(name, "submitted"), finds_all=True
    )
    write_jobs(ahead, 1)
    with against(ahead, host):
        ahead.run("recover", "m.yaml")
    assert (len(ahead.export()), creates(host)) == (MOST + 1, 0)


@pytest.mark.parametrize(
    "command", [("recover",), ("run", "--recover", "--submit-only")], ids=["recover", "run"]
)
def test_a_recovery_that_is_interrupted_says_so_creates_nothing_and_is_done_again(
    desk: Desk, command: tuple[str, ...]
) -> None:
    host = Holding()
    write_jobs(desk, 2)
    with against(desk, host):
        assert desk.run("run", "--submit-only", *PACE, "m.yaml").code == 0
        shutil.rmtree(desk.folder / "home/.local/state/batchgen")
        asked = len(host.asked("GET"))
        host.held.add("GET")
        process = desk.start(*command, *PACE, "m.yaml")
        until(lambda: len(host.asked("GET")) == asked + 2)
        process.terminate()
        stopped = desk.finish(process)
        assert (stopped.code, desk.export()) == (143, [])
        assert "ended by SIGTERM; what was open is safe, run again" in stopped.err
        host.held.clear()
        assert desk.run(*command, *PACE, "m.yaml").code == 0
    assert [row["state"] for row in desk.export()] == ["submitted"] * 2
    assert len(host.made) == 2


# -- following -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (None, "has run for 3 h and answered"),
        (60.0, "has run for 30 min (of its kind, std/5, none took longer than 60 s) and answered"),
        (2 * 3600.0, "has run for 6 h (of its kind, std/5, none took longer than 2 h) and answered"),
    ],
    ids=["never seen", "a minute", "two hours"],
)
def test_a_task_that_does_not_end_is_followed_for_as_long_as_its_kind_suggests_and_six_hours_at_most(
    ahead: Ahead, known: float | None, says: str
) -> None:
    stuck = ".j0." if known is None else ".j1."
    host = Host(queries=lambda name, times: told(name, "processing") if stuck in name else ended(name, times))
    with against(ahead, host):
        if known is not None:
            write_jobs(ahead, 1)
            assert ahead.run("run", "m.yaml").code == 0
            ledger = ahead.folder / "home/.local/state/batchgen/ledger.db"
            with closing(sqlite3.connect(ledger)) as connection, connection:
                connection.execute("UPDATE tasks SET length = ?", (known,))
        write_jobs(ahead, 1 if known is None else 2)
        result = ahead.run("run", "m.yaml")
    assert result.code == 4
    assert says in result.err
    assert ahead.export()[-1]["state"] == "submitted"
