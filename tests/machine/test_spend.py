"""``batchgen spend``: every sum is that of the ledger's rows, in days of the right time zone, in every form."""

from __future__ import annotations

import asyncio
import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from batchgen.ledger.budgets import set_budgets
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Record, State
from tests.support.documents import MANUAL, matches, section, typed
from tests.support.program import Desk
from tests.support.terminal import on_a_terminal

BERLIN = "Europe/Berlin"


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def row(job_id: str, manifest: str, mode: str, estimate: int) -> Record:
    name, path = f"{manifest}.{job_id}", f"/clips/{manifest}/{job_id}.mp4"
    canonical = f'{{"duration":"5","mode":"{mode}"}}'
    return Record(
        name, name, manifest, job_id, 1, "d" * 64, canonical, State.PENDING, path, estimate=estimate
    )


Night = Sequence[tuple[str, Record, State, int | None]]  # when, what, its last state, its charge


def with_night(folder: Path, night: Night, timezone: str | None = BERLIN) -> Desk:
    """A desk whose ledger has had this night."""
    desk = Desk(folder)
    desk.env["BATCHGEN_LEDGER"] = path = str(folder / "ledger.db")
    clock = Clock()

    async def play() -> None:
        with Ledger.open(path, origin="https://api.example", clock=clock) as ledger:
            for when, record, state, charged in night:
                clock.now = datetime.fromisoformat(when).timestamp()
                name = record.external_task_id
                await ledger.begin(record)
                if state in (State.SUBMITTED, State.FAILED):
                    await ledger.apply(
                        Change(name, State.SUBMITTED, "accepted", values={"task_id": f"t-{name}"})
                    )
                clock.now += 7200  # which is the next day for some: money stays where its create was
                if state is State.FAILED:
                    await ledger.apply(Change(name, state, "task_failed", values={"charged": charged}))
                elif state is not State.SUBMITTED:
                    await ledger.apply(Change(name, state, "refused", code="1301"))
                elif charged is not None:
                    await ledger.apply(Change(name, state, "progress", values={"charged": charged}))

    asyncio.run(play())
    if timezone is not None:
        set_budgets(path, {}, timezone, usual="UTC", at=0.0, by=None)
    return desk


NIGHT: Night = (
    ("2026-10-24T23:50+02:00", row("tote", "bags", "std", 420_000), State.SUBMITTED, 420_000),
    ("2026-10-25T00:05+02:00", row("clutch", "bags", "std", 420_000), State.SUBMITTED, 480_000),
    ("2026-10-25T23:55+01:00", row("mug", "shop", "pro", 560_000), State.SUBMITTED, None),  # 25 hours long
    ("2026-10-26T00:00+01:00", row("cup", "shop", "pro", 560_000), State.FAILED, 0),
    ("2026-10-26T00:01+01:00", row("jug", "shop", "4k", 2_100_000), State.REJECTED, None),
    ("2026-11-01T00:00+01:00", row("\u00e9clair", "shop", "4k", 2_100_000), State.UNKNOWN, None),
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return with_night(tmp_path_factory.mktemp("spend"), NIGHT)


def lines(found: Any, name: str) -> dict[str, tuple[Any, ...]]:
    names = ("tasks", "estimated_usd", "reserved_usd", "charged_usd", "difference_usd")
    return {one[name]: tuple(one[each] for each in names) for one in found}


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (
            "day",
            {
                "2026-10-24": (1, 0.42, 0, 0.42, 0),
                "2026-10-25": (2, 0.98, 0.56, 0.48, 0.06),
                "2026-10-26": (1, 0.56, 0, 0, -0.56),
                "2026-11-01": (1, 2.1, 2.1, 0, 0),
            },
        ),
        (
            "week",
            {
                "2026-W43": (3, 1.4, 0.56, 0.9, 0.06),
                "2026-W44": (2, 2.66, 2.1, 0, -0.56),
            },
        ),
        ("month", {"2026-10": (4, 1.96, 0.56, 0.9, -0.5), "2026-11": (1, 2.1, 2.1, 0, 0)}),
        ("manifest", {"bags": (2, 0.84, 0, 0.9, 0.06), "shop": (3, 3.22, 2.66, 0, -0.56)}),
        (
            "mode",
            {
                "4k": (1, 2.1, 2.1, 0, 0),
                "pro": (2, 1.12, 0.56, 0, -0.56),
                "std": (2, 0.84, 0, 0.9, 0.06),
            },
        ),
        (
            "job",
            {
                "clutch": (1, 0.42, 0, 0.48, 0.06),
                "tote": (1, 0.42, 0, 0.42, 0),
                "cup": (1, 0.56, 0, 0, -0.56),
                "mug": (1, 0.56, 0.56, 0, 0),
                "\u00e9clair": (1, 2.1, 2.1, 0, 0),
            },
        ),
    ],
)
def test_each_line_sums_up_what_may_be_charged(desk: Desk, by: str, expected: dict[str, Any]) -> None:
    found = desk.run("spend", "--by", by, "--json").json
    assert (found["by"], found["timezone"], found["since"], found["until"]) == (by, BERLIN, None, None)
    assert lines(found["groups"], by) == expected
    assert list(lines(found["groups"], by)) == list(expected)  # in order
    assert found["sums"] == {
        "tasks": 5,
        "estimated_usd": 4.06,
        "reserved_usd": 2.66,
        "charged_usd": 0.9,
        "difference_usd": -0.5,
    }
    if by == "job":
        assert [one["manifest"] for one in found["groups"]] == ["bags"] * 2 + ["shop"] * 3


