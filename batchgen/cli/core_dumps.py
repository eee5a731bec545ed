"""Keeps the process's memory, which has the API's key, out of core dumps."""

from __future__ import annotations

import contextlib
import ctypes
import resource

_PR_SET_DUMPABLE = 4  # of Linux


def keep_out_of_core_dumps() -> None:
    """Keep this process's memory out of core dumps, and from the user's other processes.

    The limit stops the kernel's own core files; programs that collect core dumps (apport, systemd-coredump) get none of a
    process that isn't dumpable. Debuggers then need root.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):  # a system without prctl
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
