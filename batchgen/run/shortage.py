"""Why creating ends where caps and budgets have no room for what is left, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batchgen.amounts import shown
from batchgen.errors import EndedEarly, OverBudget
from batchgen.run.budget import Budget
from batchgen.run.lanes import Lane, Work


def of_manifest(lane: Lane) -> EndedEarly:
    """The error for a manifest whose own cap has no room for what is left of it."""
    text = f"{lane.name}: its {_reached(lane.budget, lane.left_costs)}"
    return EndedEarly(text, kind="manifest_cost_cap")


def of_run(budget: Budget, approved: int | None, lanes: Iterable[Lane]) -> EndedEarly:
    """The error for a run whose caps have no room for what is left in these lanes; ``approved`` is what an approval leaves."""
    most = budget.max_creates
    if budget.creates_used:
        return EndedEarly(f"the cap of {most} job{'' if most == 1 else 's'} was reached", kind="jobs_cap")
    text = _reached(budget, _costs(lanes))
    if budget.max_cost == approved:
        return EndedEarly(f"the approval's {text}", kind="approval_cap")
    return EndedEarly(f"the {text}", kind="cost_cap")


def of_budgets(refusal: OverBudget, lanes: Iterable[Lane], *works: Work) -> EndedEarly:
    """The error for a run that the ledger's budgets have no room for; ``works`` are left beside the lanes' jobs."""
    costs = [*_costs(lanes), *(work.cost for work in works)]
    return EndedEarly(
        f"{refusal.text(sum(costs), 'what is left')}{_behind(costs, refusal.room)}", kind="budget"
    )


def _costs(lanes: Iterable[Lane]) -> list[int]:
    return [cost for lane in lanes for cost in lane.left_costs]


def _reached(budget: Budget, costs: Sequence[int]) -> str:
    return f"{budget.reached(sum(costs))}{_behind(costs, (budget.max_cost or 0) - budget.spent)}"


def _behind(costs: Iterable[int], room: int) -> str:
    """What to add where money for some jobs is left, which stand behind dearer ones: a manifest's order is kept."""
    fitting = sum(0 < cost <= room for cost in costs)
    if not fitting:
        return ""
    cost, stand = ("costs", "stands") if fitting == 1 else ("cost", "stand")
    return (
        f"; {fitting:,} of them {cost} no more than the {shown(room)} that is left, but {stand} behind a dearer job of the same"
        " manifest, whose order is kept: `--only JOB` creates what you name alone"
    )
