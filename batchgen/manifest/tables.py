"""Turns the rows of a table into drafts of jobs, or into problems, in order.

A CSV file's separator is the one with which the first row names the most known columns. Its encoding is UTF-8, or UTF-16
with a byte order mark; other encodings can't be recognised, and are refused with the remedy.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache, partial
from typing import Any, Final

from batchgen import limits
from batchgen.escapes import excerpt
from batchgen.files import open_regular, open_regular_below
from batchgen.manifest import cells as cell_rules
from batchgen.manifest.csv_lines import Lines, long_cells, words
from batchgen.manifest.locations import Draft, InTable, cell_position
from batchgen.manifest.strict_json import object_of
from batchgen.manifest.yaml12 import YamlError, decode, line_and_column
from batchgen.models import Place, Problem, Within
from batchgen.request import schema

HEAD: Final = 1 << 16  # bytes at a file's start that its format is recognised by
SEPARATORS: Final = (",", ";", "\t", "|")
_SAVE: Final = "save it as UTF-8 (Excel: Save As, CSV UTF-8)"
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SEP_LINE: Final = re.compile(r'"?sep=(.)"?[,;\t|]*', re.IGNORECASE)
_QUOTES: Final = re.compile("[\u201c-\u201f\u00ab\u00bb]")

_TOO_MANY_ROWS: Final = f"a table has at most {limits.TABLE_ROWS:,} rows; split it"

_SHORT: Final = 32  # characters of a cell that is remembered

Reader = Callable[[str], Any]
Opener = Callable[[str, int], int]


def table(path: str, shown: str, within: Within | None = None) -> Iterator[Draft | Problem]:
    """A draft for every row of the table ``path`` that isn't empty. Raises OSError, also where it leads out of ``within``.

    Text around a cell is cut off; an empty cell, and a ``null`` in JSON Lines, is an absent field.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        yield Problem(Place(shown), "", "is not a regular file")
        return
    opener = open_regular if within is None else partial(open_regular_below, within=within)
    with open(path, "rb", opener=opener) as file:
        head = file.read(HEAD)
        size = os.fstat(file.fileno()).st_size
    suffix = os.path.splitext(path)[1].lower()
    if size > limits.TABLE_BYTES:
        yield Problem(Place(shown), "", f"more than {limits.TABLE_BYTES >> 30} GiB; split it")
    elif what := _no_text(head):
        yield Problem(Place(shown), "", what)
    elif suffix in (".csv", ".tsv"):
        yield from _Csv(path, shown, head, opener).drafts()
    elif suffix == ".jsonl":
        yield from _json_lines(path, shown, opener)
    else:
        yield Problem(Place(shown), "", "is neither .csv, .tsv nor .jsonl")


def _no_text(head: bytes) -> str | None:
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return "is a workbook, not text; save the sheet as CSV (Excel: Save As, CSV UTF-8)"
    if re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|table|\?xml)", head, re.IGNORECASE):
        return "is an HTML or XML page, not a table as text; save it as CSV"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return f"is UTF-32 text; {_SAVE}"
    if 3 * head.count(b"\0") > len(head) and not head.startswith(_UTF16):
        return f"is UTF-16 text without its mark, or no text; {_SAVE}"
    return None


class _Misfit(Problem):
    """A row that has another number of ``cells`` than the header has columns."""

    cells: int


