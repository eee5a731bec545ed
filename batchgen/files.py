"""Opens files at paths where others may have put something else: without blocking, and checked once they are open.

These are openers for ``open(path, mode, opener=...)``. A check before opening proves nothing, since a file can be
exchanged in between. A file that has to lie below a folder is opened one name at a time from there, through no link.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from batchgen.escapes import visible
from batchgen.models import Within

# Names of the process's own streams; they are links that the system made.
_OWN_STREAM = re.compile(r"/dev/(std(out|err)|fd/\d+)|/proc/self/fd/\d+")
_LONGEST = 200  # characters of a path that a link leads to

_NONBLOCKING = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# A folder on the way to a file; with O_PATH, one that may be entered and not listed will do.
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", 0)


def open_regular(path: str, flags: int, dir_fd: int | None = None) -> int:
    """Open a regular file; links are followed. Raises OSError for anything else, without waiting for a named pipe."""
    return _if_regular(os.open(path, flags | _NONBLOCKING, 0o666, dir_fd=dir_fd), path)


def open_regular_below(path: str, flags: int, within: Within) -> int:
    """Open a regular file that lies below the folders of ``within``; see :func:`open_nonblocking`."""
    return _if_regular(open_nonblocking(path, flags, within), path)


def _if_regular(descriptor: int, path: str) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)


def open_private(path: str, flags: int) -> int:
    """Open a file for writing that isn't a link; a new one can be read by its owner alone. Raises OSError."""
    if not _OWN_STREAM.fullmatch(path):
        flags |= os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):
            raise OSError(errno.ELOOP, "it is a link; name the file that it leads to", path) from None
        raise
    os.set_blocking(descriptor, True)  # of a pipe, whose reader may be slow
    return descriptor


def open_nonblocking(path: str, flags: int, within: Within | None) -> int:
    """Open whatever lies at a path, without waiting for it; links are followed. Raises OSError.

    With ``within``, what lies outside of its folders is an OSError (EXDEV) with a reason for people, even if links are
    changed meanwhile.
    """
    if within is None:
        return os.open(path, flags | _NONBLOCKING)
    for (
        folder
    ) in within.folders:  # nearly every file lies straight below its folder, which is seen as it is opened
        if _lies_in(path, folder):
            with suppress(OSError):
                return _open_below(folder, path, flags)
            break
    real = os.path.realpath(path)
    if why := outside(path, real, within):
        raise OSError(errno.EXDEV, why, path)
    return _open_below(next(folder for folder in within.folders if _lies_in(real, folder)), real, flags)


def _open_below(folder: str, path: str, flags: int) -> int:
    """Open what lies at a path that begins with ``folder``; a link below that is an OSError."""
    *folders, name = [part for part in path[len(folder) :].split("/") if part] or ["."]
    if ".." in (*folders, name):
        raise OSError(errno.EXDEV, "it may lead out again", path)
    descriptor = _step_down(folder, folders)
    try:
        return os.open(name, flags | _NONBLOCKING | os.O_NOFOLLOW, dir_fd=descriptor)
    finally:
        os.close(descriptor)


class _Kept(NamedTuple):
    """A folder that is kept open, by its path and what it lies within."""

    path: str
    within: Within
    descriptor: int


class Folders:
    """Opens files below folders, as :func:`open_nonblocking` does; the folder of the last one stays open for the next one.

    Several threads may use it: each takes the folder away from the others as long as it opens a file there.
    """

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        while self._kept:
            os.close(self._kept.pop().descriptor)

    def open(self, path: str, flags: int, within: Within) -> int:
        """Open what lies at a path, without waiting for it. Raises OSError, as :func:`open_nonblocking` does."""
        above, _, name = path.rpartition("/")
        if name not in ("", ".", ".."):
            try:
                folder = self._folder(above, within)
                try:
                    return os.open(name, flags | _NONBLOCKING | os.O_NOFOLLOW, dir_fd=folder.descriptor)
                finally:
                    self._kept.append(folder)
            except OSError:  # a link, or another folder lies there by now: looked at once more
                pass
        return open_nonblocking(path, flags, within)

    def open_regular(self, path: str, flags: int, within: Within) -> int:
        """Open a regular file. Raises OSError, also for anything else."""
        return _if_regular(self.open(path, flags, within), path)

    def _folder(self, path: str, within: Within) -> _Kept:
        with suppress(IndexError):  # another thread may have it
            if (kept := self._kept.pop())[:2] == (path, within):
                return kept
            os.close(kept.descriptor)
        real = os.path.realpath(path)
        folder = next((folder for folder in within.folders if _lies_in(real, folder)), None)
        if folder is None:
            raise OSError(errno.EXDEV, "it leads outside", path)
        names = [part for part in real[len(folder) :].split("/") if part]
        return _Kept(path, within, _step_down(folder, names))


@contextmanager
def folder_below(folder: str, names: Sequence[str]) -> Iterator[int]:
    """A descriptor, for ``dir_fd`` alone, of the folder that ``names`` lead to from ``folder``. A link is an OSError."""
    descriptor = _step_down(folder, names)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _step_down(folder: str, names: Sequence[str]) -> int:
    descriptor = os.open(folder, _FOLDER)
    for name in names:
        above = descriptor
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=above)
        finally:
            os.close(above)
    return descriptor


def outside(path: str, real: str, within: Within) -> str | None:
    """Why ``path``, which resolves to ``real``, lies outside of its folders, and what to do; None where it doesn't."""
    if any(_lies_in(real, folder) for folder in within.folders):
        return None
    to = "" if real == path else f" (to {visible(real[:_LONGEST])})"
    return (
        f"it leads outside of the folder {within.shown}{to}, so it is not read; if that is meant, give the entry"
        ' "allow: [FOLDER]" with the folder it lies in, which changes no id and pays for nothing twice'
    )


def _lies_in(real: str, folder: str) -> bool:
    return real == folder or real.startswith(folder if folder.endswith("/") else f"{folder}/")
