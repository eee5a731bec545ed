"""``batchgen plan``: what a run would do, and what it would cost."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from batchgen.cli import config, only, preview, report
from batchgen.cli.forecast import forecast
from batchgen.cli.output import Output
from batchgen.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from batchgen.cli.approval import Draft


def plan(args: argparse.Namespace, out: Output, also: Mapping[str, Any] = MappingProxyType({})) -> int:
    """Say what a run would do about each job, and with ``-o`` approve what it pays for. With ``--json``, the object has ``also``, too."""
    prices = config.prices(args)
    draft = _draft(args)
    with forecast(args, out, getattr(args, "base_url", None), prices) as found:
        loaded, fit = found.loaded, found.fit
        if not loaded.manifests:
            raise ManifestError(loaded.problems)
        steps = draft.taking(found.steps) if draft is not None else found.steps
        code = 2 if loaded.problems else 0
        if args.json:
            document = preview.plan_object(steps)
            document |= report.problem_fields(loaded.problems, verbose=args.verbose)
            document |= report.problem_fields(loaded.warnings, "warnings", verbose=args.verbose)
            waits = [preview.waiting_object(one) for one in loaded.waiting]
            counts: dict[str, Any] = {"skipped": loaded.skipped, "left_out": found.left_out, **fit.object()}
            if draft is not None:
                counts["approval"] = draft.object(draft.write(found.ledger, found.path, found.api, out))
            out.document({"exit_code": code, **document, **counts, "waiting_orders": waits, **also})
        else:
            out.lines(preview.plan_text(steps, width=out.width, verbose=args.verbose, prices=prices))
            out.lines(fit.lines())
            out.lines(map(preview.waiting_text, loaded.waiting))
            out.lines([only.text(found.left_out)] if found.left_out else [])
            if loaded.skipped and args.verbose:
                out.lines(preview.skipped_text(key for one in loaded.manifests for key in one.skipped))
            if draft is not None:
                approval = draft.write(found.ledger, found.path, found.api, out)
                out.say(*([] if args.quiet else draft.lines(approval, args.paths)))
    out.say(*report.problem_lines(loaded.problems, verbose=args.verbose))
    if not args.quiet:
        out.say(*report.problem_lines(loaded.warnings, report.warning_text, verbose=args.verbose))
    return code


def _draft(args: argparse.Namespace) -> Draft | None:
    """The approval that is to be written, if one is."""
    if getattr(args, "plan", None):
        raise UsageError("-n shows what a run without --plan would do; give one of the two")
    if not getattr(args, "approval", None):
        return None
    from batchgen.cli.approval import Draft

    return Draft(args.approval)
