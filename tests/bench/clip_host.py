"""A host of clips: every path is a clip of so many bytes, at so many bytes a second for each connection.

``python -m tests.bench.clip_host BYTES [BYTES_PER_SECOND [DELAY]]`` prints its address and serves until it is killed.
``DELAY`` is in seconds, the time that a request takes to get here and its answer to get back, and that a connection
takes to open. A speed of 0 is as fast as it goes. It takes no more from a connection than one request at a time.
"""

from __future__ import annotations

import asyncio
import sys

from batchgen.sandbox.video import clip

TICK = 0.02  # seconds between the pieces of a clip that comes slowly


def body(size: int) -> bytes:
    """A playable clip of ``size`` bytes."""
    start = clip("bench")
    return start + (size - len(start)).to_bytes(4, "big") + b"free" + bytes(size - len(start) - 8)


class Host:
    """Serves one clip under all names."""

    def __init__(self, size: int, rate: float = 0.0, delay: float = 0.0) -> None:
        self._rate, self._delay = rate, delay
        head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {size}\r\n\r\n"
        self._answer = memoryview(head.encode() + body(size))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the other side hangs up."""
        await asyncio.sleep(self._delay)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(self._delay)
                await self._send(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        answer = self._answer
        if not self._rate:
            writer.write(answer)
            await writer.drain()
            return
        now = asyncio.get_running_loop().time
        began, sent = now(), 0
        while sent < len(answer):
            due = min(int((now() - began + TICK) * self._rate), len(answer))
            writer.write(answer[sent:due])
            sent = due
            await writer.drain()
            await asyncio.sleep(TICK)


async def main(size: str, rate: str = "0", delay: str = "0") -> None:
    host = Host(int(size), float(rate), float(delay))
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, backlog=1024)
    name, port = server.sockets[0].getsockname()
    sys.stdout.write(f"http://{name}:{port}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
