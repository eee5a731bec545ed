"""Bringing clips home from hosts that send anything else, onto disks that have no room."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import hashlib
import os
import resource
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchgen.errors import DownloadError
from batchgen.http import bodies
from batchgen.sandbox.video import clip
from batchgen.storage.download import MIN_SPEED, Downloads
from batchgen.storage.mp4 import MOST_BOXES
from batchgen.storage.partfile import PartFile
from batchgen.storage.roots import Root
from batchgen.storage.transfer import Clip, Transfer
from tests.support.program import ENDS
from tests.support.wire import Heard, Play, answer, flooding, request, saying, served, wire

IMPATIENT = 0.4  # seconds without progress, where a test waits for them to pass
CLIP = clip("a clip")
SHA256 = hashlib.sha256(CLIP).hexdigest()
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


async def fetch(
    url: str, path: Path, *, root: Path | None = None, patience: float = ENDS, speed: float = MIN_SPEED
) -> Clip | DownloadError:
    async with Downloads(timeout=patience, largest=1 << 20, min_speed=speed) as downloads:
        try:
            return await downloads.fetch(url, str(path), root=str(root or path.parent))
        except DownloadError as error:
            return error


def bring(
    play: Play, path: Path, *, root: Path | None = None, patience: float = ENDS, speed: float = MIN_SPEED
) -> Clip | DownloadError:
    """Fetch a clip from a host that plays this."""

    async def scene() -> Clip | DownloadError:
        async with asyncio.timeout(ENDS), wire(play) as url:
            return await fetch(f"{url}/v.mp4", path, root=root, patience=patience, speed=speed)

    return asyncio.run(scene())


def refusal(end: Clip | DownloadError) -> str:
    assert isinstance(end, DownloadError), end
    assert str(end).isprintable()
    assert len(str(end)) < 1000
    return str(end)


def test_a_disk_that_is_out_of_time_is_not_said_to_be_the_hosts_doing(tmp_path: Path) -> None:
    """As network disks have it, whose error is the same as that of a wait that was too long."""

    class Disk(PartFile):
        def write(self, piece: bytes) -> None:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    async def scene(url: str) -> None:
        part = Disk(str(tmp_path / "a.mp4"), Root(str(tmp_path)))
        async with Downloads() as downloads:
            with pytest.raises(DownloadError, match="can't write .*: Connection timed out") as caught:
                await downloads.attempt(Transfer(part, largest=1 << 20, believe_after=0.0), f"{url}/v.mp4")
            assert caught.value.local

    with served(saying(answer(CLIP))) as url:
        asyncio.run(scene(url))


def test_an_odd_clip_that_comes_the_same_again_is_believed_when_its_time_has_come(tmp_path: Path) -> None:
    """Not sooner: a file may still be on its way to its host."""
    odd = b"\x1a\x45\xdf\xa3" + bytes(700)
    part = PartFile(str(tmp_path / "a.mp4"), Root(str(tmp_path)))
    transfer = Transfer(part, largest=1 << 20, believe_after=10.0)

    def come(now: float) -> str:
        transfer.begin("https://host/a.mp4", 200, {}, resumes=False, length=len(odd))
        transfer.receive(odd)
        assert transfer.end()
        return transfer.judge(now)

    with part.opened():
        for now in (100.0, 109.9):
            with pytest.raises(DownloadError, match="no MP4 video"):
                come(now)
        assert "the same bytes came 3 times" in come(110.0)


def test_a_clip_comes_home_whole_and_without_a_trace_of_the_way(tmp_path: Path) -> None:
    heard: list[Heard] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await request(reader))
        writer.write(answer(CLIP))

    path = tmp_path / "out/m/deep/a.mp4"
    assert bring(play, path, root=tmp_path / "out") == Clip(str(path), SHA256, len(CLIP))
    assert path.read_bytes() == CLIP
    assert list(path.parent.iterdir()) == [path]
    assert set(heard[0].headers) == {"host", "user-agent", "accept", "accept-encoding"}
    assert heard[0].headers["accept-encoding"] == "identity"


def test_a_clip_may_come_in_chunks_or_until_the_connection_ends(tmp_path: Path) -> None:
    halves = [CLIP[:1000], CLIP[1000:]]
    chunks = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n"
    for number, said in enumerate((chunks, OK + b"\r\n" + CLIP)):
        end = bring(saying(said), tmp_path / f"{number}.mp4")
        assert isinstance(end, Clip)
        assert end.sha256 == SHA256


# -- what is no clip ----------------------------------------------------------------------------------------

FTYP, MOOV = box(b"ftyp", b"isom"), box(b"moov", b"x" * 100)

NO_CLIP = {
    "nothing": (answer(b""), "sent 0 bytes"),
    "a page": (answer(b"<!DOCTYPE html><title>Log in</title>"), "no MP4 video, but a page or a message"),
    "a short page": (answer(b"no"), "no MP4 video, but a page or a message"),
    "JSON": (answer({"code": 1203, "message": "gone"}), "no MP4 video"),
    "another container": (answer(b"\x1a\x45\xdf\xa3" + bytes(100)), "no MP4 video"),
    "a packed page": (answer(gzip.compress(b"<html>" + bytes(99))), "no MP4 video, but a page or a message"),
    "packed and cut": (answer(gzip.compress(CLIP)[:-20], Content_Encoding="gzip"), "packed, and ends early"),
    "badly packed": (answer(gzip.compress(CLIP)[:500] + bytes(500)), "can't be unpacked"),
    "no index": (answer(FTYP + box(b"mdat", b"x" * 50)), "its index is missing"),
    "box beyond the end": (answer(FTYP + MOOV[:-1]), "ends early"),
    "box of no length": (answer(FTYP + struct.pack(">I4s", 7, b"moov")), "ends early"),
    "long box beyond the end": (answer(FTYP + struct.pack(">I4sQ", 1, b"mdat", 1 << 60)), "ends early"),
    "half a head": (answer(FTYP + MOOV + b"\0\0"), "ends early"),
    "too many boxes": (answer(FTYP + box(b"free") * MOST_BOXES + MOOV), "more than 100,000 boxes"),
    "404": (answer(b"", 404), "HTTP 404"),
    "500": (answer(CLIP, 500), "HTTP 500"),
    "206": (answer(CLIP[:500], 206), "ends early, after 500 bytes"),
    "a later piece": (
        answer(CLIP[500:], 206, Content_Range=f"bytes 500-{len(CLIP) - 1}/{len(CLIP)}"),
        "nobody asked for",
    ),
    "204": (answer(b"", 204), "HTTP 204"),
    "redirect to nowhere": (answer(b"", 302), "HTTP 302"),
    "shorter than announced": (OK + b"Content-Length: 9000\r\n\r\n" + CLIP, "broke off"),
    "cut in a chunk": (CHUNKED + b"%x\r\n" % len(CLIP) + CLIP[:-1], "broke off"),
    "no last chunk": (CHUNKED + b"%x\r\n%s\r\n" % (len(CLIP), CLIP), "broke off"),
    "odd chunk": (CHUNKED + b"zz\r\n" + CLIP, "broke off"),
    "another protocol": (b"SSH-2.0-OpenSSH_9\r\n", "broke off: what came isn't HTTP"),
    "silence": (b"", "broke off"),
    "announced as huge": (OK + b"Content-Length: 99999999999\r\n\r\n" + CLIP, "larger than 1,048,576 bytes"),
    "larger than may be": (OK + b"\r\n" + FTYP + box(b"mdat", bytes(1 << 20)) + MOOV, "larger than"),
}


@pytest.mark.parametrize(("said", "reason"), NO_CLIP.values(), ids=NO_CLIP.keys())
def test_what_is_no_whole_clip_is_refused_and_leaves_nothing(
    said: bytes, reason: str, tmp_path: Path
) -> None:
    assert reason in refusal(bring(saying(said), tmp_path / "out/a.mp4"))
    assert list((tmp_path / "out").iterdir()) == []


def test_no_beginning_of_a_clip_passes_for_one(tmp_path: Path) -> None:
    whole = FTYP + box(b"mdat", b"x" * 300) + MOOV

    async def scene() -> None:
        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                heard = await request(reader)
                writer.write(answer(whole[: int(heard.path[1:])]))

        async with wire(play) as url, Downloads(timeout=ENDS) as downloads:
            for size in range(len(whole)):
                with pytest.raises(DownloadError):
                    await downloads.fetch(f"{url}/{size}", str(tmp_path / "a.mp4"), root=str(tmp_path))
            await downloads.fetch(f"{url}/{len(whole)}", str(tmp_path / "a.mp4"), root=str(tmp_path))

    asyncio.run(scene())


@pytest.mark.parametrize("status", [403, 404, 410, 500, 503])
def test_a_clip_that_is_gone_is_told_from_one_that_may_come_back(status: int, tmp_path: Path) -> None:
    end = bring(saying(answer(b"", status)), tmp_path / "a.mp4")
    assert isinstance(end, DownloadError)
    assert end.gone == (status < 500)


@pytest.mark.parametrize("told", ['"\x1b[31m"', '"\u00e9"', '"\udcff"'])
def test_a_clip_that_breaks_off_is_asked_for_with_nothing_that_no_header_can_hold(told: str) -> None:
    assert bodies.validator({"ETag": told}) is None
    assert bodies.validator({"Last-Modified": told}) is None
    assert bodies.validator({"ETag": '"5f-a"', "Last-Modified": told}) == '"5f-a"'


ENDLESS = {
    "blanks": flooding(OK + b"\r\n", b" " * 65536),
    "a clip": flooding(OK + b"\r\n" + FTYP + struct.pack(">I4s", 0, b"mdat"), b"x" * 65536),
    "boxes": flooding(OK + b"\r\n" + FTYP, box(b"free") * 8192),
}


@pytest.mark.parametrize("play", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_endless_clip_is_given_up(play: Play, tmp_path: Path) -> None:
    refusal(bring(play, tmp_path / "a.mp4"))
    assert list(tmp_path.iterdir()) == []


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(OK + b"Content-Length: 1000000\r\n\r\n" + FTYP)
    while True:
        writer.write(b"\0")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _dries_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(OK + b"Content-Length: 1000000\r\n\r\n" + FTYP + bytes(200_000))
    while True:
        writer.write(b"\0")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(ENDS)


@pytest.mark.parametrize(
    "play", [_drip, _dries_up, _silence, saying(OK + b"Content-Length: 9000\r\n\r\n" + CLIP, hang_up=False)]
)
def test_a_clip_that_stands_still_or_drips_is_given_up(play: Play, tmp_path: Path) -> None:
    begun = time.monotonic()
    said = refusal(bring(play, tmp_path / "a.mp4", patience=IMPATIENT))
    assert "stood still" in said or "is too slow (--min-speed)" in said
    assert time.monotonic() - begun < ENDS / 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("speed", "enough"), [(0.0, True), (250_000.0, True), (4e6, False)])
def test_a_clip_is_waited_for_as_long_as_it_comes_with_the_least_speed(
    speed: float, enough: bool, tmp_path: Path
) -> None:
    """It comes with 100,000 bytes in a third of the patience: 750,000 bytes a second, as far as the machine keeps up."""
    whole = FTYP + box(b"mdat", bytes(600_000)) + MOOV

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % len(whole))
        for start in range(0, len(whole), 100_000):
            writer.write(whole[start : start + 100_000])
            await asyncio.sleep(IMPATIENT / 3)

    end = bring(play, tmp_path / "a.mp4", patience=IMPATIENT, speed=speed)
    if enough:
        assert isinstance(end, Clip)
    else:
        assert "less than 3,906.25 KiB/s is too slow (--min-speed)" in refusal(end)


async def _trickled_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(OK)
    while True:
        writer.write(b"X-Filler: 1\r\n")
        await writer.drain()
        await asyncio.sleep(IMPATIENT / 4)


async def _slow_redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    heard = await request(reader)
    await asyncio.sleep(IMPATIENT / 2)
    writer.write(answer(b"", 302, Location=f"{heard.path}x"))


async def _interim_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("play", [_trickled_headers, _slow_redirects, _interim_answers])
def test_whatever_comes_before_a_clip_has_one_patience_in_all(play: Play, tmp_path: Path) -> None:
    begun = time.monotonic()
    assert "stood still" in refusal(bring(play, tmp_path / "a.mp4", patience=IMPATIENT))
    assert time.monotonic() - begun < ENDS / 4
    assert list(tmp_path.iterdir()) == []


def test_a_handshake_that_never_ends_is_given_up(tmp_path: Path) -> None:
    async def scene() -> Clip | DownloadError:
        async with wire(_silence) as url:
            return await fetch(
                f"{url.replace('http:', 'https:')}/v.mp4", tmp_path / "a.mp4", patience=IMPATIENT
            )

    assert "stood still" in refusal(asyncio.run(scene()))


def test_a_fetch_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK + b"Content-Length: 9000\r\n\r\n" + CLIP)
        arrived.set()
        await asyncio.sleep(ENDS)

    async def scene() -> None:
        async with wire(play) as url:
            task = asyncio.create_task(fetch(url, tmp_path / "a.mp4"))
            await arrived.wait()
            while not list(tmp_path.iterdir()):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scene())
    assert list(tmp_path.iterdir()) == []


# -- addresses and redirects --------------------------------------------------------------------------------

ADDRESSES = [
    "file:///etc/passwd",
    "ftp://example.com/a.mp4",
    "gopher://example.com",
    "data:video/mp4,x",
    "javascript:1",
    "/etc/passwd",
    "",
    "http://",
    "http://[",
    "http://example.com:99999999/",
    "http://example.com:x/",
    "https://nowhere.invalid/a.mp4",
    "http://127.0.0.1:1/a.mp4",
    "http://exa mple.com/",
    "http://\ud800.example/",
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_that_leads_nowhere_is_refused(url: str, tmp_path: Path) -> None:
    assert "b'" not in refusal(asyncio.run(fetch(url, tmp_path / "a.mp4")))
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_is_followed_to_another_host(tmp_path: Path) -> None:
    async def scene() -> None:
        async with (
            wire(saying(answer(CLIP))) as there,
            wire(saying(answer(b"", 302, Location=there))) as here,
        ):
            end = await fetch(here, tmp_path / "a.mp4")
            assert isinstance(end, Clip)

    asyncio.run(scene())


@pytest.mark.parametrize(
    "location",
    ["/v.mp4", "file:///etc/passwd", "ftp://example.com/a.mp4", "http://[", "https://nowhere.invalid/"],
)
def test_a_redirect_that_loops_or_leads_nowhere_ends(location: str, tmp_path: Path) -> None:
    visits = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        while True:
            await request(reader)
            visits += 1
            writer.write(answer(b"", 302, Location=location))

    text = refusal(bring(play, tmp_path / "a.mp4"))
    assert "url=" not in text  # not the library's own words for it
    assert 1 <= visits <= 6
    assert list(tmp_path.iterdir()) == []


# -- the disk -----------------------------------------------------------------------------------------------


def test_a_file_of_somebody_else_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"mine")
    first = bring(saying(answer(CLIP)), path)
    assert isinstance(first, Clip)
    assert first.path == str(tmp_path / f"a-{SHA256[:8]}.mp4")
    assert path.read_bytes() == b"mine"
    assert bring(saying(answer(CLIP)), path) == first  # the same clip has the same name
    Path(first.path).write_bytes(b"mine too")
    third = bring(saying(answer(CLIP)), path)
    assert isinstance(third, Clip)
    assert Path(third.path).read_bytes() == CLIP
    assert Path(first.path).read_bytes() == b"mine too"


def test_what_stands_in_the_way_is_left_there_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    out = tmp_path / "out"
    (out / "folder.mp4").mkdir(parents=True)
    (out / "link.mp4").symlink_to(outside)
    (out / "part.mp4.part").symlink_to(outside)
    for name in ("folder", "link", "part"):
        end = bring(saying(answer(CLIP)), out / f"{name}.mp4")
        assert isinstance(end, Clip)
        assert Path(end.path).read_bytes() == CLIP
    assert outside.read_bytes() == b"mine"
    assert (out / "folder.mp4").is_dir()
    (out / "blocked.mp4.part").mkdir()
    assert "can't write" in refusal(bring(saying(answer(CLIP)), out / "blocked.mp4"))


def test_a_link_out_of_the_output_folder_is_not_followed_and_nothing_is_made_there(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "out"
    root.mkdir()
    (root / "m").symlink_to(outside)
    end = bring(saying(answer(CLIP)), root / "m/sub/a.mp4", root=root)
    assert f"{root / 'm'} leads elsewhere" in refusal(end)
    assert list(outside.iterdir()) == []


def test_the_output_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    assert isinstance(bring(saying(answer(CLIP)), tmp_path / "out/m/a.mp4", root=tmp_path / "out"), Clip)
    assert (tmp_path / "disk/m/a.mp4").read_bytes() == CLIP


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """No file of this process can grow beyond so many bytes: what a full disk looks like from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1000, 500_000])
def test_a_full_disk_is_told_and_gets_its_room_back(size: int, tmp_path: Path) -> None:
    whole = FTYP + box(b"mdat", bytes(600_000)) + MOOV
    with no_file_beyond(size):
        end = bring(saying(answer(whole)), tmp_path / "a.mp4")
    text = refusal(end)
    assert text == f"can't write {tmp_path}/a.mp4.part: File too large"
    assert list(tmp_path.iterdir()) == []
    assert isinstance(bring(saying(answer(whole)), tmp_path / "a.mp4"), Clip)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "can't write" in refusal(bring(saying(answer(CLIP)), tmp_path / "file/a.mp4", root=tmp_path))
    long = tmp_path / ("é" * 130 + ".mp4")
    assert "File name too long" in refusal(bring(saying(answer(CLIP)), long))
    assert os.listdir(tmp_path) == ["file"]
