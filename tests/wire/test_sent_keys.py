"""A request that holds the key is never sent, is told of without quoting it, and leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from batchgen.api.client import Api
from batchgen.errors import ImageError
from batchgen.images.inspection import inspect
from batchgen.manifest import reader
from batchgen.masking import Mask
from tests.machine.test_key import QUICK, holding, told
from tests.support.pictures import make_png
from tests.support.program import ENDS, KEY, Desk, sandbox
from tests.support.spellings import SPELLINGS, readable
from tests.support.wire import made, saying, wire

LONG = "sk-live-A7bQ9zKxqLmN5pRt8vWytCdF4gHj6kLqZ0"
URL = "https://example.com/a.png"
HEAD = "version: 1\nname: m\ndefaults: {model_name: kling-v3}\njobs:\n"
POINTS = "trajectories: [{x: 1, y: 1}, {x: 9, y: 9}]"


def job(fields: str) -> str:
    return f"  - {{id: a, image: {URL}, {fields}}}\n"


PLACES: Mapping[str, Callable[[str], tuple[str, str]]] = {
    "prompt": lambda key: (job(f"prompt: 'a cat {key}'"), "prompt"),
    "negative_prompt": lambda key: (job(f"negative_prompt: '{key}'"), "negative_prompt"),
    "shots": lambda key: (
        job(
            f"multi_shot: true, shot_type: customize, multi_prompt: [{{index: 1, duration: 5, prompt: '{key}'}}]"
        ),
        "multi_prompt",
    ),
    "voice": lambda key: (
        job(f"sound: on, prompt: 'He<<<voice_1>>> speaks', voice_list: [{{voice_id: '{key}'}}]"),
        "voice_list",
    ),
    "callback's query": lambda key: (
        job(f"callback_url: 'https://a.org/?k={quote(key, safe='')}'"),
        "callback_url",
    ),
    "callback's path": lambda key: (job(f"callback_url: 'https://a.org/{key}/x'"), "callback_url"),
    "callback's user": lambda key: (
        job(f"callback_url: 'https://u:{quote(key, safe='')}@a.org/'"),
        "callback_url",
    ),
    "image's URL": lambda key: (f"  - {{id: a, image: 'https://a.org/x.png?k={key}'}}\n", "image"),
    "image_tail's URL": lambda key: (job(f"image_tail: 'https://a.org/{key}.png'"), "image_tail"),
    "mask's URL": lambda key: (
        job(f"dynamic_masks: [{{mask: 'https://a.org/{key}.png', {POINTS}}}]"),
        "dynamic_masks",
    ),
    "image's path": lambda key: (f"  - {{id: a, image: 'x/{key}.png'}}\n", "image"),
    "id": lambda key: (f"  - {{id: '{key}', image: {URL}}}\n", "id"),
    "external_task_id": lambda key: (job(f"external_task_id: '{key}'"), "external_task_id"),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_job_with_the_key_in_any_field_is_a_problem_with_its_place(
    tmp_path: Path, place: Callable[[str], tuple[str, str]]
) -> None:
    entry, field = place(LONG)
    (tmp_path / "m.yaml").write_text(HEAD + entry)
    found, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask(LONG).holds_key)
    assert found == []
    assert any(f"{field}: holds the API key" in str(one) for one in problems)
    assert all(one.place.line == 5 for one in problems)
    assert readable(" ".join(map(Mask(LONG), map(str, problems))), LONG) == ""
    found, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask("another-key-1f9d7c").holds_key)
    assert problems == []


@pytest.mark.parametrize("spelt", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_prompt_may_spell_the_key_as_it_likes(tmp_path: Path, spelt: Callable[[str], str]) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "a", "image": URL, "prompt": spelt(LONG)}))
    (tmp_path / "m.yaml").write_text(f"{HEAD}  - table: t.jsonl\n")
    found, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask(LONG).holds_key)
    if len(spelt(LONG)) <= 20:  # a beginning of it
        assert problems == []
        return
    assert found == []
    assert any("(a).prompt: holds the API key" in str(one) for one in problems)


@pytest.mark.parametrize("spelling", sorted(SPELLINGS.keys() - {"its beginning"}))
def test_the_key_is_found_in_each_of_many_rows_that_hold_it(tmp_path: Path, spelling: str) -> None:
    spelt = SPELLINGS[spelling]
    rows = [
        {"id": f"r{number}", "image": URL, "prompt": "a cat, 50% of it \\ " * 20} for number in range(600)
    ]
    bad = (0, 1, 333, 599)
    for number in bad:
        rows[number]["prompt"] = spelt(LONG)
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inline = "".join(f"  - {{id: i{number}, image: {URL}}}\n" for number in range(3))
    (tmp_path / "m.yaml").write_text(f"{HEAD}{inline}  - table: t.jsonl\n")
    found, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask(LONG).holds_key)
    assert found == []
    assert [one.place.line for one in problems] == [number + 1 for number in bad]


def test_parts_of_a_key_in_two_jobs_are_no_key(tmp_path: Path) -> None:
    third, rest = LONG[:15], LONG[15:30]
    (tmp_path / "t.csv").write_text(f"image,id,prompt\n{URL},a,x {third}\n{URL},b,{rest} x\n")
    (tmp_path / "m.yaml").write_text(f"{HEAD}  - table: t.csv\n")
    _, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask(LONG).holds_key)
    assert problems == []


def test_a_key_that_a_whole_entry_holds_is_one_mistake_and_none_of_its_jobs_is_made(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,id\n" + "".join(f"{URL},{n}a\n" for n in range(3000)))
    (tmp_path / "m.yaml").write_text(f"{HEAD}{job('prompt: x')}  - {{table: t.csv, prompt: '{LONG}'}}\n")
    found, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask(LONG).holds_key)
    assert found == []
    assert len(problems) == 1
    assert "(and 2,999 more like it)" in problems[0].text


def test_an_image_that_is_named_after_the_key_is_that_mistake_alone(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(f"{HEAD}  - {{id: a, image: {LONG}.png}}\n")
    _, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask(LONG).holds_key)
    assert [str(one).partition("(a).")[2][:22] for one in problems] == ["image: holds the API k"]


@pytest.mark.parametrize(
    "image", [f"https://a.org/{LONG}.png", f"https://a.org/{LONG}%5C.png", f"{LONG}.png"]
)
def test_a_job_that_takes_its_id_from_an_image_named_after_the_key_is_called_by_its_number(
    tmp_path: Path, image: str
) -> None:
    (tmp_path / "m.yaml").write_text(f"{HEAD}  - {{image: '{image}'}}\n")
    _, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask(LONG).holds_key)
    assert [one.subject for one in problems] == ["jobs[0].image"]
    assert LONG not in str(problems[0])


def test_a_folder_with_the_key_in_its_names_or_texts_makes_no_job(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name in (KEY, "a", "b"):
        (inbox / f"{name}.png").write_bytes(make_png())
    (inbox / "a.txt").write_text(f"POWERTOKENS_API_KEY={KEY}\n")
    (inbox / "b.yaml").write_text(f"negative_prompt: {base64.b64encode(KEY.encode()).decode()}\n")
    (tmp_path / "m.yaml").write_text(HEAD + "  - {folder: inbox, prompt: '{stem}'}\n")
    _, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask(KEY).holds_key)
    told = sorted(str(one).replace(f"{tmp_path}/", "").split(": holds the API key")[0] for one in problems)
    assert told == [
        "inbox/a.txt: jobs[0] (a).prompt",
        "inbox/b.yaml:1:1: jobs[0] (b).negative_prompt",
        f"inbox/{KEY}.png: jobs[0].id",
        f"inbox/{KEY}.png: jobs[0].image",
        f"inbox/{KEY}.png: jobs[0].prompt",
    ]


def test_a_manifest_may_not_be_named_after_the_key(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        f"version: 1\nname: {KEY}\njobs:\n  - {{model_name: kling-v3, image: {URL}}}\n"
    )
    _, problems = reader.read([str(tmp_path / "m.yaml")], holds_key=Mask(KEY).holds_key)
    assert [str(one).partition(": ")[2][:22] for one in problems] == ["name: holds the API ke"]


def test_what_reaches_the_api_all_the_same_is_stopped_before_its_first_byte(tmp_path: Path) -> None:
    """Base64 in a manifest that is too long to be looked through there, and files."""
    heard: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        await saying(made("t1"))(reader, writer)

    start = make_png()
    for at in (0, 1, 2, (1 << 20) - 10):
        (tmp_path / "a.png").write_bytes(start + b"x" * at + LONG.encode() + start)
        image = inspect(str(tmp_path / "a.png"))
        inline = base64.b64encode(b"\x89PNG" + b"x" * (at + (1 << 18)) + LONG.encode()).decode()

        async def scene(fields: Mapping[str, object]) -> None:
            async with wire(play) as url, Api(url, LONG, timeout=ENDS) as api:
                with pytest.raises(ImageError, match="holds the API key") as caught:
                    await api.create({"model_name": "kling-v3", "external_task_id": "m.a.1", **fields})
                assert readable(told(caught.value), LONG) == ""

        for fields in ({"image": image}, {"image": inline}, {"image": URL, "prompt": LONG}):
            asyncio.run(scene(fields))
    assert heard == []


def test_no_command_sends_quotes_or_keeps_a_job_with_the_key(desk: Desk) -> None:
    desk.write("bad/m.yaml", HEAD.replace("m\n", "bad\n", 1) + job(f"prompt: 'use {KEY}'"))
    desk.write("bad/good.yaml", HEAD.replace("m\n", "good\n", 1) + job("prompt: a cat"))
    desk.write("files/m.yaml", HEAD.replace("m\n", "files\n", 1) + "  - {id: f, image: f.png, prompt: x}\n")
    desk.write("files/f.png", make_png() + KEY.encode())
    with sandbox(desk.folder, "--task-seconds", "0") as server:
        desk.against(server)
        for command in ("validate bad", "plan bad", "plan --json bad", "run --json --log-file log bad"):
            result = desk.run(*command.split(), *(QUICK if "run" in command else ()))
            assert result.code == 2
            assert "prompt: holds the API key: take it out" in result.out + result.err
        assert [name.split(".")[0] for name in server.accepted().values()] == ["good"]
        files = desk.run("run", "-v", "--log-file", "log", *QUICK, "files")
        assert files.code == 1
        assert "f.png: the file holds the API key, so it is not sent" in files.err
        assert len(server.accepted()) == 1
        again = desk.run("status", "-v")
        assert again.code == 0
    (desk.folder / "bad" / "m.yaml").unlink()
    (desk.folder / "files" / "f.png").unlink()
    assert holding(KEY, desk.folder) == []