def test_the_dates_that_are_named_are_included(desk: Desk) -> None:
    def days(*words: str) -> list[str]:
        return [one["day"] for one in desk.run("spend", "--json", *words).json["groups"]]

    assert days("--since", "2026-10-25", "--until", "2026-10-25") == ["2026-10-25"]
    assert days("--since", "2026-10-26") == ["2026-10-26", "2026-11-01"]
    assert days("--until", "2026-10-24") == ["2026-10-24"]
    assert days("--since", "2027-01-01") == []
    assert days("--until", "1970-01-01") == []
    found = desk.run("spend", "--json", "--by", "job", "--until", "2026-10-25").json
    assert [one["job"] for one in found["groups"]] == ["clutch", "tote", "mug"]
    assert (found["until"], found["sums"]["tasks"]) == ("2026-10-25", 3)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--since 25.10.2026", "'25.10.2026' is no date; write 2026-01-31"),
        ("--since 10/25/2026", "is no date; write 2026-01-31"),
        ("--since 2026-02-30", "is no date"),
        ("--since 2026-1-5", "is no date"),
        ("--since 20260105", "is no date"),
        ("--until 2026-10", "is no date"),
        ("--until 2026-10-25T06:00", "is no date"),
        ("--until yesterday", "is no date"),
        ("--since \u0662\u0660\u0662\u0666-\u0661\u0660-\u0662\u0665", "is no date"),
        ("--since 0001-01-01", "is no date from 1970 on"),
        ("--until 9999-12-31", "is no date from 1970 on"),
        ("--since 2026-10-26 --until 2026-10-25", "--since 2026-10-26 is after --until 2026-10-25"),
        ("--by year", "invalid choice"),
        ("--json --format csv", "leave it out"),
    ],
)
def test_what_cannot_be_meant_is_refused(desk: Desk, words: str, problem: str) -> None:
    result = desk.run("spend", *words.split())
    assert result.code == 2 and problem in result.err


def test_csv_has_the_names_the_numbers_and_nothing_to_be_counted_twice(desk: Desk) -> None:
    text = desk.run("spend", "--by", "job", "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == [
        *("manifest", "job", "tasks", "estimated_usd", "reserved_usd", "charged_usd", "difference_usd"),
    ]
    assert sum(float(one["estimated_usd"]) for one in rows) == pytest.approx(4.06)
    assert (
        rows[-1]["job"] == "\u00e9clair" and len(text.splitlines()) == 1 + len(rows) and text.endswith("\n")
    )
    assert desk.run("spend", "--format", "csv").out.startswith("day,tasks,estimated_usd,")


