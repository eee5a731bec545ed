"""What `spend`, `export`, `runs` and the page say a ledger cost is the same money, and the charges are the journal's."""

from __future__ import annotations

import contextlib
import csv
import html
import io
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from batchgen.amounts import micros
from batchgen.models import State
from tests.machine.test_spend import NIGHT, with_night
from tests.machine.test_spend import row as spend_row
from tests.support.program import Desk, Server, sandbox

#: Micro-dollars for each second, the test's own price list; and clips that fail are free at this API.
PRICES = {"std": 84_000, "pro": 112_000}
FAULTS = ("task_fails@3,9", "refuse_policy@2,11", "reset_after@4")
DAY = 86_400
QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "0.3", "--retry-wait", "0.1")
MODES = ("std", "pro", "std")
AMOUNTS = ("estimated", "charged", "difference")


def manifest(name: str, jobs: int) -> str:
    listed = [
        {"id": f"{name}{n}", "image": f"https://example.com/{n}.png", "mode": MODES[n % 3], "prompt": f"{n}"}
        for n in range(jobs)
    ]
    return json.dumps(
        {
            "version": 1,
            "name": name,
            "output_dir": f"{name}-clips",
            "defaults": {"model_name": "kling-v3"},
            "jobs": listed,
        }
    )


def let_pass(ledger: Path, seconds: int) -> None:
    """Put everything that the ledger has so far back in time."""
    with contextlib.closing(sqlite3.connect(ledger)) as connection, connection:
        quarters = seconds // 900
        connection.execute("UPDATE tasks SET quarter = quarter - ?", (quarters,))
        for name in ("created_at", "submitted_at", "finished_at"):
            connection.execute(f"UPDATE tasks SET {name} = {name} - ?", (seconds,))
        connection.execute("UPDATE spent SET quarter = -(quarter - ?)", (quarters,))
        connection.execute("UPDATE spent SET quarter = -quarter")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterable[tuple[Desk, Server]]:
    """Two nights, two days apart: refused, failed, unknown, retaken; a second night's other manifest; a prompt that changed."""
    folder = tmp_path_factory.mktemp("sums")
    desk = Desk(folder)
    desk.env["BATCHGEN_LEDGER"] = str(folder / "ledger.db")
    desk.write("bags.yaml", manifest("bags", 7))
    rules = [word for fault in FAULTS for word in ("--fault", fault)]
    with sandbox(folder, "--task-seconds", "0.05-0.2", "--no-lookups", *rules) as server:
        desk.against(server)
        assert desk.run("budget", "set", "--timezone", "Pacific/Auckland").code == 0
        assert desk.run("run", *QUICK, "bags.yaml").code in (1, 5)
        let_pass(folder / "ledger.db", 2 * DAY)
        assert desk.run("retake", "bags/bags0").code == 0
        desk.write("mugs.yaml", manifest("mugs", 4))
        desk.run("run", *QUICK, "--retry-failed", "bags.yaml", "mugs.yaml")
        yield desk, server


def spent(desk: Desk, by: str) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """Micro-dollars and tasks of `spend`, by group and in all."""

    def amounts(of: dict[str, Any]) -> Counter[str]:
        return Counter(
            {name: micros(of[f"{name}_usd"]) for name in (*AMOUNTS, "reserved")} | {"tasks": of["tasks"]}
        )

    found = desk.run("spend", "--by", by, "--json").json
    key = (lambda one: f"{one['manifest']}/{one['job']}") if by == "job" else (lambda one: one[by])
    return {key(one): amounts(one) for one in found["groups"]}, amounts(found["sums"])


def test_the_nights_have_rows_of_every_kind(desk: tuple[Desk, Server]) -> None:
    rows = desk[0].export()
    assert {row["state"] for row in rows} == {"downloaded", "failed", "rejected", "unknown"}
    assert {row["take"] for row in rows} == {1, 2} and len({row["run_id"] for row in rows}) == 2
    assert any(row["attempt"] > 1 or "~" in row["external_task_id"] for row in rows)


def test_spend_sums_up_to_the_same_however_it_is_split_and_shown(desk: tuple[Desk, Server]) -> None:
    wholes = []
    for by in ("day", "week", "month", "manifest", "mode", "job"):
        groups, whole = spent(desk[0], by)
        total: Counter[str] = Counter()
        for one in groups.values():
            total.update(one)
        rows = csv.DictReader(io.StringIO(desk[0].run("spend", "--by", by, "--format", "csv").out))
        of_csv = [sum(micros(row[f"{name}_usd"]) for row in rows) for name in ("estimated",)]
        assert (total, of_csv) == (whole, [whole["estimated"]])
        assert whole["estimated"] + whole["difference"] == whole["reserved"] + whole["charged"]
        wholes.append(whole)
    assert all(whole == wholes[0] for whole in wholes) and wholes[0]["reserved"]


