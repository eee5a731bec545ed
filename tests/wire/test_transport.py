"""HTTP as it is spoken: proxies, certificates, packed answers, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import json
import os
import ssl
import warnings
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import proxy
import pytest
import trustme

from batchgen.api.client import Api
from batchgen.api.responses import Accepted
from batchgen.errors import ApiError, MaybeAccepted, NeverSent, UsageError
from batchgen.http import transport
from batchgen.sandbox.video import clip
from batchgen.storage.download import Downloads
from tests.support import wire
from tests.support.program import ENDS, KEY, Desk
from tests.support.wire import Heard

FIELDS: dict[str, Any] = {
    "model_name": "kling-v3",
    "image": "https://example.com/a.png",
    "prompt": "x",
    "external_task_id": "e1",
}
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no proxies and no authorities."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    """A file with the authority's certificate."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


# -- which way ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "url", "through"),
    [
        ({}, "https://api.example.com/x", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://api.example.com/x", "http://p:3128"),
        ({"https_proxy": "http://p:3128"}, "https://api.example.com/x", "http://p:3128"),
        (
            {"HTTPS_PROXY": "http://big:1", "https_proxy": "http://small:2"},
            "https://a.example/",
            "http://small:2",
        ),
        ({"HTTPS_PROXY": "p:3128"}, "https://api.example.com/x", "http://p:3128"),
        ({"HTTPS_PROXY": "https://p"}, "https://api.example.com/x", "https://p"),
        ({"HTTPS_PROXY": "http://[::1]:3128/"}, "https://api.example.com/x", "http://[::1]:3128"),
        ({"HTTPS_PROXY": ""}, "https://api.example.com/x", None),
        ({"HTTP_PROXY": "http://p:3128"}, "https://api.example.com/x", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://cdn.example.com/x", "http://p:3128"),
        ({"ALL_PROXY": "http://p:3128"}, "https://api.example.com/x", "http://p:3128"),
        ({"HTTP_PROXY": "http://p:3128", "ALL_PROXY": "http://p:3128"}, "http://127.0.0.1:8080/x", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://localhost:8080/x", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://[::1]:8080/x", None),
        *(
            ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": no}, url, through)
            for no, url, through in [
                ("*", "https://api.example.com/x", None),
                ("example.com", "https://api.example.com/x", None),
                (".example.com", "https://api.example.com/x", None),
                ("other.org, example.com", "https://API.example.com/x", None),
                ("api.example.com:8443", "https://api.example.com:8443/x", None),
                ("api.example.com:8443", "https://api.example.com/x", "http://p:3128"),
                ("ample.com", "https://api.example.com/x", "http://p:3128"),
                ("example.com.evil", "https://api.example.com/x", "http://p:3128"),
                ("10.0.0.0/8", "https://10.1.2.3/x", None),
                ("10.0.0.0/8", "https://11.1.2.3/x", "http://p:3128"),
                ("10.1.2.3", "https://10.1.2.3/x", None),
                ("fd00::/8", "https://[fd00::7]/x", None),
                ("fd00::7", "https://[fd00::7]/x", None),
                ("", "https://api.example.com/x", "http://p:3128"),
            ]
        ),
    ],
)
def test_a_request_goes_the_way_that_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], url: str, through: str | None
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    proxy = transport.route(url)["proxy"]
    assert (None if proxy is None else str(proxy).rstrip("/")) == through


def test_a_proxys_user_and_password_stand_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://us%40er:p%3Ass@p:3128")
    way = transport.route("https://api.example.com")
    assert str(way["proxy"]) == "http://p:3128"
    assert way["proxy_headers"] == {"Authorization": "Basic " + base64.b64encode(b"us@er:p:ss").decode()}


@pytest.mark.parametrize(
    "given",
    [
        "socks5://secret@p:1080",
        "http://",
        "http://p:port",
        "http://[::1",
        "http://me:12/secret@p:1",
        "http://me:12?secret@p:1",
    ],
)
def test_a_proxy_that_can_not_be_used_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", given)
    with pytest.raises(UsageError, match="HTTPS_PROXY") as caught:
        Api("https://api.example.com", KEY)
    assert "secret" not in str(caught.value)
    assert caught.value.kind == "proxy"


# -- TLS and a proxy, for real -------------------------------------------------------------------------------------


@asynccontextmanager
async def tls(
    authority: trustme.CA, play: wire.Play, name: str = "localhost", **dates: Any
) -> AsyncIterator[str]:
    """An API behind a certificate for ``name``; yields its address by that name's port on this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **dates).configure_cert(context)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await play(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
def http_proxy() -> Iterator[proxy.Proxy]:
    """A proxy that lets everybody through."""
    with proxy.Proxy(
        ["--port", "0", "--hostname", "127.0.0.1", "--num-workers", "1", "--num-acceptors", "1", "--threaded"]
    ) as one:
        yield one


def works(heard: list[Heard]) -> wire.Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard.append(await wire.request(reader))
            writer.write(wire.made("t1"))

    return play


def test_a_certificate_that_the_named_authority_signed_is_trusted(
    authority: trustme.CA, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    heard: list[Heard] = []

    async def scene() -> None:
        async with tls(authority, works(heard)) as url, Api(url, KEY, timeout=ENDS) as api:
            assert await api.create(FIELDS) == Accepted("t1", "r1")
            assert (await api.query("t1")).task_id == "t1"

    asyncio.run(scene())
    assert len(heard) == 2


def test_authorities_are_read_once_for_all_sessions_and_again_when_their_file_changes(
    authority: trustme.CA, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    read: list[str] = []
    make = ssl.create_default_context

    def noted() -> ssl.SSLContext:
        read.append(trusted.read_text())
        return make()

    monkeypatch.setattr(ssl, "create_default_context", noted)
    heard: list[Heard] = []

    async def create(url: str) -> Accepted:
        async with Api(url, KEY, timeout=ENDS) as api, transport.session():
            return await api.create(FIELDS)

    async def scene() -> None:
        async with tls(authority, works(heard)) as url:
            assert await create(url) == await create(url) == Accepted("t1", "r1")
            trustme.CA().cert_pem.write_to_path(str(trusted))
            os.utime(trusted, (1, 1))
            with pytest.raises(NeverSent, match="certificate"):
                await create(url)

    asyncio.run(scene())
    assert len(heard) == 2
    assert len(read) == len(set(read)) == 2


PAST = {
    "not_before": datetime(2020, 1, 1, tzinfo=UTC),
    "not_after": datetime(2020, 2, 1, tzinfo=UTC),
}
UNTRUSTED: dict[str, tuple[str, dict[str, Any], bool, str]] = {
    "unknown authority": ("localhost", {}, False, "tls"),
    "another host's": ("other.example", {}, True, "tls"),
    "expired": (
        "localhost",
        {"not_after": PAST["not_after"], "not_before": PAST["not_before"]},
        True,
        "certificate_expired",
    ),
}


@pytest.mark.parametrize(("name", "dates", "known", "kind"), UNTRUSTED.values(), ids=UNTRUSTED.keys())
def test_an_untrusted_certificate_is_told_at_once_with_what_to_do(
    authority: trustme.CA,
    trusted: Path,
    tmp_path: Path,
    name: str,
    dates: dict[str, Any],
    known: bool,
    kind: str,
) -> None:
    desk = Desk(tmp_path)
    jobs = [{"id": "a", "image": "https://example.com/a.png", "prompt": "x"}]
    desk.write("m.yaml", json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs}))
    heard: list[Heard] = []

    async def scene() -> Any:
        async with tls(authority, works(heard), name, **dates) as url:
            desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
            desk.env |= {"SSL_CERT_FILE": str(trusted)} if known else {}
            return await asyncio.to_thread(desk.run, "run", "--json", "m.yaml")

    ended = asyncio.run(asyncio.wait_for(scene(), ENDS))
    assert heard == []
    assert ended.code == (4 if kind == "certificate_expired" else 2), ended.err
    (stop,) = ended.json["stops"]
    assert stop["kind"] == kind
    assert "certificate" in stop["message"]
    assert stop["advice"] in ended.err


def test_a_file_of_authorities_that_is_not_there_is_told_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")

    async def scene() -> None:
        with pytest.raises(UsageError, match="/nowhere/ca.pem"):
            async with Api("https://api.example.com", KEY):
                pass

    asyncio.run(scene())


def test_the_key_and_the_request_go_through_a_proxy_unread(
    authority: trustme.CA, trusted: Path, http_proxy: proxy.Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{http_proxy.flags.port}")
    heard: list[Heard] = []

    async def scene() -> None:
        async with tls(authority, works(heard)) as url, Api(url, KEY, timeout=ENDS) as api:
            assert await api.create(FIELDS) == Accepted("t1", "r1")

    with warnings.catch_warnings():  # TLS within a tunnel may end before the other side has said that it ends
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(scene())
        gc.collect()
    (sent,) = heard
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert "proxy-authorization" not in sent.headers


def gate(answer: bytes, heard: list[Heard]) -> wire.Play:
    """A proxy that says one thing to everybody who asks for a tunnel."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await wire.head(reader))
        writer.write(answer)
        await writer.drain()

    return play


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            "proxy",
        ),
        (b"HTTP/1.1 403 my word\r\nContent-Length: 0\r\n\r\n", "proxy"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "unreachable"),
    ],
)
def test_what_a_proxy_refuses_was_never_sent_and_the_proxy_never_sees_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: bytes, kind: str
) -> None:
    (tmp_path / ".netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    heard: list[Heard] = []

    async def scene() -> None:
        async with wire.wire(gate(said, heard)) as base:
            monkeypatch.setenv("HTTPS_PROXY", base.replace("http://", "http://me:my%20word@"))
            async with Api("https://api.example.com", KEY, timeout=ENDS) as api:
                for step in (api.create(FIELDS), api.query("t1")):
                    with pytest.raises(NeverSent) as caught:
                        await step
                    assert caught.value.kind == kind
                    assert "my" not in str(caught.value).split("proxy")[0]
                    assert "word" not in str(caught.value)

    asyncio.run(scene())
    assert len(heard) == 2
    for one in heard:
        assert (one.method, one.path) == ("CONNECT", "api.example.com:443")
        assert one.headers["proxy-authorization"] == "Basic bWU6bXkgd29yZA=="
        assert "authorization" not in one.headers
        assert KEY not in str(one)


def test_a_netrc_sends_nobodys_password_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    heard: list[Heard] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await wire.request(reader))
        writer.write(wire.answer(clip("t1")))

    async def scene() -> None:
        async with wire.wire(play) as url, Downloads(timeout=ENDS) as downloads:
            await downloads.fetch(f"{url}/t1.mp4", str(tmp_path / "t1.mp4"), root=str(tmp_path))

    asyncio.run(scene())
    assert "authorization" not in heard[0].headers


