"""A clip's ``.part``: it grows, is checked and synced, and gets the clip's name. No network here."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from batchgen.disk import leads_out, names_beside, sync_folder
from batchgen.errors import DownloadError
from batchgen.files import regular

MARGIN = 1 << 24  # bytes of a disk that are left free: the ledger may lie there, too


class PartFile:
    """What has come of a clip that belongs at ``path``, below the folder ``root``.

    It may be closed and opened again; whatever else lies at its name by then is not taken for it. A file that isn't
    the clip is never overwritten. All raise OSError, and DownloadError where a symbolic link leads out of ``root``.
    """

    def __init__(self, path: str, root: str) -> None:
        self.target = Path(path)
        self.part = self.target.with_name(self.target.name + ".part")
        self.size = 0  # bytes that came
        self._root = root
        self._file: BinaryIO | None = None
        self._inode: int | None = None
        self._sha256 = hashlib.sha256()
        self._told: Mapping[str, str] = {}
        self._also: Mapping[str, hashlib._Hash] = {}

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open it to be read and written; what it holds stays for the next time, unless that is nothing."""
        _inside(self.target.parent, self._root)
        try:
            with self._again() or self._fresh() as file:
                self._inode, self._file = os.fstat(file.fileno()).st_ino, file
                file.seek(self.size)
                yield
        finally:
            self._file = None
            if not self.size:
                self.discard()

    def discard(self) -> None:
        """Remove it."""
        self.size = 0
        if self._inode is not None:
            self._inode = None
            self.part.unlink(missing_ok=True)

    def restart(self, told: Mapping[str, str] | None = None) -> None:
        """Begin anew with no bytes. ``told`` are digests that the whole must come to: name -> hex."""
        self._open.seek(0)
        self._open.truncate()
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._told = told or {}
        self._also = {
            name: hashlib.new(name, usedforsecurity=False) for name in self._told if name != "sha256"
        }

    def write(self, piece: bytes) -> None:
        """Add bytes at its end."""
        self._open.write(piece)
        self.size += len(piece)
        self._sha256.update(piece)
        for digest in self._also.values():
            digest.update(piece)

    def read(self, count: int, at: int) -> bytes:
        """Some of its bytes."""
        self._open.flush()
        return os.pread(self._open.fileno(), count, at)

    def need(self, size: int) -> None:
        """Refuse a clip of ``size`` bytes that its disk has no room for. Raises DownloadError."""
        disk = os.statvfs(self.part.parent)
        missing = size + MARGIN - self.size - disk.f_bavail * disk.f_frsize
        if missing > 0:
            raise DownloadError(
                f"no room in {self.part.parent}: the clip has {size:,} bytes, and {missing:,} more must be free",
                local=True,
            )

    @property
    def sha256(self) -> str:
        """The digest of what came so far, in hex."""
        return self._sha256.hexdigest()

    @property
    def differs(self) -> str:
        """The name of a digest that was told and is another; "" where there is none."""
        found = {"sha256": self.sha256} | {name: digest.hexdigest() for name, digest in self._also.items()}
        return next((name for name, digest in self._told.items() if found[name] != digest), "")

    def sync(self) -> None:
        """Bring its bytes to the disk."""
        self._open.flush()
        os.fsync(self._open.fileno())

    def keep(self) -> str:
        """Give it the clip's name, or one beside it where another file has that. Returns the path."""
        final = _free_name(self.target, self.sha256, self.size)
        os.replace(self.part, final)
        self._inode = None
        sync_folder(final.parent)
        return str(final)

    @property
    def _open(self) -> BinaryIO:
        if self._file is None:
            raise RuntimeError("a part is used while it is closed")
        return self._file

    def _again(self) -> BinaryIO | None:
        """The same file as it was left; None where it isn't."""
        try:
            there = self.part.lstat()
            if (there.st_ino, there.st_size) != (self._inode, self.size):
                return None
            return open(self.part, "r+b", opener=_no_link)
        except OSError:
            return None

    def _fresh(self) -> BinaryIO:
        self.size = 0
        self.part.unlink(missing_ok=True)  # of a run that died
        return open(self.part, "w+b", opener=_new)


def _new(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _inside(folder: Path, root: str) -> None:
    """Make ``folder``, unless a symbolic link on the way leads out of ``root``."""
    if leads_out(folder, root):
        raise DownloadError(
            f"{folder} leads out of {root} through a symbolic link; nothing was written there", local=True
        )
    folder.mkdir(parents=True, exist_ok=True)


def _free_name(target: Path, sha256: str, size: int) -> Path:
    """``target``, or a name beside it where another file has it already."""
    for name in names_beside(str(target), sha256):
        if _free(Path(name), sha256, size):
            return Path(name)
    raise DownloadError(f"no name near {target} is free", local=True)


def _free(path: Path, sha256: str, size: int) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return True
    if not stat.S_ISREG(there.st_mode) or there.st_size != size:
        return False
    with open(path, "rb", opener=regular) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
