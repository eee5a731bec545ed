"""Checks which clips of downloaded rows are on disk. Nothing is written."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import CLIP_GONE, MAY_BE_PAID
from batchgen.models import Job, Manifest, Record, StoredClip
from batchgen.names import composed
from batchgen.run.clip_paths import clip_name, output_path
from batchgen.run.plan import Action, Step
from batchgen.storage import clips
from batchgen.storage.roots import Folder, Root, Roots

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(slots=True)
class Survey:
    """The downloaded rows whose clips aren't where they belong, by external_task_id.

    ``missing``: not on disk. ``away``: their disk can't be reached. ``gone``: neither on disk nor at the API, as an
    earlier run found out. ``odd``: without their job's plain name. ``offline``: output folders that can't be reached, and
    why; ``here``: output folders that have a clip. ``misnamed``: steps whose clips may have to be renamed.
    """

    missing: dict[str, StoredClip] = field(default_factory=dict)
    away: dict[str, StoredClip] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    odd: set[str] = field(default_factory=set)
    offline: dict[str, str] = field(default_factory=dict)
    here: set[str] = field(default_factory=set)
    misnamed: list[Step] = field(default_factory=list)

    def applied(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The steps with the disk taken into account: a job whose clip is missing isn't done."""
        for step in steps:
            if step.renamed or step.external_task_id in self.odd:
                self.misnamed.append(step)
            if (
                step.action is Action.DONE
                and (correction := self._correction(step.external_task_id)) is not None
            ):
                action, reason = correction
                yield step._replace(action=action, reason=reason)
            else:
                yield step

    def _correction(self, name: str) -> tuple[Action, str] | None:
        if (row := self.missing.get(name)) is not None:
            return Action.DOWNLOAD, (f"its clip is no longer at {clips.absent(row)}")
        if (row := self.away.get(name)) is not None:
            return Action.DONE, f"its clip is out of reach: {self.offline[row.root]}"
        if name in self.gone:
            return Action.DONE, "its clip was removed after it had come home, and the API has it no more"
        return None


def survey(ledger: Records, manifests: Sequence[Manifest] | None, roots: Roots) -> Survey:
    """Check whether the clips of these manifests' jobs are on disk; with None, those of the whole ledger."""
    found, absent = Survey(), list[StoredClip]()
    seen = set[int]()  # hashes of paths
    # Of those that two rows have: one row's clip was deleted, and another row's has its place.
    claimed = set[int]()
    with contextlib.closing(_Files(roots)) as files:
        for row in _wanted(ledger, manifests):
            try:
                there = files.has(row)
            except OSError as error:
                folder = os.path.dirname(row.video_path)
                found.offline[row.root] = f"{folder} can't be read: {error.strerror or error}"
                found.away[row.external_task_id] = row
            else:
                if not there:
                    absent.append(row)
                elif (path := hash(row.video_path)) in seen:
                    claimed.add(path)
                else:
                    seen.add(path)
                    found.here.add(row.root)
            if not row.output_path.endswith(f"/{row.manifest}/{clip_name(row.job_id, row.take)}"):
                found.odd.add(row.external_task_id)
    if claimed:
        absent += [
            row
            for row in _wanted(ledger, manifests)
            if hash(row.video_path) in claimed
            and not clips.is_clip(roots[row.root], row.video_path, row.video_sha256, row.video_size)
        ]
    for row in absent:
        if row.root not in found.here and row.root not in found.offline:
            if (why := unmounted(ledger, row.root)) is not None:
                found.offline[row.root] = why
        if row.root in found.offline:
            found.away[row.external_task_id] = row
        elif row.error_code == CLIP_GONE:
            found.gone.add(row.external_task_id)
        else:
            found.missing[row.external_task_id] = row
    return found


