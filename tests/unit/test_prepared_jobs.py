"""`prepare` in manifests: where it stands, what it refuses and says, and whose id it changes. No picture is decoded."""

from __future__ import annotations

import json
import struct
import sys
import zlib
from pathlib import Path

import pytest

from batchgen.manifest import pictures, reader
from batchgen.models import ImageFile, Job, Manifest
from batchgen.request.identity import canonical
from batchgen.run.plan import differences
from tests.support.pictures import make_png

HEAD = "version: 1\nname: night\ndefaults: {model_name: kling-v3, prompt: x}\njobs:\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Pictures that no imaging library has made, so that their bytes, and so the ids, stay the same for ever.


def png(width: int, height: int, bits: int = 8, orientation: int = 1) -> bytes:
    """A PNG of one colour, with EXIF data that say how it is to be turned."""
    exif = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    row = b"\0" + b"\x30\x60\x90" * (bits // 8) * width
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))]
    chunks += [(b"eXIf", exif)] if orientation != 1 else []
    chunks += [(b"IDAT", stored(row * height)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def stored(data: bytes) -> bytes:
    """zlib's form of data without any compression, which versions of zlib would do differently."""
    blocks = [data[at : at + 65535] for at in range(0, len(data), 65535)]
    body = b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block for block in blocks
    )
    return b"\x78\x01" + body + struct.pack(">I", zlib.adler32(data))


def bmp(width: int, height: int) -> bytes:
    rows = bytes((width * 3 + 3) // 4 * 4) * height
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


def heic(width: int, height: int, quarters: int = 0) -> bytes:
    """The boxes of a HEIC, without a picture behind them."""

    def box(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(data), name) + data

    ipco = box(b"ispe", struct.pack(">III", 0, width, height)) + box(b"irot", bytes([quarters]))
    ipma = box(b"ipma", struct.pack(">IIHBBB", 0, 1, 1, 2, 0x81, 0x82))
    meta = box(b"pitm", struct.pack(">IH", 0, 1)) + box(b"iprp", box(b"ipco", ipco) + ipma)
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4) + meta)


def jpeg(width: int, height: int, orientation: int = 1, channels: int = 3) -> bytes:
    """The segments of a JPEG of one, three (YCbCr) or four (CMYK) channels, with a scan that nobody decodes."""

    def segment(mark: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, mark, 2 + len(data)) + data

    exif = b"Exif\0\0" + struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    numbers = range(1, channels + 1)
    frame = struct.pack(">BHHB", 8, height, width, channels) + b"".join(b"%c\x11\0" % one for one in numbers)
    scan = bytes([channels, *(value for one in numbers for value in (one, 0)), 0, 63, 0])
    marks = [segment(0xE1, exif)] if orientation != 1 else []
    marks += [segment(0xC0, frame), segment(0xDA, scan) + b"\x12\x34\x56" * 40]
    return b"\xff\xd8" + b"".join(marks) + b"\xff\xd9"


def gif(width: int, height: int) -> bytes:
    head = struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x80, 0, 0) + bytes(6)
    return head + struct.pack("<cHHHHBB", b",", 0, 0, width, height, 0, 2) + b"\x02\x44\x01\0;"


def webp(width: int, height: int) -> bytes:
    """The headers of a lossy WebP."""
    size = struct.pack("<HH", width, height)
    data = b"\x10\0\0\x9d\x01\x2a" + size + bytes(16)
    chunk = b"VP8 " + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def tiff(width: int, height: int, orientation: int = 1) -> bytes:
    """The directory of a TIFF of eight bits and three channels."""
    entries = [(256, width), (257, height), (258, 8), (262, 2), (274, orientation), (277, 3)]
    fields = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4 + 32)


