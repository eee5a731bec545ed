"""Tables: which rows make jobs, with which fields, in the dialects of the programs that write them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen import limits
from batchgen.manifest import cells, tables
from batchgen.manifest.locations import Draft, InTable, cell_position
from batchgen.models import Problem


def drafts_of(found: Iterator[Draft | Problem]) -> list[Draft]:
    drafts = list(found)
    problems = [str(draft) for draft in drafts if isinstance(draft, Problem)]
    assert not problems
    return [draft for draft in drafts if isinstance(draft, Draft)]


def problems_of(found: Iterator[Draft | Problem]) -> list[str]:
    return [str(draft) for draft in found if isinstance(draft, Problem)]


# -- tables ----------------------------------------------------------------------------------------------------------


def table(tmp_path: Path, text: str | bytes, name: str = "shots.csv") -> Iterator[Draft | Problem]:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return tables.table(str(tmp_path / name), name)


def rows(tmp_path: Path, text: str | bytes, name: str = "shots.csv") -> list[dict[str, Any]]:
    return [draft.fields for draft in drafts_of(table(tmp_path, text, name))]


def test_cells_are_text_read_where_the_field_asks(tmp_path: Path) -> None:
    header = "id,image,duration,sound,multi_shot,cfg_scale,camera_control,element_list,take,prompt\n"
    cells = """012,a.png,5,TRUE,no,0.5,"{""type"": ""simple"", ""config"": {""zoom"": 5}}","[{""element_id"": 7}]",2,5\n"""
    assert rows(tmp_path, header + cells) == [
        {
            "id": "012",
            "image": "a.png",
            "duration": "5",
            "sound": "on",
            "multi_shot": False,
            "cfg_scale": 0.5,
            "camera_control": {"type": "simple", "config": {"zoom": 5}},
            "element_list": [{"element_id": 7}],
            "take": 2,
            "prompt": "5",
        }
    ]


def test_empty_cells_are_absent_and_empty_rows_are_passed_over(tmp_path: Path) -> None:
    text = "\ufeff\r\n id , prompt,mode\r\na,,\r\n\r\n,,\r\n b , two  words ,   \r\nc,x,pro,,,\r\n"
    assert rows(tmp_path, text) == [
        {"id": "a"},
        {"id": "b", "prompt": "two  words"},
        {"id": "c", "prompt": "x", "mode": "pro"},
    ]


def test_rows_count_as_a_spreadsheet_counts_and_lines_as_an_editor_does(tmp_path: Path) -> None:
    text = 'id,prompt,duration\na,"one\ntwo, ""three""",5\n\nb,x,7\n'
    first, second = drafts_of(table(tmp_path, text))
    assert str(first.origin.problem("a", ("duration",), "no")) == "shots.csv:3:17: row 2 (a).duration: no"
    assert str(second.origin.problem("b", ("duration",), "no")) == "shots.csv:5:5: row 4 (b).duration: no"
    assert str(second.origin.problem("b", ("mode",), "no")) == "shots.csv:5:1: row 4 (b).mode: no"
    assert str(second.origin.place) == "shots.csv:5:1"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (b"", ["t.csv: the table is empty; its first row names the columns"]),
        (b"\n,,\n", ["t.csv: the table is empty; its first row names the columns"]),
        (
            b"id,durtion\na,5\n",
            ['t.csv:1:4: column 2: unknown key "durtion"; did you mean "duration"?'],
        ),
        (
            b"# shots\nid,prompt\na,b\n",
            [
                't.csv:1:1: column 1: "# shots" is no column; a table begins with their names, and has no comments',
                "t.csv:1:1: header: names 1 column, but each of the 2 rows has 2 cells; name them all, or put double quotes",
            ],
        ),
        (b"id,,prompt\n", ["t.csv:1:4: column 2: has no name"]),
        (
            b"id,prompt,,\na,x,y,\nb,x,y\nc,x,,z\nd,x,y,z\n",
            ["t.csv:1:11: column 3: has no name, but row 2", "t.csv:1:12: column 4: has no name, but row 4"],
        ),
        (
            b"id,durtion,\na,5,x\nb,6,y\n",
            ['t.csv:1:4: column 2: unknown key "durtion"', "t.csv:1:12: column 3: has no name, but row 2"],
        ),
        (
            b"id,prompt,\na,x,y\nb,x,y,z\n",
            [
                "t.csv:1:11: column 3: has no name, but row 2",
                "t.csv:3:1: row 3: 4 cells, but the header has 2",
            ],
        ),
        (b"id,id\n", ['t.csv:1:4: column 2: has the name "id", as one before it']),
        (
            b"id,mode\na\nb,pro\nc,pro,x\n",
            ["t.csv:2:1: row 2: 1 cells", "t.csv:4:1: row 4: 3 cells, but the header has 2"],
        ),
        (
            b"id,prompt\na,x,y\n\nb,x,y\nc,x,y\n",
            ["t.csv:1:1: header: names 2 columns, but each of the 3 rows has 3 cells; name them all, or put"],
        ),
        (
            b"\n\nid;mode;prompt\na;pro\nb;std\n",
            ["t.csv:3:1: header: names 3 columns, but each of the 2 rows has 2 cells; leave out the names"],
        ),
        (
            b"id,prompt\na,x,y\nb,x,y,z\nc,x,y\n",
            ["t.csv:2:1: row 2: 3 cells", "t.csv:3:1: row 3: 4 cells", "t.csv:4:1: row 4: 3 cells"],
        ),
        (
            b"id,prompt\na,x,y\nb,x,y\nc,x\nd,x,y\n",
            ["t.csv:2:1: row 2: 3 cells", "t.csv:3:1: row 3: 3 cells", "t.csv:5:1: row 5: 3 cells"],
        ),
        (
            b"id,prompt\na,x,y\nid,prompt\n",
            ["t.csv:2:1: row 2: 3 cells", "t.csv:3:1: row 3: is the header once more"],
        ),
        (b'id\na\n"b\nc\n', ["t.csv:3:1: row 3: a double quote opens a cell here and is never closed"]),
        (b'id,prompt\na,"b"c\n', ["t.csv:2:1: row 2: text follows a closing double quote"]),
        (
            b"id\na\n\xe4\n",
            ["t.csv:3:1: the byte 0xe4 is not UTF-8 text; save it as UTF-8 (Excel: Save As, CSV UTF-8)"],
        ),
    ],
)
def test_wrong_tables(tmp_path: Path, text: bytes, problems: list[str]) -> None:
    found = problems_of(table(tmp_path, text, "t.csv"))
    assert len(found) == len(problems)
    for one, start in zip(found, problems, strict=True):
        assert one.startswith(start)


