"""The progress bar on a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from batchgen.cli.output import Output
from batchgen.run.events import Event, Totals

if TYPE_CHECKING:
    from batchgen.run.work_events import Held


class Bar:
    """A bar on a terminal: jobs done, tasks running, money so far, and what is waited for."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._totals = Totals(at=0.0, jobs=0, finished=0, running=0, cost_usd=0.0)
        self._held: dict[str, Held] = {}

    def remember(self, event: Event) -> None:
        """A listener of a run's events: remember the newest totals, and what is waited for."""
        if isinstance(event, Totals):
            self._totals = event
        elif event.action in ("waiting", "waited"):  # only where there is work are those loaded
            from batchgen.run.work_events import Held

            if isinstance(event, Held):
                self._held.pop(event.kind, None)
                if not event.over:
                    self._held[event.kind] = event

    @property
    def words(self) -> str:
        """What stands behind the bar."""
        now = self._totals
        text = f"{now.running} running, ${now.cost_usd:,.2f}"
        if not self._held:
            return text
        from batchgen.run.held import WORDS, span

        held = next(self._held[kind] for kind in WORDS if kind in self._held)
        return f"{text}, waits for {WORDS[held.kind]} {span(held.since, held.until, '%H:%M')}"

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar inside of this, where one is wanted."""
        if not self._out.shows_progress:
            yield
            return
        import asyncio

        from tqdm import tqdm

        form = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} jobs [{elapsed}<{remaining}{postfix}]"

        async def show() -> None:
            while True:
                now = self._totals
                bar.total, bar.n = now.jobs, now.finished
                bar.set_postfix_str(self.words, refresh=True)
                await asyncio.sleep(0.2)

        with tqdm(total=0, bar_format=form, dynamic_ncols=True, leave=False) as bar, _logging_above(bar):
            task = asyncio.create_task(show())
            try:
                yield
            finally:
                task.cancel()


@contextlib.contextmanager
def _logging_above(bar: Any) -> Iterator[None]:
    """Write log lines above the bar inside of this, so that they don't break it."""
    stderr = [
        handler
        for handler in logging.getLogger("batchgen").handlers
        if type(handler) is logging.StreamHandler
    ]

    class Above:
        def write(self, text: str) -> None:
            bar.write(text, file=sys.stderr, end="")

        def flush(self) -> None:
            sys.stderr.flush()

    for handler in stderr:
        handler.setStream(Above())
    try:
        yield
    finally:
        for handler in stderr:
            handler.setStream(sys.stderr)
