"""``batchgen init``: from a folder of pictures to a valid manifest and its plan."""

from __future__ import annotations

import io
import os
import shlex
from typing import Any

import pytest
from PIL import Image

from batchgen.manifest.yaml12 import load
from tests.support.pictures import make_jpeg, make_png
from tests.support.program import Desk


def started(desk: Desk, *words: str) -> dict[str, Any]:
    """What ``init`` says as JSON, after it and ``validate`` found nothing wrong but odd names."""
    result = desk.run("init", "--json", *words)
    checked = desk.run("validate", "--", result.json["manifest"])
    for came in (result, checked):
        said = [line for line in came.err.splitlines() if "Windows" not in line and "be seen" not in line]
        assert (came.code, said) == (0, []), came
    return dict(result.json)


def refused(desk: Desk, *words: str) -> str:
    """Why ``init`` wrote nothing."""
    before = sorted(desk.folder.rglob("*"))
    result = desk.run("init", *words)
    assert (result.code, result.out) == (2, "")
    assert sorted(desk.folder.rglob("*")) == before
    return result.err


def ids(found: dict[str, Any]) -> list[str]:
    return [job["job_id"] for job in found["jobs"]]


def test_one_command_leads_from_a_folder_to_a_plan_and_to_what_is_next(desk: Desk) -> None:
    desk.write("photos/cat.png", make_png())
    desk.write("photos/cat.txt", "The cat turns its head")
    desk.write("photos/new/shoe.JPG", make_jpeg(seed=1))
    desk.write("photos/new/notes.pdf", "")
    desk.write("photos/@eaDir/cat.png", make_png(seed=2))
    result = desk.run("init", "photos/")
    assert result.code == 0
    assert "cat.png, std, 5 s: The cat turns its head" in result.out
    assert result.out.endswith("2 jobs: 2 create; about $0.84\n")
    said = result.err.splitlines()
    assert said[0] == "wrote photos.yaml: 2 pictures"
    assert "  batchgen run photos.yaml --sandbox" in result.err
    assert f"run --deadline 06:00 --until 07:30 {desk.folder}/photos.yaml" in said[-1]
    program = shlex.split(said[-1].partition("key ")[2])[0]
    assert os.path.isabs(program) and os.access(program, os.X_OK)
    written = (desk.folder / "photos.yaml").read_text()
    assert "prepare" not in written
    assert load(written.encode()) == {
        "version": 1,
        "name": "photos",
        "output_dir": "clips",
        "max_cost_usd": 1,
        "defaults": {
            "model_name": "kling-v3",
            "mode": "std",
            "duration": 5,
            "prompt": "Slow camera push-in, gentle parallax, natural light",
        },
        "jobs": [{"folder": "photos", "match": "**/*.{jpg,jpeg,png}"}],
    }


NAMES = [
    *(
        "mein Ordner",
        "a'b\"c",
        "ü 📷 猫",
        "2026",
        "true",
        "~old",
        ".hidden",
        "-dash",
        "end.",
        "#x: y",
        "{stem}",
    ),
    *("nbsp\u00a0x", "tab\tname", "new\nline", "*", "[a]", "%d", "bags.yaml", "\u202egpj", "$HOME", "a\\b"),
]


def test_any_name_of_a_folder_and_of_a_picture_makes_a_valid_manifest(desk: Desk) -> None:
    for number, name in enumerate(NAMES):
        picture = "".join(letter for letter in name.lstrip(".") if letter not in "\t\n\\\u202e")
        desk.write(f"{number}/{name}/{picture}.png", make_png(seed=number))
        found = started(desk, "-o", f"m{number}.yaml", "--", f"{number}/{name}")
        assert ids(found) == [picture], name
        desk.write(f"own/{name}/x.png", make_png(seed=number))
        beside = started(desk, "--", f"own/{name}")
        assert beside["manifest"].startswith("own/"), name
        assert load((desk.folder / beside["manifest"]).read_bytes())["jobs"][0]["folder"].endswith(name)