def test_good_rows_are_read_beside_bad_ones(tmp_path: Path) -> None:
    found = list(table(tmp_path, "id,wrong\na,1\nb\nc,2\n"))
    assert [one.fields for one in found if isinstance(one, Draft)] == [{"id": "a"}, {"id": "c"}]


def test_cells_longer_than_the_csv_module_likes_are_read(tmp_path: Path) -> None:
    before = csv.field_size_limit(131_072)
    image = "A" * 1_000_000
    assert rows(tmp_path, f"id,image\na,{image}\n") == [{"id": "a", "image": image}]
    assert csv.field_size_limit(before) == 131_072


def test_rows_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ROW_LENGTH", 2**20)
    long = "x" * 2**20
    assert problems_of(table(tmp_path, f"id\na\n{long}y\nb\n")) == ["shots.csv:3:1: row 3: longer than 1 MiB"]
    assert problems_of(table(tmp_path, 'id\n"' + "x\n" * 2**20)) == [
        "shots.csv:2:1: row 2: longer than 1 MiB"
    ]
    assert problems_of(table(tmp_path, "id\n" + "x," * 2**20)) == ["shots.csv:2:1: row 2: longer than 1 MiB"]
    found = problems_of(table(tmp_path, f'{{"id": "{long}"}}\n', "t.jsonl"))
    assert found == ["t.jsonl:1:1: row 1: longer than 1 MiB"]


def test_json_lines_hold_values(tmp_path: Path) -> None:
    text = '\ufeff{"id": 7, "duration": 5, "sound": true, "prompt": null, "mode": ""}\n\n{"element_list": [{"element_id": 7}]}'
    assert rows(tmp_path, text, "t.JSONL") == [
        {"id": "7", "duration": "5", "sound": "on"},
        {"element_list": [{"element_id": 7}]},
    ]


