"""Files at paths where others may have put something else: opened without waiting for anybody, then looked at.

Openers for ``open(path, mode, opener=...)``. A look before the opening proves nothing: what lies at a path may be
exchanged in between.
"""

from __future__ import annotations

import errno
import os
import re
import stat

# Names of what the process was started with; they are links, made by the system.
_OWN_STREAM = re.compile(r"/dev/(std(out|err)|fd/\d+)|/proc/self/fd/\d+")


def regular(path: str, flags: int, dir_fd: int | None = None) -> int:
    """Opens regular files alone, behind links too. Raises OSError: a named pipe isn't waited for, a device not read."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666, dir_fd=dir_fd)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)


def private(path: str, flags: int) -> int:
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
