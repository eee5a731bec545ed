"""The key in texts that others wrote: found however it is spelt, and cut out.

Found are the whole key and any long part of it, in either case; plain, in Base64 (wherever in it, both alphabets) and
in hexadecimal; and all that through percent signs, HTML's entities and backslashes, one over another, with what can't
be seen in between. A part counts from :func:`_shortest` characters on: that is enough to keep what is left of the key
beyond guessing, and too much for an id to share by chance. Words and numbers that stand in a key (``sk-live-2026``) are
no secret: a part of nothing else doesn't count. Of a JSON Web Token the signature is the secret: others that sign a
clip's address begin with the same letters.
"""

from __future__ import annotations

import base64
import html
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

SHORTEST_KEY: Final = 12  # characters; what is shorter can't be told from a word (the sandbox's "sandbox")
LONGEST_PART: Final = 12  # characters of a long key that are a part of it
SHORTEST_PART: Final = 8
LEVELS: Final = 8  # times that a text is unescaped
SEED: Final = 4  # characters that are looked for first, at least
MASK: Final = "[key]"

# Each begins with one of three characters, which are found quickly.
_ESCAPE: Final = (
    r"[%&\\](?:(?<=%)(?P<byte>[0-9A-Fa-f]{2})|(?<=&)(?P<entity>\#[xX]?[0-9A-Fa-f]{1,7};?|[A-Za-z]{2,31};)"
    r"|(?<=\\)\\{0,31}(?:u(?P<unicode>[0-9A-Fa-f]{4})|u\{0{0,6}(?P<braced>[0-9A-Fa-f]{1,4})\}"
    r"|x(?P<hex>[0-9A-Fa-f]{2})|(?P<octal>[0-7]{3})|(?P<letter>.)))"
)
_UNSEEN: Final = r"[\0-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+"
_ESCAPES: Final = re.compile(_ESCAPE, re.DOTALL)
_ESCAPES_AND_UNSEEN: Final = re.compile(rf"{_ESCAPE}|{_UNSEEN}", re.DOTALL)
_WORDS: Final = re.compile(
    r"(?:[A-Z]?[a-z]+|[A-Z]+|[0-9]+)?(?:[^A-Za-z0-9]+(?:[A-Z]?[a-z]+|[A-Z]+|[0-9]+)?)*"
)
# Small letters, also for those that East Asian writing has in double width.
_WIDE: Final = re.compile("[\uff01-\uff5e]+")
_SMALL: Final = {
    **{wide: chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)},
    **{wide: chr(wide - 0xFEE0 + 32) for wide in range(0xFF21, 0xFF3B)},
}


class _Spelling(NamedTuple):
    """One way to write a key, in small letters. Parts of it have ``part`` characters; those count that begin at ``counts``."""

    text: str
    part: int
    counts: frozenset[int]


#: What is looked for first, a few characters: with the spellings that have it, and where.
_Seeds = dict[str, list[tuple[_Spelling, int]]]


