"""The sandbox's server: start, stop, and the controls in between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from batchgen.sandbox import admin, faults, guard
from batchgen.sandbox.config import Config
from batchgen.sandbox.handlers import Api

CALL = "/kling/v1/videos/image2video"
MAX_BODY = 256 * 2**20  # nine images of 10 MB in Base64, and then some
UNREAD = 1 << 18  # bytes of a body that the system takes before it is read
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sandbox:
    """One account of the API, served on ``start``. Use it as ``async with Sandbox(config) as sandbox``.

    ``journal`` is the truth about what was made. ``elsewhere`` is the base URL of another host (another port)
    that faults point to: it serves clips, and its journal entries show what a client sends along.
    ``clock`` drives the tasks, in seconds, and ``now`` gives the Unix time at its start; callbacks wait by the event
    loop's clock.
    """

    def __init__(
        self,
        config: Config | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.config = config or Config()
        self._api = Api(self.config, clock, now)
        self._runner: web.AppRunner | None = None
        self._host = ""
        self.account = self._api.account
        self.journal = self._api.journal

    @property
    def base_url(self) -> str:
        return self._api.base_url

    @property
    def elsewhere(self) -> str:
        return self._api.elsewhere

    @property
    def held(self) -> int:
        """Requests that a fault keeps waiting."""
        return self._api.held

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve on ``host``; port 0 takes a free one. Returns the base URL."""
        api, self._host = self._api, host
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._dispatch])
        app.add_routes(
            [
                web.post(CALL, api.create),
                web.get(CALL + "/{id}", api.query, allow_head=False),
                web.get("/videos/{name}.mp4", api.video),
                *admin.routes(api),
            ]
        )
        # Handlers are cancelled: a client that hangs up ends its stall; what was made stays made.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        api.base_url = await self._listen(self._runner, host, port)
        api.elsewhere = await self._listen(self._runner, host, 0)
        return api.base_url

    @staticmethod
    async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
        ipv6 = ":" in host
        link = socket.create_server((host, port), family=socket.AF_INET6 if ipv6 else socket.AF_INET)
        # Unread bytes must stay with the client: by default, the kernel buffers megabytes for a server that stalls.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD)
        await web.SockSite(runner, link, backlog=1024).start()
        return f"http://{f'[{host}]' if ipv6 else host}:{link.getsockname()[1]}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None
        await self._api.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def add_fault(self, rule: str) -> None:
        """Play one more fault, written as on the command line; raises ValueError."""
        self._api.dice.add(faults.parse(rule))

    def clear_faults(self) -> None:
        self._api.dice.clear()

    def release(self) -> int:
        """Continue the requests that a fault keeps waiting; returns how many."""
        return self._api.release()

    @contextlib.asynccontextmanager
    async def _latency(self) -> AsyncIterator[None]:
        """Take a request's time to arrive, and its answer's."""
        if self.config.latency:
            await asyncio.sleep(self.config.latency)
        yield
        if self.config.latency:
            await asyncio.sleep(self.config.latency)

    @web.middleware
    async def _dispatch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Reject foreign requests, pass on those for the other host, and refuse those without a route as the API does."""
        if reason := guard.refusal(request, self._host):
            return self._api.reject(request, *reason)
        link = request.get_extra_info("sockname")
        try:
            if link and self.elsewhere.endswith(f":{link[1]}"):
                return await self._api.other_host(request)
            async with self._latency():
                return await handler(request)
        except web.HTTPMethodNotAllowed:
            return self._api.refuse(request, "other", 1202)
        except web.HTTPNotFound:
            return self._api.refuse(request, "other", 1202 if request.path.rstrip("/") == CALL else 1203)
        except ConnectionError:  # the client hung up during the answer
            return web.Response()
