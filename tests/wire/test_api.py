"""The client alone, against servers that break every habit: what it concludes is true, soon, and cheap."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from batchgen.api.client import Api
from batchgen.api.responses import Accepted
from batchgen.errors import (
    ApiError,
    ImageError,
    MaybeAccepted,
    NeverSent,
    NotFound,
    Refused,
    UnknownCode,
    UsageError,
)
from batchgen.http.endpoint import origin
from batchgen.images import inspection
from batchgen.models import ImageFile, TaskView
from batchgen.sandbox.config import Config
from batchgen.sandbox.faults import FAULTS, Moment
from batchgen.sandbox.server import Sandbox
from tests.support.pictures import make_large_png
from tests.support.program import ENDS, KEY, Desk, sandbox, until
from tests.support.wire import Heard, Play, answer, flooding, head, made, request, saying, served, wire

NAME = "m.a.0123456789"
FIELDS: dict[str, Any] = {
    "model_name": "kling-v3",
    "image": "https://example.com/a.png",
    "prompt": "x",
    "external_task_id": NAME,
}
IMPATIENT = 0.4  # seconds without progress, where a test waits for them to pass
LARGE = 6_000_000  # bytes: far more than all the buffers between two sockets hold

T = TypeVar("T")


async def ended(step: Awaitable[T]) -> T | ApiError | ImageError:
    """What a step returned or raised; anything but the errors it promises goes through."""
    try:
        return await step
    except (ApiError, ImageError) as error:
        return error


async def create(url: str, *, patience: float = ENDS, **fields: Any) -> Accepted | ApiError | ImageError:
    async with Api(url, KEY, timeout=patience) as api:
        return await ended(api.create({**FIELDS, **fields}))


async def query(url: str, asked: str = "t1", *, patience: float = ENDS) -> TaskView | ApiError | ImageError:
    async with Api(url, KEY, timeout=patience) as api:
        return await ended(api.query(asked))


def picture(folder: Path, size: int = LARGE, seed: int = 0) -> ImageFile:
    path = folder / f"{seed}.png"
    path.write_bytes(make_large_png(size, seed))
    return inspection.inspect(str(path))


NO_HTTP = {
    "a page": (b"<html><b>s3cr3t</b></html>", "what came isn't HTTP"),
    "another protocol": (b"SSH-2.0-s3cr3t\r\n", "what came isn't HTTP"),
    "no header": (b"HTTP/1.1 200 OK\r\ns3cr3t\r\n\r\n", "what came isn't HTTP"),
    "an odd length": (b"HTTP/1.1 200 OK\r\nContent-Length: s3cr3t\r\n\r\n", "what came isn't HTTP"),
    "an odd status": (b"HTTP/1.1 s3cr3t\r\n\r\n", "what came isn't HTTP"),
    "a long header": (b"HTTP/1.1 200 OK\r\nX: " + b"s3cr3t" * 9000 + b"\r\n\r\n", "what came isn't HTTP"),
    "half of the headers": (b"HTTP/1.1 200 OK\r\nX-Key: s3cr3t\r\n", "it hung up without an answer"),
}


@pytest.mark.parametrize(("said", "reason"), NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_is_told_by_its_kind_and_none_of_it_is_quoted(said: bytes, reason: str) -> None:
    async def scene() -> None:
        async with wire(saying(said)) as url:
            for end in (await create(url), await query(url)):
                assert isinstance(end, ApiError)
                assert str(end) == f"no answer: {reason}"

    asyncio.run(scene())


@pytest.mark.parametrize(
    "given",
    [
        "ftp://me:s3cr3t@api.example.com",
        "https://me:s3cr3t@api.example.com/é",
        "https://me:s3cr3t/@api.example.com",
        "http://me:s3cr3t@api.example.com",
        "https://me:s3cr3t@[::1",
    ],
)
def test_a_password_in_a_base_url_is_never_quoted(given: str) -> None:
    with pytest.raises(UsageError) as refused:
        origin(given)
    assert "s3cr3t" not in str(refused.value) and "me:" not in str(refused.value)


# -- what was sent ------------------------------------------------------------------------------------------


def test_a_create_is_one_post_with_the_exact_bytes_of_its_files_in_base64(tmp_path: Path) -> None:
    heard: list[Heard] = []
    first, last = picture(tmp_path, 1_000_000), picture(tmp_path, 1_000_001, seed=1)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await request(reader))
        writer.write(made("t1"))
        assert await reader.read() == b""  # nothing follows, and the connection is not kept

    async def scene() -> None:
        async with wire(play) as url:
            assert await create(url, image=first, image_tail=last) == Accepted("t1", "r1")

    asyncio.run(scene())
    [sent] = heard
    encoded = [base64.b64encode(Path(one.path).read_bytes()).decode() for one in (first, last)]
    fields = {**FIELDS, "image": encoded[0], "image_tail": encoded[1]}
    assert sent.body == json.dumps(fields, separators=(",", ":")).encode()
    assert (sent.method, sent.path) == ("POST", "/kling/v1/videos/image2video")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["content-length"] == str(len(sent.body))
    assert sent.headers["accept-encoding"] == "identity"
    assert "transfer-encoding" not in sent.headers
    assert sum(KEY in value for value in sent.headers.values()) == 1


def test_an_id_stays_one_segment_of_the_path_whatever_is_in_it() -> None:
    heard: list[Heard] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await request(reader))
        writer.write(answer({"code": 1203, "message": "no"}, 404))

    async def scene() -> None:
        async with wire(play) as url:
            assert isinstance(await query(url, "../a/%2e?x#é\n"), NotFound)

    asyncio.run(scene())
    assert heard[0].path == "/kling/v1/videos/image2video/..%2Fa%2F%252e%3Fx%23%C3%A9%0A"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("https://api.example.com", "https://api.example.com"),
        (" https://API.example.com:443/ ", "https://api.example.com"),
        ("https://api.example.com:8443/v2/", "https://api.example.com:8443/v2"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:1", "http://localhost:1"),
    ],
)
def test_a_base_url_has_one_spelling(given: str, taken: str) -> None:
    assert origin(given) == taken


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("http://api.example.com", "unencrypted"),
        ("http://127.0.0.1.example.com", "unencrypted"),
        ("http://127.example.com", "unencrypted"),
        ("http://localhost.example.com", "unencrypted"),
        ("http://0.0.0.0", "unencrypted"),
        ("https://user:secret@example.com", "must hold no user"),
        ("https://example.com?key=secret", "must hold no user"),
        ("https://example.com/a b", "must look like"),
        ("https://example.com:port", "can't be read"),
        ("https://[", "can't be read"),
        ("ftp://example.com", "must look like"),
        ("https://", "must look like"),
        ("secret", "must look like"),
        ("", "must look like"),
    ],
)
def test_a_base_url_that_would_show_the_key_or_leads_nowhere_is_refused(given: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        origin(given)
    assert "secret" not in str(caught.value)


# -- never sent, refused, or maybe accepted -----------------------------------------------------------------


async def _plain_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_without_a_connection_nothing_was_sent() -> None:
    async def scene() -> list[Any]:
        async with wire(_plain_http) as url:
            addresses = ["https://nowhere.invalid", url.replace("http:", "https:")]
            ends = [await create(address) for address in addresses]
        return [*ends, await create(url)]  # nobody listens there any more

    for end in asyncio.run(scene()):
        assert isinstance(end, NeverSent)
        assert str(end).startswith("not sent: ")


async def _reads_some_and_resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(300_000)
    writer.transport.abort()


async def _reads_some_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(300_000)


async def _reads_some_and_stops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(300_000)
    await asyncio.sleep(ENDS)


async def _answers_early_in_riddles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)
    writer.write(answer(b"<html>Welcome</html>"))
    await asyncio.sleep(ENDS)


async def _fails_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)
    writer.write(answer({"code": 5000, "message": "internal"}, 500))
    await asyncio.sleep(ENDS)


@pytest.mark.parametrize(
    "play",
    [
        _reads_some_and_resets,
        _reads_some_and_closes,
        _reads_some_and_stops,
        _answers_early_in_riddles,
        _fails_early,
    ],
)
def test_a_body_that_was_not_written_to_its_end_was_never_sent(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        async with wire(play) as url:
            end = await create(url, image=picture(tmp_path), patience=IMPATIENT)
            assert isinstance(end, NeverSent), end

    asyncio.run(scene())


@pytest.mark.parametrize("hurry", [False, True])
def test_a_disk_that_hangs_is_the_image_s_fault_and_stops_nothing_else(
    hurry: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, disk, reads = picture(tmp_path), threading.Event(), os.read

    def read(file: int, count: int) -> bytes:
        disk.wait(ENDS)
        return reads(file, count)

    async def scene() -> None:
        async with wire(saying(made("t1"))) as url, Api(url, KEY, timeout=IMPATIENT) as api:
            hanging = asyncio.create_task(ended(api.create({**FIELDS, "image": image})))
            assert await ended(api.create(FIELDS)) == Accepted("t1", "r1")
            assert not hanging.done()
            if hurry:
                api.set_deadline(0.0)
            end = await hanging
            if hurry:
                assert isinstance(end, NeverSent)
                assert str(end) == "not sent: the run was ended"
            else:
                assert isinstance(end, ImageError)
                assert (
                    str(end)
                    == f"{image.path}: it can't be read: nothing came from its disk for {IMPATIENT:g} s"
                )
            disk.set()

    monkeypatch.setattr("batchgen.request.body.os.read", read)
    asyncio.run(scene())


async def _hears_all_and_resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.transport.abort()


async def _hears_all_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)


async def _hears_all_and_is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    await asyncio.sleep(ENDS)


@pytest.mark.parametrize("play", [_hears_all_and_resets, _hears_all_and_closes, _hears_all_and_is_silent])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_once_the_body_is_out_silence_is_maybe_accepted(play: Play, large: bool, tmp_path: Path) -> None:
    async def scene() -> None:
        async with wire(play) as url:
            fields = {"image": picture(tmp_path)} if large else {}
            end = await create(url, patience=IMPATIENT, **fields)
            assert isinstance(end, MaybeAccepted), end
            assert "no answer" in str(end)

    asyncio.run(scene())


BODY_ARRIVED = [fault for fault in FAULTS.values() if fault.moment in (Moment.READ, Moment.MADE)]


@pytest.mark.parametrize("name", [fault.name for fault in BODY_ARRIVED])
def test_what_is_concluded_from_an_answer_agrees_with_what_was_made(name: str) -> None:
    async def scene() -> None:
        async with Sandbox(Config(drip=0.0005)) as sandbox:
            sandbox.add_fault(f"{name}@1")
            end = await create(sandbox.base_url, patience=3 * IMPATIENT)
            tasks = [entry.task_id for entry in sandbox.journal if entry.accepted]
            if isinstance(end, Accepted):
                assert [end.task_id] == tasks
            elif not isinstance(end, MaybeAccepted):
                assert isinstance(end, ApiError)
                assert not isinstance(end, NeverSent)  # it was sent
                assert tasks == []  # "not accepted" is true
            elif isinstance(view := await query(sandbox.base_url, NAME), TaskView):
                assert [view.task_id] == tasks
            else:
                assert isinstance(view, NotFound)
                assert tasks == []

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["body_refused_early", "body_400_early", "reset_early", "stall_early"])
def test_an_answer_before_the_body_was_read_is_no_acceptance(name: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with Sandbox() as sandbox:
            sandbox.add_fault(f"{name}@1")
            end = await create(sandbox.base_url, image=picture(tmp_path), patience=IMPATIENT)
            assert isinstance(
                end,
                NeverSent if name in ("reset_early", "stall_early") else Refused | UnknownCode | NeverSent,
            )
            assert not any(entry.accepted for entry in sandbox.journal)

    asyncio.run(scene())


def test_an_early_refusal_is_heard_at_once_although_nobody_reads_on(tmp_path: Path) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(answer({"code": 1201, "message": "too large"}, 400))
        await asyncio.sleep(ENDS)

    async def scene() -> None:
        async with wire(play) as url:
            begun = time.monotonic()
            end = await create(url, image=picture(tmp_path), patience=ENDS)
            assert isinstance(end, Refused)
            assert "too large" in str(end)
            assert time.monotonic() - begun < ENDS / 4

    asyncio.run(scene())


def test_a_file_that_changes_while_it_is_sent_fails_its_job_and_makes_nothing(tmp_path: Path) -> None:
    image = picture(tmp_path)
    got = bytearray()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readexactly(300_000))
        Path(image.path).write_bytes(make_large_png(LARGE, seed=7))
        while piece := await reader.read(1 << 16):
            got.extend(piece)
        writer.write(made("t1"))

    async def scene() -> None:
        async with wire(play) as url:
            end = await create(url, image=image)
            assert isinstance(end, ImageError)
            assert "changed" in str(end)
            assert image.path in str(end)

    asyncio.run(scene())
    assert not got.endswith(b"}")  # the last piece was never sent


def test_the_next_create_after_an_early_refusal_is_whole(tmp_path: Path) -> None:
    image = picture(tmp_path)

    async def scene() -> None:
        async with Sandbox() as sandbox, Api(sandbox.base_url, KEY, timeout=ENDS) as api:
            sandbox.add_fault("body_400_early@1,2")
            for number in range(2):
                early = await ended(api.create({**FIELDS, "image": image, "external_task_id": f"e{number}"}))
                assert isinstance(early, Refused | UnknownCode | NeverSent)
            assert isinstance(await api.create({**FIELDS, "image": image}), Accepted)
            [entry] = [entry for entry in sandbox.journal if entry.accepted]
            assert entry.images["image"]["sha256"] == image.sha256

    asyncio.run(scene())


def test_a_stray_answer_on_a_kept_connection_is_never_taken_for_the_next_ones() -> None:
    count = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while True:
            await request(reader)
            count += 1
            writer.write(made(f"mine{count}") + made("stray"))
            await writer.drain()

    async def scene() -> None:
        async with wire(play) as url, Api(url, KEY, timeout=ENDS) as api:
            for number in range(1, 4):
                assert await api.create(FIELDS) == Accepted(f"mine{number}", "r1")
            for number in range(4, 8):
                seen = await ended(api.query(f"mine{number}"))
                assert not isinstance(seen, TaskView) or seen.task_id == f"mine{number}"

    asyncio.run(scene())


def test_a_late_stray_answer_is_not_taken_for_the_next_creates() -> None:
    stray = asyncio.Event()
    count = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await request(reader)
        writer.write(made(f"t{count}"))
        await stray.wait()
        writer.write(made("stray"))
        await request(reader)
        writer.write(made("second"))

    async def scene() -> None:
        async with wire(play) as url, Api(url, KEY, timeout=ENDS) as api:
            assert (await api.create(FIELDS)).task_id == "t1"
            stray.set()
            await asyncio.sleep(0.05)  # it is late: the first answer has been read
            assert (await api.create(FIELDS)).task_id == "t2"

    asyncio.run(scene())


# -- redirects ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(status: int) -> None:
    visits: list[Heard] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(await head(reader))

    async def scene() -> None:
        async with wire(elsewhere) as other, wire(saying(answer(b"", status, Location=other))) as url:
            end = await create(url)
            assert isinstance(end, MaybeAccepted)
            assert "never followed" in str(end)
            asked = await query(url)
            assert isinstance(asked, ApiError)
            assert not isinstance(asked, NotFound)

    asyncio.run(scene())
    assert visits == []


# -- answers without an end, without sense, without haste ---------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b" " * (64 << 20))

ENDLESS = {
    "body": flooding(OK + b"\r\n", b"x" * 65536),
    "announced body": flooding(OK + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65536),
    "chunks": flooding(CHUNKED, b"1\r\n \r\n" * 10_000),
    "chunk extension": flooding(CHUNKED + b"2;", b"x" * 65536),
    "trailers": flooding(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 10_000),
    "status line": flooding(b"HTTP/1.1 200 ", b"x" * 65536),
    "header": flooding(OK + b"X: ", b"x" * 65536),
    "headers": flooding(OK, b"X: yyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 2_000),
    "100 Continue": flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "packed blanks": saying(answer(BOMB, Content_Encoding="gzip")),
}


@pytest.mark.parametrize("play", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_endless_answer_costs_little_memory_and_time(play: Play) -> None:
    async def scene() -> None:
        async with wire(play) as url:
            assert isinstance(await create(url, patience=2 * IMPATIENT), MaybeAccepted)
            asked = await query(url, patience=2 * IMPATIENT)
            assert isinstance(asked, ApiError)
            assert not isinstance(asked, NotFound)

    begun = time.monotonic()
    tracemalloc.start()
    try:
        asyncio.run(scene())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20
    assert time.monotonic() - begun < ENDS / 2


def test_a_drip_ends_when_patience_does() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK + b"Content-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def scene() -> None:
        async with wire(play) as url:
            assert isinstance(await create(url, patience=IMPATIENT), MaybeAccepted)
            assert isinstance(await query(url, patience=IMPATIENT), ApiError)

    begun = time.monotonic()
    asyncio.run(scene())
    assert time.monotonic() - begun < ENDS / 2


BROKEN = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9\r\n",
    "bytes": bytes(range(256)),
    "no status": b"HTTP/1.1 abc OK\r\n\r\n{}",
    "no HTTP": b"{}",
    "odd header": OK + b"X\0y: \xff\r\nno colon\r\n\r\n{}",
    "odd length": OK + b"Content-Length: abc\r\n\r\n{}",
    "negative length": OK + b"Content-Length: -3\r\n\r\n{}",
    "huge length": OK + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\n{}abc",
    "length and chunks": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "short body": OK + b'Content-Length: 900\r\n\r\n{"code":1201,"message":"cut',
    "short good body": OK + b'Content-Length: 900\r\n\r\n{"code":0,"data":{"task_id":"t1"}}',
    "odd chunk": CHUNKED + b"zz\r\nhello\r\n",
    "overlong chunk": CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n",
    "cut chunk": CHUNKED + b"50\r\nhello",
    "no gzip": answer(b"hello", Content_Encoding="gzip"),
    "unknown packing": answer(b"hello", Content_Encoding="br"),
    "switch": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nx",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "status of the future": answer({}, 799),
    "not UTF-8": answer(b'{"code":0,"data":{"task_id":"\xff\xfe"}}'),
    "deep": answer(b"[" * 100_000),
    "deep and closed": answer(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "long number": answer(b'{"code":' + b"9" * 10_000 + b"}"),
    "no number": answer(b'{"code":NaN}'),
    "null": answer(b"null"),
    "list": answer(b"[0]"),
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_makes_no_sense_proves_nothing(said: bytes) -> None:
    async def scene() -> None:
        async with wire(saying(said)) as url:
            end = await create(url)
            assert isinstance(end, MaybeAccepted), end
            assert str(end).isprintable()
            asked = await query(url)
            assert isinstance(asked, ApiError), asked
            assert not isinstance(asked, NotFound)
            assert str(asked).isprintable()

    asyncio.run(scene())


def test_what_was_heard_of_an_answer_that_broke_off_is_kept() -> None:
    async def scene() -> None:
        async with wire(saying(BROKEN["short body"])) as url:
            end = await create(url)
            assert isinstance(end, MaybeAccepted)
            assert end.code == "HTTP 200"
            assert '"message":"cut' in str(end)

    asyncio.run(scene())


ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e\r\n\x00\ud800" * 5000


def test_what_the_api_tells_people_is_one_line_that_no_terminal_obeys() -> None:
    refusal = answer({"code": 1301, "message": "no: " + ESCAPES, "request_id": "r" + ESCAPES}, 400)
    gateway = answer({"error": {"message": "no: " + ESCAPES}}, 403)
    page = answer(("no: " + ESCAPES).encode("utf-8", "replace"), 403)
    task = made(
        "t1",
        task_status="f" + ESCAPES,
        task_status_msg="m" + ESCAPES,
        final_unit_deduction="u" + ESCAPES,
        task_result={"videos": [{"url": "https://example.com/" + ESCAPES[:50]}]},
    )

    def tame(text: str | None) -> bool:
        return bool(text) and str(text).isprintable() and len(str(text)) <= 1000

    async def scene() -> None:
        for said in (refusal, gateway, page):
            async with wire(saying(said)) as url:
                end = await create(url)
                assert isinstance(end, ApiError)
                assert "no:" in str(end)
                assert tame(str(end))
                assert end.request_id is None or tame(end.request_id)
        async with wire(saying(task)) as url:
            view = await query(url)
            assert isinstance(view, TaskView)
            assert tame(view.raw_status)
            assert tame(view.message)
            assert tame(view.units_charged)
            assert view.video_url is None

    asyncio.run(scene())


QUERY_FAULTS = [
    fault.name
    for fault in FAULTS.values()
    if fault.moment in (Moment.ASKED, Moment.FOUND, Moment.MOVED, Moment.DONE)
]


@pytest.mark.parametrize("name", QUERY_FAULTS)
def test_a_query_ends_as_this_tasks_view_or_as_an_error_that_proves_nothing(name: str) -> None:
    async def scene() -> None:
        async with Sandbox(Config(task_seconds=(0, 0))) as sandbox:
            accepted = await create(sandbox.base_url)
            assert isinstance(accepted, Accepted)
            sandbox.add_fault(f"{name}@1")
            seen = await query(sandbox.base_url, accepted.task_id, patience=IMPATIENT)
            assert any(entry.fault == name for entry in sandbox.journal)
            if isinstance(seen, TaskView):
                assert seen.task_id == accepted.task_id
                assert seen.status in (None, "submitted", "succeed")
                assert seen.video_url is None or seen.video_url.startswith("http://")
            else:
                assert isinstance(seen, ApiError)
                assert isinstance(seen, NotFound) == (name == "query_not_found")

    asyncio.run(scene())


# -- waiting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inline", [False, True], ids=["a file", "inline Base64"])
def test_a_slow_upload_that_moves_is_waited_for(inline: bool, tmp_path: Path) -> None:
    sent = {"dynamic_masks": [{"mask": "A" * 200_000}] * 30} if inline else {"image": picture(tmp_path)}

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        heard = await head(reader)
        left = int(heard.headers["content-length"])
        while left > 0:
            left -= len(await reader.readexactly(min(left, 1 << 19)))
            await asyncio.sleep(IMPATIENT / 8)
        writer.write(made("t1"))

    async def scene() -> None:
        async with wire(play) as url:
            begun = time.monotonic()
            end = await create(url, patience=IMPATIENT, **sent)
            assert end == Accepted("t1", "r1")
            assert time.monotonic() - begun > IMPATIENT  # without moving, it would have ended

    asyncio.run(scene())


@pytest.mark.parametrize("asks", [False, True], ids=["create", "query"])
def test_an_answer_that_came_while_this_machine_stood_still_is_heard(asks: bool) -> None:
    """As behind a disk that doesn't answer for a while, or after a machine has slept."""
    heard = threading.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        heard.set()
        await asyncio.sleep(IMPATIENT / 4)
        writer.write(made("t1"))

    async def scene(url: str) -> Any:
        async with Api(url, KEY, timeout=IMPATIENT) as api:
            step: Awaitable[Any] = api.query("t1") if asks else api.create(FIELDS)
            task = asyncio.ensure_future(ended(step))
            while not heard.is_set():
                await asyncio.sleep(0.01)
            time.sleep(IMPATIENT + 2)  # noqa: ASYNC251
            return await task

    with served(play) as url:
        end = asyncio.run(scene(url))
    assert end.task_id == "t1", end


