"""Baseline (a): a plain aiohttp loop with ``json=`` and ``b64encode``, and no record at all.

``plain.py URL IN_FLIGHT TABLE|FOLDER [alone|asking]``; prints how many task ids came back. ``alone`` gives each create
a connection of its own, as batchgen does, and ``asking`` asks for the job's id before it as well, as batchgen does on a
manifest's first night: what that costs by itself.
"""

from __future__ import annotations

import asyncio
import base64
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp


def jobs(source: Path) -> Iterator[dict[str, Any]]:
    if source.is_dir():
        for path in sorted(source.iterdir()):
            yield {"image": path, "prompt": f"{path.stem}: slow camera push-in, gentle parallax"}
    else:
        with open(source, newline="") as file:
            yield from csv.DictReader(file)


async def main(url: str, in_flight: int, source: Path, care: str) -> None:
    slots = asyncio.Semaphore(in_flight)
    task_ids: list[str] = []
    address = f"{url}/kling/v1/videos/image2video"

    async def create(session: aiohttp.ClientSession, job: dict[str, Any]) -> None:
        async with slots:
            body = {**job, "model_name": "kling-v3", "mode": "pro"}
            if isinstance(job["image"], Path):
                body["image"] = base64.b64encode(job["image"].read_bytes()).decode()
            if care == "asking":
                async with asking.get(f"{address}/night.{job['id']}") as response:
                    await response.json()
            async with session.post(address, json=body) as response:
                answer = await response.json()
                task_ids.append(answer["data"]["task_id"])

    headers = {"Authorization": "Bearer key"}
    async with (
        aiohttp.ClientSession(
            headers=headers, connector=aiohttp.TCPConnector(limit=0, force_close=bool(care))
        ) as session,
        aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as asking,
    ):
        await asyncio.gather(*(create(session, job) for job in jobs(source)))
    sys.stdout.write(f"{len(task_ids)}\n")


if __name__ == "__main__":
    care = sys.argv[4] if len(sys.argv) > 4 else ""
    assert care in ("", "alone", "asking"), care
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), care))
