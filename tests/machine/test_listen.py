"""Callbacks as users meet them: a run that listens, a receiver of its own, and where their secret must not be."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from batchgen.night.hint_pipe import HintWriter
from tests.support.program import ENDS, KEY, QUICK, Desk, Server, loop_in_thread, sandbox, until
from tests.support.wire import answer, request, wire

SIGNING = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="
JOBS = 4


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as link:
        return int(link.getsockname()[1])


def desk_of(folder: Path) -> Desk:
    desk = Desk(folder)
    job = {"model_name": "kling-v3", "image": "https://example.com/a.png"}
    jobs = [{**job, "id": f"j{n}", "prompt": f"x {n}"} for n in range(JOBS)]
    desk.write("m.yaml", json.dumps({"version": 1, "name": "m", "output_dir": "clips", "jobs": jobs}))
    desk.env["BATCHGEN_LEDGER"] = str(folder / "ledger.db")
    return desk


def secret_of(desk: Desk) -> str:
    with sqlite3.connect(desk.env["BATCHGEN_LEDGER"]) as ledger:
        ((secret,),) = ledger.execute("SELECT value FROM notes WHERE key = 'callback_secret'").fetchall()
    ledger.close()
    return str(secret)


def statuses(server: Server) -> set[int | None]:
    """What the receiver answered."""
    return {one.status for one in server.entries() if one.kind == "callback"}


@pytest.mark.parametrize("signed", [False, True])
def test_a_run_that_listens_is_called_and_its_secret_is_sent_to_the_api_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signed: bool
) -> None:
    desk, port = desk_of(tmp_path), free_port()
    if signed:
        monkeypatch.setenv("BATCHGEN_CALLBACK_SECRET", SIGNING)  # the sandbox signs with it
        desk.env["BATCHGEN_CALLBACK_SECRET"] = SIGNING
    with sandbox(tmp_path, "--task-seconds", "0.4-0.8", "--callbacks", f"127.0.0.1:{port}") as server:
        desk.against(server)
        listen = ("--listen", f"127.0.0.1:{port}", "--public-url", f"http://127.0.0.1:{port}/hooks")
        ended = desk.run("run", "-v", "--log-file", "log.txt", *QUICK, *listen, "m.yaml")
        assert ended.code == 0, ended.err
        until(lambda: sum(one.kind == "callback" for one in server.entries()) == 2 * JOBS)
        secret = secret_of(desk)
        sent = {one.fields["callback_url"] for one in server.entries() if one.accepted}
        assert sent == {f"http://127.0.0.1:{port}/hooks/{secret}"}
        assert len(secret) == 43
        assert 200 in statuses(server) and not statuses(server) & {400, 401, 404, 413}
        assert re.search(r"callbacks: [4-8] heard, 0 refused", ended.err)
        again = desk.run("run", *QUICK, *listen, "m.yaml")
        assert (again.code, secret_of(desk)) == (0, secret)
    shown = ended.out + ended.err + (tmp_path / "log.txt").read_text()
    for command in ("export", "runs --json", "status --json", "why --json m/j0", "export --format csv"):
        shown += desk.run(*command.split()).out
    assert desk.run("report", "-o", "page.html").code == 0
    shown += (tmp_path / "page.html").read_text()
    shown += "".join(path.read_text() for path in tmp_path.rglob("clips.jsonl"))
    assert secret not in shown and secret[:20] not in shown
    assert SIGNING.removeprefix("whsec_")[:16] not in shown


@pytest.mark.parametrize("fault", ["callback_forged=1", "callback_expired=1"])
def test_a_night_of_forged_or_replayed_calls_alone_is_one_without_any_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    desk, port = desk_of(tmp_path), free_port()
    monkeypatch.setenv("BATCHGEN_CALLBACK_SECRET", SIGNING)
    desk.env["BATCHGEN_CALLBACK_SECRET"] = SIGNING
    options = ("--task-seconds", "0.4-0.8", "--callbacks", f"127.0.0.1:{port}", "--fault", fault)
    with sandbox(tmp_path, *options) as server:
        listen = ("--listen", f"127.0.0.1:{port}", "--public-url", f"http://127.0.0.1:{port}")
        ended = desk.against(server).run("run", *QUICK, *listen, "m.yaml")
        assert ended.code == 0
        assert statuses(server) == {401}
    assert "callbacks came without the right signature, and none with it" in ended.err
    assert "this machine's clock right?" in ended.err


def test_an_api_that_quotes_the_address_of_calls_gives_its_secret_to_no_log_and_no_ledger(
    tmp_path: Path,
) -> None:
    desk = desk_of(tmp_path)
    sent: list[str] = []

    async def quoting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard = await request(reader)
            body = {"code": 1203, "message": "no such task"}
            if heard.method == "POST":
                sent.append(json.loads(heard.body)["callback_url"])
                body = {"code": 1201, "message": f"callback_url {sent[-1]} can't be reached"}
            writer.write(answer(body, 404 if heard.method == "GET" else 400))
            await writer.drain()

    with loop_in_thread() as loop:
        served = wire(quoting)
        url = asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result(ENDS)
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
        ended = desk.run(
            "run", "-v", "--log-file", "log.txt", "--public-url", "http://127.0.0.1:1/x", "m.yaml"
        )
        asyncio.run_coroutine_threadsafe(served.__aexit__(None, None, None), loop).result(ENDS)
    secret = secret_of(desk)
    assert sent and all(one == f"http://127.0.0.1:1/x/{secret}" for one in sent)
    shown = ended.out + ended.err + (tmp_path / "log.txt").read_text() + desk.run("export").out
    assert "can't be reached" in shown and "callback_url http://127.0.0.1:1/x/[key]" in shown
    assert secret not in shown and secret[:20] not in shown


def test_a_receiver_of_its_own_passes_hints_to_the_run_that_has_the_ledger(tmp_path: Path) -> None:
    desk, port = desk_of(tmp_path), free_port()
    with sandbox(tmp_path, "--task-seconds", "0.6-1", "--callbacks", f"127.0.0.1:{port}") as server:
        desk.against(server)
        missing = desk.run("listen", f"127.0.0.1:{port}")
        assert missing.code == 2 and "ledger" in missing.err
        public = ("--public-url", f"http://127.0.0.1:{port}")
        assert desk.run("run", "--max-jobs", "1", *QUICK, *public, "m.yaml").code == 4
        receiver = desk.start("listen", "--json", "--log-file", "listen.txt", "-v", f"127.0.0.1:{port}")
        pipe = tmp_path / "ledger.db.hints"
        try:
            until(pipe.exists)
            assert stat.S_IMODE(pipe.lstat().st_mode) == 0o600
            before = len([one for one in server.entries() if one.kind == "query"])
            ended = desk.run("run", "--timeout", "5", "--settle", "1", *public, "m.yaml")
            assert ended.code == 0, ended.err
            ids = set(server.accepted())
            queries = [one for one in server.entries() if one.kind == "query"][before:]
            # Without hints, the first query of a task would come after ten seconds.
            assert max(one.at for one in queries) - min(one.at for one in queries) < 8
            assert sum(one.path.rpartition("/")[2] in ids for one in queries) <= 2 * JOBS
        finally:
            receiver.send_signal(signal.SIGTERM)
            came = desk.finish(receiver)
        assert came.code == 0, came.err
        told = {"schema_version": 1, "address": f"127.0.0.1:{port}", "ledger": str(tmp_path / "ledger.db")}
        assert came.json == {**told, "signed": False}
        assert secret_of(desk) not in came.out + came.err + (tmp_path / "listen.txt").read_text()
        assert re.search(r"callbacks: \d+ heard, 0 refused", (tmp_path / "listen.txt").read_text())


def test_a_port_that_is_taken_costs_a_line_and_no_night(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        sandbox(tmp_path, "--task-seconds", "0.1") as server,
    ):
        port = taken.getsockname()[1]
        listen = ("--listen", f"127.0.0.1:{port}", "--public-url", "http://127.0.0.1:1")
        ended = desk.against(server).run("run", *QUICK, *listen, "m.yaml")
        assert ended.code == 0
        assert ended.err.count("\n") == 1
        assert f"callbacks can't be received at 127.0.0.1:{port}: Address already in use" in ended.err


def test_a_rehearsal_is_called_at_a_port_of_its_own(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    listen = ("--listen", "127.0.0.1:1", "--public-url", "https://hooks.example.com/batchgen")
    ended = desk.run("run", "--sandbox", "-v", *listen, "m.yaml")
    assert ended.code == 0, ended.err
    assert re.search(r"callbacks: [4-8] heard, 0 refused", ended.err)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "127.0.0.1:8090"], "--listen needs --public-url"),
        (["--listen", "127.0.0.1"], "is no HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "is no HOST:PORT"),
        (["--listen", ":8090"], "is no HOST:PORT"),
        (["--public-url", "http://hooks.example.com"], "must begin with https://"),
    ],
)
def test_what_can_not_be_called_is_refused_before_anything_is_done(
    tmp_path: Path, options: list[str], said: str
) -> None:
    desk = desk_of(tmp_path)
    desk.env |= {"POWERTOKENS_API_KEY": "canary-5f0e1d-key", "POWERTOKENS_API_BASE": "http://127.0.0.1:1"}
    ended = desk.run("run", *options, "m.yaml")
    assert ended.code == 2 and said in ended.err
    assert not (tmp_path / "clips").exists()


def test_signed_callbacks_without_their_library_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_of(tmp_path)
    desk.env |= {"POWERTOKENS_API_KEY": "canary-5f0e1d-key", "BATCHGEN_CALLBACK_SECRET": SIGNING}
    monkeypatch.setitem(sys.modules, "standardwebhooks", None)
    ended = desk.run("run", "--public-url", "https://hooks.example.com", "m.yaml")
    assert ended.code == 2 and "pip install standardwebhooks" in ended.err
    assert SIGNING not in ended.err


def test_the_pipe_is_no_file_of_somebody_elses_and_no_hint_waits_for_a_reader(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    writer = HintWriter(path)
    writer.pass_on(("1",), True)  # nobody reads
    assert writer.passed == 0
    reader = os.open(f"{path}.hints", os.O_RDONLY | os.O_NONBLOCK)
    for number in range(20_000):  # more than it holds
        writer.pass_on((f"{number}", "m.a.1"), True)
    assert 100 < writer.passed < 20_000
    assert os.read(reader, 24).startswith(b'[["0","m.a.1"],true]\n')
    os.close(reader)
    writer.pass_on(("x" * 5000,), True)
    os.unlink(f"{path}.hints")
    (tmp_path / "ledger.db.hints").write_text("a file")
    with pytest.raises(Exception, match=r"ledger\.db\.hints is no pipe of yours"):
        HintWriter(path)
