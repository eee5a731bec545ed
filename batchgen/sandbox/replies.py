"""Ways to answer a request, right and wrong. Each happens on the wire: a reset is a reset, an early answer is early."""

from __future__ import annotations

import asyncio
import copy
import re
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from batchgen.sandbox.dialects import DIALECTS, Speak
from batchgen.sandbox.envelope import CODES, Document, answer, envelope

_PAGE = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body><center><h1>{0}</h1></center></body>\r\n</html>\r\n"
)
_CHUNK = b" " * 65536
_BOMB = 64  # MiB once unpacked
_LINGER = 0.2  # seconds that a connection stays open so that an early answer can be read


@dataclass(slots=True)
class Exchange:
    """A request that gets an unusual answer.

    ``document`` is the right answer, or one without ``data`` where nothing was made; ``content`` is a video's bytes.
    ``elsewhere`` is the base URL of another host; ``drip`` is in seconds per byte; ``hold`` waits for a release.
    """

    request: web.Request
    elsewhere: str
    drip: float
    hold: Callable[[], Awaitable[None]]
    document: Document = field(default_factory=dict)
    content: bytes = b""
    speak: Speak = DIALECTS["vendor"].speak

    def answer(self, document: Document, status: int = 200, **headers: str) -> web.Response:
        """The vendor's answer in the current dialect."""
        translated, http = self.speak(document, status, self.request.method == "GET")
        return answer(translated, http, **headers)


Send = Callable[[Exchange], Awaitable[web.StreamResponse | None]]  # None: go on as if nothing had happened


@dataclass(frozen=True, slots=True)
class Reply:
    """A way to answer, with the HTTP status and code for the journal; None where none is sent."""

    send: Send
    status: int | None = None
    code: int | None = None


def coded(code: int, *, status: int | None = None, message: str = "", **headers: str) -> Reply:
    """A refusal by code; ``status`` where a gateway changed it."""
    http = status if status is not None else CODES[code][0]

    async def send(x: Exchange) -> web.StreamResponse:
        return x.answer(envelope(code, message, None, x.document.get("request_id", "")), http, **headers)

    return Reply(send, http, code)


def gateway(status: int, kind: str, message: str) -> Reply:
    """A gateway's own error shape."""

    async def send(x: Exchange) -> web.StreamResponse:
        return answer({"error": {"message": message, "type": kind, "code": kind}}, status)

    return Reply(send, status)


def html(status: int, title: str) -> Reply:
    async def send(x: Exchange) -> web.StreamResponse:
        return web.Response(text=_PAGE.format(title), status=status, content_type="text/html")

    return Reply(send, status)


def altered(change: Callable[[Document], Document], code: int | None = 0) -> Reply:
    """The right answer with a changed document."""

    async def send(x: Exchange) -> web.StreamResponse:
        return x.answer(change(copy.deepcopy(x.document)))

    return Reply(send, 200, code)


def rewritten(change: Callable[[bytes], bytes]) -> Reply:
    """The right answer with changed bytes."""

    async def send(x: Exchange) -> web.StreamResponse:
        honest = x.answer(x.document).body
        assert isinstance(honest, bytes)
        return web.Response(body=change(honest), content_type="application/json", charset="utf-8")

    return Reply(send, 200)


def redirect(status: int) -> Reply:
    """A redirect to the same path on another host."""

    async def send(x: Exchange) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": x.elsewhere + x.request.raw_path})

    return Reply(send, status)


def _disconnect(request: web.Request, *, hard: bool) -> None:
    if request.transport is None:
        return
    if hard:  # no linger: the other side gets a RST instead of a FIN
        link = request.transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    else:
        request.transport.close()


async def _reset(x: Exchange) -> web.StreamResponse:
    _disconnect(x.request, hard=True)
    return web.Response()


async def _close(x: Exchange) -> web.StreamResponse:
    _disconnect(x.request, hard=False)
    return web.Response()


async def _stall(x: Exchange) -> None:
    await x.hold()


async def _half(x: Exchange) -> web.StreamResponse:
    body = x.content or x.answer(x.document).body
    assert isinstance(body, bytes)
    return await _begin(x, body, end=_end_close)


