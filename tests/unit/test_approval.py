"""The file of an approval: what it holds, and that nothing else is taken for one."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.errors import UsageError
from batchgen.money.approval import Approval, Approved, looks_like_one, made, parse

IDENTITY = "0123456789abcdef" * 2
JOB = Approved("m.a.1", "m", "a", 1, "std", "ab" * 32, "create", 420_000)
OTHER = Approved("m.b.2~2", "m", "Tasche/ü", 2, "pro", "cd" * 32, "retry", 560_000)


def approval(*jobs: Approved) -> Approval:
    return made(
        jobs, ledger=IDENTITY, origin="https://api.example.com", made_at="2026-01-31T00:00:00Z", program="0.1"
    )


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(approval(JOB, OTHER).text()), **fields}).encode()


TEXTS = st.text(max_size=20)  # lone surrogates, which file names can have, among them
JOBS = st.builds(
    Approved,
    TEXTS,
    TEXTS,
    TEXTS,
    st.integers(1, 1_000_000),
    st.sampled_from(["std", "pro", "4k"]),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.sampled_from(["create", "retry"]),
    st.integers(0, 10**12),
)


@given(st.lists(JOBS, max_size=5))
def test_what_is_read_is_what_was_written_whatever_names_jobs_have(jobs: list[Approved]) -> None:
    one = approval(*jobs)
    assert parse(one.text().encode()) == one
    assert looks_like_one(one.text().encode()[:200])


def test_the_file_is_sorted_and_sums_up_by_manifest_and_mode_in_whole_micro_dollars() -> None:
    one = approval(OTHER, JOB)
    found = json.loads(one.text())
    assert [*found] == sorted(found) and one.text().startswith('{\n  "approval": 1,')
    assert [job["job_id"] for job in found["jobs"]] == ["Tasche/ü", "a"] and "Tasche/ü" in one.text()
    assert found["subtotals"] == [
        {"creates": 1, "manifest": "m", "micros": 560_000, "mode": "pro"},
        {"creates": 1, "manifest": "m", "micros": 420_000, "mode": "std"},
    ]
    assert found["total"] == {"creates": 2, "micros": 980_000, "usd": "$0.98"}
    assert one.micros == 980_000 and len(found["sha256"]) == 64


def test_how_the_file_is_laid_out_says_nothing() -> None:
    one = approval(JOB, OTHER)
    assert parse(json.dumps(json.loads(one.text())).encode()) == one
    assert parse(one.text().replace("\n", "\r\n").encode()) == one


@given(st.data())
def test_no_digit_or_letter_of_it_can_change_unseen(data: st.DataObject) -> None:
    text = approval(JOB, OTHER).text()
    places = [place for place, letter in enumerate(text) if letter in string.ascii_letters + string.digits]
    place = data.draw(st.sampled_from(places))
    letter = data.draw(
        st.sampled_from(string.ascii_letters + string.digits).filter(lambda one: one != text[place])
    )
    with pytest.raises(UsageError):
        parse(f"{text[:place]}{letter}{text[place + 1 :]}".encode())


@given(st.integers(0, 10_000))
def test_a_part_of_it_is_refused(length: int) -> None:
    text = approval(JOB, OTHER).text().rstrip()
    with pytest.raises(UsageError, match="no approval"):
        parse(text[: min(length, len(text) - 1)].encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"1e999",
        b'{"jobs": []}',
        b"[" * 100_000,
        b'{"approval": ' * 100_000,
        b"\xff\xfe{}",
        b'{"approval": 1, "approval": 1}',
        b'{"approval": NaN}',
        b'{"approval": ' + b"9" * 5_000 + b"}",
    ],
    ids=range(11),
)
def test_foreign_files_are_refused_with_what_to_do(content: bytes) -> None:
    with pytest.raises(UsageError, match=r"is no approval.*batchgen plan -o FILE PATH"):
        parse(content)


@pytest.mark.parametrize("version", [0, 2, "1", True, None, [1]])
def test_another_form_is_refused_and_named(version: object) -> None:
    with pytest.raises(UsageError, match="this batchgen knows the form 1"):
        parse(changed(approval=version))


@pytest.mark.parametrize(
    "fields",
    [
        {"ledger": None},
        {"ledger": "f" * 32},
        {"origin": "https://elsewhere.example.com"},
        {"jobs": []},
        {"jobs": None},
        {"jobs": [1]},
        {"jobs": [JOB._asdict() | {"micros": 1}]},
        {"jobs": [JOB._asdict() | {"micros": 0.42}]},
        {"jobs": [JOB._asdict() | {"micros": -1}]},
        {"jobs": [JOB._asdict() | {"prompt": "one more"}]},
        {"total": {"creates": 2, "micros": 1, "usd": "$0.98"}},
        {"sha256": "0" * 64},
        {"sha256": None},
        {"note": "anything"},
    ],
)
def test_changed_content_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="changed since it was written"):
        parse(changed(**fields))


@pytest.mark.parametrize("doubled", [True, False])
def test_content_that_no_plan_has_is_refused_though_its_digest_is_right(doubled: bool) -> None:
    """The digest shows accidents alone: whoever writes a file can write that, too."""
    from batchgen.money.approval import _sha256

    found = json.loads(approval(JOB).text())
    found["jobs"] = [JOB._asdict()] * 2 if doubled else [JOB._asdict() | {"micros": True}]
    del found["sha256"]
    with pytest.raises(UsageError, match="changed since it was written"):
        parse(json.dumps({**found, "sha256": _sha256(found)}).encode())


def test_exactly_what_was_approved_is_allowed() -> None:
    one = approval(JOB, OTHER)
    assert one.allows(JOB.external_task_id, JOB.digest, JOB.micros)
    assert not one.allows(f"{JOB.external_task_id}~2", JOB.digest, JOB.micros)
    assert not one.allows(JOB.external_task_id, OTHER.digest, JOB.micros)
    assert not one.allows(JOB.external_task_id, JOB.digest, JOB.micros + 1)
    assert not one.allows(JOB.external_task_id, JOB.digest, JOB.micros - 1)
    assert not one.allows(JOB.external_task_id, JOB.digest, None)
