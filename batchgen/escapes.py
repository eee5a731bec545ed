"""Escapes invisible characters in text for people, so that different ids never look the same."""

from __future__ import annotations

import re

from batchgen import limits

# Emoji: their parts are joined by characters that are invisible elsewhere.
_SYMBOL = r"[\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]?"
_EMOJI = re.compile(
    rf"{_SYMBOL}(?:\u200d{_SYMBOL})*|[0-9#*]\ufe0f\u20e3|[\xa9\xae\u203c\u2049\u2122\u2139]\ufe0f"
)
_MARKS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_UNSEEN_MARKS = re.compile(f"[{_MARKS}]")  # invisible, though Python calls them printable


def visible(text: str) -> str:
    """``text`` with a JSON escape for every character that is invisible, moves a cursor or changes the direction of text.

    Spaces and emoji stay as they are.
    """
    if text.isprintable() and (text.isascii() or not _UNSEEN_MARKS.search(text)):
        return text
    parts: list[str] = []
    end = 0
    for emoji in _EMOJI.finditer(text):
        parts += (_escaped(text[end : emoji.start()]), emoji[0])
        end = emoji.end()
    return "".join((*parts, _escaped(text[end:])))


def excerpt(text: str, longest: int = limits.EXCERPT) -> str:
    """The beginning of a foreign text for a message: escaped, on one line, at most ``longest`` characters."""
    shown = visible(text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def _escaped(text: str) -> str:
    return "".join(
        letter if letter.isprintable() and not _UNSEEN_MARKS.match(letter) else _escape(letter)
        for letter in text
    )


def _escape(letter: str) -> str:
    code = ord(letter)  # no codec, whose module may be loaded in need: an error is told
    units = (code,) if code < 0x10000 else (0xD7C0 + (code >> 10), 0xDC00 + (code & 0x3FF))
    return "".join(f"\\u{unit:04x}" for unit in units)