class _Csv:
    """A CSV file: its encoding, separator and columns, and the drafts of its rows."""

    def __init__(self, path: str, shown: str, head: bytes, opener: Opener) -> None:
        self._opener = opener
        self.path = path
        self.shown = shown
        self.encoding = "utf-16" if head.startswith(_UTF16) else "utf-8-sig"
        self.separator = _separator(head.decode(self.encoding, "replace"), path)
        self.columns: list[str] = []
        self.header = Place(shown)
        self.header_text = ""
        self._told: set[int] = set()  # columns without a name that a row has text in
        self.all_known = False

    def drafts(self) -> Iterator[Draft | Problem]:
        """The rows' drafts and problems; only one where all of them have one number of cells, and the header another."""
        rows = self._rows()
        alike: list[_Misfit] = []
        count = 0
        for made in rows:
            if isinstance(made, _Misfit) and (not alike or made.cells == alike[0].cells):
                count += 1
                if count <= limits.PROBLEMS + 1:  # more aren't listed
                    alike.append(made)
            elif alike or isinstance(made, Draft):
                yield from alike
                yield made
                yield from rows
                return
            else:
                yield made  # a problem of the header
        if count > 1:
            yield self._of_all(alike[0].cells, count)
        else:
            yield from alike

    def _rows(self) -> Iterator[Draft | Problem]:
        lines = Lines()
        names: list[str] = []  # of the columns, as they are written
        readers: list[tuple[str, Reader]] = []
        row = 0
        with (
            open(self.path, encoding=self.encoding, newline="", opener=self._opener) as file,
            long_cells(),
        ):
            rows = csv.reader(lines.of(file.readline, self.separator), delimiter=self.separator, strict=True)
            while True:
                line = rows.line_num + 1
                lines.begin()
                try:
                    cells = next(rows)
                except StopIteration:
                    break
                except UnicodeError:
                    yield self._undecodable()
                    return
                except csv.Error as error:
                    yield Problem(Place(self.shown, line, 1), f"row {row + 1}", words(error))
                    return
                row += 1
                if row > limits.TABLE_ROWS:
                    yield Problem(Place(self.shown, line, 1), f"row {row}", _TOO_MANY_ROWS)
                    return
                cells = [*map(str.strip, cells)]
                if not any(cells) or (row == 1 and _SEP_LINE.fullmatch(lines.text.strip())):
                    continue
                if not names:
                    names = cells
                    if (columns := sum(map(bool, names))) > limits.COLUMNS:
                        text = f"{columns:,} columns; a table has at most {limits.COLUMNS:,}"
                        yield Problem(Place(self.shown, line, 1), "header", text)
                        return
                    self.header = Place(self.shown, line, 1)
                    self.header_text = lines.text
                    yield from self._header(names)
                    if "" in self.columns or len(set(self.columns)) < len(self.columns):
                        return
                    readers = _readers(self.columns)
                    self.all_known = _known_columns().issuperset(self.columns)
                    continue
                while len(cells) > len(self.columns) and not cells[-1]:
                    cells.pop()
                if len(self.columns) < len(cells) <= len(names):
                    yield from self._nameless(row, cells)
                    del cells[len(self.columns) :]
                origin = InTable(self.shown, row, line, lines.text, self.columns, self.separator)
                made = self._row(origin, cells, names, readers)
                if isinstance(made, Draft):
                    yield made
                else:
                    yield from made
        if not names:
            yield Problem(Place(self.shown), "", "the table is empty; its first row names the columns")

    def _header(self, names: list[str]) -> Iterator[Problem]:
        """Read the header: sets the columns, and yields the problems of their names."""
        known = _known_columns()
        self.columns = [cell_rules.header(name, known) for name in names]
        while self.columns and not self.columns[-1]:
            self.columns.pop()
        for number, name in enumerate(self.columns):
            if not name:
                hint = " (pandas: index=False leaves it out)" if number == 0 else ""
                what = f"has no name{hint}"
            elif self.columns.index(name) < number:
                what = f'has the name "{excerpt(name)}", as one before it'
            elif name in known:
                continue
            elif number == 0 and name.startswith("#"):  # near to no column, whatever it is spelt like
                what = f'"{excerpt(name)}" is no column; a table begins with their names, and has no comments'
            else:
                what = "; ".join(finding.text for finding in schema.check_entry("row", {name: ""}))
            yield self._of_column(number, what)

    def _of_column(self, number: int, what: str) -> Problem:
        down, column = cell_position(self.header_text, number, self.separator)
        return Problem(Place(self.shown, self.header.line + down - 1, column), f"column {number + 1}", what)

    def _nameless(self, row: int, cells: list[str]) -> Iterator[Problem]:
        """The problems of the columns at the header's end that have no name, and text in this row: each is one of the whole table."""
        for number, cell in enumerate(cells[len(self.columns) :], len(self.columns)):
            if cell and number not in self._told:
                self._told.add(number)
                quotes = f"put double quotes around text that holds {self._what}"
                text = f"has no name, but row {row} has text in it; name it, empty its cells, or {quotes}"
                yield self._of_column(number, text)

    def _row(
        self, origin: InTable, cells: list[str], names: list[str], readers: list[tuple[str, Reader]]
    ) -> Draft | list[Problem]:
        if len(cells) != len(self.columns):
            text = f"{len(cells)} cells, but the header has {len(self.columns)}; text that holds {self._what}"
            straight = ", straight ones" if _QUOTES.search(origin.text) else ""
            problem = origin.problem(None, (), f"{text} needs double quotes around it{straight}")
            misfit = _Misfit(*problem)
            misfit.cells = len(cells)
            return [misfit]
        if cells[0] == names[0] and cells == names[: len(cells)]:
            return [origin.problem(None, (), "is the header once more; remove it")]
        fields: dict[str, Any] = dict(zip(self.columns, cells, strict=True))
        plain = cell_rules.is_plain(origin.text, cells)
        if not plain or "" in cells or not self.all_known:
            known = _known_columns()
            fields = {
                name: cell for name, cell in fields.items() if cell not in cell_rules.ABSENT and name in known
            }
        if not plain and (refused := _refused(origin, fields)):
            return refused
        for name, read in readers:
            if name in fields:
                fields[name] = read(fields[name])
        return Draft(origin, fields)

    def _of_all(self, cells: int, rows: int) -> Problem:
        """The problem of a table whose rows all have so many cells."""
        columns = f"{len(self.columns)} column{'s' if len(self.columns) != 1 else ''}"
        text = f"names {columns}, but each of the {rows:,} rows has {cells} cells;"
        if cells > len(self.columns):
            text = f"{text} name them all, or put double quotes around text that holds {self._what}"
        else:
            text = f"{text} leave out the names of columns that aren't there"
        return Problem(self.header, "header", text)

    @property
    def _what(self) -> str:
        return "a comma" if self.separator == "," else "a separator"

    def _undecodable(self) -> Problem:
        if self.encoding == "utf-16":
            return Problem(Place(self.shown), "", f"its UTF-16 text is damaged; {_SAVE}")
        before = 0  # lines
        with open(self.path, "rb", opener=self._opener) as file:
            while data := file.readline(limits.ROW_LENGTH):
                try:
                    before += line_and_column(decode(data))[0] - 1
                except YamlError as error:
                    text = error.text.replace("save it as UTF-8", _SAVE)
                    return Problem(Place(self.shown, before + error.line, error.column), "", text)
        return Problem(Place(self.shown), "", "the table changed while it was read")


