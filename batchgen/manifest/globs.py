"""Globs over paths below a folder: ``*``, ``?``, ``[abc]``, ``{a,b}``, and ``**`` for any folders.

Case and the spelling of accents make no difference. A path is matched name by name from the top, so a folder in which
nothing can match is never listed, and no glob takes more than linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import translate
from itertools import pairwise
from typing import Final

from batchgen import limits
from batchgen.names import composed

MAX_CHOICES: Final = 200  # globs that the braces of one may expand to
Place = frozenset[tuple[int, int]]  # (number of a glob, how many of its parts are matched)


def match_error(match: str) -> str | None:
    """Why a text isn't a valid glob; None where it is."""
    if len(match) > limits.GLOB_LENGTH:
        return f"has {len(match):,} characters; at most {limits.GLOB_LENGTH:,} are allowed"
    if "\0" in match:
        return "holds a NUL, which no file has in its name"
    parts = match.split("/")
    if match.startswith(("/", "~")) or ".." in parts:
        return "is relative to the folder and can't leave it"
    try:
        choices = _choices(match)
    except ValueError as error:
        return str(error)
    for choice in choices:
        parts = choice.split("/")
        if choice.startswith(("/", "~")) or ".." in parts:
            return "is relative to the folder and can't leave it"
        if any("**" in part and part != "**" for part in parts):
            return "has a ** that isn't alone between slashes; write **/*.png"
    return None


class Glob:
    """A valid glob (:func:`match_error`), matched while folders are walked."""

    def __init__(self, match: str) -> None:
        globs = [_parts(choice) for choice in dict.fromkeys(_choices(match))]
        self._globs = [[None if part == "**" else _regex(part) for part in parts] for parts in globs]
        #: the names in it without wildcards: whoever writes one means it, even a leftover's
        self.literal = {part for parts in globs for part in parts if not set(part) & set("*?[")}
        self.top: Place = self._spread({(number, 0) for number in range(len(globs))})

    def below(self, place: Place, name: str) -> Place:
        """The place inside of the folder ``name`` at ``place``; empty where nothing in it can match.

        Names are in NFC and lower case.
        """
        found = set()
        for number, at in place:
            parts = self._globs[number]
            if at < len(parts) and ((part := parts[at]) is None or part.match(name)):
                found.add((number, at if part is None else at + 1))
        place = self._spread(found)
        return place if any(at < len(self._globs[number]) for number, at in place) else frozenset()

    def takes(self, place: Place, name: str) -> bool:
        """Whether the file ``name`` at ``place`` matches."""
        for number, at in place:
            parts = self._globs[number]
            if at == len(parts):
                continue
            part = parts[at]
            if (part is None or part.match(name)) and all(rest is None for rest in parts[at + 1 :]):
                return True
        return False

    def _spread(self, place: set[tuple[int, int]]) -> Place:
        """The place with what follows each ``**``, which matches no folder as well."""
        found = set(place)
        for number, at in place:
            parts, behind = self._globs[number], at
            while behind < len(parts) and parts[behind] is None:
                behind += 1
                found.add((number, behind))
        return frozenset(found)


def _parts(glob: str) -> list[str]:
    parts = [part for part in composed(glob).lower().split("/") if part not in ("", ".")]
    # Several ** in a row mean the same as one.
    return [part for before, part in pairwise(["", *parts]) if not before == part == "**"]


def _regex(part: str) -> re.Pattern[str]:
    return re.compile(translate(part))


def _choices(glob: str) -> list[str]:
    """The globs that a glob with braces expands to. Raises ValueError."""
    found = [""]
    # For each open brace: the globs before it, and its choices so far.
    stack: list[tuple[list[str], list[str]]] = []
    for piece in _pieces(glob):
        if piece == "{":
            stack.append((found, []))
            found = [""]
        elif piece == "," and stack:
            stack[-1][1].extend(found)
            found = [""]
        elif piece == "}":
            if not stack:
                raise ValueError("has a } without its {; in a name, write [}]")
            before, choices = stack.pop()
            if not choices:
                raise ValueError(
                    "has braces with one choice in them; write {a,b}, or [{] for a brace in a name"
                )
            found = _joined(before, [*choices, *found])
        else:
            found = _joined(found, [piece])
    if stack:
        raise ValueError("has a { without its }; in a name, write [{]")
    return found


def _joined(heads: list[str], tails: list[str]) -> list[str]:
    if len(heads) * len(tails) > MAX_CHOICES:
        raise ValueError(f"stands for more than {MAX_CHOICES} globs; use an entry each")
    return [head + tail for head in heads for tail in tails]


def _pieces(glob: str) -> Iterator[str]:
    """The characters of a glob; a set in brackets is one piece."""
    return (found[0] for found in re.finditer(r"\[!?\]?[^\]]*\]|.", glob, re.DOTALL))
