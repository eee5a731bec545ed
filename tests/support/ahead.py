"""The program, and the API that it talks to, in this process and in virtual time: hours of waiting pass at once.

What a person sees of it is all there: exit codes, what is printed, ledger and clips. Only the process is missing; what
has to do with signals, descriptors or a terminal needs one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from batchgen.cli.ending import SIGNALS
from batchgen.cli.main import main
from tests.support import virtual_time
from tests.support.program import KEY, Desk, Result
from tests.support.wire import Play, wire

_PR_SET_DUMPABLE = 4


class _Policy(asyncio.DefaultEventLoopPolicy):
    """Every new loop is in virtual time, and has the API in it."""

    def __init__(self, threads: virtual_time.Threads, play: Play | None, link: socket.socket | None) -> None:
        super().__init__()
        self._threads, self._play, self._link = threads, play, link
        self._served: list[object] = []

    def new_event_loop(self) -> Any:
        loop = virtual_time.Loop(self._threads)
        if self._play is not None and self._link is not None:
            served = wire(self._play, self._link.dup())
            loop.run_until_complete(served.__aenter__())
            self._served.append(served)  # what it needs to end is done at the loop's own end
        return loop


@dataclass
class Ahead(Desk):
    """A person's machine on which nobody has to wait."""

    play: Play | None = None
    link: socket.socket | None = None

    @contextlib.contextmanager
    def against_api(self, play: Play) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", 0)) as link:
            # A body that isn't read must not vanish in the kernel, which takes many megabytes where it is let.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
            url = f"http://127.0.0.1:{link.getsockname()[1]}"
            self.play, self.link = play, link
            self.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
            yield

    def run(self, *arguments: str) -> Result:
        out, err = self.folder / "stdout", self.folder / "stderr"
        with (
            open(out, "w+", encoding="utf-8") as stdout,
            open(err, "w+", encoding="utf-8") as stderr,
            open(os.devnull) as nothing,
            _as_before(),
            pytest.MonkeyPatch.context() as patch,
        ):
            for name in os.environ:
                patch.delenv(name)
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            for name, stream in (("stdin", nothing), ("stdout", stdout), ("stderr", stderr)):
                patch.setattr(sys, name, stream)
            threads = virtual_time.Threads()
            asyncio.set_event_loop_policy(_Policy(threads, self.play, self.link))
            try:
                with threads.watched():
                    code = main(arguments)
            except SystemExit as ended:  # argparse
                code = ended.code if isinstance(ended.code, int) else 1
            finally:
                asyncio.set_event_loop_policy(None)
        said = Result(code, out.read_text(errors="surrogateescape"), err.read_text(errors="surrogateescape"))
        assert "Traceback" not in said.err and "please report" not in said.err, said.err
        assert KEY not in said.out + said.err
        return said


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """What a command changes of its process is as it was afterwards."""
    handlers = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    thresholds = gc.get_threshold()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        with contextlib.suppress(OSError, AttributeError):  # a system without prctl
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