def test_the_table_lines_up_and_a_narrow_terminal_has_the_same_numbers(desk: Desk) -> None:
    *plain, zone = desk.run("spend").out.splitlines()
    assert zone == f"Days are those of {BERLIN}."
    assert plain[0].split() == ["tasks", "estimated", "reserved", "charged", "difference", "day"]
    assert plain[-1].split() == ["5", "$4.06", "$2.66", "$0.90", "-$0.50", "all"]
    assert {line.index("  2026") for line in plain[1:-1]} == {plain[0].index("  day")}
    command = [*desk.program, "spend"]
    for columns in (60, 77, 78):
        code, shown = on_a_terminal(command, cwd=desk.folder, env=desk.env | {"COLUMNS": str(columns)})
        found = [line.rstrip() for line in shown.splitlines() if line.strip()]
        assert code == 0 and max(map(len, found)) <= columns
        assert ("all: 5 tasks" in shown) == (columns < 78)  # which the table just fits in
        assert sum(shown.count(word) for word in ("$2.66", "$0.90", "-$0.50")) >= 3
    code, shown = on_a_terminal(command, cwd=desk.folder, env=desk.env | {"COLUMNS": "60"})
    assert "2026-10-25: 2 tasks" in shown and "charged $0.48, difference +$0.06" in shown


def test_without_budgets_days_are_those_of_this_machine(tmp_path: Path) -> None:
    desk = with_night(tmp_path, NIGHT[:1], timezone=None)
    for zone, day in (("Europe/Berlin", "2026-10-24"), ("Asia/Kathmandu", "2026-10-25")):
        desk.env["TZ"] = zone
        found = desk.run("spend", "--json").json
        assert (found["timezone"], [one["day"] for one in found["groups"]]) == (zone, [day])


def test_names_are_composed_in_order_and_one_name_is_one_line_however_it_was_spelt(tmp_path: Path) -> None:
    at = "2026-10-24T12:00+02:00"
    spelt = [("e\u0301t\u00e9", "std"), ("zoo", "4k"), ("\u00e9te\u0301", "std")]
    desk = with_night(
        tmp_path, [(at, row("a\u030a", name, mode, 420_000), State.SUBMITTED, None) for name, mode in spelt]
    )
    found = desk.run("spend", "--by", "manifest", "--json").json["groups"]
    assert lines(found, "manifest") == {
        "zoo": (1, 0.42, 0.42, 0, 0),
        "\u00e9t\u00e9": (2, 0.84, 0.84, 0, 0),
    }
    assert [one["manifest"] for one in found] == ["zoo", "\u00e9t\u00e9"]
    jobs = desk.run("spend", "--by", "job", "--json").json["groups"]
    assert {(one["manifest"], one["job"]) for one in jobs} == {("zoo", "\u00e5"), ("\u00e9t\u00e9", "\u00e5")}
    assert [one["mode"] for one in desk.run("spend", "--by", "mode", "--json").json["groups"]] == [
        "4k",
        "std",
    ]


def test_a_week_belongs_to_the_year_that_has_most_of_it(tmp_path: Path) -> None:
    desk = with_night(
        tmp_path, [("2027-01-03T12:00+01:00", row("tote", "bags", "std", 420_000), State.SUBMITTED, None)]
    )
    for by, name in (("week", "2026-W53"), ("month", "2027-01")):
        assert [one[by] for one in desk.run("spend", "--by", by, "--json").json["groups"]] == [name]


def test_a_ledger_without_tasks_has_spent_nothing(tmp_path: Path) -> None:
    desk = with_night(tmp_path, ())
    assert desk.run("spend").out.splitlines()[-2].split()[:5] == ["0", "$0.00", "$0.00", "$0.00", "$0.00"]
    found = desk.run("spend", "--by", "job", "--json").json
    assert (found["groups"], found["sums"]["tasks"]) == ([], 0)


def test_the_manuals_line_goes_as_it_is_written(tmp_path: Path) -> None:
    tote, clutch = row("tote", "bags", "std", 420_000), row("clutch", "bags", "std", 420_000)
    night = (
        ("2026-10-24T23:00+02:00", tote, State.SUBMITTED, 420_000),
        ("2026-10-24T23:10+02:00", clutch, State.SUBMITTED, 480_000),
        ("2026-10-24T23:20+02:00", row("mug", "shop", "std", 420_000), State.SUBMITTED, None),
    )
    ((command, shown),) = typed(section(MANUAL["money"], "Spend"))
    came = with_night(tmp_path, night).run(*shlex.split(command)[1:])
    assert matches(shown, came.out), came.out
