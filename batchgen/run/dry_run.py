"""What a run would do now, without doing any of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchgen.ledger.reader import Records
from batchgen.models import Manifest
from batchgen.money.prices import BUILT_IN, Prices
from batchgen.run.plan import Step
from batchgen.run.planning import planned
from batchgen.run.survey import Survey, survey, unrecorded
from batchgen.storage.roots import Roots


def dry_run(
    manifests: Sequence[Manifest],
    ledger: Records | None,
    roots: Roots,
    api: str,
    *,
    retry_failed: bool = False,
    accept_changes: bool = False,
    prices: Prices = BUILT_IN,
) -> Iterator[Step]:
    """The steps of all jobs, with their clips on disk taken into account. Nothing is written.

    ``ledger`` is None where there is none yet; ``api`` is the API's origin, whose clips a run takes in. ``roots`` stay open
    until the steps are taken. Raises LedgerError.
    """
    found = survey(ledger, manifests, roots) if ledger is not None else Survey()
    steps = planned(
        manifests,
        ledger,
        unrecorded(ledger, manifests, api, roots),
        retry_failed=retry_failed,
        accept_changes=accept_changes,
        prices=prices,
    )
    return found.applied(steps)
