"""The key goes to the API in one header, and is found nowhere else: not in what is written, said, listed or sent on."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from urllib.parse import unquote

import pytest

from batchgen.api.client import Api
from batchgen.api.keys import api_key
from batchgen.errors import ApiError, UsageError
from batchgen.sandbox.video import clip
from tests.support.program import ENDS, KEY, Desk, Result, sandbox
from tests.support.stored import stored
from tests.support.terminal import on_a_terminal, read
from tests.support.wire import PATH, Heard, answer, made, request, saying, served, wire

ODD_KEY = 'sk-Canary+5f0e/1d=="\\key'  # with all that JSON, quotes and URLs spell in other ways
TYPED = "canary-typed-51bd"  # in command lines of tests, where others look for KEY and must not find it
QUICK = ("--poll-interval", "0.05", "--timeout", "1", "--settle", "1", "--retry-wait", "0.1")


def urls(count: int) -> str:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": "x"} for n in range(count)]
    return json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs})


# -- an API that repeats it ---------------------------------------------------------------------------------

ESCAPED = "".join(f"\\u{ord(letter):04X}" for letter in ODD_KEY).encode()
PERCENT = "".join(f"%{ord(letter):02x}" for letter in ODD_KEY)
RAW = ODD_KEY.encode()
SLASHED = json.dumps(ODD_KEY).replace("/", "\\/").encode()

REPEATS = {
    "message": answer({"code": 1000, "message": f"wrong key {ODD_KEY}."}, 401),
    "escaped message": answer(b'{"code": 1301, "message": "not with ' + ESCAPED + b'"}', 400),
    "slashed message": answer(b'{"code": 1301, "message": ' + SLASHED + b"}", 400),
    "gateway's error": answer(
        {"error": {"message": f"Incorrect API key provided: {ODD_KEY}", "code": "x"}}, 401
    ),
    "request id": answer({"code": 1201, "message": "no", "request_id": ODD_KEY}, 400),
    "page": answer(b"<html><body>Authorization: Bearer " + RAW + b"</body></html>", 502),
    "text": answer(b"you sent " + RAW, 200),
    "broken off": answer(b"you sent " + RAW)[:-1],
    "redirect": answer(b"", 307, Location=f"https://example.com/?key={ODD_KEY}"),
    "escaped redirect": answer(b"", 307, Location=f"https://example.com/?key={PERCENT}"),
    "no HTTP": b"Authorization: Bearer " + RAW + b"\r\n\r\n",
    "odd header": b"HTTP/1.1 200 OK\r\nBearer " + RAW + b"\r\n\r\n",
    "odd length": b"HTTP/1.1 200 OK\r\nContent-Length: " + RAW + b"\r\n\r\n",
    "task id": made(ODD_KEY),
    "external id": made("t1", task_info={"external_task_id": ODD_KEY}),
    "status": made("t1", task_status=ODD_KEY),
    "failure": made(
        "t1", task_status="failed", task_status_msg=f"for {ODD_KEY}", final_unit_deduction=ODD_KEY
    ),
    "clip": made(
        "t1", task_status="succeed", task_result={"videos": [{"url": f"https://example.com/{PERCENT}"}]}
    ),
}


def told(error: BaseException) -> str:
    """Everything that an error and all that hangs on it could tell."""
    parts = traceback.format_exception(error)
    links: list[BaseException | None] = [error]
    while (link := links.pop()) is not None:
        parts += [str(link), repr(link), repr(link.args), repr(vars(link))]
        links.append(link.__cause__ or link.__context__)
    return "\n".join(parts)


@pytest.mark.parametrize("said", REPEATS.values(), ids=REPEATS.keys())
def test_an_api_that_repeats_the_key_is_not_quoted(said: bytes) -> None:
    fields = {"model_name": "kling-v3", "image": "https://example.com/a.png", "external_task_id": "m.a.1"}
    heard: list[str] = []

    async def scene() -> None:
        async with wire(saying(said)) as url, Api(url, ODD_KEY, timeout=ENDS) as api:
            for step in (api.create(fields), api.query("t1")):
                try:
                    heard.append(repr(await step))
                except ApiError as error:
                    heard.append(told(error))

    asyncio.run(scene())
    assert len(heard) == 2
    for text in heard:
        for spelling in (ODD_KEY, repr(ODD_KEY)[1:-1], json.dumps(ODD_KEY)[1:-1], PERCENT, "Canary"):
            assert spelling not in text


def test_what_a_short_key_spells_is_left_alone() -> None:
    async def scene() -> None:
        said = answer({"code": 1201, "message": "sandbox says no", "request_id": "sandbox-12"}, 400)
        async with wire(saying(said)) as url, Api(url, "sandbox", timeout=ENDS) as api:
            with pytest.raises(ApiError, match="sandbox says no") as caught:
                await api.query("t1")
            assert caught.value.request_id == "sandbox-12"

    asyncio.run(scene())


# -- a whole night ------------------------------------------------------------------------------------------


def holding(text: str, folder: Path) -> list[str]:
    """Every file with this in its name or bytes: of the ledger, its WAL and lock, logs, clips, journals."""
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and (text in str(path) or text.encode() in stored(path)):
                found.append(str(path))
        except FileNotFoundError:  # it was there a moment ago
            continue
    return found


def command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:  # it has ended
            continue
    return found


def test_no_file_output_command_line_or_other_host_ever_has_the_key(desk: Desk) -> None:
    visits: list[Heard] = []
    tasks: dict[str, str] = {}  # external_task_id by task id
    broken: list[str] = []

    async def clips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            visits.append(heard := await request(reader))
            away = heard.path.startswith("/away/")
            writer.write(
                answer(b"", 302, Location=f"{mirror}{heard.path[5:]}") if away else answer(clip(heard.path))
            )

    async def api(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard = await request(reader)
            key = heard.headers["authorization"].removeprefix("Bearer ")
            assert key == KEY
            if heard.method == "POST":
                name = json.loads(heard.body)["external_task_id"]
                if name.startswith("m.j0"):
                    writer.write(
                        answer({"code": 1301, "message": f"refused for {key}", "request_id": key}, 400)
                    )
                elif name.startswith("m.j1") and not broken:
                    broken.append(name)
                    writer.write(answer(f"<p>oops, {key}</p>".encode(), 502))
                else:
                    tasks[task := f"t{len(tasks)}"] = name
                    writer.write(made(task, task_info={"external_task_id": name}))
                continue
            asked = unquote(heard.path.removeprefix(f"{PATH}/"))
            task = next((task for task, name in tasks.items() if asked in (task, name)), "")
            if not task:
                writer.write(answer({"code": 1203, "message": f"nothing for {key}"}, 404))
            elif tasks[task].startswith("m.j2"):
                failed = {"task_status": "failed", "task_status_msg": f"broke on {key}"}
                writer.write(made(task, **failed, task_info={"external_task_id": tasks[task]}))
            else:
                away = "away/" if tasks[task].startswith("m.j3") else ""
                videos = [{"url": f"{host}/{away}{task}.mp4?key={key}"}]
                ended = {"task_status": "succeed", "task_result": {"videos": videos}}
                writer.write(made(task, **ended, task_info={"external_task_id": tasks[task]}))

    desk.write("m.yaml", urls(5))
    with served(clips) as mirror, served(clips) as host, served(api) as base:
        desk.env |= {"POWERTOKENS_API_BASE": base, "POWERTOKENS_API_KEY": KEY}
        said, seen = [], []
        for log in ("text", "json"):
            process = desk.start(
                "run", "-v", "--log-file", f"{log}.log", "--log-format", log, *QUICK, "m.yaml"
            )
            while process.poll() is None:
                seen += command_lines()
                assert holding(KEY, desk.folder) == []  # while the WAL is there
            said.append(desk.finish(process))
        assert any(b"--log-file" in line for line in seen)
        assert not any(KEY.encode() in line for line in seen)
        commands = [
            "plan m.yaml",
            "status",
            "status --json",
            "export --format csv",
            f"run --json {' '.join(QUICK)} m.yaml",
        ]
        commands += [f"status {row['external_task_id']}" for row in desk.export()]
        said += [desk.run(*line.split()) for line in commands]
    states = {row["job_id"]: row["state"] for row in desk.export()}
    assert states == {
        "j0": "rejected",
        "j1": "downloaded",
        "j2": "failed",
        "j3": "downloaded",
        "j4": "downloaded",
    }
    texts = "".join(result.out + result.err for result in said)
    assert KEY not in texts
    for words in ("refused for [key]", "oops, [key]", "broke on [key]", "?key=[key]"):
        assert words in texts
    assert holding("[key]", desk.folder) != []
    assert holding(KEY, desk.folder) == []
    assert {visit.path[:6] for visit in visits} >= {"/away/"}
    for visit in visits:
        assert "authorization" not in visit.headers
        assert KEY not in repr(visit)


# -- a key that is none -------------------------------------------------------------------------------------

NO_KEYS = {
    "a line break": f"{KEY}\nX-Header: {KEY}",
    "a return": f"{KEY}\r{KEY}",
    "a letter": f"{KEY}é",
    "a blank": f"{KEY} {KEY}",
    "no text": f"{KEY}\x7f",
    "not UTF-8": f"{KEY}\udcff",
}


@pytest.mark.parametrize("key", NO_KEYS.values(), ids=NO_KEYS.keys())
def test_what_can_be_no_key_is_refused_without_being_shown(tmp_path: Path, key: str) -> None:
    file = tmp_path / "powertokens_api_key"
    file.write_bytes(key.encode("utf-8", "surrogateescape"))
    for place in (
        {"POWERTOKENS_API_KEY": key},
        {"POWERTOKENS_API_KEY_FILE": str(file)},
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
        {"POWERTOKENS_API_KEY_COMMAND": f"cat '{file}'"},
    ):
        with pytest.raises(UsageError) as caught:
            api_key(place)
        assert KEY not in told(caught.value)


def test_a_key_that_is_none_stops_a_run_before_anything_is_sent_or_written(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder) as server:
        desk.against(server).env["POWERTOKENS_API_KEY"] = NO_KEYS["a line break"]
        result = desk.run("run", "-v", "--json", "--log-file", "log", *QUICK, "m.yaml")
        assert result.code == result.json["exit_code"] == 2
        assert "more than the key" in result.err
        assert server.entries() == []
        assert holding(KEY, desk.folder) == []


def test_a_key_may_come_through_a_pipe_that_somebody_writes_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    place = {"POWERTOKENS_API_KEY_FILE": str(pipe)}
    with pytest.raises(UsageError, match="empty"):  # nobody writes: it isn't waited for
        api_key(place)
    writer = os.open(pipe, os.O_RDWR)
    os.write(writer, f"{KEY}\n".encode())
    threading.Timer(0.1, os.close, [writer]).start()
    assert api_key(place) == KEY


def test_a_pipe_that_is_written_to_once_gives_its_key_to_the_run(desk: Desk) -> None:
    pipe = desk.folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(f"{KEY}\n",), daemon=True)  # it waits
    writer.start()
    with sandbox(desk.folder, "--task-seconds", "0") as server:
        desk.against(server).write("m.yaml", urls(1))
        del desk.env["POWERTOKENS_API_KEY"]
        desk.env["POWERTOKENS_API_KEY_FILE"] = str(pipe)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
    writer.join(ENDS)
    assert not writer.is_alive()


def test_a_key_may_come_from_a_command_that_runs_without_a_shell(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "my store"
    script.write_text(f"#!/bin/sh\necho unlocking >&2\n[ \"$1\" = '$(id);*' ] && echo {TYPED}\n")
    script.chmod(0o700)
    place = {"POWERTOKENS_API_KEY_COMMAND": f"'{script}' '$(id);*'"}
    assert api_key(place) == TYPED
    assert api_key({"POWERTOKENS_API_KEY": "k", **place}) == "k"
    out, err = capfd.readouterr()
    assert (out, err) == ("", "unlocking\n")  # what it says is for the user, what it prints isn't


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (f"sh -c 'echo {TYPED}; exit 3'", "failed with exit code 3"),
        (f"sh -c 'echo {TYPED}; kill -9 $$'", "failed with signal 9"),
        (f"sh -c 'while :; do echo {TYPED}; done'", "prints more than a key"),
        (f"echo {TYPED} more", "more than the key"),
        ("true", "is empty"),
        (TYPED, "can't be run"),
        (f"/nowhere/{TYPED}", "can't be run"),
        (f"'{TYPED}", "a quote that is never closed"),
        ("''", "can't be run"),
    ],
)
def test_a_command_that_gives_no_key_is_named_by_its_variable_alone(command: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        api_key({"POWERTOKENS_API_KEY_COMMAND": command})
    assert TYPED not in told(caught.value)


@pytest.mark.parametrize(
    "command", ["sleep 60", f"sh -c 'echo {TYPED}; exec sleep 60'", "sh -c 'exec >&-; sleep 60'"]
)
def test_a_command_that_never_ends_is_ended(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchgen.api.keys.COMMAND_ENDS", 0.2)
    with pytest.raises(UsageError, match="took longer than"):
        api_key({"POWERTOKENS_API_KEY_COMMAND": command})


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o604, 1), (0o644, 1)])
def test_a_key_file_that_others_can_read_gets_a_warning_and_no_mail(
    desk: Desk, mode: int, warned: int
) -> None:
    """On a terminal, and in the log file everywhere; a run from cron that goes well prints nothing."""
    file = desk.write("key", KEY)
    file.chmod(mode)
    desk.write("m.yaml", urls(1))
    said = f"{file} (POWERTOKENS_API_KEY_FILE) can be read by every user of this machine; chmod 600 ends that"
    with sandbox(desk.folder, "--task-seconds", "0") as server:
        desk.env |= {"POWERTOKENS_API_BASE": server.url, "POWERTOKENS_API_KEY_FILE": str(file)}
        assert desk.run("run", *QUICK, "--log-file", "log", "m.yaml") == Result(0, "", "")
        assert (desk.folder / "log").read_text().count(said) == warned
        code, sent = on_a_terminal([*desk.program, "collect"], cwd=desk.folder, env=desk.env)
        assert (code, read(sent).replace("\n", "").count(said)) == (0, warned)


def test_a_process_that_holds_the_key_leaves_no_core_dump_and_is_read_by_no_other() -> None:
    look = (
        "import ctypes, resource; from batchgen.cli.core_dumps import keep_out_of_core_dumps as keep; keep();"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "(0, 0) 0\n"


def test_every_command_that_holds_the_key_keeps_out_of_core_dumps(desk: Desk) -> None:
    """The limit of the command that gives the key is the program's own by then."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if not before[1]:
        pytest.skip("this machine allows no core dumps: there is nothing to keep out of")
    desk.write("m.yaml", urls(1))
    desk.env["POWERTOKENS_API_KEY_COMMAND"] = f"sh -c 'ulimit -c >> limits; echo {TYPED}'"
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        with sandbox(desk.folder, "--task-seconds", "0") as server:
            desk.env["POWERTOKENS_API_BASE"] = server.url
            for command in (["run", *QUICK, "m.yaml"], ["collect"], ["recover", "m.yaml"]):
                assert desk.run(*command).code == 0
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert (desk.folder / "limits").read_text().split() == ["0"] * 3


