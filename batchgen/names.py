"""Names of files: their one Unicode spelling (NFC), and what file systems allow.

A letter and its accent can be one character (NFC, as most systems write) or two (NFD, as some disks and sync tools
do). Names are compared in NFC, and go into ids and prompts so: a tool that changes the spelling changes nothing. Unicode
3.2 is used because its tables never change, while those of ``unicodedata`` grow with Python's versions.
"""

from __future__ import annotations

import os
import re
from typing import Final
from unicodedata import ucd_3_2_0

unicode_3_2: Final = ucd_3_2_0
NAME_MAX: Final = 255  # bytes, on nearly every file system
PATH_MAX: Final = 4095  # bytes, of Linux, without the NUL at its end
# The longest end of a clip's name: digest of a clip whose name was taken, further part, suffix, mark of a download.
CLIP_TAIL: Final = len("-01234567.part2.mp4.part")
CLIP_FOLDER: Final = len("/superseded")

_FOREIGN = re.compile(r'[<>:"\\|?*]|[. ]/')
_PORTS = (f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³")
_RESERVED = frozenset(("con", "prn", "aux", "nul", "conin$", "conout$", *_PORTS))


def composed(name: str) -> str:
    """A name in NFC."""
    return name if name.isascii() else unicode_3_2.normalize("NFC", name)


def folded(name: str) -> str:
    """A key that is equal for names that differ only in case and in the spelling of accents."""
    return name.lower() if name.isascii() else unicode_3_2.normalize("NFC", composed(name).casefold())


def spellings(name: str) -> tuple[str, ...]:
    """The spellings that systems may give a composed name: NFC, and NFD where that differs."""
    other = name if name.isascii() else unicode_3_2.normalize("NFD", name)
    return (name,) if other == name else (name, other)


def spelt(name: str) -> str:
    """A name with every character escaped that isn't ASCII, so that its spelling can be seen."""
    return ascii(name)[1:-1].replace("\\'", "'")


class Disk:
    """Finds files whatever the Unicode spelling of their names on disk; each folder is listed once."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> str:
        """``path``; or, where nothing is there, the one existing path that is the same in NFC."""
        found, missing = path, list[str]()  # the names below the nearest folder that is there
        while not (found.isascii() or len(path) > PATH_MAX or os.path.lexists(found)):
            parent, name = os.path.split(found)
            if not name or parent == found:
                break
            missing.append(name)
            found = parent
        for name in reversed(missing):
            if found not in self._listed:
                self._listed[found] = self._names(found)
            found = os.path.join(found, self._listed[found].get(composed(name)) or name)
        return found

    def _names(self, folder: str) -> dict[str, str]:
        """The names in a folder that aren't ASCII, by their NFC spelling; "" where two have the same."""
        found: dict[str, str] = {}
        try:
            for name in os.listdir(folder):
                if not name.isascii():
                    found[composed(name)] = "" if composed(name) in found else name
        except (OSError, ValueError):
            pass
        return found


def longest_name(folder: str) -> int:
    """The bytes that a name may have in ``folder``, or in the folder where it will be made."""
    while True:
        try:
            return os.pathconf(folder, "PC_NAME_MAX")
        except FileNotFoundError:
            parent = os.path.dirname(folder)
            if parent == folder:
                return NAME_MAX
            folder = parent
        except (OSError, ValueError):
            return NAME_MAX


def no_path(path: str) -> str | None:
    """Why a text can't be a path on any disk; None where it can."""
    try:
        long = len(os.fsencode(path))
    except UnicodeEncodeError:
        return "can't be a path: it holds half a character (a lone surrogate)"
    if "\0" in path:
        return "this can't be a path"
    return f"is {long:,} bytes long; a path has at most {PATH_MAX:,}" if long > PATH_MAX else None


def too_long(folder: str, name: str, tail: str, longest: int) -> str | None:
    """Why the clip ``name`` (with slashes for folders) has too long a name or path; None where it hasn't.

    ``tail`` comes between name and suffix, ``longest`` is the most bytes of a name on this disk.
    """
    parts = os.fsencode(name).split(b"/")
    reserved = len(os.fsencode(tail)) + CLIP_TAIL
    *folders, last = map(len, parts)
    if max(folders, default=0) > longest:
        return f"has a part of {max(folders)} bytes in UTF-8; the disk takes folders' names of {longest}"
    if last + reserved > longest:
        return (
            f"has {last} bytes in UTF-8 at its end; {longest - reserved} are left for it"
            f" in its clip's name, of {longest} that the disk takes"
        )
    whole = len(os.fsencode(folder)) + CLIP_FOLDER + 1 + sum(folders) + len(folders) + last + reserved
    if whole > PATH_MAX:
        return f"makes the clip's path {whole} bytes long; {PATH_MAX} are possible"
    return None


def is_portable(name: str) -> bool:
    """Whether the clip ``name`` (with slashes for folders) is a name on other systems' disks as well, Windows above all."""
    if _FOREIGN.search(name) is not None:
        return False
    if "/" in name:
        return all(part.partition(".")[0].lower() not in _RESERVED for part in name.split("/"))
    return name.partition(".")[0].lower() not in _RESERVED
