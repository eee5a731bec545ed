"""What waits for a disk waits in threads: a disk that doesn't answer holds up nobody else, and nothing that was done is lost."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import batchgen
from batchgen.http.transport import ProgressTimeout
from batchgen.ledger.writer import Ledger
from batchgen.run import cliplog
from batchgen.run.cliplog import ClipLog
from batchgen.run.events import Events
from batchgen.run.inventory import Inventory
from batchgen.sandbox.video import clip
from batchgen.storage import clips
from batchgen.storage.disk_threads import DiskThreads
from batchgen.storage.download import Downloads
from batchgen.storage.roots import Root, Roots
from tests.bench import material
from tests.bench.clip_host import body
from tests.support import virtual_time
from tests.support.program import ENDS
from tests.support.virtual_time import Loop
from tests.support.wire import answer, request, wire

STUCK = 40  # downloads to the disk that doesn't answer: more than the loop's own pool has threads


async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    heard = await request(reader)
    writer.write(answer(clip("a longer name" if "stuck" in heard.path else "other")))


def test_a_disk_that_does_not_answer_holds_up_no_download_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, sync, size = threading.Event(), os.fsync, len(clip("a longer name"))

    def fsync(descriptor: int) -> None:
        if os.fstat(descriptor).st_size == size:
            answers.wait(ENDS)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    async def main() -> None:
        async with asyncio.timeout(ENDS), wire(play) as url, Downloads(timeout=ENDS) as downloads:

            async def one(name: str) -> None:
                await downloads.fetch(f"{url}/{name}.mp4", str(tmp_path / f"{name}.mp4"), root=str(tmp_path))

            stuck = [asyncio.create_task(one(f"stuck{number}")) for number in range(STUCK)]
            await asyncio.gather(*(one(f"other{number}") for number in range(4)))
            assert not any(task.done() for task in stuck)
            answers.set()
            await asyncio.gather(*stuck)

    asyncio.run(main())
    assert len(list(tmp_path.glob("*.mp4"))) == STUCK + 4


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_what_a_cancelled_caller_began_is_waited_for_and_not_lost_where_it_counts(
    counts: bool, fails: bool
) -> None:
    began, goes_on = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> str:
        began.set()
        goes_on.wait(ENDS)
        done.append("work")
        if fails:
            raise OSError("no")
        return "result"

    async def caller(threads: DiskThreads) -> None:
        done.append(await threads.run(work, counts=counts))
        await asyncio.sleep(0)
        done.append("what comes after")

    async def main() -> None:
        threads = DiskThreads()
        task = asyncio.create_task(caller(threads))
        await asyncio.to_thread(began.wait, ENDS)
        for _ in range(3):  # a signal may come more than once
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        threads.close()

    asyncio.run(main())
    assert done == (["work", "result"] if counts and not fails else ["work"])


def test_time_that_a_disk_takes_is_none_that_a_host_took() -> None:
    async def main(loop: Loop) -> float:
        began = loop.time()
        stall = ProgressTimeout(1.0)
        with pytest.raises(TimeoutError):
            async with stall:
                await asyncio.sleep(0.75)
                with stall.suspended():
                    await asyncio.sleep(100)
                await asyncio.sleep(1)
        assert stall.expired
        return loop.time() - began

    assert virtual_time.run(main) == 100.75 + 0.25


def test_a_time_that_is_over_ends_once_although_it_is_renewed_meanwhile() -> None:
    async def main(loop: Loop) -> list[str]:
        errors: list[str] = []
        loop.set_exception_handler(lambda _, context: errors.append(repr(context.get("exception"))))
        with pytest.raises(TimeoutError):
            async with ProgressTimeout(1.0) as progress:
                try:
                    progress.renew(loop.time())
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)  # the time is over, and its end is under way
                    progress.renew(loop.time())
                    await asyncio.sleep(0)
                finally:
                    await asyncio.sleep(1)  # a request that takes its time to end
        return errors

    assert virtual_time.run(main) == []


def test_lines_that_wait_beside_the_clips_are_written_with_one_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material.table(str(tmp_path / "t.csv"), "60")
    rows = [
        row._replace(
            output_dir=str(tmp_path / "clips"),
            task_id=f"t{row.job_id}",
            video_path=row.output_path,
            video_sha256="0",
            video_size=1,
        )
        for row in material.rows(str(tmp_path / "t.yaml"))
    ]
    syncs, sync = list[int](), os.fsync

    def fsync(descriptor: int) -> None:
        syncs.append(descriptor)
        sync(descriptor)

    done: list[int] = []

    async def main() -> None:
        with Ledger.open(str(tmp_path / "l.db"), origin="http://127.0.0.1:9") as ledger:
            log = ClipLog(ledger, Roots(), Events(lambda: 0.0, lambda event: None))

            async def one(number: int) -> None:
                await log.add(rows[number])
                written = (tmp_path / "clips/bench/clips.jsonl").read_text().splitlines()
                assert rows[number].job_id in [json.loads(line)["job_id"] for line in written]
                done.append(number)

            monkeypatch.setattr(os, "fsync", fsync)
            await asyncio.gather(*map(one, range(len(rows))))

    asyncio.run(main())
    written = (tmp_path / "clips/bench/clips.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["job_id"] for line in written) == sorted(row.job_id for row in rows)
    assert sorted(done) == list(range(len(rows)))
    assert len(syncs) <= 4


def test_lines_beside_the_clips_are_synced_before_anybody_goes_on_also_where_their_writer_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    material.table(str(tmp_path / "t.csv"), "2")
    first, second = (
        row._replace(
            output_dir=str(tmp_path / "clips"),
            task_id=f"t{row.job_id}",
            video_path=row.output_path,
            video_sha256="0",
            video_size=1,
        )
        for row in material.rows(str(tmp_path / "t.yaml"))
    )
    syncs, release, sync = threading.Event(), threading.Event(), os.fsync

    def fsync(descriptor: int) -> None:
        syncs.set()
        release.wait(ENDS)
        sync(descriptor)

    async def main() -> None:
        with Ledger.open(str(tmp_path / "l.db"), origin="http://127.0.0.1:9") as ledger:
            log = ClipLog(ledger, Roots(), Events(lambda: 0.0, lambda event: None))
            writer, waiter = asyncio.create_task(log.add(first)), asyncio.create_task(log.add(second))
            monkeypatch.setattr(os, "fsync", fsync)
            await asyncio.to_thread(syncs.wait, ENDS)
            writer.cancel()
            done, _ = await asyncio.wait([writer, waiter], timeout=0.1)
            assert not done  # the lines of both are on their way to the disk
            release.set()
            await asyncio.wait([writer, waiter])
            monkeypatch.undo()
            assert waiter.exception() is None

    asyncio.run(main())
    written = (tmp_path / "clips/bench/clips.jsonl").read_text().splitlines()
    assert [json.loads(line)["job_id"] for line in written] == [first.job_id, second.job_id]


def test_a_run_that_is_cancelled_while_it_reads_lines_leaves_once_nothing_reads_its_ledger_any_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    material.table(str(tmp_path / "t.csv"), "2")
    material.done(str(tmp_path / "l.db"), str(tmp_path / "t.yaml"))
    (tmp_path / "clips/bench").mkdir(parents=True, exist_ok=True)
    reads, release, after = threading.Event(), threading.Event(), list[bool]()

    def entries(root: Root, folder: str) -> Iterator[clips.Entry]:
        reads.set()
        release.wait(ENDS)
        after.append(ledger.knows("bench"))
        return iter(())

    async def main() -> None:
        inventory = Inventory(ledger, Events(lambda: 0.0, lambda event: None))
        with inventory.roots:
            loaded = batchgen.load(str(tmp_path / "t.yaml"))
            work = asyncio.create_task(inventory.import_clips(loaded.manifests, (), thoroughly=True))
            await asyncio.to_thread(reads.wait, ENDS)
            work.cancel()
            done, _ = await asyncio.wait([work], timeout=0.1)
            assert not done
            release.set()
            await asyncio.wait([work])
            assert work.cancelled() and after == [True]

    monkeypatch.setattr(clips, "entries", entries)
    with Ledger.open(str(tmp_path / "l.db"), origin="http://127.0.0.1:9") as ledger:
        asyncio.run(main())


def test_output_folders_hold_no_descriptor_once_they_are_closed_and_can_still_be_used(tmp_path: Path) -> None:
    def held() -> int:
        links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
        return sum(os.path.lexists(link) and os.readlink(link) == str(tmp_path) for link in links)

    with Roots() as roots:
        roots.begin(str(tmp_path))
        assert held() == 1
    assert held() == 0
    with roots[str(tmp_path)].folder(str(tmp_path)) as folder:
        assert folder.path == str(tmp_path)
    assert held() == 0


@pytest.mark.parametrize(("size", "hops"), [(5_000, 3), (200_000, 3), (3_000_000, 15)])
def test_a_clip_is_written_in_few_hops_to_a_thread_a_small_one_in_one_beside_opening_and_keeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, hops: int
) -> None:
    submit, counted = ThreadPoolExecutor.submit, list[object]()

    def submitting(pool: ThreadPoolExecutor, *given: Any, **named: Any) -> Any:
        counted.append(given)
        return submit(pool, *given, **named)

    async def in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        said = answer(body(size))
        for start in range(0, len(said), 20_000):
            writer.write(said[start : start + 20_000])
            await writer.drain()
            await asyncio.sleep(0.001)

    async def main() -> None:
        async with wire(in_pieces) as url, Downloads(timeout=60) as downloads:
            monkeypatch.setattr(ThreadPoolExecutor, "submit", submitting)
            done = await downloads.fetch(f"{url}/v.mp4", str(tmp_path / "v.mp4"), root=str(tmp_path))
            assert Path(done.path).read_bytes() == body(size)

    asyncio.run(main())
    assert len(counted) <= hops


def test_a_folder_whose_clips_have_no_lines_gets_them_a_thousand_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are as many as a folder ever had clips: all of them at once don't fit into a small machine."""
    material.table(str(tmp_path / "t.csv"), "5")
    material.done(str(tmp_path / "l.db"), str(tmp_path / "t.yaml"))
    folder, pieces = tmp_path / "clips/bench", list[int]()

    def append(root: Root, path: str, lines: list[str]) -> tuple[int, int]:
        pieces.append(len(lines))
        return write(root, path, lines)

    async def main() -> None:
        with Ledger.open(str(tmp_path / "l.db"), origin="http://127.0.0.1:9") as ledger:
            log = ClipLog(ledger, Roots(), Events(lambda: 0.0, lambda event: None))
            await log.complete(str(folder), {"another"})

    write = clips.append
    monkeypatch.setattr(clips, "append", append)
    monkeypatch.setattr(cliplog, "AT_ONCE", 2)
    asyncio.run(main())
    assert pieces == [2, 2, 1]
    rows = [row.external_task_id for row in material.rows(str(tmp_path / "t.yaml"))]
    assert [
        one.row.external_task_id for one in clips.entries(Root(str(tmp_path / "clips")), str(folder))
    ] == rows