def put(name: str, content: bytes | str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def read(text: str, head: str = HEAD) -> Manifest:
    put("night.yaml", head + text)
    manifests, problems = reader.read(["night.yaml"])
    assert [str(problem) for problem in problems] == []
    return manifests[0]


def job(text: str, head: str = HEAD) -> Job:
    found = read(text, head)
    assert [str(bad.problem) for bad in found.unusable] == []
    (only,) = found.jobs
    return only


def refused(text: str) -> list[str]:
    """What is said of images that are refused."""
    found = read(text)
    assert found.jobs == []
    return [str(bad.problem) for bad in found.unusable]


def problems(text: str) -> list[str]:
    put("night.yaml", HEAD + text)
    manifests, found = reader.read(["night.yaml"])
    assert manifests == []
    return [str(problem) for problem in found]


def recipe_of(found: Job, field: str = "image") -> tuple[str, ...] | None:
    image = found.request[field]
    assert isinstance(image, ImageFile)
    return None if image.recipe is None else image.recipe.words


# -- ids ---------------------------------------------------------------------------------------------------------------

#: What was paid for under these ids must be found under them for ever, with every version of whatever decodes pictures.
RECORDED = {
    "fine.png": "night.fine.5b560f695d4f9898f42f",
    "turned.png": "night.turned.02c1e3ef5da1418dd0f2",
    "deep.png": "night.deep.99a82cef0fff5eb30537",
    "fine.png true": "night.fine.5b560f695d4f9898f42f",
    "turned.png true": "night.turned.aaa02f366ddee1eff39d",
    "deep.png true": "night.deep.cd71f37bfe9e7d79a2f4",
    "wide.png true": "night.wide.f4d6e3842f1c13b46b20",
    "small.png true": "night.small.bce4bd8931970769abf4",
    "screen.bmp true": "night.screen.4e1f3413f4bc6d948ba1",
    "phone.heic true": "night.phone.93371d46b2265044946d",
    "fine.png crop": "night.fine.5b560f695d4f9898f42f",
    "turned.png crop": "night.turned.4c961a72794b6947f677",
    "deep.png crop": "night.deep.dedf147c058b96e74322",
    "wide.png crop": "night.wide.1ac60567eaf6cb70c5f6",
    "small.png crop": "night.small.6ea40025bad01092f409",
    "screen.bmp crop": "night.screen.02c540a397aba019374c",
    "phone.heic crop": "night.phone.dd483d35442f966dce9b",
    "fine.png pixels": "night.fine.5b560f695d4f9898f42f",
    "turned.png pixels": "night.turned.fe8b49f0dc09ff72d20a",
    "deep.png pixels": "night.deep.8492b6b1b048a3264063",
    "wide.png pixels": "night.wide.8a406d04e5f7522f9336",
    "small.png pixels": "night.small.44dce5522e956fb1ad1f",
    "screen.bmp pixels": "night.screen.2d645080711089098e22",
    "phone.heic pixels": "night.phone.67b61819ea38f37d59d5",
    "camera.jpg": "night.camera.8877fb989e0bfcd4efe6",
    "print.jpg": "night.print.85d0711fc42da4c3cf9e",
    "camera.jpg true": "night.camera.0e0bf2147b9e8467a792",
    "print.jpg true": "night.print.58d5f5ef3fad4633c9bc",
    "shop.webp true": "night.shop.7dad27c53ba2fd090860",
    "scan.tiff true": "night.scan.bd504b5c3fe7891d96bd",
    "old.gif true": "night.old.c7cf06f7a5205761350d",
    "camera.jpg crop": "night.camera.ce14bb5f256d0a5bb273",
    "print.jpg crop": "night.print.1836a0d317497124e757",
    "shop.webp crop": "night.shop.fa8edd02bbca9802d7d9",
    "scan.tiff crop": "night.scan.4a68d69124f99f09c127",
    "old.gif crop": "night.old.a469743c12e78404df0e",
    "camera.jpg pixels": "night.camera.7081ccef94d6734ae36e",
    "print.jpg pixels": "night.print.ba06a8df34d0bd70ee05",
    "shop.webp pixels": "night.shop.5bfcde75836a1ee9d59f",
    "scan.tiff pixels": "night.scan.fd27983ee46d8f0b5b49",
    "old.gif pixels": "night.old.6b830fe85ec373a91f6f",
}
PICTURES = {
    "fine.png": png(400, 300),
    "turned.png": png(400, 300, orientation=6),
    "deep.png": png(400, 300, bits=16),
    "wide.png": png(900, 300),
    "small.png": png(320, 200),
    "screen.bmp": bmp(400, 300),
    "phone.heic": heic(4032, 3024, 3),
    "camera.jpg": jpeg(6000, 4000, orientation=6),
    "print.jpg": jpeg(1200, 900, channels=4),
    "shop.webp": webp(1200, 900),
    "scan.tiff": tiff(4000, 3000, orientation=8),
    "old.gif": gif(640, 480),
}
WAYS = {
    "": "",
    "true": ", prepare: true",
    "crop": ", prepare: {fit: crop, background: black, quality: 80}",
    "pixels": ", prepare: {max_pixels: 250000}",
}


def ids() -> dict[str, str]:
    for name, data in PICTURES.items():
        put(name, data)
    found: dict[str, str] = {}
    for way, text in WAYS.items():
        for name in PICTURES:
            made = read(f"  - {{id: {Path(name).stem}, image: {name}{text}}}\n")
            found |= {f"{name} {way}".strip(): one.external_task_id for one in made.jobs}
    return found


@pytest.mark.parametrize("library", ["as installed", "none"])
def test_ids_are_those_that_were_recorded(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    if library == "none":  # what isn't asked can't change them, in whatever version
        for name in [name for name in sys.modules if name.partition(".")[0] in ("PIL", "pillow_heif")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "PIL", None)
    assert ids() == RECORDED


def test_a_picture_that_is_good_keeps_its_id_with_and_without_prepare() -> None:
    assert (
        len({RECORDED[name] for name in ("fine.png", "fine.png true", "fine.png crop", "fine.png pixels")})
        == 1
    )
    for name in ("turned.png", "deep.png"):
        assert len({RECORDED[f"{name}{way}"] for way in ("", " true", " crop", " pixels")}) == 4


def test_metadata_that_are_taken_out_change_no_id() -> None:
    data = make_png()
    text = b"tEXtAuthor\0somebody"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    put("a.png", data[:33] + chunk + data[33:])
    with_prepare, without = job("  - {image: a.png, prepare: true}\n"), job("  - image: a.png\n")
    assert recipe_of(with_prepare) == ("metadata left out",)
    assert with_prepare.external_task_id == without.external_task_id


def test_what_is_written_of_the_defaults_makes_no_other_id() -> None:
    put("a.png", PICTURES["turned.png"])
    same = ("true", "on", "{}", "{fit: pad}", "{quality: 92, background: White}", "{quality: '92'}")
    assert len({job(f"  - {{image: a.png, prepare: {form}}}\n").external_task_id for form in same}) == 1


def test_a_changed_job_says_that_and_how_its_picture_is_prepared() -> None:
    put("a.png", PICTURES["turned.png"])
    before, after = job("  - image: a.png\n"), job("  - {image: a.png, prepare: {quality: 80}}\n")
    said = differences(canonical(before.request), canonical(after.request))
    assert said.startswith("image: bytes ")
    assert said.endswith(", prepared quality=80")


# -- where it stands ---------------------------------------------------------------------------------------------------


def test_it_may_stand_wherever_a_jobs_keys_do_and_the_nearest_wins() -> None:
    put("in/a.png", PICTURES["turned.png"])
    put("in/b.png", PICTURES["turned.png"] + b"b")
    put("in/b.yaml", "prepare: false\n")
    with_defaults = HEAD.replace("prompt: x", "prompt: x, prepare: true")
    assert recipe_of(job("  - image: in/a.png\n", with_defaults)) is not None
    assert recipe_of(job("  - {image: in/a.png, prepare: no}\n", with_defaults)) is None
    assert recipe_of(job("  - {image: in/a.png, prepare: null}\n", with_defaults)) is None
    found = {one.id: recipe_of(one) for one in read("  - {folder: in, prepare: true}\n").jobs}
    assert found == {"a": ("turned upright", "metadata left out"), "b": None}
    put("t.csv", 'image,prepare\nin/a.png,yes\nin/b.png,"{""max_pixels"": 250000}"\n')
    rows = read("  - table: t.csv\n").jobs
    assert [one.request["image"].width for one in rows] == [300, 300]
    put("t.jsonl", json.dumps({"image": "in/a.png", "prepare": {"fit": "crop"}}))
    assert recipe_of(job("  - table: t.jsonl\n")) is not None


def test_a_folder_s_entry_that_prepares_takes_what_can_be_prepared() -> None:
    for name in ("a.png", "b.HEIC", "c.bmp", "d.txt", "e.dng"):
        put(f"in/{name}", {"c": bmp(400, 300), "b": heic(400, 300)}.get(name[0], png(400, 300)))
    assert [one.id for one in read("  - {folder: in, prepare: true}\n").jobs] == ["a", "b", "c"]
    assert [one.id for one in read("  - {folder: in, match: '*.bmp', prepare: true}\n").jobs] == ["c"]
    assert [one.id for one in read("  - folder: in\n").jobs] == ["a"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "maybe",
            '.prepare: "maybe" is neither true nor false, nor a set of keys and values (max_pixels, fit, background',
        ),
        ("3", ".prepare: 3 is neither true nor false"),
        (
            "{size: 3}",
            '.prepare.size: unknown key "size"; allowed: max_pixels, fit, background, quality, format',
        ),
        ("{fit: crops}", '.prepare.fit: "crops" is not one of pad, crop; did you mean "crop"?'),
        ("{max_pixels: 1000}", ".prepare.max_pixels: 1000 is not between 250000 and 40000000"),
        ("{quality: high}", '.prepare.quality: "high" is not a whole number'),
        ("{background: pinkish}", '.prepare.background: "pinkish" is no colour: write white, black'),
        ("{format: webp}", '.prepare.format: "webp" is not one of jpeg, png'),
    ],
)
def test_a_bad_value_is_told_where_it_stands(value: str, said: str) -> None:
    put("a.png", make_png())
    (found,) = problems(f"  - {{image: a.png, prepare: {value}}}\n")
    assert said in found
    (found,) = problems(f"  - {{folder: ., prepare: {value}}}\n")
    assert said in found


