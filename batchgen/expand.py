"""Entries that stand for many jobs: the images of a folder, the rows of a table.

Both give drafts in an order that is always the same, with what is wrong along the way as problems among them. Nothing
is checked here but the form: what the fields may hold is the manifest's to judge.

A folder's files are matched without regard to case. Hidden files and folders, sidecars and, below the folder, links
to folders are passed over. Without ``match``, the folder's own .png, .jpg and .jpeg files are taken.
"""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final, NamedTuple

from batchgen import schema
from batchgen.models import Place, Problem
from batchgen.origins import Document, InFolder, InTable, Origin, cell_position
from batchgen.yaml12 import YamlError, decode, load

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
SIDECAR_SUFFIXES: Final = (".txt", ".yaml", ".yml")
LARGEST_SIDECAR: Final = 2**20  # bytes
LONGEST_ROW: Final = 64 * 2**20  # characters: four images of 10 MB as Base64, and more


class Draft(NamedTuple):
    """A job before it is checked: the fields that are its own, and who it is.

    ``id`` is the one it has where no field gives it one; ``file`` is the absolute path of a folder's image.
    """

    origin: Origin
    fields: dict[str, Any]
    id: str | None = None
    file: str | None = None


# -- folders ---------------------------------------------------------------------------------------------------------


def match_error(match: str) -> str | None:
    """Why a glob can't be one, or None."""
    parts = match.split("/")
    if match.startswith(("/", "~")) or ".." in parts:
        return "is relative to the folder and can't leave it"
    if "{" in match:
        return "knows *, ?, [abc] and **, but not {a,b}; use an entry each, or leave match out"
    if any("**" in part and part != "**" for part in parts):
        return "has a ** that isn't alone between slashes; write **/*.png"
    return None


def folder(number: int, path: str, shown: str, match: str | None) -> Iterator[Draft | Problem]:
    """A draft for every image of the folder ``path``, sorted by its path below it. Raises OSError.

    ``shown`` is the folder's name in messages, ``number`` the entry's.
    """
    for below, name, beside in sorted(_walk(path, match)):
        relative = f"{below}{name}"
        stem = os.path.splitext(relative)[0]
        fields: dict[str, Any] = {}
        sidecar: Document | None = None
        prompt_file: str | None = None
        problems: list[Problem] = []
        for suffix in beside:
            file = os.path.join(shown, stem + suffix)
            try:
                if suffix == ".txt":
                    fields["prompt"] = _prompt(f"{path}/{stem}{suffix}")
                    prompt_file = file
                else:
                    data = _read_sidecar(f"{path}/{stem}{suffix}")
                    own = _sidecar_fields(data)
                    sidecar = Document(file, data)
                    if twice := own.keys() & fields.keys():
                        what = f"{min(twice)} is given in {os.path.join(shown, stem + beside[0])} as well"
                        problems.append(Problem(sidecar.place([min(twice)]), min(twice), what))
                    fields.update(own)
            except YamlError as error:
                problems.append(Problem(Place(file, error.line, error.column), "", error.text))
            except OSError as error:
                problems.append(Problem(Place(file), "", f"can't be read: {error.strerror}"))
        if problems:
            yield from problems
        else:
            origin = InFolder(number, os.path.join(shown, relative), sidecar, prompt_file)
            yield Draft(origin, fields, stem, f"{path}/{relative}")


def _walk(root: str, match: str | None) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(the way to it with a slash at the end, name, suffixes of its sidecars) of every image."""
    pattern = [part for part in match.lower().split("/") if part not in ("", ".")] if match else None
    folders = [""]
    while folders:
        below = folders.pop()
        with os.scandir(f"{root}/{below}") as entries:
            listing = {entry.name: entry for entry in entries if not entry.name.startswith(".")}
        way = below.lower().split("/")[:-1]
        for name, entry in listing.items():
            if entry.is_dir(follow_symlinks=False):
                if pattern and (len(pattern) > 1 or pattern == ["**"]):
                    folders.append(f"{below}{name}/")
                continue
            lower = name.lower()
            if lower.endswith(SIDECAR_SUFFIXES):
                continue
            if lower.endswith(IMAGE_SUFFIXES) if pattern is None else _matches([*way, lower], pattern):
                if not _is_folder(entry):
                    stem = os.path.splitext(name)[0]
                    yield below, name, tuple(s for s in SIDECAR_SUFFIXES if stem + s in listing)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Also of a link; one that leads nowhere or in a circle is taken for an image, which then says what it is."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _matches(parts: list[str], pattern: list[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _prompt(path: str) -> str:
    text = decode(_read_sidecar(path)).strip()
    if not text:
        raise YamlError(1, 1, "the file is empty; write the prompt into it, or remove it")
    return text


def _sidecar_fields(data: bytes) -> dict[str, Any]:
    fields = load(data)
    if fields is None:
        raise YamlError(1, 1, "the file is empty; write fields into it (prompt: ...), or remove it")
    if not isinstance(fields, dict):
        raise YamlError(1, 1, "a file beside an image holds fields (key: value)")
    return schema.natural(fields)


def _read_sidecar(path: str) -> bytes:
    if not os.path.isfile(path):
        raise YamlError(1, 1, "is not a regular file")
    with open(path, "rb") as file:
        data = file.read(LARGEST_SIDECAR + 1)
    if len(data) > LARGEST_SIDECAR:
        raise YamlError(1, 1, f"more than {LARGEST_SIDECAR >> 20} MiB: this can't be about one image")
    return data


# -- tables ----------------------------------------------------------------------------------------------------------


def table(path: str, shown: str) -> Iterator[Draft | Problem]:
    """A draft for every row of the table ``path`` that isn't empty, in its order. Raises OSError.

    Text around a cell is cut off; an empty cell, and a ``null`` in JSON Lines, is an absent field.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        yield Problem(Place(shown), "", "is not a regular file")
    elif path.lower().endswith(".csv"):
        yield from _csv(path, shown)
    elif path.lower().endswith(".jsonl"):
        yield from _json_lines(path, shown)
    else:
        yield Problem(Place(shown), "", "is neither .csv nor .jsonl")


