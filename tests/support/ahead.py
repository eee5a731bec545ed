"""The program, and the API that it talks to, in this process and in virtual time: hours of waiting pass at once.

What a person sees of it is all there: exit codes, what is printed, ledger and clips.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support import in_process, virtual_time
from tests.support.program import KEY, Desk, Result
from tests.support.wire import Play, wire


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
        served: list[object] = []

        def new_event_loop() -> virtual_time.Loop:
            """In virtual time, and with the API in it."""
            loop = virtual_time.Loop(threads)
            if self.play is not None and self.link is not None:
                one = wire(self.play, self.link.dup())
                loop.run_until_complete(one.__aenter__())
                served.append(one)  # the loop's own end ends it
            return loop

        with threads.watched(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio.events, "new_event_loop", new_event_loop)
            return super().run(*arguments)
