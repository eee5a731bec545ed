"""Whether what a plan would pay for fits the budgets of the ledger and the caps, and what those leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from batchgen.amounts import Use, dollars, micros, shown
from batchgen.escapes import visible
from batchgen.models import Manifest
from batchgen.run.plan import Step
from batchgen.storage.clips import iso


class Fit:
    """The cost of a plan's steps beside what may be spent. ``max_cost`` is a run's cap in US dollars."""

    def __init__(self, manifests: Iterable[Manifest], uses: Sequence[Use], max_cost: float | None) -> None:
        self._uses = [one for one in uses if one.limit is not None]
        self._max_cost = None if max_cost is None else micros(max_cost)
        self._caps = {one.name: micros(one.max_cost_usd) for one in manifests if one.max_cost_usd is not None}
        self._cost: Counter[str] = Counter()  # micro-dollars, by manifest

    def counting(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The same steps, each counted as it is taken."""
        for step in steps:
            if step.micros:
                self._cost[step.job.manifest] += step.micros
            yield step

    def lines(self) -> Iterator[str]:
        """What each budget leaves, and what doesn't fit, a line each; after the steps were counted."""
        cost = self._cost.total()
        for use in self._uses:
            left = f"the {use.period}'s budget has {shown(use.left or 0)} left until {use.end}"
            fits = "and this fits" if cost else "and nothing is to be paid"
            yield f"  {left}, {fits if use.holds(cost) or not cost else _short(use.spent + cost)}"
        for name, limit in self._caps.items():
            if self._cost[name] > limit:
                yield f"  max_cost_usd of {visible(name)} is {shown(limit)}, {_short(self._cost[name])}"
        if self._max_cost is not None and cost > self._max_cost:
            yield f"  --max-cost is {shown(self._max_cost)}, {_short(cost)}"

    def object(self) -> dict[str, Any]:
        """The same for scripts: the budgets, and whether all that would be paid fits them and the caps."""
        cost = self._cost.total()
        capped = any(self._cost[name] > limit for name, limit in self._caps.items())
        capped |= self._max_cost is not None and cost > self._max_cost
        over = cost > 0 and not all(use.holds(cost) for use in self._uses)
        return {"budgets": [use_object(one) for one in self._uses], "fits": not (capped or over)}


def use_object(use: Use) -> dict[str, Any]:
    """How much of a budget is used, for scripts."""
    return {
        "period": use.period,
        "limit_usd": None if use.limit is None else dollars(use.limit),
        "spent_usd": dollars(use.spent),
        "left_usd": None if use.left is None else dollars(use.left),
        "begins": iso(use.begins),
        "ends": iso(use.ends),
    }


def _short(needed: int) -> str:
    return f"and this doesn't fit: a run creates what does; all of it takes {shown(needed)}"
