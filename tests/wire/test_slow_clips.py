"""A clip that comes slowly holds no run for long, loses nothing of what came, and is gone on with the next night."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from batchgen.cli import options
from batchgen.run.download_limit import FIRST
from batchgen.run.waits import Waits
from batchgen.sandbox.video import clip
from batchgen.storage.download import MIN_SPEED
from tests.support.ahead import Ahead
from tests.support.program import Desk, until
from tests.support.wire import PATH, Heard, answer, request
from tests.wire.test_retrieval import Host, against, files, fresh, jobs

WAITS = ("--poll-interval", "0.05", "--timeout", "1", "--settle", "1")
WHOLE = clip("large") + (2_000_008).to_bytes(4, "big") + b"free" + os.urandom(2_000_000)


def in_pieces(heard: Heard, whole: bytes = WHOLE) -> bytes:
    """An answer to a question for a piece, or for all of it."""
    if (asked := heard.headers.get("range")) is None:
        return answer(whole, ETag='"v1"')
    start = int(asked[6:-1])
    return answer(
        whole[start:], 206, ETag='"v1"', Content_Range=f"bytes {start}-{len(whole) - 1}/{len(whole)}"
    )


class SlowHost(Host):
    """The clip's first half comes at once; the rest of it drips as long as ``slow`` is true."""

    def __init__(self, videos: Callable[[str, int], list[dict[str, Any]]] = fresh) -> None:
        super().__init__(videos, lambda heard, before: in_pieces(heard))
        self.slow = True

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await request(reader)
        said = self.says(heard)
        first = said if not self.slow or len(said) < 100_000 else said[: len(said) // 2]
        writer.write(first)
        for start in range(len(first), len(said), 100):
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(said[start : start + 100])

    def starts(self) -> list[int]:
        """Where the answers begin that were asked for since this was asked."""
        found = [int(heard.headers.get("range", "bytes=0-")[6:-1]) for heard in self.files]
        self.files.clear()
        return found


def part(desk: Desk) -> Path:
    return desk.folder / "clips/m/j1.mp4.part"


def left(desk: Desk, host: SlowHost, *options: str) -> str:
    """A run that leaves its clip on the way. Returns what it said."""
    ended = desk.run("run", *WAITS, *options, "m.yaml")
    (row,) = desk.export()
    assert row["state"] == "succeeded"
    assert len(WHOLE) // 2 - 200 <= part(desk).stat().st_size < len(WHOLE)
    assert ended.code == (4 if "--until" in options else 1), ended.err
    return ended.err


def home(desk: Desk, host: SlowHost) -> list[int]:
    """A run that brings it home. Returns where the answers that it asked for begin."""
    host.slow = False
    host.starts()
    ended = desk.run("collect", *WAITS)
    assert (ended.code, ended.err) == (0, "")
    assert files(desk) == {"j1.mp4": WHOLE}
    assert host.creates == 1
    return host.starts()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--clip-timeout", "2s", "--min-speed", "1"), "longer than --clip-timeout"),
        (("--until",), "1 clip is still to come"),
    ],
    ids=["time", "until"],
)
def test_a_slow_clip_is_left_names_the_option_and_is_gone_on_with_the_next_night(
    desk: Desk, options: tuple[str, ...], says: str
) -> None:
    host = SlowHost()
    desk.write("m.yaml", jobs("j1"))
    if options == ("--until",):
        options = ("--until", datetime.fromtimestamp(time.time() + 5).astimezone().isoformat())
    with against(desk, host):
        said = left(desk, host, *options)
        assert says in said
        assert "--until" in options or "the next run goes on after the " in said
        left(desk, host, *(options if "--until" not in options else ("--clip-timeout", "1s")))
        (start,) = home(desk, host)
    assert start >= len(WHOLE) // 2 - (1 << 16) - 200  # what is compared, and what the end cut off


def test_the_limits_are_what_is_written_of_them() -> None:
    args = options.parser().parse_args(["collect"])
    assert args.min_speed == MIN_SPEED
    assert args.clip_timeout == Waits().clip
    assert 1_000_000 / FIRST > 15 * MIN_SPEED  # a studio's line, shared
    assert 2_000_000 / 8 / FIRST * Waits().clip > 200e6


@pytest.mark.parametrize(
    ("given", "means"),
    [("16384", 16384), ("16K", 16384), ("1.5m", 1.5 * (1 << 20)), ("64 KiB/s", 65536), ("0", 0)],
)
def test_a_speed_is_taken_as_people_write_it(given: str, means: float) -> None:
    assert options.parser().parse_args(["collect", "--min-speed", given]).min_speed == means


@pytest.mark.parametrize("given", ["fast", "-1", "1 mbit", ""])
def test_what_is_no_speed_is_told_with_what_would_be_one(desk: Desk, given: str) -> None:
    ended = desk.run("collect", f"--min-speed={given}")
    assert ended.code == 2
    assert "write bytes a second: 16384, 16K or 1M" in ended.err


