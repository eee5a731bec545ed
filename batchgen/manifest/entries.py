"""Reads one manifest: its top level, then its entries one after another, to jobs or to all of its problems."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from batchgen import limits, names
from batchgen.files import open_regular
from batchgen.images.facts import SUFFIXES
from batchgen.manifest import folders, takes, trust, warnings
from batchgen.manifest.builder import BuildResult, JobBuilder, Shared
from batchgen.manifest.collected import Collected
from batchgen.manifest.comments import cut_prompts
from batchgen.manifest.globs import match_error
from batchgen.manifest.image_refs import Sources
from batchgen.manifest.key_search import HOLDS_KEY, KeySearch, is_in_id
from batchgen.manifest.listing import Gathered
from batchgen.manifest.locations import Document, Draft, InFolder, Inline, shown_path, subject
from batchgen.manifest.placeholders import PROMPTS, PlaceholderError, fill_in
from batchgen.manifest.tables import table
from batchgen.manifest.yaml12 import YamlError, load
from batchgen.models import Manifest, Place, Problem, Within
from batchgen.request import schema
from batchgen.request.schema import Finding

log = logging.getLogger(__name__)
_STARTS = "it starts with version: 1 and jobs:"
_KEY = re.compile(rb"\s*+[*!&]\S++\s*+")  # a single word to which YAML gives a meaning

# A file that doesn't look like this isn't a manifest, and was probably named by mistake: nothing of it is quoted.
_LIKE_A_MANIFEST = re.compile(rb"""(?m)^[ \t{,]*["']?(?:version|jobs|defaults)["']?[ \t]*:""")


class Reading:
    """Reads one manifest into what is collected of it."""

    def __init__(
        self,
        collected: Collected,
        output_dir: str | None,
        usual_output_dir: str,
        sources: Sources,
        holds_key: Callable[[str], bool] | None,
    ) -> None:
        self._collected, self.file = collected, collected.file
        self.problems, self.warnings = collected.problems, collected.warnings
        self.keys = None if holds_key is None else KeySearch(holds_key)
        self.base = os.path.dirname(os.path.abspath(self.file))
        self.output_dir, self._usual_output_dir = output_dir, usual_output_dir
        self.sources = sources

    # -- the top level -----------------------------------------------------------------------------------------------

    def read(self) -> None:
        try:
            data = _bytes_of(self.file)
            if _KEY.fullmatch(data):
                raise YamlError(1, 1, "this is a single word")
            content = load(data)
        except OSError as error:
            self.problems.append(Problem(Place(self.file), "", f"can't be read: {error.strerror}"))
            return
        except YamlError as error:
            text = error.text if _LIKE_A_MANIFEST.search(data) else f"{error.plain}; {_STARTS}"
            self.problems.append(Problem(Place(self.file, error.line, error.column), "", text))
            return
        self.document = self._collected.document = Document(self.file, data)
        for cut in cut_prompts(data):
            place = Place(self.file, cut.line, cut.column)
            self.warnings.append(Problem(place, subject("", None, cut.path), cut.text))
        if not isinstance(content, dict) or not schema.is_manifest(content):
            text = "the file is empty" if content is None else "a manifest is a set of keys (key: value)"
            place = self.document.place(())
            self.problems.append(Problem(place, "", f"{text}; {_STARTS}"))
            return
        self._read_top(schema.natural(content))

    def _read_top(self, top: dict[str, Any]) -> None:
        top.setdefault("name", os.path.splitext(os.path.basename(self.file))[0])
        jobs = top.get("jobs")
        # Jobs are checked one by one: the validators would make copies of all of them.
        findings = schema.check_entry(
            "manifest", {**top, "jobs": jobs[:1]} if isinstance(jobs, list) else top
        )
        top.pop("jobs", None)
        for finding in findings:
            self._collected.report(finding.path, finding.text)
        broken = {finding.path[:1] for finding in findings}
        if ("jobs",) in broken or not isinstance(jobs, list):
            jobs = []
        name = "" if ("name",) in broken else names.composed(top["name"])
        if self.keys is not None and self.keys.holds_key(name):
            self._collected.report(("name",), HOLDS_KEY)
        self._collected.manifest = Manifest(
            self.file,
            name,
            top.get("concurrency"),
            top.get("max_running"),
            top.get("max_cost_usd"),
            top.get("downloads"),
        )
        if self.output_dir is None:
            written = top.get("output_dir", self._usual_output_dir)
            self.output_dir = self.sources.find(written if isinstance(written, str) else "clips", self.base)
        else:
            self.output_dir = self.sources.find(self.output_dir, os.getcwd())
        if why := names.no_path(self.output_dir):
            self._collected.report(("output_dir",), why)
            return
        if why := names.too_long(self.output_dir, name, "", names.longest_name(self.output_dir)):
            self._collected.report(("name",), f"{why}; give the manifest a shorter name")
        self.builder = JobBuilder(name, self.base, self.output_dir, self.sources, self.keys)
        fields = schema.natural(top["defaults"]) if isinstance(top.get("defaults"), dict) else {}
        findings = [*schema.check_entry("defaults", fields), *takes.conflict(fields)]
        for finding in findings:
            self._collected.report(("defaults", *finding.path), finding.text)
        defaults = Shared(fields, frozenset(finding.path[0] for finding in findings if finding.path))
        for number, entry in enumerate(jobs):
            if self.problems.is_full:
                return
            jobs[number] = None  # what was read is let go of job by job
            self._read_entry(Inline(self.document, number), entry, defaults)
        self._refuse_with_key(self._report_inline)

    # -- entries -----------------------------------------------------------------------------------------------------

    def _read_entry(self, at: Inline, entry: Any, defaults: Shared) -> None:
        if not isinstance(entry, dict):
            text = "a job is a set of keys (id, image, prompt ...), or a folder or a table"
            self.problems.append(at.problem(None, (), text))
            return
        own = schema.natural(entry)
        kind = "folder" if "folder" in own else "table" if "table" in own else None
        if kind is not None:
            self._read_group(at, kind, own, defaults)
            return
        made = self._make(Draft(at, own), "inline", defaults)
        if made.findings:
            self.problems.extend(at.problem(made.id, *finding) for finding in made.findings)
        if made.warnings:
            self.warnings.extend(at.problem(made.id, *finding) for finding in made.warnings)
        if self.keys is not None and self.keys.room < 0:
            self._refuse_with_key(self._report_inline)

    def _read_group(self, at: Inline, kind: str, own: dict[str, Any], defaults: Shared) -> None:
        """Read an entry that stands for many jobs; ``kind`` is ``"folder"`` or ``"table"``."""
        own, defaults = defaults.without_nulls(own)
        findings = [*schema.check_entry(kind, own), *takes.conflict(own)]
        skip = own.get("skip", defaults.fields.get("skip")) is True
        if skip:  # what it is must be known all the same
            findings = [finding for finding in findings if finding.path[:1] in ((kind,), ("match",))]
        self.problems.extend(at.problem(None, finding.path, finding.text) for finding in findings)
        broken = {finding.path[0] for finding in findings if finding.path}
        where, match = own.pop(kind, None), own.pop("match", None)
        allow, allowed = own.pop("allow", ()), own.pop("allow_fields", ())
        if not broken.isdisjoint((kind, "match", "allow", "allow_fields")) or where is None:
            return
        if match is not None and (reason := match_error(match)):
            self.problems.append(at.problem(None, ("match",), reason))
            return
        if why := names.no_path(where):
            self.problems.append(at.problem(None, (kind,), why))
            return
        fields = takes.merged(defaults.fields, own)
        bad = {name for name in defaults.reported if name not in own} | broken
        prompts = {name: fields[name] for name in PROMPTS if name in fields and not skip}
        try:
            fill_in(prompts, lambda: "/example/example.png")
        except PlaceholderError as error:
            self.problems.append(at.problem(None, error.path if error.path[0] in own else (), error.text))
            bad.update(PROMPTS)
        full, shown = self.sources.find(where, self.base), shown_path(self.file, where)
        within = self._within(at, kind, full, shown, () if skip else allow)
        shared = Shared(fields, frozenset(bad), {} if skip else trust.closed(kind, allowed), within)
        try:
            if kind == "folder":
                self._read_folder(at, full, match, within, shared)
            else:
                before = len(self._collected.places)
                self._read_many(table(full, shown, within), "row", shared)
                if len(self._collected.places) == before:
                    self._collected.empty.append(f"{shown} has no rows")
        except OSError as error:
            why = f"no such {kind}" if isinstance(error, FileNotFoundError) else error.strerror
            if not skip:
                self.problems.append(at.problem(None, (kind,), f"{shown}: {why}"))

    def _read_folder(self, at: Inline, full: str, match: str | None, within: Within, shared: Shared) -> None:
        """Read a folder's images, and keep what else lies in it for warnings. Raises OSError."""
        skip = shared.fields.get("skip") is True
        prepare = shared.fields.get("prepare") not in (None, False)
        found = folders.look(full, match, within, SUFFIXES if prepare else folders.IMAGE_SUFFIXES)
        is_empty = not found.images
        drafts = folders.drafts(at.number, full, found.images, within, self.sources.folders)
        if not skip:
            drafts = self.sources.read_ahead(drafts, _image_of, within, prepare=prepare)
        self._read_many(drafts, "sidecar", shared)
        if skip:
            return
        mine = os.path.relpath(os.path.abspath(self.file), full)
        orphans = [name for name in found.orphans if name != mine]
        self._collected.found.append((at, found._replace(images=[], orphans=orphans)))
        if is_empty:
            self._collected.empty.append(warnings.nothing_in(within.shown, match, found, prepare=prepare))
        if found.leftovers:
            what = warnings.listed(sorted(set(found.leftovers)))
            log.info("%s: passed over %d leftovers of programs: %s", within.shown, len(found.leftovers), what)

    def _within(self, at: Inline, kind: str, full: str, shown: str, allow: Sequence[str]) -> Within:
        """The folders in which the files must lie that a folder's sidecars or a table's rows name, links resolved."""
        trusted = [full] if kind == "folder" else [os.path.dirname(full)]
        shown = shown if kind == "folder" else os.path.dirname(shown) or trusted[0]
        for number, where in enumerate(allow):
            folder = self.sources.find(where, self.base)
            if not os.path.isdir(folder):
                self.problems.append(
                    at.problem(None, ("allow", number), f"{shown_path(self.file, where)}: no such folder")
                )
            else:
                trusted.append(folder)
        return Within(shown, tuple(map(os.path.realpath, trusted)))

    def _read_many(self, drafts: Iterable[Draft | Problem], kind: str, shared: Shared) -> None:
        closed = frozenset(shared.closed.values())
        problems, warnings = Gathered(self.problems, closed), Gathered(self.warnings)
        skip = shared.fields.get("skip") is True
        self._refuse_with_key(self._report_inline)
        for draft in drafts:
            if self.problems.is_full:
                break
            if isinstance(draft, Problem):
                if not skip:
                    self.problems.append(draft)
                continue
            made = self._make(draft, kind, shared)
            if isinstance(draft.origin, InFolder) and draft.origin.sidecar is not None:
                for cut in cut_prompts(draft.origin.sidecar.data):
                    place = Place(draft.origin.sidecar.file, cut.line, cut.column)
                    self.warnings.append(Problem(place, subject("", None, cut.path), cut.text))
            for finding in made.findings:
                problems.add(draft, made.id, finding)
            for finding in made.warnings:
                warnings.add(draft, made.id, finding)
            if self.keys is not None and self.keys.room < 0:
                self._refuse_with_key(problems.add)
        self._refuse_with_key(problems.add)
        problems.finish()
        warnings.finish()

    def _refuse_with_key(self, report: Callable[[Draft, str | None, Finding], object]) -> None:
        """Take back the jobs that hold the key, of those that wait to be looked through."""
        held = [*self.keys.found()] if self.keys is not None else []
        if held:
            gone = {id(job) for _, job, _ in held}
            self._collected.manifest.jobs[:] = [
                job for job in self._collected.manifest.jobs if id(job) not in gone
            ]
        for draft, job, findings in held:
            job_id = None if is_in_id(draft, findings) else job.id
            for finding in findings:
                report(draft, job_id, finding)

    def _report_inline(self, draft: Draft, job_id: str | None, finding: Finding) -> None:
        self.problems.append(draft.origin.problem(job_id, *finding))

    def _make(self, draft: Draft, kind: str, shared: Shared) -> BuildResult:
        """Build a draft, and keep its jobs or the reason why they can't run. Reporting its findings is the caller's."""
        made = self.builder.build(draft, kind, shared)
        kept = self._keep(made, draft, shared)
        if made.takes == 1:
            return kept
        for take in range(2, made.takes + 1):
            if kept.findings:
                break
            kept = self._keep(made.with_take(take), draft, shared)
        return kept._replace(warnings=made.warnings)

    def _keep(self, made: BuildResult, draft: Draft, shared: Shared) -> BuildResult:
        evidence = self.builder.evidence(draft, shared) if made.failures else ""
        return self._collected.keep(made, draft.origin, evidence)


def _image_of(draft: Draft | Problem) -> str | None:
    """The path of the folder's image that building a draft will read; None where it won't read one."""
    if not isinstance(draft, Draft) or draft.trouble or draft.fields.get("skip") is True:
        return None
    return draft.file


def _bytes_of(file: str) -> bytes:
    """The bytes of a manifest, one more than allowed at most. Raises OSError. A named pipe isn't waited for."""
    with open(file, "rb", opener=open_regular) as opened:
        return opened.read(limits.MANIFEST_BYTES + 1)
