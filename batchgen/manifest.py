"""Manifests: from the paths a person gives to jobs that are checked, or to every problem there is.

A job's fields come from three places, the later ones winning: the manifest's ``defaults``; the entry (its own keys for
an inline job, the other keys of a ``folder`` or ``table``); a sidecar's or a row's own fields. Whole fields win: lists
and objects are not merged. A ``null`` takes away what a place before it gives; in a table it is an empty cell, which
says nothing.

Entries count from 0 in messages (``jobs[3]``), rows from 1 with the header, as a spreadsheet counts them. Relative
paths, also those in tables and sidecars, start at the manifest's folder; ``~/`` is the home folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from batchgen import images, schema
from batchgen.errors import UsageError
from batchgen.expand import Draft, folder, match_error, table
from batchgen.making import Made, Maker, Shared
from batchgen.models import ImageFile, Job, Manifest, Place, Problem, UnusableJob
from batchgen.origins import Document, Inline, beside, subject
from batchgen.placeholders import PROMPTS, PlaceholderError, fill_in
from batchgen.schema import Finding
from batchgen.sources import Sources, absolute
from batchgen.yaml12 import MAX_BYTES, YamlError, load


def read(
    paths: Sequence[str],
    *,
    output_dir: str | None = None,
    strict: bool = False,
    known: Mapping[str, ImageFile] = MappingProxyType({}),
    inspect: Callable[[str], ImageFile] = images.inspect,
) -> tuple[list[Manifest], list[Problem]]:
    """Every manifest without problems, and all problems of all others, in the order of the paths and their lines.

    ``output_dir`` is relative to the working directory and beats the manifests'. Images that are ``known``, by their
    paths, are read again only where they have changed; ``inspect`` may be called from several threads. An image that
    fails its checks is no problem of its manifest, but makes an :class:`UnusableJob`; in a manifest that is refused
    anyway, it is reported with the rest. With ``strict``, warnings are problems. Raises UsageError for a path that is neither a manifest nor a folder with one.
    """
    sources = Sources(inspect, known)
    readings = [_Reading(file, output_dir, sources) for file in _files(paths)]
    for reading in readings:
        reading.read()
        (reading.problems if strict else reading.manifest.warnings).extend(reading.warnings)
    _report_shared_names(readings)
    _report_shared_ids(readings)
    good = [reading.manifest for reading in readings if not reading.problems]
    return good, [problem for reading in readings for problem in reading.all_problems()]


def _files(paths: Sequence[str]) -> Iterator[str]:
    """Every manifest that is meant, once."""
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
    names = [name for name in names if name.endswith((".yaml", ".yml")) and not name.startswith(".")]
    files = [file for file in (os.path.join(path, name) for name in names) if not os.path.isdir(file)]
    if not files:
        raise UsageError(f"{path}: no manifest in this folder (*.yaml, *.yml)")
    return files


def _bytes_of(file: str) -> bytes:
    """Raises OSError. A FIFO isn't waited for."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file")
        return opened.read(MAX_BYTES + 1)