def test_in_a_hurry_creates_in_flight_end_as_what_they_are(tmp_path: Path) -> None:
    image = picture(tmp_path)
    waiting = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await head(reader)
        if int(heard.headers["content-length"]) < 1000:
            await reader.readexactly(int(heard.headers["content-length"]))
            waiting.set()
        await asyncio.sleep(ENDS)

    async def scene() -> None:
        async with wire(play) as url, Api(url, KEY, timeout=ENDS) as api:
            small = asyncio.create_task(ended(api.create(FIELDS)))
            large = asyncio.create_task(ended(api.create({**FIELDS, "image": image})))
            await waiting.wait()
            begun = time.monotonic()
            api.set_deadline(IMPATIENT)
            assert isinstance(await small, MaybeAccepted)
            assert isinstance(await large, NeverSent)
            late = await ended(api.create({**FIELDS, "image": image}))
            assert isinstance(late, NeverSent)
            assert time.monotonic() - begun < ENDS / 4

    asyncio.run(scene())


async def _trickled_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Filler: 1\r\n")
        await writer.drain()
        await asyncio.sleep(IMPATIENT / 4)


async def _trickled_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    for byte in answer({"code": 0, "message": "x" * 10_000}):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(IMPATIENT / 50)


@pytest.mark.parametrize(
    "play",
    [_trickled_headers, _trickled_body, flooding(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 500)],
    ids=["headers", "body", "interim answers"],
)
def test_an_answer_that_trickles_has_one_patience_in_all(play: Play) -> None:
    async def scene() -> None:
        async with wire(play) as url, Api(url, KEY, timeout=IMPATIENT) as api:
            begun = time.monotonic()
            create, query = await asyncio.gather(ended(api.create(FIELDS)), ended(api.query("t1")))
            assert time.monotonic() - begun < ENDS / 4
            assert isinstance(create, MaybeAccepted)
            assert isinstance(query, NeverSent)
            assert str(create) == str(query) == f"no answer: none came whole within {IMPATIENT:g} s"

    asyncio.run(scene())


