"""What an ended task was charged, as columns of its row."""

from __future__ import annotations

from typing import Any

from batchgen.models import TaskView
from batchgen.money.prices import Prices


def charged(view: TaskView, prices: Prices) -> dict[str, Any]:
    """The API's words on the charge of an ended task, and what they mean in micro-dollars at these prices."""
    return {
        "units_charged": view.units_charged,
        "balance": view.balance,
        "charged": prices.charge(view.units_charged, view.balance, failed=view.status == "failed"),
    }
