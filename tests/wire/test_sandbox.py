"""The sandbox over the wire: it is the witness of every other test, so it has to be right by itself."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import hmac
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from batchgen.sandbox import guard
from batchgen.sandbox.config import Config
from batchgen.sandbox.faults import FAULTS, Moment, parse
from batchgen.sandbox.journal import load
from batchgen.sandbox.server import Sandbox
from batchgen.sandbox.video import clip
from tests.support.pictures import make_jpeg, make_png

CALL = "/kling/v1/videos/image2video"
KEY = "canary-8c1f"
ORDER: dict[str, Any] = {
    "model_name": "kling-v3",
    "image": "https://example.com/frame.png",
    "prompt": "Slow camera push-in",
    "duration": "5",
}
Answer = tuple[int, dict[str, Any]]


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A started sandbox and a client of it."""

    def __init__(self, sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.client = client

    async def create(self, request: Any = None, **changes: Any) -> Answer:
        body = {**(ORDER if request is None else request), **changes}
        url, data = self.sandbox.base_url + CALL, io.BytesIO(json.dumps(body).encode())
        headers = {"Content-Type": "application/json"}
        async with self.client.post(url, data=data, headers=headers, allow_redirects=False) as response:
            return response.status, await response.json()

    async def query(self, name: str) -> Answer:
        url = URL(f"{self.sandbox.base_url}{CALL}/{quote(name, safe='')}", encoded=True)
        async with self.client.get(url, allow_redirects=False) as response:
            return response.status, await response.json()

    async def made(self, **changes: Any) -> str:
        status, document = await self.create(**changes)
        assert status == 200, document
        task_id = document["data"]["task_id"]
        assert isinstance(task_id, str)
        return task_id


@asynccontextmanager
async def bench(
    config: Config | None = None, clock: Clock | None = None, key: str = KEY
) -> AsyncIterator[Bench]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    sandbox = Sandbox(config, clock) if clock else Sandbox(config)
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with sandbox, aiohttp.ClientSession(headers=headers, connector=connector) as client:
        client._retry_connection = False  # it would ask again by itself after a reset
        yield Bench(sandbox, client)


def sandboxed(
    test: Callable[[Bench], Awaitable[None]], config: Config | None = None, clock: Clock | None = None
) -> None:
    async def go() -> None:
        async with asyncio.timeout(30), bench(config, clock) as one:
            await test(one)

    asyncio.run(go())


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, not for a time; the test's own timeout ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0.005)


def png(width: int = 320, height: int = 320, padding: int = 0, seed: int = 0) -> bytes:
    """A PNG with ``padding`` more bytes, in a chunk that no decoder looks at."""
    plain = make_png(width, height, seed)
    if not padding:
        return plain
    data = b"juNk" + bytes(padding - 12)
    chunk = struct.pack(">I", padding - 12) + data + struct.pack(">I", zlib.crc32(data))
    return plain[:33] + chunk + plain[33:]  # behind the signature and IHDR


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def mask(**changes: Any) -> dict[str, Any]:
    return {"mask": b64(png()), "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}], **changes}


def shots(*seconds: str, prompt: str = "a") -> list[dict[str, Any]]:
    return [{"index": n, "prompt": prompt, "duration": one} for n, one in enumerate(seconds, 1)]


# --- the create call


def test_the_specifications_example_is_accepted_with_the_specifications_envelope() -> None:
    async def test(b: Bench) -> None:
        status, document = await b.create(external_task_id="mine")
        assert status == 200
        assert set(document) == {"code", "message", "data", "request_id"}
        assert document["code"] == 0
        data = document["data"]
        assert set(data) == {"task_id", "task_status", "task_info", "created_at", "updated_at"}
        assert data["task_status"] == "submitted"
        assert data["task_info"] == {"external_task_id": "mine"}
        assert data["created_at"] > 1_600_000_000_000
        (entry,) = b.sandbox.journal
        assert (entry.accepted, entry.external_task_id, entry.task_id) == (True, "mine", data["task_id"])
        assert (entry.code, entry.status, entry.authorized) == (0, 200, True)
        assert document["request_id"] == f"sandbox-{entry.seq}"

    sandboxed(test)


GOOD: dict[str, dict[str, Any]] = {
    "png": {"image": b64(png())},
    "jpeg": {"image": b64(make_jpeg())},
    "tail alone": {"image": "", "image_tail": b64(png())},
    "tail and image": {"image_tail": "http://example.com/b.jpg"},
    "ratio of exactly 2.5": {"image": b64(png(750, 300))},
    "10 MB to the byte": {"image": b64(png(padding=10 * 2**20 - len(png())))},
    "customized shots": {
        "multi_shot": True,
        "shot_type": "customize",
        "multi_prompt": shots("1", "4", prompt="x" * 512),
    },
    "intelligent shots": {"multi_shot": True, "shot_type": "intelligence"},
    "intelligent shots that are told": {
        "multi_shot": True,
        "shot_type": "intelligence",
        "multi_prompt": shots("2", "3"),
    },
    "code in a prompt": {"prompt": "a << b >> c, cat <<EOF, cout << x; cin >> y, 😀 \\ud800"},
    "the largest numbers": {
        "element_list": [{"element_id": 2**63 - 1}],
        "multi_shot": True,
        "shot_type": "customize",
        "multi_prompt": [{"index": 2**31 - 1, "prompt": "<<<element_1>>>", "duration": "5"}],
    },
    "the last pixel": {
        "image": b64(png(400, 320)),
        "dynamic_masks": [
            mask(mask=b64(png(400, 320)), trajectories=[{"x": 399, "y": 319}, {"x": 0, "y": 0}])
        ],
    },
    "a port": {"image": "https://example.com:65535/a.png", "callback_url": "http://127.0.0.1:1/"},
    "voices": {
        "voice_list": [{"voice_id": "a"}, {"voice_id": "b"}],
        "sound": "on",
        "prompt": "<<<voice_2>>>: hi",
    },
    "elements": {"element_list": [{"element_id": 7}], "prompt": "<<<element_1>>> in <<<image_1>>>"},
    "longest prompts": {"prompt": "x" * 2500, "negative_prompt": "y" * 2500},
    "cfg_scale 0": {"cfg_scale": 0},
    "cfg_scale 1": {"cfg_scale": 1},
    "4k": {"mode": "4k", "duration": "15", "watermark_info": {"enabled": True}},
    "masks": {"image": b64(png()), "static_mask": b64(png()), "dynamic_masks": [mask()] * 6},
    "camera": {"camera_control": {"type": "simple", "config": {"zoom": -10, "pan": 0}}},
    "camera without config": {"camera_control": {"type": "down_back"}},
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_what_the_specification_allows_is_accepted(changes: dict[str, Any]) -> None:
    async def test(b: Bench) -> None:
        assert (await b.create(**changes))[0] == 200
        (task,) = b.sandbox.journal.of("create")
        assert task.accepted

    sandboxed(test)


CAMERA = {"type": "simple", "config": {"zoom": 1}}
BAD: list[tuple[str, dict[str, Any]]] = [
    ("model_name", {"model_name": "kling-v2"}),
    ("model_name", {"model_name": None}),
    ("image", {"image": ""}),
    ("image", {"image": 5}),
    ("image", {"image": "data:image/png;base64," + b64(png())}),
    ("image", {"image": "not base64!"}),
    ("image", {"image": "ftp://example.com/a.png"}),
    ("image", {"image": "https:///a.png"}),
    ("image", {"image": b64(b"GIF89a" + bytes(400))}),
    ("image", {"image": b64(png())[:-3]}),
    ("image", {"image": b64(png())[:400] + "\n" + b64(png())[400:]}),
    ("image", {"image": b64(png()[:-12])}),
    ("image", {"image": b64(make_jpeg()[:-200])}),
    ("image", {"image": b64(png(padding=10 * 2**20))}),
    ("image", {"image": b64(png(299, 400))}),
    ("image", {"image": b64(make_jpeg(400, 299))}),
    ("image", {"image": b64(png(751, 300))}),
    ("image", {"image": b64(make_jpeg(300, 751))}),
    ("image_tail", {"image_tail": b64(png(299, 299))}),
    ("static_mask", {"static_mask": b64(png(299, 299))}),
    ("dynamic_masks[0].mask", {"dynamic_masks": [mask(mask="data:x")]}),
    ("dynamic_masks", {"dynamic_masks": [mask(mask="http://a.b/c")] * 7}),
    ("dynamic_masks[0].trajectories", {"dynamic_masks": [mask(trajectories=[{"x": 1, "y": 1}])]}),
    ("dynamic_masks[0].trajectories", {"dynamic_masks": [mask(trajectories=[{"x": 1, "y": 1}] * 78)]}),
    ("dynamic_masks[0].trajectories[0].y", {"dynamic_masks": [mask(trajectories=[{"x": 1}] * 2)]}),
    ("image_tail", {"image_tail": "http://a.b/c", "camera_control": CAMERA}),
    ("image_tail", {"image_tail": "http://a.b/c", "static_mask": "http://a.b/c"}),
    ("camera_control", {"camera_control": CAMERA, "dynamic_masks": [mask()]}),
    ("camera_control.config", {"camera_control": {"type": "simple"}}),
    ("camera_control.config", {"camera_control": {"type": "simple", "config": {"pan": 1, "zoom": 1}}}),
    ("camera_control.config", {"camera_control": {"type": "forward_up", "config": {"pan": 1}}}),
    ("camera_control.config.pan", {"camera_control": {"type": "simple", "config": {"pan": 11}}}),
    ("camera_control.type", {"camera_control": {"type": "spin"}}),
    ("multi_shot", {"multi_shot": "true"}),
    ("shot_type", {"multi_shot": True}),
    ("shot_type", {"multi_shot": True, "shot_type": "auto"}),
    ("multi_prompt", {"multi_shot": True, "shot_type": "customize"}),
    ("multi_prompt", {"multi_shot": True, "shot_type": "customize", "multi_prompt": []}),
    ("multi_prompt", {"multi_shot": True, "shot_type": "customize", "multi_prompt": shots(*"1111111")}),
    ("multi_prompt", {"multi_shot": True, "shot_type": "customize", "multi_prompt": shots("2", "2")}),
    ("duration", {"multi_shot": True, "shot_type": "customize", "multi_prompt": shots("0", "5")}),
    ("duration", {"multi_shot": True, "shot_type": "customize", "multi_prompt": shots("6")}),
    ("prompt", {"multi_shot": True, "shot_type": "customize", "multi_prompt": shots("5", prompt="x" * 513)}),
    ("prompt", {"prompt": "x" * 2501}),
    ("negative_prompt", {"negative_prompt": "x" * 2501}),
    ("prompt", {"prompt": "<<<voice_1>>>: hi", "sound": "on"}),
    ("prompt", {"prompt": "<<<element_2>>>", "element_list": [{"element_id": 1}]}),
    ("voice_list", {"voice_list": [{"voice_id": "a"}] * 3, "sound": "on"}),
    ("sound", {"voice_list": [{"voice_id": "a"}]}),
    ("voice_list", {"voice_list": [{"voice_id": "a"}], "sound": "on", "element_list": [{"element_id": 1}]}),
    ("element_list[0].element_id", {"element_list": [{"element_id": "1"}]}),
    *(
        (
            "prompt",
            {"prompt": f"a {text} b", "voice_list": [{"voice_id": "829826751244537879"}], "sound": "on"},
        )
        for text in (
            *(
                "<<<voice_829826751244537879>>>",
                "<<<Voice_1>>>",
                "<<<voice1>>>",
                "<<< voice_1 >>>",
                "<<voice_1>>",
            ),
            *(
                "<<<voice_1>>",
                "<<voice_1>>>",
                "<<<<voice_1>>>>",
                "<<<voice_0>>>",
                "<<<voice_01>>>",
                "<< voice_1 >>",
            ),
            *("<<<video_1>>>", "<<<image_2>>>", "<<hero>>", "<<<>>>"),
        )
    ),
    ("multi_prompt", {"multi_shot": True, "shot_type": "intelligence", "multi_prompt": shots("2", "2")}),
    ("duration", {"multi_shot": True, "shot_type": "intelligence", "multi_prompt": shots("6")}),
    (
        "multi_prompt",
        {"multi_shot": True, "shot_type": "customize", "multi_prompt": [*shots("2"), *shots("3")]},
    ),
    (
        "multi_prompt[0].index",
        {"multi_shot": True, "shot_type": "customize", "multi_prompt": [{**shots("5")[0], "index": 2**31}]},
    ),
    ("element_list[0].element_id", {"element_list": [{"element_id": 2**63}]}),
    ("voice_list[0].voice_id", {"voice_list": [{"voice_id": ""}], "sound": "on"}),
    ("trajectories[1].x", {"dynamic_masks": [mask(trajectories=[{"x": 1, "y": 1}, {"x": -1, "y": 1}])]}),
    ("trajectories[1].y", {"dynamic_masks": [mask(trajectories=[{"x": 1, "y": 1}, {"x": 1, "y": 1.5}])]}),
    ("trajectories[1].y", {"dynamic_masks": [mask(trajectories=[{"x": 1, "y": 1}, {"x": 1, "y": 2**31}])]}),
    (
        "trajectories[1]",
        {"image": b64(png()), "dynamic_masks": [mask(trajectories=[{"x": 1, "y": 1}, {"x": 320, "y": 1}])]},
    ),
    ("image", {"image": "https://example.com:99999/a.png"}),
    ("image", {"image": "https://example.com:0/a.png"}),
    ("callback_url", {"callback_url": "https://example.com:99999/"}),
    ("callback_url", {"callback_url": "https://example.com/a\nb"}),
    ("sound", {"sound": True}),
    ("cfg_scale", {"cfg_scale": 1.01}),
    ("cfg_scale", {"cfg_scale": True}),
    ("mode", {"mode": "4K"}),
    ("duration", {"duration": "2"}),
    ("duration", {"duration": 5}),
    ("watermark_info.enabled", {"watermark_info": {"enabled": "yes"}}),
    ("callback_url", {"callback_url": "somewhere"}),
    ("external_task_id", {"external_task_id": 7}),
    ("promt", {"promt": "x"}),
]


def test_what_the_specification_forbids_is_refused_by_the_fields_name() -> None:
    async def test(b: Bench) -> None:
        for field, changes in BAD:
            status, document = await b.create(**changes)
            assert (status, document["code"] in (1200, 1201)) == (400, True), (field, changes, document)
            assert field in document["message"], (field, document)
            assert "data" not in document
        assert not any(entry.accepted for entry in b.sandbox.journal)
        assert len(b.sandbox.journal) == len(BAD)

    sandboxed(test)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"cfg_scale": NaN}', "application/json"),
        (json.dumps({**ORDER, "prompt": "a \ud800"}).encode(), "application/json"),
        (json.dumps({**ORDER, "external_task_id": "\udc00 a"}).encode(), "application/json"),
        (b'{"prompt": "\xff"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"{}", "application/json"),
        (json.dumps(ORDER).encode(), "text/plain"),
    ],
)
def test_a_body_that_is_no_request_is_refused_as_a_whole(body: bytes, kind: str) -> None:
    async def test(b: Bench) -> None:
        headers = {"Content-Type": kind}
        async with b.client.post(b.sandbox.base_url + CALL, data=body, headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (400, 1200)

    sandboxed(test)


def test_a_mask_that_does_not_fit_is_accepted_and_fails_as_a_task() -> None:
    clock = Clock()

    async def test(b: Bench) -> None:
        task_id = await b.made(image=b64(png()), static_mask=b64(png(320, 321)))
        other = await b.made(image=b64(png()), static_mask=b64(png(400, 400)), dynamic_masks=[mask()])
        clock.now += 10
        for name, word in ((task_id, "ratio"), (other, "identical")):
            _, document = await b.query(name)
            assert document["data"]["task_status"] == "failed"
            assert word in document["data"]["task_status_msg"]
            assert document["data"]["final_unit_deduction"] == "0"

    sandboxed(test, clock=clock)


def test_the_journal_holds_digests_and_ignored_fields_but_neither_images_nor_the_key(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first, second = png(), make_jpeg()

    async def test(b: Bench) -> None:
        groups = [mask(mask=b64(first))]
        await b.made(image=b64(first), dynamic_masks=groups, shot_type="customize")
        await b.made(image=b64(second), multi_shot=True, shot_type="intelligence")

    sandboxed(test, Config(journal=path))
    one, two = load(path)
    digest = {"sha256": hashlib.sha256(first).hexdigest(), "size": len(first)}
    assert one.images == {"image": digest, "dynamic_masks[0].mask": digest}
    assert two.images["image"]["sha256"] == hashlib.sha256(second).hexdigest()
    assert (one.ignored, two.ignored) == (("shot_type",), ("prompt",))
    assert one.fields["prompt"] == ORDER["prompt"]
    text = path.read_text()
    assert KEY not in text
    assert b64(first)[:100] not in text
    assert one.authorized


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 1001),
        ("", 1001),
        ("Basic abc", 1002),
        ("Bearer", 1002),
        ("Bearer  ", 1002),
        ("Bearer no", 1000),
    ],
)
def test_a_request_without_a_good_key_is_refused_with_401(header: str | None, code: int) -> None:
    async def go() -> None:
        async with bench(Config(key=KEY), key="") as b:
            headers = {} if header is None else {"Authorization": header}
            base = b.sandbox.base_url + CALL
            for request in (
                b.client.post(base, json=ORDER, headers=headers),
                b.client.get(base + "/1", headers=headers),
            ):
                async with request as response:
                    assert (response.status, (await response.json())["code"]) == (401, code)
            assert [entry.kind for entry in b.sandbox.journal] == ["create", "query"]

    asyncio.run(go())


