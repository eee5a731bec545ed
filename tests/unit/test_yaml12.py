"""YAML 1.2 core: what plain scalars mean, what is refused and where, and that nothing explodes."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchgen import limits
from batchgen.manifest.yaml12 import Positions, YamlError, load

# -- what JSON writes -----------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.text('😀👩\u200d🚀𝄞é\\"\ud7ff\uffffd8\u2028 a', max_size=8),
        st.text("😀𝄞\\u", max_size=12),
        max_size=4,
    )
)
def test_escaped_surrogate_pairs_are_the_characters(fields: dict[str, str]) -> None:
    assert load(json.dumps(fields).encode()) == fields


def test_only_double_quotes_know_escapes() -> None:
    text = rb"""plain: \ud83d\ude00 x
single: '\ud83d\ude00'
block: |
  \ud83d\ude00
double: "\ud83d\ude00 \\ud83d\\ude00 \\\ud83d\ude00 \uD83D\uDE00"
"""
    assert load(text) == {
        "plain": r"\ud83d\ude00 x",
        "single": r"\ud83d\ude00",
        "block": "\\ud83d\\ude00\n",
        "double": "😀 \\ud83d\\ude00 \\😀 😀",
    }


def test_places_behind_an_escaped_pair_are_those_of_the_text() -> None:
    text = rb'{"a": "\ud83d\ude00", "b": 2, "a": 3}'
    assert Positions(text[:-8] + b"}").find(["b"]) == (1, text.index(b"2") + 1)
    with pytest.raises(YamlError) as caught:
        load(text)
    assert (caught.value.line, caught.value.column) == (1, text.rindex(b'"a"') + 1)


def test_a_document_with_escaped_pairs_keeps_its_private_characters() -> None:
    assert load('"\\ud83d\\ude00 \ue000\ue001\ue002\u2028"'.encode()) == "😀 \ue000\ue001\ue002\u2028"


# -- what scalars mean -----------------------------------------------------------------------------------------------

WORDS = "on off yes no On OFF y n Yes tRUE nUll nan inf NaN infinity True! falsey"
NUMBERS = "012 00 0x10 0o7 0b1 1_000 1,000 +5 -0 -. 1.2.3 1e e5 .e5 --1 0x 01.5 5s \u0663"
TIMES = "12:30 1:30:00 2026-10-05 2026-10-05T12:00:00Z"
AS_TYPED = [*WORDS.split(), *NUMBERS.split(), *TIMES.split(), "--", ".", "..", "~x", "<<", "=", "<<<"]


@pytest.mark.parametrize("text", AS_TYPED)
def test_everything_that_could_mean_two_things_stays_text_as_typed(text: str) -> None:
    assert load(f"- {text} \n".encode()) == [text]
    if text != "<<":
        assert load(f"key: {text}\n".encode()) == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("null", "Null", "NULL", "~", "")),
        *(("0", 0), ("5", 5), ("-1", -1), ("123456789012345678901234567890", 123456789012345678901234567890)),
        *(
            ("0.5", 0.5),
            (".5", 0.5),
            ("-.5", -0.5),
            ("1.", 1.0),
            ("1e3", 1000.0),
            ("1E-3", 0.001),
            ("-0.0", -0.0),
        ),
    ],
)
def test_plain_scalars_resolve(text: str, value: object) -> None:
    found = load(f"key: {text}\n".encode())["key"]
    assert (type(found), repr(found)) == (type(value), repr(value))


@pytest.mark.parametrize("text", ["5", "true", "null", "0.5", "~", "", "<<", ".nan"])
def test_quotes_make_text_of_anything(text: str) -> None:
    assert load(f"a: '{text}'\nb: \"{text}\"\nc: !!str {text}\n".encode()) == {
        "a": text,
        "b": text,
        "c": text,
    }
    assert load(f"a: |-\n  {text or 'x'}\n".encode()) == {"a": text or "x"}


def test_core_tags_are_taken_where_they_say_the_truth() -> None:
    data = b'{a: !!int "5", b: !!float 1, c: !!bool true, d: !!null ~, e: ! 7, f: !!map {x: 1}, g: !!seq [1]}'
    assert load(data) == {"a": 5, "b": 1, "c": True, "d": None, "e": "7", "f": {"x": 1}, "g": [1]}
    assert complaint(b"a: !!int x") == (1, 4, '"x" is not what its tag !!int says')


def test_old_line_separators_are_ordinary_characters() -> None:
    for separator in "\x85\u2028\u2029":
        text = f"one {separator} two{separator}"
        assert load(f'# a{separator}b: c\nkey: "{text}"\n'.encode()) == {"key": text}
        assert load(f"a{separator}b: x{separator}y\nc: d".encode()) == {
            f"a{separator}b": f"x{separator}y",
            "c": "d",
        }
        assert Positions(f'{separator}: "{separator}"\nkey: 1'.encode()).find(["key"]) == (2, 6)


# -- what is refused, and where --------------------------------------------------------------------------------------


def complaint(data: bytes) -> tuple[int, int, str]:
    with pytest.raises(YamlError) as caught:
        load(data)
    return caught.value.line, caught.value.column, caught.value.text


@pytest.mark.parametrize(
    ("data", "line", "column", "text"),
    [
        (b"a:\n    b: 1\n  c: 2\n", 3, 3, "fits nothing above it"),
        (b"a: 1\nb: 2\na: 3\n", 3, 1, 'the key "a" stands twice; first at 1:1'),
        (b"x:\n  - k: {a: 1, b: 2, a: 3}\n", 2, 21, 'the key "a" stands twice; first at 2:9'),
        (b'a: 1\n"a": 2\n', 2, 1, "stands twice"),
        (b"5: x", 1, 1, "a key must be text"),
        (b"true: x", 1, 1, "a key must be text"),
        (b"a:\n  ? \n  : x", 2, 4, "a key must be text"),
        (b"? [a]\n: x", 1, 3, "a key must be text"),
        (b"{{a: b}: c}", 1, 2, "a key must be text"),
        (b"a: &x {k: 1}\nb:\n  <<: *x\n", 3, 3, "merge keys"),
        (b"a: *nowhere", 1, 4, "there is no &nowhere above it"),
        (b"a: &x [*x]", 1, 8, "*x stands inside of what it stands for"),
        (b"&x a: &x {b: {c: *x}}", 1, 18, "inside of what it stands for"),
        (b"a: 1\n---\nb: 2\n", 2, 1, "a second document starts here"),
        (b"--- a\n---\n", 2, 1, "a second document"),
        (b"a: !thing 5", 1, 4, "the tag !thing means nothing here"),
        (b"a: !!python/name:os.system x", 1, 4, "means nothing here"),
        (b"a: !!python/object/apply:os.system ['true']", 1, 4, "means nothing here"),
        (b"a: !!set {x}", 1, 4, "the tag !!set means nothing"),
        (b"a: !!binary aGk=", 1, 4, "the tag !!binary means nothing"),
        (b"a:\n\tb: 1\n", 2, 1, "a tab stands where YAML wants spaces"),
        (b"a: @b", 1, 4, "text can't start with @"),
        (b"a: `b`", 1, 4, "text can't start with `"),
        (b"a: 1\nb: c: d\n", 2, 5, 'no ": " can stand here'),
        (b"a: 1\njust a line\nb: 2\n", 2, 1, 'no "key: value"'),
        (b'a: 1\nb: "open\nc: 2\n', 2, 4, "the quote that opens here is never closed"),
        (b"a: [1, 2\nb: 3\n", 2, 2, "that starts at 1:4"),
        (b"a: .nan", 1, 4, ".nan is no number to compute with"),
        (b"a: -.inf", 1, 4, "no number to compute with"),
        (b"a: 1e999", 1, 4, "no number to compute with"),
        (b"a: " + b"9" * 5000, 1, 4, "a number of 5000 digits"),
        (b"a: 1\nb: \xff\n", 2, 4, "the byte 0xff is not UTF-8"),
        ("ä: ".encode() + b"\xe4", 1, 4, "the byte 0xe4 is not UTF-8"),
        (b"\xef\xbb\xbfa: \xe4", 1, 4, "the byte 0xe4 is not UTF-8"),
        (b"\xed\xa0\x80", 1, 1, "not UTF-8"),
        ("a: b".encode("utf-16"), 1, 1, "UTF-16"),
        ("a: b".encode("utf-16-be"), 1, 1, "U+0000"),
        (b"a: b\nc: \0d", 2, 4, "U+0000"),
        ("ä: b\r\nc: ü\x1b".encode(), 2, 5, "U+001B"),
        (b'a: "\\ud800"', 1, 7, "half of a surrogate pair, or no character"),
        (b"%FOO x\n--- a", 1, 5, "directive"),
    ],
)
def test_refused_with_its_place(data: bytes, line: int, column: int, text: str) -> None:
    found = complaint(data)
    assert found[:2] == (line, column), found
    assert text in found[2]


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"# nothing\n", b"\xef\xbb\xbf", b"---\n", b"---\n...\n", b"null"]
)
def test_an_empty_document_is_none(data: bytes) -> None:
    assert load(data) is None


def test_a_byte_order_mark_and_windows_lines_are_taken() -> None:
    assert load(b"\xef\xbb\xbfa: 1\r\nb: on\r\n") == {"a": 1, "b": "on"}
    assert Positions(b"\xef\xbb\xbfa: 1\r\nb: on\r\n").find(["a"], key=True) == (1, 1)


@pytest.mark.parametrize("opening", [b"[", b"- ", b"{a: ", b"[{a: "])
def test_depth_is_bounded(opening: bytes) -> None:
    assert "deep" in complaint(opening * 200_000)[2]


def test_a_hundred_levels_are_fine() -> None:
    data = b"[" * limits.NESTING + b"]" * limits.NESTING
    assert str(load(data)).encode() == data
    assert "deep" in complaint(b"[" + data + b"]")[2]


def test_a_size_beyond_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MANIFEST_BYTES", 2**20)
    assert load(b"#" * 2**20) is None
    assert "more than 1 MiB" in complaint(b"#" * (2**20 + 1))[2]


# -- aliases ---------------------------------------------------------------------------------------------------------


def test_aliases_name_what_was_written_once() -> None:
    data = b"a: &x {k: [1, 2]}\nb: *x\nc: [*x, &y on, *y]\nd: &x other\ne: *x\n&z key: 1\nf: {*z : 2}\n"
    assert load(data) == {
        "a": {"k": [1, 2]},
        "b": {"k": [1, 2]},
        "c": [{"k": [1, 2]}, "on", "on"],
        "d": "other",
        "e": "other",
        "key": 1,
        "f": {"key": 2},
    }


def bomb(levels: int, width: int) -> bytes:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(("levels", "width"), [(30, 2), (9, 9), (90, 2), (4, 500)])
def test_aliases_that_explode_are_refused_at_once(levels: int, width: int) -> None:
    begin = time.perf_counter()
    assert "explode" in complaint(bomb(levels, width))[2]
    assert time.perf_counter() - begin < 2


def test_aliases_used_by_many_jobs_do_not_count_as_exploding() -> None:
    data = "d: &d {a: 1, b: 2, c: 3, d: 4}\njobs:\n" + "".join(
        f"- {{id: j{n}, x: *d}}\n" for n in range(50_000)
    )
    assert len(load(data.encode())["jobs"]) == 50_000


# -- positions -------------------------------------------------------------------------------------------------------

DOCUMENT = b"""\
version: 1
jobs:
  - id: hero   # first
    multi_prompt:
      - {prompt: "a", duration: 2}
      - &shot {prompt: b}
  -
    id: other
    multi_prompt: [*shot]
