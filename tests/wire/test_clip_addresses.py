"""Addresses of clips as strangers choose them: into the network, without TLS, with a user; and what is said of them.

The API and the hosts of clips answer at their public names behind a proxy of this file; what is inside is at loopback
addresses. Both write down who asked.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from batchgen.api.client import Api
from batchgen.api.responses import Answer, read_create
from batchgen.cli.export_rows import export_row
from batchgen.errors import DownloadError, MaybeAccepted
from batchgen.http import transport
from batchgen.models import State
from batchgen.sandbox.video import clip
from batchgen.storage.clip_hosts import ClipHosts, HostRefused, allowed_hosts
from batchgen.storage.download import Downloads
from tests.support.program import ENDS, KEY, Desk, Result
from tests.support.wire import PATH, Heard, answer, head, made, request, served, wire
from tests.wire.test_job_names import record
from tests.wire.test_retrieval import Host, against, files, jobs, rows

API = "https://api.example.com"
CDN = "cdn.example.com"
WAITS = ("--poll-interval", "0.05", "--settle", "3600")  # an hour, which nobody waits for who knows better
SECRET = b"root:x:0:0:secret-of-the-inside"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class World:
    """A proxy behind which the API, at ``https``, and hosts of clips are at their names; it knows who was wanted.

    ``address`` gives the address of a job's clip; ``redirects`` where a path at a host of clips leads.
    """

    def __init__(self, authority: trustme.CA, address: Callable[[str], Any]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("api.example.com", CDN).configure_cert(self._context)
        self.address = address
        self.redirects: dict[str, str] = {}
        self.wanted: list[str] = []
        self.names: list[str] = []  # of tasks, in the order of their creates
        self.queries: defaultdict[str, int] = defaultdict(int)

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await head(reader)
        if first.method != "CONNECT":  # plain http, which goes through a proxy as it is
            self.wanted.append(first.path)
            writer.write(answer(clip("plain")))
            return
        self.wanted.append(first.path)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.start_tls(self._context)
        while True:
            heard = await request(reader)
            writer.write(self.api(heard) if first.path == "api.example.com:443" else self.cdn(heard))

    def cdn(self, heard: Heard) -> bytes:
        where = self.redirects.get(heard.path)
        return answer(clip(heard.path)) if where is None else answer(SECRET, 302, Location=where)

    def api(self, heard: Heard) -> bytes:
        if heard.method == "POST":
            self.names.append(json.loads(heard.body)["external_task_id"])
            return made(f"t{len(self.names)}")
        asked = unquote(heard.path.removeprefix(f"{PATH}/"))
        name = self.names[int(asked[1:]) - 1] if asked[:1] == "t" else asked
        if name not in self.names:
            return answer({"code": 1203, "message": "task not found"}, 404)
        job = name.split(".")[1]
        self.queries[job] += 1
        entry = self.address(job)
        result = {"videos": [entry if isinstance(entry, dict) else {"url": entry}]}
        return made(asked, task_status="succeed", task_result=result, task_info={"external_task_id": name})


@contextmanager
def inside(heard: list[Heard], says: bytes = answer(SECRET)) -> Iterator[str]:
    """What must not be asked; yields its port."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await request(reader))
        writer.write(says)

    with served(play) as url:
        yield url.rpartition(":")[2]


@contextmanager
def at_night(desk: Desk, world: World, authority: trustme.CA) -> Iterator[None]:
    """The program's environment: its requests go through the proxy, but for those to this machine."""
    authority.cert_pem.write_to_path(str(desk.folder / "ca.pem"))
    with served(world.play) as proxy:
        desk.env |= {"POWERTOKENS_API_BASE": API, "POWERTOKENS_API_KEY": KEY, "HTTPS_PROXY": proxy}
        desk.env |= {"HTTP_PROXY": proxy, "NO_PROXY": "127.0.0.0/8,localhost,::1,0x7f000001,2130706433,127.1"}
        desk.env |= {"SSL_CERT_FILE": str(desk.folder / "ca.pem")}
        yield


def states(desk: Desk) -> set[str]:
    return {str(row.state) for row in rows(desk)}


