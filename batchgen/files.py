"""Files at paths where others may have put something else: opened without waiting for anybody, then looked at.

Openers for ``open(path, mode, opener=...)``. A look before the opening proves nothing: what lies at a path may be
exchanged in between. So a file that has to lie below a folder is opened step by step from there, through no link.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from batchgen.escapes import visible
from batchgen.models import Within

# Names of what the process was started with; they are links, made by the system.
_OWN_STREAM = re.compile(r"/dev/(std(out|err)|fd/\d+)|/proc/self/fd/\d+")
_LONGEST = 200  # characters of a path that a link leads to

_NONBLOCKING = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# A folder on the way to a file; with O_PATH, one that may be entered and not listed will do.
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", 0)


def open_regular(path: str, flags: int, dir_fd: int | None = None) -> int:
    """Opens regular files alone, behind links too. Raises OSError: a named pipe isn't waited for, a device not read."""
    return _if_regular(os.open(path, flags | _NONBLOCKING, 0o666, dir_fd=dir_fd), path)


def open_regular_below(path: str, flags: int, within: Within) -> int:
    """The same below the folders of ``within`` alone; see :func:`open_nonblocking`."""
    return _if_regular(open_nonblocking(path, flags, within), path)


def _if_regular(descriptor: int, path: str) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)


def open_private(path: str, flags: int) -> int:
    """Opens a file that is written to and that only its owner can read, if it is new; it is no link. Raises OSError."""
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
    """Opens whatever lies at a path without waiting for it, and behind links. Raises OSError.

    With ``within``, only below its folders (else EXDEV, with a reason for people), however links are turned meanwhile.
    """
    if within is None:
        return os.open(path, flags | _NONBLOCKING)
    with suppress(OSError):  # nearly every file lies straight below its folder, which is seen as it is opened
        if folder := next((folder for folder in within.folders if _lies_in(path, folder)), None):
            return _open_below(folder, path, flags)
    real = os.path.realpath(path)
    if why := outside(path, real, within):
        raise OSError(errno.EXDEV, why, path)
    return _open_below(next(folder for folder in within.folders if _lies_in(real, folder)), real, flags)


def _open_below(folder: str, path: str, flags: int) -> int:
    """Opens what lies at a path that begins with ``folder``; a link behind that is an OSError."""
    *folders, name = [part for part in path[len(folder) :].split("/") if part] or ["."]
    if ".." in (*folders, name):
        raise OSError(errno.EXDEV, "it may lead out again", path)
    with folder_below(folder, folders) as descriptor:
        return os.open(name, flags | _NONBLOCKING | os.O_NOFOLLOW, dir_fd=descriptor)


@contextmanager
def folder_below(folder: str, names: Sequence[str]) -> Iterator[int]:
    """A descriptor on a folder below ``folder``: for ``dir_fd`` alone. A link among the ``names`` is an OSError."""
    descriptor = os.open(folder, _FOLDER)
    try:
        for name in names:
            deeper = os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)


def outside(path: str, real: str, within: Within) -> str | None:
    """Why the file ``path``, whose links lead to ``real``, lies out of the folders in which it must, and what to do."""
    if any(_lies_in(real, folder) for folder in within.folders):
        return None
    to = "" if real == path else f" (to {visible(real[:_LONGEST])})"
    return (
        f"it leads outside of the folder {within.shown}{to}, so it is not read; if that is meant, give the entry"
        ' "allow: [FOLDER]" with the folder it lies in, which changes no id and pays for nothing twice'
    )


def _lies_in(real: str, folder: str) -> bool:
    return real == folder or real.startswith(folder if folder.endswith("/") else f"{folder}/")