"""


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ([], (1, 1), (1, 1)),
        (["version"], (1, 10), (1, 1)),
        (["jobs"], (3, 3), (2, 1)),
        (["jobs", 0], (3, 5), (3, 5)),
        (["jobs", 0, "id"], (3, 9), (3, 5)),
        (["jobs", 0, "multi_prompt", 0, "duration"], (5, 33), (5, 23)),
        (["jobs", 1], (8, 5), (8, 5)),
        (["jobs", 1, "multi_prompt", 0], (9, 20), (9, 20)),
        (["jobs", 1, "multi_prompt", 0, "prompt"], (6, 24), (6, 16)),
        (["jobs", 0, "missing"], (3, 5), (3, 5)),
        (["jobs", 0, "missing", 3, "x"], (3, 5), (3, 5)),
        (["jobs", 0, "id", "deeper"], (3, 9), (3, 9)),
        (["jobs", 7, "id"], (3, 3), (3, 3)),
        (["jobs", "id"], (3, 3), (3, 3)),
        ([0], (1, 1), (1, 1)),
    ],
)
def test_positions(path: list[str | int], value: tuple[int, int], key: tuple[int, int]) -> None:
    assert Positions(DOCUMENT).find(path) == value
    assert Positions(DOCUMENT).find(path, key=True) == key


def test_positions_of_documents_that_are_no_collection() -> None:
    assert Positions(b"\n  text").find(["a"]) == (2, 3)
    assert Positions(b"").find(["a"]) == (1, 1)


# -- properties ------------------------------------------------------------------------------------------------------

SINGLE = [*"[]{}:,-?&*!|>'\"%@`#~a \t\n\r\0\x85\u2028\ufeff\U0001f600"]
LONGER = [
    "---\n",
    "...\n",
    "&a ",
    "*a",
    "!!str ",
    "!x ",
    "<<: ",
    ": ",
    "- ",
    "\n  ",
    "1e9",
    "\\u",
    "\\x00",
    "%YAML 1.2\n",
    "0x1",
    ".nan",
    "null",
]
SNIPPETS = st.sampled_from([*SINGLE, *LONGER])
TEXTS = st.lists(SNIPPETS | st.text(max_size=5), max_size=40).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | TEXTS.map(lambda text: text.encode(errors="surrogatepass")))
@example(b"\xff\xfe")
@example(b'"\\UFFFFFFFF"')
def test_any_bytes_give_a_plain_finite_value_or_a_yaml_error(data: bytes) -> None:
    try:
        value = load(data)
    except YamlError as error:
        assert 1 <= error.line <= data.count(b"\n") + data.count(b"\r") + 2
        assert 1 <= error.column <= len(data) + 2
        assert error.text.isprintable()
        return
    assert_plain(value)
    assert Positions(data).find(["a", 0, "b"]) >= (1, 1)


def assert_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            assert type(key) is str
            assert_plain(item)
    elif isinstance(value, list):
        for item in value:
            assert_plain(item)
    else:
        assert type(value) in (str, int, float, bool, type(None))
        assert not isinstance(value, float) or math.isfinite(value)


# U+007F and the like are no YAML, wherever they stand; -0.0 has one spelling only in JSON
JSON_TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cn", "Co"), include_characters="\n\t\x85"), max_size=15
)
JSON_VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | JSON_TEXT
    | st.sampled_from([*AS_TYPED, "true", "null", "5", "", " ", ": ", "- a", "{stem}", "#", "a #b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JSON_TEXT, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JSON_VALUES, st.sampled_from([None, 2]))
def test_json_is_yaml_and_means_the_same(value: Any, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    assert repr(load(text.encode())) == repr(value)


@settings(max_examples=150, deadline=None)
@given(JSON_VALUES)
def test_every_value_is_found_where_it_stands(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    positions = Positions(text.encode())
    lines = text.split("\n")
    for path, item in every(value, []):
        line, column = positions.find(path)
        start = json.dumps(item, ensure_ascii=False, indent=1).split("\n")[0]
        assert lines[line - 1][column - 1 :].startswith(start)


def every(value: Any, path: list[str | int]) -> Any:
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from every(item, [*path, key])
