"""Sends a task's callbacks, to the receivers on this machine that were named, and to nobody else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import math
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from batchgen.sandbox.faults import Dice, Fault, Moment
from batchgen.sandbox.guard import Address, receiver
from batchgen.sandbox.tasks import Account, Task

_AT_ONCE = 20
_TIMEOUT = aiohttp.ClientTimeout(total=5)
LATE = 60.0  # seconds
EXPIRED = 600  # seconds


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: its body, and the fault that it has."""

    document: dict[str, Any]
    fault: Fault | None


class Callbacks:
    """Follows tasks with a ``callback_url``. ``note`` writes a journal entry; errors of the receiver are ignored."""

    def __init__(
        self,
        account: Account,
        dice: Dice,
        note: Callable[..., Any],
        describe: Callable[[Task], dict[str, Any]],
        receivers: Collection[Address] = (),
        secret: str | None = None,
    ) -> None:
        self._account = account
        self._dice = dice
        self._note = note
        self._describe = describe
        self._receivers = receivers
        self._keys = [base64.b64decode(one.removeprefix("whsec_")) for one in (secret or "").split()]
        self._session: aiohttp.ClientSession | None = None
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._followers: set[asyncio.Task[None]] = set()

    def follow(self, task: Task) -> None:
        """Report on ``task`` from now on, if it has a ``callback_url`` and that is one of the named receivers."""
        if task.callback_url and self._is_named(task.callback_url):
            follower = asyncio.create_task(self._follow(task))
            self._followers.add(follower)
            follower.add_done_callback(self._followers.discard)

    def _is_named(self, url: str) -> bool:
        try:
            return receiver(URL(url)) in self._receivers
        except ValueError:
            return False

    async def close(self) -> None:
        for follower in list(self._followers):
            follower.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)
        if self._session:
            await self._session.close()

    async def _follow(self, task: Task) -> None:
        held: list[_Call] = []  # what a fault sends after the next one
        await self._reach(task, task.processing_from)
        if self._account.now < task.ends:
            await self._report(task, held)
        await self._reach(task, task.ends)
        await self._report(task, held)
        for call in held:
            await self._post(task, call)

    async def _reach(self, task: Task, moment: float) -> None:
        """Wait until ``moment`` of the server's clock, or until the task is ended earlier."""
        while self._account.now < min(moment, task.ends):
            left = min(moment, task.ends) - self._account.now
            try:
                await asyncio.wait_for(task.ended.wait(), None if left == math.inf else left)
            except TimeoutError:
                continue

    async def _report(self, task: Task, held: list[_Call]) -> None:
        """Send the call about the task's present status, and what was held back before."""
        fault = self._dice.strike(Moment.CALLED)
        name = fault.name if fault else ""
        document = legacy(self._describe(task))
        if name == "callback_untrue":
            document = {**document, "task_status": "succeed"}
        call, before = _Call(document, fault), list(held)
        held.clear()
        if name == "callback_lost":  # the journal knows
            self._note("callback", task=task, fault=fault, message=document["task_status"])
        elif name == "callback_after_next":
            held.append(call)
        elif name == "callback_late":
            await asyncio.sleep(LATE)
        if name not in ("callback_lost", "callback_after_next"):
            for _ in range(2 if name == "callback_twice" else 1):
                await self._post(task, call)
        for earlier in before:
            await self._post(task, earlier)

    async def _post(self, task: Task, call: _Call) -> None:
        document, name = call.document, call.fault.name if call.fault else ""
        body = json.dumps(document, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"} | self._signatures(
            f"{task.id}-{document['task_status']}", body, name
        )
        data: bytes | AsyncIterator[bytes] = body
        if name == "callback_huge":
            data = _huge()
        elif name == "callback_stall":
            data = _stalling(body)
        status = None
        async with self._gate:
            self._session = self._session or aiohttp.ClientSession(timeout=_TIMEOUT)
            try:
                request = self._session.post(
                    task.callback_url, data=data, headers=headers, allow_redirects=False
                )
                async with request as response:
                    status = response.status
            except (aiohttp.ClientError, TimeoutError, ValueError, ConnectionError):
                pass
        self._note("callback", task=task, status=status, fault=call.fault, message=document["task_status"])

    def _signatures(self, name: str, body: bytes, fault: str) -> dict[str, str]:
        if not self._keys:
            return {}
        at = self._account.milliseconds(self._account.now) // 1000
        now = str(at - EXPIRED if fault == "callback_expired" else at)
        keys = [b"another"] if fault == "callback_forged" else self._keys
        macs = [hmac.new(key, f"{name}.{now}.".encode() + body, hashlib.sha256).digest() for key in keys]
        signed = [f"v1,{base64.b64encode(mac).decode()}" for mac in macs]
        return {"webhook-id": name, "webhook-timestamp": now, "webhook-signature": " ".join(signed)}


async def _huge() -> AsyncIterator[bytes]:
    """A body of a gigabyte, as far as it is taken."""
    for _ in range(1 << 14):
        yield b" " * (1 << 16)


async def _stalling(body: bytes) -> AsyncIterator[bytes]:
    yield body[: len(body) // 2]
    await asyncio.sleep(LATE)
    yield body[len(body) // 2 :]


def legacy(data: dict[str, Any]) -> dict[str, Any]:
    """The callback's body in the legacy shape: ``data`` of a query with every field present."""
    return {"final_unit_deduction": "", "task_result": {"videos": []}} | data
