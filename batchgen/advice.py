"""Command lines in messages, quoted so that a person can paste them whatever the ids and paths in them hold."""

from __future__ import annotations

import shlex

from batchgen.escapes import visible


def command(name: str, *arguments: str, options: str = "") -> str:
    """``batchgen NAME ARGUMENTS OPTIONS`` for a shell; ``arguments`` are quoted, ``options`` stay as they are."""
    words = [quoted(argument) for argument in arguments]
    if any(argument.startswith("-") for argument in arguments):
        return " ".join(filter(None, ["batchgen", name, options, "--", *words]))
    return " ".join(filter(None, ["batchgen", name, *words, options]))


def quoted(text: str) -> str:
    """One word for a shell. Characters that can't be seen, or move a cursor, are escaped as bytes (bash, zsh, ksh)."""
    if text.isprintable() and visible(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(letter if letter.isalnum() else _escaped(letter) for letter in text) + "'"


def _escaped(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", _errors(letter)))


def _errors(letter: str) -> str:
    """The codec error handler for a lone surrogate: one that stands for a byte of a file's name, or any other."""
    return "surrogateescape" if "\udc80" <= letter <= "\udcff" else "surrogatepass"
