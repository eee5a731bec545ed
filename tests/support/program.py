"""Runs the program and the sandbox as processes, for tests over the wire."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from batchgen.sandbox import command
from batchgen.sandbox.journal import Entry, load, summarize
from batchgen.sandbox.server import Sandbox
from tests.support import in_process

T = TypeVar("T")
KEY = "canary-5f0e1d-key"  # planted; tests look for it where it must not be
PROGRAM = (sys.executable, "-m", "batchgen")
QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "1")  # a run whose tasks take a moment
ENDS = 60.0  # seconds in which any program of the tests ends; far beyond what one needs


class Server:
    """A sandbox in a thread of this process, started as ``batchgen sandbox OPTION...`` would; its journal is the witness."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.journal = folder / f"journal-{time.monotonic_ns()}.jsonl"
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        arguments = parser.parse_args(
            ["--journal", str(self.journal), "--seed", "1", "--clips", "stand-in", *options]
        )
        sandbox = Sandbox(command.configuration(arguments))
        with ExitStack() as stack:
            self._loop = stack.enter_context(loop_in_thread())
            stack.callback(lambda: self._wait(sandbox.stop()))
            self.url = self._wait(sandbox.start(arguments.host, arguments.port))
            self._stack = stack.pop_all()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ENDS)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Pause the server inside of this: what is sent to it stays in the kernel, and is read afterwards."""
        thaw = threading.Event()
        self._loop.call_soon_threadsafe(thaw.wait)
        try:
            yield
        finally:
            thaw.set()

    def entries(self) -> list[Entry]:
        """Everything that reached the server so far."""
        return load(self.journal)

    def accepted(self) -> dict[str, str]:
        """task id -> external_task_id of every task that was made."""
        return {
            entry.task_id or "": entry.external_task_id or "" for entry in self.entries() if entry.accepted
        }

    def summary(self) -> dict[str, Any]:
        """Counts: see :func:`batchgen.sandbox.journal.summarize`."""
        return summarize(self.entries())

    def ask(self, path: str, body: object = None) -> Any:
        """An admin request, under ``/_sandbox/``."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/_sandbox/{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def close(self) -> None:
        self._stack.close()


@dataclass
class Result:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    """A person's machine: a folder with manifests, an empty home, an environment of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = PROGRAM

    def __post_init__(self) -> None:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
        self.env[command.CLIPS_VARIABLE] = (
            "stand-in"  # quick, and known to the journal before they are fetched
        )

    def against(self, server: Server) -> Desk:
        self.env |= {"POWERTOKENS_API_BASE": server.url, "POWERTOKENS_API_KEY": KEY}
        return self

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.program, *arguments],
            cwd=self.folder,
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            errors="surrogateescape",
        )

    def finish(self, process: subprocess.Popen[str]) -> Result:
        try:
            out, err = process.communicate(timeout=ENDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            out, err = process.communicate()
            raise AssertionError(f"it did not end: {err[-3000:]}") from None
        return _checked((process.returncode, out, err))

    def run(self, *arguments: str) -> Result:
        """Run the program to its end, wherever that is: within this process, where that shows the same."""
        if self.program == PROGRAM and in_process.possible(arguments, self.env):
            return _checked(in_process.call(arguments, cwd=self.folder, env=self.env, ends=ENDS))
        return self.finish(self.start(*arguments))

    def export(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run("export").out.splitlines()]


def _checked(came: tuple[int, str, str]) -> Result:
    """Check what holds however a program ends."""
    result = Result(*came)
    assert "Traceback" not in result.err and "please report" not in result.err, result.err
    assert KEY not in result.out + result.err
    return result


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the time is a limit."""
    end = time.monotonic() + ENDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@contextmanager
def loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs beside the test."""
    loop = asyncio.SelectorEventLoop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_hang_up(loop), loop).result(ENDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(ENDS)
        loop.close()


async def _hang_up(loop: asyncio.SelectorEventLoop) -> None:
    """Close the connections of clients that came, or went, while their server was closed."""
    await asyncio.sleep(0)
    for transport in list(loop._transports.values()):  # type: ignore[attr-defined]
        transport.abort()
    await asyncio.sleep(0)


@contextmanager
def sandbox(folder: Path, *options: str) -> Iterator[Server]:
    """A sandbox beside the test, in its process."""
    with closing(Server(folder, options)) as server:
        yield server
