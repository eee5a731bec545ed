"""``batchgen validate``: what is wrong with manifests."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from batchgen.cli import config, only, report
from batchgen.cli.job_names import Name
from batchgen.cli.output import Output
from batchgen.cli.preparations import preparations
from batchgen.escapes import visible
from batchgen.manifest import reader
from batchgen.models import Manifest


def validate(args: argparse.Namespace, out: Output) -> int:
    """Check manifests, without network and ledger."""
    manifests, problems = reader.read(
        args.paths,
        output_dir=args.output_dir,
        usual_output_dir=config.usual_output_dir(args),
        strict=args.strict,
        now=time.time(),
        holds_key=out.mask.holds_key,
    )
    warned = [warning for one in manifests for warning in one.warnings]
    warned += [bad.problem for one in manifests for bad in one.unusable if bad.waits]
    problems += [bad.problem for one in manifests for bad in one.unusable if not bad.waits]
    chosen = only.of_manifests(args.only, manifests) if manifests else None
    others = only.left_out(chosen, manifests)
    jobs = sum(len(one.jobs) + len(one.unusable) for one in manifests) - others
    skipped = sum(len(one.skipped) for one in manifests)
    code = 2 if problems else 0
    prepared = _prepared(manifests) if args.verbose else iter(())
    if args.json:
        out.document(
            {
                "exit_code": code,
                "manifests": len(manifests),
                "jobs": jobs,
                **report.problem_fields(problems, verbose=args.verbose),
                **report.problem_fields(warned, "warnings", verbose=args.verbose),
                "skipped": skipped,
                "left_out": others,
                **({"prepared": [*prepared]} if args.verbose else {}),
            }
        )
    else:
        out.say(*report.problem_lines(problems, verbose=args.verbose))
        if not args.quiet:
            out.say(*report.problem_lines(warned, report.warning_text, verbose=args.verbose))
        out.lines(
            f"{Name(one['manifest'], one['job_id'], one['take'])}: {one['field']}: {visible(one['file'])}: {one['what']}"
            for one in prepared
        )
        if not problems and not args.quiet:
            files = report.counted(len(manifests), "manifest")
            hint = f", {report.counted(len(warned), 'warning')}" if warned else ""
            left_out = f", {skipped:,} skipped" if skipped and args.verbose else ""
            left_out += f" ({only.text(others)})" if others else ""
            out.lines([f"{files}, {report.counted(jobs, 'job')}{left_out}: no problems{hint}"])
    return code


def _prepared(manifests: Iterable[Manifest]) -> Iterator[dict[str, Any]]:
    """What is done to each image that is to be prepared."""
    here = os.path.join(os.getcwd(), "")
    for job in (job for one in manifests for job in one.jobs):
        for field, file, what in preparations(job):
            yield {
                "manifest": job.manifest,
                "job_id": job.id,
                "take": job.take,
                "field": field,
                "file": file.removeprefix(here),
                "what": what,
            }
