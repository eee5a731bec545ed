"""Whether the system's journal reads a stream, and the priorities that lines have there."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TextIO

VARIABLE = "JOURNAL_STREAM"  # systemd's: the device and inode of the stream that it connected to the journal

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO + 1, 5))


def reads(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether what is written to this stream goes straight to the journal, and not elsewhere meanwhile."""
    if not (named := environ.get(VARIABLE)):
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or none of the system's
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def priority(level: int) -> str:
    """What a line of this level begins with, for the journal: ``<3>`` for an error, up to ``<6>``."""
    return next((f"<{number}>" for least, number in _PRIORITIES if level >= least), "<6>")
