"""Output folders that others exchange: no clip is written elsewhere, lost, paid again, or recorded where it isn't."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchgen.errors import DownloadError
from batchgen.sandbox.video import clip as video
from batchgen.storage import clips, roots
from batchgen.storage.download import Downloads
from batchgen.storage.partfile import Kept, PartFile
from batchgen.storage.roots import HELD, Folder, Root, Roots
from batchgen.storage.transfer import Clip
from tests.support import wire
from tests.support.program import ENDS, Desk, Server, sandbox, until

FAST = ("--task-seconds", "0.05-0.3")
QUICK = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "1")
CLIP = video("task")

# Exchanges a folder and a link in one step, over and over, until it is told to end: then everything is as it was.
EXCHANGER = """
import ctypes, os, random, signal, sys, time
folder, link, going = *map(os.fsencode, sys.argv[1:]), []
signal.signal(signal.SIGTERM, lambda *_: going.append(1))
libc = ctypes.CDLL(None, use_errno=True)
print("ready", flush=True)
while not going:
    for turn in range(2):
        assert libc.renameat2(-100, folder, -100, link, 2) == 0, ctypes.get_errno()
        time.sleep(random.uniform(0, 0.004))
"""


def manifest(*ids: str) -> str:
    jobs = [{"id": one, "image": f"https://example.com/{n}.png", "prompt": "x"} for n, one in enumerate(ids)]
    return json.dumps({"version": 1, "name": "m", "defaults": {"model_name": "kling-v3"}, "jobs": jobs})


@contextlib.contextmanager
def exchanging(folder: Path, outside: Path) -> Iterator[None]:
    """Another user of the machine, who exchanges ``folder`` for a link to ``outside`` all the time."""
    link = folder.with_name("link")
    link.symlink_to(outside)
    command = [sys.executable, "-c", EXCHANGER, str(folder), str(link)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=ENDS)
        assert (process.returncode, error) == (0, b"")
        link.unlink()


def everything_is_home(desk: Desk, server: Server, jobs: int) -> None:
    rows = desk.export()
    assert [row["state"] for row in rows] == ["downloaded"] * jobs
    for row in rows:
        content = Path(row["video_path"]).read_bytes()
        assert content == video(row["task_id"])
        assert hashlib.sha256(content).hexdigest() == row["video_sha256"]
    assert sum(entry.kind == "create" for entry in server.entries()) == jobs


# -- a run beside somebody who exchanges folders ------------------------------------------------------------------


@pytest.mark.parametrize("exchanged", ["clips", "clips/m", "clips/m/sub"])
def test_no_clip_is_written_through_a_folder_that_is_exchanged_all_the_time(
    desk: Desk, exchanged: str
) -> None:
    desk.write("m.yaml", manifest(*(f"sub/{number}" for number in range(60))))
    outside = desk.folder / "outside"
    for folder in ("clips/m/sub", "outside/m/sub", "outside/sub"):
        (desk.folder / folder).mkdir(parents=True)
    before = sorted(outside.rglob("*"))
    with sandbox(desk.folder, *FAST) as server:
        process = desk.against(server).start("run", *QUICK, "m.yaml")
        until(lambda: bool(server.accepted()))
        with exchanging(desk.folder / exchanged, outside):
            result = desk.finish(process)
        assert result.code in (0, 1, 4), result.err
        assert sorted(outside.rglob("*")) == before
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        everything_is_home(desk, server, 60)
        assert sorted(outside.rglob("*")) == before
        assert not list((desk.folder / "clips").rglob("*.part"))


@pytest.mark.parametrize("command", ["run", "collect"])
def test_an_output_folder_that_is_moved_away_for_good_is_said_and_the_next_run_brings_the_clips(
    desk: Desk, command: str
) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    (desk.folder / "outside").mkdir()
    with sandbox(desk.folder, "--task-seconds", "60") as server:
        desk.against(server)
        if command == "collect":
            assert desk.run("run", "--submit-only", *QUICK, "m.yaml").code == 0
        heard = len(server.entries())
        process = desk.start(command, *QUICK, *(["m.yaml"] if command == "run" else []))
        until(lambda: len(server.accepted()) == 2 and len(server.entries()) > heard)
        (desk.folder / "clips").rename(desk.folder / "before")
        (desk.folder / "clips").symlink_to("outside")
        server.ask("finish", {})
        result = desk.finish(process)
        assert result.code == 1
        assert f"{desk.folder / 'clips'} is another folder now than when this run began" in result.err
        assert "the next run fetches it again, at no cost" in result.err
        assert not list((desk.folder / "outside").iterdir())
        assert {row["state"] for row in desk.export()} == {"succeeded"}
        # To where the link leads: it was there when this run began.
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        everything_is_home(desk, server, 2)


@pytest.mark.parametrize("command", ["run", "collect", "recover"])
def test_a_link_below_an_output_folder_is_neither_read_nor_written_through(desk: Desk, command: str) -> None:
    """``recover`` reads the clips' folders, the others look for clips and fetch those that are missing."""
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        folder, outside = desk.folder / "clips/m", desk.folder / "outside"
        folder.rename(outside)
        (outside / "a.mp4").unlink()
        before = sorted(outside.iterdir())
        folder.symlink_to(outside)
        result = desk.run(command, *QUICK, *(["m.yaml"] if command != "collect" else []))
        assert f"{folder} leads elsewhere" in result.err
        assert sorted(outside.iterdir()) == before
        folder.unlink()
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        everything_is_home(desk, server, 1)


