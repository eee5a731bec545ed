"""Whoever writes into a folder, or a table, gives pictures and words, and reaches none of the user's other files."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from batchgen.errors import ImageError
from batchgen.files import Folders
from batchgen.images import inspection
from batchgen.manifest import folders, reader, sidecars
from batchgen.manifest.yaml12 import YamlError
from batchgen.models import Job, Within
from batchgen.request import body
from tests.support.pictures import make_large_png, make_png
from tests.support.program import KEY, Desk, sandbox, until
from tests.support.wire import answer, made, served

QUICK = ("--poll-interval", "0.05", "--timeout", "1")
FAST = ("--task-seconds", "0.05-0.1")
SECRET = "canary-b81d-secret"
GOOD, PASSPORT = make_png(seed=1), make_png(seed=2)
DIGEST = hashlib.sha256(PASSPORT).hexdigest()
FOLDER = {"folder": "inbox", "match": "**/*.png", "prompt": "x"}
TABLE = {"table": "inbox/rows.csv"}

Attack = Callable[[Desk], None]


@pytest.fixture
def desk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A folder ``inbox`` that others write into, with one good picture, and beside it what is nobody's business."""
    monkeypatch.setenv("HOME", desk.env["HOME"])
    desk.write("inbox/good.png", GOOD)
    desk.write("private/passport.png", PASSPORT)
    desk.write("home/passport.png", PASSPORT)
    desk.write("private/key", f"{SECRET}\n")
    lines = [{"id": name, "image": "inbox/good.png", "prompt": SECRET} for name in ("good", "cat")]
    desk.write("private/rows.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    desk.write("private/rows.csv", f"id,image,prompt\ngood,inbox/good.png,{SECRET}\nb,inbox/good.png,y\n")
    desk.write("private/key.yaml", f"negative_prompt: {SECRET}\n")
    return desk


def put(name: str, content: str) -> Attack:
    """The file, beside a picture of its name where it is a sidecar. ``PRIVATE`` is the folder's absolute path."""

    def attack(desk: Desk) -> None:
        desk.write(f"inbox/{name}", content.replace("PRIVATE", str(desk.folder / "private")))
        if name.endswith(("txt", "yaml")):
            desk.write("inbox/cat.png", make_png(seed=3))

    return attack


def link(name: str, to: str) -> Attack:
    def attack(desk: Desk) -> None:
        (desk.folder / "inbox" / name).symlink_to(to.replace("PRIVATE", str(desk.folder / "private")))
        if not name.endswith("png"):
            desk.write("inbox/cat.png", make_png(seed=3))

    return attack


def chain(desk: Desk) -> None:
    (desk.folder / "inbox/.second").symlink_to("../private")
    (desk.folder / "inbox/cat.png").symlink_to(".second/passport.png")


def both(*attacks: Attack) -> Attack:
    def attack(desk: Desk) -> None:
        for one in attacks:
            one(desk)

    return attack


def rows(line: str, head: str = "id,image,prompt\n") -> Attack:
    def attack(desk: Desk) -> None:
        (desk.folder / "inbox/sub").symlink_to("../private")
        (desk.folder / "inbox/linked.png").symlink_to("../private/passport.png")
        text = f"{head}good,inbox/good.png,x{',' * (head.count(',') - 2)}\n{line}\n"
        desk.write("inbox/rows.csv", text.replace("PRIVATE", str(desk.folder / "private")))

    return attack


def json_rows(**fields: Any) -> Attack:
    def attack(desk: Desk) -> None:
        lines = [
            {"id": "good", "image": "inbox/good.png"},
            {"id": "cat", "image": "inbox/good.png", **fields},
        ]
        desk.write("inbox/rows.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    return attack


MASKS = [{"mask": "private/passport.png", "trajectories": [{"x": 1, "y": 1}, {"x": 5, "y": 5}]}]
JSON_TABLE = {"table": "inbox/rows.jsonl", "prompt": "x"}

# The entry, what somebody put into the folder, and the exit code: an image fails its own job, a sidecar its manifest.
ATTACKS: dict[str, tuple[dict[str, Any], Attack, int]] = {
    "a path in a sidecar": (FOLDER, put("cat.yaml", "image_tail: PRIVATE/passport.png"), 1),
    "a way up in a sidecar": (FOLDER, put("cat.yaml", "image_tail: inbox/../private/passport.png"), 1),
    "the home folder in a sidecar": (FOLDER, put("cat.yaml", "image_tail: ~/passport.png"), 1),
    "the way round by /proc in a sidecar": (
        FOLDER,
        put("cat.yaml", "image_tail: /proc/self/root/PRIVATE/passport.png"),
        1,
    ),
    "a mask in a sidecar": (FOLDER, put("cat.yaml", "static_mask: private/passport.png"), 1),
    "a dynamic mask in a sidecar": (FOLDER, put("cat.yaml", f"dynamic_masks: {json.dumps(MASKS)}"), 1),
    "an image that is a link": (FOLDER, link("cat.png", "PRIVATE/passport.png"), 1),
    "an image that is a link upwards": (FOLDER, link("cat.png", "../private/passport.png"), 1),
    "an image that is a link to a link": (FOLDER, chain, 1),
    "a text that is a link": (FOLDER, link("cat.txt", "../private/key"), 2),
    "fields that are a link": (FOLDER, link("cat.yaml", "PRIVATE/key.yaml"), 2),
    "a text that is a link to the environment": (FOLDER, link("cat.txt", "/proc/self/environ"), 2),
    "a text that is a link to the command line": (FOLDER, link("cat.txt", "/proc/self/cmdline"), 2),
    "a text in another spelling that is a link": (FOLDER, link("cat.png.TXT", "../private/key"), 2),
    "a folder that is a link": (FOLDER, link("sub", "../private"), 0),
    "a folder that is a link, and a sidecar": (
        FOLDER,
        both(link("sub", "../private"), put("cat.yaml", "image_tail: inbox/sub/passport.png")),
        1,
    ),
    "a path in a row": (TABLE, rows("cat,PRIVATE/passport.png,x"), 1),
    "a table that is a link": (TABLE, link("rows.csv", "../private/rows.csv"), 2),
    "lines of JSON that are a link": (JSON_TABLE, link("rows.jsonl", "PRIVATE/rows.jsonl"), 2),
    "a table that is a link to the environment": (TABLE, link("rows.csv", "/proc/self/environ"), 2),
    "a way up in a row": (TABLE, rows("cat,inbox/../private/passport.png,x"), 1),
    "the home folder in a row": (TABLE, rows("cat,~/passport.png,x"), 1),
    "a folder beside the table's": (TABLE, rows("cat,private/passport.png,x"), 1),
    "a link in a row": (TABLE, rows("cat,inbox/linked.png,x"), 1),
    "a folder that is a link in a row": (TABLE, rows("cat,inbox/sub/passport.png,x"), 1),
    "a mask in a row": (
        TABLE,
        rows("cat,inbox/good.png,x,private/passport.png", "id,image,prompt,static_mask\n"),
        1,
    ),
    "an end frame in a line of JSON": (JSON_TABLE, json_rows(image_tail="private/passport.png"), 1),
    "a dynamic mask in a line of JSON": (JSON_TABLE, json_rows(dynamic_masks=MASKS), 1),
}


def night(desk: Desk, entry: dict[str, Any], **changes: Any) -> None:
    job = {
        "version": 1,
        "name": "night",
        "defaults": {"model_name": "kling-v3"},
        "jobs": [{**entry, **changes}],
    }
    desk.write("night.yaml", json.dumps(job))


def written(desk: Desk) -> bytes:
    """The ledger, logs, the sandbox's journal, and what lies beside the clips."""
    files = [
        *desk.folder.glob("home/.local/**/*"),
        *desk.folder.glob("*.jsonl"),
        *desk.folder.glob("clips/**/*.jsonl"),
    ]
    return b"".join(file.read_bytes() for file in [*files, desk.folder / "log"] if file.is_file())


def read(desk: Desk, entry: dict[str, Any], **changes: Any) -> tuple[list[Job], list[str]]:
    """The jobs of an entry, and everything that is wrong with it."""
    night(desk, entry, **changes)
    found, problems = reader.read([str(desk.folder / "night.yaml")])
    jobs = [job for one in found for job in one.jobs]
    return jobs, [*map(str, problems), *(str(bad.problem) for one in found for bad in one.unusable)]


@pytest.mark.parametrize(("entry", "attack", "code"), ATTACKS.values(), ids=ATTACKS.keys())
def test_nothing_of_a_private_file_leaves_it(
    desk: Desk, entry: dict[str, Any], attack: Attack, code: int
) -> None:
    night(desk, entry)
    attack(desk)
    with sandbox(desk.folder, *FAST) as server:
        result = desk.against(server).run("run", *QUICK, "-v", "--log-file", "log", "night.yaml")
        assert result.code == code, result.err
        sent = [image["sha256"] for one in server.entries() for image in one.images.values()]
        assert len(server.accepted()) == {0: 2, 1: 1, 2: 0}[code]
        assert DIGEST not in sent and len(sent) == len(server.accepted())
    told = (result.out + result.err).encode() + written(desk)
    assert b"SQLite format 3" in told
    for secret in (SECRET.encode(), KEY.encode(), DIGEST.encode()):
        assert secret not in told
    if code:
        lines = [line for line in result.err.splitlines() if " INFO " not in line]  # the log says it again
        (line,) = [line for line in lines if "it leads outside of the folder inbox" in line]
        assert 'give the entry "allow: [FOLDER]"' in line and "pays for nothing twice" in line


MEANT = {
    name: case for name, case in ATTACKS.items() if "environment" not in name and "command line" not in name
}


@pytest.mark.parametrize(("entry", "attack", "code"), MEANT.values(), ids=MEANT.keys())
def test_the_manifest_allows_further_folders(
    desk: Desk, entry: dict[str, Any], attack: Attack, code: int
) -> None:
    attack(desk)
    jobs, problems = read(desk, entry, allow=["private", "~/"])
    assert (len(jobs), problems) == (2, [])
    jobs, problems = read(desk, entry, allow=["inbox"])
    assert (len(jobs), len(problems)) == ({0: 2, 1: 1, 2: 0}[code], code and 1)


def test_a_folder_that_is_allowed_allows_none_of_its_neighbours(desk: Desk) -> None:
    desk.write("private-too/passport.png", PASSPORT)
    desk.write("inbox-too/passport.png", PASSPORT)
    for number, name in enumerate(("private-too", "inbox-too", "private/..", "private/../private-too")):
        link(f"{number}.png", f"../{name}/passport.png")(desk)
    jobs, problems = read(desk, FOLDER, allow=["private"])
    assert [job.id for job in jobs] == ["good"]
    assert len(problems) == 4


def test_links_inside_of_the_folder_are_followed(desk: Desk) -> None:
    link("cat.png", "good.png")(desk)
    link("dog.png", str(desk.folder / "inbox/shelf/../good.png"))(desk)
    desk.write("inbox/shelf/words", "A cat turns its head")
    link("cat.txt", "shelf/words")(desk)
    desk.write("inbox/shelf/more.png", make_png(seed=4))
    put("dog.yaml", "image_tail: inbox/shelf/more.png")(desk)
    link("again", "shelf")(desk)
    put("good.yaml", "image_tail: inbox/again/more.png")(desk)
    jobs, problems = read(desk, {**FOLDER, "match": "*.png"})
    assert problems == []
    assert {job.id: job.request["prompt"] for job in jobs} == {
        "cat": "A cat turns its head",
        "dog": "x",
        "good": "x",
    }
    for job in jobs:
        assert len(b"".join(body.Body(job.request).pieces())) > len(GOOD)


def test_a_manifest_itself_names_what_it_likes(desk: Desk) -> None:
    (desk.folder / "box").symlink_to("private")
    desk.write("elsewhere/rows.csv", "id\na\n")
    (desk.folder / "rows.csv").symlink_to("elsewhere/rows.csv")
    passport = str(desk.folder / "private/passport.png")
    for entry, count in (
        ({"id": "a", "image": "private/passport.png", "image_tail": "~/passport.png"}, 1),
        ({**FOLDER, "folder": "box"}, 1),
        ({**FOLDER, "folder": "box", "image_tail": passport}, 1),
        ({"table": "rows.csv", "image": "private/passport.png", "prompt": "x"}, 1),
        ({"table": "elsewhere/rows.csv", "image": passport, "prompt": "x"}, 1),
    ):
        jobs, problems = read(desk, entry)
        assert (len(jobs), problems) == (count, [])
        assert len(b"".join(body.Body(jobs[0].request).pieces())) > len(PASSPORT)


def test_a_file_is_named_by_any_way_that_leads_into_the_folder(desk: Desk) -> None:
    (desk.folder / "alias").symlink_to(desk.folder)
    for path in ("alias/inbox/good.png", f"{desk.folder}/alias/inbox/good.png", "private/../inbox/good.png"):
        desk.write("inbox/rows.csv", f"id,image\na,{path}\n")
        jobs, problems = read(desk, {**TABLE, "prompt": "x"})
        assert (len(jobs), problems) == (1, [])


def test_allow_changes_no_id(desk: Desk) -> None:
    desk.write("inbox/rows.csv", "id,image,prompt\na,inbox/good.png,x\n")
    for entry in (FOLDER, TABLE):
        (job,), _ = read(desk, entry)
        for allow in ([], ["private"], ["/"]):
            (same,), problems = read(desk, entry, allow=allow)
            assert problems == []
            assert (same.external_task_id, same.digest) == (job.external_task_id, job.digest)
            assert same.request == job.request


@pytest.mark.parametrize("name", ["an image that is a link", "a path in a row", "a path in a sidecar"])
def test_what_was_paid_before_is_refused_without_and_done_with_allow_and_never_paid_again(
    desk: Desk, name: str
) -> None:
    entry, attack, _ = ATTACKS[name]
    attack(desk)
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        for allow, code in ((["private"], 0), ([], 1), (["private"], 0)):
            night(desk, entry, allow=allow)
            result = desk.run("run", *QUICK, "night.yaml")
            assert result.code == code
            assert ("it leads outside of the folder inbox" in result.err) == (code == 1)
        assert len(server.accepted()) == 2


def test_the_folder_of_a_table_beside_its_manifest_is_told_by_its_path(desk: Desk) -> None:
    desk.write("rows.csv", "id,image,prompt\na,/etc/hostname,x\n")
    _, problems = read(desk, {"table": "rows.csv"})
    assert f"it leads outside of the folder {desk.folder}, so" in problems[0]


@pytest.mark.parametrize(
    ("allow", "told"),
    [
        (["nowhere"], "/nowhere: no such folder"),
        (["private", "private/key"], "/private/key: no such folder"),
        (["a\0b"], "no such folder"),
        ("private", 'jobs[0].allow: "private" is not a list'),
        ([True], "jobs[0].allow[0]: "),
        ([""], "jobs[0].allow[0]: "),
    ],
)
def test_a_wrong_allow_is_told_with_its_place(desk: Desk, allow: object, told: str) -> None:
    for entry in (FOLDER, TABLE):
        desk.write("inbox/rows.csv", "id,image,prompt\na,inbox/good.png,x\n")
        jobs, problems = read(desk, entry, allow=allow)
        assert jobs == []
        assert told in problems[0] and "jobs[0].allow" in problems[0]


def test_not_even_size_and_time_of_a_private_file_are_kept(desk: Desk) -> None:
    link("a.png", "../private/passport.png")(desk)
    put("cat.yaml", "image_tail: private/passport.png")(desk)
    night(desk, FOLDER)

    def kept() -> list[str]:
        (found,), _ = reader.read([str(desk.folder / "night.yaml")])
        return [bad.evidence for bad in found.unusable]

    before = kept()
    assert len(before) == 2
    os.utime(desk.folder / "private/passport.png", (1, 1))
    assert kept() == before
    (desk.folder / "inbox/a.png").unlink()
    desk.write("inbox/a.png", b"another")
    assert kept() != before


def test_a_sidecar_or_a_row_allows_nothing(desk: Desk) -> None:
    put("cat.yaml", "allow: [/]\nimage_tail: PRIVATE/passport.png")(desk)
    desk.write("inbox/rows.csv", 'id,image,prompt,allow\na,inbox/good.png,x,"[/]"\n')
    for entry in (FOLDER, TABLE, {"image": "inbox/good.png", "prompt": "x", "allow": ["/"]}):
        jobs, problems = read(desk, entry)
        assert jobs == []
        assert any("allow" in problem for problem in problems)


# -- what is exchanged between the check and the sending ----------------------------------------------------------------

LARGE = 3_000_000  # bytes, which go out in many pieces
FILLING = base64.b64encode(b"\xee" * 30)


def swap_file(desk: Desk) -> None:
    (desk.folder / "inbox/b.png").unlink()
    (desk.folder / "inbox/b.png").symlink_to("../private/b.png")


def swap_folder(desk: Desk) -> None:
    os.rename(desk.folder / "inbox/deep", desk.folder / "old")
    (desk.folder / "inbox/deep").symlink_to("../private")


@pytest.mark.parametrize(("where", "swap"), [("b.png", swap_file), ("deep/b.png", swap_folder)])
def test_what_is_swapped_for_a_link_before_it_is_sent_is_not_sent(
    desk: Desk, where: str, swap: Attack
) -> None:
    desk.write("private/b.png", make_large_png(LARGE, seed=0xEE))  # of the same size: that says nothing
    desk.write(f"inbox/{where}", make_large_png(LARGE, seed=1))
    os.rename(desk.folder / "inbox/good.png", desk.folder / "inbox/a.png")
    night(desk, FOLDER)
    came = bytearray()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(answer({"code": 1203, "message": "no such task"}, 404))
                continue
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if length < LARGE:
                await reader.readexactly(length)
                swap(desk)
                writer.write(made("t1"))
            while length >= LARGE and (piece := await reader.read(65536)):
                came.extend(piece)

    with served(play) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
        result = desk.run("run", *QUICK, "--submit-only", "--concurrency", "1", "night.yaml")
    assert result.code == 1, result.err
    assert "b.png: it leads outside of the folder inbox" in result.err
    assert FILLING not in came
    assert [row["state"] for row in desk.export() if row["job_id"] == "a"] == ["submitted"]


@pytest.mark.parametrize("where", ["x.png", "deep/x.png"])
def test_an_image_is_sent_from_the_place_that_was_judged_or_not_at_all(tmp_path: Path, where: str) -> None:
    private = make_large_png(LARGE, seed=0xEE)
    for folder, data in (("inbox", make_large_png(LARGE, seed=1)), ("private", private)):
        file = tmp_path / folder / where
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    image = inspection.inspect(str(tmp_path / "inbox" / where), Within("inbox", (str(tmp_path / "inbox"),)))
    first = where.partition("/")[0]
    os.rename(tmp_path / "inbox" / first, tmp_path / "kept")
    (tmp_path / "inbox" / first).symlink_to(tmp_path / "private" / first)
    sent: list[bytes] = []
    with pytest.raises(ImageError, match="it leads outside of the folder inbox"):
        sent.extend(body.Body({"image": image}).pieces())
    body.fetch(image)
    assert FILLING not in b"".join(sent)


SWAPPING = """
import os
os.makedirs('inbox/spare', exist_ok=True); os.symlink('../private', 'inbox/link'); os.symlink('../private/x', 'link')
open('plain', 'w').write('public')
while True:
    os.rename('inbox/deep', 'inbox/spare/deep'); os.rename('inbox/link', 'inbox/deep')
    os.link('link', 'next', follow_symlinks=False); os.rename('next', 'inbox/x')
    os.rename('inbox/deep', 'inbox/link'); os.rename('inbox/spare/deep', 'inbox/deep')
    os.link('plain', 'next'); os.rename('next', 'inbox/x')
"""


@pytest.mark.parametrize("kept", [False, True], ids=["opened each time", "kept open"])
@pytest.mark.parametrize("what", ["inbox/x", "inbox/deep/x", "the names in a folder"])
def test_however_links_are_turned_nothing_outside_is_read(tmp_path: Path, what: str, kept: bool) -> None:
    for name, words in (("inbox/x", "public"), ("inbox/deep/x", "public"), ("private/x", SECRET)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(words)
    (tmp_path / "private/secret.png").touch()
    within = Within("inbox", (str(tmp_path / "inbox"),))

    def once(before: Folders) -> bytes:
        if "names" in what:
            return " ".join(
                image.name for image in folders.look(str(tmp_path / "inbox"), "**", within).images
            ).encode()
        with nullcontext(before) if kept else Folders() as opened:
            return sidecars.read(str(tmp_path / what), within, opened)

    first = (tmp_path / "inbox/x").lstat().st_ino
    seen = set()
    swapper = [sys.executable, "-c", SWAPPING]
    with Folders() as before, subprocess.Popen(swapper, cwd=tmp_path, stderr=subprocess.DEVNULL) as swapping:
        try:
            until(lambda: (tmp_path / "inbox/x").lstat().st_ino != first)
            for _ in range(5_000):
                try:
                    seen.add(once(before))
                except (OSError, YamlError):
                    seen.add(b"")
            assert swapping.poll() is None
        finally:
            swapping.kill()
    assert kept or (b"" in seen and len(seen) > 1), "nothing was turned"
    assert not any(SECRET.encode() in one or b"secret" in one for one in seen)
