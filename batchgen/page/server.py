"""Serves the page of one ledger to the browsers of this machine: its clips, its changes, and buttons that write verdicts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO, Any

from aiohttp import web

from batchgen import limits
from batchgen.errors import BatchgenError, LedgerBusy, UsageError
from batchgen.escapes import visible
from batchgen.files import open_regular
from batchgen.judgements import Verdict
from batchgen.ledger import orders, verdicts
from batchgen.ledger.orders import Wish
from batchgen.page import gate
from batchgen.page.content import Content
from batchgen.page.render import LivePage, data_json, overview, render
from batchgen.storage.roots import Root

POLL_SECONDS = 0.5  # between looks at the ledger, while a page is open
HEARTBEAT = 15.0  # seconds after which a page that has heard nothing is sent a comment
REST = 4  # times as long as making the page takes, it isn't made again
MAX_BODY = 16 << 20  # bytes of a request: orders for thousands of clips, each with its note
PIECE = 256 << 10
HOLDS_KEY = "the note holds the API key; nothing was written"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """The server. ``by`` is who judges; ``clock`` gives Unix seconds; a note that ``holds_key`` says holds it isn't kept."""

    def __init__(
        self,
        content: Content,
        *,
        by: str,
        clock: Callable[[], float],
        holds_key: Callable[[str], bool] = lambda text: False,
    ) -> None:
        self._holds_key = holds_key
        self.token = secrets.token_urlsafe(32)
        self.port = 0
        self._content, self._by, self._clock = content, by, clock
        self._once: str | None = None
        self._changes = 0
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The page's address, which whoever has it can judge with."""
        return f"http://{gate.ADDRESS}:{self.port}/{self.token}/"

    def url_for_browser(self) -> str:
        """An address that leads to the page once: it stands in the list of processes, which others can read."""
        self._once = secrets.token_urlsafe(32)
        return f"http://{gate.ADDRESS}:{self.port}/open/{self._once}"

    async def start(self, port: int = 0) -> None:
        """Listen on this machine alone; 0 means a free port. Raises UsageError."""
        app = web.Application(middlewares=[self._guarded], client_max_size=MAX_BODY)
        app.router.add_get("/open/{once}", self._open)
        app.router.add_get("/favicon.ico", _nothing)  # which browsers ask every host for
        for path, get in (
            ("", self._page),
            ("data", self._data),
            ("overview", self._overview),
            ("events", self._events),
            (r"clips/{number:\d{1,9}}.mp4", self._clip),
            (r"thumbnails/{name:[0-9a-f]{1,64}\.jpg}", self._thumbnail),
        ):
            app.router.add_get(f"/{{token}}/{path}", get)
        app.router.add_post("/{token}/verdicts", self._judge)
        app.router.add_post("/{token}/orders", self._order)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, gate.ADDRESS, port)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            await self.stop()
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise UsageError(
                f"the page can't be served at port {port}: {why}; another --port may be free"
            ) from None
        self.port = self._runner.addresses[0][1]
        for work in (self._watch(), self._draw()):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Close everything; open pages say that their server has gone."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    # -- who asks ---------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.rel_url.raw_path  # as it came, and as it is routed: %2F is no slash in it
        once = path.startswith("/open/") or path == "/favicon.ico"
        loads = once or path.endswith("/") or "/clips/" in path or "/thumbnails/" in path
        asked = gate.Asked(
            request.method,
            self.token if once else path.split("/")[1],
            {name.lower(): value for name, value in request.headers.items()},
            len(request.headers.getall("Host", [])),
            loads,
        )
        if (refused := gate.refusal(asked, self.port, self.token)) is not None:
            return _answer(*refused)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            return _answer(error.status, error.reason)
        except LedgerBusy as error:
            return _answer(503, str(error))
        except BatchgenError as error:
            return _answer(409, str(error))
        return response

    async def _open(self, request: web.Request) -> web.StreamResponse:
        once, self._once = self._once, None
        if once is None or not secrets.compare_digest(once, request.match_info["once"]):
            return _answer(404, "this address led to the page once; `batchgen review` prints another")
        return web.Response(status=303, headers={**gate.HEADERS, "Location": f"/{self.token}/"})

    # -- what is shown ----------------------------------------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.StreamResponse:
        def made() -> str:
            shown = self._content.show()
            return render(shown.page, shown.files, LivePage(self.token))

        text = await asyncio.to_thread(made)
        headers = {**gate.HEADERS, "Content-Security-Policy": gate.PAGE_POLICY}
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)

    async def _data(self, request: web.Request) -> web.StreamResponse:
        def made() -> str:
            shown = self._content.show()
            return data_json(shown.page, shown.files)

        text = await asyncio.to_thread(made)
        return web.Response(text=text, content_type="application/json", headers=gate.HEADERS)

    async def _overview(self, request: web.Request) -> web.StreamResponse:
        text = await asyncio.to_thread(lambda: overview(self._content.show().page))
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=gate.HEADERS)

    async def _thumbnail(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if not self._content.has_thumbnail(name):
            return _answer(404, "there is no such thumbnail")

        def read() -> bytes:
            path = os.path.join(self._content.folder, name)
            with open(
                path, "rb", opener=lambda path, flags: open_regular(path, flags | os.O_NOFOLLOW)
            ) as file:
                return file.read()

        try:
            data = await asyncio.to_thread(read)
        except OSError:
            return _answer(404, "there is no such thumbnail")
        headers = {
            **gate.HEADERS,
            "Cache-Control": "private, max-age=86400",
        }  # its name is its picture's digest
        return web.Response(body=data, content_type="image/jpeg", headers=headers)

    async def _clip(self, request: web.Request) -> web.StreamResponse:
        record = await asyncio.to_thread(self._content.clip, int(request.match_info["number"]))
        if record is None or record.video_path is None:
            return _answer(404, "there is no such clip")
        folder, name = os.path.split(record.video_path)
        try:
            async with _opened(record.root, folder, name) as file:
                return await _send(request, file, record.video_sha256 or "")
        except OSError as error:
            return _answer(404, f"the clip can't be read: {error.strerror or error}")

    # -- what changes -----------------------------------------------------------------------------------------------

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=gate.HEADERS)
        response.content_type = "text/event-stream"
        await response.prepare(request)
        seen = self._changes
        await response.write(b": open\n\n")
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    seen = await self._news(seen)
                await response.write(b"event: changed\ndata: {}\n\n")
            except TimeoutError:
                await response.write(b": still here\n\n")

    async def _news(self, seen: int) -> int:
        """Wait for changes after the first ``seen`` ones; returns how many there are."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._changes != seen)
            return self._changes

    async def _watch(self) -> None:
        """Tell the open pages when the ledger has changed. Making the page of a large one is left time for."""
        before: object = None
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            with contextlib.suppress(BatchgenError):
                now = await asyncio.to_thread(self._content.version)
                if before is not None and now != before:
                    await asyncio.to_thread(self._content.show)
                    await self._tell()
                before = now
            await asyncio.sleep(max(POLL_SECONDS, REST * (loop.time() - began)))

    async def _draw(self) -> None:
        """Make thumbnails, now and after each change."""
        while True:
            seen = self._changes
            with contextlib.suppress(BatchgenError):
                if await asyncio.to_thread(self._content.make_thumbnails):
                    await self._tell()
                    continue
            await self._news(seen)

    async def _tell(self) -> None:
        async with self._changed:
            self._changes += 1
            self._changed.notify_all()

    # -- what is written --------------------------------------------------------------------------------------------

    async def _judge(self, request: web.Request) -> web.StreamResponse:
        given = await _object(request)
        name, verdict, note = (given.get(key) for key in ("external_task_id", "verdict", "note"))
        good = isinstance(name, str) and verdict in ("keep", "retake", None) and isinstance(note, str | None)
        if not good or len(note or "") > limits.NOTE:
            return _answer(
                400,
                f"that is no verdict: keep, retake or null, with a note of {limits.NOTE:,} characters at most",
            )
        if self._holds_key(note or ""):
            return _answer(400, HOLDS_KEY)
        said = Verdict(str(name), self._clock(), verdict, note or None, self._by)
        await _written(lambda: verdicts.give(self._content.path, [said]))
        return web.json_response({"verdict": verdict}, headers=gate.HEADERS)

    async def _order(self, request: web.Request) -> web.StreamResponse:
        """Order the next take of jobs that are marked: what the next run pays for."""
        given = (await _object(request)).get("jobs")
        if not isinstance(given, list) or not all(_is_job(one) for one in given) or not given:
            return _answer(400, "that is no list of jobs")
        if any(map(self._holds_key, {one.get("note") or "" for one in given})):
            return _answer(400, HOLDS_KEY)
        wishes = [Wish(one["manifest"], one["job_id"], one.get("note") or None) for one in given]
        placed = await _written(
            lambda: orders.order(self._content.path, wishes, at=self._clock(), by=self._by)
        )
        answer = {
            "ordered": [
                {"manifest": one.manifest, "job_id": one.job_id, "take": one.order.take}
                for one in placed
                if one.order
            ],
            "refused": [
                {"manifest": one.manifest, "job_id": one.job_id, "reason": one.why}
                for one in placed
                if not one.order
            ],
        }
        return web.json_response(answer, headers=gate.HEADERS)


async def _nothing(request: web.Request) -> web.StreamResponse:
    return web.Response(status=204, headers=gate.HEADERS)


async def _written(write: Callable[[], Any]) -> Any:
    """What ``write`` returns, once it is on disk; a page that goes away meanwhile doesn't break it off."""
    return await asyncio.shield(asyncio.to_thread(write))


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.read())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise web.HTTPBadRequest(reason="that is no JSON object")
    return found