# -- what it says --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "would"),
    [
        ("small.png", png(320, 200), "enlarged from 320x200 to 480x300"),
        ("wide.png", png(900, 300), "padded to 900x360 with #ffffff"),
        ("a.bmp", bmp(400, 300), "BMP becomes PNG"),
        (
            "a.heic",
            heic(4032, 3024, 3),
            "HEIC becomes JPEG, turned upright, made smaller, from 3024x4032 to 2494x3325",
        ),
    ],
)
def test_a_refused_image_s_message_says_what_prepare_would_do(name: str, data: bytes, would: str) -> None:
    put(name, data)
    (found,) = refused(f"  - image: {name}\n")
    assert found.endswith(f"; `prepare: true` would take it: {would}")
    assert recipe_of(job(f"  - {{image: {name}, prepare: true}}\n")) == (
        *would.split(", made", maxsplit=1)[0].split(", "),
        *([f"made{would.split(', made')[1]}"] if ", made" in would else []),
        "metadata left out",
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        png(400, 300)[:-9],
        png(90, 300),
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
    ids=["empty", "text", "cut off", "tiny", "pdf", "svg"],
)
def test_what_prepare_can_not_help_says_nothing_of_it(data: bytes) -> None:
    put("a.png", data)
    (found,) = refused("  - image: a.png\n")
    assert "prepare" not in found
    assert len(refused("  - {image: a.png, prepare: true}\n")) == 1


