"""Clips that were paid come home: files that aren't there yet, in parts, behind the key, broken off, odd; and what is said."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from batchgen.api.client import Api
from batchgen.errors import Interrupted
from batchgen.ledger.reader import Records
from batchgen.ledger.writer import Ledger
from batchgen.manifest import reader
from batchgen.models import ClipLink, State, TaskView
from batchgen.run.clock import Clock
from batchgen.run.events import Events
from batchgen.run.following import UnknownStatus
from batchgen.run.hints import Hints
from batchgen.run.inventory import Inventory
from batchgen.run.lanes import Lane
from batchgen.run.planning import planned
from batchgen.run.pool import Limits, Pool
from batchgen.run.runner import Runner
from batchgen.run.tally import Tally
from batchgen.run.waits import Waits
from batchgen.sandbox.video import clip
from batchgen.storage.download import Downloads
from tests.support.program import ENDS, KEY, Desk, Result, sandbox
from tests.support.wire import PATH, Heard, answer, made, request, served, wire

SETTLE = 6  # seconds that a clip is waited for in this file
WAITS = ("--poll-interval", "0.05", "--timeout", "2", "--settle", str(SETTLE))
BRIEF = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "0.5")


class Host:
    """An API whose tasks have ended at once, and the host of their clips at the same address.

    ``videos`` makes the result of a job's task, given the job and how often its task was asked for; ``file`` says what a
    request for a file gets, given how often it was asked for before.
    """

    def __init__(
        self, videos: Callable[[str, int], list[dict[str, Any]]], file: Callable[[Heard, int], bytes]
    ) -> None:
        self.videos, self.file = videos, file
        self.status: Callable[[int], str] = lambda times: "succeed"
        self.names: dict[str, str] = {}  # external_task_id by task id
        self.creates = 0
        self.asked: defaultdict[str, int] = defaultdict(int)  # by job
        self.files: list[Heard] = []

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await request(reader)
        writer.write(self.says(heard))

    def says(self, heard: Heard) -> bytes:
        if not heard.path.startswith(PATH):
            path = heard.path.partition("?")[0]
            before = sum(one.path.partition("?")[0] == path for one in self.files)
            self.files.append(heard)
            return self.file(heard, before)
        assert heard.headers["authorization"] == f"Bearer {KEY}"
        if heard.method == "POST":
            name = json.loads(heard.body)["external_task_id"]
            self.creates += 1
            self.names[task := f"t{self.creates}"] = name
            return made(task, task_info={"external_task_id": name})
        asked = unquote(heard.path.removeprefix(f"{PATH}/"))
        task = next((task for task, name in self.names.items() if asked in (task, name)), "")
        if not task:
            return answer({"code": 1203, "message": "task not found"}, 404)
        name = self.names[task]
        job = name.split(".")[1]
        self.asked[job] += 1
        result = {"videos": self.videos(job, self.asked[job])}
        info = {"external_task_id": name}
        return made(task, task_status=self.status(self.asked[job]), task_result=result, task_info=info)

    def gets(self, path: str) -> list[Heard]:
        return [one for one in self.files if one.path.partition("?")[0] == path]


@contextmanager
def against(desk: Desk, host: Host) -> Iterator[str]:
    with served(host.play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
        yield url


def jobs(*ids: str, **fields: Any) -> str:
    listed = [{"id": one, "image": f"https://example.com/{one}.png", "prompt": one, **fields} for one in ids]
    defaults = {"model_name": "kling-v3"}
    return json.dumps(
        {"version": 1, "name": "m", "output_dir": "clips", "defaults": defaults, "jobs": listed}
    )


def fresh(job: str, times: int) -> list[dict[str, Any]]:
    return [{"id": "v", "url": f"/{job}.mp4?sig={times}%2F~"}]


def files(desk: Desk) -> dict[str, bytes]:
    """The clips, without the record that lies beside them."""
    found = [
        path for path in (desk.folder / "clips").rglob("*") if path.is_file() and path.name != "clips.jsonl"
    ]
    return {path.name: path.read_bytes() for path in found}


def rows(desk: Desk) -> list[Any]:
    with Records.read(str(desk.folder / "home/.local/state/batchgen/ledger.db")) as ledger:
        return list(ledger.records())


# -- a file that isn't there yet ----------------------------------------------------------------------------------


def test_a_clip_that_is_not_there_yet_is_waited_for_with_a_fresh_address_each_time(desk: Desk) -> None:
    """404, 403, 410 and 503 while the file is on its way to its host; nobody hears that it is gone."""
    statuses = {"j404": 404, "j403": 403, "j410": 410, "j503": 503, "j429": 429, "j500": 500}

    def file(heard: Heard, before: int) -> bytes:
        job = heard.path[1:].partition(".")[0]
        return answer(b"<Error/>", statuses[job]) if before < 4 else answer(clip(job))

    host = Host(lambda job, times: [{"url": f"{url}/{job}.mp4?sig={times}%2F~"}], file)
    desk.write("m.yaml", jobs(*statuses))
    with against(desk, host) as url:
        result = desk.run("run", *WAITS, "m.yaml")
    assert (result.code, result.err) == (0, "")
    assert files(desk) == {f"{job}.mp4": clip(job) for job in statuses}
    assert host.creates == len(statuses)
    for job, status in statuses.items():
        tries = [one for one in host.gets(f"/{job}.mp4") if "authorization" not in one.headers]
        targets = [one.path for one in tries]
        assert len(targets) == 5 - (status == 403) * 2, job  # where the key was offered, and refused
        assert len(set(targets)) == len(targets)
        assert all(target.endswith("%2F~") for target in targets)


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_young_clip_is_never_called_gone(desk: Desk, status: int) -> None:
    host = Host(fresh, lambda heard, before: answer(b"", status))
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        for _ in range(2):
            result = desk.run("run", "--json", *BRIEF, "m.yaml")
            assert result.code == 1
            assert result.json["buckets"]["succeeded"] == 1
            assert result.json["buckets"]["vanished"] == 0
            assert "--abandon" not in result.out + result.err
            assert "fetches it again, at no cost" in result.json["endings"][0]["text"]
        host.file = lambda heard, before: answer(clip("j1"))
        assert desk.run("collect", *BRIEF).code == 0
    assert files(desk) == {"j1.mp4": clip("j1")}
    assert host.creates == 1


def test_a_clip_is_gone_when_results_of_its_age_are_deleted_and_its_host_has_none(desk: Desk) -> None:
    host = Host(fresh, lambda heard, before: answer(b"", 503))
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        assert desk.run("run", *BRIEF, "m.yaml").code == 1
        with closing(sqlite3.connect(desk.folder / "home/.local/state/batchgen/ledger.db")) as ledger, ledger:
            ledger.execute("UPDATE tasks SET finished_at = ?", (time.time() - 31 * 86400,))
        unavailable = desk.run("run", *BRIEF, "m.yaml")
        # A host that is unavailable says nothing about the file.
        assert (unavailable.code, "--abandon" in unavailable.err) == (1, False)
        host.file = lambda heard, before: answer(b"", 404)
        gone = desk.run("run", *BRIEF, "m.yaml")
    assert gone.code == 5
    assert "its clip is gone: the clip's host answered HTTP 404, 31 days after its task ended" in gone.err
    assert "--abandon` gives it up" in gone.err


def test_clips_that_wait_hold_up_no_others(desk: Desk) -> None:
    """More clips are missing than there are places to download at once; the one that is there comes at once."""
    missing = [f"a{number}" for number in range(8)]

    def file(heard: Heard, before: int) -> bytes:
        return answer(clip("z")) if heard.path.startswith("/z") else answer(b"", 404)

    host = Host(fresh, file)
    desk.write("m.yaml", jobs(*missing, "z"))
    with against(desk, host):
        assert desk.run("run", *WAITS, "m.yaml").code == 1
    order = [one.path.partition(".")[0] for one in host.files]
    assert order.index("/z") < len(order) / 2
    assert files(desk) == {"z.mp4": clip("z")}


def test_what_this_machine_is_the_reason_of_is_not_waited_for(desk: Desk) -> None:
    host = Host(fresh, lambda heard, before: answer(clip("j1")))
    desk.write("m.yaml", jobs("j1"))
    desk.write("clips/m/j1.mp4.part/in the way", b"")
    with against(desk, host):
        begun = time.monotonic()
        result = desk.run("run", "--poll-interval", "0.05", "--settle", "50", "m.yaml")
    assert result.code == 1
    assert "can't write" in result.err
    assert time.monotonic() - begun < 40


# -- several files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [True, False])
def test_every_file_of_a_result_comes_home_before_the_job_is_done(desk: Desk, asked: bool) -> None:
    result = [
        {"id": "v1", "url": "", "watermark_url": ""},
        {"id": "v2", "url": "/a.mp4\n", "watermark_url": "/aw.mp4"},
        {"id": "v3", "url": "/b.mp4", "watermark_url": "/bw.mp4"},
        {"id": "v4", "watermark_url": "/c.mp4"},
    ]

    def file(heard: Heard, before: int) -> bytes:
        if heard.path == "/b.mp4" and before < 2:
            with Records.read(str(desk.folder / "home/.local/state/batchgen/ledger.db")) as ledger:
                states.append(next(iter(ledger.records())).state)
            return answer(b"", 404)
        return answer(clip(heard.path))

    states: list[State] = []
    host = Host(lambda job, times: result, file)
    desk.write("m.yaml", jobs("j1", **({"watermark_info": {"enabled": True}} if asked else {})))
    with against(desk, host):
        done = desk.run("run", *WAITS, "m.yaml")
        assert done.code == 0, done.err
        again = len(host.files)
        assert desk.run("run", *WAITS, "m.yaml").code == 0
    marked = {"j1.watermark.mp4": clip("/aw.mp4"), "j1.part2.watermark.mp4": clip("/bw.mp4")}
    plain = {"j1.mp4": clip("/a.mp4"), "j1.part2.mp4": clip("/b.mp4"), "j1.part3.mp4": clip("/c.mp4")}
    assert files(desk) == plain | (marked if asked else {})
    assert states == [State.SUCCEEDED, State.SUCCEEDED]
    assert len(host.files) == again  # nothing comes twice
    assert len(host.gets("/a.mp4")) == 1
    row = rows(desk)[0]
    found = {part["part"]: part["path"] for part in json.loads(row.parts)}
    assert {"", *found} == {name.removesuffix(".mp4")[2:].lstrip(".") for name in files(desk)}
    assert all(Path(path).is_file() for path in [row.video_path, *found.values()])


def test_files_that_are_others_in_a_later_answer_are_all_fetched(desk: Desk) -> None:
    """The first entry is empty at first: what was the first file then, and came home, is the second one now."""

    def videos(job: str, times: int) -> list[dict[str, Any]]:
        return [{"url": "/1.mp4" if times > 1 else ""}, {"url": "/2.mp4"}, {"url": "/3.mp4"}]

    def file(heard: Heard, before: int) -> bytes:
        return answer(b"", 404) if heard.path == "/3.mp4" and not before else answer(clip(heard.path))

    host = Host(videos, file)
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        assert desk.run("run", *WAITS, "m.yaml").code == 0
    (row,) = rows(desk)
    paths = {"": row.video_path} | {part["part"]: part["path"] for part in json.loads(row.parts)}
    contents = {part: Path(path).read_bytes() for part, path in paths.items()}
    assert contents == {"": clip("/1.mp4"), "part2": clip("/2.mp4"), "part3": clip("/3.mp4")}


SEVERAL = ("--task-seconds", "0.05-0.1", "--fault", "clip_several=1")


@pytest.mark.parametrize("lost", [False, True], ids=["the ledger is there", "the ledger is lost"])
@pytest.mark.parametrize("deleted", ["j1.part2.mp4", "j1.mp4"])
def test_a_further_file_that_was_deleted_is_fetched_again_and_nothing_is_paid(
    desk: Desk, deleted: str, lost: bool
) -> None:
    desk.write("m.yaml", jobs("j1"))
    ledger = desk.folder / "home/.local/state/batchgen/ledger.db"
    with sandbox(desk.folder, *SEVERAL) as server:
        desk.against(server)
        assert desk.run("run", *BRIEF, "m.yaml").code == 0
        before = files(desk)
        (desk.folder / "clips/m" / deleted).unlink()
        if lost:
            ledger.unlink()
        again = desk.run("run", "-v", *BRIEF, "m.yaml")
        assert again.code == 0, again.err
        assert files(desk) == before
        assert len(before) == 2
        if not lost:
            assert f"no longer at {desk.folder / 'clips/m' / deleted}: fetched again, at no cost" in again.err
        requests = len(server.entries())
        assert desk.run("run", *BRIEF, "m.yaml") == Result(0, "", "")
        assert len(server.entries()) == requests
        assert len(server.accepted()) == 1


@pytest.mark.parametrize("lost", [False, True], ids=["the ledger is there", "the ledger is lost"])
def test_a_further_file_that_was_moved_is_found_and_stays_there(desk: Desk, lost: bool) -> None:
    desk.write("m.yaml", jobs("j1"))
    with sandbox(desk.folder, *SEVERAL) as server:
        desk.against(server)
        assert desk.run("run", *BRIEF, "m.yaml").code == 0
        moved = desk.folder / "clips/best/mine.mp4"
        moved.parent.mkdir()
        (desk.folder / "clips/m/j1.part2.mp4").rename(moved)
        if lost:
            (desk.folder / "home/.local/state/batchgen/ledger.db").unlink()
        downloads = len([one for one in server.entries() if one.kind == "video"])
        for name in ("j1", "j1", "renamed", "renamed"):
            desk.write("m.yaml", jobs("j1").replace('"id": "j1"', f'"id": "{name}"'))
            assert desk.run("run", *BRIEF, "m.yaml").code == 0
        assert len([one for one in server.entries() if one.kind == "video"]) == downloads
        assert len(server.accepted()) == 1
    assert sorted(files(desk)) == ["mine.mp4", "renamed.mp4"]
    (row,) = rows(desk)
    assert [part["path"] for part in json.loads(row.parts)] == [str(moved)]


# -- the key ----------------------------------------------------------------------------------------------------------


def test_a_clip_behind_the_apis_own_key_comes_home_and_no_other_host_gets_the_key(desk: Desk) -> None:
    strangers: list[Heard] = []

    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        strangers.append(await request(reader))
        writer.write(answer(f"who are you? {strangers[-1].headers}".encode(), 401))

    def file(heard: Heard, before: int) -> bytes:
        if heard.headers.get("authorization") != f"Bearer {KEY}":
            return answer({"error": {"message": "Missing Authentication header"}}, 401)
        if heard.path == "/away/content":
            return answer(b"", 302, Location=f"{other}/v.mp4")
        return answer(clip(heard.path))

    def videos(job: str, times: int) -> list[dict[str, Any]]:
        if job == "stranger":
            return [{"url": f"{other}/v.mp4"}]
        return [{"url": f"/{job}/content" if job == "away" else f"{url}/{job}/content"}]

    host = Host(videos, file)
    desk.write("m.yaml", jobs("ours", "away", "stranger"))
    with served(stranger) as other, against(desk, host) as url:
        result = desk.run("run", "-v", "--log-file", "run.log", *BRIEF, "m.yaml")
    assert result.code == 1
    assert files(desk) == {"ours.mp4": clip("/ours/content")}
    assert len(strangers) >= 2
    assert not any("authorization" in one.headers for one in strangers)
    assert KEY not in (desk.folder / "run.log").read_text()


# -- broken off, and odd ------------------------------------------------------------------------------------------------


def test_a_download_whose_address_expires_in_the_middle_goes_on_at_a_fresh_one(desk: Desk) -> None:
    whole = clip("large") + (300_008).to_bytes(4, "big") + b"free" + bytes(300_000)

    def file(heard: Heard, before: int) -> bytes:
        if before == 0:
            said = answer(whole, ETag='"v1"')
            return said[: len(said) - 100_000]
        if heard.path.endswith("=1%2F~"):
            return answer(b"expired", 410)
        start = int(heard.headers.get("range", "bytes=0-")[6:-1])
        span = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        return answer(whole[start:], 206, Content_Range=span, ETag='"v2"')

    host = Host(fresh, file)
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        result = desk.run("run", *WAITS, "m.yaml")
    assert result.code == 0, result.err
    assert files(desk) == {"j1.mp4": whole}
    assert len(host.files[-1].headers["range"]) > len("bytes=0-")
    assert host.creates == 1


def test_an_odd_clip_that_comes_the_same_again_is_done_with_a_note(desk: Desk) -> None:
    odd = b"\x1a\x45\xdf\xa3" + bytes(700)
    host = Host(fresh, lambda heard, before: answer(odd))
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        result = desk.run("run", *WAITS, "m.yaml")
        tries = len(host.files)
        assert desk.run("run", *WAITS, "m.yaml").err == ""
    assert result.code == 0
    assert "no MP4 video" in result.err
    assert "the same bytes came" in result.err
    assert files(desk) == {"j1.mp4": odd}
    assert tries >= 2
    (row,) = rows(desk)
    assert (row.state, row.error_message) == (State.DOWNLOADED, None)
    with Records.read(str(desk.folder / "home/.local/state/batchgen/ledger.db")) as ledger:
        assert "the same bytes came" in str(ledger.events(row.external_task_id)[-1].detail["note"])


@pytest.mark.parametrize(
    "instead",
    [
        b"<html>sorry</html>",
        b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(900),
        b"\x89PNG\r\n\x1a\n" + bytes(900),
        b"RIFF\x90\3\0\0WEBPVP8 " + bytes(900),
    ],
)
def test_a_page_or_a_preview_in_the_clips_place_is_asked_for_again_every_night(
    desk: Desk, instead: bytes
) -> None:
    host = Host(fresh, lambda heard, before: answer(instead))
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        assert desk.run("run", *BRIEF, "m.yaml").code == 1
        host.file = lambda heard, before: answer(clip("j1"))
        assert desk.run("run", *BRIEF, "m.yaml").code == 0
    assert files(desk) == {"j1.mp4": clip("j1")}


def test_a_run_that_is_ended_once_a_clip_has_its_name_records_it_first(tmp_path: Path) -> None:
    host = Host(fresh, lambda heard, before: answer(clip(heard.path[1:].partition(".")[0])))
    (tmp_path / "m.yaml").write_text(jobs("j1", "j2"))
    manifests, _ = reader.read([str(tmp_path / "m.yaml")])
    clips = tmp_path / "clips/m"

    async def end_then(runner: Runner) -> None:
        while not list(clips.glob("*.mp4")):
            await asyncio.sleep(0)
        runner.end(Interrupted("ended", 143))

    async def scene(url: str) -> dict[str, tuple[State, bool]]:
        with Ledger.open(str(tmp_path / "ledger.db"), origin=url) as ledger:
            pool = Pool(Limits(), random.Random(1))
            pool.lanes.append(Lane("m"))
            tally = Tally()
            async with Api(url, KEY, timeout=ENDS) as api, Downloads(timeout=ENDS) as downloads:
                waits = Waits(ENDS, first_ask=0.05)
                runner = Runner(
                    Inventory(ledger, Events(time.time)), api, downloads, pool, waits, tally, Clock(), Hints()
                )
                ending = asyncio.create_task(end_then(runner))
                async with asyncio.timeout(ENDS):
                    await runner.run(list(planned(manifests, ledger)), ())
                    await ending
            assert tally.buckets["downloaded"] >= 1
            return {
                row.job_id: (row.state, (clips / f"{row.job_id}.mp4").exists()) for row in ledger.records()
            }

    async def night() -> dict[str, tuple[State, bool]]:
        async with wire(host.play) as url:
            return await scene(url)

    ended = asyncio.run(night())
    assert any(there for _, there in ended.values())
    assert all((state is State.DOWNLOADED) is there for state, there in ended.values())


# -- a status that nobody knows -------------------------------------------------------------------------------------


def test_a_preview_under_a_status_that_nobody_knows_is_not_taken_for_the_clip(desk: Desk) -> None:
    """The preview is a whole MP4: only that its status goes on to another says what it was."""
    host = Host(
        lambda job, times: [{"url": f"/{'preview' if times < 4 else job}.mp4?sig={times}"}],
        lambda heard, before: answer(clip(heard.path[1:].partition(".")[0])),
    )
    host.status = lambda times: "PREVIEW_READY" if times < 4 else "succeed"
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        result = desk.run("run", "--poll-interval", "0.05", "--timeout", "2", "--settle", "20", "m.yaml")
    assert result.code == 0, result.err
    assert files(desk) == {"j1.mp4": clip("j1")}
    assert host.gets("/preview.mp4") == []


def test_a_clip_under_such_a_status_comes_home_once_the_answer_has_stood(desk: Desk) -> None:
    host = Host(fresh, lambda heard, before: answer(clip("j1")))
    host.status = lambda times: "PUBLISHED"
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        began = time.monotonic()
        result = desk.run("run", *WAITS, "m.yaml")
        assert time.monotonic() - began >= SETTLE
    assert result.code == 0, result.err
    assert "status 'PUBLISHED'" in result.err
    assert (files(desk), host.creates) == ({"j1.mp4": clip("j1")}, 1)


def test_an_answer_that_never_stands_is_waited_for_no_longer_than_any_task_that_runs() -> None:
    strange = UnknownStatus()
    waited = []
    for second in range(100):
        link = ClipLink("", f"https://example.com/{second}.mp4?sig=1")
        view, unclear = strange.interpreted(
            TaskView("t", None, None, "PUBLISHED", clips=(link,)), second, 30.0
        )
        assert view.status is None
        waited.append(unclear)
    assert waited == [True] * 60 + [False] * 40
