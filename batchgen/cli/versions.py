"""The versions of batchgen and of what it is made of, and which extras are there: for `doctor`."""

from __future__ import annotations

import platform
import re
import sqlite3
import ssl
from collections.abc import Iterator
from importlib import metadata

from batchgen import __version__
from batchgen.cli.verdicts import Verdict

FOR_DEVELOPERS = ("dev", "audit")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)")


def check_versions() -> Iterator[Verdict]:
    """One verdict about all versions; those of the packages are in its facts."""
    found: dict[str, str | None] = {}
    extras: dict[str, list[str]] = {}
    for requirement in _requirements():
        name = _NAME.match(requirement)
        if name is None:
            continue
        found[name[0]] = _version(name[0])
        if extra := _EXTRA.search(requirement):
            extras.setdefault(extra[1], []).append(name[0])
    there = [
        extra for extra, names in extras.items() if extra not in FOR_DEVELOPERS and all(map(found.get, names))
    ]
    of_extras = {name for names in extras.values() for name in names}
    missing = [name for name, version in found.items() if version is None and name not in of_extras]
    wanted = sorted(set(extras) - set(FOR_DEVELOPERS))
    facts = {
        "batchgen": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "system": platform.platform(),
        "packages": {name: version for name, version in found.items() if version is not None},
        "extras": there,
    }
    text = (
        f"batchgen {__version__}, Python {facts['python']}, SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION};"
        f" extras: {', '.join(there) or 'none'} of {', '.join(wanted) or 'none'}"
    )
    if missing:
        yield Verdict(
            "versions", "bad", f"{text}; missing: {', '.join(missing)}", "Install batchgen again.", facts
        )
        return
    yield Verdict("versions", "ok", text, "", facts)


def _requirements() -> list[str]:
    try:
        return metadata.requires("batchgen") or []
    except metadata.PackageNotFoundError:  # a checkout that isn't installed
        return []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
