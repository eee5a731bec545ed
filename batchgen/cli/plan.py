"""``batchgen plan``: what a run would do, and what it would cost."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from batchgen.cli import only, preview, report, settings
from batchgen.cli.output import Output
from batchgen.errors import ManifestError
from batchgen.http.endpoint import origin
from batchgen.ledger.reader import Records
from batchgen.manifest import reader
from batchgen.run.ordered import with_orders
from batchgen.run.planning import planned
from batchgen.run.survey import Survey, survey, unrecorded
from batchgen.storage.roots import Roots


def plan(args: argparse.Namespace, out: Output, also: Mapping[str, Any] = MappingProxyType({})) -> int:
    """Say what a run would do about each job. With ``--json``, the object has ``also``, too."""
    path = settings.ledger_path(args.ledger, os.environ)
    with (
        Records.read(path) if os.path.lexists(path) else contextlib.nullcontext() as ledger,
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
        manifests, waiting = with_orders(manifests, ledger)
        chosen = only.of_manifests(getattr(args, "only", None), manifests)
        on_disk = survey(ledger, manifests, roots) if ledger is not None else Survey()
        api = ledger.origin if ledger is not None else origin(settings.base_url(None, os.environ))
        beside = unrecorded(ledger, manifests, api, roots)
        choices = {"retry_failed": args.retry_failed, "accept_changes": args.accept_changes}
        applied = on_disk.applied(planned(manifests, ledger, beside, **choices))
        steps = (step for step in applied if chosen is None or step.job.key in chosen)
        left_out = only.left_out(chosen, manifests)
        skipped = sum(len(one.skipped) for one in manifests)
        code = 2 if problems else 0
        warned = [warning for one in manifests for warning in one.warnings]
        if args.json:
            found = preview.plan_object(steps)
            found |= report.problem_fields(problems, verbose=args.verbose)
            found |= report.problem_fields(warned, "warnings", verbose=args.verbose)
            waits = [preview.waiting_object(one) for one in waiting]
            counts = {"skipped": skipped, "left_out": left_out}
            out.document({"exit_code": code, **found, **counts, "waiting_orders": waits, **also})
        else:
            out.lines(preview.plan_text(steps, width=out.width, verbose=args.verbose))
            out.lines([*map(preview.waiting_text, waiting), *([only.text(left_out)] if left_out else [])])
            if skipped and args.verbose:
                out.lines(preview.skipped_text(key for one in manifests for key in one.skipped))
    out.say(*report.problem_lines(problems, verbose=args.verbose))
    if not args.quiet:
        out.say(*report.problem_lines(warned, report.warning_text, verbose=args.verbose))
    return code
