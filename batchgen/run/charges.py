"""What an ended task was charged, as columns of its row, and whether that is another price than the table has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from batchgen.amounts import shown
from batchgen.models import Record, TaskView
from batchgen.money.prices import Prices


def charged(view: TaskView, prices: Prices) -> dict[str, Any]:
    """The API's words on the charge of an ended task, and what they mean in micro-dollars at these prices."""
    return {
        "units_charged": view.units_charged,
        "balance": view.balance,
        "charged": prices.charge(view.units_charged, view.balance, failed=view.status == "failed"),
    }


def drift(record: Record, ended: Mapping[str, Any], prices: Prices) -> str | None:
    """What to say where a task that made a clip was charged otherwise than its row had estimated; None where that is as it should be.

    ``ended`` are the columns of :func:`charged`. An estimate that is an upper bound only has to hold as one.
    """
    amount, estimate = ended["charged"], record.estimate
    if amount is None or estimate is None or amount == estimate:
        return None
    if amount < estimate and prices.is_bound(json.loads(record.canonical)):
        return None
    return (
        f"{record.manifest}/{record.job_id} was charged {shown(amount)} and had been estimated at {shown(estimate)}: estimates and caps"
        f" rest on prices of {prices.read_on}, which aren't the bill's; `batchgen spend` shows how far apart they are"
    )
