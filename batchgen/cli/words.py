"""The words that a shell may complete what is typed to: names of jobs and manifests, from the ledger.

It is asked at every press of a key, so it loads little of the command line, and only looks into the ledger's indexes. What goes wrong prints nothing: the shell is in the middle of somebody's line.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from batchgen.cli import settings
from batchgen.errors import BatchgenError
from batchgen.manifest import configuration

MOST = 200  # words; nobody reads more
_BREAKS = frozenset("\"'@><=;|&(:")  # bash ends a word at these, so what follows would be completed by itself
_QUOTED = re.compile(r"([^\w./~+,%-])", re.ASCII)

_MANIFESTS = """
    WITH RECURSIVE next (name) AS (
        SELECT min(manifest) FROM tasks WHERE manifest >= ?1
        UNION ALL
        SELECT (SELECT min(manifest) FROM tasks WHERE manifest > next.name) FROM next
        WHERE substr(next.name, 1, length(?1)) = ?1
    )
    SELECT name FROM next WHERE substr(name, 1, length(?1)) = ?1 LIMIT ?2"""
_JOBS = """
    SELECT DISTINCT manifest || '/' || job_id FROM tasks INDEXED BY tasks_job
    WHERE manifest = ?1 AND job_id >= ?2 AND job_id < ?2 || char(1114111) LIMIT ?3"""
_ENDS = """
    SELECT DISTINCT job_id FROM tasks INDEXED BY tasks_job
    WHERE substr(job_id, 1, length(?1)) = ?1 ORDER BY job_id LIMIT ?2"""


def print_words(arguments: Sequence[str]) -> int:
    """Print the words for ``SHELL TYPED``, a line each. Returns the exit code."""
    try:
        shell, typed = arguments
        found = words(_path(os.environ), _unquoted(typed) if shell != "fish" else typed)
        for word in found:
            if word.isprintable() and not (shell == "bash" and _BREAKS.intersection(word)):
                sys.stdout.write((_QUOTED.sub(r"\\\1", word) if shell == "bash" else word) + "\n")
        sys.stdout.flush()
    except (sqlite3.Error, OSError, ValueError, BatchgenError):
        return 1
    return 0


def words(path: str, typed: str) -> list[str]:
    """The names that may be meant by what is typed so far: manifests, then a manifest's jobs, else jobs by their ids.

    Raises sqlite3.Error where there is no ledger that can be read.
    """
    address = f"file:{quote(os.path.abspath(path))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=0.05)
    try:
        return list(_words(connection, typed))
    finally:
        connection.close()


def _words(connection: sqlite3.Connection, typed: str) -> Iterator[str]:
    manifests = [name for (name,) in connection.execute(_MANIFESTS, (typed, MOST))]
    if len(manifests) == 1:  # its jobs at once: a shell puts a blank behind what is the only word
        typed = f"{manifests[0]}/"
    else:
        yield from (f"{name}/" for name in manifests)
    found = len(manifests) > 1
    parts = typed.split("/")
    for at in range(1, len(parts)):  # a manifest's name may have a slash in it, as a job's id
        values = ("/".join(parts[:at]), "/".join(parts[at:]), MOST)
        for (name,) in connection.execute(_JOBS, values):
            found = True
            yield name
    if typed and not found:
        for (name,) in connection.execute(_ENDS, (typed, MOST)):
            yield name


def _path(environ: Mapping[str, str]) -> str:
    """The ledger that commands read without ``--ledger``. Raises BatchgenError."""
    named = None
    if not environ.get(settings.LEDGER_VARIABLE) and (found := configuration.read(environ)) is not None:
        content = found.content if isinstance(found.content, dict) else {}
        if isinstance(text := content.get("ledger"), str):
            named = os.path.join(os.path.dirname(found.file), os.path.expanduser(text))
    return settings.ledger_path(named, environ)


def _unquoted(typed: str) -> str:
    """What is typed without the quotes that a shell takes off."""
    return re.sub(r"\\(.)", r"\1", typed.lstrip("'\""))
