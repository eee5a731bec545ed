"""The header reader against Pillow's writers, and against everything that isn't an image."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import socket
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from batchgen.errors import ImageError
from batchgen.images import inspection
from batchgen.images.inspection import MAX_BYTES, inspect, inspect_base64
from batchgen.models import ImageFile

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
JPEG_MODES = ("L", "RGB", "CMYK")


def picture(form: str, size: tuple[int, int] = (320, 300), mode: str = "RGB", **options: Any) -> bytes:
    """An image file's bytes, with some structure in its pixels."""
    noise = Image.frombytes("L", (16, 16), bytes(range(256))).resize(size)
    file = io.BytesIO()
    (noise.convert("L").convert("I").convert(mode) if mode == "I;16" else noise.convert(mode)).save(
        file, form, **options
    )
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def exif(thumbnail: bytes = b"") -> bytes:
    """An Exif block: a rotated orientation, and whatever a camera adds."""
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x010E] = "a description"
    return tags.tobytes() + thumbnail


SMALL_PNG = picture("PNG")
SMALL_JPEG = picture("JPEG")
PROGRESSIVE = picture("JPEG", progressive=True)
WITH_THUMBNAIL = picture("JPEG", (640, 480), exif=exif(picture("JPEG", (160, 120))))
REFUSALS = re.compile(r"cut off|damaged|neither PNG nor JPEG|empty|each side|ratio|too short")


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., str]:
    def write(data: bytes, name: str = "a.png") -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


def reason(look: Callable[[], object]) -> str:
    with pytest.raises(ImageError) as caught:
        look()
    return str(caught.value)


def judged(data: bytes) -> ImageFile | str:
    """What is found in the bytes, or why they are refused."""
    try:
        return inspect_base64(base64_text(data))
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize(
    ("form", "mode"), [*(("PNG", m) for m in PNG_MODES), *(("JPEG", m) for m in JPEG_MODES)]
)
def test_every_mode_is_read_as_pillow_reads_it(form: str, mode: str, put: Callable[..., str]) -> None:
    data = picture(form, (431, 310), mode)

    found = inspect(put(data))

    with Image.open(io.BytesIO(data)) as theirs:
        assert (found.format.upper(), (found.width, found.height)) == (theirs.format, theirs.size)
    assert found.size == len(data)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.xxh3 == xxhash.xxh3_128(data).hexdigest()


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
    form=st.sampled_from([("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True})]),
)
@example(size=(300, 750), form=("PNG", {}))
@example(size=(300, 751), form=("PNG", {}))
@example(size=(751, 300), form=("JPEG", {}))
@example(size=(299, 300), form=("JPEG", {"progressive": True}))
def test_sides_and_ratio_are_judged_exactly(size: tuple[int, int], form: tuple[str, dict[str, Any]]) -> None:
    text = base64_text(picture(form[0], size, "L", **form[1]))
    short, long = sorted(size)

    if short < 300:
        expected = f"{size[0]}x{size[1]}: each side must be at least 300 px"
        assert reason(lambda: inspect_base64(text)) == expected
    elif long / short > 2.5:
        expected = f"{size[0]}x{size[1]}: the ratio of the sides must be between 1:2.5 and 2.5:1"
        assert reason(lambda: inspect_base64(text)) == expected
    else:
        found = inspect_base64(text)
        assert (found.width, found.height) == size


def test_the_picture_is_measured_and_not_the_thumbnail_in_its_exif_block(put: Callable[..., str]) -> None:
    assert b"\xff\xd8\xff" in WITH_THUMBNAIL[2:]  # it is really in there

    found = inspect(put(WITH_THUMBNAIL))

    assert (found.width, found.height) == (640, 480)


def test_what_phones_append_to_a_jpeg_is_no_fault(put: Callable[..., str]) -> None:
    second = picture("JPEG", (200, 100))
    for tail in (second, b"\0" * 5000, b"\0\0\0\x18ftypmp42" + b"\1" * 100, second[:50]):
        found = inspect(put(SMALL_JPEG + tail))
        assert (found.width, found.height, found.size) == (320, 300, len(SMALL_JPEG) + len(tail))


def test_several_pictures_in_one_jpeg_file_are_measured_by_the_first(put: Callable[..., str]) -> None:
    file = io.BytesIO()
    first, second = Image.new("RGB", (400, 300)), Image.new("RGB", (800, 600))
    first.save(file, "MPO", save_all=True, append_images=[second])

    found = inspect(put(file.getvalue()))

    assert (found.format, found.width, found.height) == ("jpeg", 400, 300)


def test_bytes_after_a_png_s_end_are_no_fault(put: Callable[..., str]) -> None:
    assert inspect(put(SMALL_PNG + b"trailing")).size == len(SMALL_PNG) + 8


def test_restarts_filling_and_comments_in_a_jpeg_are_walked_over(put: Callable[..., str]) -> None:
    data = picture("JPEG", (800, 600), restart_marker_rows=1, comment=b"\xff\xd9\xff\xc0 in a comment")
    assert re.search(rb"\xff[\xd0-\xd7]", data)
    frame = data.index(b"\xff\xc0\x00\x11")
    filled = data[:frame] + b"\xff" * 7 + data[frame:]

    for each in (data, filled):
        found = inspect(put(each))
        assert (found.width, found.height) == (800, 600)


@pytest.mark.parametrize("data", [PROGRESSIVE, SMALL_PNG], ids=["jpeg", "png"])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 100])
def test_the_size_of_the_chunks_read_changes_nothing(data: bytes, length: int) -> None:
    source = inspection._Source(data[at : at + length] for at in range(0, len(data), length))

    assert inspection._measure(source)[1:] == (320, 300, 1)
    assert source.finish() == (
        hashlib.sha256(data).hexdigest(),
        xxhash.xxh3_128(data).hexdigest(),
    )
    assert source.size == len(data)


