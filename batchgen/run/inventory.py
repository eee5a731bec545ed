"""Compares the ledger with the clips on disk, and records what differs. Nothing here creates or downloads.

Clips that the ledger hasn't are imported from ``clips.jsonl``; moved clips are found by their digests; a clip that was
downloaded is recorded beside it and in the ledger, and gets its name.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from batchgen.errors import EndedEarly, LedgerError, LedgerLost
from batchgen.ledger.writer import Ledger
from batchgen.manifest.isolation import isolated
from batchgen.models import Change, Job, Manifest, Record, State, StoredClip
from batchgen.money.prices import BUILT_IN, Prices
from batchgen.run.cliplog import ClipLog
from batchgen.run.events import Events
from batchgen.run.naming import Names
from batchgen.run.plan import digests_of
from batchgen.run.survey import Survey, survey, unmounted
from batchgen.storage import clips
from batchgen.storage.roots import Root, Roots
from batchgen.storage.threads import in_thread, to_thread

_Row = TypeVar("_Row", Record, StoredClip)
_OF_A_CLIP = (
    "task_id",
    "submitted_at",
    "finished_at",
    "video_path",
    "video_sha256",
    "video_size",
    "parts",
    "charged",
    "units_charged",
    "balance",
)


class Inventory:
    """The clips of one run's ledger on disk."""

    def __init__(self, ledger: Ledger, events: Events, prices: Prices = BUILT_IN) -> None:
        self.ledger = ledger
        self.events = events
        self.prices = prices
        self.found = Survey()
        self.imported: list[Record] = []  # rows of clips that the ledger hadn't
        self._lost: dict[
            tuple[str, str, int], list[Record]
        ] = {}  # lines without a clip: manifest, digest, take
        self._left_out: dict[str, str] = {}  # manifests whose clips' folder batchgen failed over, and how
        self._manifests: Sequence[Manifest] = ()
        self.roots = Roots()
        self.log = ClipLog(ledger, self.roots, events)
        self.names = Names(ledger, self.log, self.roots, events)

    async def keep(self, record: Record, job: Job | None, note: str = "", **columns: Any) -> Record:
        """Record a clip that is complete on disk, in ``clips.jsonl`` first, so that a crash leaves no unrecorded clip.

        ``columns`` are ``video_path``, ``video_sha256``, ``video_size``, ``parts``, ...; ``note`` is what is odd about it.
        Then it gets its job's plain name, and the clip that had that is set aside. ``job`` is None where the manifest
        isn't at hand.
        """
        row = record._replace(state=State.DOWNLOADED, error_code=None, error_message=None, **columns)
        await self.log.add(row)
        detail = {"bytes": row.video_size, **({"note": note} if note else {})}
        values = {**columns, "error_message": None}  # the note is history
        name, message = record.external_task_id, note or None
        change = Change(name, State.DOWNLOADED, "downloaded", None, message, values=values, detail=detail)
        return await self.names.rename_one(await self.ledger.apply(change), job)

    # -- clips that the ledger hasn't ---------------------------------------------------------------------------

    async def import_clips(
        self, manifests: Sequence[Manifest], doubtful: Collection[str], *, thoroughly: bool = False
    ) -> list[Record]:
        """Record the clips in the manifests' folders that the ledger hasn't; returns their rows.

        A ``clips.jsonl`` that the ledger knows is read only ``thoroughly``. ``doubtful`` manifests may have had another
        name when their clips were made: their jobs' clips are looked for in the folders beside theirs, too. A line is
        believed only where a file has its digest.
        """
        imported: list[Record] = []
        own: set[str] = set()
        self._manifests = manifests
        for one in manifests:
            for output_dir in sorted({job.output_dir for job in one.jobs}):
                folder = os.path.join(output_dir, one.name)
                own.add(folder)
                if os.path.isdir(folder) and (thoroughly or not self.log.is_known(output_dir, folder)):
                    with isolated(functools.partial(self._leave_out, one.name, folder)):
                        imported += await self._import_folder(folder, output_dir)
        for one in manifests:
            if one.name in doubtful or thoroughly:
                digests = {job.digest for job in one.jobs}
                for output_dir in sorted({job.output_dir for job in one.jobs}):
                    for folder in set(clips.folders(self.roots[output_dir])) - own:
                        with isolated(functools.partial(self._leave_out, one.name, folder)):
                            imported += await self._import_folder(folder, output_dir, digests)
        await self.log.remember()
        self.imported += imported
        return imported

    def _leave_out(self, manifest: str, folder: str, why: str) -> None:
        """Create nothing of a manifest in this run: its clips' folder can't be read, and may have paid clips."""
        self._left_out.setdefault(manifest, f"{folder} {why}")

    async def _import_folder(
        self, folder: str, output_dir: str, digests: Container[str] | None = None
    ) -> list[Record]:
        """Record a folder's clips that the ledger hasn't; where ``digests`` are given, only clips of these contents."""
        root = self.roots[output_dir]
        size = clips.size(root, folder)
        try:
            # It reads the ledger, which is closed when a run has been cancelled: so that waits for it.
            lines = await in_thread(functools.partial(self.log.read, output_dir, folder, digests))
        except OSError as error:
            self.events.notice(f"{folder}/{clips.NAME} can't be read: {error.strerror or error}")
            return []
        moved = [change for row in lines.elsewhere if (change := await self._caught_up(row)) is not None]
        if moved:
            await self.ledger.rename(moved)  # all at once: they may have each other's names
        warnings: list[str] = []
        verified = await to_thread(lambda: list(_verified(lines.lacking, root, warnings)))
        for text in warnings:
            self.events.notice(text)
        here = {row.external_task_id for row in verified}
        for row in lines.lacking:
            if row.external_task_id not in here:
                self._lost.setdefault((row.manifest, row.digest, row.take), []).append(row)
        imported = [kept for row in verified if (kept := await self._import(row)) is not None]
        if imported:
            plural = "" if len(imported) == 1 else "s"
            found = f"{len(imported):,} clip{plural} in {folder} that the ledger had not"
            self.events.notice(f"{found}: recorded, and not paid again", "clips_found")
        if digests is None:
            self.log.note_size(folder, size)
            await self.log.complete(folder, lines.names)
        return imported

    def lost_line(self, job: Job) -> Record | None:
        """The line in ``clips.jsonl`` of this job's clip, where neither ledger nor disk has the clip: its task was paid.

        A job that was renamed since is recognised by its content, where the line isn't another job's of these manifests.
        """
        if not self._lost:
            return None
        lines = self._lost.get((job.manifest, job.digest, job.take), ())
        return next((row for row in lines if row.key == job.key), None) or next(
            (row for row in lines if self._present.get(row.key) != row.digest), None
        )

    @functools.cached_property
    def _present(self) -> dict[tuple[str, str, int], str]:
        return digests_of(self._manifests)

    async def _caught_up(self, row: Record) -> Change | None:
        """The change that tells an older ledger where a clip was moved since; None where it lies where the ledger says."""
        known = self.ledger.record(row.external_task_id)
        assert known is not None  # rows are never deleted
        at_old, at_new = await to_thread(
            lambda: [
                clips.is_clip(self.roots[one.root], one.video_path or "", row.video_sha256 or "")
                for one in (known, row)
            ]
        )
        if at_old or not at_new:
            return None
        values = {name: getattr(row, name) for name in ("video_path", "output_path", "output_dir", "parts")}
        return Change(row.external_task_id, State.DOWNLOADED, "found_on_disk", values=values)

    async def _import(self, row: Record) -> Record | None:
        values = {name: getattr(row, name) for name in _OF_A_CLIP}
        change = Change(row.external_task_id, State.DOWNLOADED, "found_on_disk", values=values)
        known = self.ledger.record(row.external_task_id)
        try:
            if known is not None and known.task_id is not None:
                return await self.ledger.apply(change)
            kept = await self.ledger.import_row(row, change)
        except LedgerLost:
            raise
        except LedgerError as error:  # of this clip alone
            self.events.notice(str(error), level="info")
            return None
        if kept.output_path != row.output_path == row.video_path:  # another row's clip belongs there
            belongs = {"output_path": row.output_path, "output_dir": row.root}
            renamed = Change(row.external_task_id, State.DOWNLOADED, "renamed", values=belongs)
            (kept,) = await self.ledger.rename([renamed])
        return kept

    # -- clips that aren't where they were ----------------------------------------------------------------------

    async def look(self, manifests: Sequence[Manifest] | None, output_dirs: Iterable[str]) -> None:
        """Finish moves that were begun, check which clips are on disk, and find those that were moved.

        Only clips of these manifests' jobs are checked; with None, all clips of the ledger. ``output_dirs`` are the output
        folders that the manifests name now.
        """
        if moves := list(self.ledger.moves()):
            await self.names.finish({row.root for row, _ in moves if unmounted(self.ledger, row.root)})
        folders = sorted(set(output_dirs))
        found = self.found = await to_thread(survey, self.ledger, manifests, self.roots)
        for folder in folders:
            root = self.roots[folder]
            if any(clips.size(root, one) for one in clips.folders(root)):
                found.here.add(folder)
        await self._find(found, folders)
        await self.note_mounts(found.here)
        for why in dict.fromkeys(found.offline.values()):
            self.events.notice(f"{why}: the clips there are left as they are", "offline")

    async def _find(self, found: Survey, output_dirs: Iterable[str]) -> None:
        """Search the output folders, by size and digest, for clips that aren't where they were."""
        absent = {**found.missing, **found.away}
        if not absent:
            return
        from batchgen.run.work_events import JobNoticed

        roots = {row.root for row in absent.values()} | set(output_dirs)
        where = [self.roots[path] for path in sorted(roots - found.offline.keys())]
        warnings: list[str] = []
        places = await to_thread(lambda: list(_match(list(absent.values()), where, set(), warnings)))
        for text in warnings:
            self.events.notice(text)
        for row, there in places:
            if not there.whole:
                continue
            name, path = row.external_task_id, there.path
            values = {"video_path": path, "parts": there.parts}
            if there.root != row.root:  # the whole folder was moved
                belongs = os.path.relpath(row.output_path, row.root)
                values |= {"output_path": os.path.join(there.root, belongs), "output_dir": there.root}
            detail, was = {"from": row.video_path}, clips.absent(row)
            record = await self.ledger.apply(
                Change(name, State.DOWNLOADED, "found_on_disk", values=values, detail=detail)
            )
            await self.log.add(record)
            found.missing.pop(name, None)
            found.away.pop(name, None)
            now = {
                one.path: other.path
                for one, other in zip(clips.files(row), clips.files(record), strict=False)
            }
            text = f"{was} is at {now.get(was, path)} now"
            self.events.emit_job(JobNoticed, record, text, action="found_on_disk")

    async def place(self) -> None:
        """Give clips their jobs' plain names where the job was renamed, or a replaced clip is current again."""
        found = self.found
        wanted: list[tuple[Record, Job | None]] = []
        for step in found.misnamed:
            record = self.ledger.record(step.external_task_id)
            if record is None or record.root in found.offline or record.external_task_id in found.missing:
                continue
            if isinstance(step.job, Job):
                wanted.append((record, step.job))
        if wanted:
            await self.names.rename_all(wanted, found.offline)

    def unwritable(self, one: Manifest) -> EndedEarly | None:
        """Why clips of this manifest can't be written, found out before they are paid for; None where they can."""
        if (why := self._left_out.get(one.name)) is not None:
            return EndedEarly(f"{one.name}: {why}", kind="bug")
        for folder in sorted({job.output_dir for job in one.jobs}):
            if (why := unmounted(self.ledger, folder)) is not None:
                return EndedEarly(f"{one.name}: {why}", kind="unmounted")
            root, own = self.roots[folder], os.path.join(folder, one.name)
            try:
                with root.folder(folder, make=True):
                    tempfile.TemporaryFile(dir=folder).close()
                with contextlib.suppress(FileNotFoundError), root.folder(own):
                    pass
            except OSError as error:
                where = own if error.filename == own else folder
                why = (
                    "a file is there" if isinstance(error, FileExistsError) else error.strerror or str(error)
                )
                text = f"{one.name}: its output folder {where} can't be written: {why}"
                return EndedEarly(text, kind="output")
        return None

    async def note_mounts(self, output_dirs: Iterable[str]) -> None:
        """Record the mount points of the output folders that are there."""
        for folder in output_dirs:
            there = folder in self.found.here or unmounted(self.ledger, folder) is None
            if there and os.path.isdir(folder):
                mount = clips.mount_point(folder)
                if self.ledger.note(f"mount:{folder}") != mount:
                    await self.ledger.set_note(f"mount:{folder}", mount)

    def begin(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same rows; which folders their output folders are is fixed from here on, however long their tasks run."""
        for record in records:
            self.roots.begin(record.root)
            yield record

    def missing(self) -> Iterator[Record]:
        """The rows whose clips have to be downloaded again."""
        for name in self.found.missing:
            record = self.ledger.record(name)
            if record is not None and record.state is State.DOWNLOADED:
                yield record


class _Found(NamedTuple):
    """Where the bytes of a row's clip are, below the folder ``root``; ``whole``: all its further files are, too."""

    path: str
    root: str
    parts: str | None
    whole: bool


def _verified(rows: Sequence[Record], root: Root, warnings: list[str]) -> Iterator[Record]:
    """The rows whose clips are on disk, with their present paths: under their names, or found by digest.

    A further file that is missing keeps its entry: it was paid for, and is downloaded again.
    """
    misplaced, taken = [], set[str]()
    for row in rows:
        files = clips.files(row)
        if all(clips.is_clip(root, one.path, one.sha256, one.size) for one in files):
            taken |= {one.path for one in files}
            yield row
        else:
            misplaced.append(row)
    for row, found in _match(misplaced, [root], taken, warnings) if misplaced else ():
        yield row._replace(video_path=found.path, parts=found.parts)


def _match(
    rows: Sequence[_Row], roots: Sequence[Root], taken: Container[str], warnings: list[str]
) -> Iterator[tuple[_Row, _Found]]:
    """Files below ``roots`` with the bytes of these rows' clips, each once; of some rows there is none.

    ``warnings`` gets what a person has to know of folders that were left out.
    """
    sizes = {one.size for row in rows for one in clips.files(row)}
    by_size: dict[int | None, list[tuple[str, Root]]] = {}
    for root in roots:
        with isolated(functools.partial(_add_warning, warnings, root.path)):
            for path, size in clips.below(root):
                if path not in taken:
                    for key in {size, None} & sizes:
                        by_size.setdefault(key, []).append((path, root))
    used = set[str]()

    def find(file: clips.File) -> tuple[str, Root] | None:
        name = os.path.basename(file.path)
        alike = by_size.get(file.size, [])
        for path, root in sorted(
            alike, key=lambda one: (one[0] != file.path, os.path.basename(one[0]) != name)
        ):
            if path not in used and clips.is_clip(root, path, file.sha256, file.size):
                used.add(path)
                return path, root
        return None

    for row in rows:
        clip, *further = clips.files(row)
        if (place := find(clip)) is not None:
            there = {file.path: find(file) for file in further}
            parts = json.loads(row.parts) if row.parts else []
            for one in parts:
                if (found := there.get(one["path"])) is not None:
                    one["path"] = found[0]
            path, root = place
            yield (
                row,
                _Found(path, root.path, json.dumps(parts) if parts else None, None not in there.values()),
            )


def _add_warning(warnings: list[str], folder: str, why: str) -> None:
    warnings.append(f"{folder} {why}")
