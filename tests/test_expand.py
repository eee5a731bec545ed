"""Folders and tables: which files and rows make jobs, in which order, with which fields, and what is wrong where."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen import expand
from batchgen.expand import Draft, match_error
from batchgen.models import Problem
from batchgen.origins import InTable, cell_position
from batchgen.placeholders import PlaceholderError, fill_in, stem


def drafts_of(found: Iterator[Draft | Problem]) -> list[Draft]:
    drafts = list(found)
    problems = [str(draft) for draft in drafts if isinstance(draft, Problem)]
    assert not problems
    return [draft for draft in drafts if isinstance(draft, Draft)]


def problems_of(found: Iterator[Draft | Problem]) -> list[str]:
    return [str(draft) for draft in found if isinstance(draft, Problem)]


# -- folders ---------------------------------------------------------------------------------------------------------


def make(root: Path, *names: str) -> Path:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return root


def folder(root: Path, match: str | None = None) -> list[str | None]:
    return [draft.id for draft in drafts_of(expand.folder(0, str(root), "shown", match))]


def test_without_match_the_images_of_the_folder_itself_are_taken(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a.JPG", "c.jpeg", "d.gif", "e", "sub/f.png", "png", ".hidden.png")
    assert folder(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ("*.png", ["a", "B"]),
        ("**/*.png", ["B", "a", "sub/deep/d", "sub/x"]),
        ("**", ["B", "a", "c", "sub/deep/d", "sub/deep/e", "sub/x"]),
        ("**/*", ["B", "a", "c", "sub/deep/d", "sub/deep/e", "sub/x"]),
        ("sub/*", ["sub/x"]),
        ("SUB/**", ["sub/deep/d", "sub/deep/e", "sub/x"]),
        ("./*.jpg", ["c"]),
        ("**/deep/**/*.png", ["sub/deep/d"]),
        ("**/**/d.*", ["sub/deep/d"]),
        ("?.p[nx]g", ["B", "a"]),
        ("[!ab]*", ["c"]),
        ("nothing*", []),
    ],
)
def test_match(tmp_path: Path, match: str, taken: list[str]) -> None:
    make(tmp_path, "a.png", "B.PNG", "c.jpg", "sub/x.png", "sub/deep/d.png", "sub/deep/e.jpg")
    make(tmp_path, ".git/x.png", "sub/.thumbs/y.png", "sub/.z.png")
    assert sorted(map(str, folder(tmp_path, match))) == sorted(taken)


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ("/abs/*.png", "relative to the folder"),
        ("../*.png", "can't leave it"),
        ("a/../../b", "can't leave it"),
        ("~/x", "relative"),
        ("*.{png,jpg}", "not {a,b}"),
        ("**.png", "**/*.png"),
    ],
)
def test_globs_that_would_match_nothing_are_refused(match: str, text: str) -> None:
    assert text in str(match_error(match))
    assert match_error("**/*.png") is None


def test_the_order_is_that_of_the_paths_whatever_the_file_system_says(tmp_path: Path) -> None:
    names = [f"{n * 7919 % 100}.png" for n in range(100)] + ["z/1.png", "A/2.png"]
    make(tmp_path, *names)
    ids = folder(tmp_path, "**")
    assert ids == sorted(map(str, ids), key=lambda i: (i.rpartition("/")[0], i.rpartition("/")[2] + ".png"))
    assert ids[:2] == ["0", "1"]


def test_sidecars_give_prompt_and_fields_and_are_no_images(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png", "c.jpg")
    (tmp_path / "a.txt").write_text("\ufeff  A {literal} prompt\nof two lines \n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("duration: 7\nsound: on\n")
    (tmp_path / "c.yml").write_text("take: '2'\n")
    (tmp_path / "c.txt").write_text("x")
    drafts = drafts_of(expand.folder(3, str(tmp_path), "inbox", "*"))
    assert [draft.fields for draft in drafts] == [
        {"prompt": "A {literal} prompt\nof two lines"},
        {"duration": "7", "sound": "on"},
        {"prompt": "x", "take": 2},
    ]
    assert [draft.file for draft in drafts] == [f"{tmp_path}/{name}" for name in ("a.png", "b.png", "c.jpg")]
    problem = drafts[1].origin.problem("b", ("duration",), "no")
    assert str(problem) == "inbox/b.yaml:1:1: jobs[3] (b).duration: no"
    assert str(drafts[0].origin.problem("a", ("prompt",), "no")) == "inbox/a.txt: jobs[3] (a).prompt: no"
    assert str(drafts[0].origin.problem("a", ("mode",), "no")) == "inbox/a.png: jobs[3] (a).mode: no"


@pytest.mark.parametrize(
    ("sidecars", "problem"),
    [
        ({"a.txt": b" \n"}, "in/a.txt:1:1: the file is empty; write the prompt into it, or remove it"),
        ({"a.txt": b"x\n\xff"}, "in/a.txt:2:1: the byte 0xff is not UTF-8 text; save it as UTF-8"),
        ({"a.txt": "x".encode("utf-16")}, "in/a.txt:1:1: this is UTF-16 text; save it as UTF-8"),
        ({"a.txt": b"x" * (2**20 + 1)}, "in/a.txt:1:1: more than 1 MiB: this can't be about one image"),
        (
            {"a.yaml": b""},
            "in/a.yaml:1:1: the file is empty; write fields into it (prompt: ...), or remove it",
        ),
        ({"a.yaml": b"- 1"}, "in/a.yaml:1:1: a file beside an image holds fields (key: value)"),
        ({"a.yaml": b"x: 1\nx: 2"}, 'in/a.yaml:2:1: the key "x" stands twice; first at 1:1'),
        (
            {"a.txt": b"x", "a.yaml": b"prompt: y"},
            "in/a.yaml:1:1: prompt: prompt is given in in/a.txt as well",
        ),
        (
            {"a.yaml": b"mode: pro", "a.yml": b"mode: std"},
            "in/a.yml:1:1: mode: mode is given in in/a.yaml as well",
        ),
    ],
)
def test_wrong_sidecars(tmp_path: Path, sidecars: dict[str, bytes], problem: str) -> None:
    make(tmp_path, "a.png", "b.png")
    for name, data in sidecars.items():
        (tmp_path / name).write_bytes(data)
    found = list(expand.folder(0, str(tmp_path), "in", None))
    assert [str(one) for one in found if isinstance(one, Problem)] == [problem]
    assert [one.id for one in found if isinstance(one, Draft)] == ["b"]


def test_links_and_things_that_are_no_files(tmp_path: Path) -> None:
    make(tmp_path, "real/a.png", "in/b.png")
    root = tmp_path / "in"
    (root / "loop").symlink_to(root)
    (root / "up.png").symlink_to(root)  # a folder in spite of its name
    (root / "linked.png").symlink_to(tmp_path / "real" / "a.png")
    (root / "dead.png").symlink_to(tmp_path / "nowhere")
    (root / "dir.png").mkdir()
    os.mkfifo(root / "fifo.png")
    os.mkfifo(root / "b.txt")
    found = list(expand.folder(0, str(root), "in", "**"))
    # what is no folder is a job: its image's check says what is the matter
    assert [one.id for one in found if isinstance(one, Draft)] == ["dead", "fifo", "linked"]
    assert problems_of(iter(found)) == ["in/b.txt:1:1: is not a regular file"]
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert folder(tmp_path / "link") == ["a"]


def test_a_folder_that_is_missing_or_a_file_raises_for_the_caller(tmp_path: Path) -> None:
    make(tmp_path, "file")
    with pytest.raises(FileNotFoundError):
        folder(tmp_path / "none")
    with pytest.raises(NotADirectoryError):
        folder(tmp_path / "file")


def test_thousands_of_files_are_quick(tmp_path: Path) -> None:
    make(tmp_path, *(f"{n % 20}/{n}.png" for n in range(2_000)))
    begin = time.process_time()
    assert len(folder(tmp_path, "**/*.png")) == 2_000
    assert time.process_time() - begin < 0.5  # it takes a twentieth of that


# -- tables ----------------------------------------------------------------------------------------------------------


def table(tmp_path: Path, text: str | bytes, name: str = "shots.csv") -> Iterator[Draft | Problem]:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return expand.table(str(tmp_path / name), name)


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
            ['t.csv:1:4: header.durtion: unknown key "durtion"; did you mean "duration"?'],
        ),
        (b"id,,prompt\n", ["t.csv:1:4: header: column 2 has no name"]),
        (b"id,id\n", ['t.csv:1:4: header.id: the column "id" stands twice']),
        (
            b"id;image;prompt\n",
            ["t.csv:1:1: header.id;image;prompt: the cells of a .csv are separated by commas"],
        ),
        (
            b"id,mode\na\nb,pro\nc,pro,x\n",
            ["t.csv:2:1: row 2: 1 cells", "t.csv:4:1: row 4: 3 cells, but the header has 2"],
        ),
        (b'id\na\n"b\nc\n', ["t.csv:3:1: row 3: a double quote opens a cell here and is never closed"]),
        (b'id,prompt\na,"b"c\n', ["t.csv:2:1: row 2: text follows a closing double quote"]),
        (b"id\na\n\xe4\n", ["t.csv:3:1: the byte 0xe4 is not UTF-8 text; save it as UTF-8"]),
        ("id\na".encode("utf-16"), ["t.csv:1:1: this is UTF-16 text; save it as UTF-8"]),
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
    monkeypatch.setattr(expand, "LONGEST_ROW", 2**20)
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
    assert str(second.origin.problem(None, ("mode",), "no")) == "t.jsonl:3:1: row 3.mode: no"


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
        (b'{"a": ' + b"9" * 5000 + b"}", "t.jsonl:2:1: row 2: Exceeds the limit"),
    ],
)
def test_wrong_json_lines(tmp_path: Path, line: bytes, problem: str) -> None:
    found = list(table(tmp_path, b'{"id": "a"}\n' + line + b'\n{"id": "b"}', "t.jsonl"))
    assert [str(one)[: len(problem)] for one in found if isinstance(one, Problem)] == [problem]
    assert [one.fields for one in found if isinstance(one, Draft)] == [{"id": "a"}, {"id": "b"}]


def test_other_files_are_no_tables(tmp_path: Path) -> None:
    assert problems_of(table(tmp_path, "x", "t.xlsx")) == ["t.xlsx: is neither .csv nor .jsonl"]
    assert problems_of(table(tmp_path, "", "t.jsonl")) == [
        "t.jsonl: the table is empty; it holds one JSON object per line"
    ]
    os.mkfifo(tmp_path / "f.csv")
    assert problems_of(expand.table(str(tmp_path / "f.csv"), "f.csv")) == ["f.csv: is not a regular file"]
    with pytest.raises(FileNotFoundError):
        list(expand.table(str(tmp_path / "none.csv"), "none.csv"))


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
    stripped = {name: cell.strip() for name, cell in fields.items() if cell.strip()}
    assert rows(folder, text) == ([stripped] if stripped else [])
    json_fields = {name: cell for name, cell in fields.items() if cell}
    assert rows(folder, json.dumps(fields), "back.jsonl") == [json_fields]


# -- placeholders ----------------------------------------------------------------------------------------------------


def filled(text: str, image: str = "/night/inbox/spring/hero.v2.png") -> str:
    return str(fill_in({"prompt": text}, lambda: image).get("prompt", text))


def test_placeholders_are_filled_in() -> None:
    assert filled("{stem}, {name} of {parent}") == "hero.v2, hero.v2.png of spring"
    assert filled("{{stem}} }}{{ {{{stem}}}") == "{stem} }{ {hero.v2}"
    assert filled("plain") == "plain"
    assert filled("{stem}", "https://x.org/a/My%20shot.png?size=2#x") == "My shot"
    assert filled("{parent}", "HTTPS://x.org/a/b.png") == "a"
    assert stem("https://x.org/") == ""


def test_all_kinds_of_prompts_are_filled_in() -> None:
    fields = {
        "negative_prompt": "{stem}",
        "multi_prompt": [{"index": 1, "prompt": "{name}"}, {"prompt": 5}, "x"],
        "id": "{x}",
    }
    assert fill_in(fields, lambda: "/a/b.png") == {
        "negative_prompt": "b",
        "multi_prompt": [{"index": 1, "prompt": "b.png"}, {"prompt": 5}, "x"],
    }


@pytest.mark.parametrize(
    ("text", "image", "problem"),
    [
        ("{", "/a/b.png", "a single {"),
        ("a } b", "/a/b.png", "a single }"),
        ("{{}", "/a/b.png", "a single }"),
        ("{}", "/a/b.png", "{} is no placeholder"),
        ("{Stem}", "/a/b.png", "did you mean {stem}?"),
        ("{ stem }", "/a/b.png", "did you mean {stem}?"),
        ("{stem!r}", "/a/b.png", "{stem!r} is no placeholder"),
        ("{stem:>9999999999}", "/a/b.png", "is no placeholder"),
        ("{stem.__class__}", "/a/b.png", "is no placeholder"),
        ("{0}", "/a/b.png", "{0} is no placeholder"),
        ("{stem}", "", "{stem} stands for nothing here"),
        ("{parent}", "https://x.org/a.png", "{parent} stands for nothing here"),
    ],
)
def test_wrong_placeholders(text: str, image: str, problem: str) -> None:
    with pytest.raises(PlaceholderError) as caught:
        fill_in({"multi_prompt": [{}, {"prompt": text}]}, lambda: image)
    assert problem in caught.value.text
    assert caught.value.path == ("multi_prompt", 1, "prompt")


@given(st.text(st.sampled_from("{}stemnaparxé "), max_size=30))
def test_filling_in_inverts_doubling_and_nothing_else_gets_through(text: str) -> None:
    assert filled(text.replace("{", "{{").replace("}", "}}")) == text
    try:
        result = filled(text)
    except PlaceholderError:
        return
    names = ("{stem}", "{name}", "{parent}", "{{", "}}")
    assert re.sub("|".join(map(re.escape, names)), "", text).count("{") == 0
    assert "{" not in result or "{{" in text
