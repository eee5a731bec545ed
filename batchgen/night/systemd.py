"""Tells systemd where a run stands: that it is ready, its status, that it is alive, that it ends (``sd_notify``)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Self

from batchgen.run.events import Began, Event, Stopped, Totals
from batchgen.run.work_events import Paused, Reachable, Unreachable

EVERY = 1.0  # seconds between two statuses, at least
PATIENCE = 1.0  # seconds that what matters most may wait for its turn
LONGEST = 400  # characters of a status


class Systemd:
    """The service manager that started this process, if any did. What can't be sent isn't: nothing waits for it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET") or ""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = _interval(environ)
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat = self._status_at = 0.0
        self._over = threading.Event()

    @property
    def listens(self) -> bool:
        """Whether there is one, and it listens."""
        return self._address[:1] in ("/", "\0") and len(self._address) > 1

    def __enter__(self) -> Self:
        if self.listens:
            with contextlib.suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self.send("READY=1", "STATUS=begins", wait=PATIENCE)
            if self._interval:
                threading.Thread(target=self._watchdog, args=(self._interval,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, *lines: str, wait: float = 0.0) -> None:
        """Send assignments, such as ``STATUS=...``, as one datagram; it may ``wait`` so many seconds for its turn."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.settimeout(wait)
                self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)

    def status(self, text: str) -> None:
        """Say where the run stands, in one line."""
        self.send(f"STATUS={' '.join(text.split())[:LONGEST]}")

    def stopping(self) -> None:
        """Say that the work is over, and only others are told of it yet."""
        self.send("STOPPING=1", "STATUS=tells how it went", wait=PATIENCE)

    def listen(self, event: Event) -> None:
        """Say what an event means for the status."""
        match event:
            case Began():
                self.status(f"{event.jobs:,} jobs, {event.settled:,} of them settled")
            case Totals():
                now = time.monotonic()
                if now - self._status_at >= EVERY:
                    self._status_at = now
                    self.status(
                        f"{event.finished:,} of {event.jobs:,} jobs finished, {event.running:,} tasks running,"
                        f" about ${event.cost_usd:,.2f}"
                    )
            case Paused() | Unreachable() | Reachable() | Stopped():
                if event.text:
                    self.status(event.text)

    @contextlib.contextmanager
    def working(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Inside of this the watchdog is told that the run is alive only while its loop is; else always."""
        self._beat, self._loop = time.monotonic(), loop
        try:
            yield
        finally:
            self._loop = None

    def _watchdog(self, interval: float) -> None:
        while True:
            if self._loop is None or time.monotonic() - self._beat < interval:
                self.send("WATCHDOG=1")
            if self._over.wait(interval / 3):
                return
            with contextlib.suppress(AttributeError, RuntimeError):  # the loop is over
                self._loop.call_soon_threadsafe(self._alive)  # type: ignore[union-attr]  # None: suppressed above

    def _alive(self) -> None:
        self._beat = time.monotonic()


def _interval(environ: Mapping[str, str]) -> float:
    """Seconds in which the watchdog wants to hear from this process; 0 where there is none."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    given = environ.get("WATCHDOG_USEC", "")
    return int(given) / 1e6 if given.isascii() and given.isdigit() else 0.0