def test_a_clip_comes_through_the_proxy_and_by_the_authorities_of_the_environment(
    authority: trustme.CA,
    trusted: Path,
    http_proxy: proxy.Proxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{http_proxy.flags.port}")

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.request(reader)
        writer.write(wire.answer(clip("t1")))
        await writer.drain()

    async def scene() -> None:
        async with tls(authority, play) as url, Downloads(timeout=ENDS) as downloads:
            await downloads.fetch(f"{url}/t1.mp4", str(tmp_path / "t1.mp4"), root=str(tmp_path))

    asyncio.run(scene())
    assert (tmp_path / "t1.mp4").read_bytes() == clip("t1")


# -- packed answers ------------------------------------------------------------------------------------------------

GOOD = json.dumps({"code": 0, "data": {"task_id": "t1"}, "request_id": "r1"}).encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip": (gzip.compress, "gzip"),
    "x-gzip": (gzip.compress, "X-GZIP"),
    "deflate": (zlib.compress, "deflate"),
    "deflate without its head": (raw_deflate, "deflate"),
    "twice": (lambda data: gzip.compress(zlib.compress(data)), "deflate, gzip"),
    "not at all": (lambda data: data, "identity"),
}


def ask(said: bytes) -> Accepted | ApiError:
    async def scene() -> Accepted | ApiError:
        async with wire.wire(wire.saying(said)) as url, Api(url, KEY, timeout=ENDS) as api:
            try:
                return await api.create(FIELDS)
            except ApiError as error:
                return error

    return asyncio.run(scene())


@pytest.mark.parametrize(("pack", "name"), PACKED.values(), ids=PACKED.keys())
def test_an_answer_that_is_packed_although_nobody_asked_is_read(
    pack: Callable[[bytes], bytes], name: str
) -> None:
    assert ask(wire.answer(pack(GOOD), Content_Encoding=name)) == Accepted("t1", "r1")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (GOOD, "gzip"),
        (gzip.compress(GOOD)[:-9], "gzip"),
        (gzip.compress(GOOD + b" " * (1 << 21)), "gzip"),
        (b"\x1b\x2b\x00\xf8", "br"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (gzip.compress(GOOD), "gzip, br"),
        (gzip.compress(GOOD), "nonsense\t"),
    ],
    ids=["not packed", "cut", "too large", "brotli", "zstd", "gzip, br", "nonsense"],
)
def test_what_can_not_be_unpacked_proves_nothing(body: bytes, name: str) -> None:
    error = ask(wire.answer(body, Content_Encoding=name))
    assert type(error) is MaybeAccepted
    assert str(error).isprintable()