def test_json_lines_have_places(tmp_path: Path) -> None:
    text = '\n {"id": "a", "multi_prompt": [{"duration": 2}]}\n{"prompt": "\\ud83d\\ude00", "mode": "x"}\n'
    first, second = drafts_of(table(tmp_path, text, "t.jsonl"))
    problem = first.origin.problem("a", ("multi_prompt", 0, "duration"), "no")
    assert str(problem) == "t.jsonl:2:32: row 2 (a).multi_prompt[0].duration: no"
    assert str(second.origin.problem(None, ("mode",), "no")) == "t.jsonl:3:28: row 3.mode: no"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{bad}", "t.jsonl:2:2: row 2: this is not JSON: Expecting property name"),
        (b"[1]", "t.jsonl:2:1: row 2: a row is a JSON object"),
        (b'{"a": 1, "a": 2}', 't.jsonl:2:1: row 2: the key "a" stands twice'),
        (b'{"cfg_scale": NaN}', "t.jsonl:2:1: row 2: NaN is not JSON"),
        (b'{"cfg_scale": -Infinity}', "t.jsonl:2:1: row 2: -Infinity is not JSON"),
        (b'{"a": "\xff"}', "t.jsonl:2:8: row 2: the byte 0xff is not UTF-8"),
        (b'{"a": ' + b"[" * 200_000, "t.jsonl:2:1: row 2: nested too deeply"),
        (
            b'{"a": ' + b"9" * 5000 + b"}",
            "t.jsonl:2:1: row 2: a number of thousands of digits; put it in quotes",
        ),
    ],
)
def test_wrong_json_lines(tmp_path: Path, line: bytes, problem: str) -> None:
    found = list(table(tmp_path, b'{"id": "a"}\n' + line + b'\n{"id": "b"}', "t.jsonl"))
    assert [str(one)[: len(problem)] for one in found if isinstance(one, Problem)] == [problem]
    assert [one.fields for one in found if isinstance(one, Draft)] == [{"id": "a"}, {"id": "b"}]


def test_other_files_are_no_tables(tmp_path: Path) -> None:
    assert problems_of(table(tmp_path, "x", "t.xlsx")) == ["t.xlsx: is neither .csv, .tsv nor .jsonl"]
    assert problems_of(table(tmp_path, "", "t.jsonl")) == [
        "t.jsonl: the table is empty; it holds one JSON object per line"
    ]
    os.mkfifo(tmp_path / "f.csv")
    assert problems_of(tables.table(str(tmp_path / "f.csv"), "f.csv")) == ["f.csv: is not a regular file"]
    with pytest.raises(FileNotFoundError):
        list(tables.table(str(tmp_path / "none.csv"), "none.csv"))


