"""Programs as processes: their time, their CPU and their peak memory; several in turn, and the medians of that.

This process imports nothing large: a child's peak memory, as the kernel counts it, starts from its parent's.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BATCHGEN = (sys.executable, "-m", "batchgen")
MB = 1e6


def baseline(name: str, *arguments: object) -> list[str]:
    """The command of one of our baselines."""
    return [sys.executable, str(HERE / "baselines" / f"{name}.py"), *map(str, arguments)]


@dataclass(frozen=True)
class Run:
    """One run of a program. ``seconds`` and ``cpu`` count all of its processes, ``peak`` (bytes) the largest."""

    seconds: float
    cpu: float
    peak: float
    out: str


def run(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, codes: Sequence[int] = (0,)
) -> Run:
    """Run a program to its end. Raises RuntimeError where that isn't one of ``codes``."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=cwd, env=environment(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode not in codes:
            told = err.read() or out.read()
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {told[-2000:]}")
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, out.read(1000))


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's: ours, where batchgen is this checkout's, and ``more``."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "BATCHGEN_LEDGER": "", **(more or {})}


def make(what: str, *arguments: object, cwd: Path) -> None:
    """Have :mod:`tests.bench.material` make something, in a process of its own."""
    run([sys.executable, "-m", "tests.bench.material", what, *map(str, arguments)], cwd=cwd)


@contextmanager
def server(name: str = "server", *arguments: object) -> Iterator[str]:
    """The counting server, or another module here that is one, in a process of its own; gives its address."""
    command = [sys.executable, "-m", f"tests.bench.{name}", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class Contender:
    """A program, what has to be done before each of its runs, and what they were like. ``units`` is what a run does."""

    name: str
    command: Sequence[str]
    cwd: Path
    units: float = 1.0
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    codes: Sequence[int] = (0,)
    expect: str | None = None  # what it has to print
    runs: list[Run] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(one.seconds for one in self.runs)

    @property
    def cpu(self) -> float:
        return statistics.median(one.cpu for one in self.runs)

    @property
    def peak(self) -> float:
        return max(one.peak for one in self.runs)

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.units / self.seconds

    def go(self) -> None:
        """Run once."""
        self.prepare()
        one = run(self.command, cwd=self.cwd, env=self.env, codes=self.codes)
        if self.expect is not None and one.out.strip() != self.expect:
            raise RuntimeError(f"{self.name} printed {one.out!r} instead of {self.expect!r}")
        self.runs.append(one)


def in_turn(contenders: Sequence[Contender], repetitions: int) -> None:
    """Run each once, then each once more, ...: whatever else the machine does meets all of them."""
    for repetition in range(repetitions):
        for one in contenders:
            one.go()
            note(f"{one.name}, {repetition + 1} of {repetitions}: {one.runs[-1].seconds:.2f} s")


def note(text: str) -> None:
    """Progress, for whoever waits."""
    sys.stderr.write(f"    {text}\n")
    sys.stderr.flush()


def own_peak() -> float:
    """Bytes that this process has used at most: no child's peak can be told below that."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
