"""``batchgen budget``: every amount and time zone is read rightly or refused, and what is set is shown, with who did it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sqlite3
import time
from pathlib import Path

import pytest

from batchgen.amounts import LARGEST, dollars
from batchgen.cli.budget import machine_zone
from batchgen.cli.fit import Fit
from batchgen.cli.resolve import who
from batchgen.ledger.reader import Records
from batchgen.ledger.writer import Ledger
from tests.support.documents import MANUAL, matches, section, typed
from tests.support.program import Desk, Result


def budget(desk: Desk, *words: str) -> Result:
    return desk.run("budget", *words, "--ledger", "ledger.db")


def limits(desk: Desk) -> dict[str, float | None]:
    found = budget(desk, "--json").json["budgets"]
    return {one["period"]: one["limit_usd"] for one in found}


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("40", 40.0),
        ("$40", 40.0),
        (" 40.50 ", 40.5),
        ("0", 0.0),
        (".5", 0.5),
        ("0.000001", 0.000001),
        ("none", None),
        ("None", None),
        (f"{dollars(LARGEST):.0f}", dollars(LARGEST)),
    ],
)
def test_an_amount_is_set_to_the_micro_dollar(desk: Desk, text: str, amount: float | None) -> None:
    budget(desk, "set", "--day", "1")
    assert budget(desk, "set", "--day", text).code == 0
    assert limits(desk) == {"day": amount, "week": None, "month": None}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no amount in dollars; write 40, 40.50, 0 for nothing, or none for no limit"),
        ("-5", "is no amount in dollars"),
        ("1,000", "is no amount in dollars"),
        ("0,50", "is no amount in dollars"),
        ("1.000.000", "is no amount in dollars"),
        ("1e3", "is no amount in dollars"),
        ("40.1234567", "is no amount in dollars"),
        ("40€", "is no amount in dollars"),
        ("EUR 40", "is no amount in dollars"),
        ("four", "is no amount in dollars"),
        ("nan", "is no amount in dollars"),
        ("inf", "is no amount in dollars"),
        ("unlimited", "none for no limit"),
        ("0x10", "is no amount in dollars"),
        ("٤٠", "is no amount in dollars"),
        ("40.", "is no amount in dollars"),
        ("$", "is no amount in dollars"),
        (".", "is no amount in dollars"),
        ("1_000", "is no amount in dollars"),
        ("1000000001", "is more than a budget can be; write none for no limit"),
        ("9" * 5000, "is more than a budget can be"),
    ],
)
def test_a_doubtful_amount_is_refused_and_nothing_is_set(desk: Desk, text: str, why: str) -> None:
    refused = budget(desk, "set", f"--month={text}", "--day", "40")
    assert refused.code == 2 and why in refused.err and "--month" in refused.err
    assert refused.err.count("\n") == 1 and len(refused.err) < 6000
    assert not (desk.folder / "ledger.db").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["set"], "`budget set` takes --day, --week, --month or --timezone"),
        (["--day", "40"], "--day, --week, --month and --timezone go with `batchgen budget set`"),
        (["history", "--timezone", "UTC"], "go with `batchgen budget set`"),
        (
            ["set", "--timezone", "Berlin"],
            "'Berlin' is no time zone; write its IANA name, such as Europe/Berlin",
        ),
        (["set", "--timezone", ""], "is no time zone"),
        (["set", "--day", "40", "--timezone", "CEST"], "is no time zone"),
        (["sets", "--day", "40"], "invalid choice"),
        (["set", "--year", "4"], "there is no option --year"),
    ],
)
def test_a_wrong_line_is_refused_in_words_that_help(desk: Desk, words: list[str], why: str) -> None:
    refused = budget(desk, *words)
    assert refused.code == 2 and why in refused.err, refused.err
    assert not (desk.folder / "ledger.db").exists()


def test_without_a_ledger_there_is_nothing_to_show_and_the_first_set_makes_one(desk: Desk) -> None:
    missing = budget(desk)
    assert missing.code == 2 and "there is no ledger at" in missing.err
    made = budget(desk, "set", "--day", "0", "--timezone", "Asia/Kathmandu")
    assert made.code == 0 and "day    $0.00 of $0.00 spent or held, $0.00 left; it ends " in made.out
    assert "(Asia/Kathmandu)" in made.out
    assert os.stat(desk.folder / "ledger.db").st_mode & 0o777 == 0o600


def test_a_ledger_without_budgets_says_how_one_is_set(desk: Desk) -> None:
    Ledger.open(str(desk.folder / "ledger.db"), origin="https://api.example").close()
    assert "no budget is set; `batchgen budget set --day USD` sets one" in budget(desk).out
    assert "no budget is set" in budget(desk, "history").out
    found = budget(desk, "--json").json
    assert (found["budgets"], found["timezone"], found["set_at"]) == ([], None, None)
    assert budget(desk, "history", "--json").json["history"] == []


def test_every_change_is_in_the_history_with_who_made_it_and_what_is_not_named_stays(desk: Desk) -> None:
    budget(desk, "set", "--day", "40", "--month", "500", "--timezone", "Europe/Berlin")
    budget(desk, "set", "--day", "none", "--week", "99.5")
    lines = budget(desk, "history", "--json").json["history"]
    assert [{name: one[name] for name in one if name != "at"} for one in lines] == [
        {"day_usd": 40.0, "week_usd": None, "month_usd": 500.0, "timezone": "Europe/Berlin", "by": who()},
        {"day_usd": None, "week_usd": 99.5, "month_usd": 500.0, "timezone": "Europe/Berlin", "by": who()},
    ]
    shown = budget(desk, "history").out.splitlines()
    assert shown[1].endswith(f"day none, week $99.50, month $500.00, in Europe/Berlin, by {who()}")


def test_what_is_spent_and_left_is_shown_for_people_and_scripts(desk: Desk) -> None:
    budget(desk, "set", "--day", "40", "--month", "500")
    with contextlib.closing(sqlite3.connect(desk.folder / "ledger.db")) as connection:
        connection.execute("INSERT INTO spent SELECT unixepoch() / 900, 41500000")
        connection.commit()
    shown = budget(desk).out
    assert "day    $41.50 of $40.00 spent or held, $0.00 left; it ends " in shown
    assert "week   $41.50 spent or held, no limit" in shown
    assert "month  $41.50 of $500.00 spent or held, $458.50 left; it ends " in shown
    day, week, month = budget(desk, "--json").json["budgets"]
    assert (day["limit_usd"], day["spent_usd"], day["left_usd"]) == (40.0, 41.5, 0.0)
    assert (week["limit_usd"], week["left_usd"], month["left_usd"]) == (None, None, 458.5)
    assert day["begins"] < day["ends"] <= month["ends"]


def test_budgets_are_set_while_another_program_holds_the_lock(desk: Desk) -> None:
    with Ledger.open(str(desk.folder / "ledger.db"), origin="https://api.example") as ledger:
        assert budget(desk, "set", "--week", "7").code == 0
        standing = ledger.budgets.standing()
        assert standing is not None and standing.week == 7_000_000


@pytest.mark.parametrize(
    ("variable", "name"),
    [("Asia/Kathmandu", "Asia/Kathmandu"), (":Europe/Paris", "Europe/Paris"), ("UTC", "UTC")],
)
def test_the_machines_zone_is_that_of_its_variable(variable: str, name: str) -> None:
    assert machine_zone({"TZ": variable}) == name


@pytest.mark.parametrize("variable", ["", "CET-1CEST", "/etc/localtime", "nowhere"])
def test_a_variable_that_names_no_zone_leaves_it_to_the_machines_link_or_utc(variable: str) -> None:
    link = os.path.realpath("/etc/localtime").rpartition("/zoneinfo/")[2]
    assert machine_zone({"TZ": variable}) in {link, "UTC"}


def test_the_manuals_lines_go_as_they_are_written(desk: Desk, tmp_path: Path) -> None:
    lines = typed(section(MANUAL["money"], "Budgets"))
    assert len(lines) == 4
    for command, shown in lines:
        program, *words = shlex.split(command)
        came = desk.run(*words)
        assert (program, came.code) == ("batchgen", 0), came.err
        assert matches(shown, came.out), (command, came.out)


def plan(desk: Desk, *options: str, cap: float | None = None) -> tuple[str, list[float], bool]:
    """What ``plan`` says after its sum; and for scripts what is left, and whether all fits."""
    defaults = {"model_name": "kling-v3", "image": "https://example.com/1.png", "prompt": "x"}
    listed = [{"id": f"j{number}"} for number in range(2)]
    top = {} if cap is None else {"max_cost_usd": cap}
    desk.write("m.yaml", json.dumps({"version": 1, "defaults": defaults, "jobs": listed, **top}))
    words = "run -n" if any(option.startswith("--max-cost") for option in options) else "plan"
    line = [*words.split(), "--ledger", "ledger.db", *options, "m.yaml"]
    found = desk.run(*line, "--json").json
    return desk.run(*line).out, [one["left_usd"] for one in found["budgets"]], found["fits"]


def test_plan_says_what_the_budgets_leave_and_whether_it_fits(desk: Desk) -> None:
    assert plan(desk)[1:] == ([], True)
    budget(desk, "set", "--day", "0.84", "--timezone", "Asia/Tokyo")
    text, left, fits = plan(desk)
    assert (left, fits) == ([0.84], True)
    assert re.search(
        r"\n2 jobs: 2 create; about \$0.84\n  the day's budget has \$0.84 left until .* \(Asia/Tokyo\), and this fits\n$",
        text,
    )
    budget(desk, "set", "--day", "0.83", "--week", "0.839999", "--month", "2")
    text, left, fits = plan(desk)
    assert (left, fits) == ([0.83, 0.839999, 2.0], False)
    assert text.count("and this doesn't fit: a run creates what does; all of it takes $0.84") == 2
    with Records.read(str(desk.folder / "ledger.db")) as ledger:
        nothing = Fit([], ledger.budgets.uses(time.time()), None)
    assert [line.endswith(", and nothing is to be paid") for line in nothing.lines()] == [True] * 3
    assert nothing.object()["fits"]


@pytest.mark.parametrize(
    ("options", "cap", "says"),
    [
        ((), 0.84, ""),
        ((), 0.83, "max_cost_usd of m is $0.83, and this doesn't fit"),
        (("--max-cost", "0.84"), None, ""),
        (("--max-cost", "0.839"), None, "--max-cost is $0.839, and this doesn't fit"),
    ],
)
def test_plan_says_where_a_cap_has_no_room_for_all_of_it(
    desk: Desk, options: tuple[str, ...], cap: float | None, says: str
) -> None:
    text, _, fits = plan(desk, *options, cap=cap)
    assert (says in text, fits) == (True, not says)
    assert ("doesn't fit" in text) == bool(says)