async def _end_close(x: Exchange) -> None:
    _disconnect(x.request, hard=False)


async def _end_reset(x: Exchange) -> None:
    await asyncio.sleep(0)
    _disconnect(x.request, hard=True)


async def _begin(x: Exchange, body: bytes, end: Callable[[Exchange], Awaitable[None]]) -> web.StreamResponse:
    """Send the headers for all of ``body`` and half of it, then ``end``."""
    response = web.StreamResponse()
    response.content_type = "video/mp4" if x.content else "application/json"
    response.content_length = len(body)
    await response.prepare(x.request)
    await response.write(body[: len(body) // 2])
    await end(x)
    return response


async def broken_off(request: web.Request, whole: web.Response, count: int) -> web.StreamResponse:
    """Send an answer's headers and the first ``count`` bytes of its body, then close the connection."""
    assert isinstance(whole.body, bytes)
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    response.content_length = len(whole.body)
    await response.prepare(request)
    await response.write(whole.body[:count])
    _disconnect(request, hard=False)
    return response


async def _slow(x: Exchange) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "application/json"
    body = x.answer(x.document).body
    assert isinstance(body, bytes)
    response.content_length = len(body)
    await response.prepare(x.request)
    for place in range(len(body)):
        await response.write(body[place : place + 1])
        await asyncio.sleep(x.drip)
    return response


async def _endless(x: Exchange) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "video/mp4" if x.content else "application/json"
    await response.prepare(x.request)
    await response.write(x.content)
    while True:  # until the other side hangs up, which cancels this
        await response.write(_CHUNK)


async def _bomb(x: Exchange) -> web.StreamResponse:
    honest = x.answer(x.document).body
    assert isinstance(honest, bytes)

    def pack() -> bytes:
        packer = zlib.compressobj(1, wbits=31)
        space = b" " * 2**20
        return (
            b"".join(packer.compress(space) for _ in range(_BOMB)) + packer.compress(honest) + packer.flush()
        )

    body = await asyncio.to_thread(pack)
    return web.Response(
        body=body, content_type="application/json", charset="utf-8", headers={"Content-Encoding": "gzip"}
    )


def early(status: int, message: str) -> Reply:
    """An answer before the body was read; then the connection is reset, whatever is still being sent."""

    async def send(x: Exchange) -> web.StreamResponse:
        response = web.Response(status=status, text=message)
        response.force_close()
        await response.prepare(x.request)
        await response.write_eof()
        await asyncio.sleep(_LINGER)
        _disconnect(x.request, hard=True)
        return response

    return Reply(send, status)


async def _half_then_hold(x: Exchange) -> web.StreamResponse:
    return await _begin(x, x.content, end=lambda x: x.hold())


async def _half_then_reset(x: Exchange) -> web.StreamResponse:
    return await _begin(x, x.content, end=_end_reset)


async def _moved_clip(x: Exchange) -> web.StreamResponse:
    document = copy.deepcopy(x.document)
    for video in document["data"]["task_result"]["videos"]:
        for name in {"url", "watermark_url"} & video.keys():
            if video[name]:
                target = re.sub(r"^(https?:)?//[^/]*/|^/", "", video[name].strip())
                video[name] = f"{x.elsewhere}/{target}"
    return x.answer(document)


def content(change: Callable[[bytes], bytes]) -> Reply:
    """A complete answer with other bytes than the video's."""

    async def send(x: Exchange) -> web.StreamResponse:
        return web.Response(body=change(x.content), content_type="video/mp4")

    return Reply(send, 200)


RESET = Reply(_reset)
CLOSE = Reply(_close)
STALL = Reply(_stall)
HALF = Reply(_half, 200)
SLOW = Reply(_slow, 200, 0)
ENDLESS = Reply(_endless, 200)
BOMB = Reply(_bomb, 200, 0)
HALF_THEN_HOLD = Reply(_half_then_hold, 200)
HALF_THEN_RESET = Reply(_half_then_reset, 200)
MOVED_CLIP = Reply(_moved_clip, 200, 0)
