"""Writes ``clips.jsonl`` beside the clips, and remembers how much of each file the ledger knows."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

from batchgen.ledger.writer import Ledger
from batchgen.models import Record
from batchgen.run.events import Events
from batchgen.storage import clips
from batchgen.storage.disk_threads import in_thread
from batchgen.storage.roots import Roots


class ClipLog:
    """Writes the ``clips.jsonl`` of all folders of one run."""

    def __init__(self, ledger: Ledger, roots: Roots, events: Events) -> None:
        self.api = ledger.origin
        self._ledger, self._roots, self._events = ledger, roots, events
        self._sizes: dict[str, int] = {}  # of each file, in bytes, where the ledger knows all that is in it
        self._warned: set[str] = set()
        self._writing = asyncio.Lock()
        self._waiting: dict[
            tuple[str, str], list[str]
        ] = {}  # lines by root and folder: one sync is for all that wait

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
