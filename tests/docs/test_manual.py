"""The manual's pages: all are there and reached, what troubleshooting quotes is said, and ``batchgen help`` shows them."""

from __future__ import annotations

import ast
import functools
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from batchgen import errors
from batchgen.api.codes import CODES
from batchgen.cli.main import main
from batchgen.manual import pages, terminal
from tests.machine.test_cli import parsers
from tests.support.documents import MANUAL, PACKAGE, PAGES, README, ROOT, blocks, codes, rows, section
from tests.support.terminal import on_a_terminal, read

# -- the pages ---------------------------------------------------------------------------------------------------------


def test_every_page_is_a_topic_and_says_in_its_first_line_what_it_is_about() -> None:
    assert sorted(pages.TOPICS) == sorted(path.stem for path in (PACKAGE / "manual").glob("*.md"))
    for topic, text in MANUAL.items():
        assert text.startswith(f"# {topic.capitalize()}: {pages.page(topic).title}\n")


def test_readme_is_a_screen_or_two_and_leads_to_every_page() -> None:
    assert len(README.encode()) < 7_300
    listed = rows(section(README, "Read on"))
    assert listed == [
        [f"[{topic.capitalize()}](batchgen/manual/{topic}.md)", pages.page(topic).title]
        for topic in pages.TOPICS
    ]


def headings(text: str) -> set[str]:
    """What a link names behind its ``#``, as GitHub spells headings."""
    found = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[name]):
        path, _, heading = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.is_file(), target
        assert not heading or heading in headings(file.read_text("utf-8")), target


# -- the API's fields --------------------------------------------------------------------------------------------------

REQUEST = json.loads((ROOT / "schemas/image2video.schema.json").read_text("utf-8"))
MANIFEST = json.loads((ROOT / "schemas/manifest.schema.json").read_text("utf-8"))


