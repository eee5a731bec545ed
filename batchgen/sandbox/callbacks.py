"""Sends a task's callbacks, to the receivers on this machine that were named, and to nobody else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import math
from collections.abc import Callable, Collection
from typing import Any

import aiohttp
from yarl import URL

from batchgen.sandbox.faults import Dice, Fault, Moment
from batchgen.sandbox.guard import Address, receiver
from batchgen.sandbox.tasks import Account, Task

_AT_ONCE = 20
_TIMEOUT = aiohttp.ClientTimeout(total=5)


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
        self._key = base64.b64decode(secret.removeprefix("whsec_")) if secret else None
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
        await self._reach(task, task.processing_from)
        if self._account.now < task.ends:
            await self._report(task)
        await self._reach(task, task.ends)
        await self._report(task)

    async def _reach(self, task: Task, moment: float) -> None:
        """Wait until ``moment`` of the server's clock, or until the task is ended earlier."""
        while self._account.now < min(moment, task.ends):
            left = min(moment, task.ends) - self._account.now
            try:
                await asyncio.wait_for(task.ended.wait(), None if left == math.inf else left)
            except TimeoutError:
                continue

    async def _report(self, task: Task) -> None:
        fault = self._dice.strike(Moment.CALLED)
        document = legacy(self._describe(task))
        copies = {"callback_lost": 0, "callback_twice": 2}.get(fault.name if fault else "", 1)
        for _ in range(copies):
            await self._post(task, document, fault)
        if not copies:  # lost: the journal knows
            self._note("callback", task=task, fault=fault, message=document["task_status"])

    async def _post(self, task: Task, document: dict[str, Any], fault: Fault | None) -> None:
        body = json.dumps(document, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"} | self._signature(
            f"{task.id}-{document['task_status']}", body
        )
        status = None
        async with self._gate:
            self._session = self._session or aiohttp.ClientSession(timeout=_TIMEOUT)
            try:
                request = self._session.post(
                    task.callback_url, data=body, headers=headers, allow_redirects=False
                )
                async with request as response:
                    status = response.status
            except (aiohttp.ClientError, TimeoutError, ValueError):
                pass
        self._note("callback", task=task, status=status, fault=fault, message=document["task_status"])

    def _signature(self, name: str, body: bytes) -> dict[str, str]:
        if self._key is None:
            return {}
        now = str(self._account.milliseconds(self._account.now) // 1000)
        mac = hmac.new(self._key, f"{name}.{now}.".encode() + body, hashlib.sha256).digest()
        return {
            "webhook-id": name,
            "webhook-timestamp": now,
            "webhook-signature": "v1," + base64.b64encode(mac).decode(),
        }


def legacy(data: dict[str, Any]) -> dict[str, Any]:
    """The callback's body in the legacy shape: ``data`` of a query with every field present."""
    return {"final_unit_deduction": "", "task_result": {"videos": []}} | data
