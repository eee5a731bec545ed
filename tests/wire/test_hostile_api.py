"""An API that lies, redirects, floods and forgets: a run ends soon, says so, and its ledger stays true."""

from __future__ import annotations

import asyncio
import json
import socketserver
import sys
import threading
from collections.abc import Sequence

import pytest

from batchgen.sandbox.faults import FAULTS, Moment
from batchgen.sandbox.journal import Entry
from batchgen.sandbox.video import clip
from tests.support.pictures import make_large_png
from tests.support.program import KEY, Desk, Server, sandbox
from tests.support.wire import Play, answer, made, request, served

FAST = ("--task-seconds", "0.05-0.1")
QUICK = ("--poll-interval", "0.05", "--timeout", "1", "--settle", "1")


def urls(count: int) -> str:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": "x"} for n in range(count)]
    return json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs})


def once_each(names: Sequence[str], first: int = 1) -> list[str]:
    """The options that play each fault once, one after another."""
    return [word for turn, name in enumerate(names, first) for word in ("--fault", f"{name}@{turn}")]


def of_kind(server: Server, kind: str) -> list[Entry]:
    return [entry for entry in server.entries() if entry.kind == kind]


def done(desk: Desk, server: Server, jobs: int) -> None:
    """Every job has its clip, the journal agrees that each was made once, and there are no files besides."""
    rows = desk.export()
    assert [row["state"] for row in rows] == ["downloaded"] * jobs
    assert {row["task_id"]: row["external_task_id"] for row in rows} == server.accepted()
    assert server.summary()["twice"] == []
    files = {
        str(path)
        for path in desk.folder.rglob("*")
        if path.is_file() and path.suffix not in (".jsonl", ".yaml") and "ledger.db.backups" not in path.parts
    }
    state = desk.folder / "home/.local/state/batchgen"
    assert files - {str(path) for path in state.iterdir()} == {row["video_path"] for row in rows}


def test_a_redirect_leads_nobody_anywhere(desk: Desk) -> None:
    desk.write("m.yaml", urls(3))
    faults = ("--fault", "redirect@2", "--fault", "query_redirect@2,3")
    with sandbox(desk.folder, *FAST, *faults) as server:
        result = desk.against(server).run("run", *QUICK, "m.yaml")
        assert result.code == 0, result.err
        done(desk, server, 3)
        assert of_kind(server, "elsewhere") == []


def test_a_refusal_is_heard_also_where_the_connection_breaks_with_it(desk: Desk) -> None:
    for number in range(8):
        desk.write(f"in/{number}.png", make_large_png(4_000_000, number))
    jobs = {"version": 1, "defaults": {"model_name": "kling-v3", "prompt": "x"}, "jobs": [{"folder": "in"}]}
    desk.write("m.yaml", json.dumps(jobs))

    class Refusing(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if self.rfile.readline().startswith(b"GET"):
                self.wfile.write(answer({"code": 1203, "message": "no such task"}, 404))
            else:
                self.rfile.read(500_000)
                # Much of the request is unread, so closing resets the connection.
                self.wfile.write(answer({"code": 1004, "message": "expired"}, 401))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
        result = desk.run("run", *QUICK, "m.yaml")
        server.shutdown()
    assert result.code == 3, result.err
    assert "the key has expired" in result.err


def test_ids_that_are_odd_or_somebody_elses_are_written_nowhere(desk: Desk) -> None:
    names = [
        "wrong_types_after",
        "empty_task_id_after",
        "task_id_traversal_after",
        "no_task_id",
        "foreign_external_id_after",
    ]
    desk.write("m.yaml", urls(len(names)))
    with sandbox(desk.folder, *FAST, *once_each(names), "--fault", "query_foreign@3,6,9") as server:
        result = desk.against(server).run("run", "-v", *QUICK, "--log-file", "log.jsonl", "m.yaml")
        assert result.code == 0, result.err
        assert {entry.fault for entry in server.entries()} >= {*names, "query_foreign"}
        done(desk, server, len(names))
        columns = [
            row[name] for row in desk.export() for name in ("task_id", "external_task_id", "video_path")
        ]
        assert not any(
            "somebody-else" in text or "1700000000000999999" in text or ".." in text for text in columns
        )


def test_a_run_that_is_flooded_from_all_sides_stays_small_and_ends_well(desk: Desk) -> None:
    creates = [
        "huge_answer",
        "gzip_bomb",
        "bad_utf8_after",
        "half_answer_after",
        "list_answer_after",
        "slow_answer",
    ]
    queries = [
        "query_huge",
        "query_wrong_types",
        "query_half",
        "query_garbage",
        "query_not_found",
    ]
    desk.write("m.yaml", urls(len(creates)))
    tell = "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    desk.program = (
        sys.executable,
        "-c",
        f"import sys; from batchgen.cli.main import main; code = main(); {tell}; sys.exit(code)",
    )
    with sandbox(desk.folder, *FAST, *once_each(creates), *once_each(queries, 3)) as server:
        result = desk.against(server).run("run", *QUICK, "m.yaml")
        assert result.code == 0, result.err
        assert int(result.out) < 100_000  # kB at most in memory
        assert {entry.fault for entry in server.entries()} >= {*creates, *queries}
        desk.program = (sys.executable, "-m", "batchgen")
        done(desk, server, len(creates))