class Mask:
    """Cuts keys out of texts. It knows none at first: what stands in front of all output is there before the key."""

    def __init__(self, *keys: str) -> None:
        self._parts: _Seeds = {}
        self._halves: _Seeds = {}
        self._known: set[str] = set()
        for key in keys:
            self.learn(key)

    def learn(self, key: str) -> None:
        """Cut out this key as well, unless it is too short to be one."""
        if key in self._known or len(key) < SHORTEST_KEY:
            return
        self._known.add(key)
        secret = _secret(key)
        for text, part in _spellings(key):
            _sow(self._parts, _spelling(text, part, len(text) - len(text) * len(secret) // len(key)))
        for text, _ in _spellings(secret):
            half = (len(text) + 1) // 2
            _sow(self._halves, _Spelling(text.lower(), half, frozenset(range(len(text) - half + 1))))

    def __call__(self, text: str) -> str:
        """The text with ``[key]`` for each part of a key."""
        if not self._parts or not self.finds(text):
            return text
        spans = sorted(self._spans(text))
        parts: list[str] = []
        end = 0
        for start, stop in spans:
            if start >= end:
                parts += (text[end:start], MASK)
            end = max(end, stop)
        return "".join((*parts, text[end:])) if parts else MASK

    def finds(self, text: str) -> bool:
        """Whether a part of a key stands in the text."""
        return _is_in(text, self._parts)

    @property
    def holds_key(self) -> Callable[[str], bool] | None:
        """:meth:`holds`; None where no key is known that could be held."""
        return self.holds if self._halves else None

    def holds(self, text: str) -> bool:
        """Whether at least half of a key stands in the text: more than a name that a key begins with."""
        return _is_in(text, self._halves)

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where parts of a key stand in a text, as they are written there."""
        view = text
        starts: Sequence[int] = range(len(text))  # where in the text each letter of the view begins, and ends
        ends: Sequence[int] = range(1, len(text) + 1)
        for _ in range(LEVELS):
            for start, end in _runs(view, self._parts):
                yield starts[start], ends[end - 1]
            letters: list[str] = []
            begin, stop = array("I"), array("I")
            end = 0
            for escape in _ESCAPES_AND_UNSEEN.finditer(view):
                letters.append(view[end : escape.start()])
                begin.extend(starts[end : escape.start()])
                stop.extend(ends[end : escape.start()])
                end = escape.end()
                meant = _meant(escape)
                letters.append(meant)
                begin.extend([starts[escape.start()]] * len(meant))
                stop.extend([ends[end - 1]] * len(meant))
            if not end:
                return
            begin.extend(starts[end:])
            stop.extend(ends[end:])
            view, starts, ends = "".join((*letters, view[end:])), begin, stop


def _sow(seeds: _Seeds, spelling: _Spelling) -> None:
    """Put in as few seeds as it takes for each part to hold one of them whole, as long as that number allows."""
    text, part = spelling.text, spelling.part
    others = (len(text) - part) // (part - SEED + 1)
    length = max(n for n in range(SEED, part + 1) if (len(text) - part) // (part - n + 1) == others)
    for at in range(part - length, len(text) - length + 1, part - length + 1):
        seeds.setdefault(text[at : at + length], []).append((spelling, at))


def _is_in(text: str, seeds: _Seeds) -> bool:
    if seeds:
        for view in _views(text):
            for _ in _runs(view, seeds):
                return True
    return False


def _runs(view: str, seeds: _Seeds) -> Iterator[tuple[int, int]]:
    """Where a view of a text has parts of a key: from where to where, each as long as it goes."""
    view = _small(view)
    for seed in [seed for seed in seeds if seed in view]:
        found = view.find(seed)
        while found >= 0:
            for (text, part, counts), at in seeds[seed]:
                left = _alike(view[max(found - at, 0) : found][::-1], text[:at][::-1])
                right = _alike(view[found : found + len(text) - at], text[at:])
                if not counts.isdisjoint(range(at - left, at + right - part + 1)):
                    yield found - left, found + right
            found = view.find(seed, found + 1)


def _small(text: str) -> str:
    """The text in small letters, each in its place."""
    small = text.lower()
    if len(small) > len(text):  # one capital letter becomes two small ones
        small = text.replace("\u0130", "i").lower()
    return small if small.isascii() else _WIDE.sub(lambda wide: wide[0].translate(_SMALL), small)


def _views(text: str) -> Iterator[str]:
    """The text as it stands, and unescaped once, twice, ..."""
    yield text
    for _ in range(LEVELS):
        if (printable := text.isprintable()) and not ("%" in text or "&" in text or "\\" in text):
            return
        escapes = _ESCAPES if printable else _ESCAPES_AND_UNSEEN
        before, text = text, escapes.sub(_meant, text)
        if text == before:
            return
        yield text


def _meant(escape: re.Match[str]) -> str:
    """What an escape stands for; itself where that is nothing."""
    if escape["entity"]:
        meant = html.unescape(escape[0])
        return meant if len(meant) == 1 else escape[0]
    if digits := escape["byte"] or escape["unicode"] or escape["hex"] or escape["braced"]:
        return chr(int(digits, 16))
    if escape["octal"]:
        return chr(int(escape["octal"], 8))
    return escape["letter"] or ""


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    length = 0
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            break
        length += 1
    return length


def _secret(key: str) -> str:
    """What of the key nobody else has: the signature of a JSON Web Token, all of any other."""
    parts = key.split(".")
    is_token = len(parts) == 3 and key.startswith("eyJ") and len(parts[2]) >= SHORTEST_KEY
    return parts[2] if is_token else key


def _shortest(key: str) -> int:
    """How long a part of the key must be to count: half of a short key, twelve characters of others."""
    return min(LONGEST_PART, max(SHORTEST_PART, len(key) // 2))


def _spellings(key: str) -> Iterator[tuple[str, int]]:
    """Each way to write the key, with the length of a part that counts."""
    part = _shortest(key)
    yield key, part
    for shift in range(3):  # how far into a group of three bytes the key begins
        packed = base64.b64encode(b"\0" * shift + key.encode()).decode().rstrip("=")
        whole = packed[
            (shift * 8 + 5) // 6 : (shift + len(key)) * 8 // 6
        ]  # without what the neighbours shape
        for spelt in {whole, whole.replace("+", "-").replace("/", "_")}:
            yield spelt, part * 4 // 3
    yield key.encode().hex(), 2 * part


def _spelling(text: str, part: int, secret: int) -> _Spelling:
    """``secret``: where in the text the secret begins."""
    starts = range(min(secret, len(text) - part), len(text) - part + 1)
    telling = frozenset(at for at in starts if not _WORDS.fullmatch(text[at : at + part]))
    return _Spelling(text.lower(), part, telling or frozenset(starts))
