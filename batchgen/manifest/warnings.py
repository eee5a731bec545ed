"""Warnings about a manifest whose jobs are all valid: unused pictures and sidecars, jobs that are alike."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from batchgen.images.facts import SUFFIXES
from batchgen.manifest.folders import IMAGE_SUFFIXES, Found
from batchgen.manifest.repeated import repeated
from batchgen.models import Job

NAMED = 3  # files, or entries, that a warning names
KINDS = 8  # suffixes that it names
EVERYWHERE = "**/*.{png,jpg,jpeg}"


def unused(found: Found, is_used: Callable[[str], bool]) -> Iterator[str]:
    """Warnings about pictures and sidecars in a folder that no job uses. ``is_used`` says whether a job has an image's path."""
    others = Counter(_suffix(path) for path in found.others if not is_used(path))
    deeper = sum(not is_used(path) for path in found.deeper if path.lower().endswith(IMAGE_SUFFIXES))
    parts = []
    wrong = {suffix: count for suffix, count in others.items() if suffix not in found.suffixes}
    if wrong:
        remedy = "`prepare: true` takes them" if all(one in SUFFIXES for one in wrong) else "convert them"
        parts.append(f"{_counts(wrong)} (the API takes PNG and JPEG; {remedy})")
    right = {suffix: count for suffix, count in others.items() if suffix in found.suffixes}
    if right:
        parts.append(f"{_counts(right)} (match leaves them out)")
    if deeper:
        parts.append(f"{deeper:,} one folder further down (match: {EVERYWHERE!r} takes them)")
    if parts:
        yield f"no entry takes these pictures: {', '.join(parts)}"
    if found.orphans:
        yield f"no image has the name of these texts, so that no job uses them: {listed(found.orphans)}"


def no_job(empty: Sequence[str], skipped: int) -> str:
    """The warning about a manifest without a job; ``empty`` says why entries make none, ``skipped`` jobs are left out."""
    reasons = [*empty[:NAMED]]
    if len(empty) > NAMED:
        reasons.append(f"{len(empty) - NAMED:,} more entries make none either")
    if skipped:
        reasons.append("the one that it has is skipped" if skipped == 1 else f"all {skipped:,} are skipped")
    return "no job comes of this manifest" + (f": {'; '.join(reasons)}" if reasons else "")


def nothing_in(shown: str, match: str | None, found: Found, *, prepare: bool) -> str:
    """Why an entry takes no image of its folder, which holds no other than ``found``."""
    counts = found.strangers + Counter(_suffix(path) for path in (*found.others, *found.orphans))
    folders = len(found.closed)
    if not counts:
        holds = (
            f"; its {folders:,} folder{'s need' if folders > 1 else ' needs'} a match such as {EVERYWHERE!r}"
            if folders
            else ""
        )
        return f"{shown} has no pictures in it{holds}"
    usual = "" if prepare else ", which takes PNG and JPEG"
    what = f"match {match!r}" if match else f"an entry without match{usual}"
    named = sorted(counts.items(), key=lambda item: (-item[1], item[0] or "~"))
    kinds = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in named[:KINDS])
    more = f", and {len(named) - KINDS:,} more kinds" if len(named) > KINDS else ""
    return f"{shown} has nothing for {what}, but {kinds}{more}"


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(counts.items()))


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def same_content(jobs: Iterable[Job]) -> Iterator[tuple[Job, Job]]:
    """Pairs of a job and an earlier one with the same content, which would be paid for twice. Takes of one job don't count."""
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(job.digest, job)
        if (other.manifest, other.id) != (job.manifest, job.id):
            yield job, other


def same_but_case(jobs: Sequence[Job]) -> Iterator[tuple[Job, str]]:
    """Jobs of one manifest whose ids differ from another's only in case, each with the other's id."""
    if all(job.id == job.id.lower() for job in jobs):
        return
    alike = repeated(lambda: jobs, lambda job: job.id.lower())
    mixed = [job for job in alike if job.id != job.id.lower()]
    known = {job.id: job.id for job in alike if job.id == job.id.lower()}
    for job in mixed:
        other = known.setdefault(job.id.lower(), job.id)
        if other != job.id:
            yield job, other
