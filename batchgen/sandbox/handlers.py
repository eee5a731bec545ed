"""The API's handlers: the order of the decisions about a request, and its journal entry."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from batchgen.sandbox import checks, hosts, video
from batchgen.sandbox.callbacks import Callbacks
from batchgen.sandbox.checks import Order
from batchgen.sandbox.clips import Clips
from batchgen.sandbox.config import Config
from batchgen.sandbox.dialects import DIALECTS
from batchgen.sandbox.envelope import CODES, Document, answer, envelope
from batchgen.sandbox.faults import HOSTS, Dice, Fault, Moment
from batchgen.sandbox.journal import Entry, Journal, Kind
from batchgen.sandbox.replies import Exchange, broken_off
from batchgen.sandbox.tasks import FAILURES, Account, Task

_LARGE = 2**20  # bytes; larger bodies are read on another thread than the event loop's


class Api:
    """One account of the API and its handlers. The server sets ``base_url`` and ``elsewhere``."""

    def __init__(self, config: Config, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self.config = config
        self.account = Account(config, clock, now)
        self.journal = Journal(config.journal)
        self.dice = Dice(config.seed, config.faults)
        self._speak = DIALECTS[config.dialect].speak
        self.base_url = ""
        self.elsewhere = ""
        self.held = 0  # requests that a fault keeps waiting
        self._release = asyncio.Event()
        self._clips = Clips(real=config.real_clips)
        self._readers = ThreadPoolExecutor(2, "sandbox-read")  # few: each holds a whole body, decoded
        self._callbacks = Callbacks(
            self.account, self.dice, self._note, self._describe, config.callbacks, config.webhook_secret
        )

    async def close(self) -> None:
        await self._callbacks.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._clips.close()
        self.journal.close()

    def release(self) -> int:
        """Continue the requests that a fault keeps waiting; returns how many."""
        count, release = self.held, self._release
        self._release = asyncio.Event()
        release.set()
        return count

    async def _hold(self) -> None:
        self.held += 1
        try:
            await self._release.wait()
        finally:
            self.held -= 1

    async def create(self, request: web.Request) -> web.StreamResponse:
        if code := self._unauthorized(request):
            return self.refuse(request, "create", code)
        if fault := self.dice.strike(Moment.ARRIVED):
            self._note("create", request, fault=fault)
            if (response := await self._play(fault, request)) is not None:
                return response
        try:
            body = await request.read()
        except (asyncio.CancelledError, ConnectionError, web.HTTPException):
            self._note("create", request, message="the client hung up before its body was read")
            raise
        if len(body) < _LARGE and not self._clips.real:
            order = checks.read(body)
        else:
            order = await self._read(body)
        del body
        if fault := self.dice.strike(Moment.READ):
            self._note("create", request, order=order, fault=fault)
            if (response := await self._play(fault, request)) is not None:
                return response
        return await self._decide(request, order)

    async def _read(self, body: bytes) -> Order:
        reading = asyncio.get_running_loop().run_in_executor(
            self._readers, checks.read, body, self._clips.keep
        )
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:  # the client disconnected after its whole body had arrived: it counts
            return await reading

    async def _decide(self, request: web.Request, order: Order) -> web.StreamResponse:
        # No await between the look at the slots and the task: two creates never share the last one.
        if request.content_type != "application/json":
            return self.refuse(request, "create", 1200, "Content-Type must be application/json", order)
        if order.refusal:
            return self.refuse(request, "create", order.refusal.code, order.refusal.message, order)
        if self.config.unique and self.account.taken(order.external_task_id):
            return self.refuse(request, "create", 1201, "external_task_id must be unique", order)
        if self.account.full:
            return self.refuse(request, "create", 1303, "", order)
        born = self.dice.strike(Moment.BORN)
        name = born.name if born else ""
        task = self.account.make(
            order,
            failure=FAILURES.get(name, ""),
            endless=name == "task_never_ends",
            host=name if name in HOSTS else "",
        )
        fault = self.dice.strike(Moment.MADE)
        document = envelope(0, "", self.account.created(task), self._request_id)
        if fault is None:
            self._note("create", request, order=order, task=task, code=0, status=200, fault=born)
        else:
            self._note("create", request, order=order, task=task, fault=fault)
        self._callbacks.follow(task)
        if fault and (response := await self._play(fault, request, document)) is not None:
            return response
        return self._answer(request, document)

    async def query(self, request: web.Request) -> web.StreamResponse:
        if code := self._unauthorized(request):
            return self.refuse(request, "query", code)
        task = self.account.find(request.match_info["id"])
        data = self._describe(task) if task else {}
        status = data.get("task_status", "")
        moments = [Moment.ASKED]
        if task:
            moments.append(Moment.FOUND)
            moments += [Moment.MOVED] if status != "submitted" else []
            moments += [Moment.DONE] if status == "succeed" else []
        document = envelope(0, "", data, self._request_id) if task else {}
        if fault := self.dice.strike(*moments):
            self._note("query", request, task=task, fault=fault)
            if (response := await self._play(fault, request, document)) is not None:
                return response
        if task is None:
            return self.refuse(request, "query", 1203)
        if not fault:
            self._note("query", request, task=task, code=0, status=200, message=status)
        return self._answer(request, document)

    async def video(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        task = self.account.task(hosts.task_of(name))
        if task is None or task.status(self.account.now) != "succeed":
            self._note("video", request, status=404)
            return web.Response(status=404, text="no such clip")
        if fault := self.dice.strike(Moment.FETCHED):
            self._note("video", request, task=task, fault=fault)
            content = hosts.content(task, name, await self._clips.of(task))
            played = await self._play(fault, request, content=content)
            if played is not None:
                return played
        return await self._serve_file(request, task, name, kind="video")

    async def other_host(self, request: web.Request) -> web.StreamResponse:
        """Answer a request to the other host, which serves the clips and nothing else."""
        name = request.path.removeprefix("/videos/").removesuffix(".mp4")
        task = self.account.task(hosts.task_of(name)) if request.method == "GET" else None
        if task:
            return await self._serve_file(request, task, name, kind="elsewhere")
        self._note("elsewhere", request, status=403)
        return web.Response(status=403, text="not here")

    async def _serve_file(
        self, request: web.Request, task: Task, name: str, *, kind: Kind
    ) -> web.StreamResponse:
        now = self.account.now  # before the clip is encoded: an address is valid when it is asked for
        response, breaks = hosts.serve(
            task,
            name,
            request,
            now,
            clip=await self._clips.of(task),
            elsewhere=self.elsewhere if kind == "video" else "",
            authorized=not self._unauthorized(request),
        )
        self._note(kind, request, task=task, status=response.status)
        return response if breaks is None else await broken_off(request, response, breaks)

    def _files(self, task: Task) -> tuple[str, ...]:
        """The digests of those of a task's files that the dialect's answers name; none where they aren't encoded yet."""
        if self._clips.real:
            return ()
        names = hosts.files(task)[: None if self.config.dialect == "vendor" else 1]
        return tuple(hashlib.sha256(hosts.content(task, name, video.CLIP)).hexdigest() for name in names)

    def _describe(self, task: Task) -> Document:
        data = self.account.described(task)
        if data["task_status"] == "succeed":
            data["task_result"] = {"videos": hosts.videos(task, self.base_url, self.account.now)}
        return data

    def _unauthorized(self, request: web.Request) -> int:
        """The code that the Authorization header is refused with; 0 where it is accepted."""
        header = request.headers.get("Authorization", "")
        scheme, _, key = header.partition(" ")
        if not header:
            return 1001
        if scheme.lower() != "bearer" or not key.strip():
            return 1002
        wanted = self.config.key
        return 0 if wanted is None or hmac.compare_digest(key.encode(), wanted.encode()) else 1000

    def reject(self, request: web.Request, status: int, reason: str) -> web.Response:
        """Answer a request that isn't meant for the API, with the connection closed."""
        self._note("other", request, status=status, message=reason)
        return web.json_response({"problem": reason}, status=status, headers={"Connection": "close"})

    def refuse(
        self,
        request: web.Request,
        kind: Kind,
        code: int,
        message: str = "",
        order: Order | None = None,
    ) -> web.Response:
        status, text = CODES[code]
        document = envelope(code, message or text, None, self._request_id)
        self._note(kind, request, order=order, code=code, status=status, message=message or text)
        return self._answer(request, document, status)

    def _answer(self, request: web.Request, document: Document, status: int = 200) -> web.Response:
        """What the vendor would answer, in the dialect of the settings."""
        return answer(*self._speak(document, status, request.method == "GET"))

    async def _play(
        self, fault: Fault, request: web.Request, document: Document | None = None, content: bytes = b""
    ) -> web.StreamResponse | None:
        if fault.reply is None:
            return None
        document = document or {"request_id": f"sandbox-{len(self.journal)}"}
        return await fault.reply.send(
            Exchange(request, self.elsewhere, self.config.drip, self._hold, document, content, self._speak)
        )

    @property
    def _request_id(self) -> str:
        """The request id for the journal entry that is written next."""
        return f"sandbox-{len(self.journal) + 1}"

    def _note(
        self,
        kind: Kind,
        request: web.Request | None = None,
        *,
        order: Order | None = None,
        task: Task | None = None,
        fault: Fault | None = None,
        code: int | None = None,
        status: int | None = None,
        message: str = "",
    ) -> None:
        if fault and fault.reply:
            code, status = fault.reply.code, fault.reply.status
        order = order or Order()
        accepted = kind == "create" and task is not None
        self.journal.add(
            Entry(
                seq=len(self.journal) + 1,
                at=round(self.account.now - self.account.started, 6),
                kind=kind,
                method=request.method if request else "POST",
                path=request.path if request else task.callback_url if task else "",
                external_task_id=task.external_task_id if task else order.external_task_id,
                task_id=task.id if task else None,
                accepted=accepted,
                code=code,
                status=status,
                fault=fault.name if fault else None,
                message=message,
                running=self.account.running,
                content_length=request.content_length if request else None,
                images={
                    where: {"sha256": one.sha256, "size": one.size} for where, one in order.pictures.items()
                },
                fields=order.fields,
                ignored=order.ignored,
                authorized="Authorization" in request.headers if request else False,
                clips=self._files(task) if accepted and task else (),
            )
        )
