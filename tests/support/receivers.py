"""Receivers of what is told of a run, for tests: a server of pings that behaves as its address says, and systemd's socket."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ENDS = 30.0  # seconds after which a receiver that stalls lets go, whatever happens


@dataclass(frozen=True)
class Heard:
    """One request: its path without the whim and the query, its run id, its body and headers."""

    path: str
    run_id: str
    body: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Monitor:
    """A server of pings. ``http://HOST/WHIM/...``: what it does with a request is the first part of its path."""

    url: str
    heard: list[Heard] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    fails: int = 0  # so many requests to /flaky/ are answered with 503

    def at(self, whim: str) -> str:
        return f"{self.url}/{whim}/ping-9c2b7a4f-secret"

    @property
    def signals(self) -> list[str]:
        """What was signalled, in order: ``start``, ``0``, ..."""
        return [one.path.rpartition("/")[2] for one in self.heard]


@contextlib.contextmanager
def monitor() -> Iterator[Monitor]:
    """A monitor on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            whim, _, rest = parts.path.lstrip("/").partition("/")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            (run_id,) = parse_qs(parts.query).get("rid", [""])
            found.heard.append(Heard(rest, run_id, body.decode(), dict(self.headers)))
            with contextlib.suppress(OSError):  # who asked has gone
                getattr(self, f"_{whim}")()

        def _answer(self, code: int, body: bytes = b"OK", **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _ok(self) -> None:
            self._answer(200)

        def _unknown(self) -> None:
            self._answer(200, b"OK (not found)")

        def _broken(self) -> None:
            self._answer(500, b"no")

        def _missing(self) -> None:
            self._answer(404, b"no such check")

        def _flaky(self) -> None:
            found.fails -= 1
            self._answer(503 if found.fails >= 0 else 200)

        def _moved(self) -> None:
            self._answer(302, Location=f"{found.url}/ok/elsewhere-9c2b7a4f")

        def _stalls(self) -> None:
            found.let_go.wait(ENDS)

        def _drips(self) -> None:
            end = time.monotonic() + ENDS
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while time.monotonic() < end and not found.let_go.wait(0.02):
                self.wfile.write(b"x")

        def _endless(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 30))
            self.end_headers()
            while not found.let_go.is_set():
                self.wfile.write(b"x" * 65536)

        def _nonsense(self) -> None:
            self.wfile.write(b"\0\1\2 SSH-2.0-nonsense\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Monitor(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        found.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def dead_end() -> Iterator[str]:
    """An address of this machine where nobody listens."""
    with socket.socket() as held:  # bound, and so nobody else's, but not listening
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/ping-9c2b7a4f-secret"


class ServiceManager:
    """Systemd's end of ``NOTIFY_SOCKET``, at a path or, where it begins with ``@``, an abstract address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._name)
        self._thread = threading.Thread(target=self._read)  # few wait in a socket of this kind
        self._thread.start()

    @property
    def _name(self) -> str:
        return "\0" + self.address[1:] if self.address.startswith("@") else self.address

    def close(self) -> list[dict[str, str]]:
        """Hear what has come, and no more. Returns all messages."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._name)
        self._thread.join()
        self._socket.close()
        return self.messages

    def _read(self) -> None:
        while text := self._socket.recv(4096).decode():
            self.messages.append(dict(line.split("=", 1) for line in text.splitlines()))
