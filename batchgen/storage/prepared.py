"""The pictures that were prepared, kept in a folder of their own: they are made again where they are gone.

The folder is bounded, and safe to delete at any time. A file's name has its digest, which is checked before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

import xxhash

from batchgen.errors import ImageError
from batchgen.images.inspection import CHUNK, opened
from batchgen.models import ImageFile

MOST_BYTES: Final = 2 << 30  # of all pictures that are kept
IN_USE: Final = 600.0  # seconds for which a picture stays, since somebody may be about to send it
_LEFT: Final = 0.9  # of MOST_BYTES, once there are more
_WORK: Final = "work"  # the folder of files that aren't whole yet
_STALE: Final = 86_400.0  # seconds after which such a file is a dead run's


class _Kept(NamedTuple):
    used: float
    size: int
    path: str


def folder(environ: Mapping[str, str]) -> str:
    """The folder for prepared pictures: ``$XDG_CACHE_HOME/batchgen/prepared``, by default below ``~/.cache``."""
    base = environ.get("XDG_CACHE_HOME", "")
    base = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    return os.path.join(base, "batchgen", "prepared")


class PreparedImages:
    """The pictures in a folder, by the digest of their source and recipe. ``most`` is in bytes.

    Where the folder can't be made, or others may write into it, a temporary one is used, which goes with :meth:`close`.
    """

    def __init__(self, path: str, most: int = MOST_BYTES) -> None:
        self._most = most
        self._total: int | None = None  # bytes; None until they are counted
        self._temporary: str | None = None
        self._count = 0
        try:
            self._path = _private(path)
        except OSError:
            self._path = self._temporary = tempfile.mkdtemp(prefix="batchgen-")

    def close(self) -> None:
        """Remove the folder where it is a temporary one."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def find(self, key: str, size: tuple[int, int], form: Literal["jpeg", "png"]) -> ImageFile | None:
        """A kept picture of ``size`` pixels whose bytes are those that were made; None where there is none."""
        below = os.path.join(self._path, key[:2])
        try:
            names = [name for name in os.listdir(below) if name.startswith(f"{key}.")]
        except OSError:
            return None
        for name in names:
            path = os.path.join(below, name)
            with contextlib.suppress(ImageError, OSError):
                found = _checked(path, name.split(".")[1], size, form)
                if found is not None:
                    os.utime(path)
                    return found
            with contextlib.suppress(OSError):  # its bytes are others than its name says
                os.unlink(path)
        return None

    def new_path(self) -> str:
        """A path at which the next picture can be written, before it is kept. Raises OSError."""
        _private(os.path.join(self._path, _WORK))  # each time: somebody may delete all of it
        self._count += 1
        return os.path.join(self._path, _WORK, f"{os.getpid()}-{id(self)}-{self._count}")

    def keep(self, made: str, key: str, sha256: str, size: int) -> None:
        """Keep a picture that was written at ``made``, and remove those that were used least lately where there are too many.

        Raises OSError.
        """
        below = _private(os.path.join(self._path, key[:2]))
        os.replace(made, os.path.join(below, f"{key}.{sha256}"))
        if self._total is None:
            self._total = sum(one.size for one in self._kept())
        else:
            self._total += size
        if self._total > self._most:
            self._remove_oldest()

    def discard(self, made: str) -> None:
        """Remove what a decoder may have left at a path of :meth:`new_path`."""
        with contextlib.suppress(OSError):
            os.unlink(made)

    def _remove_oldest(self) -> None:
        kept = sorted(self._kept())
        self._total = sum(one.size for one in kept)
        latest = kept[-1].used if kept else 0.0
        for one in kept:
            if self._total <= self._most * _LEFT or latest - one.used < IN_USE:
                break
            self.discard(one.path)
            self._total -= one.size
        work = os.path.join(self._path, _WORK)
        for name in os.listdir(work):
            with contextlib.suppress(OSError):
                path = os.path.join(work, name)
                if latest - os.stat(path).st_mtime > _STALE:
                    os.unlink(path)

    def _kept(self) -> Iterator[_Kept]:
        for below in os.listdir(self._path):
            if below != _WORK:
                with contextlib.suppress(OSError), os.scandir(os.path.join(self._path, below)) as entries:
                    for entry in entries:
                        status = entry.stat(follow_symlinks=False)
                        yield _Kept(status.st_mtime, status.st_size, entry.path)


def _private(path: str) -> str:
    """Make a folder that only its owner reads and writes, with those above it. Raises OSError where it is another's."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    status = os.stat(path, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise NotADirectoryError(path)
    if stat.S_IMODE(status.st_mode) != 0o700:
        os.chmod(path, 0o700)
    return path


def _checked(path: str, sha256: str, size: tuple[int, int], form: Literal["jpeg", "png"]) -> ImageFile | None:
    """The picture at a path; None where its bytes have another digest. Raises ImageError."""
    digest, quick = hashlib.sha256(), xxhash.xxh3_128()
    with opened(path, None) as (file, status):
        while piece := os.read(file, CHUNK):
            digest.update(piece)
            quick.update(piece)
    if digest.hexdigest() != sha256:
        return None
    return ImageFile(
        path,
        status.st_size,
        status.st_mtime_ns,
        status.st_ino,
        sha256,
        form,
        *size,
        xxh3=quick.hexdigest(),
    )
