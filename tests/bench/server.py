"""An API that only counts: it reads requests, keeps nothing of them, and gives every create a task id.

``python -m tests.bench.server`` prints its address and serves until it is killed. Bodies go through one buffer
and are counted by the size that their header states, so that the server is never what is measured; the
row "the server alone" says what it takes. Queries answer that the task still runs,
or that there is none of this id where it isn't one of ours. ``GET /count`` tells the requests
and bytes so far.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request

BUFFER = 1 << 20  # bytes
LARGEST_HEAD = 1 << 16  # bytes
TEMPLATE = (
    b'{"code":0,"message":"ok","request_id":"bench","data":{"task_id":"%s","task_status":"%s",'
    b'"created_at":%d,"updated_at":%d}}'
)
UNKNOWN = b'{"code":1203,"message":"no such task","request_id":"bench"}'


class Counting(asyncio.BufferedProtocol):
    """One connection. All share one buffer: what arrives is dealt with before anything else can."""

    creates = queries = received = 0
    view = memoryview(bytearray(BUFFER))

    def __init__(self) -> None:
        self._head = b""  # of a request, while it is incomplete
        self._left = 0  # bytes of a body that are still to come
        self._answer = b""
        self._close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        Counting.received += nbytes
        if self._left > nbytes:
            self._left -= nbytes
            return
        rest = bytes(self.view[self._left : nbytes])
        if self._left:
            self._left = 0
            self._reply()
        if rest:
            self._read(self._head + rest)

    def _read(self, data: bytes) -> None:
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > LARGEST_HEAD:
                    self._transport.close()
                break
            self._request(data[:end])
            here = len(data) - end
            if self._left > here:
                self._left -= here
                self._head = b""
                return
            data = data[end + self._left :]
            self._left = 0
            self._reply()
        self._head = data

    def _request(self, head: bytes) -> None:
        lower = head.lower()
        at = lower.find(b"content-length:")
        self._left = int(lower[at + 15 : lower.index(b"\r\n", at)]) if at > 0 else 0
        self._close = b"connection: close" in lower
        now = int(time.time() * 1000)
        if head.startswith(b"POST"):
            Counting.creates += 1
            self._answer = TEMPLATE % (b"task-%d" % Counting.creates, b"submitted", now, now)
            if b"100-continue" in lower:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif head.startswith(b"GET /count"):
            counts = {"creates": Counting.creates, "queries": Counting.queries, "bytes": Counting.received}
            self._answer = json.dumps(counts).encode()
        else:
            Counting.queries += 1
            asked = head[: head.index(b" HTTP/")].rpartition(b"/")[2]
            known = asked.startswith(b"task-")
            self._answer = TEMPLATE % (asked, b"processing", now, now) if known else UNKNOWN

    def _reply(self) -> None:
        connection = b"close" if self._close else b"keep-alive"
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s"
            % (len(self._answer), connection, self._answer)
        )
        if self._close:
            self._transport.close()


def count(url: str) -> dict[str, int]:
    """What a server has counted so far."""
    with urllib.request.urlopen(f"{url}/count", timeout=30) as answer:
        counts: dict[str, int] = json.load(answer)
        return counts


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Counting, "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
