"""Command lines that messages show for a person to paste. Ids and paths in them come from manifests, folders and the API."""

from __future__ import annotations

import shlex

from batchgen.escapes import visible


def command(name: str, *arguments: str, options: str = "") -> str:
    """``batchgen NAME``, which a shell reads as it is meant, whatever ``arguments`` hold; ``options`` are our own words."""
    words = [quoted(argument) for argument in arguments]
    if any(argument.startswith("-") for argument in arguments):
        return " ".join(filter(None, ["batchgen", name, options, "--", *words]))
    return " ".join(filter(None, ["batchgen", name, *words, options]))


def quoted(text: str) -> str:
    """One word for a shell. What can't be seen, or moves a terminal's cursor, is spelt by its bytes (bash, zsh, ksh)."""
    if text.isprintable() and visible(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(letter if letter.isalnum() else _escaped(letter) for letter in text) + "'"


def _escaped(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", _errors(letter)))


def _errors(letter: str) -> str:
    """A byte that was no UTF-8 in a file's name, or any other half of a pair."""
    return "surrogateescape" if "\udc80" <= letter <= "\udcff" else "surrogatepass"