def test_at_the_end_of_a_run_a_create_that_was_sent_whole_is_given_its_answer(tmp_path: Path) -> None:
    heard, told = asyncio.Event(), asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        heard.set()
        await told.wait()
        writer.write(made("t1"))

    async def scene() -> None:
        async with wire(play) as url, Api(url, KEY, timeout=ENDS) as api:
            create = asyncio.create_task(ended(api.create(FIELDS)))
            await heard.wait()
            api.set_deadline(0.0, answers=ENDS)
            api.set_deadline(ENDS, answers=ENDS)  # a later end changes nothing
            late = await ended(api.create({**FIELDS, "image": picture(tmp_path)}))
            assert isinstance(late, NeverSent)
            told.set()
            assert await create == Accepted("t1", "r1")

    asyncio.run(scene())


# -- memory -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's peak memory from /proc")
def test_sixteen_large_creates_in_flight_stay_below_100_mb_in_all(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    defaults = {"version": 1, "defaults": {"model_name": "kling-v3", "prompt": "x"}}
    desk.write(
        "first.yaml", json.dumps({**defaults, "jobs": [{"image": "https://example.com/a.png", "id": "a"}]})
    )
    for number in range(16):
        desk.write(f"in/{number}.png", make_large_png(10_000_000, number))
    desk.write("m.yaml", json.dumps({**defaults, "jobs": [{"folder": "in"}]}))
    with sandbox(desk.folder, "--task-seconds", "60") as server:
        desk.against(server)
        assert desk.run("run", "--submit-only", "first.yaml").code == 0  # lookups are known to work
        server.ask("faults", {"add": ["stall_early=1"]})
        process = desk.start(
            "run", "--concurrency", "16", "--max-running", "20", "--poll-interval", "0.05", "m.yaml"
        )
        until(lambda: server.ask("stats")["held"] == 16)
        server.ask("faults", {"clear": True})
        server.ask("release", {})
        until(lambda: len(server.accepted()) == 17)
        peak = peak_memory(process.pid)
        server.ask("finish", {})
        assert desk.finish(process).code == 0
        assert peak < 100 << 20


def peak_memory(process: int) -> int:
    """The most bytes that a process has had in memory so far."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10  # it is told in kB
