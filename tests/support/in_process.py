"""The program within this process: what one call shows needs no process, whose start costs a third of a second.

For the length of a call, environment, current folder, streams, signals, logging and garbage collection are the
program's own; afterwards they are as before. Processes are for what is about them: signals and kills, terminals,
limits, closed streams, and what the kernel keeps from others.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from batchgen.api import keys
from batchgen.cli import core_dumps
from batchgen.cli.main import main

ENDS_THE_PROCESS = ("--until", "--deadline")  # some time after them, whatever the process is doing
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
AS_USUAL = {
    "PATH",
    "HOME",
    "PYTHONPATH",
}  # what an interpreter reads when it starts, and the tests' own has as well
OURS = ("POWERTOKENS_", "BATCHGEN_", "XDG_", "CREDENTIALS_DIRECTORY", "SSL_CERT_FILE")


class Came(NamedTuple):
    """How a call ended."""

    code: int
    out: str
    err: str


def possible(arguments: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a call shows what a process would."""
    return (
        threading.current_thread() is threading.main_thread()  # who alone hears of signals
        and arguments[:1] != ("sandbox",)  # it ends by a signal alone
        and not any(word.startswith(ENDS_THE_PROCESS) for word in arguments)
        and all(name in AS_USUAL or name.startswith(OURS) or name.endswith("_PROXY") for name in env)
        and keys.KEY_COMMAND_VARIABLE not in env  # it writes to the process's own stderr
    )


def call(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], ends: float) -> Came:
    """Run one command to its end, for which it has ``ends`` seconds."""
    out, err = io.BytesIO(), io.BytesIO()
    with _streams(out, err), _environment(cwd, env), _process_state(), _limited(ends):
        try:
            code: object = main(list(arguments))
        except SystemExit as left:  # of argparse
            code = left.code
        sys.stdout.flush()
        sys.stderr.flush()
    assert isinstance(code, int)
    return Came(code, *(file.getvalue().decode("utf-8", "surrogateescape") for file in (out, err)))


@contextlib.contextmanager
def _streams(out: io.BytesIO, err: io.BytesIO) -> Iterator[None]:
    before = sys.stdin, sys.stdout, sys.stderr
    with open(os.devnull) as nothing:
        sys.stdin = nothing
        sys.stdout, sys.stderr = (io.TextIOWrapper(file, encoding="utf-8") for file in (out, err))
        written = sys.stdout, sys.stderr
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before
            for stream in written:
                stream.detach()


@contextlib.contextmanager
def _environment(cwd: Path, env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(env)
        with contextlib.chdir(cwd):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _process_state() -> Iterator[None]:
    """Signals, what is logged elsewhere, and garbage collection; and this process keeps its core dumps, as others' tests look at them."""
    signals = {number: signal.getsignal(number) for number in SIGNALS}
    thresholds = gc.get_threshold()
    root = logging.getLogger()
    unheard = logging.StreamHandler()  # what libraries log, as Python shows it where nobody listens
    unheard.setLevel(logging.WARNING)
    main_thread = threading.get_ident()
    unheard.addFilter(lambda record: record.thread == main_thread)  # others are the tests' servers
    root.addHandler(unheard)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(core_dumps, "keep_out_of_core_dumps", lambda: None)
            yield
    finally:
        root.removeHandler(unheard)
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in signals.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _limited(ends: float) -> Iterator[None]:
    """Interrupt what takes too long, as a person would."""
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(ends, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        assert not late.is_set(), "it did not end"
