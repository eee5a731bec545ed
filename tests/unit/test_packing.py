"""Packed texts of the ledger: they come back as they were, for ever, and what nobody packed is no text."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.ledger import packing
from batchgen.ledger.database import restored
from batchgen.ledger.packing import EVENTS, LONGEST, PACKED, STATES, packed, unpacked
from batchgen.models import Record, State
from batchgen.request.identity import canonical

REQUEST = {
    "model_name": "kling-v3",
    "image": "https://images.example.com/night/0000017.png",
    "prompt": "Slow camera push-in on a brass lamp, soft light, gentle parallax",
}
DIGEST = hashlib.sha256(b"a clip").hexdigest()


@given(
    st.text()
    | st.text(st.characters(categories=["Cs", "Ll"]))
    | st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
)
def test_a_text_comes_back_as_it_was(text: str) -> None:
    cell = packed(text)
    assert restored([7, cell, None]) == [7, text, None]
    if isinstance(cell, bytes):
        assert len(cell) < len(text.encode())


@pytest.mark.parametrize(
    ("text", "least"),
    [(canonical(REQUEST), 3.0), (DIGEST, 1.9), (canonical(REQUEST | {"prompt": "é" * 2500}), 20.0)],
)
def test_what_most_rows_have_becomes_shorter(text: str, least: float) -> None:
    cell = packed(text)
    assert isinstance(cell, bytes)
    assert len(text.encode()) > least * len(cell)


def test_what_was_packed_is_read_by_every_later_version() -> None:
    """Made by the first version that packed."""
    was = (
        "ff23d6ad4a6841871c6c79a088d407670a43736ce1478267e0ee0ec69e0e1215928a128b8b157280d6a3a623b44486ee6f00"
    )
    assert unpacked(bytes.fromhex(was)) == canonical(REQUEST)
    assert unpacked(b"\xfe" + bytes.fromhex(DIGEST)) == DIGEST
    assert (
        hashlib.sha256(packing._SHARED).hexdigest()
        == "28d4ed9b8d820ae22702f07497bde56b723ac8a79f97e2e9b74fc1e95bac6e86"
    )
    assert "".join(f"{state}={letter} " for state, letter in STATES.items()) == (
        "pending=p submitting=i unknown=u submitted=s succeeded=c downloaded=d failed=f rejected=r "
    )
    assert dict(EVENTS) == {
        "planned": "p",
        "intent": "i",
        "accepted": "a",
        "task_succeeded": "s",
        "downloaded": "d",
    }


def test_each_state_and_event_has_a_letter_of_its_own_and_each_packed_column_is_one() -> None:
    assert STATES.keys() == set(State)
    for letters in (STATES, EVENTS):
        assert len(set(letters.values())) == len(letters)
    assert set(PACKED) <= set(Record._fields)


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_damaged_text_is_an_error_or_another_text_and_nothing_else(at: int) -> None:
    whole = packed(canonical(REQUEST))
    assert isinstance(whole, bytes)
    for damaged in (whole[: at + 1], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
        try:
            assert isinstance(unpacked(damaged), str)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            assert str(error)


def test_a_text_that_would_fill_the_memory_is_refused() -> None:
    bomb = b"\xff" + zlib.compress(bytes(2 * LONGEST), 9, -15)
    assert len(bomb) < 50_000
    with pytest.raises(sqlite3.DatabaseError, match="longer than any can be"):
        unpacked(bomb)


@pytest.mark.parametrize(("letter", "over"), [("a", 0), ("a", 1), ("猫", 1)])
def test_what_is_packed_is_no_longer_than_what_is_unpacked(letter: str, over: int) -> None:
    text = letter * (LONGEST // len(letter.encode()) + over)
    stored = packed(text)
    assert isinstance(stored, str if over else bytes)
    assert restored([stored]) == [text]
