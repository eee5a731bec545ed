"""One manifest's fault, of whatever kind, is that manifest's problem: the others run, within bounds of memory."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchgen import limits
from batchgen.errors import Interrupted, LedgerLost, UsageError
from batchgen.files import Folders
from batchgen.manifest import reader
from batchgen.manifest.isolation import isolated
from batchgen.models import ImageFile, Within
from tests.machine.test_hostile_machine import limited, obeying_permissions
from tests.support.pictures import make_png
from tests.support.program import Desk, Result, sandbox

MiB = 2**20
URL = "https://example.com/a.png"
JOBS = [{"id": "b", "image": URL, "prompt": "x"}]
GOOD = json.dumps(
    {
        "version": 1,
        "name": "good",
        "defaults": {"model_name": "kling-v3"},
        "jobs": [{"id": "g", "image": "https://example.com/g.png", "prompt": "x"}],
    }
)


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.write("m/good.yaml", GOOD)
    return desk


def written(**keys: Any) -> str:
    return json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, **keys})


def job(**fields: Any) -> str:
    return written(jobs=[{**JOBS[0], **fields}])


def entry(**fields: Any) -> str:
    return written(jobs=[fields])


def table(content: str | Callable[[], str | bytes], name: str = "t.csv") -> Callable[[Desk], object]:
    def make(desk: Desk) -> None:
        desk.write(f"m/{name}", content() if callable(content) else content)
        desk.write("m/bad.yaml", entry(table=name))

    return make


def sparse(name: str, head: bytes, bad: str | None = None) -> Callable[[Desk], object]:
    def make(desk: Desk) -> None:
        with desk.write(f"m/{name}", head).open("ab") as file:
            file.truncate(2 * 2**40)
        if bad is not None:
            desk.write("m/bad.yaml", bad)

    return make


def beside_a_picture(name: str, head: bytes) -> Callable[[Desk], object]:
    def make(desk: Desk) -> None:
        desk.write("m/in/a.png", make_png(300, 300))
        sparse(f"in/{name}", head, entry(folder="in"))(desk)

    return make


def at(name: str, make: Callable[[Path], object], bad: str | None = None) -> Callable[[Desk], object]:
    def made(desk: Desk) -> None:
        make(desk.folder / "m" / name)
        if bad is not None:
            desk.write("m/bad.yaml", bad)

    return made


BAD: dict[str, str | bytes | Callable[[Desk], object]] = {
    "NUL in output_dir": written(output_dir="c\0d", jobs=JOBS),
    "NUL in name": written(name="c\0d", jobs=JOBS),
    "NUL in folder": entry(folder="a\0b"),
    "NUL in match": entry(folder=".", match="a\0b"),
    "NUL in table": entry(table="a\0b.csv"),
    "NUL in callback_url": job(callback_url="https://example.com/\0"),
    "NUL in id": job(id="a\0b"),
    "NUL in external_task_id": job(external_task_id="a\0b"),
    "long output_dir": written(output_dir="é/" * 5000, jobs=JOBS),
    "long folder": entry(folder="é/" * 5000),
    "long table": entry(table="x" * 5000 + ".csv"),
    "long name": written(name="x" * 300, jobs=JOBS),
    "many braces": entry(folder=".", match="{" * 100_000),
    "many brackets": entry(folder=".", match="[" * 100_000),
    "nested lists": "[" * 100_000,
    "nested cells": table("[" * 100_000, "t.jsonl"),
    "long numbers": table('{"image": "a.png", "take": ' + "9" * 100_000 + "}", "t.jsonl"),
    "infinite numbers": table('{"image": "a.png", "take": 1e999}', "t.jsonl"),
    "half a character": table(f'{{"id": "\\ud800", "image": "{URL}"}}', "t.jsonl"),
    "half a character in a key": table(f'{{"\\ud800": 1, "image": "{URL}"}}', "t.jsonl"),
    "200,000 columns": table(lambda: ",".join(f"c{number}" for number in range(200_000)) + "\nx\n"),
    "50 million commas": table(lambda: "image,prompt\n" + "," * (50 * MiB) + "\n"),
    "50 million commas in the header": table(lambda: "image,prompt" + "," * (50 * MiB) + "x\n"),
    "a row without an end": table(lambda: "image,prompt\n" + 50 * ('"' + "x\n" * MiB + '",') + "x\n"),
    "a bad byte after much text": table(
        lambda: b"image,prompt\n" + (b"a.png," + b"x" * 2500 + b"\n") * 80_000 + b"\xff"
    ),
    "100,000 keys": "version: 1\n" + "".join(f"k{number}: 1\n" for number in range(100_000)),
    "100,000 keys in a row": table(
        lambda: json.dumps({f"k{number}": 1 for number in range(100_000)}), "t.jsonl"
    ),
    "a key twice of 100,000": table(
        lambda: "{" + ",".join(f'"k{number}":1' for number in range(100_000)) + ',"k99999":2}', "t.jsonl"
    ),
    "300,000 entries that are none": "version: 1\njobs:\n" + "- x\n" * 300_000,
    "a sparse manifest": sparse("bad.yaml", b"version: 1\n"),
    "a sparse table": sparse("t.csv", b"image,prompt\n" + b"a.png,x\n" * 9_000, entry(table="t.csv")),
    "a sparse JSON table": sparse("t.jsonl", b'{"image": "a.png"}\n' * 9_000, entry(table="t.jsonl")),
    "a sparse prompt": beside_a_picture("a.txt", b"x\n"),
    "a sparse sidecar": beside_a_picture("a.yaml", b"prompt: x\n"),
    "a pipe": at("bad.yaml", os.mkfifo),
    "a device": at("bad.yaml", lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": at("bad.yaml", lambda path: path.symlink_to("bad.yaml")),
    "a folder as a table": at("t.csv", Path.mkdir, entry(table="t.csv")),
    "a pipe as a table": at("t.csv", os.mkfifo, entry(table="t.csv")),
    "a device as a table": at("t.csv", lambda path: path.symlink_to("/dev/zero"), entry(table="t.csv")),
    "a folder that links to itself": at("in", lambda path: path.symlink_to("in"), entry(folder="in")),
    "no UTF-8": b"version: 1\n\xff",
}


def lay_out(desk: Desk, bad: str | bytes | Callable[[Desk], object]) -> None:
    if callable(bad):
        bad(desk)
    else:
        desk.write("m/bad.yaml", bad)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_what_is_wrong_with_one_manifest_keeps_no_other_from_running(
    desk: Desk, bad: str | bytes | Callable[[Desk], object]
) -> None:
    lay_out(desk, bad)
    desk.program = limited(resource.RLIMIT_AS, 1024 * MiB)
    result = desk.run("plan", "m")
    assert result.code == 2, result.err
    assert "create       $0.42  good/g" in result.out
    assert "m/bad.yaml" in result.err or "m/t." in result.err or "m/in/a." in result.err
    assert "please report" not in result.err
    assert len(result.err) < 200_000


def test_all_of_them_at_once_and_the_good_one_is_made(desk: Desk, tmp_path: Path) -> None:
    for number, bad in enumerate(BAD.values()):
        if isinstance(bad, str | bytes):
            desk.write(f"m/{number:02}.yaml", bad)
    desk.program = limited(resource.RLIMIT_AS, 1024 * MiB)
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1") as server:
        desk.against(server)
        result = desk.run("run", "--poll-interval", "0.05", "m")
        assert result.code == 2, result.err
        assert len(server.accepted()) == 1
    assert [row["manifest"] for row in desk.export() if row["state"] == "downloaded"] == ["good"]


def test_a_manifest_that_nobody_may_read_is_its_own_problem(desk: Desk) -> None:
    desk.program = obeying_permissions()
    desk.write("m/bad.yaml", GOOD).chmod(0)
    result = desk.run("plan", "m")
    assert (result.code, "good/g" in result.out) == (2, True)
    assert result.err == "m/bad.yaml: can't be read: Permission denied\n"


def test_a_picture_of_two_terabytes_fails_alone(desk: Desk) -> None:
    desk.write("m/in/b.png", make_png(300, 300))
    sparse("in/a.png", make_png(300, 300), entry(folder="in", prompt="x"))(desk)
    desk.program = limited(resource.RLIMIT_AS, 512 * MiB)
    result = desk.run("plan", "m")
    assert "bad/b" in result.out and "good/g" in result.out
    assert "2,199,023,255,552 bytes: an image must not exceed 10 MB" in result.out


def test_a_manifest_that_needs_more_memory_than_there_is_leaves_the_others_alone(desk: Desk) -> None:
    with desk.write("m/bad.yaml", "version: 1\n").open("ab") as file:
        file.truncate(200 * MiB)
    desk.program = limited(resource.RLIMIT_AS, 384 * MiB)
    result = desk.run("plan", "m")
    assert result.code == 2, result.err
    assert "good/g" in result.out
    assert "m/bad.yaml: needs more memory than there is" in result.err


MANIFESTS_OF_4_MB = {
    "text": "version: 1\njobs:\n" + "- x\n" * MiB,
    "sets": "version: 1\njobs: [" + "{}," * (6 * MiB // 5) + "]\n",
    "an unknown key each": "version: 1\njobs:\n"
    + "".join(f"- {{id: j{number}, imge: '{URL}', prompt: a slow push in}}\n" for number in range(50_000)),
    "one unknown key": "version: 1\ndefaults: {model_name: kling-v3}\njobs:\n- {id: z, imge: 3}\n"
    + "".join(f"- {{id: j{number}, image: '{URL}', prompt: a slow push in}}\n" for number in range(50_000)),
}


@pytest.mark.parametrize("content", MANIFESTS_OF_4_MB.values(), ids=MANIFESTS_OF_4_MB.keys())
def test_a_manifest_of_4_mb_with_problems_takes_little_memory(desk: Desk, content: str) -> None:
    desk.write("m/bad.yaml", content)
    result, taken = measured(desk, "validate", "m")
    assert result.code == 2, result.err
    assert len(result.err) < 200_000
    assert taken < 190 * MiB


def measured(desk: Desk, *arguments: str) -> tuple[Result, int]:
    """How the program ended, and the most memory that it held (bytes)."""
    script = (
        "import resource, subprocess, sys; code = subprocess.call([sys.executable, '-m', 'batchgen', *sys.argv[1:]]);"
        " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    desk.program = (sys.executable, "-c", script)
    result = desk.run(*arguments)
    return result, int(result.out.split()[-1]) * 1024


def test_two_manifests_of_one_name_that_ask_for_the_same_are_refused_alone(desk: Desk) -> None:
    for name in "ab":
        desk.write(f"m/{name}.yaml", written(name="x", jobs=[{**JOBS[0], "id": name}]))
    result = desk.run("plan", "m")
    assert (result.code, "good/g" in result.out) == (2, True)
    assert len(result.err.splitlines()) == 2
    assert result.err.count('"x" is the name of m/') == 2


def test_a_folder_that_is_called_as_a_manifest_is_warned_of(desk: Desk) -> None:
    desk.write("m/old.yaml/x", "x")
    desk.write("m/.hidden.yaml/x", "x")
    desk.write("m/bad.yaml", "jobs: 1")
    result = desk.run("validate", "m")
    assert result.err.splitlines()[-1] == "m/old.yaml: warning: is a folder, and no manifest"
    assert (
        desk.run("validate", "--strict", "m/").err.count("m/old.yaml: is a folder, and no manifest (a warn")
        == 1
    )
    (desk.folder / "m/bad.yaml").unlink()
    assert desk.run("validate", "m").code == 0


def test_a_nul_in_an_images_path_is_said(desk: Desk) -> None:
    desk.write("m/bad.yaml", job(image="in/a\0.png"))
    result = desk.run("plan", "m")
    assert "good/g" in result.out
    assert "a NUL stands in it, which no file's name has" in result.out


# -- the wall itself ---------------------------------------------------------------------------------------------------


def test_what_nobody_foresaw_is_told_in_one_line_without_what_was_read(tmp_path: Path) -> None:
    secret = "sk-1234567890"
    (tmp_path / "bad.yaml").write_text(entry(folder=".", prompt="x"))
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "a.png").write_bytes(make_png(300, 300))

    def inspect(path: str, within: Within | None, folders: Folders) -> ImageFile:
        raise ZeroDivisionError(secret)

    good, problems = reader.read([str(tmp_path)], inspect=inspect)
    assert [one.name for one in good] == ["good"]
    (problem,) = problems
    assert problem.place.file == str(tmp_path / "bad.yaml")
    assert "please report this line: batchgen " in problem.text
    assert "ZeroDivisionError at manifest/image_refs.py:" in problem.text
    assert secret not in str(problem) and "\n" not in str(problem)


@pytest.mark.parametrize(
    "error",
    [Interrupted("by SIGTERM", 143), UsageError("x"), LedgerLost("x"), OSError(24, "x"), KeyboardInterrupt()],
)
def test_what_concerns_all_manifests_passes_the_wall(error: BaseException) -> None:
    told: list[str] = []
    with pytest.raises(type(error)), isolated(told.append):
        raise error
    assert told == []


def test_no_more_than_the_first_problems_are_listed(desk: Desk) -> None:
    desk.write("m/bad.yaml", "version: 1\njobs:\n" + "- x\n" * 3_000)
    lines = desk.run("validate", "m").err.splitlines()
    assert len(lines) == limits.PROBLEMS + 1
    assert lines[0].startswith("m/bad.yaml:3:3: jobs[0]: ") and lines[999].startswith("m/bad.yaml:1002:3: ")
    assert lines[-1].startswith("m/bad.yaml: has more than 1,000 problems; ")


# -- behind the reading ------------------------------------------------------------------------------------------------

FOLDERS: dict[str, tuple[str, Callable[[Desk], object]]] = {
    "a file": ("../file", lambda desk: desk.write("file", "x")),
    "below a file": ("../file/below", lambda desk: desk.write("file", "x")),
    "where nothing can be made": ("/proc/batchgen/clips", lambda desk: None),
    "a link to itself": ("../loop", lambda desk: (desk.folder / "loop").symlink_to("loop")),
    "a link to nowhere below a file": (
        "../dead",
        lambda desk: (desk.folder / "dead").symlink_to("m/good.yaml/x"),
    ),
    "a device": ("/dev/null", lambda desk: None),
    "a folder in which the clips' place is a file": ("../clips", lambda desk: desk.write("clips/bad", "x")),
    "clips.jsonl is a folder": ("../clips", lambda desk: desk.write("clips/bad/clips.jsonl/x", "x")),
    "clips.jsonl is a pipe": (
        "../clips",
        lambda desk: os.mkfifo(desk.write("clips/bad/x", "").with_name("clips.jsonl")),
    ),
    "clips.jsonl is no text": (
        "../clips",
        lambda desk: desk.write("clips/bad/clips.jsonl", b"\xff\0[[[[" * 1000),
    ),
    "clips.jsonl is nested": ("../clips", lambda desk: desk.write("clips/bad/clips.jsonl", "[" * 100_000)),
    "clips.jsonl holds a number": (
        "../clips",
        lambda desk: desk.write("clips/bad/clips.jsonl", "9" * 100_000),
    ),
    "the clip's place is a folder": ("../clips", lambda desk: desk.write("clips/bad/b.mp4/x", "x")),
}


def line_of_another(**values: Any) -> Callable[[Path], None]:
    """A line beside the clips that tells of another clip with the same bytes."""

    def write(clips: Path) -> None:
        line = json.loads((clips / "clips.jsonl").read_text())
        ids = {"external_task_id": "bad.q.1", "base_id": "bad.q.1", "task_id": "t", "job_id": "q"}
        with (clips / "clips.jsonl").open("a") as file:
            file.write(json.dumps({**line, **ids, **values}) + "\n")

    return write


def deep_instead_of_the_clip(clips: Path) -> None:
    (clips / "b.mp4").unlink()
    here = os.open(clips, os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 200):
        os.mkdir("a", dir_fd=here)
        there = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)


def remove_deep(clips: Path) -> None:
    """What pytest can't remove: it goes into folders one in another."""
    while (clips / "a").exists():
        if (clips / "a/a").exists():
            (clips / "a/a").rename(clips / "inner")
        (clips / "a").rmdir()
        if (clips / "inner").exists():
            (clips / "inner").rename(clips / "a")