def _is_job(one: Any) -> bool:
    if not isinstance(one, dict):
        return False
    note = one.get("note")
    return (
        isinstance(one.get("manifest"), str)
        and isinstance(one.get("job_id"), str)
        and isinstance(note, str | None)
        and len(note or "") <= limits.NOTE
    )


def _answer(status: int, reason: str) -> web.Response:
    return web.Response(status=status, text=f"{visible(reason)}\n", headers=gate.HEADERS)


@contextlib.asynccontextmanager
async def _opened(root: str, folder: str, name: str) -> AsyncIterator[IO[bytes]]:
    """A clip below its output folder, through no link. Raises OSError."""

    def opened() -> IO[bytes]:
        with Root(root, hold=False).folder(folder) as there:
            return there.read(name)

    file = await asyncio.to_thread(opened)
    try:
        yield file
    finally:
        file.close()


async def _send(request: web.Request, file: IO[bytes], sha256: str) -> web.StreamResponse:
    """The file, or the range of it that is asked for."""
    size, tag = os.fstat(file.fileno()).st_size, f'"{sha256}"'
    headers = {**gate.HEADERS, "Accept-Ranges": "bytes", "ETag": tag}
    try:
        asked = request.http_range if request.headers.get("If-Range", tag) == tag else slice(None, None)
        start, stop, _ = asked.indices(size)
    except ValueError:
        start, stop = size, size
        asked = slice(start, stop)
    partial = asked.start is not None or asked.stop is not None
    if partial and start >= stop:
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    response = web.StreamResponse(status=206 if partial else 200, headers=headers)
    response.content_type = "video/mp4"
    response.content_length = stop - start
    if partial:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    file.seek(start)
    left = stop - start
    while left:
        piece = await asyncio.to_thread(file.read, min(PIECE, left))
        if not piece:
            break  # it was cut meanwhile; the length that was promised says so
        left -= len(piece)
        await response.write(piece)
    return response
