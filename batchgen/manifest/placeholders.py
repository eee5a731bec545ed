"""``{stem}``, ``{name}`` and ``{parent}`` in the prompts of folders and tables; ``{{`` and ``}}`` are braces.

They come from the job's image, a path or a URL: for ``https://example.com/spring/hero.png`` they are ``hero``,
``hero.png`` and ``spring``. There are no others: no format specifications, no attributes.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from batchgen.escapes import excerpt
from batchgen.names import composed
from batchgen.request.image_fields import is_url

NAMES: Final = ("stem", "name", "parent")
# The fields that hold prompts.
PROMPTS: Final[tuple[str, ...]] = ("prompt", "negative_prompt", "multi_prompt")
_BRACES = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")


class PlaceholderError(ValueError):
    """A prompt has a wrong placeholder. ``path`` leads to the prompt from the job's fields."""

    def __init__(self, path: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.path = path
        self.text = text


def fill_in(fields: Mapping[str, Any], image: Callable[[], str]) -> dict[str, Any]:
    """The prompts among ``fields`` that have braces, with placeholders replaced. Raises :class:`PlaceholderError`.

    ``image`` returns the path (absolute, so that it has a parent) or URL of the job's image, or "" where it has none;
    it is only called where it is needed.
    """
    changed: dict[str, Any] = {}
    for key in ("prompt", "negative_prompt"):
        text = fields.get(key)
        if isinstance(text, str) and ("{" in text or "}" in text):
            changed[key] = _fill(text, image, (key,))
    shots = fields.get("multi_prompt")
    if isinstance(shots, list):
        changed["multi_prompt"] = [_fill_shot(shot, number, image) for number, shot in enumerate(shots)]
    return changed


def stem(image: str) -> str:
    """The name of an image's file without its suffix, from its path or URL."""
    return posixpath.splitext(_parts(image)[1])[0]


def _parts(image: str) -> tuple[str, str]:
    return posixpath.split(composed(unquote(urlsplit(image).path) if is_url(image) else image))


def _fill_shot(shot: Any, number: int, image: Callable[[], str]) -> Any:
    text = shot.get("prompt") if isinstance(shot, dict) else None
    if not isinstance(text, str):
        return shot  # the schema reports it
    return {**shot, "prompt": _fill(text, image, ("multi_prompt", number, "prompt"))}


def _fill(text: str, image: Callable[[], str], path: tuple[str | int, ...]) -> str:
    parts: tuple[str, str] | None = None
    filled: list[str] = []
    for before, found in _split(text):
        filled.append(before)
        name = found[1:-1]
        if found in ("", "{{", "}}"):
            filled.append(found[:1])
            continue
        if name not in NAMES:
            raise PlaceholderError(path, _refusal(found))
        parts = parts or _parts(image())
        if not (value := _value(name, *parts)):
            raise PlaceholderError(path, f"{found} stands for nothing here: the job's image has no such name")
        filled.append(value)
    return "".join(filled)


@lru_cache(maxsize=16)  # the images of a folder have one prompt
def _split(text: str) -> Sequence[tuple[str, str]]:
    """The text in pieces: what stands before each brace or placeholder, and that itself; "" after the last one."""
    found: list[tuple[str, str]] = []
    end = 0
    for match in _BRACES.finditer(text):
        found.append((text[end : match.start()], match[0]))
        end = match.end()
    return [*found, (text[end:], "")]


def _value(placeholder: str, folder: str, name: str) -> str:
    if placeholder == "parent":
        return posixpath.basename(folder)
    return name if placeholder == "name" else posixpath.splitext(name)[0]


def _refusal(found: str) -> str:
    allowed = "only {stem}, {name} and {parent} can stand here; for a brace itself write {{ or }}"
    if len(found) == 1:
        return f"a single {found}: {allowed}"
    near = difflib.get_close_matches(found[1:-1].strip().lower()[:20], NAMES, 1)
    hint = f"; did you mean {{{near[0]}}}?" if near else ""
    return f"{excerpt(found, 40)} is no placeholder{hint} ({allowed})"
