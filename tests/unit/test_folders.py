"""Folders: which files make jobs, in which order, with which fields, and what is said about the others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchgen import limits
from batchgen.files import Folders
from batchgen.manifest import folders
from batchgen.manifest.globs import Glob, match_error
from batchgen.manifest.locations import Draft
from batchgen.models import Problem, Within
from tests.support.pictures import make_png
from tests.support.program import Desk


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


def found_in(
    root: Path, shown: str = "shown", match: str | None = None, number: int = 0
) -> Iterator[Draft | Problem]:
    within = Within(shown, (os.path.realpath(root),))
    with Folders() as opened:
        images = folders.look(str(root), match, within).images
        yield from folders.drafts(number, str(root), images, within, opened)


def folder(root: Path, match: str | None = None) -> list[str | None]:
    return [draft.id for draft in drafts_of(found_in(root, match=match))]


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
    drafts = drafts_of(found_in(tmp_path, "inbox", "*", 3))
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
    found = list(found_in(tmp_path, "in"))
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
    found = list(found_in(root, "in", "**"))
    # what is no folder is a job: its image's check says what is the matter
    assert [one.id for one in found if isinstance(one, Draft)] == ["dead", "fifo", "linked"]
    assert problems_of(iter(found)) == ["in/b.txt: can't be read: not a regular file"]
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


# -- globs with choices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ("*.{png,jpg}", ["B", "a", "c"]),
        ("**/*.{PNG,jpg}", ["B", "a", "c", "sub/deep/d", "sub/deep/e", "sub/x"]),
        ("{a,c}.*", ["a", "c"]),
        ("{a,{b,c}}.{p,j}[np]g", ["B", "a", "c"]),
        ("{sub,other}/*.png", ["sub/x"]),
        ("{sub/deep/*,*}.png", ["B", "a", "sub/deep/d"]),
        ("a{,.b}.png", ["a"]),
        ("[{]*", []),
    ],
)
def test_braces_hold_choices(tmp_path: Path, match: str, taken: list[str]) -> None:
    make(tmp_path, "a.png", "B.PNG", "c.jpg", "sub/x.png", "sub/deep/d.png", "sub/deep/e.jpg")
    assert match_error(match) is None
    assert sorted(map(str, folder(tmp_path, match))) == taken


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ("{png}", "one choice"),
        ("{a,b", "without its }"),
        ("a}b", "without its {"),
        ("{a,b}" * 12, "more than 200"),
        ("{" * 3000 + "a,b" + "}" * 3000, "one choice"),
        ("{..,a}/b", "can't leave it"),
        ("{/etc,a}/*", "relative to the folder"),
        ("{**,a}.png", "**/*.png"),
    ],
)
def test_braces_that_mean_nothing_are_refused(match: str, text: str) -> None:
    assert text in str(match_error(match))


def test_globs_take_linear_time_however_they_are_made(tmp_path: Path) -> None:
    make(tmp_path, "/".join(["d"] * 60) + "/x.jpg", "a" * 200 + ".jpg")
    begin = time.process_time()
    assert folder(tmp_path, "**/" * 40 + "*.png") == []
    assert folder(tmp_path, "**/d/" * 20 + "*.png") == []
    assert folder(tmp_path, "*a" * 60 + "*.png") == []
    assert time.process_time() - begin < 2.0  # it takes a hundredth of that


def test_folders_inside_of_one_another_without_end_are_a_problem(tmp_path: Path) -> None:
    make(tmp_path, "/".join(["d"] * limits.FOLDERS) + "/x.png")
    assert len(folder(tmp_path, "**/*.png")) == 1
    top = os.open(tmp_path, os.O_RDONLY)
    for _ in range(400):  # a path can't name the last of them, but whoever is in it can make more
        os.mkdir("e", dir_fd=top)
        below = os.open("e", os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = below
    os.close(top)
    assert len(folder(tmp_path, "d/**/*.png")) == 1
    with pytest.raises(OSError, match=r"lie more than 100 deep; move them up"):
        folder(tmp_path, "**/*.png")


def test_a_folder_in_which_nothing_can_match_is_left_out_of_the_walk() -> None:
    glob = Glob("in/**/*.png")
    assert glob.below(glob.top, "in")
    assert not glob.below(glob.top, "other")
    assert not Glob("*.png").below(Glob("*.png").top, "in")


# -- leftovers -------------------------------------------------------------------------------------------------------

LEFTOVERS = [
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "@eaDir/a.jpg/SYNOFILE_THUMB_M.png",
    "sub/@eaDir/b.jpg",
    "#recycle/old.png",
    "#snapshot/GMT-2026/a.png",
    "@Recycle/old.png",
    "@Recently-Snapshot/a.png",
    ".@__thumb/default.jpg",
    "$RECYCLE.BIN/S-1-5/$R1.png",
    "System Volume Information/x.png",
    "lost+found/1.png",
    "LOST.DIR/1.jpg",
    "FOUND.000/a.jpg",
    "__MACOSX/._a.png",
    ".AppleDouble/a.png",
    "Network Trash Folder/a.png",
    "Temporary Items/a.png",
    "~snapshot/a.png",
    ".stversions/a~20260101.png",
    "My.photoslibrary/resources/a.jpg",
    "Catalog Previews.lrdata/a.jpg",
    "._a.png",
    "a.sync-conflict-20260101-120000-ABCDEFG.png",
    "a (conflicted copy 2026-01-01 120000).png",
    "a (Ann's conflicted copy 2026-01-01).png",
    "a (Case Conflict 1).png",
    "a (Anns in Konflikt stehende Kopie 2026-01-01).png",
    "a_conflict-20260101-120000.png",
    "a.png.conflict",
    "SYNOPHOTO_THUMB_M.jpg",
    "~syncthing~a.png.tmp",
    "Thumbs.db",
    "desktop.ini",
    "a.png.crdownload",
]


@pytest.mark.parametrize("name", LEFTOVERS)
@pytest.mark.parametrize("match", ["**", "**/*"])
def test_what_programs_leave_is_nobody_s_picture(tmp_path: Path, name: str, match: str) -> None:
    make(tmp_path, "b.png", name)
    found = folders.look(str(tmp_path), match, Within("shown", (os.path.realpath(tmp_path),)))
    assert [image.name for image in found.images] == ["b.png"]
    hidden = name.startswith(".") or "/." in name
    assert len(found.leftovers) == (0 if hidden and not name.startswith("__") else 1)


@pytest.mark.parametrize(
    "name",
    [
        "eaDir/a.png",
        "recycle/a.png",
        "macosx/a.png",
        "conflict.png",
        "a (1).png",
        "a (copy).png",
        "the conflict (final).png",
        "~a.png",
        "snapshot/a.png",
        "part.png",
        "synopsis.png",
    ],
)
def test_what_only_looks_like_it_is_a_picture(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    assert len(folder(tmp_path, "**")) == 1


def test_who_spells_a_leftover_s_name_out_means_it(tmp_path: Path) -> None:
    make(tmp_path, "@eaDir/a.png")
    assert folder(tmp_path, "@eaDir/*.png") == ["@eaDir/a"]


def test_leftovers_are_counted_where_somebody_asks(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    text = "version: 1\ndefaults: {model_name: kling-v3, prompt: x}\njobs:\n  - {folder: in, match: '**'}\n"
    desk.write("night.yaml", text)
    for name in ("a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "sub/@eaDir/b.jpg", "Thumbs.db"):
        desk.write(f"in/{name}", make_png())
    quiet, told = desk.run("validate", "night.yaml"), desk.run("validate", "-v", "night.yaml")
    assert quiet.out == told.out == "1 manifest, 1 job: no problems\n"
    assert quiet.err == ""
    assert told.err.endswith("in: passed over 3 leftovers of programs: @eaDir, Thumbs.db\n")
