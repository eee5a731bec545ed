"""The ``.part`` file of a clip: written, checked against digests, synced, renamed to the clip's name. No network here."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from io import BufferedRandom
from typing import Any, NamedTuple

from batchgen.disk import names_beside
from batchgen.errors import DownloadError
from batchgen.http.bodies import ALGORITHMS
from batchgen.storage.roots import Folder, Root

LARGEST_CLIP = 2 << 30  # bytes; fifteen seconds of 4K have a fraction of it
MARGIN = 1 << 24  # bytes of a disk that are left free: the ledger may lie there, too
PIECE = 1 << 22  # bytes that are read at once


class Kept(NamedTuple):
    """What an earlier run left of a clip: the ``size`` (bytes) and ``sha256`` (hex) of its part.

    ``expected`` are digests that the clip's host gave for the whole file (name -> hex), ``total`` is its size in bytes
    where known.
    """

    size: int
    sha256: str
    expected: Mapping[str, str]
    total: int | None = None

    @classmethod
    def from_json(cls, value: Any) -> Kept | None:
        """From the ledger's JSON; None where that doesn't have these fields."""
        try:
            digests = value["told"].items()
            expected = {name: str(digest) for name, digest in digests if name in ALGORITHMS.values()}
            total = value["total"]
            return cls(int(value["size"]), str(value["sha256"]), expected, total and int(total))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def as_json(self) -> dict[str, Any]:
        """For the ledger, where the expected digests are called ``told``."""
        return {"size": self.size, "sha256": self.sha256, "told": dict(self.expected), "total": self.total}


def remove(path: str, root: Root) -> None:
    """Remove what an earlier run left of a clip that belonged at ``path``; where it is out of reach, it stays."""
    folder, name = os.path.split(path)
    with contextlib.suppress(OSError), root.folder(folder) as there:
        there.remove(f"{name}.part")


class PartFile:
    """The received bytes of a clip that belongs at ``path``, below the output folder ``root``.

    It may be closed and opened again; another file at its name by then is not taken for it. A file that isn't the clip
    is never overwritten, and nothing is written through a link below ``root``. All methods raise OSError. ``kept`` is
    what an earlier run left: once the part is open, :meth:`verify_kept` has to check it.
    """

    def __init__(self, path: str, root: Root, kept: Kept | None = None) -> None:
        self.part = f"{path}.part"
        self.size = 0  # bytes that came
        self._root = root
        self._kept = kept
        self._parent, self._target = os.path.split(path)
        self._name = f"{self._target}.part"
        self._folder: Folder | None = None
        self._file: BufferedRandom | None = None
        self._inode: int | None = None
        self._sha256 = hashlib.sha256()
        self._expected: Mapping[str, str] = {}
        self._other_digests: Mapping[str, hashlib._Hash] = {}

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open the part for reading and writing; an empty one is removed at the end."""
        with self._root.folder(self._parent, make=True) as folder:
            try:
                with self._reopened(folder) or self._fresh(folder) as file:
                    self._inode, self._file, self._folder = os.fstat(file.fileno()).st_ino, file, folder
                    file.seek(self.size)
                    yield
            finally:
                self._file = self._folder = None
                if not self.size:
                    self._discard(folder)

    def verify_kept(self) -> Iterator[None]:
        """Hash what an earlier run left, ``PIECE`` bytes at each step; discard it where its digest differs."""
        kept = self._kept
        if kept is None or not self.size:
            self._kept = None
            return
        digests = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", *kept.expected)}
        for start in range(0, kept.size, PIECE):
            piece = self.read(min(PIECE, kept.size - start), start)
            for digest in digests.values():
                digest.update(piece)
            yield
        self._kept = None
        if digests["sha256"].hexdigest() != kept.sha256:
            self.restart()
            return
        self._open.truncate(kept.size)
        self._open.seek(kept.size)
        self.size, self._sha256, self._expected = kept.size, digests.pop("sha256"), kept.expected
        self._other_digests = digests

    @property
    def kept(self) -> Kept | None:
        """What a later run can resume from; None where there is nothing."""
        if not self.size or self._inode is None:
            return None
        return self._kept or Kept(self.size, self.sha256, dict(self._expected))

    def discard(self) -> None:
        """Remove the part. Where its folder can't be opened any more, a later download removes it."""
        self.size = 0
        if self._inode is not None:
            with contextlib.suppress(OSError), self._root.folder(self._parent) as folder:
                self._discard(folder)

    def restart(self, expected: Mapping[str, str] | None = None) -> None:
        """Empty the part. ``expected`` are the digests that the whole clip must have: name -> hex."""
        self._open.seek(0)
        self._open.truncate()
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._expected = expected or {}
        self._other_digests = {
            name: hashlib.new(name, usedforsecurity=False) for name in self._expected if name != "sha256"
        }

    def write(self, piece: bytes) -> None:
        """Append bytes."""
        self._open.write(piece)
        self.size += len(piece)
        self._sha256.update(piece)
        for digest in self._other_digests.values():
            digest.update(piece)

    def read(self, count: int, at: int) -> bytes:
        """Up to ``count`` bytes from the offset ``at``."""
        self._open.flush()
        return os.pread(self._open.fileno(), count, at)

    def need(self, size: int) -> None:
        """Raise DownloadError where the disk has no room for a clip of ``size`` bytes."""
        disk = os.fstatvfs(self._open.fileno())
        missing = size + MARGIN - self.size - disk.f_bavail * disk.f_frsize
        if missing > 0:
            raise DownloadError(
                f"no room in {self._parent}: the clip has {size:,} bytes, and {missing:,} more must be free",
                local=True,
            )

    @property
    def sha256(self) -> str:
        """The digest of the bytes so far, in hex."""
        return self._sha256.hexdigest()

    @property
    def differs(self) -> str:
        """The name of an expected digest that the bytes don't have; "" where they have all."""
        found = {"sha256": self.sha256} | {
            name: digest.hexdigest() for name, digest in self._other_digests.items()
        }
        return next((name for name, digest in self._expected.items() if found[name] != digest), "")

    def sync(self) -> None:
        """Flush and fsync."""
        self._open.flush()
        os.fsync(self._open.fileno())

    def keep(self) -> str:
        """Rename the part to the clip's name, or to one beside it where another file has that. Returns the path.

        Raises DownloadError where no name is free, or where the file or its folder was exchanged in the meantime.
        """
        file, folder = self._open, self._folder
        assert folder is not None
        name = self._named(folder)
        try:
            there = folder.look(name)
            same = there is not None and os.path.samestat(there, os.fstat(file.fileno()))
            if not same and not self._is_copy(folder, name):  # some disks number a file by its name
                text = f"{self.part} was exchanged for another file while the clip came"
                raise DownloadError(text, local=True)
            folder.sync()
            self._root.check(folder)
        except BaseException:
            with contextlib.suppress(OSError):  # what couldn't be checked doesn't keep a clip's name
                folder.move(name, folder, self._name)
            raise
        self._inode = None
        return os.path.join(self._parent, name)

    @property
    def _open(self) -> BufferedRandom:
        if self._file is None:
            raise RuntimeError("a part is used while it is closed")
        return self._file

    def _reopened(self, folder: Folder) -> BufferedRandom | None:
        """The part as it was left, opened; None where another file is there. Checked after opening, so it can't be exchanged."""
        try:
            file = folder.open(self._name, "r+b")
        except OSError:
            return None
        there = os.fstat(file.fileno())
        if self._kept is not None and there.st_size >= self._kept.size > 0 and there.st_nlink <= 1:
            self.size = self._kept.size  # a file with a second name (a hard link) may be somebody's own
            return file
        if (there.st_ino, there.st_size) == (self._inode, self.size):
            return file
        file.close()
        return None

    def _fresh(self, folder: Folder) -> BufferedRandom:
        self.size = 0
        folder.remove(self._name)  # of a run that died
        return folder.open(self._name, "x+b")

    def _discard(self, folder: Folder) -> None:
        if self._inode is not None:
            self._inode = None
            folder.remove(self._name)

    def _named(self, folder: Folder) -> str:
        """Rename the part to its clip's name, or to one beside it. Returns the name."""
        for name in names_beside(self._target, self.sha256):
            try:
                folder.move(self._name, folder, name)
            except FileExistsError:
                if not self._is_copy(folder, name):
                    continue
                folder.replace(self._name, folder, name)
            return name
        raise DownloadError(f"no name near {self._target} in {self._parent} is free", local=True)

    def _is_copy(self, folder: Folder, name: str) -> bool:
        """Whether the file ``name`` has the clip's bytes already."""
        there = folder.look(name)
        if there is None or not stat.S_ISREG(there.st_mode) or there.st_size != self.size:
            return False
        with folder.read(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
