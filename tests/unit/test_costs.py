"""What rows cost: SQL sums up what the rule for one row says, whatever the rows are and wherever blocks of them end."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from batchgen.errors import LedgerError
from batchgen.ledger import costs
from batchgen.ledger.costs import Sums, Within
from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import ABANDONED, counted, may_be_charged
from batchgen.ledger.writer import Ledger
from batchgen.models import Record, State

COLUMNS = (
    *("external_task_id", "base_id", "manifest", "job_id", "take", "digest", "state", "kind", "attempt"),
    *("created_at", "error_code", "output_path", "canonical", "estimate", "charged", "quarter"),
)


def filled(folder: Path, cells: Iterable[tuple[object, ...]]) -> str:
    """A ledger with these cells of state, error code, attempt, estimate and charge, in few jobs and quarters of an hour."""
    path = str(folder / "ledger.db")
    Ledger.open(path, origin="https://api.example").close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for number, (state, code, attempt, estimate, charged) in enumerate(cells):
            name = f"row-{number}"
            row = (
                *(name, name, f"m{number % 3}", f"job-{number % 5}", number, "d" * 64, state),
                *(("std/5", "4k/10")[number % 2], attempt, 0.0, code, f"/clips/{name}.mp4"),
                *('{"mode":"std","duration":"5"}', estimate, charged, number % 4),
            )
            marks = ", ".join("?" * len(COLUMNS))
            connection.execute(f"INSERT INTO tasks ({', '.join(COLUMNS)}) VALUES ({marks})", row)
    return path


EVERY = list(
    itertools.product(
        State, (None, ABANDONED, "1301"), (0, 1), (None, 0, 84_000, 1_680_001), (None, 0, 100_003)
    )
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    with Records.read(filled(tmp_path_factory.mktemp("costs"), EVERY)) as opened:
        yield opened


def summed(rows: Iterable[Record]) -> Sums:
    """The rule for one row, added up."""
    total = Sums()
    for row in filter(may_be_charged, rows):
        total.tasks += 1
        total.estimated += row.estimate or 0
        if row.charged is None:
            total.reserved += row.estimate or 0
        else:
            total.charged += row.charged
    return total


def grouped(found: Iterable[tuple[object, Sums]]) -> dict[object, Sums]:
    groups: dict[object, Sums] = defaultdict(Sums)
    for key, sums in found:
        groups[key].add(sums)
    return groups


@pytest.mark.parametrize("block", [1, 7, 50_000])
def test_sums_are_those_of_the_rule_for_one_row_wherever_a_block_ends(
    ledger: Records, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(costs, "BLOCK", block)
    monkeypatch.setattr(costs, "JOBS", block)
    rows = list(ledger.records())
    assert len(rows) == len(EVERY)
    read = ledger.costs
    for found, key_of in (
        (grouped(read.by_quarter()), lambda row: row.quarter),
        (grouped(read.by_manifest()), lambda row: row.manifest),
        (grouped(read.by_mode()), lambda row: "std" if int(row.external_task_id[4:]) % 2 == 0 else "4k"),
        (
            grouped(((one, two), sums) for one, two, sums in read.by_job()),
            lambda row: (row.manifest, row.job_id),
        ),
    ):
        expected: dict[object, list[Record]] = defaultdict(list)
        for row in rows:
            expected[key_of(row)].append(row)
        assert found == {key: summed(some) for key, some in expected.items()}


def test_what_budgets_count_is_reserved_and_charged(ledger: Records) -> None:
    total = Sums()
    for _, sums in ledger.costs.by_quarter():
        total.add(sums)
    assert total.reserved + total.charged == sum(map(counted, ledger.records()))
    assert total.estimated + total.difference == total.reserved + total.charged
    assert total.difference != 0


def test_jobs_come_in_their_order_and_each_once(ledger: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "JOBS", 2)
    jobs = [names[:2] for names in ledger.costs.by_job()]
    assert jobs == sorted(set(jobs)) and len(jobs) == 15


def test_only_the_quarters_that_are_asked_about_count(ledger: Records) -> None:
    within = Within(1, 3)
    expected = summed(row for row in ledger.records() if row.quarter in (1, 2))
    for found in (
        [sums for _, sums in ledger.costs.by_quarter(within)],
        [sums for _, sums in ledger.costs.by_mode(within)],
        [sums for _, _, sums in ledger.costs.by_job(within)],
    ):
        total = Sums()
        for sums in found:
            total.add(sums)
        assert total == expected


@pytest.mark.parametrize(
    "cells",
    [
        (State.SUBMITTED, None, 1, 0.5, None),
        (State.SUBMITTED, None, 1, 1, "much"),
        (State.FAILED, None, 1, b"\xff", 2),
    ],
)
def test_an_amount_that_is_none_is_damage_and_no_sum(tmp_path: Path, cells: tuple[object, ...]) -> None:
    with Records.read(filled(tmp_path, [cells])) as opened, pytest.raises(LedgerError, match="damaged"):
        list(opened.costs.by_quarter())


def test_a_name_that_comes_after_every_text_is_damage_and_no_endless_search(tmp_path: Path) -> None:
    path = filled(tmp_path, [(State.SUBMITTED, None, 1, 1, None)])
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE tasks SET job_id = CAST(job_id AS BLOB)")
    with Records.read(path) as opened, pytest.raises(LedgerError, match="damaged"):
        list(itertools.islice(opened.costs.by_job(), 9))


def test_a_sum_beyond_all_numbers_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = filled(tmp_path, [(State.SUBMITTED, None, 1, 2**62, None)] * 9)
    with Records.read(path) as opened, pytest.raises(LedgerError, match=os.path.realpath(path)):
        list(opened.costs.by_quarter())
