"""The hosts of the sandbox's clips: what they give, to whom, and when."""

from __future__ import annotations

import hashlib

import aiohttp
import pytest
from yarl import URL

from batchgen.http.addresses import address
from batchgen.sandbox.config import Config
from batchgen.sandbox.faults import HOSTS, parse
from batchgen.sandbox.hosts import LATE, SIGNED_FOR
from tests.wire.test_sandbox import Bench, Clock, sandboxed


async def fetch(b: Bench, url: str, **headers: str) -> tuple[int, bytes]:
    """Status and content of what is asked for by exactly these bytes, as far as it comes; redirects are followed."""
    content = b""
    where = URL(url, encoded=True)
    async with b.client.get(where, headers=headers, allow_redirects=False) as response:
        if response.status == 302:
            return await fetch(b, response.headers["Location"], **headers)
        try:
            async for piece in response.content.iter_any():
                content += piece
        except aiohttp.ClientPayloadError:
            pass
        return response.status, content


@pytest.mark.parametrize("name", HOSTS)
def test_a_clips_host_gives_the_files_that_the_journal_tells_of_to_who_asks_as_it_wants(name: str) -> None:
    """By the addresses of an answer, as they are spelt; in as many requests as it takes."""
    clock = Clock()

    async def test(b: Bench) -> None:
        task_id = await b.made()
        clock.now += LATE + 1
        videos = (await b.query(task_id))[1]["data"]["task_result"]["videos"]
        found = [video.get("url") or video.get("watermark_url") for video in videos]
        urls = [address(url, b.sandbox.base_url) for url in found if url]
        (born,) = b.sandbox.journal.of("create")
        assert born.fault == name
        assert len(urls) == len(born.clips) == (2 if name == "clip_several" else 1)
        for url, digest in zip(urls, born.clips, strict=True):
            assert url is not None
            whole, asked = b"", 0
            while hashlib.sha256(whole).hexdigest() != digest:
                headers = {"Range": f"bytes={len(whole)}-"} if whole else {}
                status, piece = await fetch(b, url, **headers)
                whole += piece
                asked += 1
                assert status == (206 if asked > 1 else 200)
                assert asked < 5
            assert (asked > 1) == (name == "clip_breaks")

    sandboxed(test, Config(task_seconds=(0, 0), faults=(parse(f"{name}@1"),)), clock)


def test_a_signed_address_is_refused_in_another_spelling_and_when_it_has_expired() -> None:
    clock = Clock()

    async def test(b: Bench) -> None:
        task_id = await b.made()

        async def signed() -> str:
            return str((await b.query(task_id))[1]["data"]["task_result"]["videos"][0]["url"])

        url = await signed()
        assert (await fetch(b, url))[0] == 200
        for other in (
            url.replace("%7E", "~"),
            url.replace(".%6dp4", ".mp4"),
            url.replace("&empty=", "&empty"),
            url[:-1],
        ):
            assert other != url
            assert (await fetch(b, other))[0] == 403
        clock.now += SIGNED_FOR + 1
        assert (await fetch(b, url))[0] == 403
        assert (await fetch(b, await signed()))[0] == 200

    sandboxed(test, Config(task_seconds=(0, 0), faults=(parse("clip_signed@1"),)), clock)


def test_a_late_host_has_the_file_some_seconds_after_the_task_ended() -> None:
    clock = Clock()

    async def test(b: Bench) -> None:
        statuses = set()
        for _ in range(4):
            url = f"{b.sandbox.base_url}/videos/{await b.made()}.mp4"
            statuses.add((await fetch(b, url))[0])
            clock.now += LATE + 0.1
            assert (await fetch(b, url))[0] == 200
        assert statuses == {404, 403, 410, 503}

    sandboxed(test, Config(task_seconds=(0, 0), faults=(parse("clip_late=1"),)), clock)


def test_a_host_that_wants_the_key_gives_nothing_without_it() -> None:
    async def test(b: Bench) -> None:
        url = f"{b.sandbox.base_url}/videos/{await b.made()}.mp4"
        assert (await fetch(b, url, Authorization=""))[0] == 401
        assert (await fetch(b, url))[0] == 200

    sandboxed(test, Config(task_seconds=(0, 0), faults=(parse("clip_key=1"),)))
