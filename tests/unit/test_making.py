"""Prepared pictures, pixel by pixel: the right way up, in the right colours, and with nothing in them but themselves."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from batchgen.errors import ImageError
from batchgen.images.facts import Facts, examine, facts_of
from batchgen.images.headers import Headers
from batchgen.images.make import make
from batchgen.images.recipe import MADE_BYTES, Options, mask_recipe, recipe
from batchgen.models import Recipe
from tests.support.photos import GPS, SCENE, SIZE, encoded, exif, inked, kinds, quarters, scene, turned
from tests.support.profiles import DISPLAY_P3, profile_of

KINDS = kinds()
NEAR = 6  # of a colour's number: what JPEG may lose of it


def about(data: bytes) -> Facts:
    return facts_of(Headers(lambda count, at: data[at : at + count], len(data)))


def made_of(data: bytes, options: Options | None = None) -> tuple[bytes, Recipe]:
    found = recipe(about(data), options or Options())
    return make(data, found), found


def shown(data: bytes, options: Options | None = None) -> Image.Image:
    """What is sent for a file, decoded; as large as was said, and without anything that would turn it once more."""
    made, found = made_of(data, options)
    image = Image.open(io.BytesIO(made))
    image.load()
    assert image.size == found.canvas
    assert image.format == ("PNG" if (found.format or found.source_format) == "png" else "JPEG")
    assert not image.getexif()
    return image


def near(found: Any, wanted: Any, most: int = NEAR) -> bool:
    return all(
        abs(a - b) <= most
        for one, other in zip(found, wanted, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_picture_is_sent_the_right_way_up_in_its_colours(name: str) -> None:
    image = shown(KINDS[name])
    assert image.size == SIZE
    assert image.mode in ("RGB", "P")
    assert near(quarters(image), SCENE), quarters(image)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_of_where_and_by_whom_it_was_taken_is_sent(name: str) -> None:
    made, _ = made_of(KINDS[name])
    assert GPS not in made
    for tag in (b"Exif", b"eXIf", b"http://ns.adobe", b"ftypmp42", b"MPF\0", b"acTL"):
        assert tag not in made
    assert examine_bytes(made).extra is False


def examine_bytes(data: bytes) -> Facts:
    return about(data)


@pytest.mark.parametrize(
    "name", ["turned-1.jpg", "progressive.jpg", "motion.jpg", "phone.mpo", "animated.png"]
)
def test_where_only_metadata_go_no_pixel_changes(name: str) -> None:
    made, found = made_of(KINDS[name])
    assert found.format is None
    with Image.open(io.BytesIO(KINDS[name])) as before, Image.open(io.BytesIO(made)) as after:
        assert before.convert("RGB").tobytes() == after.convert("RGB").tobytes()


def test_a_picture_that_is_good_already_is_sent_byte_for_byte() -> None:
    data = encoded(scene(), "PNG")
    assert made_of(data)[0] == data


def test_other_colours_are_converted_and_not_only_called_so() -> None:
    """The same numbers mean another colour in another space; and a space's numbers are sent as sRGB's."""
    stored = Image.new("RGB", SIZE, (200, 40, 40))
    image = shown(encoded(stored, "JPEG", quality=95, icc_profile=profile_of("Display P3", DISPLAY_P3)))
    red = quarters(image)[0]
    assert red[0] > 210
    assert "icc_profile" not in image.info


@pytest.mark.parametrize("profile", [b"", b"broken", profile_of("Other", DISPLAY_P3)[:200]])
def test_a_profile_that_is_broken_or_of_other_channels_changes_nothing(profile: bytes) -> None:
    assert near(quarters(shown(encoded(scene(), "JPEG", icc_profile=profile))), SCENE)
    grey = encoded(scene().convert("L"), "JPEG", icc_profile=profile_of("Display P3", DISPLAY_P3))
    assert near(quarters(shown(grey)), quarters(scene().convert("L")))


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"), ("AVIF", "RGBA")]
)
def test_transparency_is_laid_on_the_background(form: str, mode: str) -> None:
    image = Image.new(mode, SIZE, (0, 0) if mode == "LA" else (0, 0, 0, 0))
    data = encoded(image, form)
    assert near(quarters(shown(data)), [(255, 255, 255)] * 4)
    assert near(quarters(shown(data, Options(background="#204060"))), [(0x20, 0x40, 0x60)] * 4)


def test_transparency_of_palettes_and_of_one_colour_is_laid_on_the_background() -> None:
    palette = Image.new("P", SIZE, 1)
    palette.putpalette([9, 9, 9, 200, 40, 40])
    for form in ("PNG", "GIF"):
        assert near(quarters(shown(encoded(palette, form, transparency=1))), [(255, 255, 255)] * 4)
    assert near(
        quarters(shown(encoded(Image.new("RGB", SIZE, "red"), "PNG", transparency=(255, 0, 0)))),
        [(255,) * 3] * 4,
    )


def test_what_cannot_be_seen_colours_nothing_where_a_picture_is_made_smaller() -> None:
    image = Image.new("RGBA", (1000, 800), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 500, 800))
    made = shown(encoded(image, "PNG"), Options(max_pixels=250_000, format="png"))
    colours = {colour for _, colour in made.getcolors(1 << 20) or ()}
    assert all(red == 255 and abs(green - blue) <= 1 for red, green, blue in colours)  # type: ignore[misc]


def test_sixteen_bits_keep_their_light() -> None:
    grey = Image.new("I;16", SIZE, 0x8080)
    for form in ("PNG", "TIFF"):
        assert near(quarters(shown(encoded(grey, form))), [(128, 128, 128)] * 4, 1)


def test_too_long_a_picture_is_padded_or_cropped_in_its_middle() -> None:
    wide = encoded(scene((1500, 500)), "PNG")
    padded = shown(wide)
    assert padded.size == (1500, 600)
    assert [padded.getpixel((750, y)) for y in (0, 49, 550, 599)] == [(255, 255, 255)] * 4
    assert padded.getpixel((10, 51)) == SCENE[0]
    cropped = shown(wide, Options(fit="crop"))
    assert cropped.size == (1250, 500)
    assert (cropped.getpixel((624, 10)), cropped.getpixel((626, 10))) == (SCENE[0], SCENE[1])


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_large_jpeg_is_made_smaller_while_it_is_decoded_and_still_is_right(orientation: int) -> None:
    image = scene((3200, 2000))
    turn = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
    data = encoded(image.transpose(turn) if turn is not None else image, "JPEG", exif=exif(orientation))
    made = shown(data, Options(max_pixels=400_000))
    assert made.size == (800, 500)
    assert near(quarters(made), SCENE)


def test_a_small_picture_is_enlarged() -> None:
    made = shown(encoded(scene((200, 160)), "JPEG"))
    assert made.size == (375, 300)
    assert near(quarters(made), SCENE)


def test_what_is_made_keeps_its_bytes_whatever_the_picture_is() -> None:
    noise = Image.frombytes("RGB", (1700, 1500), os.urandom(3 * 1700 * 1500))
    made, _ = made_of(encoded(noise, "BMP"), Options(quality=100))
    assert len(made) <= MADE_BYTES
    with pytest.raises(ImageError, match="set max_pixels, or format: jpeg"):
        made_of(encoded(noise, "BMP"), Options(format="png"))


def test_masks_keep_their_values_while_they_follow_their_image() -> None:
    image = recipe(about(turned(6)), Options(max_pixels=250_000))
    mask = Image.new("L", (500, 800))
    mask.paste(255, (0, 0, 250, 400))  # the stored picture's top left
    data = encoded(mask, "PNG")
    made = Image.open(io.BytesIO(make(data, mask_recipe(about(data), image))))
    assert made.size == image.canvas
    assert {colour for _, colour in made.getcolors() or ()} == {0, 255}
    assert [quarter[0] for quarter in quarters(made)] == [0, 255, 0, 0]  # turned by a quarter with its image
    clear = Image.new("RGBA", (500, 800), (9, 9, 9, 0))
    data = encoded(clear, "PNG")
    assert Image.open(io.BytesIO(make(data, mask_recipe(about(data), image)))).mode == "RGBA"


# -- what is damaged, or made to damage --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in KINDS if not name.startswith("turned-")])
def test_a_picture_that_is_cut_off_fails_with_its_reason(name: str) -> None:
    data = KINDS[name]
    for length in (len(data) // 2, len(data) * 2 // 3):
        try:
            made, found = made_of(data[:length])
        except ImageError as error:
            assert "\n" not in str(error)
            assert str(error)
        else:  # of several pictures in it, the first was whole
            assert about(data).frames or name in ("phone.mpo", "motion.jpg", "thumbnail.jpg"), name
            assert near(quarters(Image.open(io.BytesIO(made))), SCENE)
            assert found.canvas == SIZE


def test_a_header_that_promises_another_size_than_the_picture_has_is_found() -> None:
    data = bytearray(encoded(scene(), "GIF"))
    data[6:10] = struct.pack("<HH", 300, 301)
    found = recipe(about(bytes(data)), Options())
    with pytest.raises(ImageError):
        make(encoded(scene(), "GIF"), found)


def test_no_damage_raises_anything_but_an_image_error(tmp_path: Path) -> None:
    import random

    chance = random.Random(7)
    for name in (
        "phone.heic",
        "pages.tiff",
        "turned.webp",
        "animated.gif",
        "deep.png",
        "adobe.jpg",
        "turned.avif",
    ):
        for _ in range(15):
            data = bytearray(KINDS[name])
            for _ in range(chance.randrange(1, 8)):
                data[chance.randrange(min(len(data), 600))] = chance.randrange(256)
            try:
                made_of(bytes(data))
            except ImageError as error:
                assert str(error).isprintable()


def test_cmyk_with_the_marks_of_adobe_is_not_turned_to_its_negative() -> None:
    data = encoded(inked(Image.new("RGB", SIZE, "white")), "JPEG")
    assert b"Adobe" in data
    assert near(quarters(shown(data)), [(255, 255, 255)] * 4)


def test_examine_reads_a_file_as_it_reads_bytes(tmp_path: Path) -> None:
    for name, data in KINDS.items():
        (tmp_path / name).write_bytes(data)
        assert examine(str(tmp_path / name)) == about(data)


def test_a_picture_that_is_scaled_in_strips_has_no_seams() -> None:
    fine = Image.merge("RGB", [Image.effect_noise((900, 2000), spread) for spread in (40, 80, 120)])
    made = shown(encoded(fine, "PNG"), Options(max_pixels=700_000, format="png"))
    whole = fine.resize(made.size, Image.Resampling.LANCZOS)
    differs = ImageChops.difference(made, whole)
    assert max(differs.tobytes()) <= 1