def _separator(head: str, path: str) -> str:
    """The separator with which the first row that isn't empty names the most known columns."""
    usual = "\t" if path.lower().endswith(".tsv") else ","
    lines = [line for line in re.split(r"\r\n|\r|\n", head) if line.strip(' \t,;|"')]
    if lines and (found := _SEP_LINE.fullmatch(lines[0].strip())):
        return found[1]
    known, best, most = _known_columns(), usual, 0
    for separator in sorted(SEPARATORS, key=lambda one: one != usual):
        try:
            cells = next(csv.reader(lines[:1], delimiter=separator), [])
        except csv.Error:
            continue
        score = sum(2 * (cell_rules.header(cell, known) in known) for cell in cells) + (len(cells) > 1)
        if score > most:
            best, most = separator, score
    return best


def _readers(columns: list[str]) -> list[tuple[str, Reader]]:
    """The columns whose cells aren't plain text, each with the function that reads them; the same cell is read once."""
    forms = dict(schema.cell_readers(columns))
    found: list[tuple[str, Reader]] = []
    for name in columns:
        spelling, form = cell_rules.reader(name), forms.get(name)
        if spelling is not None:
            found.append((name, _reading_once(spelling, form)))
        elif form is not None:
            found.append((name, form))
    return found


def _reading_once(spelling: Callable[[str], str], form: Reader | None) -> Reader:
    def read(cell: str) -> Any:
        return spelling(cell) if form is None else form(spelling(cell))

    known = lru_cache(maxsize=256)(read)
    return lambda cell: known(cell) if len(cell) < _SHORT else read(cell)


@cache
def _known_columns() -> frozenset[str]:
    return frozenset(schema.load("manifest")["$defs"]["inline"]["properties"])


def _json_lines(path: str, shown: str, opener: Opener) -> Iterator[Draft | Problem]:
    row = 0
    found = False
    with open(path, "rb", opener=opener) as file:
        while data := file.readline(limits.ROW_LENGTH + 1):
            row += 1
            if row > limits.TABLE_ROWS:
                yield Problem(Place(shown, row, 1), f"row {row}", _TOO_MANY_ROWS)
                return
            try:
                text = decode(data) if row == 1 else data.decode()
                if not text.strip():
                    continue
                found = True
                if len(data) > limits.ROW_LENGTH:
                    raise YamlError(1, 1, f"longer than {limits.ROW_LENGTH >> 20} MiB")
                fields = object_of(text)
            except UnicodeDecodeError as error:
                place = Place(shown, row, len(data[: error.start].decode()) + 1)
                yield Problem(place, f"row {row}", f"the byte 0x{data[error.start]:02x} is not UTF-8 text")
            except YamlError as error:
                yield Problem(Place(shown, row, error.column), f"row {row}", error.text)
                if len(data) > limits.ROW_LENGTH:
                    return
            else:
                yield from _json_row(InTable(shown, row, row, text, None), fields)
    if not found:
        yield Problem(Place(shown), "", "the table is empty; it holds one JSON object per line")


def _json_row(origin: InTable, fields: dict[str, Any]) -> Iterator[Draft | Problem]:
    own = {key: value for key, value in fields.items() if value is not None and value != ""}
    if refused := _refused(origin, own):
        yield from refused
    else:
        yield Draft(origin, schema.natural(own))


def _refused(origin: InTable, fields: Mapping[str, Any]) -> list[Problem]:
    """The problems of a row's fields that stand for a missing or lost value."""
    name = fields.get("id")
    return [
        origin.problem(name if isinstance(name, str) else None, (key,), why)
        for key, value in fields.items()
        if isinstance(value, str) and cell_rules.is_odd(value) and (why := cell_rules.refusal(key, value))
    ]
