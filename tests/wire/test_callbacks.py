"""The receiver of callbacks over the wire: who may call, what a call is, and what all else costs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from batchgen.errors import UsageError
from batchgen.night import callbacks
from batchgen.night.callbacks import CONNECTIONS, LONGEST_BODY, Gate, Receiver, bound
from batchgen.night.public_url import callback_url, checked
from batchgen.night.signatures import signing_secret, verifier
from tests.support.program import ENDS

SECRET = "J7wq0Zc3mN5xT1vB8yLd2KfR6gHs4PuE9aQoXiVtWz0"
NEW, OLD = (f"whsec_{base64.b64encode(name * 8).decode()}" for name in (b"new!", b"old!"))
TASK = {"task_id": "842250903629086785", "task_status": "succeed", "task_info": {"external_task_id": "m.a.1"}}
BODY = json.dumps(TASK).encode()
Heard = tuple[tuple[str, ...], bool]


class Bench:
    """A started receiver, and whoever calls it."""

    def __init__(self, receiver: Receiver, heard: list[Heard], port: int) -> None:
        self.receiver, self.heard, self.port = receiver, heard, port

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            with contextlib.suppress(ConnectionError):
                yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def raw(self, sent: bytes) -> bytes:
        """What comes back for these bytes, until the connection is closed."""
        came = bytearray()
        async with self.connected() as (reader, writer):
            writer.write(sent)
            came += await reader.read()
        return bytes(came)

    async def post(
        self,
        body: bytes = BODY,
        headers: Mapping[str, str] | None = None,
        path: str = f"/hooks/{SECRET}",
        method: str = "POST",
    ) -> int:
        """The status that a request is answered with."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        answer = await self.raw("\r\n".join([*lines, "", ""]).encode() + body)
        return int(answer.split(b" ")[1])


def received(scene: Callable[[Bench], Awaitable[None]], *secrets: str) -> None:
    """Play ``scene`` with a receiver that takes calls that are signed with the first of these secrets, if any."""

    async def main() -> None:
        heard: list[Heard] = []
        link = bound("127.0.0.1", 0)
        gate = Gate(SECRET, verifier(secrets[0]) if secrets else None)
        receiver = Receiver(gate, lambda names, ended: heard.append((names, ended)))
        await receiver.start(link)
        try:
            async with asyncio.timeout(ENDS):
                await scene(Bench(receiver, heard, link.getsockname()[1]))
        finally:
            await receiver.stop()

    asyncio.run(main())


def signed(body: bytes, *secrets: str, at: float = 0.0, name: str = "msg_1") -> dict[str, str]:
    """The headers of a call, signed ``at`` seconds from now with each of these secrets: by hand, from the standard."""
    moment = str(int(time.time() + at))
    macs = [
        hmac.new(
            base64.b64decode(one.removeprefix("whsec_")), f"{name}.{moment}.".encode() + body, hashlib.sha256
        ).digest()
        for one in secrets
    ]
    signatures = " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)
    return {"Webhook-Id": name, "webhook-timestamp": moment, "webhook-signature": signatures}


def test_a_call_at_the_address_with_the_secret_is_heard_whatever_a_proxy_puts_before_it() -> None:
    async def scene(b: Bench) -> None:
        for path in (f"/{SECRET}", f"/hooks/{SECRET}", f"/a/b/{SECRET}/", f"/{SECRET}?x=1"):
            assert await b.post(path=path) == 200
        assert b.heard == [(("842250903629086785", "m.a.1"), True)] * 4

    received(scene)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "POST", 404),
        (f"/{SECRET[:-1]}", "POST", 404),
        (f"/{SECRET}/x", "POST", 404),
        (f"/?{SECRET}", "POST", 404),
        (f"/{SECRET.lower()}", "POST", 404),
        (f"/{SECRET[:-1]}%30%00", "POST", 404),
        ("/" + "x" * 7000, "POST", 404),
        ("/", "GET", 404),
        (f"/{SECRET}", "GET", 405),
        (f"/{SECRET}", "PUT", 405),
    ],
)
def test_what_is_at_another_path_or_no_post_is_refused(path: str, method: str, status: int) -> None:
    async def scene(b: Bench) -> None:
        assert (await b.post(path=path, method=method), b.heard) == (status, [])

    received(scene)


SHAPES: list[tuple[dict[str, Any], Heard | None]] = [
    (TASK, (("842250903629086785", "m.a.1"), True)),
    ({**TASK, "task_status": "processing"}, (("842250903629086785", "m.a.1"), False)),
    ({**TASK, "task_status": "submitted", "task_info": {}}, (("842250903629086785",), False)),
    ({**TASK, "task_status": "failed"}, (("842250903629086785", "m.a.1"), True)),
    ({**TASK, "task_status": "of another day"}, (("842250903629086785", "m.a.1"), True)),  # it may be an end
    ({"code": 0, "data": TASK}, (("842250903629086785", "m.a.1"), True)),  # as gateways wrap it
    ({"id": "t-1", "status": "in_progress", "outputs": []}, (("t-1",), False)),
    ({"status": "submitted", "outputs": []}, None),  # a test call
    ({}, None),
    ({"task_id": "../../etc/passwd", "task_status": "succeed"}, None),
    ({"task_id": "x" * 5000, "task_info": {"external_task_id": "y" * 5000}}, None),
]


