"""The program as a process, and the sandbox as another: what the tests over the wire are made of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchgen.sandbox.journal import Entry, load, summarize

KEY = "canary-5f0e1d-key"  # planted; tests look for it where it must not be
ENDS = 60.0  # seconds in which any program of the tests ends; far beyond what one needs


class Server:
    """A sandbox in a process of its own; its journal is the witness."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.journal = folder / f"journal-{time.monotonic_ns()}.jsonl"
        command = [
            sys.executable,
            "-m",
            "batchgen.sandbox",
            "--journal",
            str(self.journal),
            "--seed",
            "1",
            *options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), "the sandbox did not start"

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

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(ENDS)
        assert self.process.stdout is not None
        self.process.stdout.close()


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
    program: tuple[str, ...] = (sys.executable, "-m", "batchgen")

    def __post_init__(self) -> None:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}

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
        assert "Traceback" not in err and "please report" not in err, err
        assert KEY not in out + err
        return Result(process.returncode, out, err)

    def run(self, *arguments: str) -> Result:
        """Run the program to its end, wherever that is."""
        return self.finish(self.start(*arguments))

    def export(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run("export").out.splitlines()]


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the time is a limit, not a guess."""
    end = time.monotonic() + ENDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@contextmanager
def sandbox(folder: Path, *options: str) -> Iterator[Server]:
    server = Server(folder, options)
    try:
        yield server
    finally:
        server.stop()
