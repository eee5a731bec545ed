"""What several rooms need of a disk: synced folders, free names beside a name, and files that are whole or not there."""

from __future__ import annotations

import contextlib
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


def write_whole(path: str, text: str) -> None:
    """Write a file for its owner alone, whole or not at all, in place of what was there. ``path`` is absolute. Raises OSError."""
    import tempfile  # which most commands do without

    folder, name = os.path.split(path)
    descriptor, draft = tempfile.mkstemp(prefix=f".{name}.", dir=folder)  # its mode is 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    sync_folder(folder)
