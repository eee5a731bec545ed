"""A night beside a flood of callbacks: its length, memory, processor time and queries, with the flood and without it.

``python -m tests.bench.flood [CALLS]`` runs 1,000 jobs twice against a sandbox that calls back, once quietly, and once beside
CALLS (10,000) calls in ten seconds: a third of them at a wrong path, a third about tasks that nobody knows, and a third of
the ends of tasks that are running or have ended. The jobs are many and short, so that the flood lies within them.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import aiohttp

from tests.support.program import Desk, sandbox

JOBS, SLOTS, SECONDS = 1000, 50, 10.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as link:
        return int(link.getsockname()[1])


async def flood(address: str, tasks: Sequence[str], calls: int) -> float:
    """Send the calls, spread over ten seconds. Returns the seconds that it took."""
    began = time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=50)) as client:

        async def send(number: int) -> None:
            known = tasks[number % len(tasks)]
            url = f"{address.rpartition('/')[0]}/wrong" if number % 3 == 0 else address
            body = {"task_id": known if number % 3 == 1 else f"x{number}", "task_status": "succeed"}
            try:
                async with client.post(url, json=body):
                    pass
            except aiohttp.ClientError:
                pass

        for tenth in range(100):
            await asyncio.gather(*(send(tenth * calls // 100 + one) for one in range(calls // 100)))
            await asyncio.sleep(max(0.0, began + (tenth + 1) * SECONDS / 100 - time.monotonic()))
    return time.monotonic() - began


def flooded(address: str, tasks: Sequence[str], calls: int) -> float:
    return asyncio.run(flood(address, tasks, calls))


def night(calls: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        desk = Desk(folder)
        jobs = [
            {"id": f"j{n}", "prompt": f"x {n}", "image": "https://example.com/a.png"} for n in range(JOBS)
        ]
        manifest = {"version": 1, "name": "m", "defaults": {"model_name": "kling-v3"}, "jobs": jobs}
        desk.write("m.yaml", json.dumps(manifest))
        options = ["--slots", str(SLOTS), "--task-seconds", "1-2", "--callbacks", f"127.0.0.1:{port}"]
        with sandbox(folder, *options) as server:
            desk.against(server)
            public = f"http://127.0.0.1:{port}"
            began = time.monotonic()
            process = subprocess.Popen(
                [
                    *desk.program,
                    "run",
                    "--listen",
                    f"127.0.0.1:{port}",
                    "--public-url",
                    public,
                    "--max-running",
                    str(SLOTS),
                    "--log-file",
                    "log",
                    "m.yaml",
                ],
                cwd=folder,
                env=desk.env,
            )
            took = 0.0
            if calls:
                while len(server.accepted()) < 2 * SLOTS:
                    time.sleep(0.1)
                address = next(one.fields["callback_url"] for one in server.entries() if one.accepted)
                with ProcessPoolExecutor(1, get_context("spawn")) as other:  # than the sandbox's process
                    took = other.submit(flooded, address, list(server.accepted()), calls).result()
            _, status, used = os.wait4(process.pid, 0)
            passed = time.monotonic() - began
            ids = set(server.accepted())
            asked = sum(
                one.kind == "query" and one.path.rpartition("/")[2] in ids for one in server.entries()
            )
            heard = [line for line in (folder / "log").read_text().splitlines() if "callbacks:" in line]
            assert os.waitstatus_to_exitcode(status) == 0 and len(ids) == JOBS
            sys.stdout.write(f"{heard[-1].partition('callbacks:')[2].strip()}; the flood took {took:.1f} s\n")
            return {
                "seconds": passed,
                "MiB": used.ru_maxrss / 1024,
                "CPU seconds": used.ru_utime + used.ru_stime,
                "queries a task": asked / JOBS,
            }


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    quiet, loud = night(0), night(many)
    for figure in quiet:
        sys.stdout.write(f"{figure:>15}: {quiet[figure]:8.2f} without, {loud[figure]:8.2f} with\n")
