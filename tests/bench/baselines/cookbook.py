"""Baseline (c): the cookbook pattern: one dispatch loop, a token bucket, and a JSONL file of results.

``cookbook.py URL IN_FLIGHT TABLE OUT``. The loop wakes every millisecond, refills the bucket by the time that passed,
and starts a request where the bucket has one; every result is appended by opening the file. The bucket is set far
above what the loop reaches.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys
import time
from pathlib import Path

import aiohttp

PER_MINUTE = 1_000_000
NAP = 0.001


async def main(url: str, in_flight: int, table: Path, out: Path) -> None:
    with open(table, newline="") as file:
        queue = list(csv.DictReader(file))
    queue.reverse()
    bucket, filled, running = float(in_flight), time.monotonic(), 0

    async def create(session: aiohttp.ClientSession, job: dict[str, str]) -> None:
        nonlocal running
        body = {**job, "model_name": "kling-v3", "mode": "pro"}
        async with session.post(f"{url}/kling/v1/videos/image2video", json=body) as response:
            answer = await response.json()
        with open(out, "a") as file:
            file.write(json.dumps([job["id"], answer]) + "\n")
        running -= 1

    headers = {"Authorization": "Bearer key"}
    async with (
        aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as tasks,
    ):
        while queue:
            now = time.monotonic()
            bucket = min(bucket + (now - filled) * PER_MINUTE / 60, in_flight)
            filled = now
            if bucket >= 1 and running < in_flight:
                bucket -= 1
                running += 1
                tasks.create_task(create(session, queue.pop()))
            await asyncio.sleep(NAP)
    sys.stdout.write(f"{len(out.read_text().splitlines())}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])))
