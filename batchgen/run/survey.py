"""Which clips of downloaded rows are on disk: each folder is listed once. Nothing here writes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import CLIP_GONE, MAY_BE_PAID
from batchgen.models import Manifest, Record, Shelved
from batchgen.run.plan import Action, Step
from batchgen.storage import clips
from batchgen.storage.roots import Root, Roots

_CLAIMED = -1  # in the place of a file's size
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(slots=True)
class Survey:
    """Where the clips of downloaded rows are, as far as it isn't where they belong.

    ``missing``: not on disk, by external_task_id. ``away``: their disk can't be reached. ``gone``: neither on disk nor
    at the API, which a run has told before. ``odd``: rows whose clip doesn't have its job's plain name. ``offline``:
    output folders that can't be reached, and why; ``here``: those that have a clip. ``misnamed`` are steps whose rows'
    clips may have to be renamed.
    """

    missing: dict[str, Shelved] = field(default_factory=dict)
    away: dict[str, Shelved] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    odd: set[str] = field(default_factory=set)
    offline: dict[str, str] = field(default_factory=dict)
    here: set[str] = field(default_factory=set)
    misnamed: list[Step] = field(default_factory=list)

    def applied(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The steps, true of the disk: a job whose clip isn't there is not done."""
        for step in steps:
            if step.renamed or step.external_task_id in self.odd:
                self.misnamed.append(step)
            if step.action is Action.DONE and (told := self._told(step.external_task_id)) is not None:
                action, reason = told
                yield step._replace(action=action, reason=reason)
            else:
                yield step

    def _told(self, name: str) -> tuple[Action, str] | None:
        if (row := self.missing.get(name)) is not None:
            return Action.DOWNLOAD, (f"its clip is no longer at {clips.absent(row)}")
        if (row := self.away.get(name)) is not None:
            return Action.DONE, f"its clip is out of reach: {self.offline[row.root]}"
        if name in self.gone:
            return Action.DONE, "its clip was removed after it had come home, and the API has it no more"
        return None


def survey(ledger: Records, manifests: Collection[str], roots: Roots) -> Survey:
    """Look for the clips of these manifests' downloaded rows: each folder is listed once."""
    found, absent = Survey(), list[Shelved]()
    folders: dict[str, dict[str, int] | None] = {}
    claimed: set[str] = (
        set()
    )  # files that two rows take for theirs: one's was deleted, and another's came there
    for name in manifests:
        for row in ledger.shelved(name):
            folder, file = os.path.split(row.video_path)
            if folder not in folders:
                folders[folder] = _listed(roots[row.root], folder, found)
            files = folders[folder]
            if files is None:
                found.away[row.external_task_id] = row
            elif (size := files.get(file)) == _CLAIMED:
                claimed.add(row.video_path)
            elif size is None or size != (row.video_size or size) or row.parts:
                if _is_there(row, roots[row.root], files):
                    found.here.add(row.root)
                else:
                    absent.append(row)
            else:
                files[file] = _CLAIMED
                found.here.add(row.root)
            plain = (
                f"/{name}/{row.job_id}.mp4" if row.take == 1 else f"/{name}/{row.job_id}.take{row.take}.mp4"
            )
            if not row.output_path.endswith(plain):
                found.odd.add(row.external_task_id)
    for name in manifests if claimed else ():
        rows = [row for row in ledger.shelved(name) if row.video_path in claimed]
        absent += [
            row
            for row in rows
            if not clips.is_clip(roots[row.root], row.video_path, row.video_sha256, row.video_size)
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


def _listed(root: Root, folder: str, found: Survey) -> dict[str, int] | None:
    """The files of a folder; None where it can't be looked into."""
    try:
        return clips.listing(root, folder)
    except OSError as error:
        if error.errno in _ABSENT:
            return {}
        found.offline[root.path] = f"{folder} can't be read: {error.strerror or error}"
        return None


def _is_there(row: Shelved, root: Root, listed: Mapping[str, int]) -> bool:
    """Whether a clip and all its parts are there: in the listing of its folder, or, spelt in another way, on the disk."""
    parts = [one["path"] for one in json.loads(row.parts) if one.get("path")] if row.parts else []
    folder = os.path.join(os.path.dirname(row.video_path), "")

    def size(path: str) -> int:
        known = listed.get(path.removeprefix(folder))
        return root.stat(path).st_size if known is None else known

    try:
        there, *_ = map(size, (row.video_path, *parts))
    except (OSError, ValueError):
        return False
    return row.video_size in (None, there)


def unmounted(ledger: Records, output_dir: str) -> str | None:
    """Why an output folder without any clip is out of reach: it lay on a disk that isn't mounted now."""
    before = ledger.note(f"mount:{output_dir}")
    if before is None or os.path.ismount(before):
        return None
    return f"{output_dir} lay on a disk that was mounted at {before} and isn't"


def unrecorded(
    ledger: Records | None, manifests: Iterable[Manifest], api: str, roots: Roots
) -> dict[str, Record]:
    """Clips that lie in the manifests' folders and that the ledger hasn't, by external_task_id, for a look ahead.

    What is said of them is believed if their sizes are right: before a run records them, it reads their bytes.
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
                for name, entry in clips.entries(root, folder).items():
                    known = ledger.record(name) if ledger is not None else None
                    new = known is None or known.state not in MAY_BE_PAID
                    if entry.api == api and new and _has_size(root, entry.row):
                        found[name] = entry.row
    return found


def _has_size(root: Root, row: Record) -> bool:
    try:
        return root.stat(row.video_path or "").st_size == row.video_size
    except (OSError, ValueError):
        return False
