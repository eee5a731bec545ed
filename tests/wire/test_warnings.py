"""Warnings: what may be a mistake though every job is fine, and what is said of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from batchgen.images import inspection
from batchgen.manifest import reader
from batchgen.manifest.comments import cut_prompts
from tests.support.pictures import make_jpeg, make_png
from tests.support.program import Desk, sandbox

HEAD = "version: 1\nname: night\ndefaults: {model_name: kling-v3, prompt: x}\njobs:\n"
CUT = "since YAML takes that for a comment; put the prompt into quotes, with that or without"
SAME = "asks for the same clip as night/a (night.yaml:5:5); each is paid for"
URL = "https://example.com/a.png"


def put(name: str, content: str | bytes = b"") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def told(text: str, *more: str, head: str = HEAD) -> list[str]:
    put("night.yaml", head + text)
    manifests, problems = reader.read(["night.yaml", *more])
    assert not problems, list(map(str, problems))
    return [str(warning) for one in manifests for warning in one.warnings]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# -- prompts that YAML cuts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("prompt: Slow push-in, shot #2", "#2"),
        ("prompt: Slow push-in # 2 of 3", "# 2 of 3"),
        ("negative_prompt: blur #nofilter  ", "#nofilter"),
        ("prompt: a\n      more of it #3", "#3"),
        ("prompt: Ünï\u2028code #1", "#1"),
        ("multi_prompt: [{index: 1, prompt: a}, {index: 2,\n      prompt: b #2\n      }]", "#2"),
        ("multi_prompt:\n    - index: 1\n      prompt: zoom #1", "#1"),
    ],
)
def test_a_prompt_whose_line_goes_on_after_a_hash_is_told(line: str, rest: str) -> None:
    data = f"jobs:\n  - id: a\n    {line}\n".encode()
    (cut,) = cut_prompts(data)
    assert cut.rest == rest
    assert cut.path[:2] == ("jobs", 0)
    assert str(cut.path[-1]).endswith("prompt")
    assert data.decode().replace("\u2028", " ").split("\n")[cut.line - 1][cut.column - 1 :].startswith(rest)
    assert "quotes" in cut.text


@pytest.mark.parametrize(
    "line",
    [
        "prompt: Slow push-in  # a comment of a person",
        "prompt: Slow push-in  ## ----",
        "prompt: 'Slow push-in, shot #2'",
        'prompt: "Slow push-in" #2',
        "prompt: |\n      Slow #2\n",
        "prompt: Slow#2",
        "duration: 5 #2",
        "id: b #2",
        "# prompt: x #2",
    ],
)
def test_a_comment_of_a_person_is_not(line: str) -> None:
    assert cut_prompts(f"jobs:\n  - model_name: kling-v3\n    {line}\n".encode()) == []


def test_cut_prompts_are_told_in_manifests_and_sidecars_with_their_places() -> None:
    put("in/a.png", make_png())
    put("in/a.yaml", "duration: 5\nprompt: A cat, take #2\n")
    assert told("  - {folder: in}\n  - image: " + URL + "\n    id: b\n    prompt: shot #7\n") == [
        f'night.yaml:8:18: jobs[1].prompt: ends before "#7", {CUT}',
        f'in/a.yaml:2:21: prompt: ends before "#2", {CUT}',
    ]


# -- pictures that nobody takes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "entry", "said"),
    [
        (
            ["a.heic", "b.HEIC", "c.webp"],
            "folder: in",
            "2 .heic, 1 .webp (the API takes PNG and JPEG; `prepare: true` takes them)",
        ),
        (
            ["sub/a.png", "sub/b.jpg"],
            "folder: in",
            "2 one folder further down (match: '**/*.{png,jpg,jpeg}' takes them)",
        ),
        (["a.png"], "folder: in, match: '*.jpg'", "1 .png (match leaves them out)"),
        (["x.png", "a.tif"], "folder: in", "1 .tif (the API"),
        (["x.png", "a.tif"], "folder: in, match: '*.png', prepare: true", "1 .tif (match leaves them out)"),
        (["sub/deep/a.png"], "folder: in, match: '*/*.png'", "1 one folder further down"),
    ],
)
def test_pictures_that_no_entry_takes_are_told_with_what_takes_them(
    files: list[str], entry: str, said: str
) -> None:
    for number, file in enumerate(files):
        put(f"in/{file}", make_png(seed=number))
    found = told(f"  - {{{entry}}}\n")
    assert found[0].startswith("night.yaml:5:6: jobs[0].folder: no entry takes these pictures: ")
    assert said in found[0]


@pytest.mark.parametrize(
    ("files", "entries"),
    [
        (["a.png", "b.jpg", "c.jpeg", "d.jpe", "e.JFIF"], ["{folder: in}"]),
        (["a.png", "b.jpg"], ["{folder: in, match: '*.png'}", "{folder: in, match: '*.jpg'}"]),
        (["a.png", "sub/b.png"], ["{folder: in}", "{folder: in/sub}"]),
        (["a.png", "sub/b.png"], ["{folder: in}", "{id: s, image: in/sub/b.png}"]),
        (["a.png", "@eaDir/a.png", ".hidden/b.png"], ["{folder: in}"]),
        (["a.png", "notes.doc", "sub/notes.doc", "clip.mp4"], ["{folder: in}"]),
        (["a.png", "sub/b.heic"], ["{folder: in}"]),
    ],
)
def test_what_some_entry_takes_or_is_no_picture_is_not_told(files: list[str], entries: list[str]) -> None:
    for number, file in enumerate(files):
        put(f"in/{file}", make_png(seed=number))
    assert told("".join(f"  - {entry}\n" for entry in entries)) == []


def test_what_another_manifest_takes_is_not_told() -> None:
    put("in/a.png", make_png())
    put("in/sub/b.jpg", make_jpeg())
    put("other.yaml", HEAD.replace("night", "other") + "  - {folder: in/sub}\n")
    assert told("  - {folder: in}\n", "other.yaml") == []


@pytest.mark.parametrize(
    ("files", "entries", "why"),
    [
        ([], ["{folder: in}"], "in has no pictures in it"),
        (["Thumbs.db", "README.txt"], ["{folder: in}"], "in has no pictures in it"),
        (
            ["sub/a.png"],
            ["{folder: in}"],
            "in has no pictures in it; its 1 folder needs a match such as '**/*.{png,jpg,jpeg}'",
        ),
        (
            ["a.png", "b.PNG", "clip.mp4", "noname"],
            ["{folder: in, match: '*.jpg'}"],
            "in has nothing for match '*.jpg', but 2 .png, 1 .mp4, 1 without a suffix",
        ),
        (
            ["a.heic", "b.pdf"],
            ["{folder: in}"],
            "in has nothing for an entry without match, which takes PNG and JPEG, but 1 .heic, 1 .pdf",
        ),
        (
            [f"a.{letter}" for letter in "bcdefghijk"],
            ["{folder: in}"],
            (
                "in has nothing for an entry without match, which takes PNG and JPEG, but "
                "1 .b, 1 .c, 1 .d, 1 .e, 1 .f, 1 .g, 1 .h, 1 .i, and 2 more kinds"
            ),
        ),
        (
            ["b.pdf"],
            ["{folder: in, prepare: true}"],
            "in has nothing for an entry without match, but 1 .pdf",
        ),
        (["a.png"], ["{folder: in, skip: true}"], "the one that it has is skipped"),
        (["a.png", "b.png"], ["{folder: in, skip: true}"], "all 2 are skipped"),
        (["shots.csv"], ["{table: in/shots.csv}"], "in/shots.csv has no rows"),
        (
            [],
            [f"{{folder: in, match: '*.{suffix}'}}" for suffix in ("png", "jpg", "jpe", "jfif", "gif")],
            (
                "in has no pictures in it; in has no pictures in it; in has no pictures in it; "
                "2 more entries make none either"
            ),
        ),
    ],
)
def test_a_manifest_without_any_job_says_why(files: list[str], entries: list[str], why: str) -> None:
    Path("in").mkdir()
    for number, file in enumerate(files):
        put(f"in/{file}", b"id,prompt\n" if file.endswith(".csv") else make_png(seed=number))
    found = told("".join(f"  - {entry}\n" for entry in entries))
    assert f"night.yaml:4:1: jobs: no job comes of this manifest: {why}" in found


def test_a_manifest_without_any_job_is_told(tmp_path: Path) -> None:
    Path("in").mkdir()
    put("night.yaml", HEAD + "  - {folder: in}\n")
    desk = Desk(tmp_path)
    result = desk.run("validate", "night.yaml")
    assert (result.code, result.out) == (0, "1 manifest, 0 jobs: no problems, 1 warning\n")
    assert desk.run("validate", "--strict", "night.yaml").code == 2


# -- jobs that are alike ---------------------------------------------------------------------------------------------


def test_two_jobs_that_ask_for_the_same_clip_are_told_once_a_manifest() -> None:
    put("other.yaml", HEAD.replace("night", "other") + f"  - {{id: c, image: '{URL}'}}\n")
    text = "".join(f"  - {{id: {name}, image: '{URL}'}}\n" for name in ("a", "b", "z"))
    assert told(text, "other.yaml") == [
        f"night.yaml:6:5: jobs[1] (b): {SAME} (and 1 more like it)",
        f"other.yaml:5:5: jobs[0] (c): {SAME}",
    ]


def test_takes_of_one_job_ask_for_the_same_on_purpose() -> None:
    assert told("".join(f"  - {{id: a, image: '{URL}', take: {take}}}\n" for take in (1, 2, 3))) == []


def test_copies_of_a_picture_under_two_names_are_told() -> None:
    put("in/a.png", make_png())
    put("in/a copy.png", make_png())
    (warning,) = told("  - {folder: in}\n")
    assert "asks for the same clip as night/a copy" in warning


# -- photos that EXIF turns ------------------------------------------------------------------------------------------


def turned(kind: str, orientation: int, *, after: bool = False) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "A maker"
    file = io.BytesIO()
    Image.new("RGB", (320, 400)).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_exif_says(kind: str, orientation: int) -> None:
    put("a", turned(kind, orientation))
    found = inspection.inspect("a")
    assert (found.orientation, found.width, found.height) == (orientation, 320, 400)


@pytest.mark.parametrize("order", ["little", "big"])
def test_both_orders_of_bytes_are_read(order: str) -> None:
    data = turned("JPEG", 6)
    start = data.index(b"Exif\0\0") + 6
    head = {
        "little": b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0",
        "big": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0",
    }[order]
    put("a", data[:start] + head + data[start + len(head) :])
    assert inspection.inspect("a").orientation == 8


@pytest.mark.parametrize("end", range(0, 30, 3))
def test_damaged_exif_data_turn_nothing_and_refuse_nothing(end: int) -> None:
    data = turned("JPEG", 6)
    start = data.index(b"Exif\0\0") + 6 + end
    put("a", data[:start] + b"\xfe" * 8 + data[start + 8 :])
    assert inspection.inspect("a").orientation in range(1, 9)


def test_turned_photos_are_told_once_a_folder() -> None:
    for number in range(3):
        put(f"in/{number}.jpg", turned("JPEG", 6) + bytes([number]))
    put("in/upright.jpg", turned("JPEG", 1))
    (warning,) = told("  - {folder: in}\n")
    assert warning.startswith(
        "in/0.jpg: jobs[0] (0).image: its EXIF data say to turn it, and it is sent as it lies"
    )
    assert warning.endswith("(and 2 more like it)")


def test_a_run_that_knows_the_photo_from_before_tells_it_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    put("in/a.jpg", turned("JPEG", 6))
    put("night.yaml", HEAD + "  - {folder: in}\n")
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1") as server:
        desk.against(server)
        for _ in range(2):
            result = desk.run("run", "--json", "--poll-interval", "0.05", "night.yaml")
            assert [one["subject"] for one in result.json["warnings"]] == ["jobs[0] (a).image"]
            assert result.code == 0
