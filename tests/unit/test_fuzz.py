"""Readers of bytes that strangers wrote: they raise what they say they raise, and do no more work than the bytes are long."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz import READERS, Reader, check, damaged, main

SLOW = "ledger"  # each of its readings makes a file and looks at all of it


@pytest.mark.parametrize("name", READERS)
def test_damage_is_told_by_the_reader_and_makes_no_more_work_than_its_length(name: str) -> None:
    reader = READERS[name]

    @settings(max_examples=15 if name == SLOW else 60)
    @given(st.integers(0, 1 << 32), st.sampled_from(reader.good))
    def read(seed: int, good: bytes) -> None:
        check(reader, damaged(good, seed))

    read()


@pytest.mark.parametrize("name", READERS)
def test_any_bytes_are_told_by_the_reader_and_make_no_more_work_than_their_length(name: str) -> None:
    reader = READERS[name]

    @settings(max_examples=10 if name == SLOW else 40)
    @given(st.binary(max_size=400))
    @example(b"")
    @example(b"[" * 5000)
    @example(b'{"a":' * 2000)
    @example(b"\xff\xfe" + b"\0\xd8" * 50)
    @example(b"- &a [*a]\n")
    @example(b"&a " * 100 + b"x")
    @example(b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR")
    @example(b"\xff\xd8" + b"\xff\xe0\0\2" * 500)
    @example(b"\0\0\0\x08ftyp" * 500)
    @example(b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\1mdat" + bytes(16))
    def read(data: bytes) -> None:
        check(reader, data)

    read()


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("MP4", "ledger")])
def test_what_is_damaged_is_read_where_it_is_whole(name: str) -> None:
    """Else all damage would be of what is refused anyway."""
    reader = READERS[name]
    assert any(reader.read(good) is not None for good in reader.good)


def test_a_reader_that_breaks_its_word_is_told_with_what_it_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def endless(data: bytes) -> object:
        return [READERS["PNG"].read(READERS["PNG"].good[0]) for _ in range(1000)]

    with pytest.raises(AssertionError, match="lines of code for 100 bytes"):
        check(Reader(endless, (b"",)), bytes(100))
    broken = Reader(lambda data: data[1 << 20], (b"short",))
    assert main(["0.01"], {"broken": broken}) == 1
    said = capsys.readouterr().out
    assert "IndexError" in said and "broken was given b" in said
    assert main(["0.001", "MP4"]) == 0
