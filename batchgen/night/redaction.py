"""Takes out of texts what nobody outside is told: prompts, and what stands in URLs behind their host."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

PROMPT: Final = "[prompt]"
PIECE: Final = 10  # characters of a prompt that are looked for; 19 of one on end hold such a piece whole
SHORT: Final = 2 * PIECE - 1  # a shorter prompt is looked for as a whole
_URL: Final = re.compile(
    r"\b([A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){2})(?:[^\s/@]*@)?([^\s/?#\"'<>\\]*)((?:\\?/|[?#])[^\s\"'<>]+)?"
)
_SECRET: Final = re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+")


class Redaction:
    """Redacts texts. ``prompts`` are those that may have come back in an answer of the API; ``clean`` masks the key."""

    def __init__(self, prompts: Iterable[str] = (), clean: Callable[[str], str] = str) -> None:
        self._clean = clean
        self._prompts = [plain for one in dict.fromkeys(prompts) if (plain := _plain(one).strip())]
        short = [re.escape(one) for one in self._prompts if len(one) < SHORT]
        self._short = (
            re.compile(rf"(?<!\w)(?:{'|'.join(sorted(short, key=len, reverse=True))})(?!\w)", re.ASCII)
            if short
            else None
        )
        self._pieces: dict[str, list[tuple[int, int]]] = {}  # piece -> prompts that have it, and where
        for number, one in enumerate(self._prompts):
            if len(one) >= SHORT:
                for at in range(0, len(one) - PIECE + 1, PIECE):
                    self._pieces.setdefault(one[at : at + PIECE], []).append((number, at))

    def __call__(self, text: str) -> str:
        """The text without them: ``[prompt]``, and ``https://host/...``."""
        text = self._without_prompts(self._clean(text))
        return _SECRET.sub(
            "whsec_...", _URL.sub(lambda found: f"{found[1]}{found[2]}{'/...' if found[3] else ''}", text)
        )

    def value(self, value: Any) -> Any:
        """The same for all texts of a JSON value, but for the names of its fields."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {name: self.value(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value

    def _without_prompts(self, text: str) -> str:
        plain = _plain(text)
        spans = [found.span() for found in self._short.finditer(plain)] if self._short is not None else []
        end = 0
        for at in range(len(plain) - PIECE + 1 if self._pieces else 0):
            if at < end:
                continue
            for number, offset in self._pieces.get(plain[at : at + PIECE], ()):
                start, stop = _common(plain, at, self._prompts[number], offset)
                spans.append((start, stop))
                end = max(end, stop)
        parts, done = [], 0
        for start, stop in sorted(spans):
            if stop > done:
                parts += [text[done:start], PROMPT] if start >= done else []
                done = stop
        return "".join([*parts, text[done:]])


def prompts_of(request: Any) -> Iterator[str]:
    """The prompts in a request: the texts of each field whose name says so, however deep it stands."""
    fields = request.items() if isinstance(request, Mapping) else [("", one) for one in request]
    for name, value in fields:
        if isinstance(value, str):
            if "prompt" in name:
                yield value
        elif isinstance(value, Mapping | list):
            yield from prompts_of(value)


def _plain(text: str) -> str:
    """The text in small letters and with plain spaces, each character where it was."""
    small = text.lower()
    return re.sub(r"\s", " ", small if len(small) == len(text) else text)


def _common(text: str, at: int, prompt: str, offset: int) -> tuple[int, int]:
    """The span around ``at`` that a text has in common with a prompt around ``offset``."""
    left = 0
    while left < min(at, offset) and text[at - left - 1] == prompt[offset - left - 1]:
        left += 1
    most = min(len(text) - at, len(prompt) - offset)
    right = (
        bisect_left(
            range(PIECE, most + 1), True, key=lambda n: text[at : at + n] != prompt[offset : offset + n]
        )
        + PIECE
        - 1
    )
    return at - left, at + right
