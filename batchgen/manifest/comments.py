"""Finds prompts that a comment cuts short: ``prompt: Push-in, shot #2`` ends at `` #``, and the rest isn't sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from yaml import CSafeLoader
from yaml.events import (
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from batchgen.escapes import excerpt
from batchgen.manifest.yaml12 import decode

_KEYS: Final = ("prompt", "negative_prompt")
_ANY: Final = re.compile(r"^[^#\n\r]*\S[ \t]+#", re.MULTILINE)
_OLD_BREAKS: Final = dict.fromkeys((0x85, 0x2028, 0x2029), "\ue000")  # libyaml counts them as line breaks
# A comment has a blank after its #, and begins with a word: "#2", "#sunset" and "# 2" are more likely part of a prompt.
_TEXT: Final = re.compile(r"[ \t]+(#(?:\w|[ \t]+\d)[^\r\n]*)")
_SHOWN: Final = 40  # characters of what is cut


class Cut(NamedTuple):
    """A prompt that is cut short by a comment: its path, the line and column of the cut, and the text that is left out."""

    path: tuple[str | int, ...]
    line: int
    column: int
    rest: str

    @property
    def text(self) -> str:
        return (
            f'ends before "{excerpt(self.rest, _SHOWN)}", since YAML takes that for a comment;'
            " put the prompt into quotes, with that or without"
        )


def cut_prompts(data: bytes) -> list[Cut]:
    """The prompts in a valid document whose lines go on after `` #``."""
    if b"#" not in data:
        return []
    text = decode(data).translate(_OLD_BREAKS)
    return list(_cut_prompts(text)) if _ANY.search(text) else []


def _cut_prompts(text: str) -> Iterator[Cut]:
    parser: Any = CSafeLoader(text.encode())
    path: list[
        str | int | None
    ] = []  # of each open collection: its current key (None before one), or its index
    while type(event := parser.get_event()) is not StreamEndEvent:
        kind = type(event)
        if kind in (MappingEndEvent, SequenceEndEvent):
            path.pop()
        elif path and path[-1] is None:
            path[-1] = getattr(event, "value", "")
            continue
        elif kind is ScalarEvent and path and path[-1] in _KEYS and event.implicit[0]:
            end = event.end_mark
            if found := _TEXT.match(text, end.index):
                steps = tuple(step for step in path if step is not None)
                column = end.column + found.start(1) - end.index
                yield Cut(steps, end.line + 1, column + 1, found[1].rstrip())
        if kind is MappingStartEvent:
            path.append(None)
            continue
        if kind is SequenceStartEvent:
            path.append(0)
            continue
        if path:  # a value has ended
            path[-1] = path[-1] + 1 if isinstance(path[-1], int) else None