def texts(result: Result) -> dict[str, str]:
    return {one["job_id"]: one["text"] for one in result.json["endings"]}


# -- what leads inside ----------------------------------------------------------------------------------------------

LEADS_INSIDE = {
    "plain": "http://127.0.0.1:{port}/v.mp4?delete=all",
    "tls": "https://127.0.0.1:{port}/v.mp4?delete=all",
    "name": "https://localhost:{port}/v.mp4",
    "dot": "https://localhost.:{port}/v.mp4",
    "number": "https://2130706433:{port}/v.mp4",
    "hex": "https://0x7f000001:{port}/v.mp4",
    "short": "https://127.1:{port}/v.mp4",
    "six": "https://[::1]:{port}/v.mp4",
    "mapped": "https://[::ffff:127.0.0.1]:{port}/v.mp4",
    "zero": "https://0.0.0.0:{port}/v.mp4",
    "private": "https://10.0.0.7/v.mp4",
    "link": "https://169.254.7.7/v.mp4",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "google": "https://metadata.google.internal/computeMetadata/v1/",
    "intranet": "https://jenkins.corp/build?token=1",
    "cleartext": f"http://{CDN}/v.mp4",
    "user": "https://me:pass-word@127.0.0.1:{port}/v.mp4",
}
LIES = "its clip is paid and lies at its host, which deletes it after 30 days: "
CLOSED = {"metadata", "google", "number", "hex", "short"}  # what no option opens


@pytest.mark.parametrize("redirected", [False, True])
def test_an_address_that_leads_into_the_network_is_never_asked_and_its_clip_waits(
    desk: Desk, authority: trustme.CA, redirected: bool
) -> None:
    heard: list[Heard] = []
    with inside(heard) as port:
        there = {name: url.format(port=port) for name, url in LEADS_INSIDE.items()}
        world = World(authority, lambda job: f"https://{CDN}/{job}" if redirected else there[job])
        world.redirects = {f"/{job}": url for job, url in there.items()}
        desk.write("m.yaml", jobs(*there))
        with at_night(desk, world, authority):
            result = desk.run("run", "--json", *WAITS, "m.yaml")
            shown = desk.run("status")
            again = desk.run("collect", *WAITS)
    assert heard == []
    assert set(world.wanted) == {"api.example.com:443", *([f"{CDN}:443"] * redirected)}
    assert result.code == again.code == 1, result.err
    assert len(world.names) == len(there)
    assert states(desk) == {"succeeded"}
    assert max(world.queries.values()) <= 4  # its end, and anew, in each of two commands
    for job, text in texts(result).items():
        assert text.startswith(LIES), text
        assert ("its host redirects to" if redirected else "its address is at") in text
        assert ("--clip-hosts" in text) is (job not in CLOSED), text
        for secret in ("delete=", "v.mp4", "token", "pass-word", port, "secret-of"):
            assert secret not in text
        assert text.removeprefix(LIES) in " ".join(shown.out.split())
    assert "where a line below says what is in the way" in again.err.lower()


def test_a_clip_that_waits_comes_home_as_soon_as_its_host_is_named(desk: Desk, authority: trustme.CA) -> None:
    heard: list[Heard] = []
    with inside(heard, answer(clip("inside"))) as port:
        there = {
            "a": f"http://127.0.0.1:{port}/a.mp4",
            "b": f"http://localhost:{port}/b.mp4",
            "c": f"http://{CDN}/c",
        }
        world = World(authority, lambda job: there[job])
        desk.write("m.yaml", jobs(*there))
        with at_night(desk, world, authority):
            assert desk.run("run", *WAITS, "m.yaml").code == 1
            assert heard == []
            ended = desk.run("collect", *WAITS, "--clip-hosts", "http://127.0.0.1")
            assert (ended.code, set(files(desk))) == (1, {"a.mp4"}), ended.err
            desk.env["BATCHGEN_CLIP_HOSTS"] = f"127.0.0.0/8, http://{CDN}"
            ended = desk.run("collect", *WAITS)
            assert (ended.code, set(files(desk))) == (1, {"a.mp4", "c.mp4"}), ended.err
            desk.env["BATCHGEN_CLIP_HOSTS"] = "http://localhost"
            ended = desk.run("run", *WAITS, "m.yaml")
    assert (ended.code, ended.err, states(desk)) == (0, "", {"downloaded"})
    assert set(files(desk)) == {"a.mp4", "b.mp4", "c.mp4"}
    assert len(world.names) == 3
    assert len(heard) == 2


