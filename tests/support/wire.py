"""A server that sends exactly the bytes that a test gives it, also those that no HTTP library would send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.support.program import ENDS, loop_in_thread

PATH = "/kling/v1/videos/image2video"


@dataclass(frozen=True)
class Heard:
    """One request: method and path of its first line, headers by lower-case name, body."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def head(reader: asyncio.StreamReader) -> Heard:
    """Read a request up to its body, which isn't read."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return Heard(method, path, {name.lower(): value.strip() for name, _, value in pairs}, b"")


async def request(reader: asyncio.StreamReader) -> Heard:
    """Read a whole request. Raises IncompleteReadError where it ends early."""
    heard = await head(reader)
    body = await reader.readexactly(int(heard.headers.get("content-length", "0")))
    return Heard(heard.method, heard.path, heard.headers, body)


def answer(body: bytes | object, status: int = 200, **headers: str) -> bytes:
    """A well-formed answer; a body that isn't bytes is sent as JSON. Header names have _ for -."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def made(task_id: str, **data: object) -> bytes:
    """The answer to a create that made a task, or to a query of it."""
    values = {"task_id": task_id, "task_status": "submitted", **data}
    return answer({"code": 0, "message": "SUCCEED", "request_id": "r1", "data": values})


def saying(said: bytes, *, hang_up: bool = True) -> Play:
    """Read a whole request, send these bytes, then close the connection or keep it open."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(said)
        await writer.drain()
        if not hang_up:
            await asyncio.sleep(ENDS)

    return play


def flooding(start: bytes, piece: bytes) -> Play:
    """Read a whole request, then send bytes without end."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()

    return play


@contextlib.asynccontextmanager
async def wire(play: Play, link: socket.socket | None = None) -> AsyncIterator[str]:
    """Serve, on ``link`` where it is given; ``play`` gets every connection. Yields the base URL."""
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await play(reader, writer)
            writer.close()
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(talk(reader, writer))
        talks.add(task)
        task.add_done_callback(talks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())

    link = link or socket.create_server(("127.0.0.1", 0))
    server = await asyncio.start_server(begin, sock=link)
    # A body that isn't read must not vanish in the kernel, which takes many megabytes where it is let.
    server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted connection is closed in the loop's next turn


@contextlib.contextmanager
def served(play: Play) -> Iterator[str]:
    """Serve in a thread, beside a program that runs as a process."""

    async def enter(stack: contextlib.AsyncExitStack) -> str:
        return await stack.enter_async_context(wire(play))

    with loop_in_thread() as loop:
        stack = contextlib.AsyncExitStack()
        try:
            yield asyncio.run_coroutine_threadsafe(enter(stack), loop).result(ENDS)
        finally:
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(ENDS)
