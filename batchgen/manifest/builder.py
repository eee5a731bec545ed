"""From a draft to a job: fill in, check, look at the images, derive who it is."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from batchgen import names
from batchgen.errors import ImageError
from batchgen.escapes import visible
from batchgen.images.recipe import options as prepare_options
from batchgen.manifest import pictures, takes, trust
from batchgen.manifest.image_refs import SourceError, Sources, label, stamp, with_values
from batchgen.manifest.key_search import KeySearch, is_in_id
from batchgen.manifest.locations import Draft, shown_path
from batchgen.manifest.placeholders import PROMPTS, PlaceholderError, fill_in, stem
from batchgen.models import ImageFile, Job, Within
from batchgen.request import rules, schema
from batchgen.request.identity import canonical, digest, external_task_id
from batchgen.request.image_fields import image_values
from batchgen.request.json_text import is_utf8
from batchgen.request.schema import Finding

_NONE: Final[frozenset[str | int]] = frozenset()
UNPORTABLE: Final = (
    "is no name for a file on Windows and some other disks; a clip that is copied there can't keep it"
)
SEVERAL: Final = (
    "asks for several takes, and external_task_id is the id of one: leave it out, or write each take"
)
UNSEEN: Final = "holds characters that can't be seen; without them it is another job's id"
# A warning and no problem: an id that was paid for must stay valid, and every command in a message is quoted.
UNHANDY: Final = "begins with a - or holds what can't be seen, and is hard to name to a command; keep it where the job is paid, and give new jobs a better one"
TURNED: Final = "its EXIF data say to turn it, and it is sent as it lies, maybe sideways; `prepare: true` turns it upright"
_UNCOMMON = frozenset(
    ("take", "takes", "prepare", "external_task_id")
)  # keys of an entry, seldom a job's own
_SIMPLE_ID = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_ .-]{0,90}/)?[A-Za-z0-9_-][A-Za-z0-9_ .-]{0,90}")


class BuildResult(NamedTuple):
    """The result of a draft: a job; else ``findings`` about its fields, and ``failures`` of its images.

    ``warnings`` are about a valid job. With ``waits``, the failures may be gone at the next run. ``takes`` is how many takes
    are asked for, of which this is the first.
    """

    id: str | None
    take: int
    job: Job | None
    findings: list[Finding]
    failures: list[Finding]
    warnings: Sequence[Finding] = ()
    skipped: bool = False
    waits: bool = False
    takes: int = 1

    def with_take(self, take: int) -> BuildResult:
        """The same for another take of the job, with the id that this has."""
        job = self.job
        if job is not None:
            name = external_task_id(job.manifest, job.id, take, job.digest)
            job = job._replace(take=take, external_task_id=name)
        return self._replace(take=take, job=job)


class Shared(NamedTuple):
    """The fields that an entry's jobs share. Those named in ``reported`` are wrong and were reported.

    ``closed`` are what the jobs' own fields can't be, as :func:`batchgen.manifest.trust.closed` gives them; ``within`` is where
    the files must lie that these fields name, and the images of a folder.
    """

    fields: Mapping[str, Any]
    reported: frozenset[str | int]
    closed: Mapping[str, str] = MappingProxyType({})
    within: Within | None = None

    def without_nulls(self, own: dict[str, Any]) -> tuple[dict[str, Any], Shared]:
        """Apply the nulls in ``own``, which remove shared fields: the remaining own and shared fields."""
        gone = {name for name, value in own.items() if value is None and name in self.fields}
        kept = {name: value for name, value in self.fields.items() if name not in gone}
        left = self._replace(fields=kept, reported=self.reported - gone)
        return {name: own[name] for name in own if name not in gone}, left


class _Found(NamedTuple):
    """What was found in the images of a request: ``images``, or what is wrong."""

    images: dict[tuple[str | int, ...], ImageFile]
    findings: list[Finding]
    failures: list[Finding]


class JobBuilder:
    """Makes the jobs of one manifest. Paths in fields start at ``base``, an absolute folder."""

    def __init__(
        self,
        manifest: str,
        base: str,
        output_dir: str,
        sources: Sources,
        keys: KeySearch | None,
    ) -> None:
        self._keys = keys
        self.manifest = manifest
        self.base = base
        self.output_dir = output_dir
        self.sources = sources
        self._folder = os.path.join(output_dir, manifest)
        self._longest = names.longest_name(output_dir)
        # Bytes of an id that always fit into a clip's name, whichever take it is.
        self._surely = min(self._longest, names.PATH_MAX - 4 * len(self._folder) - 100) - names.CLIP_TAIL - 8

    def build(self, draft: Draft, kind: str, shared: Shared) -> BuildResult:
        """Check a draft and make its job. ``kind`` is the schema's: ``"inline"``, ``"sidecar"`` or ``"row"``."""
        own = draft.fields
        if None in own.values():
            own, shared = shared.without_nulls(own)
        file = draft.file
        request = takes.merged(shared.fields, own)
        if "skip" in request:
            if request["skip"] is True:
                return self._skipped(draft, request)
            if request["skip"] is False:
                del request["skip"]
        if file is not None and (refused := self._refused_file(draft, file)) is not None:
            return refused
        reported = shared.reported - own.keys() if shared.reported else _NONE
        findings = trust.check(draft.fields, shared.closed) if shared.closed and draft.fields else []
        if kind != "inline" and _has_braces(request):
            # a sidecar's prompt is text as it stands
            text = reported if kind == "row" else reported | own.keys()
            findings += self._fill_prompts(request, text, file)
        if file is not None:
            request["image"] = "the folder's"  # text for the schema, until the file is read
        prepare = request.pop("prepare", None)
        asked: Sequence[Any] = ()  # what may hold the key
        if self._keys is not None:
            asked = [*request.values(), draft.id or "", draft.file or ""]
        job_id, take = request.pop("id", None), request.pop("take", None)
        if isinstance(job_id, str) and not job_id.isascii():
            job_id = names.composed(job_id)
        take = 1 if take is None else take
        several = takes.count(request.pop("takes")) if "takes" in request else 1
        external = request.pop("external_task_id", None)
        if "takes" in own:
            findings += takes.conflict(own)
        if several > 1 and external is not None:
            findings.append(Finding(("takes",), SEVERAL))

        misplaced = file is not None and "image" in own
        if misplaced or not _are_simple(own) or not schema.is_valid(request):
            findings += schema.check_entry(kind, own)
            findings += _without(reported | _tops(findings), schema.check_request(request))
        if broken := rules.check(request):
            findings += _without(reported | _tops(findings), broken)

        failures: list[Finding] = []
        if "id" not in own and (draft.id is not None or ("image",) not in _paths(findings)):
            job_id, wrong = self._derived_id(draft, request)
            (failures if file else findings).extend(wrong)
        images: dict[tuple[str | int, ...], ImageFile] = {}
        reported_now = reported | _tops(findings) if findings else reported
        options = None if prepare is None or "prepare" in reported_now else prepare_options(prepare)
        found = _Found(images, findings, failures)
        waits = self._look(draft, request, shared.within, reported_now, found, prepare=options is not None)
        if options is not None and not (findings or failures):
            failures += pictures.prepare(request, images, options, self.sources.picture)
        good_id = (
            job_id if isinstance(job_id, str) and not (findings and ("id",) in _paths(findings)) else None
        )
        good_take = take if type(take) is int else 1
        if good_id is not None and (why := self._unwritable(good_id, max(good_take, several))):
            (failures if file else findings).append(Finding(("id",), why))
        nothing_wrong = not (findings or failures or good_id is None or reported)
        if nothing_wrong and images and rules.has_masks(request):
            failures += rules.check_images(with_values(request, images))
        if good_id is None or not nothing_wrong or failures:  # nothing is made of what is wrong for many jobs
            unusable = BuildResult(good_id, good_take, None, findings, failures, takes=several)
            unusable = self._without_key(unusable, draft, {**shared.fields, **own, **request})
            return unusable._replace(waits=0 < waits == len(unusable.failures))

        files: dict[tuple[str | int, ...], ImageFile] = {}
        if images:
            files = {path: image for path, image in images.items() if image.path}
            request = with_values(request, files)
        sha256 = digest(canonical(request))
        given, external = external, external or external_task_id(self.manifest, good_id, take, sha256)
        place = draft.origin.place
        job = Job(self.manifest, good_id, take, external, sha256, request, self.output_dir, place)
        if self._keys is not None:
            self._keys.add(asked, draft, shared.fields, job)
        warnings = rules.warnings(request) + _doubts(good_id, given, images)
        if options is not None:
            warnings += pictures.doubts(images)
            if "prepare" in own and not files:
                warnings.append(Finding(("prepare",), pictures.NOTHING))
        return BuildResult(good_id, take, job, [], [], warnings, False, False, several)

    def _fill_prompts(
        self, request: dict[str, Any], text: Container[str | int], file: str | None
    ) -> list[Finding]:
        """Fill in the placeholders of a request's prompts, but those in ``text``. Returns what is wrong with them."""
        prompts: dict[str, Any] = {
            name: request[name] for name in PROMPTS if name in request and name not in text
        }
        try:
            request.update(fill_in(prompts, lambda: file or self._image_name(request)))
        except PlaceholderError as error:
            return [Finding(error.path, error.text)]
        return []

    def _without_key(self, wrong: BuildResult, draft: Draft, fields: Mapping[str, Any]) -> BuildResult:
        """The result for an unusable job with nothing in it that holds the key, but with the finding that says so."""
        held = self._keys.look(draft, fields) if self._keys is not None else []
        if not held:
            return wrong
        tops = _tops(held)
        if is_in_id(draft, held):
            wrong, tops = wrong._replace(id=None), {*tops, "id"}
        findings, failures = [*held, *_without(tops, wrong.findings)], _without(tops, wrong.failures)
        return wrong._replace(findings=findings, failures=failures)

    def _refused_file(self, draft: Draft, file: str) -> BuildResult | None:
        """The result for a folder's image that can't become a job by what is known of its file; None where it may."""
        job_id, text, waits = draft.id, draft.trouble, False
        if not is_utf8(file):  # it would be in the id and in prompts
            job_id, text = ascii(draft.id or "")[1:-1], "the file's name is not UTF-8; rename the file"
        elif not text and draft.waits and self.sources.is_recent(shown_path(file, draft.waits)):
            text, waits = f"{draft.waits} lies beside it", True
        return BuildResult(job_id, 1, None, [], [Finding(("image",), text)], waits=waits) if text else None

    def _unwritable(self, job_id: str, take: int) -> str | None:
        """Why a job's clip can't be written under its name; None where it can."""
        if (len(job_id) if job_id.isascii() else 4 * len(job_id)) <= self._surely:
            return None
        tail = f".take{take}" if take != 1 else ""
        why = names.too_long(self._folder, job_id, tail, self._longest)
        return f"{why}; give the job a shorter id" if why else None

    def _skipped(self, draft: Draft, request: Mapping[str, Any]) -> BuildResult:
        """The result for a job with ``skip: true``: only its id and take count."""
        job_id, take = request.get("id"), request.get("take")
        if not isinstance(job_id, str):
            job_id, _ = self._derived_id(draft, request)
        job_id = names.composed(job_id) if job_id is not None else None
        several = takes.count(request.get("takes"))
        return BuildResult(
            job_id, take if type(take) is int else 1, None, [], [], skipped=True, takes=several
        )

    def evidence(self, draft: Draft, shared: Shared) -> str:
        """A text that changes when a file of an unusable job is replaced: the files' sizes and times."""
        request = {
            **shared.fields,
            **draft.fields,
            **({"image": draft.file} if draft.file is not None else {}),
        }
        return " ".join(
            stamp(value, self.base, _limits(draft, path, shared.within))
            for path, value in image_values(request)
            if isinstance(value, str)
        )

    def _look(
        self,
        draft: Draft,
        request: Mapping[str, Any],
        within: Within | None,
        reported: Container[str | int],
        found: _Found,
        *,
        prepare: bool,
    ) -> int:
        """Inspect every image of the request. Returns how many of the failures may be gone at the next run."""
        waits = 0
        for path, value in image_values(request):
            if path[0] in reported or not isinstance(value, str):
                continue
            try:
                if draft.file is not None and path == ("image",):
                    image: ImageFile | None = (
                        self.sources.picture(draft.file, within)[0]
                        if prepare
                        else self.sources.file(draft.file, within)
                    )
                else:
                    limits = _limits(draft, path, within) if within is not None else None
                    image = self.sources.look(value, self.base, limits, prepare=prepare)
            except SourceError as error:
                found.findings.append(Finding(path, str(error)))
            except ImageError as error:
                found.failures.append(Finding(path, str(error)))
                waits += self.sources.may_wait(error)
            else:
                if image is not None:
                    found.images[path] = image
        return waits

    def _derived_id(self, draft: Draft, request: Mapping[str, Any]) -> tuple[str | None, list[Finding]]:
        """The id of a job whose fields have none; or None, and the findings that say why there is none."""
        derived = draft.id
        if derived is None:
            if not isinstance(request.get("image", request.get("image_tail")), str):
                return None, []  # the image is the problem
            derived = stem(self._image_name(request))
            if not derived:
                return None, [Finding(("id",), "is needed, as the image has no file name to take it from")]
        if not _is_simple(derived) and (wrong := schema.check_entry("row", {"id": derived})):
            return ascii(derived)[1:-1], [Finding(("id",), f"taken from the image's name, {wrong[0].text}")]
        return derived, []

    def _image_name(self, request: Mapping[str, Any]) -> str:
        image = request.get("image", request.get("image_tail"))
        return label(image, self.base) if isinstance(image, str) else ""


