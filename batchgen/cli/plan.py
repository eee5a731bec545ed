"""``batchgen plan``: what a run would do, and what it would cost."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from batchgen.cli import config, only, preview, report, settings
from batchgen.cli.fit import Fit
from batchgen.cli.output import Output
from batchgen.errors import ManifestError, UsageError
from batchgen.http.endpoint import origin
from batchgen.ledger.reader import Records
from batchgen.manifest import reader
from batchgen.run.ordered import with_orders
from batchgen.run.planning import planned
from batchgen.run.survey import Survey, survey, unrecorded
from batchgen.storage.roots import Roots

if TYPE_CHECKING:
    from batchgen.cli.approval import Draft


def plan(args: argparse.Namespace, out: Output, also: Mapping[str, Any] = MappingProxyType({})) -> int:
    """Say what a run would do about each job, and with ``-o`` approve what it pays for. With ``--json``, the object has ``also``, too."""
    path = settings.ledger_path(args.ledger, os.environ)
    prices = config.prices(os.environ)
    draft = _draft(args)
    base_url = getattr(args, "base_url", None)
    wanted = origin(base_url) if base_url else None
    with (
        Records.read(path, origin=wanted) if os.path.lexists(path) else contextlib.nullcontext() as ledger,
        Roots() as roots,
    ):
        known = ledger.images() if ledger is not None else {}
        manifests, problems = reader.read(
            args.paths,
            output_dir=args.output_dir,
            strict=args.strict,
            known=known,
            now=time.time(),
            holds_key=out.mask.holds_key,
        )
        if not manifests:
            raise ManifestError(problems)
        manifests, waiting, _ = with_orders(manifests, ledger)
        chosen = only.of_manifests(getattr(args, "only", None), manifests)
        on_disk = survey(ledger, manifests, roots) if ledger is not None else Survey()
        api = ledger.origin if ledger is not None else origin(settings.base_url(base_url, os.environ))
        beside = unrecorded(ledger, manifests, api, roots)
        choices = {"retry_failed": args.retry_failed, "accept_changes": args.accept_changes}
        applied = on_disk.applied(planned(manifests, ledger, beside, **choices, prices=prices))
        uses = ledger.budgets.uses(time.time()) if ledger is not None else []
        fit = Fit(manifests, uses, getattr(args, "max_cost", None))
        these = fit.counting(step for step in applied if chosen is None or step.job.key in chosen)
        steps = draft.taking(these) if draft is not None else these
        left_out = only.left_out(chosen, manifests)
        skipped = sum(len(one.skipped) for one in manifests)
        code = 2 if problems else 0
        warned = [warning for one in manifests for warning in one.warnings]
        if args.json:
            found = preview.plan_object(steps)
            found |= report.problem_fields(problems, verbose=args.verbose)
            found |= report.problem_fields(warned, "warnings", verbose=args.verbose)
            waits = [preview.waiting_object(one) for one in waiting]
            counts: dict[str, Any] = {"skipped": skipped, "left_out": left_out, **fit.object()}
            if draft is not None:
                counts["approval"] = draft.object(draft.write(ledger, path, api, out))
            out.document({"exit_code": code, **found, **counts, "waiting_orders": waits, **also})
        else:
            out.lines(preview.plan_text(steps, width=out.width, verbose=args.verbose, prices=prices))
            out.lines(fit.lines())
            out.lines([*map(preview.waiting_text, waiting), *([only.text(left_out)] if left_out else [])])
            if skipped and args.verbose:
                out.lines(preview.skipped_text(key for one in manifests for key in one.skipped))
            if draft is not None:
                approval = draft.write(ledger, path, api, out)
                out.say(*([] if args.quiet else draft.lines(approval, args.paths)))
    out.say(*report.problem_lines(problems, verbose=args.verbose))
    if not args.quiet:
        out.say(*report.problem_lines(warned, report.warning_text, verbose=args.verbose))
    return code


def _draft(args: argparse.Namespace) -> Draft | None:
    """The approval that is to be written, if one is."""
    if getattr(args, "plan", None):
        raise UsageError("-n shows what a run without --plan would do; give one of the two")
    if not getattr(args, "approval", None):
        return None
    from batchgen.cli.approval import Draft

    return Draft(args.approval)
