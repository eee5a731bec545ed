"""``batchgen doctor``: each fault of a set-up is found and named with what to do, in bounded time, and nothing is changed."""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from batchgen.cli import options
from batchgen.cli.check_api import way
from batchgen.cli.check_disk import free
from batchgen.cli.doctor import doctor
from batchgen.cli.output import Output
from batchgen.cli.values import shareable
from batchgen.cli.verdicts import Verdict, exit_code, in_time
from batchgen.ledger.schedules import Schedule, install
from batchgen.ledger.writer import Ledger
from batchgen.masking import Mask
from batchgen.models import State
from tests.machine.test_hostile_machine import obeying_permissions
from tests.support import wire
from tests.support.book import Book
from tests.support.program import KEY, Desk, Server, loop_in_thread, sandbox
from tests.wire.test_transport import tls

NONE = {"code": 1203, "message": "task not found", "request_id": "r1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sandbox(tmp_path_factory.mktemp("api")) as one:
        yield one


@pytest.fixture
def desk(tmp_path: Path, server: Server) -> Desk:
    desk = Desk(tmp_path).against(server)
    desk.env["BATCHGEN_LEDGER"] = str(tmp_path / "state" / "ledger.db")
    (tmp_path / "state").mkdir()
    return desk


def told(desk: Desk, *words: str) -> dict[str, Any]:
    """What it says, by subject; the exit code is 1 exactly where something is bad."""
    result = desk.run("doctor", "--json", *words)
    assert result.err == ""
    found = result.json["verdicts"]
    assert result.code == result.json["exit_code"] == any(one["state"] == "bad" for one in found)
    return {one["subject"]: one for one in found}


def states(found: dict[str, Any], *but: str) -> set[str]:
    return {one["state"] for subject, one in found.items() if subject not in but}


def made(desk: Desk, origin: str) -> Path:
    """A ledger with one clip at home and one open task."""
    path = Path(desk.env["BATCHGEN_LEDGER"])
    with Book(path.parent) as book:
        book.add("home", State.DOWNLOADED)
        book.add("open", State.SUBMITTED)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'origin'", (origin,))
    connection.close()
    return path


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that lies below a folder, with times and contents."""
    return {
        str(path): (
            path.stat().st_mtime_ns,
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


def test_where_all_is_well_nothing_is_bad_and_nothing_has_changed(desk: Desk, server: Server) -> None:
    made(desk, server.url)
    desk.write("m.yaml", json.dumps({"version": 1, "jobs": [{"folder": "in", "prompt": "x"}]}))
    desk.write("in/a.png", b"")
    before, heard = tree(desk.folder), len(server.entries())
    found = told(desk, "m.yaml")
    assert states(found, "backups", "last run", "next run") == {"ok"}
    assert tree(desk.folder) == before
    asked = server.entries()[heard:]
    assert len(asked) == 1 and not server.accepted()
    assert found["ledger"]["message"].endswith("all pages are sound")
    assert found["key"]["facts"] == {"source": "POWERTOKENS_API_KEY"}
    assert str(desk.folder / "in") in found["folders"]["message"]
    assert set(found) == {
        *("configuration", "key", "api", "clock", "ledger", "last run", "next run", "backups", "disk"),
        *("folders", "versions"),
    }


def test_people_get_a_verdict_a_line_and_the_values_that_somebody_gave(desk: Desk) -> None:
    desk.write("home/.config/batchgen/config.yaml", "\nmax_cost: 50\nlog_file: ../../night.log\n")
    desk.write("m.yaml", '{"version": 1, "downloads": 3, "jobs": []}')
    lines = desk.run("doctor", "m.yaml").out.splitlines()
    assert [line.split()[0] for line in lines[: lines.index("")]].count("ok") >= 6
    assert any(line.startswith("ok   key") for line in lines)
    values = [line.split() for line in lines[lines.index("") :]]
    file = str(desk.folder / "home" / ".config" / "batchgen" / "config.yaml")
    assert ["max_cost", "50", f"({file}:2)"] in values
    assert ["log_file", str(desk.folder / "home" / "night.log"), f"({file}:3)"] in values
    assert ["base_url", desk.env["POWERTOKENS_API_BASE"], "(POWERTOKENS_API_BASE)"] in values
    assert ["downloads", "3", "(m.yaml)"] in values
    assert not any(line[:1] == ["timeout"] for line in values)
    longer = desk.run("doctor", "-v", "--ledger", "x.db", "m.yaml").out
    all_of_them = [line.split("  ") for line in longer.splitlines()]
    for name, text, origin in (
        ("timeout", "60", "built in"),
        ("concurrency", "8", "built in"),
        ("max_running", "learned", "built in"),
        ("ledger", "x.db", "command line"),
    ):
        assert any(
            [name, text, f"({origin})"] == list(filter(None, map(str.strip, one))) for one in all_of_them
        )
    assert "spend.until" not in longer
    quiet = desk.run("doctor", "-q")
    assert (quiet.code, quiet.out) == (0, "")


def answering(**headers: str) -> wire.Play:
    return wire.saying(wire.answer(NONE, 404, **headers))


@pytest.mark.parametrize(
    ("answer", "subject", "state", "text"),
    [
        (wire.answer({"code": 1002, "message": "no such key"}, 401), "key", "bad", "doesn't take it"),
        (wire.answer({"code": 1003, "message": "not valid yet"}, 401), "key", "bad", "doesn't take it"),
        (wire.answer({"code": 1101, "message": "in arrears"}, 429), "api", "bad", "in arrears"),
        (wire.answer({"code": 1304, "message": "not on the list"}, 429), "api", "bad", "not on the list"),
        (wire.answer(b"<html>log in</html>", 200), "api", "bad", ""),
        (wire.answer({"code": 5001, "message": "maintenance"}, 503), "api", "note", "maintenance"),
        (wire.answer({"code": 1302, "message": "too fast"}, 429), "api", "note", "too fast"),
        (wire.answer(NONE, 404), "clock", "note", "no date"),
    ],
)
def test_what_the_api_says_of_key_and_account_is_told(
    desk: Desk, answer: bytes, subject: str, state: str, text: str
) -> None:
    with wire.served(wire.saying(answer)) as url:
        desk.env["POWERTOKENS_API_BASE"] = url
        found = told(desk)
    assert found[subject]["state"] == state and text in found[subject]["message"]
    assert state == "note" or found[subject]["advice"]


@pytest.mark.parametrize(
    ("off", "state", "text"),
    [
        (0, "ok", "agrees"),
        (-20, "note", "ahead of"),
        (20, "note", "behind"),
        (-3700, "bad", "61 min ahead of"),
        (3600, "bad", "behind"),
    ],
)
def test_a_clock_that_is_off_is_told_from_the_answers_date(
    desk: Desk, off: int, state: str, text: str
) -> None:
    date = email.utils.formatdate(time.time() + off, usegmt=True)
    with wire.served(answering(Date=date)) as url:
        desk.env["POWERTOKENS_API_BASE"] = url
        clock = told(desk)["clock"]
    assert clock["state"] == state and text in clock["message"]


def test_a_certificate_that_nobody_trusts_is_named_and_no_key_is_sent(desk: Desk) -> None:
    heard: list[wire.Heard] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await wire.request(reader))

    served, stack = tls(trustme.CA(), play), AsyncExitStack()
    with loop_in_thread() as loop:
        entering = stack.enter_async_context(served)
        desk.env["POWERTOKENS_API_BASE"] = asyncio.run_coroutine_threadsafe(entering, loop).result()
        api = told(desk)["api"]
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result()
    assert api["state"] == "bad" and "certificate is not trusted" in api["message"]
    assert "SSL_CERT_FILE" in api["advice"] and heard == []


def test_a_proxy_is_named_without_its_password(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    desk.env |= {
        "POWERTOKENS_API_BASE": "https://api.example",
        "HTTPS_PROXY": f"http://me:s3cret-word@127.0.0.1:{port}",
    }
    result = desk.run("doctor", "-v")
    assert result.code == 1
    assert f"the proxy http://127.0.0.1:{port}" in " ".join(result.out.split())
    assert "s3cret-word" not in result.out + result.err


def test_the_way_to_the_api_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert way("https://api.example") == "over TLS, directly"
    assert way("http://127.0.0.1:8080") == "without TLS on this machine, directly"
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pw@proxy.example:3128")
    assert way("https://api.example") == "over TLS, through the proxy http://proxy.example:3128"
    monkeypatch.setenv("NO_PROXY", ".example")
    assert way("https://api.example") == "over TLS, directly"


def test_a_name_that_nobody_knows_is_told(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOKENS_API_KEY", KEY)
    monkeypatch.setenv("POWERTOKENS_API_BASE", "https://no-such-host.invalid")
    api = called(capsys, "--ledger", str(desk.folder / "none.db"), within=1.0)["api"]
    assert api["state"] == "bad" and "the name no-such-host.invalid can't be looked up" in api["message"]


@pytest.mark.parametrize(
    ("mode", "state"), [(0o600, "ok"), (0o400, "ok"), (0o640, "note"), (0o644, "bad"), (0o602, "bad")]
)
def test_who_can_read_the_keys_file_is_told(desk: Desk, mode: int, state: str) -> None:
    del desk.env["POWERTOKENS_API_KEY"]
    file = desk.write("key", KEY)
    file.chmod(mode)
    desk.env["POWERTOKENS_API_KEY_FILE"] = str(file)
    key = told(desk)["key"]
    assert key["state"] == state and key["facts"] == {
        "source": "POWERTOKENS_API_KEY_FILE",
        "mode": f"{mode:03o}",
    }
    assert (f"chmod 600 {file}" == key["advice"]) is (state != "ok")


def test_without_a_key_the_api_is_looked_for_all_the_same(desk: Desk) -> None:
    del desk.env["POWERTOKENS_API_KEY"]
    found = told(desk)
    assert found["key"]["state"] == "bad" and "there is no API key" in found["key"]["message"]
    assert found["api"]["state"] == "ok"


def test_a_key_in_the_wrong_variable_is_not_shown(desk: Desk) -> None:
    del desk.env["POWERTOKENS_API_KEY"]
    desk.env["POWERTOKENS_API_KEY_FILE"] = KEY  # told() sees that it isn't shown
    assert told(desk)["key"]["state"] == "bad"


def test_a_damaged_ledger_is_told(desk: Desk, server: Server) -> None:
    path = made(desk, server.url)
    data = bytearray(path.read_bytes())
    page = int.from_bytes(data[16:18], "big")
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'tasks_job'").fetchone()
    connection.close()
    data[(root - 1) * page : root * page] = os.urandom(page)
    path.write_bytes(data)
    ledger = told(desk)["ledger"]
    assert ledger["state"] == "bad" and "is damaged" in ledger["message"]


@pytest.mark.parametrize("content", [b"", b"no ledger at all" * 100])
def test_what_is_no_ledger_is_told(desk: Desk, content: bytes) -> None:
    Path(desk.env["BATCHGEN_LEDGER"]).write_bytes(content)
    assert told(desk)["ledger"]["state"] == "bad"


def test_a_ledger_of_another_api_is_told(desk: Desk) -> None:
    made(desk, "https://other.example")
    ledger = told(desk)["ledger"]
    assert ledger["state"] == "bad" and "belongs to https://other.example" in ledger["message"]


def test_a_ledger_of_another_user_is_told(desk: Desk, server: Server) -> None:
    path = made(desk, server.url)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, -1)
    ledger = told(desk)["ledger"]
    assert ledger["state"] == "bad" and "belongs to the user number 12345" in ledger["message"]


def test_it_works_beside_a_run_and_takes_no_lock(desk: Desk, server: Server) -> None:
    path = made(desk, server.url)
    with Ledger.open(str(path), origin=server.url):
        assert told(desk)["ledger"]["state"] == "ok"
    with Ledger.open(str(path), origin=server.url):
        pass  # and it is free


def test_backups_are_as_old_as_the_newest(desk: Desk, server: Server) -> None:
    path = made(desk, server.url)
    assert told(desk)["backups"]["state"] == "note"
    folder = Path(f"{path}.backups")
    folder.mkdir()
    for number, age in ((1, 3 * 86400), (2, 7200)):
        file = folder / f"{number:04}-20261129T000000Z.db"
        file.write_bytes(b"x")
        os.utime(file, (time.time() - age,) * 2)
    os.utime(path, (time.time() - 7300,) * 2)
    backups = told(desk)["backups"]
    assert backups["state"] == "ok" and backups["facts"]["count"] == 2 and "2 h old" in backups["message"]
    os.utime(path, (time.time() + 2 * 86400,) * 2)
    assert told(desk)["backups"]["state"] == "note"


def test_a_night_that_did_not_begin_is_told_with_the_next_one(desk: Desk, server: Server) -> None:
    path = made(desk, server.url)
    assert told(desk)["next run"]["state"] == "note"
    night = Schedule("night", "cron", "01:00", "UTC", 0.0, "here", ("run", "m"), time.time() - 60, None)
    install(str(path), night)
    assert told(desk)["next run"]["state"] == "ok"
    install(str(path), night._replace(name="old", since=time.time() - 3 * 86400))
    missed = told(desk)["next run"]
    assert missed["state"] == "bad" and "did not begin" in missed["message"] and "cron" in missed["advice"]


def called(capsys: pytest.CaptureFixture[str], *words: str, **given: Any) -> dict[str, Any]:
    """The same within this process, with a disk or a clock of the test's."""
    args = options.parser().parse_args(["doctor", "--json", *words])
    doctor(args, Output(args, Mask()), **given)
    return {one["subject"]: one for one in json.loads(capsys.readouterr().out)["verdicts"]}


@pytest.mark.parametrize(
    ("left", "state", "text"),
    [
        ((10**10, 10**6), "ok", "1 open task: about 25.0 MB"),
        ((126 * 10**6, 10**6), "ok", "assumed"),
        ((60 * 10**6, 10**6), "note", "little is left"),
        ((20 * 10**6, 10**6), "bad", "too little"),
        ((0, 10**6), "bad", "too little"),
        ((10**10, 0), "bad", "no more files"),
    ],
)
def test_what_is_free_is_measured_by_what_open_tasks_will_need(
    desk: Desk,
    server: Server,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    left: tuple[int, int],
    state: str,
    text: str,
) -> None:
    path = made(desk, server.url)
    monkeypatch.setenv("POWERTOKENS_API_BASE", server.url)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tasks SET video_size = NULL")
    connection.close()
    disk = called(capsys, "--ledger", str(path), room=lambda folder: left)["disk"]
    assert disk["state"] == state and text in disk["message"]
    assert free(str(desk.folder))[0] > 0


def test_the_size_of_a_clip_is_learned(
    desk: Desk, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(desk, server.url)
    monkeypatch.setenv("POWERTOKENS_API_BASE", server.url)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tasks SET video_size = 4000000000 WHERE state = 'downloaded'")
    connection.close()
    disk = called(capsys, "--ledger", str(path), room=lambda folder: (10**9, 10**6))["disk"]
    assert disk["state"] == "bad" and disk["facts"]["needed_bytes"] == 4 * 10**9


def test_a_folder_that_can_not_be_read_and_one_that_can_not_be_written_are_named(desk: Desk) -> None:
    desk.write(
        "m.yaml",
        json.dumps({"version": 1, "output_dir": "out/clips", "jobs": [{"folder": "in"}, {"table": "t.csv"}]}),
    )
    desk.write("in/a.png", b"")
    (desk.folder / "out").mkdir()
    (desk.folder / "in").chmod(0)
    (desk.folder / "out").chmod(0o500)
    desk.program = obeying_permissions()
    result = desk.run("doctor", "--json", "m.yaml")
    texts = [one["message"] for one in result.json["verdicts"] if one["subject"] == "folders"]
    (desk.folder / "in").chmod(0o700)
    assert result.code == 1 and len(texts) == 3
    assert any("out can't be written by this user, so" in text for text in texts)
    assert any("in can't be read: Permission denied" in text for text in texts)
    assert any("t.csv can't be read: No such file" in text for text in texts)


@pytest.mark.parametrize(("mode", "state"), [(0o600, "ok"), (0o644, "note")])
def test_a_configuration_with_addresses_that_are_secret_is_for_its_owner(
    desk: Desk, mode: int, state: str
) -> None:
    file = desk.write("home/.config/batchgen/config.yaml", "ping_url: https://ping.example/s3cret-word\n")
    file.chmod(mode)
    result = desk.run("doctor")
    assert "s3cret-word" not in result.out and "https://ping.example/..." in result.out
    assert told(desk)["configuration"]["state"] == state


def test_the_configurations_folder_for_clips_is_looked_at(desk: Desk) -> None:
    desk.write("home/.config/batchgen/config.yaml", "output_dir: /dev/null/clips\n")
    folders = told(desk)["folders"]
    assert folders["state"] == "bad" and "/dev/null" in folders["message"]


def test_a_wrong_configuration_is_told_beside_all_else(desk: Desk) -> None:
    desk.write("home/.config/batchgen/config.yaml", "yes: true\nbananas: 3\n")
    found = told(desk)
    assert found["configuration"]["state"] == "bad"
    assert (
        "config.yaml:1:1: yes" in found["configuration"]["message"]
        and "bananas" in found["configuration"]["message"]
    )
    assert found["api"]["state"] == "ok"


def test_the_configurations_own_way_to_print_is_taken(desk: Desk) -> None:
    desk.write("home/.config/batchgen/config.yaml", "json: true\n")
    assert desk.run("doctor").json["exit_code"] == 0


def test_a_manifest_that_is_not_there_is_told(desk: Desk) -> None:
    assert told(desk, "nowhere.yaml")["manifests"]["state"] == "bad"


def test_what_never_answers_is_given_up(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOKENS_API_KEY", KEY)
    with wire.served(wire.saying(b"", hang_up=False)) as url:
        monkeypatch.setenv("POWERTOKENS_API_BASE", url)
        begun = time.monotonic()
        api = called(capsys, "--ledger", str(desk.folder / "none.db"), within=0.3)["api"]
    assert api["state"] == "bad" and "within 0.3 s" in api["message"]
    assert time.monotonic() - begun < 5


def test_a_check_that_hangs_or_fails_is_a_verdict_and_the_others_are_told() -> None:
    def fails() -> Iterator[Verdict]:
        raise OSError(5, "Input/output error", "/mnt/x")

    def hangs() -> Iterator[Verdict]:
        yield Verdict("quick", "ok", "")
        time.sleep(30)

    def is_wrong() -> Iterator[Verdict]:
        raise ZeroDivisionError

    checks: dict[str, Callable[[], Iterator[Verdict]]] = {
        "slow": hangs,
        "broken": fails,
        "wrong": is_wrong,
        "good": lambda: iter([Verdict("good", "ok", "x")]),
    }
    found = in_time(checks, 0.1)
    assert [one.subject for one in found] == ["quick", *checks]
    assert [one.state for one in found] == ["ok", "bad", "bad", "bad", "ok"]
    assert "no answer within" in found[1].text and "please report" in found[3].text
    assert found[2].text == "/mnt/x: Input/output error"
    assert exit_code(found) == 1 and exit_code(found[4:]) == 0


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("ping_url", "https://hc-ping.com/6a1b-secret", "https://hc-ping.com/..."),
        ("ping_url", "https://user:pw@ping.example:8/x?t=1", "https://ping.example:8/..."),
        ("notify_url", ["tgram://123:token/chat", "slack://TokenA/TokenB"], "tgram://..., slack://..."),
        ("on_finish", "curl https://x.example/secret", "curl ..."),
        ("base_url", "https://gate.example/api", "https://gate.example/api"),
        ("base_url", "https://u:pw@gate.example/api?key=1", "https://...@gate.example/api"),
        ("log_file", "/home/me/night.log", "/home/me/night.log"),
        ("clip_hosts", ["a.corp", "b.corp"], "a.corp, b.corp"),
        ("strict", True, "true"),
        ("timeout", 60.0, "60"),
        ("until", None, "-"),
    ],
)
def test_a_value_that_may_be_secret_is_not_shown(name: str, value: Any, shown: str) -> None:
    assert shareable(name, value) == shown