@pytest.mark.parametrize(
    ("cwd", "given", "manifest"),
    [
        ("w/photos", ".", "../photos.yaml"),
        ("w/photos", "./", "../photos.yaml"),
        ("w/photos/sub", "..", "../../photos.yaml"),
        ("w", "photos", "photos.yaml"),
        ("w", "./photos/", "photos.yaml"),
        ("w", "photos/sub/..", "photos.yaml"),
        ("", "w/photos", "w/photos.yaml"),
        ("", "FOLDER/w/photos", "FOLDER/w/photos.yaml"),
        ("", "~/photos", "FOLDER/home/photos.yaml"),
    ],
)
def test_a_folder_is_found_however_it_is_named(desk: Desk, cwd: str, given: str, manifest: str) -> None:
    for place in ("w/photos/sub/a.png", "home/photos/sub/a.png"):
        desk.write(place, make_png())
    here = Desk(desk.folder)
    here.folder = desk.folder / cwd
    found = started(here, given.replace("FOLDER", str(desk.folder)))
    assert found["manifest"] == manifest.replace("FOLDER", str(desk.folder))
    assert ids(found) == ["sub/a"]


def test_the_manifest_is_written_where_o_says(desk: Desk) -> None:
    desk.write("in/a.png", make_png())
    (desk.folder / "manifests").mkdir()
    for given, manifest in (
        ("night.yml", "night.yml"),
        ("manifests", "manifests/in.yaml"),
        ("../up.yaml", "../up.yaml"),
        ("in/", "in/in.yaml"),
    ):
        found = started(desk, "in", "-o", given)
        assert found["manifest"] == manifest and ids(found) == ["a"]
    assert "a manifest's name ends in .yaml" in refused(desk, "in", "-o", "night.txt")
    assert "-o FILE.yaml writes it elsewhere" in refused(desk, "in", "-o", "nowhere/night.yaml")


def test_nothing_is_overwritten(desk: Desk) -> None:
    desk.write("in/a.png", make_png())
    desk.write("in.yaml", "mine")
    said = refused(desk, "in")
    assert "in.yaml is there already, and nothing is overwritten" in said and "-o FILE.yaml" in said
    (desk.folder / "link.yaml").symlink_to("nowhere")
    assert "there already" in refused(desk, "in", "-o", "link.yaml")
    assert (desk.folder / "in.yaml").read_text() == "mine"


def test_what_is_no_folder_of_pictures_is_told(desk: Desk) -> None:
    (desk.folder / "empty/@eaDir").mkdir(parents=True)
    desk.write("films/a.mp4", "")
    desk.write("films/b.mp4", "")
    desk.write("films/c.nef", "")
    desk.write("one/a.png", make_png())
    desk.write("night.yaml", "{version: 1}")
    os.mkdir(os.fsencode(desk.folder) + b"/b\xff")
    desk.write("b\udcff/a.png", make_png())
    desk.write(f"deep/{'d/' * 102}a.png", make_png())
    for given, why in (
        ("deep", "deep, or a folder in it: folders in it lie more than 100 deep; move them up"),
        ("nowhere", "nowhere: no such folder"),
        ("one/a.png", "one/a.png is a file; name the folder that it lies in: batchgen init one"),
        (
            "night.yaml",
            "night.yaml is a manifest already, it seems; what it does says batchgen plan night.yaml",
        ),
        ("empty", "empty: no picture that can be used lies in it or below: it is empty; nothing was written"),
        ("films", "lies in it or below: it has 2 .mp4, 1 .nef; convert them to JPEG; nothing was written"),
        ("b\udcff", "its name is no UTF-8"),
    ):
        assert why in refused(desk, given), given


def test_pictures_of_one_name_make_one_job(desk: Desk) -> None:
    """A camera's two formats; which of them is taken is in the manifest, and the others are told."""
    for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "b.png", "sub/d.png")):
        desk.write(f"in/{name}", make_png(seed=number) if name.endswith("png") else make_jpeg(seed=number))
    result = desk.run("init", "in")
    assert result.err.startswith("wrote in.yaml: 4 pictures\n")
    assert "left out, since another picture has their name: b.png" in result.err
    content = load((desk.folder / "in.yaml").read_bytes())
    assert content["jobs"] == [
        {"folder": "in", "match": "**/*.{jpg,jpeg}"},
        {"id": "sub/d", "image": "in/sub/d.png"},
    ]
    assert (desk.run("validate", "in.yaml").code, result.code) == (0, 0)
    desk.write("case/a.jpg", make_jpeg())
    desk.write("case/a.JPG", make_jpeg(seed=1))
    desk.write("case/b.JPG", make_jpeg(seed=2))
    assert desk.run("init", "case").code == 0
    plan = desk.run("plan", "--json", "case.yaml")
    assert plan.code == 0 and ids(plan.json) == ["a", "b"]


