"""YAML 1.2 core, read strictly, on top of PyYAML's C parser.

:func:`load` gives ``dict``, ``list``, ``str``, ``int``, ``float`` (always finite), ``bool`` or ``None``; an empty
document is ``None``. It raises :class:`YamlError` and nothing else.

Plain scalars have another type than text only where that is certain: ``true`` ``false`` (also ``True``, ``TRUE``),
``null`` ``~`` and nothing, ``7``, ``-1``, ``0.5``, ``1e3``. Everything else is text exactly as typed: ``on``, ``yes``,
``12:30``, ``2026-10-05``, ``012``, ``+1``, ``0x10``, ``0o7``, ``1_000``.

Stricter than YAML: keys are text and unique, one document, UTF-8, no tags beyond the core ones, no merge keys, no
``.nan`` and ``.inf``, limits on size, depth and on what aliases add up to. A value that aliases refer to is one object,
not copies: don't change it.

No positions are kept; :class:`Positions` reads the text again, for documents that turn out to have problems.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

from yaml import CSafeLoader, YAMLError
from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from batchgen import limits
from batchgen.escapes import excerpt
from batchgen.manifest.positions import Marks

MAX_DIGITS: Final = 100  # of an integer: far beyond any id, far below where int() becomes slow
ALIAS_ALLOWANCE: Final = 100_000  # values that aliases may add to any document ...
ALIAS_FACTOR: Final = 20  # ... and beyond that, per value that was really typed

_UNCERTAIN = frozenset(["", *"-.0123456789tTfFnN~"])  # a plain scalar that starts otherwise is text
_WORDS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_INT = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_EXPONENT = r"[eE][-+]?[0-9]+"
_FLOAT = re.compile(
    rf"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*(?:{_EXPONENT})?|{_EXPONENT})|\.[0-9]+(?:{_EXPONENT})?)", re.ASCII
)
_NOT_FINITE = re.compile(r"-?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_CORE = "tag:yaml.org,2002:"
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    _CORE + "int": (int,),
    _CORE + "float": (int, float),
    _CORE + "bool": (bool,),
    _CORE + "null": (type(None),),
}
_OLD_BREAKS = ("\x85", "\u2028", "\u2029")
# A character beyond 16 bits as JSON escapes it, in two halves, after any number of escaped backslashes.
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})")
_MAP, _SEQ = _CORE + "map", _CORE + "seq"
_TEXT_TAGS = ("!", _CORE + "str")
_OPEN: Final = object()  # an anchor whose value is still being read
_Anchors = dict[str, tuple[Any, int]]  # a value, and how many there are in it


class YamlError(ValueError):
    """The text is not a document that batchgen reads. Line and column count from 1.

    ``plain`` says the same as ``text`` without quoting the document.
    """

    def __init__(self, line: int, column: int, text: str, plain: str = "") -> None:
        super().__init__(f"{line}:{column}: {text}")
        self.line = line
        self.column = column
        self.text = text
        self.plain = plain or text


def load(data: bytes) -> Any:
    """The value of the one document in ``data``. Raises YamlError."""
    return _read(data, None)


class Positions:
    """The positions of all nodes in a document that :func:`load` accepts.

    Making one parses the whole text once more: make one per document, and only when needed.
    """

    def __init__(self, data: bytes) -> None:
        self._marks = Marks()
        _read(data, self._marks)

    def find(self, path: Sequence[str | int], *, key: bool = False) -> tuple[int, int]:
        """Line and column of the node at ``path``, else of the nearest one above it that exists.

        With ``key``, those of the key instead of its value (of an item of a list: of the item).
        """
        return self._marks.find(path, key=key)


def decode(data: bytes) -> str:
    """UTF-8 text, with or without a byte order mark. Raises :class:`YamlError` with the place of the first bad byte."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise YamlError(1, 1, "this is UTF-16 text; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line, column = line_and_column(data[: error.start].decode())
        raise YamlError(
            line, column, f"the byte 0x{data[error.start]:02x} is not UTF-8 text; save it as UTF-8"
        ) from None


