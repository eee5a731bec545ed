"""Masks the API key in texts from outside, in any spelling.

It finds the whole key and any long part of it, in either case: plain, in Base64 (at any position, both alphabets) and in
hexadecimal, also percent-encoded, as HTML entities or with backslashes, in any nesting, and with invisible characters in
between. A part counts from :func:`_shortest` characters on: what is left of the key then can't be guessed, and no id has
so much of it by chance. Words and numbers in a key (``sk-live-2026``) are no secret, so a part that consists of them
doesn't count. Of a JSON Web Token only the signature is secret: other tokens, which sign clips' addresses, begin alike.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final, NamedTuple

SHORTEST_KEY: Final = (
    12  # characters; a shorter key can't be distinguished from a word (the sandbox's "sandbox")
)
LONGEST_PART: Final = 12  # characters from which a part of a long key counts
SHORTEST_PART: Final = 8
LEVELS: Final = 8  # nested escapes that are undone
SEED: Final = 4  # characters of a part that are searched for first, at least
MASK: Final = "[key]"
_PRINTABLE: Final = bytes(range(32, 127))
BLOCK: Final = 32  # texts that are looked through at once: from 30,000 characters on, it is slower

_HIDDEN: Final = r"\0-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # can't be seen
# Both begin with one of a few characters, which are found quickly.
_ESCAPE: Final = (
    r"(?:(?<=%)(?P<byte>[0-9A-Fa-f]{2})|(?<=&)(?P<entity>\#[xX]?[0-9A-Fa-f]{1,7};?|[A-Za-z]{2,31};)"
    r"|(?<=\\)\\{0,31}(?:u(?P<unicode>[0-9A-Fa-f]{4})|u\{0{0,6}(?P<braced>[0-9A-Fa-f]{1,4})\}"
    r"|x(?P<hex>[0-9A-Fa-f]{2})|(?P<octal>[0-7]{3})|(?P<letter>.))"
)
_ESCAPES: Final = re.compile(rf"[%&\\]{_ESCAPE})", re.DOTALL)
_ESCAPES_AND_UNSEEN: Final = re.compile(rf"[%&\\{_HIDDEN}]{_ESCAPE}|(?<=[{_HIDDEN}])[{_HIDDEN}]*)", re.DOTALL)
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
    """One spelling of a key, in lower case. A part has ``part`` characters; it counts if it begins at one of ``counts``."""

    text: str
    part: int
    counts: frozenset[int]


#: The seeds, a few characters each, with the spellings that have them and where.
_Seeds = dict[str, list[tuple[_Spelling, int]]]


class Mask:
    """Masks keys in texts. It may know none at first: all output passes through it before the key is known."""

    def __init__(self, *keys: str) -> None:
        self._parts: _Seeds = {}
        self._halves: _Seeds = {}
        self._known: set[str] = set()
        for key in keys:
            self.learn(key)

    def learn(self, key: str) -> None:
        """Mask this key, too, unless it is too short to be one."""
        if not self.hide(key):
            return
        for text, _ in _spellings(_secret(key)):
            half = (len(text) + 1) // 2
            _add_seeds(self._halves, _Spelling(text.lower(), half, frozenset(range(len(text) - half + 1))))

    def hide(self, secret: str) -> bool:
        """Mask another secret, which isn't looked for in jobs. Returns whether it is news, and long enough to be one."""
        if secret in self._known or len(secret) < SHORTEST_KEY:
            return False
        self._known.add(secret)
        core = _secret(secret)
        for text, part in _spellings(secret):
            _add_seeds(self._parts, _spelling(text, part, len(text) - len(text) * len(core) // len(secret)))
        return True

    def __call__(self, text: str) -> str:
        """The text with ``[key]`` in place of each part of a key."""
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

    def each(self, texts: Iterable[str]) -> Iterator[str]:
        """Each of the texts without a key, which is looked for in many of them at once.

        An exception of ``texts`` comes after all texts that came before it.
        """
        return chain.from_iterable(self.blocks(texts))

    def blocks(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """The same in lists of many texts."""
        texts = iter(texts)
        while True:
            block: list[str] = []
            try:
                block.extend(islice(texts, BLOCK))
            except Exception:
                yield self._block(block)
                raise
            if not block:
                return
            yield self._block(block)

    def _block(self, texts: list[str]) -> list[str]:
        return [*map(self, texts)] if self.finds(" ".join(texts)) else texts

    def finds(self, text: str) -> bool:
        """Whether the text has a part of a key."""
        return _is_in(text, self._parts)

    @property
    def holds_key(self) -> Callable[[str], bool] | None:
        """:meth:`holds`; None where no key is known."""
        return self.holds if self._halves else None

    def holds(self, text: str) -> bool:
        """Whether the text has at least half of a key, which is more than a name that the key begins with."""
        return _is_in(text, self._halves)

    def forget(self, salt: bytes) -> Prints:
        """Mask no key any more, and return what recognises those that were known, as :meth:`holds` did."""
        prints = Prints(self._known, salt)
        self._parts, self._halves, self._known = {}, {}, set()
        return prints

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """The spans of a text, escapes included, that have parts of a key."""
        view = text
        # The positions in the text where each character of the view begins and ends.
        starts: Sequence[int] = range(len(text))
        ends: Sequence[int] = range(1, len(text) + 1)
        for _ in range(LEVELS):
            for start, end in _matches(view, self._parts):
                yield starts[start], ends[end - 1]
            letters: list[str] = []
            begin, stop = array("I"), array("I")
            end = 0
            for escape in _ESCAPES_AND_UNSEEN.finditer(view):
                letters.append(view[end : escape.start()])
                begin.extend(starts[end : escape.start()])
                stop.extend(ends[end : escape.start()])
                end = escape.end()
                letter = _unescaped(escape)
                letters.append(letter)
                begin.extend([starts[escape.start()]] * len(letter))
                stop.extend([ends[end - 1]] * len(letter))
            if not end:
                return
            begin.extend(starts[end:])
            stop.extend(ends[end:])
            view, starts, ends = "".join((*letters, view[end:])), begin, stop


class Prints:
    """Recognises keys without having them: by salted digests of their halves, in every spelling."""

    def __init__(self, keys: Iterable[str], salt: bytes) -> None:
        """``salt`` are 16 random bytes."""
        self._salt = salt
        self._digests: dict[int, set[bytes]] = {}  # by the length of what they are of
        for text, _ in chain.from_iterable(_spellings(_secret(key)) for key in keys):
            length = (len(text) + 1) // 2
            self._digests.setdefault(length, set()).update(self._of_parts(text.lower(), length))

    def holds(self, text: str) -> bool:
        """Whether the text has at least half of a key."""
        return bool(self._digests) and any(
            not digests.isdisjoint(self._of_parts(_lower(view), length))
            for view in _views(text)
            for length, digests in self._digests.items()
        )

    def _of_parts(self, text: str, length: int) -> Iterator[bytes]:
        """The digest of each part of a text that has so many characters, none of which is a space: no key has one."""
        for word in text.split(" "):
            for at in range(len(word) - length + 1):
                part = word[at : at + length].encode("utf-8", "surrogatepass")
                yield hashlib.blake2b(part, digest_size=16, salt=self._salt).digest()


def _add_seeds(seeds: _Seeds, spelling: _Spelling) -> None:
    """Put in as few seeds as it takes for each part to hold one of them whole, as long as that number allows."""
    text, part = spelling.text, spelling.part
    others = (len(text) - part) // (part - SEED + 1)
    length = max(n for n in range(SEED, part + 1) if (len(text) - part) // (part - n + 1) == others)
    for at in range(part - length, len(text) - length + 1, part - length + 1):
        seeds.setdefault(text[at : at + length], []).append((spelling, at))


def _is_in(text: str, seeds: _Seeds) -> bool:
    if seeds:
        for view in _views(text):
            for _ in _matches(view, seeds):
                return True
    return False


def _matches(view: str, seeds: _Seeds) -> Iterator[tuple[int, int]]:
    """The spans of an unescaped text that have parts of a key, each as long as possible."""
    view = _lower(view)
    for seed in [seed for seed in seeds if seed in view]:
        found = view.find(seed)
        while found >= 0:
            for (text, part, counts), at in seeds[seed]:
                left = _common_prefix(view[max(found - at, 0) : found][::-1], text[:at][::-1])
                right = _common_prefix(view[found : found + len(text) - at], text[at:])
                if not counts.isdisjoint(range(at - left, at + right - part + 1)):
                    yield found - left, found + right
            found = view.find(seed, found + 1)


def _lower(text: str) -> str:
    """The text in lower case, of the same length."""
    small = text.lower()
    if len(small) > len(text):  # one capital letter becomes two small ones
        small = text.replace("\u0130", "i").lower()
    return small if small.isascii() else _WIDE.sub(lambda wide: wide[0].translate(_SMALL), small)


def _views(text: str) -> Iterator[str]:
    """The text itself, unescaped once, unescaped twice, ..."""
    yield text
    for _ in range(LEVELS):
        if (printable := _is_printable(text)) and not ("%" in text or "&" in text or "\\" in text):
            return
        escapes = _ESCAPES if printable else _ESCAPES_AND_UNSEEN
        before, text = text, escapes.sub(_unescaped, text)
        if text == before:
            return
        yield text


def _is_printable(text: str) -> bool:
    """The same as ``text.isprintable()``, in a third of the time."""
    return not text.encode().translate(None, _PRINTABLE) if text.isascii() else text.isprintable()


def _unescaped(escape: re.Match[str]) -> str:
    """The character that an escape stands for; the escape itself where there is none."""
    if escape["entity"]:
        text = html.unescape(escape[0])
        return text if len(text) == 1 else escape[0]
    if digits := escape["byte"] or escape["unicode"] or escape["hex"] or escape["braced"]:
        return chr(int(digits, 16))
    if escape["octal"]:
        return chr(int(escape["octal"], 8))
    return escape["letter"] or ""


def _common_prefix(one: str, other: str) -> int:
    """The length of two texts' common prefix."""
    length = 0
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            break
        length += 1
    return length


def _secret(key: str) -> str:
    """The secret part of a key: the signature of a JSON Web Token, all of any other key."""
    parts = key.split(".")
    is_token = len(parts) == 3 and key.startswith("eyJ") and len(parts[2]) >= SHORTEST_KEY
    return parts[2] if is_token else key


def _shortest(key: str) -> int:
    """The characters from which a part of a key counts: half of a short key, twelve of a longer one."""
    return min(LONGEST_PART, max(SHORTEST_PART, len(key) // 2))


def _spellings(key: str) -> Iterator[tuple[str, int]]:
    """The spellings of a key, each with the length from which a part of it counts."""
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
    """A spelling of a key whose secret part begins at ``secret``."""
    starts = range(min(secret, len(text) - part), len(text) - part + 1)
    unlike_words = frozenset(at for at in starts if not _WORDS.fullmatch(text[at : at + part]))
    return _Spelling(text.lower(), part, unlike_words or frozenset(starts))
