"""Reads values from an answer's fields, which may hold anything: each is checked and bounded, or None."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from batchgen.models import TASK_ID


def in_a_line(text: str) -> str:
    """Foreign text on one line, with a space for everything that a terminal doesn't print."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object; empty where it is something else."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str | None:
    """Text that isn't empty, with ``?`` for lone surrogates, which UTF-8 can't hold."""
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def bounded_line(value: object, longest: int = 1000) -> str | None:
    """Text on one line, cut at ``longest`` characters; None where there is none."""
    return in_a_line((text(value) or "")[: 4 * longest])[:longest] or None


def integer(value: object) -> int | None:
    """A whole number of at most nine digits, given as a number or as text."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9 else None


def task_id(value: object) -> str | None:
    """A task id that can stand in a path and a file name; a positive number becomes text."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        value = str(value)
    return value if isinstance(value, str) and TASK_ID.fullmatch(value) else None


def moment(value: object) -> float | None:
    """Unix milliseconds or seconds as Unix seconds; None outside of the years 2001 to 2286."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else integer(value)
    if number is None:
        return None
    return number / 1000 if 1e12 <= number < 1e13 else float(number) if 1e9 <= number < 1e10 else None


def short(text: str) -> str:
    """Text in quotes, cut at 80 characters."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