def test_a_photo_to_be_turned_is_warned_of_where_it_is_sent_as_it_lies() -> None:
    put("a.png", PICTURES["turned.png"])
    (said,) = map(str, read("  - image: a.png\n").warnings)
    assert said.endswith("it is sent as it lies, maybe sideways; `prepare: true` turns it upright")
    assert read("  - {image: a.png, prepare: true}\n").warnings == []


def test_an_enlarged_picture_is_warned_of() -> None:
    put("a.png", png(320, 200))
    (said,) = map(str, read("  - {image: a.png, prepare: true}\n").warnings)
    assert "(a).image: enlarged from 320x200 to 480x300 px, which makes it no sharper" in said


def test_without_the_extra_a_heic_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.heic", heic(400, 300))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    pictures._reads_heif.cache_clear()
    try:
        for text in ("  - image: a.heic\n", "  - {image: a.heic, prepare: true}\n"):
            (found,) = refused(text)
            assert "HEIC needs pillow-heif" in found
    finally:
        pictures._reads_heif.cache_clear()


def test_what_is_no_file_is_sent_as_it_is_and_its_own_prepare_is_warned_of() -> None:
    url = "https://example.com/a.png"
    with_defaults = HEAD.replace("prompt: x", "prompt: x, prepare: true")
    plain = job(f"  - {{id: a, image: '{url}'}}\n")
    assert job(f"  - {{id: a, image: '{url}'}}\n", with_defaults) == plain
    assert read(f"  - {{id: a, image: '{url}'}}\n", with_defaults).warnings == []
    found = read(f"  - {{id: a, image: '{url}', prepare: true}}\n")
    assert found.jobs == [plain]
    assert "(a).prepare: has no effect" in str(found.warnings[0])