def _read(data: bytes, marks: Marks | None) -> Any:
    """The document in ``data``. With ``marks``, its nodes' positions are added to them, and its collections stay empty."""
    if len(data) > limits.MANIFEST_BYTES:
        raise YamlError(1, 1, f"more than {limits.MANIFEST_BYTES >> 20} MiB; split it, or use a table")
    data, quoted, others = _for_libyaml(data)
    parser = CSafeLoader(data)  # for its events alone: it builds nothing
    anchors: _Anchors = {}
    stack: list[tuple[Any, ...]] = []  # of the collections around it, what follows here
    node: Any = None  # the collection being read, with
    keys: dict[str, Any] = {}  # the events of its keys so far,
    key: str | None = None  # the key whose value comes next,
    anchor: str | None = None  # its anchor, and
    size = 0  # the number of values before it
    typed = total = 0  # values in the text; the same with those that aliases repeat
    root: Any = None
    started = False
    while True:  # one loop without calls for what is common: there may be millions of events
        try:
            event: Any = parser.get_event()
        except YAMLError as error:
            raise _plain_words(data, error) from None
        kind = type(event)
        if kind is ScalarEvent:
            value = event.value
            if event.implicit[0]:
                if value[:1] in _UNCERTAIN:
                    value = _plain(event)
            elif event.tag is not None and event.tag not in _TEXT_TAGS:
                value = _tagged(event)
            if others and type(value) is str:
                value = value.translate(quoted if event.style == '"' else others)
            if event.anchor is not None:
                anchors[event.anchor] = (value, 1)
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            value = _started(event, anchors)
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            if anchor is not None:
                anchors[anchor] = (node, total - size + 1)
            node, keys, key, anchor, size = stack.pop()
            if marks is not None:
                marks.close()
            continue
        elif kind is AliasEvent:
            value, extra = _aliased(event, anchors)
            total += extra - 1
            if total - typed > ALIAS_ALLOWANCE + ALIAS_FACTOR * typed:
                raise _error(event, "aliases make this document explode; write it out, or use defaults")
        elif kind is DocumentStartEvent:
            if started:
                raise _error(event, "a second document starts here; put it into a file of its own")
            started = True
            continue
        elif kind is StreamEndEvent:
            return root
        else:
            continue

        if marks is not None:
            marks.add(event, value)
        total += 1
        typed += 1
        if typed > limits.MANIFEST_VALUES:
            raise _error(event, f"more than {limits.MANIFEST_VALUES:,} values; split it, or use a table")
        if key is not None:
            if marks is None:
                node[key] = value
            key = None
        elif type(node) is dict:
            if type(value) is not str or value == "<<" or value in keys or len(keys) == limits.KEYS:
                _check_key(event, value, keys)
            keys[value] = event
            key = value
            continue
        elif node is None:
            root = value
        elif marks is None:
            node.append(value)
        if kind is MappingStartEvent or kind is SequenceStartEvent:
            if len(stack) == limits.NESTING:
                raise _error(event, _too_deep())
            stack.append((node, keys, key, anchor, size))
            node, keys, key, anchor, size = value, {}, None, event.anchor, total


def _started(event: Any, anchors: _Anchors) -> Any:
    """The collection that begins, empty yet."""
    is_map = type(event) is MappingStartEvent
    if not event.implicit and event.tag != (_MAP if is_map else _SEQ):
        text = f"the tag {_tag(event)} means nothing here; leave it out"
        raise _error(event, text, "this tag means nothing here")
    if event.anchor is not None:
        anchors[event.anchor] = (_OPEN, 0)
    return {} if is_map else []


def _aliased(event: Any, anchors: _Anchors) -> tuple[Any, int]:
    """The value that an alias stands for, and how many values there are in it."""
    if event.anchor not in anchors:
        name = _short(event.anchor)
        text = f"*{name} stands for nothing: there is no &{name} above it"
        raise _error(event, text, "this * stands for nothing")
    value, extra = anchors[event.anchor]
    if value is _OPEN:
        text = f"*{_short(event.anchor)} stands inside of what it stands for"
        raise _error(event, text, "this * stands inside of what it stands for")
    return value, extra


def _check_key(event: Any, key: Any, keys: Mapping[str, Any]) -> None:
    """Raise what is wrong with a key after ``keys``, which have their events."""
    if type(key) is not str:
        raise _error(event, "a key must be text; put it in quotes")
    if key == "<<" and type(event) is ScalarEvent and event.implicit[0]:
        raise _error(event, "merge keys are not part of YAML 1.2; put what jobs share under defaults")
    if key in keys:
        line, column = _at(keys[key])
        text = f'the key "{_short(key)}" stands twice; first at {line}:{column}'
        raise _error(event, text, f"this key stands twice; first at {line}:{column}")
    if len(keys) == limits.KEYS:
        raise _error(event, f"more than {limits.KEYS:,} keys in one place; this is no manifest")


def _plain(event: Any) -> Any:
    """The value of a plain scalar."""
    text = event.value
    if event.tag == "!":  # the mark of what is not to be resolved; libyaml calls it plain all the same
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise _error(event, f"a number of {len(text)} digits; put it in quotes if it is text")
        return int(text)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        number = math.nan if _NOT_FINITE.fullmatch(text) else float(text)
        if not math.isfinite(number):
            raise _error(
                event,
                f"{_short(text)} is no number to compute with; put it in quotes if it is text",
                "this is no number to compute with",
            )
        return number
    return text


