"""The sandbox's clips as they are encoded from the pictures that were sent."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from batchgen.errors import UsageError
from batchgen.sandbox import encoding, video
from batchgen.sandbox.command import CLIPS_VARIABLE, real_clips
from batchgen.sandbox.config import Config
from batchgen.sandbox.encoding import Scene, encode, shrink
from tests.support.clips import alike, corners, shown
from tests.support.program import Desk
from tests.wire.test_sandbox import Bench, b64, sandboxed

COLOURS = [(220, 40, 40), (40, 200, 60), (50, 60, 220), (230, 210, 50)]  # of the corners, row by row
SOON = Config(task_seconds=(0, 0), real_clips=True)


def quarters(width: int = 480, height: int = 320, mode: str = "RGB") -> Image.Image:
    """A picture of four colours."""
    picture = Image.new("RGB", (2, 2))
    picture.putdata(COLOURS)
    return picture.resize((width, height), Image.Resampling.NEAREST).convert(mode)


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


async def fetch(b: Bench, task_id: str, tail: str = "") -> bytes:
    async with b.client.get(f"{b.sandbox.base_url}/videos/{task_id}{tail}.mp4") as response:
        assert response.status == 200
        return await response.read()


def test_a_clip_shows_the_picture_from_its_corners_inwards_for_as_long_as_was_asked() -> None:
    async def test(b: Bench) -> None:
        picture = b64(saved(quarters(), "PNG"))
        task_id = await b.made(image=picture, duration="3", mode="pro", watermark_info={"enabled": True})
        clip = await fetch(b, task_id)
        assert (await fetch(b, task_id), await fetch(b, task_id, "-watermark")) != (clip, clip)
        assert clip.index(b"moov") < clip.index(b"mdat")
        codec, pixels, seconds, frames = shown(clip)
        assert (codec, pixels, seconds, len(frames)) == ("h264", "yuv420p", 3.0, 3 * encoding.FPS)
        assert frames[0].width / frames[0].height == pytest.approx(480 / 320, rel=0.01)
        assert alike(corners(frames[0]), COLOURS)
        bars = [frame.crop((0, 0, frame.width, 30)) for frame in (frames[0], frames[-1])]
        assert ImageChops.difference(*bars).getbbox() is not None  # it moves

    sandboxed(test, SOON)


def test_a_clip_is_encoded_when_it_is_fetched_and_once_for_all_who_do() -> None:
    async def test(b: Bench) -> None:
        task_id = await b.made(image=b64(saved(quarters(), "JPEG")), duration="3")
        made = b.sandbox._api._clips._made
        assert (await b.query(task_id))[1]["data"]["task_status"] == "succeed"
        assert made == {} and b.sandbox.journal.of("create")[0].clips == ()
        fetching = [asyncio.create_task(fetch(b, task_id)) for _ in range(3)]
        while task_id not in made:
            await asyncio.sleep(0.001)
        before = made[task_id]
        assert (await b.query(task_id))[0] == 200  # the loop has time for others
        assert not any(task.done() for task in fetching)
        fetching[0].cancel()  # who hangs up takes it from nobody else
        clips = await asyncio.gather(*fetching[1:])
        assert len(set(clips)) == 1 and [*made.values()] == [before]
        check_clip(clips[0])

    sandboxed(test, SOON)


def check_clip(clip: bytes) -> None:
    assert shown(clip).frames and clip[4:8] == b"ftyp"


def test_the_same_scene_makes_the_same_bytes_and_another_take_others() -> None:
    picture = shrink(saved(quarters(), "PNG"))
    scene = Scene(picture, None, [(1, "Slow push-in")], "pro, 5 s", "one")
    clips = [encode(replace(scene, seed=seed)) for seed in ("one", "one", "two")]
    assert clips[0] == clips[1] != clips[2]


def test_shots_have_their_own_captions_and_a_last_picture_is_reached() -> None:
    first, last = (shrink(saved(one, "PNG")) for one in (quarters(), quarters().rotate(180)))
    frames = shown(encode(Scene(first, last, [(1, "One"), (1, "Two, which is longer")], "", ""))).frames
    assert alike(corners(frames[0]), COLOURS) and alike(corners(frames[-1]), COLOURS[::-1], 40)
    frames = shown(encode(Scene(None, None, [(1, "One"), (1, "Two, which is longer")], "", "x"))).frames
    box = (100, frames[0].height - 40, 160, frames[0].height)
    spreads = [ImageStat.Stat(frame.crop(box).convert("L")).stddev[0] for frame in (frames[10], frames[-10])]
    assert spreads[0] < 5 < 15 < spreads[1]  # words, white on dark, where there were none


@pytest.mark.parametrize(
    "text", ["", "猫が振り向く", "word " * 500, "w" * 2500, "\0\u202e\ud800", "line\nline"]
)
def test_any_prompt_makes_a_caption(text: str) -> None:
    check_clip(encode(Scene(None, None, [(1, text)], "pro, 5 s", text)))


def pictures() -> Iterator[tuple[str, bytes]]:
    yield "png", saved(quarters(), "PNG")
    yield "jpeg", saved(quarters(), "JPEG", quality=95)
    yield "progressive", saved(quarters(), "JPEG", quality=95, progressive=True)
    yield "cmyk", saved(quarters(mode="CMYK"), "JPEG", quality=95)
    yield "palette", saved(quarters().quantize(4), "PNG")
    yield "large", saved(quarters(6000, 4000), "JPEG", quality=95)
    clear = quarters(mode="RGBA")
    yield "alpha", saved(clear, "PNG")
    turned = Image.Exif()
    turned[0x0112] = 6
    yield "turned, which is shown as it lies", saved(quarters(), "JPEG", quality=95, exif=turned)


def test_each_kind_of_picture_has_its_colours() -> None:
    for kind, data in pictures():
        small = shrink(data)
        assert small is not None and len(small) < 200_000
        with Image.open(io.BytesIO(small)) as picture:
            assert alike(corners(picture), COLOURS), kind


def test_deep_and_transparent_pictures_are_brought_to_what_a_screen_shows() -> None:
    deep = Image.new("I;16", (400, 300), 0x8000)
    clear = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    for data, grey in ((saved(deep, "PNG"), 128), (saved(clear, "PNG"), 255)):
        small = shrink(data)
        assert small is not None
        with Image.open(io.BytesIO(small)) as picture:
            assert alike(corners(picture), [(grey,) * 3] * 4, 3)


def test_a_url_and_a_picture_that_cannot_be_decoded_make_clips_all_the_same() -> None:
    damaged = bytearray(saved(quarters(), "PNG"))
    damaged[60:90] = bytes(30)  # its pixels, which the API doesn't decode

    async def test(b: Bench) -> None:
        for image in ("https://example.com/frame.png", b64(bytes(damaged))):
            check_clip(await fetch(b, await b.made(image=image, duration="3", external_task_id=image[:30])))

    sandboxed(test, SOON)


def test_the_stand_in_remains_where_clips_are_not_encoded() -> None:
    async def test(b: Bench) -> None:
        task_id = await b.made(image=b64(saved(quarters(), "PNG")))
        assert await fetch(b, task_id) == video.clip(task_id)

    sandboxed(test, Config(task_seconds=(0, 0)))


def test_clips_are_real_where_that_is_possible_and_not_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert real_clips(None, {}) and real_clips(None, {CLIPS_VARIABLE: ""})
    assert real_clips("real", {CLIPS_VARIABLE: "stand-in"})
    assert not real_clips(None, {CLIPS_VARIABLE: "stand-in"})
    with pytest.raises(UsageError, match="'reel' is neither"):
        real_clips(None, {CLIPS_VARIABLE: "reel"})
    monkeypatch.setitem(sys.modules, "av", None)  # as where it isn't installed
    assert not real_clips(None, {}) and not real_clips("stand-in", {})
    with pytest.raises(UsageError, match=r"install batchgen\[demo\]"):
        real_clips("real", {})


def test_libraries_that_cannot_make_it_leave_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(b: Bench) -> None:
        task_id = await b.made(image=b64(saved(quarters(), "PNG")))
        monkeypatch.setitem(sys.modules, "av", None)
        assert await fetch(b, task_id) == video.clip(task_id)

    sandboxed(test, SOON)


def test_a_rehearsal_leaves_clips_of_its_pictures_and_is_called_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.env |= {CLIPS_VARIABLE: "real", "TMPDIR": str(tmp_path)}
    desk.write("in/four.png", saved(quarters(), "PNG"))
    desk.write(
        "night.yaml",
        "{version: 1, defaults: {model_name: kling-v3, duration: 3}, jobs: [{folder: in, prompt: Push in}]}",
    )
    result = desk.run("run", "--sandbox", "night.yaml")
    assert result.code == 0, result.err
    (clip,) = tmp_path.glob("batchgen-sandbox-*/clips/night/four.mp4")
    assert alike(corners(shown(clip.read_bytes()).frames[0]), COLOURS)
    left = {path.name for path in tmp_path.iterdir()} - {"in", "night.yaml", "home"}
    assert len(left) == 1, left  # nothing of the encoder's
    ledger = clip.parents[2] / "ledger.db"
    ordered = desk.run("retake", "--ledger", str(ledger), "four")
    assert "1 take ordered, in the ledger of a rehearsal" in ordered.out and "pays" not in ordered.out
    assert desk.run("report", "--ledger", str(ledger)).code == 0
    assert "<strong>A rehearsal.</strong>" in ledger.with_suffix(".html").read_text("utf-8")
    again = desk.run("run", "--sandbox", "--ledger", str(ledger), "night.yaml")
    assert again.code == 2 and "belongs to" in again.err, again  # no run goes on with it