def test_hosts_that_can_not_be_read_are_told_before_anything_is_asked(
    desk: Desk, authority: trustme.CA
) -> None:
    world = World(authority, lambda job: f"https://{CDN}/{job}")
    desk.write("m.yaml", jobs("a"))
    with at_night(desk, world, authority):
        flag = desk.run("run", "--clip-hosts", "http://h/path", "m.yaml")
        desk.env["BATCHGEN_CLIP_HOSTS"] = "u:pass-word@h"
        variable = desk.run("run", "m.yaml")
    assert flag.code == variable.code == 2
    assert "--clip-hosts" in flag.err
    assert "BATCHGEN_CLIP_HOSTS" in variable.err
    assert "pass-word" not in variable.err
    assert world.wanted == []


def test_another_address_that_is_given_when_it_is_asked_for_anew_is_taken(
    desk: Desk, authority: trustme.CA
) -> None:
    world = World(authority, lambda job: f"http{'s' * (world.queries[job] > 1)}://{CDN}/{job}")
    desk.write("m.yaml", jobs("a"))
    with at_night(desk, world, authority):
        ended = desk.run("run", *WAITS, "m.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert files(desk) == {"a.mp4": clip("/a")}


def test_a_watermarked_file_is_held_to_the_same_rules(desk: Desk, authority: trustme.CA) -> None:
    heard: list[Heard] = []
    with inside(heard) as port:
        world = World(
            authority,
            lambda job: {"url": f"https://{CDN}/{job}", "watermark_url": f"http://127.0.0.1:{port}/w"},
        )
        desk.write("m.yaml", jobs("a", watermark_info={"enabled": True}))
        with at_night(desk, world, authority):
            ended = desk.run("run", "--json", *WAITS, "m.yaml")
    assert ended.code == 1
    assert heard == []
    assert "http://127.0.0.1, which is not asked" in texts(ended)["a"]
    assert states(desk) == {"succeeded"}


# -- what is connected to ---------------------------------------------------------------------------------------------


class Answers(AbstractResolver):
    """A name server that answers each question with the next of its lists of addresses."""

    def __init__(self, *lists: list[str]) -> None:
        self.lists = list(lists)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = self.lists.pop(0)
        number = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=number)
            for one in found
        ]

    async def close(self) -> None:
        pass


def test_what_is_connected_to_is_what_was_judged() -> None:
    """A name that is public when it is judged and inside when it is connected to gets one question, and one answer."""
    hosts = ClipHosts(API, allowed_hosts("127.0.0.2"))  # which stands for the public internet
    peers: list[str] = []
    names = Answers(["127.0.0.1", "127.0.0.2", "169.254.169.254"], ["127.0.0.1"], ["127.0.0.2"])

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("sockname")[0])
        await request(reader)
        writer.write(answer(b"x", Connection="close"))
        await writer.drain()
        writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(play, "0.0.0.0", 0)
        port = server.sockets[0].getsockname()[1]
        async with (
            server,
            transport.session(resolver=transport.FilteringResolver(hosts.accepted, names)) as session,
        ):
            async with session.get(f"http://{CDN}:{port}/") as response:
                assert response.status == 200
            with pytest.raises(HostRefused, match=r"it leads to this machine \(127\.0\.0\.1\)"):
                await session.get(f"http://other.{CDN}:{port}/")
            assert len(names.lists) == 1

    asyncio.run(asyncio.wait_for(scene(), ENDS))
    assert peers == ["127.0.0.2"]