def test_export_and_runs_have_the_sums_of_spend(desk: tuple[Desk, Server]) -> None:
    rows, (_, whole) = desk[0].export(), spent(desk[0], "day")
    assert sum(micros(row["cost_usd_estimate"]) for row in rows) == whole["estimated"]
    assert sum(micros(row["charged_usd"] or 0) for row in rows) == whole["charged"]
    by_run: Counter[str] = Counter()
    for row in rows:
        by_run[row["run_id"]] += micros(row["cost_usd_estimate"])
    summaries = {run["run_id"]: run["summary"] for run in desk[0].run("runs", "--json").json["runs"]}
    assert {name: micros(one["cost_usd_estimate"]) for name, one in summaries.items()} == by_run
    assert sum(one["created"] for one in summaries.values()) == whole["tasks"]


def test_the_charges_are_what_the_journal_says_was_made(desk: tuple[Desk, Server]) -> None:
    desk_, server = desk
    asked = {entry.task_id: entry.fields for entry in server.entries() if entry.accepted}
    rows = desk_.export()
    done = [row for row in rows if row["state"] == "downloaded"]
    bill = sum(PRICES[asked[row["task_id"]].get("mode", "std")] * 5 for row in done)
    _, whole = spent(desk_, "job")
    assert whole["charged"] == bill > 0
    assert whole["tasks"] == len(
        asked
    )  # each accepted create is one, the unknown one too; a refused one is none


def cells(page: str, heading: str) -> list[list[str]]:
    """The table under a heading of the page, as texts."""
    part = page[page.index(f'<h2 id="{heading}">') :]
    table = part[: part.index("</table>")]
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("<tr")[1:]]
    return [[html.unescape(re.sub("<[^>]+>", "", cell)).strip() for cell in row] for row in found]


def cents(text: str) -> int:
    """What a page shows, in micro-dollars."""
    return 0 if text == "–" else micros(text.replace("$", "").replace(",", ""))


def test_the_page_has_the_sums_of_spend_by_day_manifest_and_night(desk: tuple[Desk, Server]) -> None:
    desk_, _ = desk
    written = desk_.run("report", "--json").json
    _, whole = spent(desk_, "day")
    assert micros(written["cost_usd_estimate"]) == whole["estimated"]
    page = Path(written["page"]).read_text()
    head, *body = cells(page, "money")
    assert head == ["Day", *head[1:3], "Estimated", "Charged", "Difference"]
    days, (manifests, _) = spent(desk_, "day")[0], spent(desk_, "manifest")
    assert set(head[1:3]) == set(manifests) == {"bags", "mugs"}
    assert [[cents(cell) for cell in row[-3:]] for row in body[: len(days)]] == [
        [days[day][name] for name in AMOUNTS] for day in sorted(days, reverse=True)
    ]
    for place, name in enumerate(AMOUNTS):
        line = body[len(days) + place][1:3]
        assert [cents(cell) for cell in line] == [manifests[one][name] for one in head[1:3]], name
    assert [cents(cell) for cell in body[len(days)][-3:]] == [whole[name] for name in AMOUNTS]
    nights = [[cents(cell) for cell in row[-3:]] for row in cells(page, "nights")[1:]]
    assert [sum(column) for column in zip(*nights, strict=True)] == [whole[name] for name in AMOUNTS]
    assert len(nights) == 2 and "Days are those of Pacific/Auckland" in page


def test_the_pages_days_and_nights_are_those_of_the_budgets_zone_and_of_the_creates(tmp_path: Path) -> None:
    """A day of 25 hours, creates at both sides of midnight and noon that were accepted after it, on a machine elsewhere."""
    late = (
        ("2026-11-02T23:59:50+01:00", spend_row("late", "shop", "std", 420_000), State.SUBMITTED, None),
        ("2026-11-03T11:59:50+01:00", spend_row("noon", "shop", "std", 420_000), State.SUBMITTED, None),
        (
            "2026-11-04T20:00+01:00",
            spend_row("found", "shop", "std", 0),
            State.SUBMITTED,
            300_000,
        ),  # not estimated
    )
    desk = with_night(tmp_path, (*NIGHT, *late))
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute(
            "UPDATE tasks SET submitted_at = submitted_at + 60 WHERE job_id IN ('late', 'noon')"
        )
    desk.env["TZ"] = "America/New_York"
    page = Path(desk.run("report", "--json").json["page"]).read_text()
    days = spent(desk, "day")[0]
    assert days["2026-11-02"]["estimated"] == days["2026-11-03"]["estimated"] == 420_000
    assert days["2026-11-04"] == {
        **dict.fromkeys((*AMOUNTS, "reserved"), 0),
        "charged": 300_000,
        "difference": 300_000,
        "tasks": 1,
    }
    body = cells(page, "money")[1:]
    assert [[cents(cell) for cell in row[-3:]] for row in body[: len(days)]] == [
        [days[day][name] for name in AMOUNTS] for day in sorted(days, reverse=True)
    ]
    nights = {row[0]: cents(row[-3]) for row in cells(page, "nights")[1:]}
    assert nights["Mon 2 Nov"] == 840_000 and "Tue 3 Nov" not in nights