@pytest.mark.parametrize(
    "data", [SMALL_PNG, SMALL_JPEG, PROGRESSIVE, WITH_THUMBNAIL, picture("PNG", mode="P")]
)
def test_a_file_cut_off_anywhere_is_refused(data: bytes) -> None:
    step = max(1, len(data) // 400)
    places = {*range(1, 64), *range(1, len(data), step), *range(len(data) - 64, len(data))}
    for end in places:
        said = reason(lambda end=end: inspect_base64(base64_text(data[:end])))  # type: ignore[misc]
        assert REFUSALS.search(said), (end, said)
    assert inspect_base64(base64_text(data)).size == len(data)


def test_a_jpeg_without_its_end_is_refused_as_cut_off(put: Callable[..., str]) -> None:
    path = put(SMALL_JPEG[:-2])
    assert (
        reason(lambda: inspect(path)) == f"the image is cut off: it ends after {len(SMALL_JPEG) - 2:,} bytes"
    )


def test_a_damaged_checksum_is_found_in_what_a_decoder_needs_and_forgiven_elsewhere() -> None:
    pixels = bytearray(SMALL_PNG)
    pixels[SMALL_PNG.index(b"IDAT") + 20] ^= 1
    header = bytearray(SMALL_PNG)
    header[19] ^= 1
    note = bytearray(chunk(b"tEXt", b"Comment\0hello"))
    note[-1] ^= 1
    end = SMALL_PNG.index(b"IDAT") - 4

    assert "checksum is wrong (IDAT)" in reason(lambda: inspect_base64(base64_text(bytes(pixels))))
    assert "header's checksum" in reason(lambda: inspect_base64(base64_text(bytes(header))))
    assert inspect_base64(base64_text(SMALL_PNG[:end] + bytes(note) + SMALL_PNG[end:])).width == 320


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def test_the_first_frame_of_a_jpeg_counts_and_tables_before_it_are_none() -> None:
    tables = b"".join(segment(marker, b"\0\0\1\0\1\3") for marker in (0xC4, 0xC8, 0xCC))
    second = segment(0xC1, b"\x08" + struct.pack(">HH", 500, 500) + b"\1")
    frame = SMALL_JPEG.index(b"\xff\xc0")
    scan = SMALL_JPEG.index(b"\xff\xda")

    found = inspect_base64(
        base64_text(SMALL_JPEG[:frame] + tables + SMALL_JPEG[frame:scan] + second + SMALL_JPEG[scan:])
    )

    assert (found.width, found.height) == (320, 300)


@pytest.mark.parametrize(
    ("inserted", "said"),
    [
        (b"\xff\xd8", "a marker stands where none may (FFD8)"),
        (b"\xff\x42\0\2", "a marker stands where none may (FF42)"),
        (b"\xff\xe0\0\1", "a segment is too short (FFE0)"),
        (b"\xff\xc0\0\7", "a segment is too short (FFC0)"),
    ],
)
def test_a_jpeg_with_something_impossible_between_its_segments_is_damaged(inserted: bytes, said: str) -> None:
    data = SMALL_JPEG[:2] + inserted + SMALL_JPEG[2:]
    assert reason(lambda: inspect_base64(base64_text(data))) == f"the JPEG is damaged: {said}"


def test_an_image_without_pixels_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 400, 400, 8, 2, 0, 0, 0)
    png = inspection.PNG + chunk(b"IHDR", header) + chunk(b"IEND", b"")
    jpeg = SMALL_JPEG[: SMALL_JPEG.index(b"\xff\xda")] + b"\xff\xd9"

    assert reason(lambda: inspect_base64(base64_text(png))) == "the PNG is damaged: it has no pixels"
    assert reason(lambda: inspect_base64(base64_text(jpeg))) == "the JPEG is damaged: it has no pixels"


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=400),
    start=st.sampled_from([b"", inspection.PNG, SMALL_PNG[:33], b"\xff\xd8\xff", SMALL_JPEG[:180]]),
)
def test_no_bytes_raise_anything_but_an_image_error(data: bytes, start: bytes) -> None:
    found = judged(start + data)
    assert isinstance(found, str) or min(found.width, found.height) >= 300


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from([SMALL_PNG, SMALL_JPEG, PROGRESSIVE, WITH_THUMBNAIL]),
    where=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_no_corruption_raises_anything_but_an_image_error(
    data: bytes, where: list[tuple[float, int]]
) -> None:
    broken = bytearray(data)
    for place, value in where:
        broken[int(place * len(broken))] = value
    found = judged(bytes(broken))
    assert isinstance(found, str) or found.sha256 == hashlib.sha256(broken).hexdigest()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (picture("WEBP"), "a WebP image"),
        (picture("GIF", mode="P"), "a GIF image"),
        (picture("BMP"), "a BMP image"),
        (picture("TIFF"), "a TIFF image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC image"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "an AVIF image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\n <!DOCTYPE html><html>404", "an HTML or XML page"),
        (b'<?xml version="1.0"?><svg>', "an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (base64.b64encode(SMALL_PNG), "Base64 text"),
        (base64.b64encode(SMALL_JPEG), "Base64 text"),
    ],
)
def test_another_format_is_named_whatever_the_suffix_says(
    data: bytes, name: str, put: Callable[..., str]
) -> None:
    said = reason(lambda: inspect(put(data)))
    assert said.startswith(f"it is {name}")
    assert said.endswith("the API takes PNG and JPEG")