def test_other_methods_and_places_get_the_apis_codes() -> None:
    async def test(b: Bench) -> None:
        for method, path, code in (("PUT", CALL, 1202), ("GET", CALL, 1202), ("GET", "/elsewhere", 1203)):
            async with b.client.request(method, b.sandbox.base_url + path) as response:
                assert (response.status, (await response.json())["code"]) == (404, code)

    sandboxed(test)


# --- tasks, slots and queries


def test_a_task_lives_on_the_servers_clock_and_is_found_by_both_ids() -> None:
    clock = Clock()
    odd = "näme/with %2F ? and space"

    async def test(b: Bench) -> None:
        task_id = await b.made(external_task_id=odd, duration="10", mode="pro", sound="on")
        seen = []
        for step in (0, 1, 4, 3):
            clock.now += step
            by_id, by_name = (await b.query(task_id))[1], (await b.query(odd))[1]
            assert by_id["data"] == by_name["data"]
            seen.append(by_id["data"])
        assert [one["task_status"] for one in seen] == ["submitted", "submitted", "processing", "succeed"]
        assert {one["task_info"]["external_task_id"] for one in seen} == {odd}
        data = seen[-1]
        (video,) = data["task_result"]["videos"]
        assert (video["duration"], data["final_unit_deduction"]) == ("10", "12")
        assert data["updated_at"] - data["created_at"] == 8000
        assert "watermark_url" not in video

    sandboxed(test, Config(task_seconds=(8, 8)), clock)