class _Reading:
    """One manifest while it is read: the file as the user named it, and what was found in it so far."""

    def __init__(self, file: str, output_dir: str | None, sources: Sources) -> None:
        self.file = file
        self.base = os.path.dirname(os.path.abspath(file))
        self.output_dir = output_dir
        self.sources = sources
        self.manifest = Manifest(file, "")
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.places: dict[tuple[str, int], Inline | Place] = {}  # where each (id, take) was met first

    def all_problems(self) -> list[Problem]:
        if not self.problems:
            return []
        found = [*self.problems, *(job.problem for job in self.manifest.unusable)]
        files = {self.file: 0}
        for problem in found:
            files.setdefault(problem.place.file, len(files))
        return sorted(found, key=lambda p: (files[p.place.file], p.place.line, p.place.column))

    # -- the top level -----------------------------------------------------------------------------------------------

    def read(self) -> None:
        try:
            data = _bytes_of(self.file)
            content = load(data)
        except OSError as error:
            self.problems.append(Problem(Place(self.file), "", f"can't be read: {error.strerror}"))
            return
        except YamlError as error:
            self.problems.append(Problem(Place(self.file, error.line, error.column), "", error.text))
            return
        self.document = Document(self.file, data)
        if not isinstance(content, dict):
            text = "the file is empty" if content is None else "a manifest is a set of keys (key: value)"
            place = self.document.place(())
            self.problems.append(Problem(place, "", f"{text}; it starts with version: 1 and jobs:"))
            return
        self._read_top(schema.natural(content))

    def _read_top(self, top: dict[str, Any]) -> None:
        top.setdefault("name", os.path.splitext(os.path.basename(self.file))[0])
        findings = schema.check_entry("manifest", top)
        for finding in findings:
            self.report(finding.path, finding.text)
        broken = {finding.path[:1] for finding in findings}
        jobs = top.pop("jobs", None)
        if ("jobs",) in broken or not isinstance(jobs, list):
            jobs = []
        name = "" if ("name",) in broken else top["name"]
        self.manifest = Manifest(
            self.file, name, top.get("concurrency"), top.get("max_running"), top.get("max_cost_usd")
        )
        if self.output_dir is None:
            written = top.get("output_dir", "clips")
            self.output_dir = absolute(written if isinstance(written, str) else "clips", self.base)
        else:
            self.output_dir = absolute(self.output_dir, os.getcwd())
        self.maker = Maker(name, self.base, self.output_dir, self.sources)
        fields = schema.natural(top["defaults"]) if isinstance(top.get("defaults"), dict) else {}
        findings = schema.check_entry("defaults", fields)
        for finding in findings:
            self.report(("defaults", *finding.path), finding.text)
        defaults = Shared(fields, frozenset(finding.path[0] for finding in findings if finding.path))
        for number, entry in enumerate(jobs):
            jobs[number] = None  # what was read is let go of job by job
            self._read_entry(Inline(self.document, number), entry, defaults)

    def report(self, path: Sequence[str | int], text: str) -> None:
        self.problems.append(Problem(self.document.place(path), subject("", None, path), text))

    # -- entries -----------------------------------------------------------------------------------------------------

    def _read_entry(self, at: Inline, entry: Any, defaults: Shared) -> None:
        if not isinstance(entry, dict):
            text = "a job is a set of keys (id, image, prompt ...), or a folder or a table"
            self.problems.append(at.problem(None, (), text))
            return
        own = schema.natural(entry)
        kind = next((kind for kind in ("folder", "table") if kind in own), None)
        if kind is None:
            made = self._make(Draft(at, own), "inline", defaults)
            self.problems.extend(at.problem(made.id, *finding) for finding in made.findings)
            self.warnings.extend(at.problem(made.id, *finding) for finding in made.warnings)
            return
        own, defaults = defaults.without_nulls(own)
        findings = schema.check_entry(kind, own)
        if (
            skip := own.get("skip", defaults.fields.get("skip")) is True
        ):  # what it is must be known all the same
            findings = [finding for finding in findings if finding.path[:1] in ((kind,), ("match",))]
        self.problems.extend(at.problem(None, finding.path, finding.text) for finding in findings)
        broken = {finding.path[0] for finding in findings if finding.path}
        where, match = own.pop(kind), own.pop("match", None)
        if kind in broken or "match" in broken:
            return
        if match is not None and (reason := match_error(match)):
            self.problems.append(at.problem(None, ("match",), reason))
            return
        if "\0" in where:
            self.problems.append(at.problem(None, (kind,), "this can't be a path"))
            return
        fields = {**defaults.fields, **own}
        bad = {name for name in defaults.reported if name not in own} | broken
        prompts = {name: fields[name] for name in PROMPTS if name in fields and not skip}
        try:
            fill_in(prompts, lambda: "/example/example.png")
        except PlaceholderError as error:
            self.problems.append(at.problem(None, error.path if error.path[0] in own else (), error.text))
            bad.update(PROMPTS)
        shared = Shared(fields, frozenset(bad))
        full, shown = absolute(where, self.base), beside(self.file, where)
        try:
            if kind == "folder":
                found = folder(at.number, full, shown, match)
                drafts = found if skip else self.sources.ahead(found, _image_of)
                self._read_many(drafts, "sidecar", shared)
            else:
                self._read_many(table(full, shown), "row", shared)
        except OSError as error:
            if skip:
                return
            why = f"no such {kind}" if isinstance(error, FileNotFoundError) else error.strerror
            self.problems.append(at.problem(None, (kind,), f"{shown}: {why}"))

    def _read_many(self, drafts: Iterable[Draft | Problem], kind: str, shared: Shared) -> None:
        problems, warnings = _Gathered(self.problems), _Gathered(self.warnings)
        skip = shared.fields.get("skip") is True
        for draft in drafts:
            if isinstance(draft, Problem):
                if not skip:
                    self.problems.append(draft)
                continue
            made = self._make(draft, kind, shared)
            for finding in made.findings:
                problems.add(draft, made.id, finding)
            for finding in made.warnings:
                warnings.add(draft, made.id, finding)
        problems.finish()
        warnings.finish()

    def _make(self, draft: Draft, kind: str, shared: Shared) -> Made:
        """Keep the job that a draft makes, or the reason why it can't run; its findings are left to the caller."""
        made = self.maker.make(draft, kind, shared)
        origin = draft.origin
        if made.id is not None:
            key = (made.id, made.take)
            if key in self.places:
                take = f" (take {made.take})" if made.take != 1 else ""
                text = f'"{made.id}"{take} is the id of {self.where(key)} already; give one of them another'
                return made._replace(findings=[*made.findings, Finding(("id",), text)])
            if isinstance(origin, Inline):
                self.places[key] = origin
            else:
                self.places[key] = made.job.place if made.job is not None else origin.place
        if made.job is not None:
            self.manifest.jobs.append(made.job)
        elif made.skipped:
            self.manifest.skipped.append((self.manifest.name, made.id or "", made.take))
        elif made.failures:
            path, text = made.failures[0]
            if len(made.failures) > 1:
                text = "; ".join(f"{subject('', None, path)}: {text}" for path, text in made.failures)
                path = ()
            problem = origin.problem(made.id, path, text)
            evidence = self.maker.evidence(draft, shared)
            self.manifest.unusable.append(
                UnusableJob(self.manifest.name, made.id or "", made.take, problem, evidence)
            )
        return made

    def where(self, key: tuple[str, int]) -> Place:
        """Where the job of an id and a take stands."""
        found = self.places[key]
        return found.at() if isinstance(found, Inline) else found

    def report_job(self, job: Job, text: str) -> None:
        """Add a problem about a job that is fine by itself."""
        found = self.places[job.id, job.take]
        path = ("external_task_id",)
        if isinstance(found, Inline):
            self.problems.append(found.problem(job.id, path, text))
        else:
            self.problems.append(Problem(found, subject(job.id, None, path), text))


