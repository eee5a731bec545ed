"""What a run of a command line's manifests would do now, and whether it fits budgets and caps: for ``plan``, and before a run pays."""

from __future__ import annotations

import contextlib
import os
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass

from batchgen.cli import only, settings
from batchgen.cli.fit import Fit
from batchgen.cli.output import Output
from batchgen.cli.wanted import load_manifests, wanted
from batchgen.http.endpoint import origin
from batchgen.ledger.reader import Records
from batchgen.money.prices import Prices
from batchgen.run.dry_run import dry_run
from batchgen.run.loading import Loaded
from batchgen.run.plan import Step
from batchgen.storage.roots import Roots


@dataclass(frozen=True, slots=True)
class Forecast:
    """The manifests, and the steps of the jobs that the command is about; ``fit`` counts each as it is taken, once.

    ``ledger`` is None where there is none at ``path`` yet. ``api`` is the API's origin. ``left_out`` are jobs that
    ``--only`` leaves out.
    """

    path: str
    ledger: Records | None
    api: str
    loaded: Loaded
    left_out: int
    fit: Fit
    steps: Iterator[Step]


@contextlib.contextmanager
def forecast(args: Namespace, out: Output, base_url: str | None, prices: Prices) -> Iterator[Forecast]:
    """Load the manifests, and plan; nothing is written, and no run is kept waiting. Ledger and folders are open meanwhile.

    Without a ``base_url``, the API is the one of the ledger. Raises UsageError and LedgerError.
    """
    path = settings.ledger_path(args.ledger, os.environ)
    named = origin(base_url) if base_url else None
    there = os.path.lexists(path)
    with Records.read(path, origin=named) if there else contextlib.nullcontext() as ledger, Roots() as roots:
        loaded = load_manifests(wanted(args), out, ledger)
        manifests = loaded.manifests
        chosen = only.of_manifests(getattr(args, "only", None), manifests) if manifests else None
        api = ledger.origin if ledger is not None else named or origin(settings.base_url(None, os.environ))
        uses = ledger.budgets.uses(time.time()) if ledger is not None else []
        fit = Fit(manifests, uses, getattr(args, "max_cost", None))
        choices = {"retry_failed": args.retry_failed, "accept_changes": args.accept_changes}
        steps = dry_run(manifests, ledger, roots, api, **choices, prices=prices)
        these = fit.counting(step for step in steps if chosen is None or step.job.key in chosen)
        yield Forecast(path, ledger, api, loaded, only.left_out(chosen, manifests), fit, these)
