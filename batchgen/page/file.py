"""Where the page is written: never over anything but a page."""

from __future__ import annotations

import os

from batchgen.errors import UsageError
from batchgen.files import open_regular

SUFFIX = ".html"
_MARK = b'<meta name="generator" content="batchgen">'
_HEAD = 4096  # bytes, within which a page says who made it


def default_path(ledger: str) -> str:
    """Beside the ledger, and named after it."""
    return f"{os.path.splitext(ledger)[0]}{SUFFIX}"


def files_folder(path: str) -> str:
    """The folder of the page's thumbnails: ``NAME_files``, as browsers call it when they save a page."""
    return f"{os.path.splitext(path)[0]}_files"


def check(path: str) -> None:
    """Raise UsageError where a page can't be written at ``path``, or something else would be lost."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise UsageError(
            f"there is no folder {folder} for the page; make it, or name another file with --output"
        )
    try:
        with open(path, "rb", opener=open_regular) as file:
            mine = _MARK in file.read(_HEAD)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"{path} can't be a page: {error.strerror}; name another file with --output"
        ) from error
    if not mine:
        raise UsageError(
            f"{path} is no page that batchgen made, so it isn't overwritten; name another file with --output"
        )
