"""Compares the clips on disk with the ledger: missing, of another size or digest, and files that no row has. Nothing is written."""

from __future__ import annotations

import array
import contextlib
import enum
import errno
import os
import stat
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple

import xxhash

from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import CLIP_GONE
from batchgen.models import StoredClip
from batchgen.run.survey import unmounted
from batchgen.storage import clips
from batchgen.storage.roots import Folder, Root, Roots

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


class Fault(enum.StrEnum):
    """What is wrong with a file."""

    MISSING = "missing"
    GONE = "gone"  # missing, and the API has it no more, as a run found out
    SHORT = "short"
    LONG = "long"
    CHANGED = "changed"  # of the right size, and of another digest
    UNREADABLE = "unreadable"
    AWAY = "away"  # an output folder that can't be reached; the clips in it aren't looked for
    FOREIGN = "foreign"  # a clip that no row has


class Finding(NamedTuple):
    """One file, or folder, that isn't as the ledger says. ``clip`` is its row; None for a foreign file and a folder."""

    fault: Fault
    path: str
    clip: StoredClip | None
    text: str  # what was found


class Verification:
    """One look at every file. Iterate over it once: what is wrong comes as it is found."""

    def __init__(
        self, ledger: Records, roots: Roots, *, deep: bool, compared: Callable[[], object] = lambda: None
    ) -> None:
        """``deep`` reads every byte and compares digests. ``compared`` is called after each row."""
        self.rows = self.read = 0  # rows that were compared, and bytes of their files
        self._ledger, self._roots, self._deep, self._each = ledger, roots, deep, compared
        self._folder: Folder | None = None
        self._open = contextlib.ExitStack()
        self._known = array.array("Q")  # hashes of the paths that rows have, eight bytes for each

    def __iter__(self) -> Iterator[Finding]:
        with self._open:
            yield from self._all()

    def _all(self) -> Iterator[Finding]:
        reached: dict[str, bool] = {}
        for row in self._ledger.every_stored_clip():
            if row.root not in reached:
                why = self._unreachable(row.root)
                reached[row.root] = why is None
                if why is not None:
                    yield Finding(Fault.AWAY, row.root, None, why)
            self.rows += 1
            for file in clips.files(row):
                self._known.append(_hash(file.path))
                if reached[row.root]:
                    found = self._compared(self._roots[row.root], file, row)
                    if found is not None:
                        yield found
            self._each()
        self._known = array.array("Q", sorted(self._known))
        for root in sorted(root for root, there in reached.items() if there):
            yield from self._foreign(self._roots[root], set(reached) - {root})

    def _unreachable(self, folder: str) -> str | None:
        """Why an output folder can't be reached; None where it can, or was deleted with all its clips."""
        if (why := unmounted(self._ledger, folder)) is not None:
            return why
        try:
            with self._roots[folder].folder(folder):
                return None
        except OSError as error:
            return None if error.errno in _ABSENT else f"{folder} can't be read: {error.strerror or error}"

    def _compared(self, root: Root, file: clips.File, row: StoredClip) -> Finding | None:
        try:
            there = self._stat(root, file.path)
            if not stat.S_ISREG(there.st_mode):
                return Finding(Fault.MISSING, file.path, row, "something else has its name")
            if file.size is not None and there.st_size != file.size:
                fault = Fault.SHORT if there.st_size < file.size else Fault.LONG
                return Finding(fault, file.path, row, f"it has {there.st_size:,} bytes of {file.size:,}")
            self.read += there.st_size
            if self._deep:
                with root.reading(file.path):  # an error is told from another digest
                    pass
                if not clips.is_clip(root, file.path, file.sha256):
                    return Finding(Fault.CHANGED, file.path, row, "its bytes are others")
        except OSError as error:
            if error.errno not in _ABSENT:
                return Finding(Fault.UNREADABLE, file.path, row, str(error.strerror or error))
            gone = row.error_code == CLIP_GONE
            return Finding(Fault.GONE if gone else Fault.MISSING, file.path, row, "it isn't there")
        return None

    def _stat(self, root: Root, path: str) -> os.stat_result:
        """The stat of a file. Rows come folder by folder for the most part, so the last folder stays open."""
        folder, name = os.path.split(path)
        if self._folder is None or self._folder.path != folder:
            self._folder = None
            self._open.close()
            self._folder = self._open.enter_context(root.folder(folder))
        return os.stat(name, dir_fd=self._folder.descriptor)

    def _foreign(self, root: Root, others: set[str]) -> Iterator[Finding]:
        """The clips below an output folder that no row has. One that lies below another output folder is found there."""
        for path, size in clips.below(root):
            if any(path.startswith(f"{other}/") and other.startswith(f"{root.path}/") for other in others):
                continue
            place = bisect_left(self._known, hashed := _hash(path))
            if place == len(self._known) or self._known[place] != hashed:
                yield Finding(Fault.FOREIGN, path, None, f"it has {size:,} bytes")


def _hash(path: str) -> int:
    return xxhash.xxh3_64_intdigest(os.fsencode(os.path.normpath(path)))