def _tagged(event: Any) -> Any:
    """The value of a scalar with a tag of its own."""
    if event.tag not in _TYPES:
        text = f"the tag {_tag(event)} means nothing here; leave it out"
        raise _error(event, text, "this tag means nothing here")
    value = _plain(event)
    if type(value) not in _TYPES[event.tag]:
        text = f'"{_short(event.value)}" is not what its tag {_tag(event)} says'
        raise _error(event, text, "this is not what its tag says")
    return value


def _tag(event: Any) -> str:
    name = f"!!{event.tag.removeprefix(_CORE)}" if event.tag.startswith(_CORE) else str(event.tag)
    return _short(name)


def _too_deep() -> str:
    return f"nested more than {limits.NESTING} levels deep"


def _short(text: str) -> str:
    return excerpt(text, 40)


_Table = dict[int, str | int | None]


def _for_libyaml(data: bytes) -> tuple[bytes, _Table, _Table]:
    """``data`` with characters replaced that libyaml misreads, and two tables that undo it: for quoted values, for others.

    libyaml ends lines at U+0085, U+2028 and U+2029, as YAML 1.1 did; in YAML 1.2 and in editors they are text. It also
    refuses a surrogate pair in two escapes, as JSON writes what has more than 16 bits. Both are replaced by characters
    of private use, as many as there were, so that all positions stay.
    """
    text = decode(data)
    breaks = [c for c in _OLD_BREAKS if c in text]
    pairs = {found[1] for found in _PAIR.findall(text)} if "\\u" in text else set()
    if not breaks and not pairs:
        return data.removeprefix(codecs.BOM_UTF8), {}, {}
    used = set(text)
    private = (c for c in chain(range(0xE000, 0xF900), range(0xF0000, 0xFFFFE)) if chr(c) not in used)
    spare = list(islice(private, len(breaks) + len(pairs) + 1))
    if len(spare) <= len(breaks) + len(pairs):
        raise YamlError(1, 1, "holds both what needs replacing and all of Unicode's private characters")
    filler = spare.pop()
    swap = dict(zip(breaks, spare, strict=False))
    quoted: _Table = {filler: None, **{new: old for old, new in swap.items()}}
    others = dict(quoted)
    stand_in = dict(zip(sorted(pairs), spare[len(breaks) :], strict=False))
    for pair, new in stand_in.items():
        quoted[new], others[new] = json.loads(f'"{pair}"'), pair
    if pairs:
        text = _PAIR.sub(
            lambda found: f"{found[1]}{chr(stand_in[found[2]])}{chr(filler) * (len(found[2]) - 1)}", text
        )
    return text.translate({ord(old): new for old, new in swap.items()}).encode(), quoted, others


def _at(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _error(event: Any, text: str, plain: str = "") -> YamlError:
    return YamlError(*_at(event), text, plain)


def line_and_column(before: str) -> tuple[int, int]:
    """The position right after the text ``before``."""
    lines = before.replace("\r\n", "\n").replace("\r", "\n")
    return lines.count("\n") + 1, len(lines) - lines.rfind("\n")


def _plain_words(data: bytes, error: YAMLError) -> YamlError:
    """libyaml's error in words that help a person."""
    if isinstance(error, ReaderError):
        line, column = line_and_column(data[: error.position].decode(errors="replace"))
        return YamlError(line, column, f"the character U+{error.character:04X} is not allowed; leave it out")
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return YamlError(1, 1, str(error))
    problem, mark, since = str(error.problem), error.problem_mark, error.context_mark
    if problem == "found character that cannot start any token":
        found = _line(data, mark.line)[mark.column : mark.column + 1]
        if found == "\t":
            text = "a tab stands where YAML wants spaces"
        else:
            text = f"text can't start with {found}; put it in quotes"
    elif problem.startswith("mapping values are not allowed"):
        text = 'no ": " can stand here; put text that holds one in quotes, and check the indentation'
    elif problem == "found invalid Unicode character escape code":
        text = "this escape is half of a surrogate pair, or no character; write the character itself"
    elif problem.startswith("could not find expected ':'") and since is not None:
        mark, text = since, 'this line is no "key: value"; text of several lines needs quotes, | or >'
    elif "unexpected end of stream" in problem and since is not None:
        mark, text = since, "the quote that opens here is never closed"
    elif "maximum nesting depth" in problem:  # libyaml 0.2.6 looks far ahead, and has a bound of its own
        text = _too_deep()
    elif problem in ("did not find expected key", "did not find expected '-' indicator"):
        text = "this fits nothing above it; check its indentation, and the quotes before it"
    else:
        text = f"{problem}, {error.context}" if error.context else problem
        if since is not None:
            text += f" that starts at {since.line + 1}:{since.column + 1}"
    return YamlError(mark.line + 1, mark.column + 1, text)


def _line(data: bytes, number: int) -> str:
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n", number + 1)
    return lines[number].decode() if number < len(lines) else ""
