"""Names: one job however a disk spells its accents, and no clip that is paid for and can't be written."""

from __future__ import annotations

import os
import sqlite3
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen import names
from batchgen.manifest import reader
from batchgen.models import Job, Manifest
from tests.support.pictures import make_png
from tests.support.program import Desk, sandbox

NFC = "Café Ünï"
NFD = unicodedata.normalize("NFD", NFC)
QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "1")
HEAD = "version: 1\nname: night\ndefaults: {model_name: kling-v3}\njobs:\n"
FORMS = '  - folder: inbox\n    prompt: "{stem}, {name}, {parent}"\n'


def put(name: str, content: str | bytes) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def read(text: str = FORMS, *, file: str = "night.yaml") -> Manifest:
    put(file, HEAD + text)
    (found,), problems = reader.read([file])
    assert not problems
    return found


def identity(job: Job) -> tuple[str, str, str]:
    return (job.external_task_id, job.id, str(job.request.get("prompt")))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# -- one spelling ----------------------------------------------------------------------------------------------------


def test_the_two_spellings_of_these_tests_differ() -> None:
    assert NFC != NFD
    assert names.composed(NFD) == NFC


def test_a_file_is_the_same_job_whichever_way_its_accents_are_spelt() -> None:
    put(f"inbox/{NFC}.png", make_png())
    before = [identity(job) for job in read().jobs]
    assert before[0][1:] == (NFC, f"{NFC}, {NFC}.png, inbox")
    os.rename(f"inbox/{NFC}.png", f"inbox/{NFD}.png")
    assert [identity(job) for job in read().jobs] == before


def test_so_it_is_where_a_folder_or_the_manifest_has_the_accents() -> None:
    text = '  - folder: .\n    match: "**/*.png"\n    prompt: "{stem} {parent}"\n'
    put(f"one/{NFC}/a.png", make_png())
    put(f"two/{NFD}/a.png", make_png())
    one, two = read(text, file=f"one/{NFC}.yaml"), read(text, file=f"two/{NFD}.yaml")
    assert identity(one.jobs[0]) == identity(two.jobs[0])
    unnamed = [
        reader.read([file])[0][0].name
        for file in (f"one/{NFC}.yaml", f"two/{NFD}.yaml")
        if Path(file).write_text(HEAD.replace("name: night\n", "") + text)
    ]
    assert unnamed == [NFC, NFC]


@pytest.mark.parametrize("typed", [NFC, NFD])
@pytest.mark.parametrize("stored", [NFC, NFD])
def test_a_path_that_a_manifest_or_table_names_is_found_in_either_spelling(typed: str, stored: str) -> None:
    put(f"{stored}/{stored}.png", make_png())
    put(f"{stored}/{stored}.csv", f"image,prompt\n{typed}/{typed}.png,{{stem}} of {{parent}}\n")
    table = read(f"  - table: {typed}/{typed}.csv\n")
    inline = read(f"  - image: {typed}/{typed}.png\n    prompt: {NFC} of {NFC}\n")
    folder = read(f'  - folder: {typed}\n    prompt: "{{stem}} of {{parent}}"\n')
    assert {identity(found.jobs[0]) for found in (table, inline, folder)} == {identity(table.jobs[0])}
    assert identity(table.jobs[0])[1:] == (NFC, f"{NFC} of {NFC}")
    taken = read(f'  - folder: .\n    match: "**/{typed}.PNG"\n    prompt: x\n')
    assert [job.id for job in taken.jobs] == [f"{NFC}/{NFC}"]


def test_an_address_with_accents_is_one_in_either_spelling() -> None:
    from urllib.parse import quote

    found = [
        read(f"  - image: https://example.com/{quote(name)}.png\n    prompt: x\n").jobs[0]
        for name in (NFC, NFD)
    ]
    assert [job.id for job in found] == [NFC, NFC]


def test_a_prompt_that_is_typed_stays_as_it_is_typed() -> None:
    job = read(f"  - {{id: a, image: 'https://example.com/a.png', prompt: '{NFD}'}}\n").jobs[0]
    assert job.request["prompt"] == NFD


