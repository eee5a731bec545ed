"""The ledger by itself: transitions per second, each group with its fsync, and the check of its budgets, while it grows.

``python -m tests.bench.ledger_alone FOLDER LARGEST REPETITIONS`` prints JSON: ``rates`` and ``checks``, each rows -> a
number for each repetition. A transition is an intent or an accepted create, and 512 jobs write at the same time. A check
is that of one create against three budgets, in seconds, where money was spent in every quarter of an hour of a month.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from batchgen.amounts import LARGEST
from batchgen.ledger.budgets import Budgets
from batchgen.ledger.writer import Ledger
from batchgen.models import Record, State
from tests.bench.material import ORIGIN, submit

AT_ONCE = 512
WINDOW = 4000  # jobs that are measured at each size
CHECKS = 200
SIZES = (1_000, 10_000, 100_000, 1_000_000)


def endless() -> Iterator[Record]:
    """Rows that differ where rows of jobs do."""
    canonical = json.dumps({"mode": "pro", "duration": "5", "prompt": "Slow camera push-in, soft light " * 8})
    first = Record("", "", "bench", "", 1, "", canonical, State.PENDING, "", estimate=560_000)
    number = 0
    while True:
        number += 1
        name = f"bench.shot{number:08}.0123456789abcdef0123"
        yield first._replace(
            external_task_id=name,
            base_id=name,
            job_id=f"shot{number:08}",
            digest=f"{number:064x}",
            output_path=f"/clips/bench/shot{number:08}.mp4",
        )


async def write(ledger: Ledger, rows: Iterator[Record], count: int) -> float:
    """Take ``count`` jobs through two transitions each; returns the seconds."""

    async def some(share: int) -> None:
        for _ in range(share):
            await submit(ledger, next(rows))

    began = time.perf_counter()
    await asyncio.gather(*(some(count // AT_ONCE) for _ in range(AT_ONCE)))
    return time.perf_counter() - began


def check(path: str) -> float:
    """Seconds that the check of one create takes."""
    now = time.time()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        quarters = ((int(now // 900) - number, 1) for number in range(31 * 96))
        connection.executemany("INSERT OR IGNORE INTO spent VALUES (?, ?)", quarters)
        connection.execute(
            "INSERT INTO budgets VALUES (NULL, 0.0, ?, ?, ?, 'Europe/Berlin', '')", [LARGEST] * 3
        )
        began = time.perf_counter()
        for _ in range(CHECKS):
            assert Budgets(connection.execute).refusal(None, 1, now) is None
        seconds = (time.perf_counter() - began) / CHECKS
        connection.execute("ROLLBACK")
    return seconds


async def main(folder: Path, largest: int, repetitions: int) -> None:
    rates: dict[int, list[float]] = {}
    checks: dict[int, list[float]] = {}
    rows, size = endless(), 0
    with Ledger.open(str(folder / "alone.db"), origin=ORIGIN) as ledger:
        for target in (one for one in SIZES if one <= largest):
            await write(ledger, rows, max(target - size, 0))
            size = target
            for _ in range(repetitions):
                seconds = await write(ledger, rows, WINDOW)
                rates.setdefault(target, []).append(WINDOW // AT_ONCE * AT_ONCE * 2 / seconds)
                size += WINDOW
                checks.setdefault(target, []).append(check(ledger.path))
    sys.stdout.write(json.dumps({"rates": rates, "checks": checks}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