@pytest.mark.parametrize(("document", "heard"), SHAPES)
def test_a_call_is_taken_for_a_hint_in_the_vendors_shape_and_its_gateways(
    document: dict[str, Any], heard: Heard | None
) -> None:
    async def scene(b: Bench) -> None:
        assert await b.post(json.dumps(document).encode()) == 200
        assert b.heard == ([] if heard is None else [heard])
        assert b.receiver.strange == (heard is None)

    received(scene)


@pytest.mark.parametrize(
    "body", [b"", b"no JSON", b"[]", b"7", b"[" * 60_000, b"\xff\xfe", b'{"task_id": NaN}']
)
def test_a_body_that_is_no_call_is_refused(body: bytes) -> None:
    async def scene(b: Bench) -> None:
        assert (await b.post(body), b.heard) == (400, [])

    received(scene)


def test_signed_calls_are_heard_with_either_signature_of_a_rotation_within_five_minutes_at_any_path() -> None:
    async def scene(b: Bench) -> None:
        assert await b.post(headers=signed(BODY, NEW)) == 200
        assert await b.post(headers=signed(BODY, OLD, NEW)) == 200
        assert await b.post(headers=signed(BODY, NEW, OLD), path="/configured/at/the/vendors") == 200
        assert await b.post(headers=signed(BODY, NEW, at=-290)) == 200  # late
        assert await b.post(headers=signed(BODY, NEW, at=290)) == 200
        assert len(b.heard) == 5

    received(scene, NEW)


GOOD = signed(BODY, NEW)
FORGED: dict[str, dict[str, str]] = {
    "unsigned": {},
    "another secret": signed(BODY, OLD),
    "another body": signed(BODY + b" ", NEW),
    "replayed after six minutes": signed(BODY, NEW, at=-360),
    "from the future": signed(BODY, NEW, at=7200),
    "another id": {**GOOD, "Webhook-Id": "msg_2"},
    "another moment": {**GOOD, "webhook-timestamp": str(int(time.time()) + 1)},
    "no moment": {**GOOD, "webhook-timestamp": "soon"},
    "endless moment": {**GOOD, "webhook-timestamp": "nan"},
    "no comma": {**GOOD, "webhook-signature": "v1"},
    "two commas": {**GOOD, "webhook-signature": "v1,a,b"},
    "no Base64": {**GOOD, "webhook-signature": "v1,!"},
    "another version": {**GOOD, "webhook-signature": GOOD["webhook-signature"].replace("v1,", "v2,")},
    "empty": {**GOOD, "webhook-signature": ""},
}


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
def test_what_is_not_signed_by_the_account_or_was_signed_long_ago_is_refused(headers: dict[str, str]) -> None:
    """Also at the address with the secret: a configured secret decides alone."""

    async def scene(b: Bench) -> None:
        assert (await b.post(headers=headers), b.heard) == (401, [])

    received(scene, NEW)


def test_a_signed_body_that_is_no_text_is_refused() -> None:
    async def scene(b: Bench) -> None:
        assert (await b.post(b"\xff", headers=signed(b"\xff", NEW)), b.heard) == (401, [])

    received(scene, NEW)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_a_gigabyte_is_refused_after_64_kib_at_most(chunked: bool) -> None:
    async def scene(b: Bench) -> None:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {1 << 30}"
        sent, piece = 0, b" " * (1 << 16)
        async with b.connected() as (reader, writer):
            writer.write(f"POST /{SECRET} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
            while sent < 1 << 30 and not reader.at_eof():
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
                sent += len(piece)
        assert sent < 32 << 20  # what the system takes before it tells
        while not b.receiver.counts:
            await asyncio.sleep(0.01)
        assert (b.receiver.counts, b.heard) == ({413: 1}, [])

    received(scene)


def test_a_packed_body_is_not_unpacked() -> None:
    async def scene(b: Bench) -> None:
        import gzip

        packed = gzip.compress(b" " * (1 << 22))
        assert len(packed) < LONGEST_BODY
        assert await b.post(packed, headers={"Content-Encoding": "gzip"}) == 400

    received(scene)


def test_a_sender_that_is_slow_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "LONGEST_SECONDS", 0.2)

    async def scene(b: Bench) -> None:
        answer = await b.raw(f"POST /{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        assert (answer.split(b" ")[1], b.heard) == (b"408", [])

    received(scene)


def test_connections_that_say_nothing_keep_nobody_out_and_are_few() -> None:
    async def scene(b: Bench) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3 * CONNECTIONS):
                await stack.enter_async_context(b.connected())
            assert await b.post() == 200
            assert b.receiver._http is not None
            assert len(b.receiver._http.connections) <= CONNECTIONS

    received(scene)


