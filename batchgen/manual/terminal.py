"""Formats a page of the manual for a terminal: lines and tables folded to its width, links as commands, no Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from batchgen.advice import command

WIDEST = 100  # columns that are read easily
ROOM = 40  # columns that a table's last cell needs beside the others
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#]*)(#[^)]*)?\)")
_ITEM = re.compile(r"(?:[-*]|\d+\.) ")
_BLOCK = re.compile(r"#|\||```|    |(?:[-*]|\d+\.) ")  # what a paragraph ends at, besides an empty line
_CELLS = re.compile(r"(?<!\\)\|")


def shown(text: str, columns: int) -> Iterator[str]:
    """The lines of a page for a terminal of ``columns``. Code isn't folded; headings keep their ``#``."""
    width = max(20, min(columns, WIDEST))
    lines = text.splitlines()
    while lines:
        line = lines.pop(0)
        if line.startswith("```"):
            while lines and (code := lines.pop(0)) != "```":
                yield f"    {code}".rstrip()
        elif line.startswith("|"):
            table = [line]
            while lines and lines[0].startswith("|"):
                table.append(lines.pop(0))
            yield from _table(table, width)
        elif not line or line.startswith(("    ", "#")):
            yield line
        else:
            mark = _ITEM.match(line)
            while lines and lines[0] and not _BLOCK.match(lines[0]):
                line += f" {lines.pop(0).strip()}"
            yield from _folded(line, width, len(mark[0]) if mark else 0)


def _plain(text: str) -> str:
    """The text without Markdown's marks; a link to another page becomes the command that shows it."""
    text = _LINK.sub(lambda link: _named(link[1], link[2]), text)
    return re.sub(r"\*\*(.+?)\*\*", r"\1", text).replace(r"\|", "|")


def _named(words: str, target: str) -> str:
    return f"{words} ({command('help', target[:-3])})" if re.fullmatch(r"\w+\.md", target) else words


def _folded(text: str, width: int, indent: int = 0, first: int = 0) -> Sequence[str]:
    return textwrap.wrap(
        _plain(text),
        width,
        initial_indent=" " * first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(lines: Sequence[str], width: int) -> Iterator[str]:
    """A table in columns where the last one has room for words; else each row's first cell, with the others below it."""
    head, _, *rows = [[_plain(cell.strip()) for cell in _CELLS.split(line)[1:-1]] for line in lines]
    sizes = [max(map(len, column)) for column in zip(head, *rows, strict=True)][:-1]
    left = sum(sizes) + 2 * len(sizes)
    if width - left >= min(ROOM, max(len(row[-1]) for row in [head, *rows])):
        for *cells, last in [head, ["-" * size for size in [*sizes, len(head[-1])]], *rows]:
            start = "".join(f"{cell.ljust(size)}  " for cell, size in zip(cells, sizes, strict=True))
            first, *more = _folded(last, width - left) or [""]
            yield f"{start}{first}".rstrip()
            yield from (" " * left + line for line in more)
        return
    for title, *others in rows:
        yield from _folded(title, width, 2)
        for name, cell in zip(head[1:], others, strict=True):
            if not cell:
                continue
            yield from _folded(f"{name}: {cell}" if len(others) > 1 else cell, width, 4, 4)