def _csv(path: str, shown: str) -> Iterator[Draft | Problem]:
    lines: list[str] = []  # of the row that is being read
    columns: list[str] = []
    known, all_known = _known_columns(), False
    row = 0
    with open(path, encoding="utf-8-sig", newline="") as file, _long_cells():
        rows = csv.reader(_lines(file.readline, lines), strict=True)
        while True:
            line = rows.line_num + 1
            lines.clear()
            try:
                cells = next(rows)
            except StopIteration:
                break
            except UnicodeDecodeError:
                yield _not_utf8(path, shown)
                return
            except csv.Error as error:
                yield Problem(Place(shown, line, 1), f"row {row + 1}", _csv_words(error))
                return
            row += 1
            cells = [*map(str.strip, cells)]
            if not any(cells):
                continue
            if not columns:
                columns = cells
                yield from _header_problems(shown, line, "".join(lines), columns)
                if "" in columns or len(set(columns)) < len(columns):
                    return
                all_known, readers = known.issuperset(columns), schema.cell_readers(columns)
                continue
            while len(cells) > len(columns) and not cells[-1]:
                cells.pop()
            text = lines[0] if len(lines) == 1 else "".join(lines)
            origin = InTable(shown, row, line, text, columns)
            if len(cells) == len(columns):
                fields: dict[str, Any] = dict(zip(columns, cells, strict=True))
                if "" in cells or not all_known:
                    fields = {name: cell for name, cell in fields.items() if cell and name in known}
                for name, reader in readers:
                    if name in fields:
                        fields[name] = reader(fields[name])
                yield Draft(origin, fields)
            else:
                what = f"{len(cells)} cells, but the header has {len(columns)}"
                yield origin.problem(
                    None, (), f"{what}; text that holds a comma needs double quotes around it"
                )
    if not columns:
        yield Problem(Place(shown), "", "the table is empty; its first row names the columns")


def _header_problems(shown: str, line: int, text: str, columns: list[str]) -> Iterator[Problem]:
    for number, name in enumerate(columns):
        if not name:
            what = [f"column {number + 1} has no name"]
        elif columns.index(name) < number:
            what = [f'the column "{name[:60]}" stands twice']
        elif name in _known_columns():
            continue
        elif ";" in name or "\t" in name:
            what = ["the cells of a .csv are separated by commas"]
        else:
            what = [finding.text for finding in schema.check_entry("row", {name: ""})]
        down, column = cell_position(text, number)
        for one in what:
            yield Problem(
                Place(shown, line + down - 1, column), f"header.{name[:60]}" if name else "header", one
            )


@cache
def _known_columns() -> frozenset[str]:
    return frozenset(schema.load("manifest")["$defs"]["inline"]["properties"])


@contextmanager
def _long_cells() -> Iterator[None]:
    """The csv module refuses cells of more than 128 KiB, and has one limit for the whole process."""
    before = csv.field_size_limit(LONGEST_ROW)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _lines(readline: Callable[[int], str], kept: list[str]) -> Iterator[str]:
    while line := readline(LONGEST_ROW + 1):
        if len(line) > LONGEST_ROW:
            raise csv.Error("field larger than field limit")
        kept.append(line)
        yield line


def _csv_words(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text:
        return "a double quote opens a cell here and is never closed"
    if "expected after" in text:
        return 'text follows a closing double quote; inside of a quoted cell, write a double quote twice ("")'
    if "field limit" in text:
        return f"longer than {LONGEST_ROW >> 20} MiB"
    return text


def _not_utf8(path: str, shown: str) -> Problem:
    with open(path, "rb") as file:
        try:
            decode(file.read())
        except YamlError as error:
            return Problem(Place(shown, error.line, error.column), "", error.text)
    return Problem(Place(shown), "", "the table changed while it was read")


def _json_lines(path: str, shown: str) -> Iterator[Draft | Problem]:
    row = 0
    found = False
    with open(path, "rb") as file:
        while data := file.readline(LONGEST_ROW + 1):
            row += 1
            try:
                text = decode(data) if row == 1 else data.decode()
                if not text.strip():
                    continue
                found = True
                if len(data) > LONGEST_ROW:
                    raise YamlError(1, 1, f"longer than {LONGEST_ROW >> 20} MiB")
                fields = _object(text)
            except UnicodeDecodeError as error:
                place = Place(shown, row, len(data[: error.start].decode()) + 1)
                yield Problem(place, f"row {row}", f"the byte 0x{data[error.start]:02x} is not UTF-8 text")
            except YamlError as error:
                yield Problem(Place(shown, row, error.column), f"row {row}", error.text)
                if len(data) > LONGEST_ROW:
                    return
            else:
                own = {key: value for key, value in fields.items() if value is not None and value != ""}
                yield Draft(InTable(shown, row, row, text, None), schema.natural(own))
    if not found:
        yield Problem(Place(shown), "", "the table is empty; it holds one JSON object per line")


def _object(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise YamlError(1, error.colno, f"this is not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        text = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise YamlError(1, 1, text) from None
    if not isinstance(fields, dict):
        raise YamlError(1, 1, "a row is a JSON object: {...}")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key "{twice[:60]}" stands twice')
    return made


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON; leave the key out where there is no value")
