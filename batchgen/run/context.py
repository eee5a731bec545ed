"""What the steps of all jobs of one run share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from batchgen.ledger.writer import Ledger
from batchgen.money.prices import Prices
from batchgen.run.clock import Clock
from batchgen.run.events import Events
from batchgen.run.hints import Hints
from batchgen.run.inventory import Inventory
from batchgen.run.pool import Pool
from batchgen.run.queries import Queries
from batchgen.run.waits import Waits


@dataclass(frozen=True, slots=True)
class RunContext:
    """The parts of one run. ``changed`` is set whenever the pool may decide differently than before."""

    inventory: Inventory
    queries: Queries
    pool: Pool
    waits: Waits
    clock: Clock
    changed: asyncio.Event
    hints: Hints

    @property
    def ledger(self) -> Ledger:
        return self.inventory.ledger

    @property
    def prices(self) -> Prices:
        return self.inventory.prices

    @property
    def events(self) -> Events:
        return self.inventory.events