def test_unknown_ids_are_not_found() -> None:
    async def test(b: Bench) -> None:
        status, document = await b.query("nobody")
        assert (status, document["code"]) == (404, 1203)

    sandboxed(test)


def test_a_clip_is_a_playable_file_of_its_own_with_a_watermarked_twin() -> None:
    async def test(b: Bench) -> None:
        contents = []
        for _ in range(2):
            _, document = await b.query(await b.made(watermark_info={"enabled": True}))
            (video,) = document["data"]["task_result"]["videos"]
            for url in (video["url"], video["watermark_url"]):
                async with aiohttp.request("GET", url) as response:
                    assert response.content_type == "video/mp4"
                    contents.append(await response.read())
        assert len(set(contents)) == 4
        for content in contents:
            kinds, at = [], 0
            while at < len(content):
                size, kind = struct.unpack_from(">I4s", content, at)
                kinds.append(kind)
                at += size
            assert (at, kinds) == (len(content), [b"ftyp", b"moov", b"free", b"mdat", b"free"])
        assert [entry.authorized for entry in b.sandbox.journal.of("video")] == [False] * 4

    sandboxed(test, Config(task_seconds=(0, 0)))


def test_there_is_no_clip_before_the_task_has_succeeded() -> None:
    async def test(b: Bench) -> None:
        task_id = await b.made()
        async with b.client.get(f"{b.sandbox.base_url}/videos/{task_id}.mp4") as response:
            assert response.status == 404

    sandboxed(test, clock=Clock())