def test_twins_in_two_spellings_fail_alone_and_are_shown_so_that_one_sees_the_difference() -> None:
    for name in (NFC, NFD, "other"):
        put(f"inbox/{name}.png", make_png())
    found = read()
    assert [job.id for job in found.jobs] == ["other"]
    (twin,) = found.unusable
    assert twin.id == NFC
    assert r"Caf\xe9 \xdcn\xef.png" in twin.problem.text
    assert r"Cafe\u0301 U\u0308ni\u0308.png" in twin.problem.text


def test_ids_that_differ_only_in_spelling_are_one_id() -> None:
    put("t.csv", f"id,image,prompt\n{NFC},https://example.com/a.png,x\n{NFD},https://example.com/b.png,x\n")
    put("night.yaml", HEAD + "  - table: t.csv\n")
    found, problems = reader.read(["night.yaml"])
    assert found == []
    assert "is the id of t.csv:2:1 already" in str(problems[0])
    assert "accents" in str(problems[0])


def test_manifests_whose_names_differ_only_in_spelling_are_refused() -> None:
    for file, name in (("a.yaml", NFC), ("b.yaml", NFD)):
        put(
            file, HEAD.replace("night", name) + "  - {id: a, image: 'https://example.com/a.png', prompt: x}\n"
        )
    assert len(reader.read(["a.yaml", "b.yaml"])[1]) == 2


@given(st.text(max_size=20))
def test_composing_is_done_once_and_for_all(name: str) -> None:
    assert names.composed(names.composed(name)) == names.composed(name)
    assert names.folded(names.folded(name)) == names.folded(name)


# -- over the wire: nothing is paid for twice ------------------------------------------------------------------------


def test_a_sync_tool_that_respells_every_name_makes_nothing_new(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("night.yaml", HEAD.replace("night", NFC) + FORMS + f"  - table: {NFC}.csv\n")
    desk.write(f"inbox/{NFC}.png", make_png(seed=1))
    desk.write(f"pictures/{NFC}.png", make_png(seed=2))
    desk.write(f"{NFC}.csv", f"id,image,prompt\nrow {NFC},pictures/{NFC}.png,{{stem}}\n")
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1") as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "night.yaml").code == 0
        for name in (f"inbox/{NFC}.png", f"pictures/{NFC}.png", f"{NFC}.csv", f"clips/{NFC}"):
            (tmp_path / name).rename(tmp_path / unicodedata.normalize("NFD", name))
        table = tmp_path / f"{NFD}.csv"
        table.write_text(unicodedata.normalize("NFD", table.read_text()))
        again = desk.run("run", *QUICK, "night.yaml")
        assert (again.code, again.out, again.err) == (0, "", "")
        assert len(server.accepted()) == 2


def test_a_row_of_an_earlier_version_in_another_spelling_is_this_job_s_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("inbox/x.png", make_png())
    inline = f"  - {{id: '{NFC}', image: inbox/x.png, prompt: '{NFD}, {NFD}.png, inbox'}}\n"
    desk.write("night.yaml", HEAD.replace("night", NFC) + inline)
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1") as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "night.yaml").code == 0
        with sqlite3.connect(tmp_path / "home/.local/state/batchgen/ledger.db") as ledger:
            assert ledger.execute("UPDATE tasks SET job_id = ?, manifest = ?", (NFD, NFD)).rowcount == 1
        ledger.close()
        (tmp_path / "inbox/x.png").rename(tmp_path / f"inbox/{NFD}.png")
        desk.write("night.yaml", HEAD.replace("night", NFC) + FORMS)
        for options in ((), ("--accept-changes",)):
            again = desk.run("run", *QUICK, *options, "night.yaml")
            assert (again.code, again.err) == (0, "")
        assert len(server.accepted()) == 1


# -- what can be written ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("猫" * 77, True),
        ("猫" * 78, False),
        ("猫" * 83, False),
        ("x" * 200, True),
        ("é" * 115, True),
        ("é" * 116, False),
    ],
)
def test_the_bytes_of_a_clip_s_name_are_counted_before_money(name: str, fits: bool) -> None:
    put("t.csv", f"id,image,prompt\n{name},https://example.com/a.png,x\n")
    put("night.yaml", HEAD + "  - table: t.csv\n")
    found, problems = reader.read(["night.yaml"])
    assert bool(found) is fits
    longest = f"clips/night/{name}-01234567.part2.mp4.part"
    if fits:
        put(longest, b"")  # it can be written
    else:
        assert f"has {len(name.encode())} bytes" in str(problems[0])
        assert "give the job a shorter id" in str(problems[0])
        with pytest.raises(OSError, match="too long"):
            put(longest, b"")


