"""How many clips come at once: as many as bring more, from a host that is slow for each; in virtual time and by the program."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from batchgen.errors import DownloadError
from batchgen.run.download_limit import FIRST
from batchgen.run.places import Places
from batchgen.sandbox.video import clip
from batchgen.storage.download import Downloads
from tests.bench.clip_host import Host as Slow
from tests.bench.clip_host import body
from tests.support import virtual_time
from tests.support.program import Desk
from tests.support.virtual_time import Loop
from tests.support.wire import PATH, answer, request, saying, wire
from tests.wire.test_retrieval import Host, against, files, fresh, jobs

QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "5", "--max-running", "40")
DELAY = 0.05


async def fetched(loop: Loop, folder: Path, count: int, size: int, rate: float, most: int) -> float:
    """Seconds that so many clips take from a host that gives each connection ``rate`` bytes a second."""
    server = await asyncio.start_server(Slow(size, rate, DELAY).serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    places = Places(most)

    async def one(number: int) -> None:
        path = str(folder / f"{number}.mp4")
        async with places.one(url := f"http://{host}:{port}/{number}.mp4") as place:
            await downloads.attempt(downloads.transfer(path, root=str(folder)), url, heard=place.received)

    began = loop.time()
    async with Downloads(timeout=60) as downloads:
        await asyncio.gather(*map(one, range(count)))
    seconds = loop.time() - began
    server.close()
    await asyncio.sleep(1)  # in which it sees that everybody has hung up
    return seconds


@pytest.mark.parametrize("most", [4, 16])
def test_a_host_that_is_slow_for_each_connection_brings_what_so_many_connections_bring(
    tmp_path: Path, most: int
) -> None:
    count, size, rate = 48, 800_000, 400_000.0
    seconds = virtual_time.run(lambda loop: fetched(loop, tmp_path, count, size, rate, most))
    least = count / most * (size / rate + 2 * DELAY)
    assert least <= seconds + 1
    assert seconds < 1.1 * least + 1  # in which it is found out that more bring more
    assert len(list(tmp_path.glob("*.mp4"))) == count


class Counting(Host):
    """Takes its time for each file, and counts who asks at once."""

    def __init__(self) -> None:
        super().__init__(fresh, lambda heard, before: answer(clip(heard.path.partition("?")[0])))
        self.now = self.most = 0

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = self.says(heard := await request(reader))
        if not heard.path.startswith(PATH):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.1)
            self.now -= 1
        writer.write(said)


def test_no_more_clips_are_fetched_at_once_than_the_command_line_the_environment_or_the_manifest_lets(
    tmp_path: Path,
) -> None:
    """The first of them that says something holds."""
    desk, host = Desk(tmp_path), Counting()
    with against(desk, host):
        for number, (flag, variable, stated, most) in enumerate(
            [("1", "2", 3, 1), ("", "2", 3, 2), ("", "", 3, 3), ("", "", None, FIRST)]
        ):
            names = [f"j{number}-{n}" for n in range(8)]
            manifest = {**json.loads(jobs(*names)), "name": f"m{number}"}
            desk.write("m.yaml", json.dumps(manifest | ({"downloads": stated} if stated else {})))
            desk.env["BATCHGEN_DOWNLOADS"] = variable
            host.most = 0
            ended = desk.run("run", *QUICK, *(("--downloads", flag) if flag else ()), "m.yaml")
            assert (ended.code, ended.err) == (0, "")
            assert host.most == most
            assert len(files(desk)) == len(names) * (number + 1)


def test_a_run_fetches_more_clips_at_once_where_that_brings_more(tmp_path: Path) -> None:
    desk, host = Desk(tmp_path), Counting()
    host.file = lambda heard, before: answer(body(200_000))
    desk.write("m.yaml", jobs(*(f"j{n}" for n in range(60))))
    with against(desk, host):
        ended = desk.run("run", *QUICK, "--concurrency", "40", "--max-running", "100", "m.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert FIRST < host.most <= 16


@pytest.mark.parametrize(("status", "busy"), [(429, True), (503, True), (404, False), (500, False)])
def test_a_host_that_says_that_it_is_busy_is_heard(tmp_path: Path, status: int, busy: bool) -> None:
    async def scene() -> bool:
        async with wire(saying(answer(b"<Error/>", status))) as url, Downloads(timeout=5) as downloads:
            with pytest.raises(DownloadError) as caught:
                await downloads.fetch(f"{url}/v.mp4", str(tmp_path / "v.mp4"), root=str(tmp_path))
            return caught.value.busy

    assert asyncio.run(scene()) is busy


def test_places_at_a_host_are_had_in_turn_and_a_waiter_that_leaves_holds_none() -> None:
    async def main(loop: Loop) -> list[int]:
        places, got = Places(2), list[int]()

        async def one(number: int, stays: float) -> None:
            async with places.one("http://h/x"):
                got.append(number)
                await asyncio.sleep(stays)

        tasks = [asyncio.create_task(one(number, 1.0)) for number in range(6)]
        await asyncio.sleep(0.5)
        tasks[2].cancel()  # it waits
        tasks[0].cancel()  # it has one, which goes to the next
        await asyncio.sleep(0)
        tasks[3].cancel()  # whose turn has come this very moment
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(1), places.one("http://h/x"), places.one("http://h/x"):
            return got

    assert virtual_time.run(main) == [0, 1, 4, 5]


def test_one_busy_host_takes_no_places_from_another() -> None:
    async def main(loop: Loop) -> tuple[int, int]:
        places = Places(8)
        most = {"busy": 0, "other": 0}
        now = {"busy": 0, "other": 0}

        async def one(host: str) -> None:
            async with places.one(f"http://{host}/x") as place:
                now[host] += 1
                most[host] = max(most[host], now[host])
                await asyncio.sleep(1)
                now[host] -= 1
                place.received(1 << 20)

        for _ in range(3):
            with pytest.raises(DownloadError):
                async with places.one("http://busy/x"):
                    await asyncio.sleep(0.1)
                    raise DownloadError("HTTP 429", busy=True)
        await asyncio.gather(*(one("busy") for _ in range(4)), *(one("other") for _ in range(4)))
        return most["busy"], most["other"]

    assert virtual_time.run(main) == (1, 4)
