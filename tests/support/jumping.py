"""``python -m tests.support.jumping ARGUMENT...``: the program with a clock that jumps to what it waits for next.

Hours pass in seconds, and nothing of the program is replaced: its event loop's time runs on by what it would have
slept, as soon as nothing has come from anywhere for a moment.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections.abc import Callable
from typing import Any

from batchgen.cli.main import main

IDLE = 0.12  # seconds in which a server on this machine answers, or a disk


class Jumping(selectors.DefaultSelector):
    """Waits for no timer longer than a moment; ``jump`` is told what was left of it."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(timeout if timeout is None else min(timeout, IDLE))
        if not found and timeout is not None and timeout > IDLE:
            self._jump(timeout - IDLE)
        return found


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time runs ahead of the machine's."""

    def __init__(self) -> None:
        self._ahead = 0.0
        super().__init__(Jumping(self._jump))

    def _jump(self, seconds: float) -> None:
        self._ahead += seconds

    def time(self) -> float:
        return super().time() + self._ahead


class Policy(asyncio.DefaultEventLoopPolicy):
    """Every new loop is one of these."""

    def new_event_loop(self) -> Any:
        return Loop()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(Policy())
    sys.exit(main())
