"""The program, and the API that it talks to, in this process and in virtual time: hours of waiting pass at once.

What a person sees of it is all there: exit codes, what is printed, ledger and clips.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support import in_process, virtual_time
from tests.support.program import KEY, Desk, Result
from tests.support.wire import Play, wire


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
            self._served.append(served)  # the loop's own end ends it
        return loop


@dataclass
class Ahead(Desk):
    """A person's machine on which nobody has to wait."""

    play: Play | None = None
    link: socket.socket | None = None

    @contextlib.contextmanager
    def against_api(self, play: Play) -> Iterator[None]:
        """In every run meanwhile the API is ``play``."""
        with socket.create_server(("127.0.0.1", 0)) as link:
            url = f"http://127.0.0.1:{link.getsockname()[1]}"
            self.play, self.link = play, link
            self.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
            yield

    def run(self, *arguments: str) -> Result:
        assert in_process.possible(arguments, self.env)
        threads = virtual_time.Threads()
        asyncio.set_event_loop_policy(_Policy(threads, self.play, self.link))
        try:
            with threads.watched():
                return super().run(*arguments)
        finally:
            asyncio.set_event_loop_policy(None)