def test_slots_are_never_exceeded_and_come_back_when_tasks_end_or_fail() -> None:
    clock = Clock()

    async def test(b: Bench) -> None:
        for _ in range(2):
            answers = await asyncio.gather(*(b.create() for _ in range(30)))
            assert sorted(document["code"] for _, document in answers) == [0] * 3 + [1303] * 27
            assert {status for status, _ in answers} == {200, 429}
            clock.now += 10
        summary = b.sandbox.journal.summary()
        assert summary["max_running"] == 3
        assert summary["refusals"] == {1303: 54}

    sandboxed(test, Config(slots=3, faults=(parse("task_fails@1,2"),)), clock)


def test_a_neighbour_takes_slots_at_times() -> None:
    clock = Clock()

    async def test(b: Bench) -> None:
        free = []
        for _ in range(30):
            answers = await asyncio.gather(*(b.create() for _ in range(4)))
            free.append(sum(document["code"] == 0 for _, document in answers))
            clock.now += 10
        assert set(free) == {0, 1, 2, 3}

    sandboxed(test, Config(slots=3, neighbour=3), clock)


def test_an_external_id_is_seen_late_or_never_where_the_settings_say_so() -> None:
    clock = Clock()

    async def late(b: Bench) -> None:
        task_id = await b.made(external_task_id="x")
        clock.now += 4.9
        assert (await b.query("x"))[0] == 404
        assert (await b.query(task_id))[0] == 200
        clock.now += 0.2
        assert (await b.query("x"))[0] == 200

    async def never(b: Bench) -> None:
        task_id = await b.made(external_task_id="x")
        assert ((await b.query("x"))[0], (await b.query(task_id))[0]) == (404, 200)

    sandboxed(late, Config(lookup_lag=5), clock)
    sandboxed(never, Config(lookups=False))