@given(st.lists(st.text(st.sampled_from('ab ,"\né\r'), max_size=6), min_size=1, max_size=5))
def test_every_cell_is_found_where_it_stands(cells: list[str]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerow(cells)
    row = file.getvalue()
    lines = re.split(r"\r\n|\r|\n", row)
    for number, cell in enumerate(cells):
        line, column = cell_position(row, number)
        assert lines[line - 1][column - 1 :].startswith(('"', cell.split("\n")[0].split("\r")[0]))


@given(
    st.binary(max_size=120)
    | st.text(st.sampled_from('id,image"\n\r;\t{}[]:é\0'), max_size=60).map(str.encode)
)
def test_any_bytes_give_rows_or_problems(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    for name in ("any.csv", "any.jsonl"):
        for found in table(folder, b"id,prompt\n" * (name == "any.csv") + data, name):
            if isinstance(found, Draft):
                assert isinstance(found.origin, InTable)
                found.origin.problem("x", ("prompt",), "no")


@given(st.dictionaries(st.sampled_from(["id", "image", "prompt"]), st.text(max_size=20), min_size=1))
def test_tables_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "back"
    folder.mkdir(exist_ok=True)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fields)
    writer.writeheader()
    writer.writerow(fields)
    try:
        text = file.getvalue().encode()
    except UnicodeEncodeError:
        return
    if any(cells.refusal(name, cell) for name, text in fields.items() for cell in (text, text.strip())):
        return
    stripped = {name: cell.strip() for name, cell in fields.items() if cell.strip()}
    assert rows(folder, text) == ([stripped] if stripped else [])
    json_fields = {name: cell for name, cell in fields.items() if cell}
    assert rows(folder, json.dumps(fields), "back.jsonl") == [json_fields]


# -- dialects --------------------------------------------------------------------------------------------------------

GERMAN = (
    'ID;Image;Prompt;Cfg Scale;Duration;Sound;Multi-Shot\r\na;a.png;"Rain; then sun";0,5;5,0;WAHR;FALSCH\r\n'
)
READ = {
    "id": "a",
    "image": "a.png",
    "prompt": "Rain; then sun",
    "cfg_scale": 0.5,
    "duration": "5",
    "sound": "on",
    "multi_shot": False,
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("excel-de.csv", GERMAN.encode("utf-8-sig")),
        ("excel-unicode.txt.csv", GERMAN.replace(";", "\t").replace("Rain\t", "Rain;").encode("utf-16")),
        ("big-endian.csv", b"\xfe\xff" + GERMAN.encode("utf-16-be")),
        ("sep.csv", b"sep=;\r\n" + GERMAN.encode()),
        ("sep-quoted.csv", b'"sep=;"\n' + GERMAN.encode()),
        ("old-mac.csv", GERMAN.replace("\r\n", "\r").encode()),
        ("tabs.tsv", GERMAN.replace(";", "\t").replace("Rain\t", "Rain;").encode()),
        ("semicolons.tsv", GERMAN.encode()),
        ("pipes.csv", GERMAN.replace(";", "|").replace("Rain|", "Rain;").encode()),
        ("trailing.csv", GERMAN.replace("\r\n", ";;\r\n").encode()),
        ("blank.csv", b";;;\r\n" + GERMAN.encode() + b";;;;\r\n"),
        (
            "pandas.csv",
            b'id,image,prompt,cfg_scale,duration,sound,multi_shot\na,a.png,"Rain; then sun",0.5,5.0,True,False\n',
        ),
        (
            "postgres.csv",
            b'id,image,prompt,cfg_scale,duration,sound,multi_shot,mode\na,a.png,"Rain; then sun",0.5,5,t,f,\\N\n',
        ),
        (
            "typed.csv",
            b"id,image,prompt,cfg_scale,duration,sound,multi_shot\na,a.png,Rain; then sun,'0.5,'5,1,0\n",
        ),
    ],
)
def test_dialects_that_can_mean_only_one_thing_are_read(tmp_path: Path, name: str, text: bytes) -> None:
    assert rows(tmp_path, text, name) == [READ]


