"""What the ledger says of clips, brought together with what lies in their folders. Nothing here creates or downloads.

Clips that the ledger hasn't are taken in from ``clips.jsonl``, those that were moved are found by their digests, and
one that comes home is recorded beside it and in the ledger, and gets its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from batchgen.errors import EndedEarly, LedgerError, LedgerLost
from batchgen.ledger.transitions import CLIP_GONE
from batchgen.ledger.writer import Ledger
from batchgen.manifest.wall import wall
from batchgen.models import Change, Job, Manifest, Record, Shelved, State
from batchgen.run.cliplog import ClipLog
from batchgen.run.events import Events, JobNoticed
from batchgen.run.naming import Names
from batchgen.run.survey import Survey, survey, unmounted
from batchgen.storage import clips
from batchgen.storage.roots import Root, Roots

_Row = TypeVar("_Row", Record, Shelved)
_OF_A_CLIP = (
    "task_id", "submitted_at", "finished_at", "video_path", "video_sha256", "video_size", "parts", "units_charged",
)  # fmt: skip


class Inventory:
    """The clips of one run's ledger on disk."""

    def __init__(self, ledger: Ledger, events: Events) -> None:
        self.ledger = ledger
        self.events = events
        self.found = Survey()
        self.adopted: list[Record] = []  # rows of clips that the ledger hadn't
        self._lost: dict[
            tuple[str, str, int], list[Record]
        ] = {}  # lines without a clip: manifest, digest, take
        self._left_out: dict[str, str] = {}  # manifests whose clips' folder batchgen failed over, and how
        self._present: dict[tuple[str, str, int], str] = {}  # the digests of the manifests' jobs
        self.roots = Roots()
        self.log = ClipLog(ledger, self.roots, events)
        self.names = Names(ledger, self.log, self.roots, events)

    async def keep(self, record: Record, job: Job | None, note: str = "", **columns: Any) -> Record:
        """Record a clip that is complete on disk: beside it first, so that no crash leaves one that nothing tells of.

        ``columns`` are where it is and what it is: ``video_path``, ``video_sha256``, ``video_size``, ``parts``, ...;
        ``note`` is what is odd about it. Then it takes its job's plain name, and what had that is set aside. ``job``
        None: the manifest isn't at hand.
        """
        row = record._replace(state=State.DOWNLOADED, error_code=None, error_message=None, **columns)
        await self.log.add(row)
        detail = {"bytes": row.video_size, **({"note": note} if note else {})}
        values = {**columns, "error_message": None}  # the note is history
        name, message = record.external_task_id, note or None
        change = Change(name, State.DOWNLOADED, "downloaded", None, message, values=values, detail=detail)
        return await self.names.take(await self.ledger.apply(change), job)

    # -- clips that the ledger hasn't ---------------------------------------------------------------------------

    async def take_in(
        self, manifests: Sequence[Manifest], doubtful: Collection[str], *, thoroughly: bool = False
    ) -> list[Record]:
        """Adopt the clips that lie in the manifests' folders and that the ledger hasn't; returns their rows.

        A ``clips.jsonl`` that the ledger knows is read only ``thoroughly``. ``doubtful`` manifests may have had another
        name when their clips were made: what their jobs ask for is looked for in the folders beside theirs, too.
        Nothing is believed but a file's digest.
        """
        adopted: list[Record] = []
        own: set[str] = set()
        self._present = {job.key: job.digest for one in manifests for job in one.jobs}
        for one in manifests:
            for output_dir in sorted({job.output_dir for job in one.jobs}):
                folder = os.path.join(output_dir, one.name)
                own.add(folder)
                if os.path.isdir(folder) and (thoroughly or not self.log.is_known(output_dir, folder)):
                    with wall(functools.partial(self._leave_out, one.name, folder)):
                        adopted += await self._take_in(folder, output_dir)
        for one in manifests:
            if one.name in doubtful or thoroughly:
                digests = {job.digest for job in one.jobs}
                for output_dir in sorted({job.output_dir for job in one.jobs}):
                    for folder in set(clips.folders(self.roots[output_dir])) - own:
                        with wall(functools.partial(self._leave_out, one.name, folder)):
                            adopted += await self._take_in(folder, output_dir, digests)
        await self.log.remember()
        self.adopted += adopted
        return adopted

    def _leave_out(self, manifest: str, folder: str, why: str) -> None:
        """Create nothing of a manifest in this run: what its clips' folder has can't be told, and may be paid."""
        self._left_out.setdefault(manifest, f"{folder} {why}")

    async def _take_in(
        self, folder: str, output_dir: str, digests: Container[str] | None = None
    ) -> list[Record]:
        """Adopt what a folder has; only clips of these contents, where ``digests`` is given."""
        root = self.roots[output_dir]
        size = clips.size(root, folder)
        try:
            told = await asyncio.to_thread(clips.entries, root, folder)
        except OSError as error:
            self.events.notice(f"{folder}/{clips.NAME} can't be read: {error.strerror or error}")
            return []
        wanted = [
            one.row
            for one in told.values()
            if one.api == self.log.api
            and (digests is None or one.row.digest in digests)
            and self._lacks(one.row)
        ]
        moved = [change for one in told.values() if (change := await self._caught_up(one.row)) is not None]
        if moved:
            await self.ledger.rename(moved)  # all at once: they may have each other's names
        said: list[str] = []
        verified = await asyncio.to_thread(lambda: list(_verified(wanted, root, said)))
        for text in said:
            self.events.notice(text)
        here = {row.external_task_id for row in verified}
        for row in wanted:
            if row.external_task_id not in here:
                self._lost.setdefault((row.manifest, row.digest, row.take), []).append(row)
        adopted = [kept for row in verified if (kept := await self._adopt(row)) is not None]
        if adopted:
            plural = "" if len(adopted) == 1 else "s"
            found = f"{len(adopted):,} clip{plural} in {folder} that the ledger had not"
            self.events.notice(f"{found}: recorded, and not paid again", "clips_found")
        if digests is None:
            self.log.seen(folder, size)
            rows = self.ledger.records(states=[State.DOWNLOADED], manifests=[os.path.basename(folder)])
            missing = [  # they came home before lines were written
                row
                for row in rows
                if row.external_task_id not in told
                and row.error_code != CLIP_GONE
                and clips.folder_of(row) == folder
            ]
            await self.log.add(*missing)
        return adopted

    def line_of(self, job: Job) -> Record | None:
        """What ``clips.jsonl`` tells of a clip of this job that neither the ledger nor the disk has: its task was paid.

        A job that was renamed since is known by what it asks for, where no other job of these manifests is meant.
        """
        lines = self._lost.get((job.manifest, job.digest, job.take), ())
        return next((row for row in lines if row.key == job.key), None) or next(
            (row for row in lines if self._present.get(row.key) != row.digest), None
        )

    def _lacks(self, row: Record) -> bool:
        """Whether the ledger doesn't have this clip, and nothing in it speaks against it."""
        known = self.ledger.record(row.external_task_id)
        if known is None:
            return not self.ledger.with_task(row.task_id or "")
        ended = known.state in (State.DOWNLOADED, State.FAILED)
        return not ended and known.task_id in (None, row.task_id)

    async def _caught_up(self, row: Record) -> Change | None:
        """What an older ledger has to learn about where a clip was moved since."""
        known = self.ledger.record(row.external_task_id)
        if known is None or known.state is not State.DOWNLOADED or known.video_sha256 != row.video_sha256:
            return None
        if known.video_path == row.video_path:
            return None
        at_old, at_new = await asyncio.to_thread(
            lambda: [
                clips.is_clip(self.roots[one.root], one.video_path or "", row.video_sha256 or "")
                for one in (known, row)
            ]
        )
        if at_old or not at_new:
            return None
        values = {name: getattr(row, name) for name in ("video_path", "output_path", "output_dir", "parts")}
        return Change(row.external_task_id, State.DOWNLOADED, "found_on_disk", values=values)

    async def _adopt(self, row: Record) -> Record | None:
        values = {name: getattr(row, name) for name in _OF_A_CLIP}
        change = Change(row.external_task_id, State.DOWNLOADED, "found_on_disk", values=values)
        known = self.ledger.record(row.external_task_id)
        try:
            if known is not None and known.task_id is not None:
                return await self.ledger.apply(change)
            kept = await self.ledger.adopt(row, change)
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
        """Finish moves that were begun, see which clips of these manifests' jobs are there, and find those that were moved.

        ``output_dirs`` are the output folders that the manifests name now. Without manifests, all clips of the ledger.
        """
        unreachable = {row.root for row, _ in self.ledger.moves() if unmounted(self.ledger, row.root)}
        await self.names.finish(unreachable)
        folders = sorted(set(output_dirs))
        found = self.found = await asyncio.to_thread(survey, self.ledger, manifests, self.roots)
        for folder in folders:
            root = self.roots[folder]
            if any(clips.size(root, one) for one in clips.folders(root)):
                found.here.add(folder)
        await self._find(found, folders)
        await self.note_mounts(found.here)
        for why in dict.fromkeys(found.offline.values()):
            self.events.notice(f"{why}: the clips there are left as they are", "offline")

    async def _find(self, found: Survey, output_dirs: Iterable[str]) -> None:
        """Look below the output folders for clips that aren't where they were, by size and digest."""
        absent = {**found.missing, **found.away}
        if not absent:
            return
        roots = {row.root for row in absent.values()} | set(output_dirs)
        where = [self.roots[path] for path in sorted(roots - found.offline.keys())]
        said: list[str] = []
        places = await asyncio.to_thread(lambda: list(_match(list(absent.values()), where, set(), said)))
        for text in said:
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
            self.events.tell(JobNoticed, record, text, action="found_on_disk")

    async def place(self) -> None:
        """Give the clips of renamed jobs, and of those that were replaced and are wanted again, their plain names."""
        found = self.found
        wanted: list[tuple[Record, Job | None]] = []
        for step in found.misnamed:
            record = self.ledger.record(step.external_task_id)
            if record is None or record.root in found.offline or record.external_task_id in found.missing:
                continue
            if isinstance(step.job, Job):
                wanted.append((record, step.job))
        if wanted:
            await self.names.give(wanted, found.offline)

    def unwritable(self, one: Manifest) -> EndedEarly | None:
        """Why clips of this manifest could not be written; found out before they are paid for."""
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
        """Remember on which mounted disks the output folders lie that are there."""
        for folder in output_dirs:
            there = folder in self.found.here or unmounted(self.ledger, folder) is None
            if there and os.path.isdir(folder):
                mount = clips.mount_point(folder)
                if self.ledger.note(f"mount:{folder}") != mount:
                    await self.ledger.set_note(f"mount:{folder}", mount)

    def begin(self, records: Iterable[Record]) -> Iterator[Record]:
        """These rows; their output folders are from here on what they are now, however long their tasks still run."""
        for record in records:
            self.roots.begin(record.root)
            yield record

    def missing(self) -> Iterator[Record]:
        """The rows whose clips have to be fetched again."""
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


def _verified(rows: Sequence[Record], root: Root, said: list[str]) -> Iterator[Record]:
    """The rows whose clips are on disk, with where they are: under their names, or found by their digests.

    A further file that isn't there is named all the same: it was paid, and is fetched again.
    """
    astray, taken = [], set[str]()
    for row in rows:
        files = clips.files(row)
        if all(clips.is_clip(root, one.path, one.sha256, one.size) for one in files):
            taken |= {one.path for one in files}
            yield row
        else:
            astray.append(row)
    for row, found in _match(astray, [root], taken, said) if astray else ():
        yield row._replace(video_path=found.path, parts=found.parts)


def _match(
    rows: Sequence[_Row], roots: Sequence[Root], taken: Container[str], said: list[str]
) -> Iterator[tuple[_Row, _Found]]:
    """Files below ``roots`` with the bytes of these rows' clips, each once; of some rows there is none.

    ``said`` gets what a person has to know of folders that were left out.
    """
    sizes = {one.size for row in rows for one in clips.files(row)}
    by_size: dict[int | None, list[tuple[str, Root]]] = {}
    for root in roots:
        with wall(functools.partial(_note, said, root.path)):
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


def _note(said: list[str], folder: str, why: str) -> None:
    said.append(f"{folder} {why}")