def test_an_external_id_is_taken_once_or_makes_a_second_task_where_the_settings_say_so() -> None:
    async def once(b: Bench) -> None:
        answers = await asyncio.gather(*(b.create(external_task_id="x") for _ in range(5)))
        assert sorted(document["code"] for _, document in answers) == [0] + [1201] * 4
        assert b.sandbox.journal.summary()["accepts"] == {"x": 1}
        await b.made()
        await b.made()  # no external id is no duplicate

    async def twice(b: Bench) -> None:
        assert await b.made(external_task_id="x") != (second := await b.made(external_task_id="x"))
        summary = b.sandbox.journal.summary()
        assert (summary["accepts"], summary["twice"]) == ({"x": 2}, ["x"])
        assert (await b.query("x"))[1]["data"]["task_id"] == second

    sandboxed(once)
    sandboxed(twice, Config(unique=False))


def test_longer_and_better_clips_take_longer_where_asked() -> None:
    clock = Clock()

    async def test(b: Bench) -> None:
        quick, slow = await b.made(duration="5"), await b.made(duration="15", mode="4k")
        clock.now += 10
        states = [(await b.query(one))[1]["data"]["task_status"] for one in (quick, slow)]
        assert states == ["succeed", "submitted"]

    sandboxed(test, Config(task_seconds=(10, 10), scaled=True), clock)


def test_sixteen_large_images_at_once_are_read_whole() -> None:
    images = [png(padding=9_000_000, seed=n) for n in range(16)]

    async def test(b: Bench) -> None:
        await asyncio.gather(*(b.made(image=b64(one)) for one in images))
        seen = {entry.images["image"]["sha256"] for entry in b.sandbox.journal}
        assert seen == {hashlib.sha256(one).hexdigest() for one in images}

    sandboxed(test)