def test_pictures_that_the_api_does_not_take_are_prepared_and_the_reasons_are_told(desk: Desk) -> None:
    desk.write("in/a.png", make_png())
    desk.write("in/small.png", make_png(280, 280))
    desk.write("in/wide.png", make_png(1200, 300))
    webp = io.BytesIO()
    Image.new("RGB", (400, 300), "teal").save(webp, "WEBP")
    desk.write("in/a.webp", webp.getvalue())
    desk.write("in/b.webp", webp.getvalue())
    result = desk.run("init", "in")
    assert (result.code, "left out, since another picture has their name: a.webp" in result.err) == (0, True)
    assert "4 pictures, 3 of them to be prepared" in result.err
    written = (desk.folder / "in.yaml").read_text()
    assert (
        "# 3 of 4 pictures need it: 1 under 300 px, 1 longer than 2.5:1, 1 WebP\n  prepare: true\n" in written
    )
    assert "  - id: b\n    image: in/b.webp\n" in written
    assert [job["action"] for job in desk.run("plan", "--json", "in.yaml").json["jobs"]] == ["create"] * 4


def test_a_picture_that_cannot_be_used_is_told_by_the_plan_and_refuses_nothing(desk: Desk) -> None:
    desk.write("in/good.png", make_png())
    desk.write("in/broken.jpg", b"not a picture")
    os.utime(desk.folder / "in/broken.jpg", (1, 1))
    desk.write("in/tab\there.png", make_png(seed=1))
    result = desk.run("init", "in")
    assert result.code == 0
    assert result.out.endswith("3 jobs: 1 create, 2 unusable; about $0.42\n"), result.out
    assert "it is neither PNG nor JPEG" in result.out and "taken from the image's name" in result.out


def test_a_manifest_that_takes_the_same_pictures_is_told(desk: Desk) -> None:
    desk.write("in/a.png", make_png())
    assert desk.run("init", "in").code == 0
    desk.write("other.yaml", "{version: 1, jobs: [{folder: elsewhere}]}")
    desk.write("broken.yaml", "{")
    said = desk.run("init", "in", "-o", "second.yaml").err
    assert "warning: in.yaml takes pictures of this folder, too; what both take is paid twice" in said
    assert "other.yaml takes" not in said and "broken.yaml takes" not in said


def test_fields_beside_pictures_leave_the_cap_to_the_person(desk: Desk) -> None:
    desk.write("in/a.png", make_png())
    desk.write("in/a.yaml", "mode: 4k")
    found = started(desk, "in")
    assert found["cost_usd_estimate"] == 2.1
    assert "\n# max_cost_usd: 1 # a run creates" in (desk.folder / "in.yaml").read_text()


def test_of_many_pictures_a_few_are_tried_first(desk: Desk) -> None:
    for number in range(13):
        desk.write(f"in/{number}.png", make_png(seed=number))
    assert started(desk, "in")["next"] == [
        "batchgen run in.yaml --sandbox --max-jobs 12",
        "export POWERTOKENS_API_KEY_FILE=~/.config/batchgen/key",
        "batchgen run in.yaml --max-jobs 3",
        "batchgen run in.yaml",
    ]


def test_quiet_shows_the_plan_alone(desk: Desk) -> None:
    desk.write("in/a.png", make_png())
    result = desk.run("init", "-q", "in")
    assert (result.code, result.err) == (0, "") and result.out.startswith("create ")


def test_a_key_that_is_set_is_not_asked_for(desk: Desk) -> None:
    desk.write("in/a.png", make_png())
    assert "a file with your key" in desk.run("init", "in", "-o", "a.yaml").err
    desk.env["POWERTOKENS_API_KEY"] = "some-key-1234"
    assert "a file with your key" not in desk.run("init", "in", "-o", "b.yaml").err
