"""What the counting server takes by itself: requests made beforehand, sent and counted, nothing else.

``flood.py URL CONNECTIONS REQUESTS BYTES [close]``; every connection sends its share one after the other, each request
on a connection of its own where ``close`` is given.
"""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import urlsplit


async def main(url: str, connections: int, requests: int, size: int, close: bool) -> None:
    parts = urlsplit(url)
    body = b"x" * size
    closing = "Connection: close\r\n" if close else ""
    head = (
        f"POST /kling/v1/videos/image2video HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {size}\r\n"
        f"{closing}\r\n"
    ).encode()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(parts.hostname, parts.port)

    async def one(share: int) -> None:
        reader, writer = await connect()
        for number in range(share):
            if close and number:
                writer.close()
                reader, writer = await connect()
            writer.write(head)
            for start in range(0, size, 1 << 18):
                writer.write(body[start : start + (1 << 18)])
                await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            at = answer.lower().index(b"content-length:") + 15
            await reader.readexactly(int(answer[at : answer.index(b"\r\n", at)]))
        writer.close()

    await asyncio.gather(*(one(requests // connections) for _ in range(connections)))


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:] == ["close"])
    )
