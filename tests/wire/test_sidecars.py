"""Which text beside an image is its own, and what becomes of the others."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from batchgen.manifest import reader, sidecars
from batchgen.models import Manifest
from tests.support.pictures import make_png
from tests.support.program import Desk, sandbox

HEAD = "version: 1\nname: night\ndefaults: {model_name: kling-v3}\njobs:\n"
NFC = "Café"
NFD = unicodedata.normalize("NFD", NFC)


def read(root: Path, *files: str, entry: str = "  - {folder: inbox, prompt: the entry's}\n") -> Manifest:
    (root / "inbox").mkdir()
    for number, name in enumerate(files):
        path = root / "inbox" / name
        lower = name.lower()
        if lower.endswith(".txt"):
            path.write_text(f"from {name}")
        elif lower.endswith((".yaml", ".yml")):
            path.write_text(f"negative_prompt: from {name}\n")
        else:
            path.write_bytes(make_png(seed=number))
    (root / "night.yaml").write_text(HEAD + entry)
    (found,), problems = reader.read([str(root / "night.yaml")])
    assert not problems
    return found


def told(found: Manifest) -> list[str]:
    return [str(warning) for warning in found.warnings]


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("cat.png", "cat.txt"),
        ("IMG_1.PNG", "IMG_1.TXT"),
        ("IMG_1.PNG", "img_1.txt"),
        ("Cat.png", "cat.txt"),
        ("cat.png", "cat.png.txt"),
        ("Cat.PNG", "cat.png.TXT"),
        (f"{NFC}.png", f"{NFD}.txt"),
        (f"{NFD}.png", f"{NFC}.txt"),
        (f"{NFC}.png", f"{NFD}.png.TXT"),
        ("STRASSE.png", "straße.txt"),
    ],
)
def test_a_prompt_is_found_where_it_can_mean_only_one_image(tmp_path: Path, image: str, text: str) -> None:
    found = read(tmp_path, image, text, "other.png")
    assert [job.request["prompt"] for job in found.jobs if "other" not in job.id] == [f"from {text}"]
    assert [job.request["prompt"] for job in found.jobs if "other" in job.id] == ["the entry's"]
    assert told(found) == []


@pytest.mark.parametrize("text", ["cat.yaml", "cat.YAML", "Cat.Yml", "cat.png.yaml", "CAT.PNG.YML"])
def test_so_are_fields(tmp_path: Path, text: str) -> None:
    (job,) = read(tmp_path, "cat.png", text).jobs
    assert job.request["negative_prompt"] == f"from {text}"


def test_a_prompt_and_fields_in_different_spellings_go_together(tmp_path: Path) -> None:
    (job,) = read(tmp_path, "cat.png", "CAT.TXT", "cat.png.yaml").jobs
    assert (job.request["prompt"], job.request["negative_prompt"]) == ("from CAT.TXT", "from cat.png.yaml")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (("cat.png", "cat.txt", "CAT.TXT"), ["cat.txt", "CAT.TXT"]),
        (("cat.png", "cat.txt", "cat.png.txt"), ["cat.txt", "cat.png.txt"]),
        (("Cat.png", "Cat.txt", "cat.txt"), ["Cat.txt", "cat.txt"]),
        (("cat.png", "cat.yaml", "cat.YML"), ["cat.yaml", "cat.YML"]),
        ((f"{NFC}.png", f"{NFC}.txt", f"{NFD}.txt"), [r"Caf\xe9.txt", r"Cafe\u0301.txt"]),
    ],
)
def test_with_two_that_may_be_meant_the_job_fails_alone_and_both_are_named(
    tmp_path: Path, files: tuple[str, ...], named: list[str]
) -> None:
    found = read(tmp_path, *files, "other.png")
    assert [job.id for job in found.jobs] == ["other"]
    (failed,) = found.unusable
    assert all(name in failed.problem.text for name in named), failed.problem.text
    assert "keep one of them" in failed.problem.text


def test_a_text_that_may_belong_to_two_images_is_given_to_neither_and_both_fail(tmp_path: Path) -> None:
    found = read(tmp_path, "Cat.png", "CAT.png", "cat.txt", "other.png")
    assert [job.id for job in found.jobs] == ["other"]
    assert len(found.unusable) == 2
    assert all("cat.txt may belong to CAT.png or Cat.png" in one.problem.text for one in found.unusable)


def test_the_exact_name_wins_over_all_others(tmp_path: Path) -> None:
    found = read(tmp_path, "Cat.png", "cat.png", "cat.txt", "Cat.txt")
    prompts = {job.id: job.request["prompt"] for job in found.jobs}
    assert prompts == {"Cat": "from Cat.txt", "cat": "from cat.txt"}


def test_a_text_of_a_picture_that_the_entry_leaves_is_nobody_else_s(tmp_path: Path) -> None:
    entry = "  - {folder: inbox, match: '*.png', prompt: the entry's}\n"
    found = read(tmp_path, "a.png", "b.jpg", "b.txt", entry=entry)
    assert [job.request["prompt"] for job in found.jobs] == ["the entry's"]
    assert not any("b.txt" in warning for warning in told(found))


def test_texts_without_an_image_are_warned_of_once_a_folder(tmp_path: Path) -> None:
    found = read(tmp_path, "cat.png", "cta.txt", "dog.yaml", "e.txt", "f.txt", "README.txt")
    (warning,) = told(found)
    assert warning.startswith(
        f"{tmp_path}/night.yaml:5:6: jobs[0].folder: no image has the name of these texts"
    )
    assert "cta.txt, dog.yaml, e.txt and 1 more" in warning


def test_pairing_looks_at_each_name_once(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(300)]
    texts = [f"{number}.TXT" for number in range(300)]
    pairs = sidecars.pair(names, [], texts)
    assert pairs.beside == {f"{number}.png": (f"{number}.TXT",) for number in range(300)}


def test_a_text_that_is_found_only_now_makes_a_paid_job_a_changed_one_and_pays_nothing(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    desk.write("night.yaml", HEAD + "  - {folder: inbox, prompt: the entry's}\n")
    desk.write("inbox/cat.png", make_png())
    quick = ("--poll-interval", "0.05", "--settle", "1")
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1") as server:
        desk.against(server)
        assert desk.run("run", *quick, "night.yaml").code == 0
        desk.write("inbox/CAT.TXT", "A cat turns its head")
        assert desk.run("run", *quick, "night.yaml").code == 5
        assert len(server.accepted()) == 1