def test_a_key_in_the_wrong_variable_is_not_shown(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    good = desk.env
    for place in (
        {"POWERTOKENS_API_KEY_FILE": KEY},
        {"POWERTOKENS_API_KEY_COMMAND": KEY},
        {"POWERTOKENS_API_KEY": "k", "POWERTOKENS_API_BASE": KEY},
        {"POWERTOKENS_API_KEY": "k", "POWERTOKENS_API_BASE": f"https://{KEY}@api.example.com"},
        {"POWERTOKENS_API_KEY": "k", "POWERTOKENS_API_BASE": f"https://api.example.com?key={KEY}"},
    ):
        desk.env = {**good, **place}
        result = desk.run("run", "-v", "--json", *QUICK, "m.yaml")
        assert result.code == 2
        assert KEY not in result.err + result.out
        assert holding(KEY, desk.folder) == []


def test_a_base_url_without_tls_gets_no_key(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    desk.env |= {"POWERTOKENS_API_KEY": KEY}
    for url in ("http://api.example.com", "http://127.0.0.1.example.com", "http://localhost.example.com"):
        result = desk.run("run", "--base-url", url, *QUICK, "m.yaml")
        assert result.code == 2
        assert "unencrypted" in result.err


def test_the_sandboxs_journal_tells_that_there_was_a_key_and_not_which(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, "--task-seconds", "0", "--fault", "video_foreign_host@1") as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        entries = server.entries()
    assert {entry.kind: entry.authorized for entry in entries} == {
        "create": True,
        "query": True,
        "elsewhere": False,
    }
    assert holding(KEY, desk.folder) == []
