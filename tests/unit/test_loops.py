"""Coroutines without an event loop: what they wait for is done at once, or they are refused."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from batchgen import loops
from batchgen.errors import LedgerError
from batchgen.ledger.writer import Ledger
from batchgen.storage.threads import in_thread, to_thread

ORIGIN = "https://api.example.com"


def test_a_coroutine_that_waits_for_nothing_returns_its_value() -> None:
    async def work() -> int:
        return 7

    assert loops.drive(work()) == 7


def test_an_error_of_a_coroutine_is_its_callers() -> None:
    async def work() -> None:
        raise LedgerError("lost")

    with pytest.raises(LedgerError, match="lost"):
        loops.drive(work())


def test_a_coroutine_that_waits_for_an_event_loop_is_ended_and_refused() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append("in order")

    with pytest.raises(RuntimeError, match="event loop"):
        loops.drive(work())
    assert ended == ["in order"]


def test_disk_work_is_beside_a_loop_and_here_without_one() -> None:
    async def places() -> set[int]:
        return {await to_thread(threading.get_ident), await in_thread(threading.get_ident)}

    here = threading.get_ident()
    assert loops.drive(places()) == {here}
    assert here not in asyncio.run(places())


def test_a_write_of_the_ledger_is_on_disk_without_a_loop_before_one_and_after_it(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "ledger.db")

    async def note(*keys: str) -> None:
        for key in keys:
            await ledger.set_note(key, "yes")

    async def leave_behind() -> None:
        left = asyncio.create_task(note("left"))  # cancelled with its loop; the write stands
        await asyncio.sleep(0)
        assert not left.done()

    with Ledger.open(path, origin=ORIGIN) as ledger:
        loops.drive(note("before"))
        assert ledger.note("before") == "yes"
        asyncio.run(note("inside"))
        asyncio.run(leave_behind())
        loops.drive(note("after"))
        assert [ledger.note(key) for key in ("inside", "left", "after")] == ["yes"] * 3
    with pytest.raises(LedgerError, match="closed"):
        loops.drive(ledger.set_note("late", "yes"))