def test_places_are_right_in_every_dialect(tmp_path: Path) -> None:
    (draft,) = drafts_of(table(tmp_path, b"sep=;\r\n" + GERMAN.encode()))
    assert str(draft.origin.problem("a", ("duration",), "no")) == "shots.csv:3:30: row 3 (a).duration: no"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04rest", "is a workbook"),
        (b"\xd0\xcf\x11\xe0rest", "is a workbook"),
        (b"<html><table>", "HTML"),
        (b"  <!DOCTYPE html>", "HTML"),
        ("id,prompt\na,x\n".encode("utf-16-le"), "without its mark"),
        ("id,prompt\na,x\n".encode("utf-32"), "UTF-32"),
        ("id,prompt\na,Café\n".encode("cp1252"), "Save As, CSV UTF-8"),
        ("id,prompt\na,Café\n".encode("mac_roman"), "Save As, CSV UTF-8"),
        ("id,prompt\na,x\n".encode("utf-16")[:-1], "damaged"),
        (b",id,prompt\n0,a,x\n", "column 1: has no name (pandas: index=False leaves it out)"),
        (b"id,,prompt\na,,x\n", "column 2: has no name"),
        (b"id,prompt,,\na,x,y,\n", "column 3: has no name, but row 2 has text in it; name it"),
        ("id,prompt\na,“Rain, sun”\n".encode(), "needs double quotes around it, straight ones"),
        (b"id,prompt\na,x\nid,prompt\nb,y\n", "row 3: is the header once more"),
        (b"id,prompt\na,=A2&B2\n", "row 2 (a).prompt: is a formula"),
        (b'id,prompt\na,"=CONCATENATE(A2,"" pan"")"\n', "row 2 (a).prompt: is a formula"),
        (b"id,external_task_id\na,8.29827E+17\n", "row 2 (a).external_task_id: 8.29827E+17 is a long number"),
        (b"id;external_task_id\na;8,29827E+17\n", "row 2 (a).external_task_id: 8,29827E+17 is a long number"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_remedy(tmp_path: Path, data: bytes, words: str) -> None:
    found = list(table(tmp_path, data))
    (problem,) = [str(one) for one in found if isinstance(one, Problem)]
    assert problem.startswith("shots.csv")
    assert words in problem


ERRORS = [
    "#N/A",
    "#REF!",
    "#VALUE!",
    "#NAME?",
    "#DIV/0!",
    "#NULL!",
    "#NUM!",
    "#SPILL!",
    "#CALC!",
    "#GETTING_DATA",
]
ERRORS += [
    "#NV",
    "#BEZUG!",
    "#WERT!",
    "#ZAHL!",
    "#ÜBERLAUF!",
    "#VALEUR!",
    "#NOM?",
    "#¡REF!",
    "#¿NOMBRE?",
    "#N/D",
]
ERRORS += ["#RIF!", "#VERW!", "#DEEL/0!", "#Н/Д", "#ССЫЛКА!", "#ERROR!", "########", "Err:502"]
NOTHINGS = [
    "nan",
    "NaN",
    "NAN",
    "NaT",
    "NULL",
    "null",
    "None",
    "none",
    "N/A",
    "n/a",
    "NA",
    "<NA>",
    "undefined",
    "(null)",
]


@pytest.mark.parametrize("cell", [*ERRORS, *NOTHINGS, "Caf\ufffd", "\ufffd"])
@pytest.mark.parametrize("column", ["prompt", "negative_prompt", "image", "mode"])
def test_a_cell_that_stands_for_a_lost_value_is_refused_with_its_place(
    tmp_path: Path, cell: str, column: str
) -> None:
    found = list(table(tmp_path, f"id,take,{column}\nfirst,1,fine\nsecond,2, {cell} \nthird,3,fine\n"))
    (problem,) = [str(one) for one in found if isinstance(one, Problem)]
    assert problem.startswith(f"shots.csv:3:10: row 3 (second).{column}: ")
    assert [one.fields["id"] for one in found if isinstance(one, Draft)] == ["first", "third"]
    line = json.dumps({"id": "second", column: cell})
    (told,) = problems_of(table(tmp_path, line, "t.jsonl"))
    assert told.startswith("t.jsonl:1:")
    assert f"row 1 (second).{column}: " in told


@pytest.mark.parametrize(
    "cell",
    [
        "Nanna waves",
        "A null result",
        "None of them moves",
        "#sunset",
        "#1 fan",
        "No",
        "n",
        "nana",
        "1E+2",
        "Banana",
        "=)",
    ],
)
def test_text_that_only_looks_like_it_is_a_prompt(tmp_path: Path, cell: str) -> None:
    assert rows(tmp_path, f"id,prompt\na,{cell}\n") == [{"id": "a", "prompt": cell}]


def test_a_row_may_be_called_na_but_not_nan(tmp_path: Path) -> None:
    assert rows(tmp_path, "id,prompt\nNA,Namibia\nnone,x\n")[0]["id"] == "NA"
    assert problems_of(table(tmp_path, "id,prompt\nNaN,x\n"))


def test_a_number_with_three_digits_after_its_comma_may_be_thousands(tmp_path: Path) -> None:
    assert rows(tmp_path, 'id,cfg_scale\na,"0,25"\nb,"1,000"\n') == [
        {"id": "a", "cfg_scale": 0.25},
        {"id": "b", "cfg_scale": "1,000"},
    ]


@pytest.mark.parametrize("name", ["Prompt", " PROMPT ", "\u200bprompt", "\xa0Prompt\xa0", "prompt\ufeff"])
def test_a_header_is_known_in_the_forms_that_people_type(tmp_path: Path, name: str) -> None:
    assert rows(tmp_path, f"Id,{name},Negative Prompt\na,x,y\n") == [
        {"id": "a", "prompt": "x", "negative_prompt": "y"}
    ]


def test_the_readers_of_cells_are_of_columns_that_there_are() -> None:
    assert cells._READERS.keys() <= tables._known_columns()