def _wanted(ledger: Records, manifests: Sequence[Manifest] | None) -> Iterator[StoredClip]:
    """The downloaded rows that the manifests' jobs may be done by. Rows of jobs that no manifest has any more are skipped."""
    if manifests is None:
        for name in ledger.manifests():
            yield from ledger.stored_clips(name)
        return
    # Hashes of jobs with a clip of their own. Two that are equal by chance would leave another clip to be looked for later.
    own, rest = set[int](), list[Job]()
    for one in manifests:
        others = (key[1] for key in (*one.skipped, *(bad.key for bad in one.unusable)))
        for row in ledger.stored_clips(one.name, itertools.chain((job.id for job in one.jobs), others)):
            own.add(hash(_key(row)))
            yield row
        rest += [job for job in one.jobs if hash(job.key) not in own]
    # A job without a clip of its own may be done by one that was made under another id, or in another of the manifests.
    alike = ledger.stored_clips_like(
        (one.name for one in manifests), (job.digest for job in rest), map(output_path, rest)
    )
    yield from {row.external_task_id: row for row in alike if hash(_key(row)) not in own}.values()


def _key(row: StoredClip) -> tuple[str, str, int]:
    return composed(row.manifest), composed(row.job_id), row.take


class _Files:
    """Looks for the files of clips. Rows come folder by folder, so one folder is open at a time."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._path: str | None = None
        self._folder: Folder | None = None  # None where there is none
        self._why: OSError | None = None
        self._open = contextlib.ExitStack()

    def close(self) -> None:
        self._open.close()

    def has(self, row: StoredClip) -> bool:
        """Whether a clip and all its parts are on disk. Raises OSError where its folder can't be read."""
        folder, _, name = row.video_path.rpartition("/")
        if folder != self._path:
            self._enter(self._roots[row.root], folder or "/")
        if self._why is not None:
            raise self._why
        if self._folder is None:
            return False
        try:
            about = os.stat(name, dir_fd=self._folder.descriptor)
            for one in json.loads(row.parts) if row.parts else ():
                if path := one.get("path"):
                    self._roots[row.root].stat(path)
        except (OSError, ValueError):
            return False
        return stat.S_ISREG(about.st_mode) and row.video_size in (None, about.st_size)

    def _enter(self, root: Root, path: str) -> None:
        self._open.close()
        self._path, self._folder, self._why = path, None, None
        try:
            self._folder = self._open.enter_context(root.folder(path))
        except OSError as error:
            if error.errno not in _ABSENT:
                self._why = error


def unmounted(ledger: Records, output_dir: str) -> str | None:
    """Why an output folder can't be reached: it was on a disk that isn't mounted now; None where it was on none."""
    before = ledger.note(f"mount:{output_dir}")
    if before is None or os.path.ismount(before):
        return None
    return f"{output_dir} lay on a disk that was mounted at {before} and isn't"


def unrecorded(
    ledger: Records | None, manifests: Iterable[Manifest], api: str, roots: Roots
) -> dict[str, Record]:
    """The clips in the manifests' folders that the ledger hasn't, by external_task_id; for a plan without a run.

    A line is believed here if the file's size is right; a run also reads the bytes before it records a clip.
    """
    found: dict[str, Record] = {}
    for one in manifests:
        for output_dir in sorted({job.output_dir for job in one.jobs}):
            folder = os.path.join(output_dir, one.name)
            root = roots[output_dir]
            size = clips.size(root, folder)
            if not size or (ledger is not None and ledger.note(f"clips:{folder}") == str(size)):
                continue
            with contextlib.suppress(OSError):
                for entry in clips.entries(root, folder):
                    name = entry.row.external_task_id
                    found.pop(name, None)
                    known = ledger.record(name) if ledger is not None else None
                    new = known is None or known.state not in MAY_BE_PAID
                    if entry.api == api and new and _has_size(root, entry.row):
                        found[name] = entry.row
    return found


def _has_size(root: Root, row: Record) -> bool:
    try:
        return row.video_size in (None, root.stat(row.video_path or "").st_size)
    except (OSError, ValueError):
        return False