def resolves(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    """Have the system's own resolver find a name at an address, and let no proxy be asked instead."""
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *given: Any, **named: Any) -> Any:
        return real(address if host == name else host, *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("answered", ["127.0.0.1", "::1", "10.0.0.7", "169.254.169.254", "::ffff:127.0.0.1"])
def test_a_name_that_leads_inside_is_not_connected_to(
    answered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves(monkeypatch, CDN, answered)
    heard: list[Heard] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await request(reader))

    async def scene() -> None:
        async with wire(play) as url, Downloads(timeout=ENDS, hosts=ClipHosts(API)) as downloads:
            port = url.rpartition(":")[2]
            with pytest.raises(
                DownloadError, match=r"its address is at https://cdn\.example\.com, which"
            ) as caught:
                await downloads.fetch(
                    f"https://{CDN}:{port}/v.mp4", str(tmp_path / "v.mp4"), root=str(tmp_path)
                )
            assert caught.value.refused

    asyncio.run(asyncio.wait_for(scene(), ENDS))
    assert heard == []


@pytest.mark.parametrize("step", ["create", "query"])
def test_a_gateway_inside_of_the_network_may_have_its_clips_beside_it(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Its name says nothing of where it is; that it was reached at such an address, with its certificate, does."""
    resolves(monkeypatch, "gateway.example.com", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("gateway.example.com", "127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    heard: list[Heard] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heard.append(await request(reader))
                writer.write(made("t1") if heard[-1].path.startswith(PATH) else answer(clip("a")))
        except asyncio.IncompleteReadError:
            writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(play, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        api = Api(f"https://gateway.example.com:{port}", KEY, timeout=ENDS)
        downloads = Downloads(timeout=ENDS, hosts=ClipHosts(api.url, (), api.reached))
        clip_at, path = f"https://127.0.0.1:{port}/a.mp4", str(tmp_path / "a.mp4")
        async with server, api, downloads:
            with pytest.raises(DownloadError, match="the API was not reached there"):
                await downloads.fetch(clip_at, path, root=str(tmp_path))
            assert heard == []
            if step == "create":
                fields = {"model_name": "kling-v3", "image": "https://example.com/a.png"}
                await api.create({**fields, "external_task_id": "e1"})
            else:
                await api.query("t1")
            assert api.reached == {"127.0.0.1"}
            await downloads.fetch(clip_at, path, root=str(tmp_path))
            with pytest.raises(DownloadError, match="it leads to a private network"):
                await downloads.fetch(f"https://10.0.0.7:{port}/a.mp4", path, root=str(tmp_path))

    asyncio.run(asyncio.wait_for(scene(), ENDS))
    assert [one.path.startswith(PATH) for one in heard] == [True, False]
    assert "authorization" not in heard[1].headers


def test_where_a_proxy_is_reached_is_not_where_the_api_is(authority: trustme.CA) -> None:
    world = World(authority, lambda job: "")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    reached: set[str] = set()

    async def scene() -> None:
        async with wire(world.play) as proxy, transport.session(reached=reached) as session:
            async with session.get(f"{API}{PATH}/none", proxy=proxy, ssl=context) as response:
                assert response.status == 404
            async with aiohttp.ClientSession() as other, other.get(f"{proxy}/x") as plain:
                assert plain.status == 200

    asyncio.run(asyncio.wait_for(scene(), ENDS))
    assert reached == set()


# -- what is said, sent and kept ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("redirected", [False, True])
def test_a_user_and_a_password_in_an_address_go_nowhere(desk: Desk, redirected: bool) -> None:
    def file(heard: Heard, before: int) -> bytes:
        if redirected and heard.path != "/there.mp4":
            return answer(b"", 302, Location=url.replace("//", "//us-er:pass-word@") + "/there.mp4")
        return answer(clip("a"))

    host = Host(lambda job, times: [{"url": url.replace("//", "//us-er:pass-word@") + f"/{job}.mp4"}], file)
    desk.write("m.yaml", jobs("a"))
    with against(desk, host) as url:
        ended = desk.run("run", "-v", "--log-file", "log.txt", "--poll-interval", "0.05", "m.yaml")
    assert ended.code == 0, ended.err
    assert len(host.files) == 1 + redirected
    assert not any("authorization" in one.headers for one in host.files)
    kept = [path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()]
    for said in (ended.out.encode(), ended.err.encode(), desk.run("export").out.encode(), *kept):
        assert b"pass-word" not in said
        assert b"us-er" not in said
    assert rows(desk)[0].video_url == f"{url}/a.mp4"


def test_a_user_that_an_older_version_kept_is_not_sent_and_not_kept(desk: Desk) -> None:
    ready: list[bool] = []
    host = Host(
        lambda job, times: [{"url": f"/{job}.mp4"}],
        lambda heard, before: answer(clip("a")) if ready else answer(b"", 404),
    )
    desk.write("m.yaml", jobs("a"))
    with against(desk, host) as url:
        assert desk.run("run", "--poll-interval", "0.05", "--settle", "0.2", "m.yaml").code == 1
        ledger = desk.folder / "home/.local/state/batchgen/ledger.db"
        with closing(sqlite3.connect(ledger)) as connection, connection:
            old = url.replace("//", "//us-er:pass-word@") + "/a.mp4"
            assert connection.execute("UPDATE tasks SET video_url = ?", [old]).rowcount == 1
        ready.append(True)
        assert desk.run("collect").code == 0
    assert "authorization" not in host.files[-1].headers
    assert rows(desk)[0].video_url == f"{url}/a.mp4"


def test_a_user_that_an_older_version_kept_is_not_shown() -> None:
    for kept, shown in {
        "https://us-er:pass-word@cdn.example.com/a.mp4?b=@c": "https://cdn.example.com/a.mp4?b=@c",
        "https://cdn.example.com/@a.mp4?e=%7E": "https://cdn.example.com/@a.mp4?e=%7E",
    }.items():
        row = record("m", "a")
        asked = json.dumps(
            {"image": "https://example.com/a.png", "prompt": "x", "mode": "std", "duration": "5"}
        )
        row = row._replace(state=State.SUCCEEDED, canonical=asked, video_url=kept)
        assert export_row(row, current=True)["video_url"] == shown


def test_an_api_that_redirects_is_named_without_a_user_and_a_query() -> None:
    sent = Answer(302, b"", location="https://us-er:pass-word@sso.example.com/login?token=pass-word")
    with pytest.raises(MaybeAccepted, match="redirected to 'https://sso.example.com/login', which") as caught:
        read_create(sent, "e1")
    assert "pass-word" not in str(caught.value)


SAYS = {
    "a page": answer(b"<html>canary-words</html>", Content_Type="text/html; charset=canary-words"),
    "another kind": answer(b"canary-words", Content_Type="canary-words/x"),
    "a status": b"HTTP/1.1 500 canary-words\r\nContent-Length: 12\r\n\r\ncanary-words",
    "a redirect": answer(b"canary-words", 302, Location="ftp://canary-words/"),
    "a packing": answer(b"\x00\x00\x00\x10xxxxcanary-words" + bytes(600), Content_Encoding="canary-words"),
    "no video": answer(b"\x00\x01canary-words" + bytes(600)),
    "no HTTP": b"canary-words\r\n\r\n",
    "a wrong header": b"HTTP/1.1 200 OK\r\ncanary words\x00: canary-words\r\n\r\n",
    "a wrong length": b"HTTP/1.1 200 OK\r\nContent-Length: canary-words\r\n\r\n",
    "an unfinished head": b"HTTP/1.1 200 OK\r\nX-Words: canary-words\r\n",
    "a wrong piece": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncanary-words\r\n",
    "a wrong time": answer(b"canary-words", 503, Retry_After="canary-words"),
}


@pytest.mark.parametrize("said", SAYS.values(), ids=SAYS.keys())
def test_nothing_that_a_host_says_is_quoted(said: bytes, tmp_path: Path) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(said)

    async def scene() -> str:
        async with wire(play) as url, Downloads(timeout=ENDS) as downloads:
            with pytest.raises(DownloadError) as caught:
                await downloads.fetch(f"{url}/a.mp4?sig=ca-nary", str(tmp_path / "a.mp4"), root=str(tmp_path))
            return str(caught.value)

    text = asyncio.run(asyncio.wait_for(scene(), ENDS))
    assert text
    assert "canary" not in text
    assert "ca-nary" not in text
