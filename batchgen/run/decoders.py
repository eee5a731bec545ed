"""Processes that decode pictures, beside the loop. They are few, hold little, may take so long, and don't have the key."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

WORKERS: Final = max(min(os.cpu_count() or 1, 4), 1)
SECONDS: Final = 120.0  # for one picture; those of the largest sources take a few
_MESSAGE: Final = 1 << 16  # bytes of an answer
# What a decoder's process needs of the environment. The key isn't in it.
_ENVIRONMENT: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE"),
)


class Decoders:
    """Up to ``workers`` processes, started as they are needed. ``seconds`` is how long one picture may take."""

    def __init__(self, workers: int = WORKERS, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._free = asyncio.Semaphore(workers)
        self._idle: list[asyncio.subprocess.Process] = []

    async def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """What a process answers to an order (:mod:`batchgen.images.worker`); one that doesn't is killed: an ``error``."""
        async with self._free:
            return await self._answer(order)

    async def close(self) -> None:
        """End the processes."""
        for process in self._idle:
            await _end(process)
        self._idle.clear()

    async def _answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        process = self._idle.pop() if self._idle else await _start()
        assert process.stdin is not None and process.stdout is not None
        good = False
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            async with asyncio.timeout(self.seconds):
                await process.stdin.drain()
                line = await process.stdout.readline()
            answer = json.loads(line)
            good = True
        except TimeoutError:
            return {"error": f"its decoder took longer than {self.seconds:g} s, and was killed"}
        except (ValueError, OSError):  # it died over it
            return {"error": "its decoder crashed over it, or was killed; is it damaged, or is memory short?"}
        else:
            return dict(answer)
        finally:
            if good:
                self._idle.append(process)
            else:
                await _end(process)


async def _start() -> asyncio.subprocess.Process:
    """A process that decodes pictures; signals to the run's group don't reach it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "batchgen.images.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        start_new_session=True,
        limit=_MESSAGE,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