def test_within_a_run_a_slow_clip_is_asked_for_anew_where_it_broke_off(desk: Desk) -> None:
    host = SlowHost()
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        process = desk.start("run", *WAITS, "m.yaml")
        until(lambda: len(host.files) >= 2)
        host.slow = False
        ended = desk.finish(process)
    assert (ended.code, ended.err) == (0, "")
    assert files(desk) == {"j1.mp4": WHOLE}
    assert host.starts()[1] > 0


def test_a_kept_part_that_is_another_is_not_gone_on_with(desk: Desk) -> None:
    host = SlowHost()
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        left(desk, host, "--clip-timeout", "1s")
        bytes_there = bytearray(part(desk).read_bytes())
        bytes_there[1000] ^= 1
        part(desk).write_bytes(bytes_there)
        assert home(desk, host) == [0]


def test_a_kept_part_that_grew_after_it_was_recorded_is_cut_to_what_is_known(desk: Desk) -> None:
    host = SlowHost()
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        left(desk, host, "--clip-timeout", "1s")
        with part(desk).open("ab") as file:  # by a run that was killed
            file.write(bytes(3_000_000))
        (start,) = home(desk, host)
    assert start > 0


@pytest.mark.parametrize("stands", ["nothing", "link", "pipe"])
def test_what_stands_in_a_kept_parts_place_is_not_taken_for_it(desk: Desk, stands: str) -> None:
    host = SlowHost()
    desk.write("m.yaml", jobs("j1"))
    other = desk.write("other", "mine")
    with against(desk, host):
        left(desk, host, "--clip-timeout", "1s")
        part(desk).unlink()
        if stands == "link":
            part(desk).symlink_to(other)
        elif stands == "pipe":
            os.mkfifo(part(desk))
        assert home(desk, host) == [0]
    assert other.read_text() == "mine"


