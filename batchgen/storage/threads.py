"""Work that waits for a disk, beside the event loop; where none runs, there is nothing beside it, and it is done at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from batchgen import loops

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

P = ParamSpec("P")
T = TypeVar("T")


async def to_thread(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Run ``work`` in a thread of the event loop's own. A caller that is cancelled leaves it to itself."""
    if loops.running() is None:
        return work(*given, **named)
    import asyncio

    return await asyncio.to_thread(work, *given, **named)


async def in_thread(
    work: Callable[[], T], pool: ThreadPoolExecutor | None = None, *, counts: bool = False
) -> T:
    """Run ``work`` in a thread of ``pool``, or of the event loop's own.

    Where the caller is cancelled it is waited for all the same: it uses what the caller has. ``counts``: what was done is
    not to be lost; the caller gets it, and is cancelled where it waits next. Raises what ``work`` does.
    """
    loop = loops.running()
    if loop is None:
        return work()
    import asyncio

    doing: asyncio.Future[T] = loop.run_in_executor(pool, work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([doing])
        failed = doing.cancelled() or doing.exception() is not None
        task = asyncio.current_task()
        if failed or not counts or task is None:
            raise
        task.cancel()
        return doing.result()
