"""What the ledger and the clips ask of a disk: folders that are synced, names that are free, roots that hold."""

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


def leads_out(folder: str | os.PathLike[str], root: str) -> bool:
    """Whether a symbolic link on the way to ``folder``, which need not be there yet, leads out of ``root``."""
    root = os.path.realpath(root)
    return os.path.commonpath([root, os.path.realpath(folder)]) != root
