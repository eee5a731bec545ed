"""Whether an event loop runs. Without one, what would wait beside it is done at once, and asyncio isn't even loaded."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def running() -> Any:
    """The event loop that runs in this thread; None where there is none."""
    library = sys.modules.get("asyncio")
    try:
        return None if library is None else library.get_running_loop()
    except RuntimeError:
        return None


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end without an event loop. It may wait for the ledger and the disk alone, which don't wait then.

    Raises what it does, and RuntimeError where it waits for anything else.
    """
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the coroutine returned
    work.close()
    raise RuntimeError("it waits for something that only an event loop brings")