def test_an_image_of_another_format_that_a_ledger_knows_is_still_refused_where_it_is_not_prepared() -> None:
    put("a.bmp", bmp(400, 300))
    image = job("  - {image: a.bmp, prepare: true}\n").request["image"]
    known = {image.path: image.to_be_read(None)}
    put("night.yaml", HEAD + "  - image: a.bmp\n")
    (night,), _ = reader.read(["night.yaml"], known=known)
    assert "it is a BMP image; the API takes PNG and JPEG" in str(night.unusable[0].problem)
    put("night.yaml", HEAD + "  - {image: a.bmp, prepare: true}\n")

    def inspect(*_: object) -> ImageFile:
        raise AssertionError("a known file is read again")

    (night,), _ = reader.read(["night.yaml"], known=known, inspect=inspect)
    assert len(night.jobs) == 1


# -- masks -----------------------------------------------------------------------------------------------------------------


def test_a_mask_is_prepared_like_its_image_or_its_job_is_refused() -> None:
    put("photo.png", PICTURES["turned.png"])
    put("mask.png", png(400, 300))
    found = job("  - {image: photo.png, static_mask: mask.png, prepare: true}\n")
    assert recipe_of(found, "static_mask") == ("turned like its image", "metadata left out")
    assert (found.request["static_mask"].width, found.request["static_mask"].height) == (300, 400)
    put("wide.png", png(900, 300))
    put("wide-mask.png", png(900, 300, bits=16))
    (said,) = refused("  - {image: wide.png, static_mask: wide-mask.png, prepare: true}\n")
    assert "its image is padded" in said
    masks = "dynamic_masks: [{mask: mask.png, trajectories: [{x: 1, y: 1}, {x: 9, y: 9}]}]"
    (said,) = refused(f"  - {{image: photo.png, {masks}, prepare: true}}\n")
    assert "the points of its trajectories count in the picture as it lies" in said
    put("deep.png", png(400, 300, bits=16))
    assert recipe_of(job(f"  - {{image: deep.png, {masks}, prepare: true}}\n")) is not None
    beside_a_url = job(
        "  - {image: 'https://example.com/a.png', id: a, static_mask: mask.png, prepare: true}\n"
    )
    assert recipe_of(beside_a_url, "static_mask") == ()


def test_a_tail_is_prepared_as_well() -> None:
    put("a.png", png(400, 300))
    put("b.bmp", bmp(400, 300))
    found = job("  - {image: a.png, image_tail: b.bmp, prepare: true}\n")
    assert recipe_of(found, "image") == ()
    assert recipe_of(found, "image_tail") == ("BMP becomes PNG", "metadata left out")


def test_what_others_name_lies_within_their_folder_also_where_it_is_prepared() -> None:
    put("secret.bmp", bmp(400, 300))
    put("in/a.png", png(400, 300))
    put("in/a.yaml", "image_tail: secret.bmp\nprepare: true\n")
    (bad,) = read("  - folder: in\n").unusable
    assert "secret.bmp: it leads outside of the folder in" in str(bad.problem)
    (Path("in") / "b.bmp").symlink_to("../secret.bmp")
    put("in/a.yaml", "prepare: true\n")
    found = read("  - {folder: in, prepare: true}\n")
    assert [one.id for one in found.jobs] == ["a"]
    assert len(found.unusable) == 1