def test_a_request_whose_body_breaks_off_makes_nothing_and_is_noted() -> None:
    async def test(b: Bench) -> None:
        url = URL(b.sandbox.base_url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        head = f"POST {CALL} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b"{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await until(lambda: len(b.sandbox.journal))
        (entry,) = b.sandbox.journal
        assert (entry.kind, entry.accepted, entry.status) == ("create", False, None)

    sandboxed(test)


def test_a_large_request_that_arrived_whole_counts_although_its_client_has_left() -> None:
    async def test(b: Bench) -> None:
        api, free = b.sandbox._api, threading.Event()
        busy = [api._readers.submit(free.wait) for _ in range(2)]
        try:
            waiting = asyncio.create_task(b.create(image=b64(png(padding=1_000_000)), external_task_id="x"))
            await until(api._readers._work_queue.qsize)
            waiting.cancel()
            runner = b.sandbox._runner
            assert runner is not None
            assert runner.server is not None
            server = runner.server
            await until(lambda: all(one.transport is None for one in server.connections))
        finally:
            free.set()
        await until(lambda: len(b.sandbox.journal))
        assert b.sandbox.journal.summary()["accepts"] == {"x": 1}
        assert all(one.result() for one in busy)

    sandboxed(test)


# --- faults

CREATE_FAULTS = [
    fault.name for fault in FAULTS.values() if fault.moment in (Moment.ARRIVED, Moment.READ, Moment.MADE)
]
WAITING = {"stall_early", "stall_before", "stall_after"}
BROKEN = {"reset_early", "reset_before", "close_before", "reset_after", "close_after", "half_answer_after"}


@pytest.mark.parametrize("name", sorted(set(CREATE_FAULTS) - WAITING))
def test_a_create_fault_makes_a_task_or_not_as_its_definition_says(name: str) -> None:
    fault = FAULTS[name]
    assert fault.reply is not None
    reply = fault.reply

    async def test(b: Bench) -> None:
        url, body = b.sandbox.base_url + CALL, {**ORDER, "external_task_id": "x"}
        request = b.client.post(url, json=body, allow_redirects=False)
        if name in BROKEN:
            with pytest.raises(aiohttp.ClientError) as caught:
                async with request as response:
                    await response.read()
            reset = isinstance(caught.value, OSError) and caught.value.errno == errno.ECONNRESET
            assert reset is name.startswith("reset")
        else:
            async with request as response:
                assert response.status == reply.status
                content = await response.content.read(200)
                if reply.code:
                    assert f'"code":{reply.code}' in content.decode()
                if name == "huge_answer":
                    await response.content.readexactly(5_000_000)
        (entry,) = b.sandbox.journal
        assert (entry.fault, entry.accepted) == (name, fault.made)
        assert ((await b.query("x"))[0] == 200) is fault.made
        again = (await b.create(external_task_id="x"))[1]["code"]
        assert again == (1201 if fault.made else 0)  # the fault struck the first create only
        assert b.sandbox.journal.summary()["accepts"] == {"x": 1}

    sandboxed(test, Config(faults=(parse(f"{name}@1"),), drip=0.0001))


@pytest.mark.parametrize("name", sorted(WAITING))
def test_a_stalled_create_goes_on_when_released_and_is_forgotten_when_the_client_leaves(name: str) -> None:
    made = FAULTS[name].made

    async def released(b: Bench) -> None:
        waiting = asyncio.create_task(b.create(external_task_id="x"))
        await until(lambda: b.sandbox.held)
        assert [entry.accepted for entry in b.sandbox.journal] == [made]
        assert not waiting.done()
        assert b.sandbox.release() == 1
        assert (await waiting)[1]["code"] == 0
        assert b.sandbox.journal.summary()["accepts"] == {"x": 1}

    async def left(b: Bench) -> None:
        waiting = asyncio.create_task(b.create(external_task_id="x"))
        await until(lambda: b.sandbox.held)
        waiting.cancel()
        await until(lambda: not b.sandbox.held)
        assert b.sandbox.journal.summary()["accepts"] == ({"x": 1} if made else {})

    for test in (released, left):
        sandboxed(test, Config(faults=(parse(f"{name}@1"),)))


def test_an_early_refusal_can_be_read_although_the_body_was_not_taken() -> None:
    async def test(b: Bench) -> None:
        status = None
        data = io.BytesIO(json.dumps({**ORDER, "image": "A" * 50_000_000}).encode())
        try:
            async with b.client.post(b.sandbox.base_url + CALL, data=data) as response:
                status = response.status
        except aiohttp.ClientError:
            pass
        assert status in (None, 413)
        (entry,) = b.sandbox.journal
        assert (entry.accepted, entry.fields, entry.fault) == (False, {}, "body_refused_early")

    sandboxed(test, Config(faults=(parse("body_refused_early@1"),)))


def test_spoilt_answers_are_spoilt_as_named() -> None:
    async def test(b: Bench) -> None:
        for rule in (
            "task_id_traversal_after@1",
            "empty_task_id_after@2",
            "foreign_external_id_after@3",
            "no_task_id@4",
        ):
            b.sandbox.add_fault(rule)
        answers = [(await b.create(external_task_id=f"x{n}"))[1]["data"] for n in range(4)]
        assert [one.get("task_id") for one in answers[:2]] == ["../../x", ""]
        assert answers[2]["task_info"] == {"external_task_id": "somebody-else"}
        assert "task_id" not in answers[3]
        b.sandbox.clear_faults()
        for rule in (
            "bad_utf8_after@1",
            "garbage_after@2",
            "wrong_types_after@3",
            "gzip_bomb@4",
            "redirect@5",
        ):
            b.sandbox.add_fault(rule)
        bodies, where = [], ""
        for _ in range(5):
            async with b.client.post(
                b.sandbox.base_url + CALL, json=ORDER, allow_redirects=False
            ) as response:
                bodies.append(await response.read())
                where = response.headers.get("Location", "")
        with pytest.raises(UnicodeDecodeError):
            bodies[0].decode()
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(bodies[1])
        assert isinstance(json.loads(bodies[2])["data"]["task_id"], int)
        assert len(bodies[3]) > 64 * 2**20
        assert json.loads(bodies[3])["code"] == 0
        assert where == b.sandbox.elsewhere + CALL
        assert URL(where).origin() != URL(b.sandbox.base_url).origin()

    sandboxed(test)


async def fetch(b: Bench, url: str) -> tuple[int | None, bytes]:
    """Status and content, up to a megabyte; no status where the answer didn't come whole."""
    content = b""
    try:
        async with b.client.get(url, allow_redirects=False) as response:
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > 1_000_000:
                    break
            return response.status, content
    except (aiohttp.ClientError, ConnectionError):
        return None, content


QUERY_FAULTS = [
    fault.name
    for fault in FAULTS.values()
    if fault.moment in (Moment.ASKED, Moment.FOUND, Moment.MOVED, Moment.DONE)
]


@pytest.mark.parametrize("name", QUERY_FAULTS)
def test_a_query_fault_spoils_one_query_and_no_task(name: str) -> None:
    reply = FAULTS[name].reply
    assert reply is not None

    async def test(b: Bench) -> None:
        task_id = await b.made()
        good = (await b.query(task_id))[1]["data"]
        b.sandbox.add_fault(f"{name}@1")
        spoilt = asyncio.create_task(fetch(b, f"{b.sandbox.base_url}{CALL}/{task_id}"))
        if name == "query_stall":
            await until(lambda: b.sandbox.held)
            b.sandbox.release()
        status, content = await spoilt
        if name == "query_stall":
            assert json.loads(content)["data"] == good
        else:
            assert status == (None if name == "query_half" else reply.status)
            assert json.dumps(good, separators=(",", ":"), ensure_ascii=False).encode() not in content
        entry = b.sandbox.journal.of("query")[-1]
        assert (entry.fault, entry.task_id) == (name, task_id)
        assert (await b.query(task_id))[1]["data"] == good

    sandboxed(test, Config(task_seconds=(0, 0)))


def test_queries_lie_as_named() -> None:
    async def test(b: Bench) -> None:
        task_id = await b.made()
        seen = {}
        for name in (
            "query_backwards",
            "query_unknown_status",
            "query_succeeded",
            "video_bad_scheme",
            "video_foreign_host",
        ):
            b.sandbox.add_fault(f"{name}@1")
            seen[name] = (await b.query(task_id))[1]["data"]
        words = [
            seen[f"query_{name}"]["task_status"] for name in ("backwards", "unknown_status", "succeeded")
        ]
        assert words == ["submitted", "queueing", "succeeded"]
        assert seen["video_bad_scheme"]["task_result"]["videos"][0]["url"].startswith("file://")
        url = seen["video_foreign_host"]["task_result"]["videos"][0]["url"]
        assert url.startswith(b.sandbox.elsewhere)
        async with b.client.get(url) as response:
            assert await response.read() == clip(task_id)
        (witness,) = b.sandbox.journal.of("elsewhere")
        assert witness.authorized  # this client gave its key away; the journal tells

    sandboxed(test, Config(task_seconds=(0, 0)))


VIDEO_FAULTS = [fault.name for fault in FAULTS.values() if fault.moment is Moment.FETCHED]


@pytest.mark.parametrize("name", VIDEO_FAULTS)
def test_a_video_fault_spoils_one_download(name: str) -> None:
    async def test(b: Bench) -> None:
        task_id = await b.made()
        url = f"{b.sandbox.base_url}/videos/{task_id}.mp4"
        whole = clip(task_id)

        spoilt = asyncio.create_task(fetch(b, url))
        if name == "video_stall":
            await until(lambda: b.sandbox.held)
            b.sandbox.release()
        got = await spoilt
        half = whole[: len(whole) // 2]
        expected: dict[str, tuple[int | None, bytes]] = {
            "video_short": (None, half),
            "video_truncated": (200, half),
            "video_empty": (200, b""),
            "video_stall": (None, half),
            "video_redirect": (302, b""),
        }
        if name in expected:
            assert got == expected[name]
        elif name == "video_reset":
            assert got[0] is None
        elif name == "video_endless":
            assert len(got[1]) > 1_000_000
        else:
            assert got[0] == {"video_404": 404, "video_403": 403, "video_500": 500, "video_html": 200}[name]
            assert got[1].startswith(b"<html>")
        assert b.sandbox.journal.of("video")[0].fault == name
        assert await fetch(b, url) == (200, whole)

    sandboxed(test, Config(task_seconds=(0, 0), faults=(parse(f"{name}@1"),)))


def test_task_faults_fail_a_task_or_keep_it_running_until_it_is_finished_by_hand() -> None:
    clock = Clock()

    async def test(b: Bench) -> None:
        failing, endless = await b.made(), await b.made()
        clock.now += 1e6
        states = [(await b.query(one))[1]["data"]["task_status"] for one in (failing, endless)]
        assert states == ["failed", "processing"]
        assert b.sandbox.account.running == 1
        assert b.sandbox.account.finish() == 1
        assert (await b.query(endless))[1]["data"]["task_status"] == "succeed"
        assert [entry.fault for entry in b.sandbox.journal.of("create")] == ["task_fails", "task_never_ends"]

    sandboxed(test, Config(faults=(parse("task_fails@1"), parse("task_never_ends@2"))), clock)


def test_the_same_seed_and_requests_give_the_same_faults_and_lengths() -> None:
    rules = ("internal_after=0.3", "rate_limited=0.2", "task_fails=0.3", "balance@5")
    played: dict[int, set[str]] = {}

    def play(seed: int) -> str:
        clock, record = Clock(), []

        async def test(b: Bench) -> None:
            for number in range(40):
                _, document = await b.create(external_task_id=f"x{number}")
                record.append(document["code"])
                clock.now += 0.5
                status, document = await b.query(f"x{number}")
                record.append(document["data"]["task_status"] if status == 200 else status)
            played[seed] = {entry.fault for entry in b.sandbox.journal if entry.fault}

        faults = tuple(map(parse, rules))
        sandboxed(test, Config(seed=seed, faults=faults, task_seconds=(0.2, 1)), clock)
        return json.dumps(record)

    assert play(1) == play(1) != play(2)
    assert played[1] == {rule.replace("@", "=").split("=")[0] for rule in rules}


@pytest.mark.parametrize(
    "text",
    ["nonsense=0.1", "reset_after", "reset_after=2", "reset_after=x", "reset_after@0", "reset_after@1,x"],
)
def test_a_rule_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"reset_after|nonsense"):
        parse(text)


def test_a_misspelt_fault_gets_a_hint() -> None:
    with pytest.raises(ValueError, match="did you mean reset_after"):
        parse("reset_aftr=0.1")


# --- callbacks, control, and the program


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, list[tuple[web.BaseRequest, bytes]]]]:
    """A receiver on this machine: its ``HOST:PORT``, and what has come to it."""
    received: list[tuple[web.BaseRequest, bytes]] = []

    async def receive(request: web.BaseRequest) -> web.Response:
        received.append((request, await request.read()))
        return web.Response()

    runner = web.ServerRunner(web.Server(receive))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}", received
    finally:
        await runner.cleanup()


