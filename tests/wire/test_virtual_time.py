"""The tests' virtual time: it waits for all that is at work or on its way, and for nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import virtual_time
from tests.support.virtual_time import Loop

WORKS = 0.05  # seconds of the machine's time that a thread is at work


def test_hours_pass_at_once_and_timers_come_in_their_order() -> None:
    async def scene(loop: Loop) -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []
        loop.call_later(7200.5, lambda: seen.append(("later", loop.time())))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.sleep(7200)
        seen.append(("timeout", loop.time()))
        await asyncio.sleep(5000)
        return [*seen, ("slept", loop.time())]

    begun = time.monotonic()
    assert virtual_time.run(scene) == [("timeout", 3600.0), ("later", 7200.5), ("slept", 8600.0)]
    assert time.monotonic() - begun < virtual_time.ENDS


@pytest.mark.parametrize("way", ["pool", "to_thread", "thread"])
def test_no_time_passes_while_a_thread_is_at_work(way: str) -> None:
    """Whichever way it was started, and whoever is told of its end."""

    async def scene(loop: Loop) -> float:
        told = asyncio.Event()

        def work() -> None:
            time.sleep(WORKS)

        def work_and_tell() -> None:
            work()
            loop.call_soon_threadsafe(told.set)

        if way == "pool":
            with ThreadPoolExecutor(1) as pool:
                for _ in range(3):  # more than its threads take at once
                    job = pool.submit(work)
                job.add_done_callback(lambda _: loop.call_soon_threadsafe(told.set))
                await told.wait()
        elif way == "to_thread":
            await asyncio.to_thread(work)
        else:
            threading.Thread(target=work_and_tell).start()
            await told.wait()
        return loop.time()

    async def beside_a_timer(loop: Loop) -> float:
        timer = loop.call_later(1.0, lambda: None)
        try:
            return await scene(loop)
        finally:
            timer.cancel()

    assert virtual_time.run(beside_a_timer) == 0.0


def test_no_time_passes_while_bytes_are_on_their_way() -> None:
    """Pieces of all sizes, among them more than the system takes at once."""

    async def scene(loop: Loop) -> tuple[float, int]:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while piece := await reader.read(1 << 16):
                writer.write(piece)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        timers = [loop.call_later(0.001 * step, lambda: None) for step in range(1, 100)]
        came = 0
        for size in (1, 10, 1000, 100_000, 10_000_000):
            writer.write(b"x" * size)
            came += len(await reader.readexactly(size))
        passed = loop.time()
        for timer in timers:
            timer.cancel()
        writer.close()
        await writer.wait_closed()
        server.close()
        return passed, came

    assert virtual_time.run(scene) == (0.0, 10_101_011)


def test_bytes_that_nobody_reads_hold_up_no_clock() -> None:
    async def scene(loop: Loop) -> float:
        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(1000)
            writer.transport.abort()

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x" * (1 << 25))
        with pytest.raises(ConnectionError):
            await writer.drain()
        server.close()
        return loop.time()

    assert virtual_time.run(scene) == 1000.0


def test_a_wait_that_nothing_can_end_is_an_error_and_not_a_test_that_hangs() -> None:
    async def scene(loop: Loop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="wait for ever"):
        virtual_time.run(scene)


@pytest.mark.parametrize("fails", [True, False])
def test_the_machines_own_threads_are_as_before_afterwards(fails: bool) -> None:
    before: tuple[Callable[..., object], ...] = (ThreadPoolExecutor.submit,)

    async def scene(loop: Loop) -> None:
        await asyncio.to_thread(int)
        if fails:
            raise ZeroDivisionError

    if fails:
        with pytest.raises(ZeroDivisionError):
            virtual_time.run(scene)
    else:
        virtual_time.run(scene)
    assert (ThreadPoolExecutor.submit,) == before