VIDEOS = [
    fault.name
    for fault in FAULTS.values()
    if fault.moment is Moment.FETCHED and fault.name != "video_endless"
]


def test_a_clip_that_comes_broken_is_fetched_again_and_never_made_again(desk: Desk) -> None:
    desk.write("m.yaml", urls(len(VIDEOS)))
    with sandbox(desk.folder, *FAST, *once_each(VIDEOS), "--fault", "video_foreign_host@2") as server:
        result = desk.against(server).run("run", *QUICK, "m.yaml")
        assert result.code == 0, result.err
        assert {entry.fault for entry in of_kind(server, "video")} >= {*VIDEOS}
        done(desk, server, len(VIDEOS))
        abroad = of_kind(server, "elsewhere")
        assert len(abroad) == 2  # a redirect and a URL
        assert not any(entry.authorized for entry in abroad)
        asked_for_it = {name for name in VIDEOS if "html" in name or "403" in name}
        offered = [entry for entry in of_kind(server, "video") if entry.authorized]
        assert len(offered) <= len(asked_for_it)  # the API's own origin, where nothing else helped


@pytest.mark.parametrize("fault", ["video_bad_scheme", "query_no_video"])
def test_success_without_a_clip_frees_its_slot_and_ends_the_run(desk: Desk, fault: str) -> None:
    desk.write("m.yaml", urls(3))
    with sandbox(desk.folder, *FAST, "--slots", "1", "--fault", f"{fault}=1") as server:
        result = desk.against(server).run("run", *QUICK, "m.yaml")
        assert result.code == 4
        assert result.err.count("succeeded without a usable clip") == 3
        assert len(server.accepted()) == 3
        assert server.summary()["max_running"] == 1
        server.ask("faults", {"clear": True})
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        done(desk, server, 3)


def test_one_task_is_never_taken_for_the_tasks_of_two_jobs(desk: Desk) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard = await request(reader)
            if heard.path.endswith(".mp4"):
                writer.write(answer(clip("t1")))
            elif heard.method == "POST":
                writer.write(made("t1"))
            elif heard.path.endswith("/t1"):
                videos = [{"url": f"http://{heard.headers['host']}/t1.mp4"}]
                writer.write(made("t1", task_status="succeed", task_result={"videos": videos}))
            else:
                writer.write(answer({"code": 1203, "message": "no such task"}, 404))

    desk.write("m.yaml", urls(3))
    with served(play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": "k"}
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 5
    assert sorted(row["state"] for row in desk.export()) == ["downloaded", "unknown", "unknown"]
    assert len(list((desk.folder / "clips").rglob("*.mp4"))) == 1


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)


async def _repeats(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)


RIDDLES: dict[str, Play] = {
    "an echo": _repeats,
    "nothing": _hangs_up,
}


@pytest.mark.parametrize("play", RIDDLES.values(), ids=RIDDLES.keys())
def test_what_is_no_api_at_all_ends_a_run_without_a_second_create_of_a_job(desk: Desk, play: Play) -> None:
    desk.write("m.yaml", urls(1))
    with served(play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": "k"}
        result = desk.run("run", "--poll-interval", "0.05", "--timeout", "0.2", "--settle", "0.2", "m.yaml")
        assert result.code in (4, 5), result.err
        assert len(result.err.splitlines()) >= 2  # it says why
        history = desk.run("export").out
        assert history == "" or json.loads(history)["attempt"] <= 1


def test_a_task_that_goes_backwards_is_followed_to_its_end(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, "--task-seconds", "3", "--fault", "query_backwards@1,2") as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        assert server.summary()["faults"] == {"query_backwards": 2}
        done(desk, server, 1)