def test_the_suffix_is_not_believed(put: Callable[..., str]) -> None:
    assert inspect(put(SMALL_JPEG)).format == "jpeg"  # in a.png


def test_what_is_no_image_at_all_is_refused(put: Callable[..., str]) -> None:
    assert reason(lambda: inspect(put(b""))) == "the file is empty"
    assert reason(lambda: inspect(put(b"hello"))) == "it is neither PNG nor JPEG; the API takes PNG and JPEG"


def test_ten_mib_are_taken_and_one_byte_more_is_not(put: Callable[..., str]) -> None:
    full = SMALL_PNG + bytes(MAX_BYTES - len(SMALL_PNG))
    too_large = "10,485,761 bytes: an image must not exceed 10 MB (10,485,760 bytes)"

    assert inspect(put(full)).size == MAX_BYTES
    assert inspect_base64(base64_text(full)).size == MAX_BYTES
    assert reason(lambda: inspect(put(full + b"\0"))) == too_large
    assert reason(lambda: inspect_base64(base64_text(full + b"\0"))) == too_large


def test_things_that_are_no_regular_files_are_refused_at_once(tmp_path: Path) -> None:
    fifo, folder, door = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"
    os.mkfifo(fifo)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(door))

        assert reason(lambda: inspect(str(fifo))) == "it is a named pipe, not an image file"
        assert reason(lambda: inspect(str(folder))) == "it is a folder, not an image file"
        assert reason(lambda: inspect("/dev/zero")) == "it is a device or socket, not an image file"
        assert reason(lambda: inspect(str(door))).startswith("the file can't be opened: ")


