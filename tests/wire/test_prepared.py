"""Prepared pictures on their way: what the API gets, what is kept of it, and what becomes of decoders that crash or hang.

The sandbox's journal says which bytes came; they are decoded here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import os
import re
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import batchgen
from batchgen.errors import ImageError
from batchgen.images.facts import examine
from batchgen.images.inspection import Header, inspect
from batchgen.images.recipe import Options, recipe
from batchgen.models import ImageFile, Within
from batchgen.run import decoders
from batchgen.run.decoders import Decoders
from batchgen.run.preparing import Preparer
from batchgen.sandbox.config import Config
from batchgen.sandbox.journal import load
from batchgen.sandbox.server import Sandbox
from batchgen.storage.prepared import PreparedImages, folder
from tests.support.photos import GPS, SCENE, encoded, kinds, quarters, scene, turned
from tests.support.program import ENDS, KEY, Desk

QUICK = batchgen.RunOptions(poll_interval=0.05, retry_wait=0.05, settle=0.4, timeout=30.0)
HEAD = "version: 1\nname: night\ndefaults: {model_name: kling-v3, prompt: x}\njobs:\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "batchgen" / "prepared"


class Night:
    """A manifest and a ledger beside a sandbox in this process."""

    def __init__(self, place: Path, sandbox: Sandbox) -> None:
        self.place, self.ledger, self.sandbox = place, place / "ledger.db", sandbox
        self.account = batchgen.Account(sandbox.base_url, KEY)

    async def run(self, jobs: str) -> dict[str, str]:
        """Run a manifest with these jobs: where each of them ended, and why, by its id."""
        (self.place / "m.yaml").write_text(HEAD + jobs)
        loaded = batchgen.load(self.place / "m.yaml")
        assert [str(problem) for problem in loaded.problems] == []
        async with asyncio.timeout(ENDS):
            events = [event async for event in batchgen.run(loaded, self.ledger, self.account, QUICK)]
        finished = [event for event in events if isinstance(event, batchgen.Finished)]
        return {event.job_id: f"{event.bucket} {event.reason}".strip() for event in finished}

    def sent(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """The images of every create that was accepted, by its job's id; no job has two."""
        found = [entry for entry in load(self.place / "journal") if entry.accepted]
        names = [(entry.external_task_id or "").split(".")[1] for entry in found]
        assert len(set(names)) == len(names)
        return {name: entry.images for name, entry in zip(names, found, strict=True)}


@contextlib.asynccontextmanager
async def night(place: Path) -> AsyncIterator[Night]:
    async with Sandbox(Config(slots=40, task_seconds=(0.01, 0.02), journal=place / "journal")) as sandbox:
        yield Night(place, sandbox)


def kept(cache: Path) -> dict[str, bytes]:
    """What is kept, by its digest."""
    files = [path for path in cache.glob("??/*") if path.is_file()]
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path.read_bytes() for path in files}


def near(image: Image.Image, wanted: Sequence[tuple[int, ...]] = SCENE) -> bool:
    pairs = zip(quarters(image), wanted, strict=True)
    return all(abs(a - b) <= 6 for one, other in pairs for a, b in zip(one, other, strict=True))


def picture_at(path: Path, options: Options | None = None) -> ImageFile:
    """A file as a manifest's reader gives it to a run."""
    about = examine(str(path))
    found = inspect(str(path), None, None, Header(about.format, about.width, about.height, about.orientation))
    return found._replace(recipe=recipe(about, options or Options()))


def test_a_shelf_of_photos_arrives_the_right_way_up(tmp_path: Path, cache: Path) -> None:
    photos = {f"p{number}{Path(name).suffix}": data for number, (name, data) in enumerate(kinds().items())}
    (tmp_path / "in").mkdir()
    for name, data in photos.items():
        (tmp_path / "in" / name).write_bytes(data)

    async def scene() -> None:
        async with night(tmp_path) as one:
            ends = await one.run("  - {folder: in, prepare: true}\n")
            assert ends == {name.split(".")[0]: "downloaded" for name in photos}
            sent, made = one.sent(), kept(cache)
            assert len(sent) == len(photos)
            for name, data in photos.items():
                digest = sent[name.split(".")[0]]["image"]["sha256"]
                picture = made.get(str(digest), data)
                assert hashlib.sha256(picture).hexdigest() == digest, name
                assert GPS not in picture
                with Image.open(io.BytesIO(picture)) as image:
                    assert image.format in ("JPEG", "PNG"), name
                    assert near(image), name
            await one.run("  - {folder: in, prepare: true}\n")
            assert one.sent() == sent

    asyncio.run(scene())