def shape(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the forms that a manifest's value may have the one with keys or entries, else the value."""
    forms = [value, *value.get("anyOf", ())]
    return next((form for form in forms if form.keys() & {"properties", "items"}), value)


def fields(
    prefix: str, request: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Iterator[tuple[str, str, set[str]]]:
    """Every field with what editors say of it and what it may be: words, or its lowest and highest."""
    for name, found in request.items():
        value = {**REQUEST["$defs"].get(found.get("$ref", "").rpartition("/")[2], {}), **found}
        meant = shape(manifest[name])
        choices = set(value.get("enum", ())) | ({"true", "false"} if value["type"] == "boolean" else set())
        yield f"{prefix}{name}", manifest[name]["description"], choices
        inner, below = (
            (value, meant)
            if "properties" in value
            else (value.get("items", {}), shape(meant.get("items", {})))
        )
        dots = "." if "properties" in value else "[]."
        if dots == "[]." and "properties" in inner:
            assert set(inner["required"]) == set(inner["properties"])  # as the page says of lists
        yield from fields(f"{prefix}{name}{dots}", inner.get("properties", {}), below.get("properties", {}))


def told(may: str) -> set[str]:
    """What a cell says that a field may be: each word of it, those between two numbers included."""
    words = codes(may.partition("; by default")[0])
    if " to " in may and words:
        return set(map(str, range(int(words[0]), int(words[1]) + 1)))
    return set(words)


def test_every_field_of_the_api_is_told_with_its_values_and_in_the_words_of_editors() -> None:
    table = rows(section(MANUAL["manifest"], "The API's fields"))
    listed = [(codes(name)[0], meaning.replace("`", ""), told(may)) for name, may, meaning in table]
    assert listed == list(fields("", REQUEST["properties"], MANIFEST["$defs"]["fields"]["properties"]))
    defaults = {codes(name)[0]: codes(may)[-1] for name, may, _ in table if "; by default" in may}
    assert defaults == {
        name: str(value["default"]).replace("False", "false")
        for name, value in REQUEST["properties"].items()
        if "default" in value
    }


# -- troubleshooting ---------------------------------------------------------------------------------------------------


@functools.cache
def sayings() -> frozenset[str]:
    """Every text in the program's source and in what its schemas say; what is filled in is left out."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add(
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    schemas = [
        (ROOT / "schemas" / name).read_text("utf-8")
        for name in ("image2video.schema.json", "manifest.schema.json")
    ]
    return frozenset(found) | {
        json.loads(text) for schema in schemas for text in re.findall(r'"(?:[^"\\]|\\.)*"', schema)
    }


TABLES = ("Nothing was begun", "A manifest was refused", "An image was refused", "A job didn't get its clip")


@pytest.mark.parametrize(
    "message",
    [
        code
        for title in TABLES
        for row in rows(section(MANUAL["troubleshooting"], title))
        for code in codes(row[0])
    ],
)
def test_what_troubleshooting_quotes_is_said_by_the_program(message: str) -> None:
    for part in message.split("..."):
        words = part.strip(" ;,:")
        assert not words or any(words in saying for saying in sayings()), words


def test_every_cause_of_a_stop_is_explained() -> None:
    kinds = [
        kind
        for row in rows(section(MANUAL["troubleshooting"], "Why a run stopped"))
        for kind in codes(row[0])
    ]
    assert sorted(kinds) == sorted(errors.ADVICE)


def test_the_codes_of_the_api_are_told_in_the_programs_words() -> None:
    listed = {
        int(code): meaning.rpartition("; ")[0]
        for code, meaning in rows(section(MANUAL["troubleshooting"], "The API's codes"))
    }
    assert listed == {code: meaning.words for code, meaning in CODES.items()}


def test_the_stops_that_end_with_exit_code_3_are_those_of_the_account() -> None:
    stops = [meaning.kind for meaning in CODES.values() if meaning.error is errors.AccountStop]
    kinds = [codes(row[0])[0] for row in rows(section(MANUAL["troubleshooting"], "Why a run stopped"))]
    assert set(kinds[:6]) == set(stops)


# -- batchgen help -----------------------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["help", *words])
    return (code, *capsys.readouterr())


def test_without_a_topic_the_pages_are_listed_with_what_they_are_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = said(capsys)
    assert (code, err) == (0, "")
    listed = [line.split("  ", 1) for line in out.partition("\n\n")[0].splitlines()]
    assert [(topic, about.strip()) for topic, about in listed] == [
        (topic, pages.page(topic).title) for topic in pages.TOPICS
    ]


def test_the_list_of_pages_is_folded_to_the_terminal(tmp_path: Path) -> None:
    code, shown = typed(tmp_path, COLUMNS="60")
    lines = read(shown).splitlines()[:-1]  # the last one has a path
    assert code == 0
    assert any(line.startswith(" " * 17) for line in lines)
    assert max(map(len, lines)) <= 60


def test_the_list_of_pages_ends_with_the_path_of_the_schema_for_editors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = said(capsys)
    path = out.splitlines()[-1].removeprefix("The schema of manifests, for editors, is ")
    assert json.loads(Path(path).read_text("utf-8")) == MANIFEST
    assert (Path(path).parent / "image2video.schema.json").is_file()  # what it refers to
    assert json.loads(said(capsys, "--json")[1])["schema"] == path


@pytest.mark.parametrize("topic", pages.TOPICS)
def test_away_from_a_terminal_a_page_is_its_markdown(capsys: pytest.CaptureFixture[str], topic: str) -> None:
    assert said(capsys, topic) == (0, MANUAL[topic], "")
    assert said(capsys, f"{topic.upper()}.md") == (0, MANUAL[topic], "")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("securty", "security"),
        ("operation", "operations"),
        ("superseded", "clips"),
        ("crontab", "operations"),
    ],
)
def test_an_unknown_topic_names_the_nearest(capsys: pytest.CaptureFixture[str], word: str, near: str) -> None:
    code, out, err = said(capsys, word)
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"batchgen help: the manual has no page '{word}'; near it: .*\b{near}\b.*\n", err)


def test_a_topic_that_nothing_is_near_to_gets_all_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "xyzzy")
    assert (code, out) == (2, "")
    assert ", ".join(pages.TOPICS) in err


@pytest.mark.parametrize("command", sorted(set(parsers()) - set(pages.TOPICS)))
def test_a_commands_name_gets_its_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, err = said(capsys, command)
    assert (code, err) == (0, "")
    assert out == parsers()[command].format_help()


# -- on a terminal -----------------------------------------------------------------------------------------------------


def typed(folder: Path, *topic: str, **variables: str) -> tuple[int, str]:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": ":".join(sys.path), **variables}
    return on_a_terminal([sys.executable, "-m", "batchgen", "help", *topic], cwd=folder, env=env)


def test_on_a_terminal_a_page_goes_through_the_pager(tmp_path: Path) -> None:
    pager = f"{sys.executable} -c \"import os, sys; print('LESS', os.environ['LESS']); print(sys.stdin.read(40))\""
    code, shown = typed(tmp_path, "prices", PAGER=pager)
    assert code == 0
    assert read(shown).startswith("LESS FRX\n# Prices: what clips cost")


def test_the_pager_is_not_given_the_key(tmp_path: Path) -> None:
    pager = f'{sys.executable} -c "import os, sys; print(sorted(os.environ)); sys.stdin.read()"'
    code, shown = typed(tmp_path, "prices", PAGER=pager, POWERTOKENS_API_KEY="canary-key-of-a-test", NEAR="1")
    assert code == 0 and "'NEAR'" in shown
    assert "POWERTOKENS" not in shown


@pytest.mark.parametrize("pager", ["no-such-pager", "'never closed", " "])
def test_without_a_pager_a_page_is_shown_as_it_is(tmp_path: Path, pager: str) -> None:
    code, shown = typed(tmp_path, "prices", PAGER=pager)
    assert code == 0
    assert read(shown).splitlines() == list(terminal.shown(MANUAL["prices"], 100))


def test_a_pager_that_is_left_early_ends_it_well(tmp_path: Path) -> None:
    code, shown = typed(tmp_path, "manifest", PAGER="head -n 1")
    assert (code, read(shown)) == (0, f"{MANUAL['manifest'].splitlines()[0]}\n")


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("topic", pages.TOPICS)
def test_a_page_fits_the_terminal_and_loses_no_word(topic: str, columns: int) -> None:
    lines = list(terminal.shown(MANUAL[topic], columns))
    code = {
        f"    {line}"
        for block in re.findall(r"^```\w+\n(.*?)^```$", MANUAL[topic], re.M | re.S)
        for line in block.splitlines()
    }
    long = [
        line
        for line in lines
        if len(line) > columns and line not in code and not line.startswith(("#", "    "))
    ]
    assert [line for line in long if " " in line.strip()] == []
    heads = r"^\|.*\n\|[-|]+\|$"  # of tables, which are left out where their columns don't fit
    words = re.sub(rf"^```\w*$|{heads}|\]\([^)]*\)", "", MANUAL[topic], flags=re.M)
    plain = re.compile(r"[^\w]+")
    left = set(plain.split(words)) - set(plain.split("\n".join(lines)))
    assert left <= {""}


def test_a_table_has_columns_where_they_fit_and_else_its_rows_one_below_the_other() -> None:
    table = "| a | b | meaning |\n|---|---|---|\n| `x` | 1 \\| 2 | " + "word " * 20 + "|\n"
    assert list(terminal.shown(table, 60)) == [
        "a    b      meaning",
        "---  -----  -------",
        "`x`  1 | 2  " + " ".join(["word"] * 9),
        " " * 12 + " ".join(["word"] * 9),
        " " * 12 + "word word",
    ]
    assert list(terminal.shown(table, 44))[:3] == [
        "`x`",
        "    b: 1 | 2",
        "    meaning: " + " ".join(["word"] * 6),
    ]
    empty = "| a | b | c |\n|---|---|---|\n| x | y | |\n| x | | " + "z" * 20 + " |\n"
    assert list(terminal.shown(empty, 22)) == ["x", "    b: y", "x", "    c:", "    " + "z" * 20]


def test_a_link_names_the_command_that_shows_its_page() -> None:
    assert list(terminal.shown("See [Prices](prices.md#x) and [above](#y), **now**.", 80)) == [
        "See Prices (batchgen help prices) and above, now."
    ]


def test_code_keeps_its_lines() -> None:
    for topic, text in MANUAL.items():
        shown = "\n".join(terminal.shown(text, 40))
        for language in ("console", "yaml", "ini", "crontab"):
            for block in blocks(text, language):
                assert "\n".join(f"    {line}".rstrip() for line in block.splitlines()) in shown, topic