def test_what_a_night_left_of_a_clip_that_belongs_elsewhere_by_the_next_is_removed(desk: Desk) -> None:
    host = SlowHost()
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        left(desk, host, "--clip-timeout", "1s")
        host.slow = False
        ended = desk.run("run", *WAITS, "--output-dir", "elsewhere", "m.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert (desk.folder / "elsewhere/m/j1.mp4").read_bytes() == WHOLE
    assert not part(desk).exists()


def test_a_clip_that_is_another_by_the_next_night_is_fetched_from_its_start(desk: Desk) -> None:
    host = SlowHost()
    desk.write("m.yaml", jobs("j1"))
    another = clip("another") + (1_500_008).to_bytes(4, "big") + b"free" + os.urandom(1_500_000)
    with against(desk, host):
        left(desk, host, "--clip-timeout", "1s")
        host.slow, host.file = False, lambda heard, before: in_pieces(heard, another)
        ended = desk.run("collect", *WAITS)
    assert (ended.code, ended.err) == (0, "")
    assert files(desk) == {"j1.mp4": another}


def test_files_that_are_others_in_each_answer_end_a_clips_turn(desk: Desk) -> None:
    """Its first file comes whole each time; with each question there is a further one more, or one less."""

    def videos(job: str, times: int) -> list[dict[str, Any]]:
        further = [{"id": f"w{n}", "url": f"/gone{n}.mp4"} for n in range(1 + times % 2)]
        return [{"id": "v", "url": f"/{job}.mp4"}, *further]

    host = SlowHost(videos)
    host.slow = False
    host.file = lambda heard, before: answer(b"no", 404) if "gone" in heard.path else in_pieces(heard)
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        ended = desk.run("run", *WAITS, "m.yaml")
    assert ended.code == 1
    assert "not home yet" in ended.err
    assert len(host.gets("/j1.mp4")) < 20


def test_bytes_that_are_others_each_time_end_a_clips_turn(desk: Desk) -> None:
    def file(heard: Heard, before: int) -> bytes:
        whole = clip("large")[:-9] + os.urandom(1_000_000)
        return in_pieces(heard, whole)[: 900_000 + before]

    host = Host(fresh, file)
    desk.write("m.yaml", jobs("j1"))
    with against(desk, host):
        ended = desk.run("run", *WAITS, "m.yaml")
    assert ended.code == 1
    assert "not home yet" in ended.err
    assert len(host.files) < 40


# -- many of them, in virtual time ------------------------------------------------------------------------------------

MANY = (
    "--max-running",
    "20",
    "--concurrency",
    "20",
    "--downloads",
    "4",
    "--clip-timeout",
    "60s",
    "--settle",
    "40s",
)


class EndlessHost(Host):
    """A host whose clips never end; each of its answers breaks off after ``breaks`` seconds. ``honest`` are clips of
    ``seconds``.
    """

    def __init__(self, breaks: float = 1e9, honest: tuple[str, ...] = (), seconds: float = 40.0) -> None:
        super().__init__(fresh, lambda heard, before: b"")
        self.breaks, self.honest, self.seconds = breaks, honest, seconds
        self.spans: dict[str, list[float]] = {}  # of each clip, when it was asked for first, and left last

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await request(reader)
        if heard.path.startswith(PATH):
            writer.write(self.says(heard))
            return
        name = heard.path[1:].partition(".")[0]
        now = asyncio.get_running_loop().time
        whole = (
            clip(name)
            + (int(self.seconds * 1e5)).to_bytes(4, "big")
            + b"free"
            + bytes(int(self.seconds * 1e5) - 8)
        )
        size = len(whole) if name in self.honest else 1 << 31
        start = int(heard.headers.get("range", "bytes=0-")[6:-1])
        head = answer(b"", 206, ETag='"v"', Content_Range=f"bytes {start}-{size - 1}/{size}")
        writer.write(head.replace(b"Content-Length: 0", f"Content-Length: {size - start}".encode()))
        began = now()
        span = self.spans.setdefault(name, [began, began])
        try:
            while start < size and now() < began + self.breaks:
                piece = whole[start : start + 10_000] or bytes(10_000)
                writer.write(piece)
                start += len(piece)
                await writer.drain()
                await asyncio.sleep(0.1)
        finally:
            span[1] = now()


def names(count: int) -> list[str]:
    return [f"j{number}" for number in range(count)]


def test_clips_after_clips_that_took_too_long_have_less_time(tmp_path: Path) -> None:
    desk, host = Ahead(tmp_path), EndlessHost()
    desk.write("m.yaml", jobs(*names(12)))
    with desk.against_api(host.play):
        ended = desk.run("run", *MANY, "m.yaml")
    assert ended.code == 1
    assert ended.err.count("it took longer than --clip-timeout lets it") == 12
    assert set(host.asked.values()) == {1}  # nobody tries again whose time is over
    spans = sorted(ends - begins for begins, ends in host.spans.values())
    assert spans == pytest.approx([60 / 2**1.5] * 4 + [30.0] * 4 + [60.0] * 4, abs=0.3)


def test_clips_that_break_off_again_and_again_have_less_time_together(tmp_path: Path) -> None:
    """Their tries take turns, so none of them has had its time when the others' begins."""
    desk, host = Ahead(tmp_path), EndlessHost(breaks=5.0)
    desk.write("m.yaml", jobs(*names(24)))
    with desk.against_api(host.play):
        ended = desk.run("run", *MANY, "m.yaml")
    assert ended.code == 1
    assert len(host.spans) == 24
    first = min(begins for begins, _ in host.spans.values())
    assert max(ends for _, ends in host.spans.values()) - first < 120  # 24 * 60 s on four places are 360


def test_a_slow_clip_among_clips_that_never_end_comes_home_by_the_second_night(tmp_path: Path) -> None:
    desk, host = Ahead(tmp_path), EndlessHost(honest=("j11",))
    desk.write("m.yaml", jobs(*names(12)))
    with desk.against_api(host.play):
        desk.run("run", *MANY, "m.yaml")
        desk.run("collect", *MANY[4:])
    assert [row["job_id"] for row in desk.export() if row["state"] == "downloaded"] == ["j11"]
    assert len(files(desk)["j11.mp4"]) > 40e5
    assert host.creates == 12


def test_a_clip_that_broke_off_and_came_home_takes_no_time_from_others(tmp_path: Path) -> None:
    desk, host = Ahead(tmp_path), EndlessHost(breaks=30.0, honest=tuple(names(5)))
    host.status = lambda times: "succeed" if times > 3 else "processing"
    desk.write("m.yaml", jobs(*names(5)))
    one_at_a_time = ("--max-running", "1", "--downloads", "1", "--poll-interval", "30s")
    with desk.against_api(host.play):
        ended = desk.run("run", *one_at_a_time, *MANY[6:], "m.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert len(files(desk)) == 5


def test_each_file_of_a_clip_has_its_own_time(tmp_path: Path) -> None:
    desk, host = Ahead(tmp_path), EndlessHost(honest=("a", "b", "c"))
    host.videos = lambda job, times: [{"id": name, "url": f"/{name}.mp4"} for name in host.honest]
    desk.write("m.yaml", jobs("j1"))
    with desk.against_api(host.play):
        ended = desk.run("run", *MANY, "m.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert len(files(desk)) == 3


def test_a_host_that_sends_a_little_more_each_time_ends_a_clips_turn(tmp_path: Path) -> None:
    """Each of its answers is progress, and each is over at once."""

    class Little(Host):
        async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            said = self.says(await request(reader))
            await asyncio.sleep(1.0)
            writer.write(said)

    def file(heard: Heard, before: int) -> bytes:
        start = int(heard.headers.get("range", "bytes=0-")[6:-1])
        span = f"bytes {start}-{start + 70_000}/2000000000"
        return answer(clip("large")[start : start + 1] + bytes(70_000), 206, Content_Range=span)

    desk, host = Ahead(tmp_path), Little(fresh, file)
    desk.write("m.yaml", jobs(*names(12)))
    with desk.against_api(host.play):
        ended = desk.run("run", *MANY, "m.yaml")
    assert ended.code == 1
    assert ended.err.count("it took longer than --clip-timeout lets it") == 12
    assert len({heard.path for heard in host.files}) == 12
    assert len(host.files) < 4 * (62 + 32 + 24)