def test_what_is_kept_is_the_owner_s_alone_and_made_again_where_it_is_gone_or_changed(
    tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(turned(6))
    image = picture_at(tmp_path / "a.jpg")

    async def scene() -> None:
        one = Preparer()
        first = (await one.prepared({"image": image}))["image"]
        assert isinstance(first, ImageFile)
        path = Path(first.path)
        for place in (path.parent, cache, cache / "work"):
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list((cache / "work").iterdir()) == []
        good = path.read_bytes()
        again = (await one.prepared({"image": image}))["image"]
        assert (again.sha256, again.path) == (first.sha256, first.path)
        path.write_bytes(good[:-1] + b"x")  # never trusted without its digest
        assert (await one.prepared({"image": image}))["image"] == first or path.read_bytes() == good
        assert path.read_bytes() == good
        for gone in sorted(cache.rglob("*"), reverse=True):
            gone.rmdir() if gone.is_dir() else gone.unlink()
        cache.rmdir()
        assert (await one.prepared({"image": image}))["image"].sha256 == first.sha256
        await one.close()

    asyncio.run(scene())


def test_jobs_that_share_a_picture_have_it_prepared_once(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(turned(6))
    image = picture_at(tmp_path / "a.jpg")

    async def scene() -> None:
        processes = Decoders(workers=3)
        one = Preparer(processes)
        found = await asyncio.gather(*(one.prepared({"image": image}) for _ in range(8)))
        assert len({request["image"].path for request in found}) == 1
        assert len(processes._idle) == 1
        await one.close()

    asyncio.run(scene())


def test_where_nothing_can_be_kept_pictures_that_are_prepared_at_once_share_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(turned(6) + bytes([number]))
    images = [picture_at(tmp_path / f"{number}.jpg") for number in range(4)]

    async def scene() -> None:
        one = Preparer(Decoders(workers=2))
        found = await asyncio.gather(*(one.prepared({"image": image}) for image in images))
        folders = {Path(request["image"].path).parent.parent for request in found}
        assert folders == set((tmp_path / "temporary").iterdir()) and len(folders) == 1
        await one.close()
        assert list((tmp_path / "temporary").iterdir()) == []

    asyncio.run(scene())


def test_a_source_that_changed_since_it_was_checked_is_not_prepared(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(turned(6))
    image = picture_at(path)
    path.write_bytes(path.read_bytes()[:-3] + b"x\xff\xd9")

    async def scene() -> None:
        one = Preparer()
        with pytest.raises(
            ImageError, match=r"a\.jpg: the file changed since it was checked: its bytes are others"
        ):
            await one.prepared({"image": image})
        await one.close()

    asyncio.run(scene())


def test_a_source_that_leads_elsewhere_by_then_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(turned(6))
    image = picture_at(path).to_be_read(Within("in", (str(path.parent),)))
    path.rename(tmp_path / "secret.jpg")
    path.symlink_to(tmp_path / "secret.jpg")

    async def scene() -> None:
        one = Preparer()
        with pytest.raises(ImageError, match=r"a\.jpg: it leads outside of the folder in"):
            await one.prepared({"image": image})
        await one.close()

    asyncio.run(scene())


@pytest.mark.parametrize("how", ["killed", "hangs"])
def test_a_decoder_that_dies_or_hangs_fails_its_own_picture_and_no_other(tmp_path: Path, how: str) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(turned(6) + name.encode())
    first, second = picture_at(tmp_path / "a.jpg"), picture_at(tmp_path / "b.jpg")

    async def scene() -> None:
        processes = Decoders(workers=1, seconds=0.3 if how == "hangs" else 60.0)
        one = Preparer(processes)
        process = await decoders._start()
        if how == "hangs":
            process.send_signal(signal.SIGSTOP)
        else:
            process.kill()
            await process.wait()
        processes._idle.append(process)
        with pytest.raises(ImageError, match=r"a\.jpg: its decoder (crashed|took longer than 0\.3 s)"):
            await one.prepared({"image": first})
        assert process.returncode == -signal.SIGKILL
        processes.seconds = 60.0
        assert (await one.prepared({"image": second}))["image"].format == "jpeg"
        await one.close()

    asyncio.run(scene())


def test_a_broken_picture_and_a_bomb_fail_their_own_jobs(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(turned(6))
    broken = bytearray(encoded(scene(), "WEBP"))
    broken[30:200] = bytes(170)
    (tmp_path / "broken.webp").write_bytes(bytes(broken))
    gif = bytearray(encoded(scene().quantize(4), "GIF"))
    gif[6:10] = (9000).to_bytes(2, "little") * 2  # 81 million pixels of nothing
    (tmp_path / "large.gif").write_bytes(bytes(gif))
    jobs = "".join(
        f"  - {{image: {name}, prepare: true}}\n" for name in ("good.jpg", "broken.webp", "large.gif")
    )

    async def play() -> None:
        async with night(tmp_path) as one:
            ends = await one.run(jobs)
            assert ends["good"] == "downloaded"
            assert ends["broken"].startswith("unusable ")
            assert "broken.webp: it " in ends["broken"]
            assert {*one.sent()} - {"large"} == {"good"}

    asyncio.run(play())


def test_a_decoder_knows_neither_the_key_nor_the_folder_it_is_started_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOKENS_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the current folder')\n")
    (tmp_path / "a.jpg").write_bytes(turned(6))
    image = picture_at(tmp_path / "a.jpg")

    async def scene() -> None:
        processes = Decoders()
        one = Preparer(processes)
        await one.prepared({"image": image})
        (process,) = processes._idle
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert KEY.encode() not in environment
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        for what, most in (("address space", 2 << 30), ("core file size", 0)):
            assert re.search(rf"^Max {what} +{most} ", limits, re.M), limits
        await one.close()
        assert process.returncode is not None

    asyncio.run(scene())


def test_what_was_prepared_is_not_sent_once_the_account_has_stopped_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = tmp_path / "began", tmp_path / "go"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time\n"
        f"open({str(began)!r}, 'w').close()\n"
        f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "a.jpg").write_bytes(turned(6))
    jobs = "  - {image: a.jpg, prepare: true}\n  - {id: b, image: 'https://example.com/b.png'}\n"
    (tmp_path / "m.yaml").write_text(HEAD + jobs)

    async def play() -> None:
        async with night(tmp_path) as one:
            one.sandbox.add_fault("balance@1")
            loaded = batchgen.load(tmp_path / "m.yaml")
            several = dataclasses.replace(QUICK, max_running=5)
            async with asyncio.timeout(ENDS):
                async for event in batchgen.run(loaded, one.ledger, one.account, several):
                    if isinstance(event, batchgen.Stopped):
                        go.touch()
            assert began.exists()
            assert one.sent() == {}

    asyncio.run(play())


def test_a_decoder_ends_with_the_run_that_it_works_for() -> None:
    async def scene() -> None:
        process = await decoders._start()
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(ENDS):
            assert await process.wait() == 0

    asyncio.run(scene())


def test_masks_arrive_as_large_as_their_image_and_turned_with_it(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(turned(6))
    mask = Image.new("L", (500, 800))
    mask.paste(255, (0, 0, 250, 400))
    (tmp_path / "mask.png").write_bytes(encoded(mask, "PNG"))
    job = "  - {image: photo.jpg, static_mask: mask.png, prepare: {max_pixels: 250000}}\n"

    async def scene() -> None:
        async with night(tmp_path) as one:
            assert await one.run(job) == {"photo": "downloaded"}
            made = kept(cache)
            images = {
                field: Image.open(io.BytesIO(made[str(sent["sha256"])]))
                for field, sent in one.sent()["photo"].items()
            }
            assert images["image"].size == images["static_mask"].size == (632, 395)
            assert near(images["image"])
            assert [quarter[0] for quarter in quarters(images["static_mask"])] == [0, 255, 0, 0]

    asyncio.run(scene())


# -- the folder ----------------------------------------------------------------------------------------------------


def keep(kept: PreparedImages, number: int, size: int) -> str:
    key = f"{number:02x}" + "0" * 62
    data = bytes([number]) * size
    target = Path(kept.new_path())
    target.write_bytes(data)
    kept.keep(str(target), key, hashlib.sha256(data).hexdigest(), size)
    return key


def test_what_was_used_least_lately_goes_first_where_there_is_too_much(cache: Path) -> None:
    one = PreparedImages(str(cache), most=1000)
    keys = [keep(one, number, 300) for number in range(3)]
    for age, path in zip((9000, 8000, 7000), sorted(cache.glob("0?/*")), strict=True):
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert one.find(keys[0], (1, 1), "png") is not None  # which is a use
    keys.append(keep(one, 3, 300))
    left = [one.find(key, (1, 1), "png") is not None for key in keys]
    assert left == [True, False, True, True]


def test_what_is_about_to_be_sent_stays_however_much_there_is(cache: Path) -> None:
    one = PreparedImages(str(cache), most=100)
    keys = [keep(one, number, 300) for number in range(3)]
    assert all(one.find(key, (1, 1), "png") is not None for key in keys)


def test_a_folder_of_another_or_none_at_all_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "link", tmp_path / "file" / "below"):
        one = PreparedImages(str(place))
        key = keep(one, 1, 10)
        found = one.find(key, (1, 1), "png")
        assert found is not None
        assert not found.path.startswith(str(tmp_path / "elsewhere"))
        one.close()
        assert not Path(found.path).exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert folder({"XDG_CACHE_HOME": "not/absolute", "HOME": "/h"}).endswith("/.cache/batchgen/prepared")
    assert folder({"XDG_CACHE_HOME": "/c"}) == "/c/batchgen/prepared"


# -- what is said beforehand ---------------------------------------------------------------------------------------


def test_plan_and_validate_say_of_each_picture_what_would_be_done(desk: Desk) -> None:
    desk.write("in/good.png", encoded(scene(), "PNG"))
    desk.write("in/photo.jpg", turned(6))
    desk.write("in/shot.webp", encoded(scene(), "WEBP"))
    desk.write(
        "m.yaml",
        HEAD + "  - {folder: in, prepare: true}\n  - {id: far, image: 'https://example.com/a.png'}\n",
    )
    said = {
        "good": "image: in/good.png: sent as it is",
        "photo": "image: in/photo.jpg: turned upright, metadata left out",
        "shot": "image: in/shot.webp: WebP becomes JPEG, metadata left out",
    }
    checked = desk.run("validate", "-v", "m.yaml")
    assert checked.code == 0
    assert checked.out.splitlines()[:-1] == [f"night/{name}: {text}" for name, text in said.items()]
    assert len(desk.run("validate", "m.yaml").out.splitlines()) == 1
    (good, photo, _) = desk.run("validate", "-v", "--json", "m.yaml").json["prepared"]
    assert (good["job_id"], good["field"], good["what"]) == ("good", "image", "sent as it is")
    assert (photo["manifest"], photo["file"], photo["take"]) == ("night", "in/photo.jpg", 1)
    lines = desk.run("plan", "-v", "m.yaml").out.splitlines()
    for text in said.values():
        field, _, what = text.replace(text.split(": ")[1] + ": ", "").partition(": ")
        assert f"    {field}: {what}" in lines
    jobs = desk.run("plan", "--json", "m.yaml").json["jobs"]
    assert [one["prepare"] for one in jobs] == [
        {"image": "sent as it is"},
        {"image": "turned upright, metadata left out"},
        {"image": "WebP becomes JPEG, metadata left out"},
        None,
    ]
