"""Output folders, opened by descriptor: a run never writes through a link below one, nor into an exchanged folder.

Whoever may write into a folder can replace it by a link while a run writes there. So no file is written by its whole
path: its folder is opened one name at a time from the output folder's descriptor, and the file is handled relative to
the open folder. An output folder itself may be a link: the manifest's author names it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from io import BufferedRandom, BufferedReader
from typing import Literal, Self

from batchgen.files import open_regular

HELD = 64  # output folders whose descriptors are kept open; systems allow at least 256 descriptors
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK = (
    "nothing goes through a symbolic link below an output folder; put a folder in its place,"
    " or let output_dir name where the clips are to lie"
)
_NOREPLACE = 1  # of renameat2(2)
_NO_FLAGS = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}  # disks and systems without it


class Folder:
    """An open folder. Its methods act on files in that folder, wherever its path leads by then.

    Names are those of files in it. All methods raise OSError.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor

    def open(self, name: str, mode: Literal["r+b", "x+b", "a+b"]) -> BufferedRandom:
        """Open a regular file, which is no link, to be read and written."""
        return open(
            name, mode, opener=lambda _, flags: open_regular(name, flags | os.O_NOFOLLOW, self.descriptor)
        )

    def read(self, name: str, flags: int = os.O_NOFOLLOW) -> BufferedReader:
        """Open a regular file to be read; ``flags`` 0: or the one that a link leads to."""
        return open(name, "rb", opener=lambda _, own: open_regular(name, own | flags, self.descriptor))

    def look(self, name: str) -> os.stat_result | None:
        """The stat of what has this name (of a link itself); None where nothing has it."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def move(self, name: str, to: Folder, new: str) -> None:
        """Rename a file to ``new`` in the folder ``to``. Raises FileExistsError where another file has that name."""
        try:
            _rename(name, new, self.descriptor, to.descriptor)
        except FileExistsError:
            one, other = self.look(name), to.look(new)
            if one is None or other is None or not os.path.samestat(one, other):
                raise
            self.replace(name, to, new)  # the same file, on a disk that ignores case

    def replace(self, name: str, to: Folder, new: str) -> None:
        """Rename a file to ``new`` in the folder ``to``, replacing a file that has that name."""
        os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Fsync the folder, so that its files' names are durable."""
        os.fsync(self.descriptor)


class Root:
    """An output folder. ``hold`` keeps a descriptor open: some network disks would change its inode number otherwise."""

    def __init__(self, path: str, *, hold: bool = True) -> None:
        self.path = path
        self._hold = hold
        self._first: os.stat_result | None = None
        self._opening = threading.Lock()
        self._release: Callable[[], object] | None = None  # closes the descriptor that is held

    @contextlib.contextmanager
    def folder(self, path: str, *, make: bool = False) -> Iterator[Folder]:
        """Open the folder at ``path``, which is this one or lies below it; ``make`` creates missing folders.

        Raises OSError, also where a link is on the way, or where this is another folder than at first.
        """
        descriptor = self._walk(path, make)
        try:
            yield Folder(path, descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[BufferedReader]:
        """Open a regular file below this folder for reading; where ``path`` itself is a link, the file it leads to."""
        folder, name = os.path.split(path)
        with self.folder(folder) as there, there.read(name, 0) as file:
            yield file

    def stat(self, path: str) -> os.stat_result:
        """The stat of a path below this folder; where ``path`` itself is a link, of the file it leads to."""
        folder, name = os.path.split(path)
        with self.folder(folder) as there:
            return os.stat(name, dir_fd=there.descriptor)

    def check(self, folder: Folder) -> None:
        """Raise OSError where the path of an open folder leads to another folder by now."""
        with self.folder(folder.path) as now:
            if not os.path.samestat(os.fstat(now.descriptor), os.fstat(folder.descriptor)):
                raise OSError(errno.ESTALE, f"{folder.path} was exchanged for another folder in the meantime")

    def close(self) -> None:
        """Hold no descriptor any longer. It can still be used."""
        if self._release is not None:
            self._release()

    def _walk(self, path: str, make: bool) -> int:
        """A new descriptor for the folder at ``path``."""
        names = _names(self.path, path)
        here, where = self._top(make), self.path
        for name in names:
            where = os.path.join(where, name)
            try:
                inner = _enter(name, here, make)
            except OSError as error:
                there = _lstat(name, here)
                if there is not None and stat.S_ISLNK(there.st_mode):
                    raise OSError(errno.ELOOP, f"{where} leads elsewhere: {_NO_LINK}") from None
                raise OSError(error.errno, error.strerror, where) from None
            finally:
                os.close(here)
            here = inner
        return here

    def _top(self, make: bool) -> int:
        """A new descriptor for this folder."""
        if make and self._first is None:
            os.makedirs(self.path, exist_ok=True)
        descriptor = os.open(self.path, _FOLDER)
        found = os.fstat(descriptor)
        with self._opening:
            if self._first is None:
                self._first = found
                if self._hold:
                    with contextlib.suppress(OSError):  # too many are open
                        self._release = weakref.finalize(self, os.close, os.dup(descriptor))
        if os.path.samestat(found, self._first):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.ESTALE, f"{self.path} is another folder now than when this run began")


class Roots(dict[str, Root]):
    """The output folders of one run, by their paths. Leaving its context closes what they hold."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *given: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors that are held."""
        for root in self.values():
            root.close()

    def __missing__(self, path: str) -> Root:
        return self.setdefault(path, Root(path, hold=len(self) < HELD))

    def begin(self, path: str) -> None:
        """Remember which folder is at ``path``, unless it is known already or doesn't exist yet."""
        if path not in self:
            with contextlib.suppress(OSError), self[path].folder(path):
                pass


def _names(root: str, path: str) -> list[str]:
    """The names on the way from ``root`` down to ``path``. Raises OSError where it doesn't lie there."""
    names = os.path.relpath(path, root).split(os.sep)
    if names[0] == os.pardir:
        raise OSError(errno.EXDEV, f"{path} doesn't lie below {root}")
    return [] if names == [os.curdir] else names


def _enter(name: str, parent: int, make: bool) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)


def _lstat(name: str, parent: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return None


def _rename(name: str, new: str, parent: int, other: int) -> None:
    """Rename a file without replacing another; where the disk can't do that atomically, look first."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        if call(parent, os.fsencode(name), other, os.fsencode(new), _NOREPLACE) == 0:
            return
        if (number := ctypes.get_errno()) not in _NO_FLAGS:
            raise OSError(number, os.strerror(number), name, None, new)
    if _lstat(new, other) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
    os.rename(name, new, src_dir_fd=parent, dst_dir_fd=other)
