"""Relative URLs from a page to files, quoted so that no name in them is anything but a name. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import quote

#: From an absolute path to the URL that the page has for it.
Link = Callable[[str], str]


def relative_to(folder: str) -> Link:
    """Links from a page in ``folder``, which is absolute and without links.

    They begin with ``./`` or ``../``: a name with a colon in it is no scheme. Bytes that are no UTF-8 stay the file's.
    """
    starts = f"{folder.rstrip(os.sep)}{os.sep}"

    def link(path: str) -> str:
        inner = path.removeprefix(starts)
        plain = inner != path and f"{os.sep}." not in path and f"{os.sep}{os.sep}" not in path
        url = quote(os.fsencode(inner if plain else os.path.relpath(path, folder)))
        return url if url.startswith("../") else f"./{url}"

    return link


def pattern_of(url: str, job_id: str) -> str:
    """``url`` with ``*`` in place of the job's id, so that the clips of a folder have one pattern; quoted URLs have no ``*``."""
    try:
        quoted = quote(job_id)
    except UnicodeEncodeError:  # half of a surrogate pair, which a page can't quote
        return url
    before, found, after = url.rpartition(quoted) if quoted else ("", "", url)
    return f"{before}*{after}" if found else url