def test_callbacks_come_at_every_change_and_signed() -> None:
    secret = b"0123456789abcdef"

    async def test() -> None:
        async with listening() as (there, received):
            config = Config(
                webhook_secret="whsec_" + b64(secret),
                faults=(parse("callback_twice@2"),),
                callbacks=frozenset({guard.address(there)}),
            )
            async with asyncio.timeout(30), bench(config) as b:
                task_id = await b.made(callback_url=f"http://{there}/hook", external_task_id="x")
                await until(lambda: len(b.sandbox.journal.of("callback")) >= 3)
                statuses = {entry.status for entry in b.sandbox.journal.of("callback")}
        assert statuses == {200}
        documents = [json.loads(body) for _, body in received]
        assert [one["task_status"] for one in documents] == ["processing", "succeed", "succeed"]
        assert {one["task_id"] for one in documents} == {task_id}
        assert documents[0]["task_info"] == {"external_task_id": "x"}
        assert documents[-1]["task_result"]["videos"][0]["url"].endswith(".mp4")
        for request, body in received:
            name, moment = request.headers["webhook-id"], request.headers["webhook-timestamp"]
            mac = hmac.new(secret, f"{name}.{moment}.".encode() + body, hashlib.sha256).digest()
            assert request.headers["webhook-signature"] == "v1," + b64(mac)

    asyncio.run(test())


