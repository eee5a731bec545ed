"""Pictures that somebody is still writing: they wait for the next run, and nothing is paid for half a picture."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from batchgen.files import Folders
from batchgen.images import inspection
from batchgen.manifest import reader
from batchgen.manifest.image_refs import FRESH
from batchgen.models import ImageFile, Manifest, Within
from batchgen.run.planning import planned
from batchgen.run.tally import Tally
from tests.support.pictures import make_jpeg, make_png
from tests.support.program import Desk, sandbox

HEAD = "version: 1\nname: night\ndefaults: {model_name: kling-v3, prompt: x}\njobs:\n  - {folder: in}\n"
NOW = 1_800_000_000.0
HALVES = {
    "cut.png": make_png()[:-20],
    "cut.jpg": make_jpeg()[:-200],
    "empty.png": b"",
    "zeros.jpg": bytes(5000),
    "reserved.png": make_png()[:200] + bytes(5000),
    "reserved.jpg": make_jpeg()[:-200] + bytes(200),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("night.yaml").write_text(HEAD)


def put(name: str, data: bytes, age: float = 0.0) -> None:
    path = Path("in", name)
    path.write_bytes(data)
    os.utime(path, (NOW - age, NOW - age))


def read(now: float = NOW) -> Manifest:
    (found,), problems = reader.read(["night.yaml"], now=now)
    assert not problems
    return found


@pytest.mark.parametrize("name", HALVES)
def test_half_a_picture_that_was_written_a_moment_ago_waits_and_the_others_do_not(name: str) -> None:
    put(name, HALVES[name], age=3)
    put("whole.png", make_png(seed=1), age=0)
    found = read()
    assert [job.id for job in found.jobs] == ["whole"]
    assert [one.waits for one in found.unusable] == [True]
    assert "still" in found.unusable[0].problem.text


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("age", [FRESH + 1, 86_400.0, -86_400.0])
def test_half_a_picture_that_nobody_writes_any_more_is_refused(name: str, age: float) -> None:
    put(name, HALVES[name], age)
    assert [one.waits for one in read().unusable] == [False]


def test_a_clock_that_is_a_little_ahead_is_taken_for_now() -> None:
    put("cut.png", HALVES["cut.png"], age=-FRESH / 2)
    assert [one.waits for one in read().unusable] == [True]


@pytest.mark.parametrize("data", [make_png(100, 100), b"GIF89a" + bytes(500), b"some text"])
def test_a_picture_that_will_never_do_waits_for_nothing(data: bytes) -> None:
    put("a.png", data)
    assert [one.waits for one in read().unusable] == [False]


def test_a_picture_that_grows_after_it_was_looked_at_waits() -> None:
    now = time.time()
    Path("in/a.jpg").write_bytes(make_jpeg())
    Path("in/b.jpg").write_bytes(make_jpeg(seed=2))

    def inspect(path: str, within: Within | None, folders: Folders) -> ImageFile:
        found = inspection.inspect(path, within, folders)
        if path.endswith("a.jpg"):
            with open(path, "ab") as file:
                file.write(b"the phone's film")
        return found

    (found,), _ = reader.read(["night.yaml"], inspect=inspect, now=now)
    assert [job.id for job in found.jobs] == ["b"]
    assert [(one.id, one.waits) for one in found.unusable] == [("a", True)]


def test_one_that_changes_while_it_is_read_waits_whatever_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.png", make_png(), age=86_400)
    read_some = os.read

    def growing(file: int, count: int) -> bytes:
        with open("in/a.png", "ab") as more:
            more.write(b"x")
        return read_some(file, count)

    monkeypatch.setattr(os, "read", growing)
    assert [one.waits for one in read().unusable] == [True]


@pytest.mark.parametrize("mark", [".part", ".filepart", ".crdownload", ".aria2", ".tmp"])
def test_what_a_download_s_mark_lies_beside_waits(mark: str) -> None:
    put("a.png", make_png())
    put(f"a.png{mark}", b"")
    put("b.png", make_png(seed=1))
    found = read()
    assert [job.id for job in found.jobs] == ["b"]
    assert [one.waits for one in found.unusable] == [True]
    assert f"a.png{mark} lies beside it" in found.unusable[0].problem.text


def test_a_mark_that_was_forgotten_holds_nothing_back() -> None:
    put("a.png", make_png())
    put("a.png.part", b"", age=2 * 86_400)
    assert [job.id for job in read().jobs] == ["a"]


def test_a_night_in_which_something_is_copied_ends_well_and_the_next_takes_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("in/whole.png", make_png())
    whole = make_png(seed=1)
    desk.write("in/half.png", whole[:-20])
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1") as server:
        desk.against(server)
        checked = desk.run("validate", "night.yaml")
        assert checked.code == 0
        assert "warning" in checked.err and "half.png" in checked.err
        first = desk.run("run", "--json", "--poll-interval", "0.05", "night.yaml")
        assert first.code == 0
        assert first.json["buckets"]["waiting"] == 1
        assert [(one["bucket"], one["job_id"]) for one in first.json["endings"]] == [("waiting", "half")]
        assert len(server.accepted()) == 1
        desk.write("in/half.png", whole)
        assert desk.run("run", "--poll-interval", "0.05", "night.yaml").code == 0
        assert len(server.accepted()) == 2


def test_pictures_that_cannot_be_sent_are_no_progress() -> None:
    put("cut.png", HALVES["cut.png"], age=3)
    put("old.png", HALVES["cut.png"], age=86_400)
    put("whole.png", make_png(seed=1))
    tally = Tally()
    left = tally.count_finished(planned([read()], None))
    assert [step.job.id for step in left] == ["whole"]
    assert (tally.buckets["waiting"], tally.buckets["unusable"]) == (1, 1)
    assert tally.finished == 0
    tally.buckets["downloaded"] += 1
    assert tally.finished == 1
