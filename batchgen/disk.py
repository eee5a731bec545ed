"""Two things that the ledger and the clips need of a disk: a synced folder, and free names beside a name."""

from __future__ import annotations

import os
from collections.abc import Iterator


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Fsync a folder, so that its files' names are durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def names_beside(target: str, sha256: str) -> Iterator[str]:
    """The paths that a clip may get which belongs at ``target``, best first: other files may be at the first ones."""
    stem, suffix = os.path.splitext(target)
    return (f"{stem}{tail}{suffix}" for tail in ("", f"-{sha256[:8]}", f"-{sha256}"))
