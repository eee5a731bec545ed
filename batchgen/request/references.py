"""References in prompts: ``<<<voice_1>>>`` and ``<<<element_1>>>`` name entries of their lists, counted from 1.

The API takes anything else in brackets as plain text, and the clip is paid. So a text that was probably meant as a
reference, but isn't one, is a mistake. The rules, once exact references are taken out:

- a kind and a number (``voice_1``, ``Element 2``) in brackets of any sort, with three brackets before or after it, or
  after an ``@``, is meant as a reference; blanks, case, escapes such as ``&lt;`` and the number of brackets don't matter;
- anything between two or more angle brackets on each side, on one line, is meant as one; but with two on each side,
  blanks inside of them or a semicolon make it code (``cout << a; cin >> b``), and a lone ``<<`` is no bracket.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from unicodedata import normalize

from batchgen.request.messages import shown
from batchgen.request.schema import Finding, Path, load

KINDS: Final = ("voice", "element")  # the kinds that have a list in the request

_EXACT = re.compile(r"(?<!<)<<<(voice|element|image|video)_(0|[1-9][0-9]{0,39})>>>(?!>)")
_OPEN, _CLOSE = "<＜﹤", ">＞﹥"
_QUOTES_OPEN, _QUOTES_CLOSE = "‹«〈《⟨⟪❮❰", "›»〉》⟩⟫❯❱"
_BOXES_OPEN, _BOXES_CLOSE = "[{", "]}"
_START = rf"(?:\\?[{_OPEN}{_QUOTES_OPEN}{re.escape(_BOXES_OPEN)}]|&lt;|&\#60;|&\#x3c;)"
_END = rf"(?:\\?[{_CLOSE}{_QUOTES_CLOSE}{re.escape(_BOXES_CLOSE)}]|&gt;|&\#62;|&\#x3e;)"
_MEANT = re.compile(
    rf"(?P<open>(?:(?<![\w.])@|(?:{_START}\s*)*+))(?<![^\W_])(?P<kind>voice|element|image|video)s?"
    rf"(?P<between>[\s_\\\-\u200b\u2010-\u2015＿]*)(?P<number>[0-9０-９]{{1,40}})\u200b?(?P<close>(?:\s*{_END})*)",
    re.IGNORECASE,
)
_BRACKETED = re.compile(
    rf"(?P<open>[{_OPEN}]{{2,}})(?P<inside>[^{_OPEN}{_CLOSE}\n]*)(?P<close>[{_CLOSE}]{{2,}})"
)
_MAY_HOLD = re.compile(rf"[{_OPEN}{_CLOSE}{_QUOTES_OPEN}{_QUOTES_CLOSE}\[{{@&]")
_LONG_ID = 1000  # no list has so many entries: a number like this is an id that was pasted
# A longer text is refused for its length.
_LONGEST: Final = load("request")["$defs"]["text"]["maxLength"]


class Mistake(NamedTuple):
    """A text that is meant as a reference; ``kind`` is "" and ``number`` 0 where it names none."""

    text: str
    kind: str = ""
    number: int = 0


def has_none(request: Mapping[str, Any]) -> bool:
    """Whether a request without shots certainly has no reference, no mistaken one, and no list of voices."""
    prompt = request.get("prompt", "")
    return "voice_list" not in request and isinstance(prompt, str) and _MAY_HOLD.search(prompt) is None


def check(request: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with the references of ``request``, and with a list of voices that no prompt uses."""
    found: list[Finding] = []
    uses_voices = not request.get("voice_list")
    for path, text in _prompts(request):
        if not isinstance(text, str) or len(text) > _LONGEST:
            uses_voices = True  # unknown; the schema reports this text
            continue
        if not _MAY_HOLD.search(text):
            continue
        exact, mistakes = read(text)
        for kind, number in exact:
            if words := _refers_to_nothing(request, kind, number):
                found.append(Finding(path, words))
        found += [Finding(path, f"{shown(one.text)} {_meaning(request, one)}") for one in mistakes]
        kinds = {kind for kind, _ in exact} | {one.kind for one in mistakes}
        uses_voices = uses_voices or not kinds.isdisjoint(("voice", ""))
    if not uses_voices:
        text = "no prompt names a voice of it; write <<<voice_1>>> where it speaks, or leave the list out"
        found.append(Finding(("voice_list",), text))
    return list(dict.fromkeys(found))


def warnings(request: Mapping[str, Any]) -> Iterator[Finding]:
    """Entries of the lists that no prompt names, and references in ``negative_prompt``, where they are plain text."""
    if any(request.get(f"{kind}_list") for kind in KINDS):
        named = {pair for _, text in _prompts(request) for pair in read(text)[0]}
        for kind in KINDS:
            entries = range(1, len(request.get(f"{kind}_list", ())) + 1)
            if missing := [f"<<<{kind}_{n}>>>" for n in entries if (kind, n) not in named]:
                text = f"no prompt names {', '.join(missing)}: what no prompt names may have no effect"
                yield Finding((f"{kind}_list",), text)
    negative = request.get("negative_prompt", "")
    if _MAY_HOLD.search(negative):
        exact, mistakes = read(negative)
        if exact or mistakes:
            text = f"<<<{exact[0][0]}_{exact[0][1]}>>>" if exact else shown(mistakes[0].text)
            yield Finding(("negative_prompt",), f"{text} is mere text here: references work in prompts alone")


