"""Writes ``clips.jsonl`` beside the clips, compares it with the ledger, and remembers how much of each file that knows.

A file has as many lines as its folder ever had clips: none of this keeps more of them than differ.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Container, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from batchgen.ledger.transitions import CLIP_GONE
from batchgen.ledger.writer import Ledger
from batchgen.models import Record, State
from batchgen.run.events import Events
from batchgen.storage import clips
from batchgen.storage.roots import Roots
from batchgen.storage.threads import in_thread

if TYPE_CHECKING:
    import asyncio

AT_ONCE = 1000  # lines that are made and synced together where a folder gets its first ones


class Lines(NamedTuple):
    """What a file says: the external_task_ids of its clips; the rows that the ledger lacks, or has at another place."""

    names: Collection[str]
    lacking: Sequence[Record]
    elsewhere: Sequence[Record]


class ClipLog:
    """Reads and writes the ``clips.jsonl`` of all folders of one run."""

    def __init__(self, ledger: Ledger, roots: Roots, events: Events) -> None:
        self.api = ledger.origin
        self._ledger, self._roots, self._events = ledger, roots, events
        self._sizes: dict[str, int] = {}  # of each file, in bytes, where the ledger knows all that is in it
        self._warned: set[str] = set()
        self._waiting: dict[
            tuple[str, str], list[str]
        ] = {}  # lines by root and folder: one sync is for all that wait

    @functools.cached_property
    def _writing(self) -> asyncio.Lock:
        """One append at a time."""
        import asyncio

        return asyncio.Lock()

    def read(self, root: str, folder: str, digests: Container[str] | None = None) -> Lines:
        """Compare a folder's file with the ledger. Raises OSError.

        ``lacking`` are rows of this ledger's API, and of these ``digests`` where they are given.
        """
        names: set[str] = set()
        lacking: dict[str, Record] = {}
        elsewhere: dict[str, Record] = {}
        for row, api in clips.entries(self._roots[root], folder):
            name = row.external_task_id
            names.add(name)
            lacking.pop(name, None)  # the last line counts
            elsewhere.pop(name, None)
            known = self._ledger.record(name)
            if api == self.api and (digests is None or row.digest in digests) and self._lacks(row, known):
                lacking[name] = row
            if known is not None and _is_elsewhere(row, known):
                elsewhere[name] = row
        return Lines(names, [*lacking.values()], [*elsewhere.values()])

    def _lacks(self, row: Record, known: Record | None) -> bool:
        """Whether the ledger lacks this clip, and has nothing that contradicts it."""
        if known is None:
            return not self._ledger.with_task(row.task_id or "")
        ended = known.state in (State.DOWNLOADED, State.FAILED)
        return not ended and known.task_id in (None, row.task_id)

    async def complete(self, folder: str, names: Container[str]) -> None:
        """Append the lines of the folder's clips that are not among ``names``: they came home before lines were written."""
        rows = self._ledger.records(states=[State.DOWNLOADED], manifests=[PurePath(folder).name])
        missing = (
            row
            for row in rows
            if row.external_task_id not in names
            and row.error_code != CLIP_GONE
            and clips.folder_of(row) == folder
        )
        while some := list(itertools.islice(missing, AT_ONCE)):
            await self.add(*some)

    async def add(self, *rows: Record) -> None:
        """Append the lines of clips that are on disk, synced. A failure is logged once for each folder."""
        lines: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            folder = clips.folder_of(row)
            lines.setdefault((row.root, folder), []).append(clips.entry_line(row, folder, self.api))
        for (root, folder), some in lines.items():
            await self._append(root, folder, some)

    async def _append(self, root: str, folder: str, lines: Sequence[str]) -> None:
        self._waiting.setdefault((root, folder), []).extend(lines)
        async with self._writing:
            together = self._waiting.pop((root, folder), None)
            if together is None:  # whoever wrote before has written these, too
                return
            try:
                # Cancelled or not: whoever waits is told that the lines are synced once this is over.
                append = functools.partial(clips.append, self._roots[root], folder, together)
                before, after = await in_thread(append, counts=True)
            except OSError as error:
                if folder not in self._warned:
                    self._warned.add(folder)
                    self._events.notice(
                        f"{folder}/{clips.NAME} can't be written: {error.strerror or error}. The clips are home and in the"
                        " ledger; but were the ledger lost, it could not be rebuilt from that folder.",
                        "clips_not_written",
                    )
                return
        if before == self._sizes.get(
            folder, 0
        ):  # else another program has written there: the file is read again
            self._sizes[folder] = after

    def is_known(self, root: str, folder: str) -> bool:
        """Whether the ledger knows every line of the folder's file."""
        size = clips.size(self._roots[root], folder)
        known = self._ledger.note(f"clips:{folder}") == str(size)
        if known:
            self._sizes[folder] = size
        return known

    def note_size(self, folder: str, size: int) -> None:
        """Record that the folder's file was read up to ``size`` bytes."""
        self._sizes[folder] = size

    async def remember(self) -> None:
        """Write to the ledger how many bytes of each file it knows."""
        for folder, size in self._sizes.items():
            if self._ledger.note(f"clips:{folder}") != str(size):
                await self._ledger.set_note(f"clips:{folder}", str(size))


def _is_elsewhere(row: Record, known: Record) -> bool:
    """Whether a line says that a clip lies elsewhere than the ledger says: it is an older copy."""
    same = known.state is State.DOWNLOADED and known.video_sha256 == row.video_sha256
    return same and known.video_path != row.video_path
