"""Reads the cells of tables, as spreadsheets, pandas and databases write them.

A cell that can mean only one thing is read as that. One that stands for a missing or lost value (``NaN``, ``#REF!``) is
refused: sent as a prompt, it would be paid for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Final

from batchgen.escapes import excerpt

ABSENT: Final = frozenset({"", "\\N"})  # databases write \N for a value that isn't there

#: What programs write where there is no value. A person leaves the cell empty.
_NOTHING: Final = frozenset(
    {"nan", "-nan", "nat", "null", "none", "<na>", "na", "n/a", "nil", "undefined", "(null)", "[null]"}
)
_LONGEST_NOTHING: Final = 9
#: Those of them that can't be an id either; a row may well be called NA.
_NO_ID: Final = frozenset({"nan", "NaN", "NaT", "NULL", "None", "<NA>", "undefined", "(null)", "[null]"})
_ODD: Final = re.compile(r"[#=]|Err:|\d[.,]?\d*E\+")  # how everything below begins
_ODD_ROW: Final = re.compile(r"[#=\\\ufffd]")
_LONG_ROW: Final = 4096  # characters; a longer row has Base64 in it, and isn't copied to be searched
_ERROR: Final = re.compile(  # in the words of many languages: #VALUE!, #WERT!, #¿NOMBRE?, #DIV/0!
    r"#[¡¿]?[\w./-]+[!?]|#(?:N/A|N/D|N/B|NV|YOK|Н/Д|GETTING_DATA)|#{3,}|Err:\d+"
)
_ROUNDED: Final = re.compile(r"\d(?:[.,]\d+)?E\+\d{2,}")
_FORMULA: Final = re.compile(r"=[-+]?(?:[\w.]+\(|\$?[A-Z]{1,3}\$?\d+\b|(?:'[^']+'|\w+)!)")
_LOST: Final = "\ufffd"
_INVISIBLE: Final = "\ufeff\u200b\u2060\u00ad"

_WHOLE: Final = re.compile(r"'?(\d+)(?:[.,]0+)?")
_DECIMAL: Final = re.compile(r"'?(-?\d*)[.,](\d{1,2}|\d{4,})")  # three digits may be thousands
_ON: Final = (
    "true",
    "wahr",
    "vrai",
    "verdadero",
    "verdadeiro",
    "vero",
    "waar",
    "sant",
    "sand",
    "prawda",
    "tosi",
)
_OFF: Final = (
    "false",
    "falsch",
    "faux",
    "falso",
    "onwaar",
    "falskt",
    "falsk",
    "fałsz",
    "epätosi",
    "yanlış",
    "ложь",
)
_SWITCHES: Final = {
    **dict.fromkeys((*_ON, "doğru", "истина", "1", "1.0", "1,0", "t", "y", "ja", "oui", "sí"), "true"),
    **dict.fromkeys((*_OFF, "0", "0.0", "0,0", "f", "n", "nein", "non", "nee"), "false"),
}


def header(name: str, known: Collection[str]) -> str:
    """The key that a column's name means (``Negative Prompt``), else the name as it is."""
    name = name.strip().strip(_INVISIBLE).strip()
    if name in known:
        return name
    key = re.sub(r"[\s_-]+", "_", name).lower()
    return key if key in known else name


def is_plain(text: str, cells: Iterable[str]) -> bool:
    """Whether a row certainly has no absent and no refused cell. It is asked for every row, so it is quick."""
    return (
        len(text) < _LONG_ROW
        and _ODD_ROW.search(text) is None
        and "E+" not in text
        and "Err:" not in text
        and _NOTHING.isdisjoint(map(str.lower, cells))
    )


def is_odd(cell: str) -> bool:
    """Whether :func:`refusal` may refuse a cell."""
    return (
        _ODD.match(cell) is not None
        or (len(cell) <= _LONGEST_NOTHING and cell.lower() in _NOTHING)
        or _LOST in cell
    )


def refusal(key: str, cell: str) -> str | None:
    """Why a cell can't be the value of ``key``; None where it can."""
    if _LOST in cell:
        return "holds U+FFFD, which stands where a character was lost; export the table again, as UTF-8"
    if _ERROR.fullmatch(cell) and cell.removeprefix("Err:") == cell.removeprefix("Err:").upper():
        return f"{excerpt(cell)} is a spreadsheet's error; correct the cell, or empty it"
    if cell in _NO_ID if key == "id" else cell.lower() in _NOTHING:
        return f"{cell} is what a program writes for no value; leave the cell empty"
    if _ROUNDED.fullmatch(cell):
        return f"{excerpt(cell)} is a long number that a spreadsheet has rounded; format the column as text, then enter it"
    if _FORMULA.match(cell):
        return "is a formula; save the table with its values"
    return None


def reader(key: str) -> Callable[[str], str] | None:
    """The function that turns a cell of the column ``key`` into a manifest's form; None where any text is valid."""
    return _READERS.get(key)


def _whole(cell: str) -> str:
    return found[1] if (found := _WHOLE.fullmatch(cell)) else cell


def _decimal(cell: str) -> str:
    return f"{found[1] or 0}.{found[2]}" if (found := _DECIMAL.fullmatch(cell)) else cell


def _switch(cell: str) -> str:
    return _SWITCHES.get(cell.lower(), cell)


_READERS: Final = {
    "duration": _whole,
    "take": _whole,
    "takes": _whole,
    "cfg_scale": _decimal,
    "sound": _switch,
    "multi_shot": _switch,
    "skip": _switch,
}