def test_nobody_is_called_back_who_was_not_named() -> None:
    async def test() -> None:
        async with listening() as (named, received), listening() as (other, foreign):
            port = other.partition(":")[2]
            config = Config(callbacks=frozenset({guard.address(named)}))
            async with asyncio.timeout(30), bench(config) as b:
                for url in (
                    f"http://{other}/delete?all=1",
                    f"http://localhost:{port}/",
                    f"http://{named}@{other}/",
                    f"http://{other}#@{named}/",
                    f"http://[::ffff:127.0.0.1]:{port}/",
                    "http://192.0.2.1/hook",
                ):
                    await b.made(callback_url=url)
                await b.made(callback_url=f"http://{named}/hook")
                await until(lambda: len(b.sandbox.journal.of("callback")) >= 2)
                called = {entry.path for entry in b.sandbox.journal.of("callback")}
        assert (called, len(received), foreign) == ({f"http://{named}/hook"}, 2, [])

    asyncio.run(test())


@pytest.mark.parametrize(
    "text", ["192.0.2.1:9", "example.org:80", "127.0.0.1", "a@127.0.0.1:9", "127.0.0.1:0", "[::1"]
)
def test_a_receiver_is_a_host_of_this_machine_and_a_port(text: str) -> None:
    assert [guard.address(one) for one in ("LocalHost:1", "[::1]:80")] == [("localhost", 1), ("::1", 80)]
    with pytest.raises(ValueError, match="write a host of this machine and a port"):
        guard.address(text)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example:1234"}, 421),
        ({"Host": "127.0.0.1.rebound.example"}, 421),
        ({"Host": "localhost.rebound.example"}, 421),
        ({"Host": "127.0.0.1@rebound.example"}, 421),
        ({"Host": "rebound.example#127.0.0.1"}, 421),
        ({"Host": "192.0.2.1"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_a_page_in_a_browser_gets_no_answer(headers: dict[str, str], status: int) -> None:
    async def test(b: Bench) -> None:
        for host in (b.sandbox.base_url, b.sandbox.elsewhere):
            for method, path in (("GET", "/_sandbox/journal"), ("POST", CALL), ("OPTIONS", CALL)):
                async with b.client.request(method, host + path, headers=headers, json=ORDER) as response:
                    assert (response.status, "sandbox" in (await response.json())["problem"]) == (
                        status,
                        True,
                    )
        assert b.sandbox.journal.summary()["tasks"] == 0

    sandboxed(test)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "LOCALHOST.:9"},
        {"Host": "127.0.0.2:80"},
        {"Host": "[::1]:80"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_this_machine_by_whatever_name_gets_an_answer(headers: dict[str, str]) -> None:
    async def test(b: Bench) -> None:
        async with b.client.get(b.sandbox.base_url + "/_sandbox/stats", headers=headers) as response:
            assert response.status == 200

    sandboxed(test)


def test_a_form_of_a_page_turns_nothing() -> None:
    async def test(b: Bench) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            url = f"{b.sandbox.base_url}/_sandbox/slots"
            async with b.client.post(url, data=b'{"slots": 1}', headers={"Content-Type": kind}) as response:
                assert response.status == 415
        assert b.sandbox.account.slots is None

    sandboxed(test)


def test_the_sandbox_is_turned_while_it_runs() -> None:
    async def test(b: Bench) -> None:
        async def control(name: str, document: Any = None) -> Any:
            url = f"{b.sandbox.base_url}/_sandbox/{name}"
            method = "GET" if document is None else "POST"
            async with b.client.request(method, url, json=document) as response:
                return await response.json()

        await control("slots", {"slots": 1})
        await control("faults", {"add": ["task_never_ends@1"]})
        assert [(await b.create())[1]["code"] for _ in range(2)] == [0, 1303]
        stats = await control("stats")
        assert (stats["running"], stats["slots"], stats["tasks"], stats["refusals"]) == (1, 1, 1, {"1303": 1})
        assert await control("finish", {}) == {"finished": 1}
        await control("faults", {"clear": True, "add": ["stall_after@1"]})
        waiting = asyncio.create_task(b.create())
        await until(lambda: b.sandbox.held)
        assert (await control("stats"))["held"] == 1
        assert await control("release", {}) == {"released": 1}
        assert (await waiting)[0] == 200
        assert [entry["seq"] for entry in await control("journal?after=1")] == [2, 3]
        assert "nonsense" in (await control("faults", {"add": ["nonsense@1"]}))["problem"]

    sandboxed(test)


def test_as_a_program_it_prints_where_it_is_and_leaves_a_journal_when_killed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    command = [sys.executable, "-m", "batchgen.sandbox", "--journal", str(path), "--slots", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for number, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as one:
            assert one.stdout is not None
            url = one.stdout.readline().strip()
            assert f"POWERTOKENS_API_BASE={url} " in one.stdout.readline()

            async def create(url: str = url) -> int:
                headers = {"Authorization": "Bearer k"}
                async with aiohttp.request("POST", url + CALL, json=ORDER, headers=headers) as response:
                    return response.status

            assert asyncio.run(create()) == 200
            one.send_signal(number)
            one.communicate(timeout=20)
            assert one.returncode == code
    assert [entry.accepted for entry in load(path)] == [True, True]


def test_every_fault_is_listed_with_a_line_of_its_own() -> None:
    command = [sys.executable, "-m", "batchgen.sandbox", "--list-faults"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert [line.split()[0] for line in text.splitlines()] == list(FAULTS)
    assert all(len(line.split()) > 1 for line in text.splitlines())
