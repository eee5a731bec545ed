"""Receives the API's callbacks: a small server that takes little of anybody, and believes nobody.

Whoever finds its address can send anything to it, as often and as slowly as they like. So a request is judged by its path
before its body is read, no more than ``LONGEST_BODY`` bytes of a body and ``LONGEST_SECONDS`` are taken, and so many
connections are kept; another one ends the oldest. What comes through is a hint to query a task (:mod:`batchgen.run.hints`).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from batchgen.api import codes, task_shapes
from batchgen.errors import UsageError

LONGEST_BODY = 64 << 10  # bytes; one with several signed addresses of clips has a few thousand
LONGEST_SECONDS = 10.0  # for the whole body
CONNECTIONS = 64  # at once; each takes up to some 100 KiB
BACKLOG = 256  # connections that the system keeps for the server
LONGEST_NAME = 300  # characters of an id

# What anybody sends to a public address is no error, and no reason for a mail: aiohttp logs each with its traceback.
_MUTE = logging.getLogger("batchgen.callbacks")
_MUTE.disabled = True

Hear = Callable[[tuple[str, ...], bool], object]
#: Whether a body is signed, by its headers in lower case.
Verify = Callable[[bytes, Mapping[str, str]], bool]
_RUNNING = ("submitted", "processing")


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may call: by a secret at the end of the path, or, with ``verify``, by a signature, whatever the path."""

    secret: str
    verify: Verify | None = None

    def refuses(self, path: str, headers: Mapping[str, str]) -> int | None:
        """The HTTP status that a request is refused with before its body is read; None where it may be read."""
        if self.verify is not None:
            return None if "webhook-signature" in headers else 401
        last = path.rstrip("/").rpartition("/")[2]
        return None if hmac.compare_digest(last.encode(), self.secret.encode()) else 404


class Receiver:
    """The server. ``hear`` gets the names of each call's task, and whether the call doesn't say that it still runs."""

    def __init__(self, gate: Gate, hear: Hear) -> None:
        self.counts: Counter[int] = Counter()  # requests by the HTTP status of their answers
        self.strange = 0  # calls that named no task: test calls
        self._gate, self._hear = gate, hear
        self._http: web.Server | None = None
        self._server: asyncio.Server | None = None

    async def start(self, link: socket.socket) -> None:
        """Serve on a bound socket, which is closed with the server."""
        self._http = web.Server(
            self._answer,
            access_log=None,
            logger=_MUTE,
            lingering_time=0.0,  # what isn't read is not waited for either
            keepalive_timeout=15.0,
            auto_decompress=False,  # no call is packed
            read_bufsize=LONGEST_BODY,
        )
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=link, backlog=BACKLOG)

    async def stop(self) -> None:
        if self._server is not None and self._http is not None:
            self._server.close()
            await self._http.shutdown(0.1)
            self._server = None

    @property
    def heard(self) -> int:
        """Calls that came through."""
        return self.counts[200]

    @property
    def refused(self) -> int:
        """Requests that didn't."""
        return self.counts.total() - self.heard

    def _accept(self) -> asyncio.BaseProtocol:
        assert self._http is not None
        for oldest in self._http.connections[: -CONNECTIONS + 1]:
            oldest.force_close()
        return self._http()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        status = await self._judge(request)
        self.counts[status] += 1
        response = web.Response(
            status=status, text="{}" if status == 200 else "", content_type="application/json"
        )
        if status != 200:
            response.force_close()
        return response

    async def _judge(self, request: web.BaseRequest) -> int:
        """The HTTP status that a request is answered with; a call that comes through is heard."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        refused = self._gate.refuses(request.rel_url.raw_path, headers)
        if refused is not None:
            return refused
        if request.method != "POST":
            return 405
        if (request.content_length or 0) > LONGEST_BODY:
            return 413
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                body = await _body(request)
        except TimeoutError:
            return 408
        except (OSError, aiohttp.ClientError, web.RequestPayloadError):  # it went away
            return 400
        if body is None:
            return 413
        if self._gate.verify is not None and not self._gate.verify(body, headers):
            return 401
        return self._take(body)

    def _take(self, body: bytes) -> int:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return 400
        if not isinstance(document, dict):
            return 400
        task = task_shapes.task_in(document)
        names = tuple(_names(task))
        self.strange += not names
        if names:
            status = codes.STATUS_WORDS.get(codes.word(task_shapes.status_of(task)))
            self._hear(names, status not in _RUNNING)
        return 200


async def _body(request: web.BaseRequest) -> bytes | None:
    """The body; None where it is longer than any call's."""
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > LONGEST_BODY:
            return None
    return bytes(body)


def _names(task: Mapping[str, Any]) -> Iterator[str]:
    """The ids that a call has for its task: the API's, and ours. A gateway may pass on a call with another's id of its own."""
    yield from task_shapes.ids_of(task)
    external = task_shapes.external_id(task)
    if external is not None and len(external) <= LONGEST_NAME:
        yield external


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens nowhere yet, bound to an address of this machine; port 0 is a free one. Raises UsageError."""
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"{shown} is no address of this machine: {getattr(error, 'strerror', error)}"
        ) from None
    family, kind, protocol, _, address = found[0]
    link = socket.socket(family, kind, protocol)
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        link.bind(address)
        link.setblocking(False)
    except OSError as error:
        link.close()
        raise UsageError(f"callbacks can't be received at {shown}: {os.strerror(error.errno or 0)}") from None
    return link