def test_a_picture_with_too_long_a_name_fails_alone() -> None:
    put(f"inbox/{'猫' * 80}.png", make_png())
    put("inbox/cat.png", make_png(seed=1))
    found = read()
    assert [job.id for job in found.jobs] == ["cat"]
    assert "has 240 bytes" in found.unusable[0].problem.text


def test_a_take_needs_room_in_the_name_too() -> None:
    job = f"{{id: '{'猫' * 77}', image: 'https://example.com/a.png', prompt: x"
    assert len(read(f"  - {job}}}\n").jobs) == 1
    put("night.yaml", HEAD + f"  - {job}, take: 2}}\n")
    assert "bytes" in str(reader.read(["night.yaml"])[1][0])


def test_the_manifest_s_name_and_the_whole_path_are_counted() -> None:
    job = "  - {id: a, image: 'https://example.com/a.png', prompt: x}\n"
    put("night.yaml", HEAD.replace("night", "猫" * 86) + job)
    assert "258 bytes" in str(reader.read(["night.yaml"])[1][0])
    deep = "/".join(["y" * 200] * 20)[: 4085 - len(os.getcwd())].rstrip("/")  # with its clip's name too long
    put("night.yaml", HEAD.replace("jobs:", f"output_dir: {deep}\njobs:") + job)
    assert "bytes long; 4095 are possible" in str(reader.read(["night.yaml"])[1][0])


@pytest.mark.parametrize(
    "name", ["con", "NUL", "a:b", "what?", "sub./a", "sub /a", "com1.v2", "a/aux", "a|b", 'a"b']
)
def test_names_that_other_systems_refuse_are_warned_of(name: str) -> None:
    put(
        "t.jsonl",
        f'{{"id": "{name}", "image": "https://example.com/a.png", "prompt": "x"}}\n'.replace('a"b', r"a\"b"),
    )
    (warning,) = read("  - table: t.jsonl\n").warnings
    assert "Windows" in str(warning)


@pytest.mark.parametrize("name", ["hero", "icon", "concert", "a.b", "a b/c", "null", "v1..2", "com10"])
def test_names_that_are_fine_everywhere_are_not(name: str) -> None:
    assert read(f"  - {{id: '{name}', image: 'https://example.com/a.png', prompt: x}}\n").warnings == []


def test_ids_that_differ_only_in_case_are_warned_of() -> None:
    put(
        "t.csv",
        "id,image,prompt\n"
        + "".join(f"{name},https://example.com/{name},x\n" for name in ("Cat", "cat", "CAT", "dog")),
    )
    (warning,) = read("  - table: t.csv\n").warnings
    assert 'differs from "cat" only in case' in str(warning)
    assert "(and 1 more like it)" in str(warning)


@pytest.mark.parametrize(
    ("name", "count"), [("hero\u200b", 1), ("he\xa0ro", 1), ("héro", 0), ("👩\u200d🚀", 0)]
)
def test_ids_with_what_cannot_be_seen_are_warned_of(name: str, count: int) -> None:
    put("t.csv", f"id,image,prompt\nother,https://example.com/b.png,x\n{name},https://example.com/a.png,x\n")
    warnings = read("  - table: t.csv\n").warnings
    assert [str(one)[:9] for one in warnings] == ["t.csv:3:1"] * count
    assert all("can't be seen" in str(one) for one in warnings)
