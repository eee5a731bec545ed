"""Keeps a run's deadline and end by the wall clock: the loop's clock stands still while the machine sleeps."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from batchgen.errors import BatchgenError, EndedEarly
from batchgen.run.clock import Clock
from batchgen.run.options import RunOptions

CHECK = 5.0  # seconds between looks at the wall clock: a machine that slept finds its moments late by these at most
DRIFT = 1.0  # seconds that the clocks may differ by unheeded


async def keep(
    options: RunOptions,
    clock: Clock,
    shift: Callable[[float], object],
    end: Callable[[BatchgenError], object],
) -> None:
    """Call ``end`` at the end that ``options`` set, and until then ``shift`` with the seconds that the loop's clock missed.

    It returns at once where no moment is set, and is cancelled where the run ends by itself.
    """
    until, why = options.end
    if until is None and options.deadline is None:
        return
    loop = asyncio.get_running_loop()
    ahead = clock.now() - loop.time()
    while True:
        left = math.inf if until is None else until - clock.now()
        if left <= 0:
            end(EndedEarly(why, kind="until"))
            return
        await asyncio.sleep(min(left, CHECK))
        missed = clock.now() - loop.time() - ahead
        if abs(missed) > DRIFT:
            ahead += missed
            shift(missed)
