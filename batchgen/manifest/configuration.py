"""The configuration file: found and read as manifests are. What its keys mean is for those to say who use them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batchgen.errors import ManifestError, UsageError
from batchgen.files import open_regular
from batchgen.models import Place, Problem

if TYPE_CHECKING:
    from batchgen.manifest.locations import Document, Path  # for those who have such a file

MACHINE = "/etc/batchgen/config.yaml"
LARGEST_FILE = 1 << 20  # bytes


class Configuration:
    """A configuration file that could be parsed; ``content`` are its keys and values, unchecked."""

    def __init__(self, file: str, data: bytes, content: Any) -> None:
        self.file = file
        self.content = content
        self._data = data

    @cached_property
    def _document(self) -> Document:
        from batchgen.manifest.locations import Document

        return Document(self.file, self._data)

    def place(self, path: Path) -> Place:
        """Where the value at ``path`` stands."""
        return self._document.place(path)

    def problem(self, path: Path, text: str) -> Problem:
        """One thing that is wrong with it."""
        from batchgen.manifest.locations import subject

        return Problem(self.place(path), subject("", None, path), text)

    def problems(self, content: Any) -> list[Problem]:
        """What the schema finds in what is left of the file's content: keys, types, ranges."""
        from batchgen.request import schema

        return [self.problem(found.path, found.text) for found in schema.check_config(content)]


def path(environ: Mapping[str, str]) -> str | None:
    """The file that counts: ``$XDG_CONFIG_HOME/batchgen/config.yaml``, else the machine's; None where neither is there.

    Raises UsageError where it can't be seen whether there is one: what it says would be missed without a word.
    """
    return next(filter(_is_there, filter(os.path.isabs, (usual_path(environ), MACHINE))), None)


def usual_path(environ: Mapping[str, str]) -> str:
    """Where a person's own file is, if there is one."""
    folder = environ.get("XDG_CONFIG_HOME") or ""
    if not os.path.isabs(folder):
        folder = os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(folder, "batchgen", "config.yaml")


def _is_there(file: str) -> bool:
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UsageError(f"the configuration {file} can't be read: {error.strerror}") from error
    return True


def read(environ: Mapping[str, str]) -> Configuration | None:
    """The configuration file; None where there is none.

    Raises ManifestError where it is no YAML, and UsageError where it can't be read, or others may have written it.
    """
    file = path(environ)
    if file is None:
        return None
    from batchgen.manifest import yaml12

    try:
        with open(file, "rb", opener=open_regular) as opened:
            untrusted = why_untrusted(os.fstat(opened.fileno()), os.geteuid())
            data = b"" if untrusted else opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"the configuration {file} can't be read: {error.strerror}") from error
    if untrusted:
        raise UsageError(f"the configuration {file} isn't read: {untrusted}")
    if len(data) > LARGEST_FILE:
        raise UsageError(f"the configuration {file} has more than {LARGEST_FILE:,} bytes")
    try:
        content = yaml12.load(data)
    except yaml12.YamlError as error:
        raise ManifestError([Problem(Place(file, error.line, error.column), "", error.text)]) from None
    return Configuration(file, data, {} if content is None else content)


def why_untrusted(status: os.stat_result, user: int) -> str:
    """Why a file isn't believed, and what to do: who may write it decides where the key goes and what is paid; else ""."""
    if status.st_uid not in (0, user):
        return f"it belongs to user {status.st_uid}, and not to you or root; if it is yours, give it to the user who runs batchgen (chown)"
    if stat.S_IMODE(status.st_mode) & stat.S_IWOTH:
        return "every user of this machine may change it; chmod o-w ends that"
    return ""


def checked(found: Configuration, problems: Sequence[Problem]) -> Configuration:
    """The configuration itself. Raises ManifestError with all its ``problems``, in the order of the file."""
    if problems:
        raise ManifestError(sorted(problems, key=lambda one: (one.place.line, one.place.column)))
    return found