def test_a_link_in_the_place_of_superseded_keeps_clips_where_they_are(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a"))
    (desk.folder / "outside").mkdir()
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        (desk.folder / "clips/m/superseded").symlink_to("../../outside")
        desk.write("m.yaml", manifest("a").replace('"x"', '"y"'))
        result = desk.run("run", "--accept-changes", *QUICK, "m.yaml")
        assert "stays at" in result.err
        assert "superseded leads elsewhere" in result.err
        assert not list((desk.folder / "outside").iterdir())
        (desk.folder / "clips/m/superseded").unlink()
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        everything_is_home(desk, server, 2)


def test_a_row_whose_clip_belongs_outside_of_its_output_folder_is_not_followed_there(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, "--task-seconds", "60") as server:
        assert desk.against(server).run("run", "--submit-only", *QUICK, "m.yaml").code == 0
        ledger = desk.folder / "home/.local/state/batchgen/ledger.db"
        with contextlib.closing(sqlite3.connect(ledger)) as connection, connection:
            connection.execute("UPDATE tasks SET output_path = ?", (str(desk.folder / "outside/a.mp4"),))
        server.ask("finish", {})
        result = desk.run("collect", *QUICK)
        assert "doesn't lie below" in result.err
        assert not (desk.folder / "outside").exists()
        assert [row["state"] for row in desk.export()] == ["succeeded"]


# -- one clip whose place is exchanged while it comes -------------------------------------------------------------


def bring(out: Path, exchange: Callable[[Path], object]) -> Clip | DownloadError:
    """Fetch a clip to ``out/m/a.mp4`` whose host does something to ``out`` in its middle."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.request(reader)
        said = wire.answer(CLIP)
        writer.write(said[:-1])
        await writer.drain()
        while not list(out.parent.rglob("*.part")):
            await asyncio.sleep(0)
        exchange(out)
        writer.write(said[-1:])
        await writer.drain()

    async def scene() -> Clip | DownloadError:
        async with asyncio.timeout(ENDS), wire.wire(play) as url, Downloads(timeout=ENDS) as downloads:
            try:
                return await downloads.fetch(f"{url}/v.mp4", str(out / "m/a.mp4"), root=str(out))
            except DownloadError as error:
                return error

    return asyncio.run(scene())


def _link(path: Path) -> None:
    path.rename(path.with_name("before"))
    path.symlink_to(path.parent / "outside" if path.name == "m" else "outside")


def _replace(path: Path) -> None:
    path.rename(path.with_name("before"))
    path.mkdir()


def _other(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"mine")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _lead_away(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[2] / "precious")


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("", _link),
        ("", _replace),
        ("", lambda path: path.rename(path.with_name("before"))),
        ("m", _link),
        ("m", _replace),
        ("m", lambda path: path.rename(path.with_name("before"))),
        ("m/a.mp4.part", _other),
        ("m/a.mp4.part", _pipe),
        ("m/a.mp4.part", _lead_away),
        ("m/a.mp4.part", Path.unlink),
    ],
)
def test_a_clip_whose_place_is_exchanged_while_it_comes_is_not_at_home(
    place: str, change: Callable[[Path], object], tmp_path: Path
) -> None:
    out, outside, precious = tmp_path / "out", tmp_path / "outside", tmp_path / "precious"
    out.mkdir()
    outside.mkdir()
    precious.write_bytes(b"precious")
    end = bring(out, lambda _: change(out / place))
    assert isinstance(end, DownloadError), end
    assert end.local  # no matter of its host: the next run is to fetch it
    assert not list(outside.iterdir())
    assert precious.read_bytes() == b"precious"
    assert not list(tmp_path.rglob("*.mp4"))  # nothing looks like a clip that isn't recorded
    if place != "":
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (out / "m").unlink() if (out / "m").is_symlink() else None
        assert isinstance(bring(out, lambda _: None), Clip)
        assert (out / "m/a.mp4").read_bytes() == CLIP


def test_a_clip_that_has_another_number_under_its_new_name_is_known_by_its_bytes(tmp_path: Path) -> None:
    """As on disks that number files by their names: what lies there is the clip all the same."""

    def renumber(out: Path) -> None:
        (out / "m/a.mp4.part").unlink()
        (out / "m/a.mp4.part").write_bytes(CLIP)

    (tmp_path / "out").mkdir()
    assert isinstance(bring(tmp_path / "out", renumber), Clip)
    assert (tmp_path / "out/m/a.mp4").read_bytes() == CLIP


def test_a_file_that_was_put_in_the_place_of_what_a_night_left_is_not_written_to(tmp_path: Path) -> None:
    precious, out = tmp_path / "precious", tmp_path / "out"
    precious.write_bytes(b"precious" * 100)
    out.mkdir()
    os.link(precious, out / "a.mp4.part")
    part = PartFile(str(out / "a.mp4"), Root(str(out)), Kept(100, "0" * 64, {}))
    with part.opened():
        assert list(part.verify_kept()) == []
        assert part.size == 0
        part.write(b"a clip")
        part.sync()
        assert (out / "a.mp4.part").read_bytes() == b"a clip"
    assert precious.read_bytes() == b"precious" * 100


def test_a_name_that_is_taken_while_the_clip_comes_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    end = bring(tmp_path / "out", lambda out: (out / "m/a.mp4").write_bytes(b"mine"))
    assert isinstance(end, Clip)
    assert (tmp_path / "out/m/a.mp4").read_bytes() == b"mine"
    assert Path(end.path).read_bytes() == CLIP


def test_clips_that_are_moved_beside_somebody_who_exchanges_folders_are_not_lost(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    for folder in ("out/m/superseded", "outside/superseded"):
        (tmp_path / folder).mkdir(parents=True)
    (out / "m/a.mp4").write_bytes(CLIP)
    digest, ends = hashlib.sha256(CLIP).hexdigest(), {True: 0, False: 0}
    root, names = Root(str(out)), ("a.mp4", "superseded/a.mp4")
    real = os.open(out / "m", os.O_RDONLY)
    with exchanging(out / "m", outside):
        while min(ends.values()) < 50:  # moves that were made, and those that couldn't be
            source, target = (str(out / "m" / name) for name in names)
            try:
                made = clips.move(root, source, target, digest) is not None
            except OSError:
                made = False
            ends[made] += 1
            names = names[::-1] if made else names
            assert os.stat(names[0], dir_fd=real).st_size == len(CLIP)  # where it was said to be
    os.close(real)
    assert [path.name for path in out.rglob("*.mp4")] == ["a.mp4"]
    assert not list(outside.rglob("*.mp4"))


# -- folders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [1, 1 << 30], ids=["in one step", "on a disk that can't do so"])
def test_a_move_never_replaces_another_file(
    flag: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "_NOREPLACE", flag)  # no kernel knows the second
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "one", tmp_path / "ONE")  # as a disk shows it that ignores case
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    with Root(str(tmp_path)).folder(str(tmp_path)) as folder:
        for taken in ("other", "dangling", "folder"):
            with pytest.raises(FileExistsError):
                folder.move("one", folder, taken)
        folder.move("one", folder, "ONE")
        folder.move("ONE", folder, "new")
    assert (tmp_path / "new").read_text() == "one"
    assert (tmp_path / "other").read_text() == "other"


def test_a_path_outside_of_its_output_folder_is_refused(tmp_path: Path) -> None:
    root = Root(str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    for path in (tmp_path, tmp_path / "out/../x", tmp_path / "outside", Path("/")):
        with pytest.raises(OSError, match="doesn't lie below"), root.folder(str(path), make=True):
            pass
    assert os.listdir(tmp_path) == ["out"]


def test_a_thousand_output_folders_hold_no_more_descriptors_than_a_system_gives(tmp_path: Path) -> None:
    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before, several = descriptors(), Roots()
    for number in range(1000):
        folder = tmp_path / f"{number}/m"
        with several[str(folder.parent)].folder(str(folder), make=True) as there:
            assert isinstance(there, Folder)
    assert descriptors() <= before + HELD < before + 100
    (tmp_path / "999").rename(tmp_path / "moved")  # one of those that aren't held is known all the same
    (tmp_path / "999").symlink_to("998")
    with (
        pytest.raises(OSError, match="another folder now"),
        several[str(tmp_path / "999")].folder(str(tmp_path / "999")),
    ):
        pass
    several.clear()
    assert descriptors() == before


def test_what_is_no_clip_of_ours_is_not_read_for_hours(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("sparse.mp4", clips.NAME):
        with open(tmp_path / name, "wb") as file:
            file.truncate(2 << 40)
    for name in ("pipe", "zero", "loop", "folder", "sparse", "nothing"):
        assert not clips.is_clip(root, str(tmp_path / f"{name}.mp4"), "0" * 64)
    with pytest.raises(OSError, match="larger than") as caught:
        list(clips.entries(root, str(tmp_path)))
    assert caught.value.errno == errno.EFBIG
