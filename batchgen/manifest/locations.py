"""Where a job comes from (manifest, folder, table): the subject of its problems, and their place in a file.

Places are looked up only once there is a problem: nearly all jobs have none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from batchgen.escapes import excerpt
from batchgen.manifest.yaml12 import Positions, YamlError
from batchgen.models import Place, Problem

Path = Sequence[str | int]


class Document:
    """A YAML file that could be parsed; ``file`` is its path as the user gave it."""

    def __init__(self, file: str, data: bytes) -> None:
        self.file = file
        self.data = data

    @cached_property
    def _positions(self) -> Positions:
        return Positions(self.data)

    def place(self, path: Path) -> Place:
        """The place of the node at ``path``, else of the nearest one above it."""
        return Place(self.file, *self._positions.find(path, key=True))


class Inline(NamedTuple):
    """A job, or an entry for many jobs, in the manifest itself: ``jobs[number]``, counted from 0."""

    document: Document
    number: int

    @property
    def weight(self) -> int:
        """How much text is kept for the sake of this one's messages."""
        return 0

    @property
    def place(self) -> Place:
        return Place(self.document.file)

    def problem(self, job: str | None, path: Path, text: str) -> Problem:
        return Problem(self.at(path), subject(f"jobs[{self.number}]", job, path), text)

    def at(self, path: Path = ()) -> Place:
        return self.document.place(("jobs", self.number, *path))


class InFolder(NamedTuple):
    """A job from an image in a folder. ``sidecar`` has its own fields, ``prompt_file`` is the file with its own prompt."""

    number: int
    image: str
    sidecar: Document | None
    prompt_file: str | None

    @property
    def weight(self) -> int:
        return len(self.sidecar.data) if self.sidecar is not None else 0

    @property
    def place(self) -> Place:
        return Place(self.image)

    def problem(self, job: str | None, path: Path, text: str) -> Problem:
        return Problem(self.at(path), subject(f"jobs[{self.number}]", job, path), text)

    def at(self, path: Path = ()) -> Place:
        if self.prompt_file and path and path[0] == "prompt":
            return Place(self.prompt_file)
        return self.sidecar.place(path) if self.sidecar and path else self.place


class InTable(NamedTuple):
    """A job from a table's row. ``row`` is its number in a spreadsheet, ``line`` in an editor, ``text`` its text.

    ``columns`` is None in JSON Lines.
    """

    table: str
    row: int
    line: int
    text: str
    columns: Sequence[str] | None
    separator: str = ","

    @property
    def weight(self) -> int:
        return len(self.text)

    @property
    def place(self) -> Place:
        return Place(self.table, self.line, 1)

    def problem(self, job: str | None, path: Path, text: str) -> Problem:
        return Problem(self.at(path), subject(f"row {self.row}", job, path), text)

    def at(self, path: Path = ()) -> Place:
        if self.columns is None:
            try:
                line, column = Positions(self.text.encode(errors="replace")).find(path, key=True)
            except YamlError:  # JSON may spell characters in ways that YAML doesn't know
                line, column = 1, 1
        elif path and path[0] in self.columns:
            line, column = cell_position(self.text, self.columns.index(str(path[0])), self.separator)
        else:
            line, column = 1, 1
        return Place(self.table, self.line + line - 1, column)


Origin = Inline | InFolder | InTable


class Draft(NamedTuple):
    """A job before it is checked: its own fields, and where it comes from.

    ``id`` is its id where no field gives it one; ``file`` is the absolute path of a folder's image. ``trouble`` says why it
    can't become a job; ``waits`` is the name of a file beside the image that marks an unfinished download.
    """

    origin: Origin
    fields: dict[str, Any]
    id: str | None = None
    file: str | None = None
    trouble: str = ""
    waits: str = ""


def cell_position(row: str, number: int, separator: str = ",") -> tuple[int, int]:
    """Line and column, from 1, of a cell in the text of a CSV row."""
    line, column, quoted = 1, 1, False
    for character, following in pairwise(row + "\0"):
        if not number:
            break
        if character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            number -= 1
        ends = character == "\n" or (character == "\r" and following != "\n")
        line, column = (line + 1, 1) if ends else (line, column + 1)
    return line, column


def subject(base: str, job: str | None = None, path: Path = ()) -> str:
    """``jobs[3] (hero).multi_prompt[0].duration``"""
    name = f"{base} ({_short(job)})" if job else base
    for step in path:
        name += f"[{step}]" if isinstance(step, int) else f".{_short(step)}" if name else _short(step)
    return name


def _short(name: Any) -> str:
    return excerpt(str(name))


def shown_path(file: str, path: str) -> str:
    """A path from the manifest ``file`` for messages: joined with the manifest's folder as the user gave it."""
    if path.startswith("~/"):
        return os.path.expanduser(path)
    return os.path.normpath(os.path.join(os.path.dirname(file), path))