def test_a_file_that_can_t_be_reached_is_refused_with_the_reason(tmp_path: Path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)

    assert reason(lambda: inspect(str(tmp_path / "none.png"))) == "there is no such file"
    assert reason(lambda: inspect(str(loop))).startswith("the file can't be opened: Too many levels")
    assert reason(lambda: inspect(str(tmp_path / ("x" * 300)))).startswith("the file can't be opened: ")
    assert reason(lambda: inspect("a\0.png")).startswith("this can't be a file's name")
    assert reason(lambda: inspect("a\ud800.png")).startswith("this can't be a file's name")


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    read = os.read

    def read_while_somebody_writes(file: int, count: int) -> bytes:
        data = read(file, count)
        with path.open("ab") as other:
            other.write(b"more")
        return data

    path.write_bytes(SMALL_PNG)
    monkeypatch.setattr(os, "read", read_while_somebody_writes)

    assert reason(lambda: inspect(str(path))).startswith("the file changed while it was read")


def test_a_file_is_unchanged_until_its_size_mtime_or_inode_differ(tmp_path: Path) -> None:
    path, other = tmp_path / "a.png", tmp_path / "b.png"
    path.write_bytes(SMALL_PNG)
    found = inspect(str(path))
    times = (found.mtime_ns, found.mtime_ns)
    assert inspection.unchanged(found)

    os.utime(path, ns=(0, found.mtime_ns + 1))
    assert not inspection.unchanged(found)

    path.write_bytes(SMALL_PNG + b"!")
    os.utime(path, ns=times)
    assert not inspection.unchanged(found)

    other.write_bytes(SMALL_PNG)
    os.utime(other, ns=times)
    os.replace(other, path)
    assert not inspection.unchanged(found)

    path.unlink()
    assert not inspection.unchanged(found)


def test_no_descriptor_stays_open(put: Callable[..., str]) -> None:
    good, bad = put(SMALL_PNG), put(SMALL_PNG[:100], "b.png")
    before = os.listdir("/proc/self/fd")

    inspect(good)
    reason(lambda: inspect(bad))

    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        (
            "data:image/png;base64,iVBORw0K",
            'the API takes Base64 without a prefix: leave out "data:image/png;base64,"',
        ),
        (
            "iVBORw0K\nGgoAAAAN",
            "its Base64 has spaces or line breaks in it; write it in one piece, or give a file's path",
        ),
        (
            "iVBORw0KGgo_",
            'its Base64 is the URL-safe kind ("_" in it); the API takes the standard one ("+", "/")',
        ),
        ("images/hero.png", "it is not Base64: '.' at character 12"),
        ("ïVBORw0K", "it is not Base64: '\\xef' at character 1"),
        ("iVBORw0KGgo", 'its Base64 is cut off, or the "=" at its end are missing or too many'),
        ("iVBO==w0KGgo", 'its Base64 is cut off, or the "=" at its end are missing or too many'),
        ("iVBORw0KG===", 'its Base64 is cut off, or the "=" at its end are missing or too many'),
        ("iVBORw0KGg=o", 'its Base64 is cut off, or the "=" at its end are missing or too many'),
    ],
)
def test_base64_is_strict_and_says_what_to_write(text: str, said: str) -> None:
    assert reason(lambda: inspect_base64(text)) == said


def test_padding_inside_of_base64_is_found_also_where_a_piece_ends() -> None:
    text = "A" * (inspection.CHUNK - 1) + "=AAAA"
    assert reason(lambda: inspect_base64(text)).startswith("its Base64 is cut off")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("iVBORw0KGgoAAAANSUhEUg=+/- \n", max_size=60))
def test_no_text_raises_anything_but_an_image_error(text: str) -> None:
    assert reason(lambda: inspect_base64(text))


def test_memory_does_not_grow_with_the_image(put: Callable[..., str]) -> None:
    jpeg = SMALL_JPEG[:-2] + os.urandom(9_000_000).replace(b"\xff", b"\xfe") + b"\xff\xd9"
    path, text = put(jpeg), base64_text(jpeg)
    tracemalloc.start()
    try:
        by_file, by_text = inspect(path), inspect_base64(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert by_file.sha256 == by_text.sha256 == hashlib.sha256(jpeg).hexdigest()
    assert peak < 5_000_000