NOISE = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "no HTTP": b"hello\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\n\r\n",
    "header without end": b"POST / HTTP/1.1\r\nX: " + b"x" * 100_000,
    "many headers": b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "two lengths": f"POST /{SECRET} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".encode(),
    "bad chunks": f"POST /{SECRET} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
    "half a body": f"POST /{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode(),
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_noise_is_answered_or_hung_up_on_and_nothing_is_said_of_it(
    noise: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(b: Bench) -> None:
        async with b.connected() as (reader, writer):
            writer.write(noise)
            writer.write_eof()
            await reader.read()
        assert await b.post() == 200
        assert len(b.heard) == 1

    with caplog.at_level(logging.INFO):
        received(scene)
    assert caplog.records == []


def test_thousands_of_calls_are_answered_and_leave_nothing_behind() -> None:
    """Good, forged and repeated ones, over connections that are kept and new ones."""
    calls = 400

    async def scene(b: Bench) -> None:
        head = f"POST /{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()

        async def good() -> None:
            async with b.connected() as (reader, writer):
                for _ in range(calls):
                    writer.write(head + BODY)
                    await reader.readuntil(b"{}")

        async def forged() -> None:
            for _ in range(calls // 10):
                assert await b.post(path="/no") == 404

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.gather(*(good() for _ in range(5)), *(forged() for _ in range(2)))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
        assert (b.receiver.heard, b.receiver.refused) == (5 * calls, 2 * calls // 10)

    received(scene)


@pytest.mark.parametrize(
    ("url", "api", "said"),
    [
        ("http://hooks.example.com/x", "https://api.example.com", "must begin with https://"),
        ("https://10.1.2.3/x", "https://api.example.com", "not on the public internet"),
        ("https://nas.local/", "https://api.example.com", "not on the public internet"),
        ("http://localhost:80/x", "https://api.example.com", "it is this machine"),
        ("https://a:b@hooks.example.com/", "https://api.example.com", "no user, password, query or fragment"),
        ("https://hooks.example.com/?t=1", "https://api.example.com", "no user, password, query or fragment"),
        ("https://hooks.example.com/#t", "https://api.example.com", "no user, password, query or fragment"),
        ("hooks.example.com", "https://api.example.com", "must look like https://HOST/PATH"),
        ("ftp://hooks.example.com", "https://api.example.com", "must look like https://HOST/PATH"),
        ("https://[::1", "https://api.example.com", "must look like https://HOST/PATH"),
        ("https://hooks.example.com:99999/", "https://api.example.com", "can't be read"),
        ("https://hooks.example.com/a b", "https://api.example.com", "can't hold spaces"),
        ("https://hooks.example.com/" + "x" * 1000, "https://api.example.com", "longer than 1000"),
    ],
)
def test_a_public_url_is_one_that_the_api_can_reach(url: str, api: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        checked(url, api)
    assert "a:b" not in str(caught.value)


def test_the_address_of_calls_is_below_the_public_url_and_local_for_a_local_api_alone() -> None:
    api = "https://api.example.com"
    assert (
        callback_url(checked(" https://hooks.example.com/x/ ", api), "s") == "https://hooks.example.com/x/s"
    )
    assert checked("https://hooks.example.com:8443", api) == "https://hooks.example.com:8443"
    assert checked("http://127.0.0.1:8090/", "http://127.0.0.1:9000") == "http://127.0.0.1:8090"


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "short", "with blanks in it, and more", "whsec_" + "ä" * 20]
)
def test_a_secret_that_is_none_is_refused_and_not_quoted(secret: str) -> None:
    environ = {"BATCHGEN_CALLBACK_SECRET": secret}
    if not secret:
        assert signing_secret(environ) is None
        return
    with pytest.raises(UsageError, match="must look like whsec_") as caught:
        signing_secret(environ)
    assert secret.removeprefix("whsec_") == "" or secret.removeprefix("whsec_") not in str(caught.value)


def test_a_secret_that_was_cut_off_is_refused_and_not_quoted() -> None:
    secret = signing_secret({"BATCHGEN_CALLBACK_SECRET": "whsec_QUJDREVGR0hJSktMT"})
    assert secret is not None
    with pytest.raises(UsageError, match="no Base64: a part of it is missing") as caught:
        verifier(secret)
    assert "QUJD" not in str(caught.value)


def test_an_address_of_another_machine_can_not_be_listened_at() -> None:
    with pytest.raises(UsageError, match=r"callbacks can't be received at 192\.0\.2\.1:8090: Cannot assign"):
        bound("192.0.2.1", 8090)
    with bound("127.0.0.1", 0) as link, pytest.raises(UsageError, match="Address already in use"):
        link.listen()
        bound("127.0.0.1", link.getsockname()[1])