def _limits(draft: Draft, path: Sequence[str | int], within: Within | None) -> Within | None:
    """The folders in which the image at ``path`` must lie; None for one that the manifest itself names."""
    return within if path[0] in draft.fields or (draft.file is not None and path == ("image",)) else None


def _has_braces(request: Mapping[str, Any]) -> bool:
    """Whether a prompt, or a list of shots, may hold a placeholder."""
    for name in PROMPTS:
        prompt = request.get(name)
        if prompt is not None and (not isinstance(prompt, str) or "{" in prompt or "}" in prompt):
            return True
    return False


def _is_simple(job_id: Any) -> bool:
    """Whether an id is certainly valid without asking the schema, as nearly all are."""
    return isinstance(job_id, str) and _SIMPLE_ID.fullmatch(job_id) is not None


def _are_simple(own: Mapping[str, Any]) -> bool:
    """Whether the keys of a job that aren't the API's are certainly valid without asking the schema."""
    return ("id" not in own or _is_simple(own["id"])) and (
        _UNCOMMON.isdisjoint(own)
        or (
            type(own.get("take", 1)) is int
            and 0 < own.get("take", 1) < 1000
            and "external_task_id" not in own
            and type(own.get("prepare", True)) is bool
            and type(own.get("takes", 1)) is int
            and 0 < own.get("takes", 1) <= takes.MOST
        )
    )


def _doubts(job_id: str, given: str | None, images: Mapping[Any, ImageFile]) -> list[Finding]:
    """What may be a mistake in the names of a job, with an ``external_task_id`` that was given, and in its images."""
    found = []
    if not names.is_portable(job_id):
        found.append(Finding(("id",), UNPORTABLE))
    if not job_id.isascii() and visible(job_id) != job_id:
        found.append(Finding(("id",), UNSEEN))
    if given and (given.startswith("-") or visible(given) != given):
        found.append(Finding(("external_task_id",), UNHANDY))
    if images and any(image.orientation > 1 for image in images.values()):
        found.append(Finding(("image",), TURNED))
    return found


def _tops(findings: Iterable[Finding]) -> set[str | int]:
    return {finding.path[0] for finding in findings if finding.path}


def _paths(findings: Iterable[Finding]) -> set[tuple[str | int, ...]]:
    return {finding.path for finding in findings}


def _without(reported: Container[str | int], findings: Iterable[Finding]) -> list[Finding]:
    """The findings that aren't about a field that was reported already."""
    return [finding for finding in findings if not finding.path or finding.path[0] not in reported]