AFTERWARDS: dict[str, Callable[[Path], object]] = {
    "a thousand folders one in another": deep_instead_of_the_clip,
    "a name that is no UTF-8": lambda clips: os.rename(clips / "b.mp4", os.fsencode(clips) + b"/caf\xe9.mp4"),
    "a line with a part without a digest": line_of_another(
        parts=[{"part": "part2", "url": "x", "path": "b.mp4"}]
    ),
    "a line with half a character": line_of_another(image="\ud800", request_id="\ud800"),
}


@pytest.mark.parametrize("happen", AFTERWARDS.values(), ids=AFTERWARDS.keys())
def test_what_happens_to_one_manifests_clips_keeps_no_other_from_running(
    desk: Desk, tmp_path: Path, happen: Callable[[Path], object]
) -> None:
    desk.write("m/bad.yaml", written(output_dir="../clips", jobs=JOBS))
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1") as server:
        desk.against(server)
        assert desk.run("run", "--poll-interval", "0.05", "m").code == 0
        happen(desk.folder / "clips/bad")
        desk.write("m/good.yaml", GOOD.replace("g.png", "new.png").replace('"g"', '"new"'))
        desk.run("run", "--poll-interval", "0.05", "--timeout", "2", "--settle", "2", "m")
    remove_deep(desk.folder / "clips/bad")
    states = {f"{row['manifest']}/{row['job_id']}": row["state"] for row in desk.export()}
    assert states["good/new"] == "downloaded"


@pytest.mark.parametrize(("folder", "make"), FOLDERS.values(), ids=FOLDERS.keys())
def test_clips_that_have_no_place_keep_those_of_no_other_manifest_away(
    desk: Desk, tmp_path: Path, folder: str, make: Callable[[Desk], object]
) -> None:
    make(desk)
    desk.write("m/bad.yaml", written(output_dir=folder, jobs=JOBS))
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1") as server:
        desk.against(server)
        desk.run("run", "--poll-interval", "0.05", "--timeout", "2", "--settle", "2", "m")
        assert desk.run("plan", "m").code == 0
    states = {row["manifest"]: row["state"] for row in desk.export()}
    assert states["good"] == "downloaded"
