"""The spellings of a key, and a search for them in everything that a program wrote."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

PART = 12  # characters: what nobody may be able to read


def each(form: str) -> Callable[[str], str]:
    """Every character spelt by a format of its number."""
    return lambda key: "".join(form.format(ord(letter)) for letter in key)


def packed(before: str) -> Callable[[str], str]:
    """Base64 of the key in the middle of something else."""
    return lambda key: base64.b64encode(f"{before}{key}!!".encode()).decode()


SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "its end": lambda key: key[7:],
    "its middle": lambda key: key[5:-5],
    "its beginning": lambda key: key[:20],
    "inside a word": lambda key: f"x{key}y",
    "Base64": packed(""),
    "Base64, one byte on": packed("a"),
    "Base64, two bytes on": packed("ab"),
    "Base64 for URLs": lambda key: base64.urlsafe_b64encode(f"?>{key}".encode()).decode(),
    "Base64 of its header": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "hex": lambda key: key.encode().hex(),
    "percent": each("%{:02x}"),
    "percent, capitals": each("%{:02X}"),
    "double percent": each("%25{:02X}"),
    "triple percent": each("%2525{:02x}"),
    "decimal entities": each("&#{};"),
    "padded entities": each("&#{:05};"),
    "hex entities": each("&#x{:X};"),
    "entities of entities": each("&amp;#{};"),
    "JSON": each("\\u{:04x}"),
    "JSON in JSON": each("\\\\u{:04X}"),
    "percent of entities": each("%26%23{}%3B"),
    "every other letter": lambda key: "".join(c if n % 2 else f"%{ord(c):02x}" for n, c in enumerate(key)),
    "NULs between": "\0".join,
    "zero widths between": "\u200b".join,
    "double width": lambda key: "".join(chr(ord(c) + 0xFEE0) for c in key),
    "two lines": lambda key: f"{key[:20]}\n{key[20:]}",
}


def readable(text: str, key: str) -> str:
    """The first part of the key that can be recovered from a text, or nothing."""
    wanted = [key[at : at + PART] for at in range(len(key) - PART + 1)]
    for view in views(text):
        small = view.lower()
        for part in wanted:
            if part.lower() in small or part.encode().hex() in small:
                return part
        for blob in re.findall(r"[A-Za-z0-9+/_-]{16,}", view):
            for start in range(4):
                cut = blob[start:].translate(str.maketrans("-_", "+/"))
                plain = base64.b64decode(cut[: len(cut) // 4 * 4]).decode("latin-1").lower()
                if found := next((part for part in wanted if part.lower() in plain), ""):
                    return found
    return ""


def views(text: str) -> list[str]:
    """The text, and all that decoding its escapes gives."""
    found = [text]
    for _ in range(6):
        text = html.unescape(
            unquote(
                re.sub(
                    r"\\+(?:u|x(?=[01]))([0-9a-fA-F]{4}|(?<=x)[01][0-9a-f])",
                    lambda one: chr(int(one[1], 16)),
                    text,
                )
            )
        )
        text = re.sub("[\0\u200b\n]", "", text)
        text = "".join(chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else c for c in text)
        found.append(text)
    return found