def read(text: str) -> tuple[list[tuple[str, int]], list[Mistake]]:
    """The references in a prompt as (kind, number), each once, and the mistakes."""
    exact = list(dict.fromkeys((kind, _number(digits)) for kind, digits in _EXACT.findall(text)))
    text = _EXACT.sub("\0", text)
    mistakes: list[Mistake] = []

    def meant(match: re.Match[str]) -> str:
        if not _is_meant(match):
            return match[0]
        mistakes.append(Mistake(match[0].strip(), match["kind"].lower(), _number(match["number"])))
        return "\0"

    for match in _BRACKETED.finditer(_MEANT.sub(meant, text)):
        inside, brackets = match["inside"], len(match["open"]) + len(match["close"])
        code = brackets == 4 and (inside != inside.strip() or ";" in inside)
        if not code and "\0" not in inside:
            mistakes.append(Mistake(match[0]))
    return exact, mistakes


def _is_meant(match: re.Match[str]) -> bool:
    """Whether the brackets around a kind and a number, or on one side of them, are meant as a reference's."""
    if match["open"] == "@":  # as some gateways have it
        return not re.search(r"\s", match["between"])
    before, after = _brackets(match["open"], "<"), _brackets(match["close"], ">")
    if before and after:
        return before[-1] in _OPEN or len(before) > 1 or not re.search(r"\s", match["between"])
    alone = before or after
    touches = not (match["open"][-1:] + match["close"][:1]).isspace()
    return len(alone) >= (2 if touches else 3) and set(alone).isdisjoint(_BOXES_OPEN + _BOXES_CLOSE)


def _brackets(text: str, angle: str) -> str:
    return re.sub(r"\\|\s", "", re.sub("&[^;]*;", angle, text))


def _number(digits: str) -> int:
    return int(normalize("NFKC", digits)[:40])


def _refers_to_nothing(request: Mapping[str, Any], kind: str, number: int) -> str | None:
    """Why an exact reference refers to nothing in this call; None where it is right."""
    text = f"<<<{kind}_{number}>>>"
    if kind not in KINDS:
        return None if _is_the_image(kind, number) else f"{text} {_another_call(kind)}"
    entries = request.get(f"{kind}_list", [])
    if not isinstance(entries, list) or 1 <= number <= len(entries):
        return None
    if place := _place(entries, kind, number):
        return f"{text} holds an id; write its place in {kind}_list: <<<{kind}_{place}>>>"
    if number >= _LONG_ID:
        return f"{text} holds an id; put that into {kind}_list and write its place there: <<<{kind}_1>>>"
    if not entries:
        return f"{text} refers to nothing: {kind}_list is not given"
    has = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    return f"{text} refers to nothing: {kind}_list has {has}, counted from 1"


def _meaning(request: Mapping[str, Any], mistake: Mistake) -> str:
    """What was meant, and what to write: the rest of a sentence that begins with the mistake's text."""
    kind, number = mistake.kind, mistake.number
    lists = {
        name: listed if isinstance(listed := request.get(f"{name}_list"), list) else [] for name in KINDS
    }
    if not kind:
        digits = mistake.text.strip(_OPEN + _CLOSE + " ")
        for name, entries in lists.items():
            if place := _place(entries, name, digits):
                return f"holds an id; write its place in {name}_list: <<<{name}_{place}>>>"
        return "is no reference that this call knows, such as <<<voice_1>>> or <<<element_1>>>; for mere text leave the brackets out"
    if kind not in KINDS:
        return "is no reference; write <<<image_1>>>" if _is_the_image(kind, number) else _another_call(kind)
    if place := number if 1 <= number <= len(lists[kind]) else _place(lists[kind], kind, number):
        return f"is no reference; write <<<{kind}_{place}>>>"
    return f"is no reference; write <<<{kind}_1>>> for the first entry of {kind}_list, and so on"


def _is_the_image(kind: str, number: int) -> bool:
    """Whether this is <<<image_1>>>: the specification has it, and this call has one image."""
    return (kind, number) == ("image", 1)


def _another_call(kind: str) -> str:
    return (
        f"is for another call of the API; this one has {'no videos' if kind == 'video' else 'a single image'}"
    )


def _place(entries: list[Any], kind: str, number: int | str) -> int:
    """The position of the entry with this id, counted from 1; 0 where there is none."""
    ids = [str(entry.get(f"{kind}_id")) if isinstance(entry, Mapping) else "" for entry in entries]
    return ids.index(str(number)) + 1 if str(number) in ids else 0


def _prompts(request: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """The prompts in which references work, with their paths."""
    if "prompt" in request:
        yield ("prompt",), request["prompt"]
    shots = request.get("multi_prompt")
    for number, shot in enumerate(shots if isinstance(shots, list) else ()):
        if isinstance(shot, Mapping):
            yield ("multi_prompt", number, "prompt"), shot.get("prompt")