class _Gathered:
    """Findings of many jobs: one that isn't in a job's own fields is the same for all, and listed once."""

    def __init__(self, listed: list[Problem]) -> None:
        self._listed = listed
        self._shared: dict[Finding, list[int]] = {}  # [where it is listed, how many more]

    def add(self, draft: Draft, job_id: str | None, finding: Finding) -> None:
        if not (finding.path and finding.path[0] in draft.fields):
            if finding in self._shared:
                self._shared[finding][1] += 1
                return
            self._shared[finding] = [len(self._listed), 0]
        self._listed.append(draft.origin.problem(job_id, *finding))

    def finish(self) -> None:
        """Say of each that is shared how many more there are."""
        for number, more in self._shared.values():
            if more:
                problem = self._listed[number]
                self._listed[number] = replace(problem, text=f"{problem.text} (and {more:,} more like it)")


def _image_of(draft: Draft | Problem) -> str | None:
    return draft.file if isinstance(draft, Draft) and draft.fields.get("skip") is not True else None


def _report_shared_names(readings: Sequence[_Reading]) -> None:
    """Jobs are known by their manifest's name: of two manifests with one name, neither can be the one that is meant."""
    by_name: dict[str, list[_Reading]] = {}
    for reading in readings:
        by_name.setdefault(reading.manifest.name, []).append(reading)
    for name, same in by_name.items():
        if name and len(same) > 1:
            for reading in same:
                others = ", ".join(other.file for other in same if other is not reading)
                reading.report(("name",), f'"{name}" is the name of {others} as well; give each its own')


def _report_shared_ids(readings: Sequence[_Reading]) -> None:
    ids = [job.external_task_id for reading in readings for job in reading.manifest.jobs]
    if len(set(ids)) == len(ids):
        return
    first: dict[str, tuple[_Reading, Job]] = {}
    for reading in readings:
        for job in reading.manifest.jobs:
            other, twin = first.setdefault(job.external_task_id, (reading, job))
            if twin is job or (other is not reading and other.manifest.name == reading.manifest.name):
                continue  # the second: their one name was reported already
            what = f'"{job.external_task_id}" is the external_task_id of'
            reading.report_job(job, f"{what} {other.where((twin.id, twin.take))} as well")
            if other is not reading:
                other.report_job(twin, f"{what} {reading.where((job.id, job.take))} as well")
