"""What the ledger and the clips ask of a disk: folders that are synced, names near another."""

from __future__ import annotations

import os
from collections.abc import Iterator


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Bring the names of a folder's files to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def names_beside(target: str, sha256: str) -> Iterator[str]:
    """The paths that a clip which belongs at ``target`` may get, the best first: other files may have the first ones."""
    stem, suffix = os.path.splitext(target)
    return (f"{stem}{tail}{suffix}" for tail in ("", f"-{sha256[:8]}", f"-{sha256}"))
