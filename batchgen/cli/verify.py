"""``batchgen verify``: the clips on disk, compared with the ledger."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from batchgen.cli import settings
from batchgen.cli.output import Output
from batchgen.cli.quantities import shown_size
from batchgen.cli.report import counted
from batchgen.ledger.reader import Records
from batchgen.models import State
from batchgen.run.verify import Fault, Finding, Verification
from batchgen.storage.roots import Roots

_AGAIN = "the next run fetches it again, which costs nothing; the API keeps clips for 30 days"
ADVICE = {
    Fault.MISSING: _AGAIN,
    Fault.GONE: "the API has deleted it, too: another take makes another clip, and is paid for; a backup of yours may have it",
    Fault.SHORT: f"{_AGAIN}; this file stays beside it",
    Fault.LONG: f"{_AGAIN}; this file stays beside it",
    Fault.CHANGED: f"move it away where that isn't meant: {_AGAIN}",
    Fault.UNREADABLE: "let the user who runs batchgen read it, or look at the disk",
    Fault.AWAY: "mount the disk, or let it be read, and verify again: its clips weren't looked for",
    Fault.FOREIGN: "no row of the ledger has it: a clip of another ledger, of a job that failed later, or yours; nothing is done with it",
}
SHOWN = 2_000  # of each fault, in text


def verify(args: argparse.Namespace, out: Output) -> int:
    """Compare the clips with the ledger. Returns the exit code: 1 where a row's clip isn't as the ledger says."""
    path = settings.ledger_path(args.ledger, os.environ)
    counts: Counter[Fault] = Counter()
    with Records.read(path) as ledger, Roots() as roots, _bar(out, ledger) as compared:
        work = Verification(ledger, roots, deep=args.deep, compared=compared)
        if args.json:
            about = {"ledger": path, "deep": args.deep, "findings": _objects(work, counts)}
            out.document(
                {**about, "counts": _counts(counts)}
            )  # which are known once the findings are written
        else:
            _show(out, work, counts)
    if not args.json and (counts or not args.quiet):
        how = "by size and digest" if args.deep else "by size"
        text = f"{counted(work.rows, 'clip')} compared {how}, {shown_size(work.read)}"
        found = ", ".join(f"{count:,} {fault}" for fault, count in counts.items())
        out.lines([f"{text}: {found or 'all as the ledger says'}"])
    return int(any(count for fault, count in counts.items() if fault is not Fault.FOREIGN))


def _objects(found: Iterable[Finding], counts: Counter[Fault]) -> Iterator[dict[str, Any]]:
    """The findings for scripts, as they come."""
    for one in found:
        counts[one.fault] += 1
        clip = one.clip
        yield {
            "fault": one.fault,
            "path": one.path,
            "external_task_id": clip and clip.external_task_id,
            "manifest": clip and clip.manifest,
            "job_id": clip and clip.job_id,
            "take": clip and clip.take,
            "message": one.text,
            "advice": ADVICE[one.fault],
        }


def _show(out: Output, found: Iterable[Finding], counts: Counter[Fault]) -> None:
    """Each fault's first findings, as they come; and what to do about each kind."""
    for one in found:
        counts[one.fault] += 1
        if counts[one.fault] <= SHOWN:
            job = "" if one.clip is None else f" [{one.clip.external_task_id}]"
            out.lines([f"{one.fault}: {one.path}: {one.text}{job}"])
    for fault, count in counts.items():
        more = f"{count - SHOWN:,} more; --json has all. " if count > SHOWN else ""
        out.lines([f"{fault}: {more}{ADVICE[fault]}."])


def _counts(counts: Counter[Fault]) -> Iterator[dict[str, Any]]:
    yield from ({"fault": fault, "count": count} for fault, count in counts.items())


@contextlib.contextmanager
def _bar(out: Output, ledger: Records) -> Iterator[Callable[[], object]]:
    """A bar on a terminal, and what moves it on by a clip."""
    if not out.shows_progress:
        yield lambda: None
        return
    from tqdm import tqdm

    form = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} clips [{elapsed}<{remaining}]"
    total = ledger.counts()[State.DOWNLOADED]
    with tqdm(total=total, bar_format=form, dynamic_ncols=True, leave=False) as bar:
        yield bar.update
