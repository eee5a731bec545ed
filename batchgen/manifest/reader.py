"""Reads manifests: from the paths on the command line to checked jobs, or to every problem in them.

A job's fields come from three places, of which the later ones win: the manifest's ``defaults``; the entry (its own keys
for an inline job, the other keys of a ``folder`` or ``table``); a sidecar's or a row's own fields. Whole fields win: lists
and objects are not merged. A ``null`` removes a field of an earlier place; in a table it is an empty cell, which changes
nothing.

Entries count from 0 in messages (``jobs[3]``), rows from 1 with the header, as a spreadsheet counts them. Relative
paths, also those in tables and sidecars, start at the manifest's folder; ``~/`` is the home folder.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from batchgen.errors import UsageError
from batchgen.files import Folders
from batchgen.images import inspection
from batchgen.manifest import warnings
from batchgen.manifest.collected import Collected
from batchgen.manifest.entries import Reading
from batchgen.manifest.image_refs import Inspect, Sources
from batchgen.manifest.isolation import isolated
from batchgen.manifest.listing import and_more
from batchgen.manifest.repeated import repeated
from batchgen.models import ImageFile, Job, Manifest, Place, Problem


def read(
    paths: Sequence[str],
    *,
    output_dir: str | None = None,
    usual_output_dir: str = "clips",
    strict: bool = False,
    known: Mapping[str, ImageFile] = MappingProxyType({}),
    inspect: Inspect = inspection.inspect,
    now: float = 0.0,
    holds_key: Callable[[str], bool] | None = None,
) -> tuple[list[Manifest], list[Problem]]:
    """Read all manifests at ``paths``: those without problems, and all problems of the others, in order of path and line.

    ``output_dir`` is relative to the working directory and replaces the manifests' own;
    ``usual_output_dir`` is for those that have none, and relative to them. Images in ``known``, by path, are
    read again only if they have changed; ``inspect`` may be called from several threads. An image that fails its checks
    makes an :class:`UnusableJob` and is no problem of its manifest; in a manifest that is refused anyway, it is listed with
    the problems. An image that isn't whole and was written shortly before ``now`` (Unix seconds) may still be being
    copied. A text for which ``holds_key`` is true is a problem; with ``strict``, warnings are problems, too. Raises
    UsageError for a path that is neither a manifest nor a folder with one.
    """
    with Folders() as folders:
        sources = Sources(inspect, known, folders, now)
        found = [Collected(file) for file in files(paths)]
        for one in found:
            with isolated(one.give_up):
                Reading(one, output_dir, usual_output_dir, sources, holds_key).read()
    if changed := sources.changed():
        for one in found:
            with isolated(one.give_up):
                one.make_unusable(changed)
    _report_shared_names(found)
    _report_shared_ids(found)
    _warn_of_the_same_content(found)
    for folder, name in _odd_folders(paths):
        mine = [one for one in found if os.path.dirname(one.file) == os.path.normpath(folder)] or found
        best = next((one for one in mine if not one.problems), mine[0])
        best.warnings.append(Problem(Place(os.path.join(folder, name)), "", "is a folder, and no manifest"))
    for one in found:
        with isolated(one.give_up):
            one.warn(sources.has)
        if strict:
            one.refuse_warned()
        else:
            one.manifest.warnings.extend(one.all_warnings())
    good = [one.manifest for one in found if not one.problems]
    return good, [problem for one in found for problem in one.all_problems()]


def files(paths: Sequence[str]) -> Iterator[str]:
    """The files that the paths name, each once."""
    seen: set[tuple[int, int]] = set()
    for path in paths:
        for file in _in_folder(path) if os.path.isdir(path) else [path]:
            try:
                status = os.stat(file)
            except (OSError, ValueError) as error:
                if file != path:  # a dead link in a folder mustn't keep the others from running
                    yield file
                    continue
                reason = error.strerror if isinstance(error, OSError) else "that can't be a path"
                raise UsageError(f"{file}: {reason}") from error
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                yield file


def _in_folder(path: str) -> list[str]:
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    files = [
        file
        for file in (os.path.join(path, name) for name in filter(_is_manifest, names))
        if not os.path.isdir(file)
    ]
    if not files:
        raise UsageError(f"{path}: no manifest in this folder (*.yaml, *.yml)")
    return files


def _odd_folders(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Folders with a manifest's suffix, which aren't read: (the folder they lie in, name)."""
    for path in filter(os.path.isdir, dict.fromkeys(paths)):
        with contextlib.suppress(OSError):
            for name in sorted(filter(_is_manifest, os.listdir(path))):
                if os.path.isdir(os.path.join(path, name)):
                    yield path, name


def _is_manifest(name: str) -> bool:
    """Whether a file of this name in a folder of manifests is a manifest."""
    return name.endswith((".yaml", ".yml")) and not name.startswith(".")


def _report_shared_names(found: Sequence[Collected]) -> None:
    """Report manifests that share a name: jobs are named by it, so neither can be used."""
    by_name: dict[str, list[Collected]] = {}
    for one in found:
        by_name.setdefault(one.manifest.name, []).append(one)
    for name, same in by_name.items():
        if name and len(same) > 1:
            for one in same:
                others = ", ".join(other.file for other in same if other is not one)
                with isolated(one.give_up):
                    one.report(("name",), f'"{name}" is the name of {others} as well; give each its own')


def _jobs_of(found: Sequence[Collected]) -> Iterator[Job]:
    return (job for one in found for job in one.manifest.jobs)


def _report_shared_ids(found: Sequence[Collected]) -> None:
    jobs = functools.partial(_jobs_of, found)
    shared = {job.external_task_id for job in repeated(jobs, lambda job: job.external_task_id)}
    if not shared:
        return
    first: dict[str, tuple[Collected, Job]] = {}
    for one, job in ((each, job) for each in found for job in each.manifest.jobs):
        if job.external_task_id not in shared:
            continue
        other, twin = first.setdefault(job.external_task_id, (one, job))
        if twin is job or (other is not one and other.manifest.name == one.manifest.name):
            continue  # the second: their one name was reported already
        what = f'"{job.external_task_id}" is the external_task_id of'
        path = ("external_task_id",)
        with isolated(one.give_up):
            text = f"{what} {other.where(twin.id, twin.take)} as well"
            one.problems.append(one.problem_of(job, path, text))
        if other is not one:
            with isolated(other.give_up):
                text = f"{what} {one.where(job.id, job.take)} as well"
                other.problems.append(other.problem_of(twin, path, text))


def _warn_of_the_same_content(found: Sequence[Collected]) -> None:
    found = [one for one in found if not one.problems]  # of one name each
    by_name = {one.manifest.name: one for one in found}
    alike: dict[str, list[tuple[Job, Job]]] = {}
    jobs = functools.partial(_jobs_of, found)
    for job, other in warnings.same_content(repeated(jobs, lambda job: job.digest)):
        alike.setdefault(job.manifest, []).append((job, other))
    for name, pairs in alike.items():
        job, other = pairs[0]
        one = by_name[name]
        with isolated(one.give_up):
            where = by_name[other.manifest].where(other.id, other.take)
            text = f"asks for the same clip as {other.manifest}/{other.id} ({where}); each is paid for"
            one.warnings.append(one.problem_of(job, (), text + and_more(len(pairs) - 1)))
