"""What a picture's headers say of it, and what is decided to be done to it: no pixel is decoded for either."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from batchgen.errors import ImageError, Unfinished
from batchgen.images.facts import Facts, examine
from batchgen.images.inspection import MAX_BYTES
from batchgen.images.recipe import AS_PNG, MADE_BYTES, MOST_PIXELS, Options, mask_recipe, options, recipe
from batchgen.images.strip import stripped
from tests.support.profiles import ADOBE_RGB, DISPLAY_P3, profile_of

SIZE = (640, 400)


def save(folder: Path, form: str, image: Image.Image | None = None, **options: Any) -> Path:
    path = folder / f"picture.{form.lower()}"
    (image or Image.new("RGB", SIZE, "teal")).save(path, form, **options)
    return path


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[274] = orientation
    data.get_ifd(0x8825)[1] = "N"  # GPS
    return data


def facts_of(path: Path) -> Facts:
    return examine(str(path))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_format_and_size_are_read_of_every_format_that_can_be_prepared(tmp_path: Path, form: str) -> None:
    found = facts_of(save(tmp_path, form))
    assert (found.format, found.width, found.height, found.orientation) == (form.lower(), *SIZE, 1)
    assert (found.alpha, found.bits, found.frames, found.profile) == (False, 8, False, "")
    assert found.size == save(tmp_path, form).stat().st_size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_orientation_is_read_where_the_format_keeps_it(
    tmp_path: Path, form: str, orientation: int
) -> None:
    if form == "TIFF":
        path = save(tmp_path, form, tiffinfo={274: orientation})
    else:
        path = save(tmp_path, form, exif=exif(orientation))
    assert facts_of(path).orientation == orientation


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_avif_and_heic_are_turned_by_their_own_properties(tmp_path: Path, orientation: int) -> None:
    assert facts_of(save(tmp_path, "AVIF", exif=exif(orientation))).orientation == orientation


@pytest.mark.parametrize(
    ("form", "mode", "expected"),
    [
        ("PNG", "RGBA", {"alpha": True}),
        ("PNG", "LA", {"alpha": True, "colours": "gray"}),
        ("PNG", "P", {"colours": "palette"}),
        ("PNG", "I;16", {"bits": 16, "colours": "gray"}),
        ("PNG", "1", {"colours": "gray", "bits": 8}),
        ("JPEG", "L", {"colours": "gray"}),
        ("JPEG", "CMYK", {"colours": "cmyk"}),
        ("WEBP", "RGBA", {"alpha": True}),
        ("GIF", "P", {"colours": "palette"}),
        ("TIFF", "CMYK", {"colours": "cmyk"}),
        ("TIFF", "RGBA", {"alpha": True}),
        ("TIFF", "I;16", {"bits": 16}),
        ("BMP", "P", {"colours": "palette"}),
        ("AVIF", "RGBA", {"alpha": True}),
    ],
)
def test_colours_transparency_and_depth_are_read(
    tmp_path: Path, form: str, mode: str, expected: dict[str, object]
) -> None:
    found = facts_of(save(tmp_path, form, Image.new(mode, SIZE)))
    assert {name: getattr(found, name) for name in expected} == expected


def test_lossless_webp_and_transparent_palettes_are_told(tmp_path: Path) -> None:
    plain = facts_of(save(tmp_path, "WEBP", lossless=True))
    assert plain.lossless
    assert not plain.alpha
    assert facts_of(save(tmp_path, "WEBP", Image.new("RGBA", SIZE, (1, 2, 3, 4)), lossless=True)).alpha
    assert facts_of(save(tmp_path, "PNG", Image.new("P", SIZE), transparency=0)).alpha
    assert facts_of(save(tmp_path, "GIF", Image.new("P", SIZE), transparency=0)).alpha


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "TIFF", "AVIF"])
def test_several_pictures_in_one_file_are_told(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green")]
    path = save(tmp_path, form, frames[0], save_all=True, append_images=frames[1:])
    assert facts_of(path).frames
    assert (facts_of(path).width, facts_of(path).height) == (64, 48)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("colorants", "name"), [(DISPLAY_P3, "Display P3"), (ADOBE_RGB, "Adobe RGB (1998)"), (None, "")]
)
def test_profiles_of_other_colours_are_named_and_srgb_is_none(
    tmp_path: Path, form: str, colorants: Any, name: str
) -> None:
    data = (
        profile_of(name, colorants)
        if colorants
        else ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    assert facts_of(save(tmp_path, form, icc_profile=data)).profile == name


def test_linear_light_with_the_colours_of_srgb_is_not_srgb(tmp_path: Path) -> None:
    srgb = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
    assert (
        facts_of(save(tmp_path, "JPEG", icc_profile=profile_of("linear", srgb, gamma=1.0))).profile
        == "linear"
    )
    assert facts_of(save(tmp_path, "JPEG", icc_profile=profile_of("usual", srgb, gamma=2.2))).profile == ""


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_file_that_is_cut_within_its_headers_is_unfinished(tmp_path: Path, form: str) -> None:
    data = save(tmp_path, form).read_bytes()
    cut = tmp_path / "cut"
    for length in range(min(len(data) - 1, 60)):
        cut.write_bytes(data[:length])
        with pytest.raises(ImageError):
            examine(str(cut))


@pytest.mark.parametrize("form", ["WEBP", "TIFF", "AVIF"])
def test_a_file_that_is_still_written_is_unfinished(tmp_path: Path, form: str) -> None:
    data = save(tmp_path, form, Image.effect_noise((90, 90), 90)).read_bytes()
    (tmp_path / "cut").write_bytes(data[:-100])
    with pytest.raises(Unfinished, match="cut off"):
        examine(str(tmp_path / "cut"))


# -- the recipe ----------------------------------------------------------------------------------------------------


def photo(**changes: Any) -> Facts:
    return Facts(**{"format": "jpeg", "size": 2_000_000, "width": 4000, "height": 3000, **changes})


def test_a_picture_that_is_good_is_sent_as_it_is() -> None:
    found = recipe(photo(), Options())
    assert (found.format, found.canvas, found.words, found.options) == (None, (4000, 3000), (), ())


def test_metadata_alone_change_no_pixel_and_so_no_identity() -> None:
    found = recipe(photo(extra=True), Options(background="#000000", quality=80))
    assert (found.format, found.words, found.options) == (None, ("metadata left out",), ())


@pytest.mark.parametrize(
    ("facts", "form", "canvas", "words"),
    [
        ({"orientation": 6, "width": 2000, "height": 1500}, "jpeg", (1500, 2000), "turned upright"),
        ({"orientation": 3, "width": 2000, "height": 1500}, "jpeg", (2000, 1500), "turned upright"),
        ({"colours": "cmyk", "width": 900, "height": 900}, "jpeg", (900, 900), "colours from CMYK to sRGB"),
        ({"profile": "Display P3", "width": 900, "height": 900}, "jpeg", (900, 900), "Display P3 to sRGB"),
        (
            {"format": "png", "lossless": True, "bits": 16, "width": 900, "height": 900},
            "png",
            (900, 900),
            "16 bits",
        ),
        (
            {"format": "png", "lossless": True, "alpha": True, "width": 900, "height": 900},
            "png",
            (900, 900),
            "laid on",
        ),
        ({"format": "heic", "width": 1600, "height": 1200}, "jpeg", (1600, 1200), "HEIC becomes JPEG"),
        ({"format": "webp", "width": 1600, "height": 1200}, "jpeg", (1600, 1200), "WebP becomes JPEG"),
        (
            {"format": "webp", "lossless": True, "width": 1600, "height": 1200},
            "png",
            (1600, 1200),
            "WebP becomes PNG",
        ),
        (
            {"format": "tiff", "lossless": True, "width": 4000, "height": 3000},
            "jpeg",
            (3325, 2493),
            "TIFF becomes JPEG",
        ),
        (
            {"format": "gif", "lossless": True, "frames": True, "width": 500, "height": 500},
            "png",
            (500, 500),
            "first",
        ),
        ({"size": 12_000_000}, "jpeg", (3325, 2493), "made smaller, from 4000x3000 to 3325x2493"),
        ({"size": 12_000_000, "width": 2000, "height": 1500}, "jpeg", (2000, 1500), "compressed anew"),
        ({"width": 280, "height": 400}, "jpeg", (300, 429), "enlarged from 280x400 to 300x429"),
        ({"width": 3000, "height": 1000}, "jpeg", (3000, 1200), "padded to 3000x1200 with #ffffff"),
        ({"width": 1000, "height": 3001}, "jpeg", (1201, 3001), "padded to 1201x3001"),
        ({"width": 840, "height": 280}, "jpeg", (840, 336), "padded to 840x336"),
        ({"unusual": True, "width": 900, "height": 900}, "jpeg", (900, 900), "few programs read"),
    ],
)
def test_the_least_that_makes_it_acceptable(
    facts: dict[str, Any], form: str, canvas: tuple[int, int], words: str
) -> None:
    found = recipe(photo(**facts), Options())
    assert (found.format, found.canvas) == (form, canvas)
    assert words in "; ".join(found.words)


def test_the_options_say_how() -> None:
    assert recipe(photo(width=3000, height=1000), Options(fit="crop")).canvas == (2500, 1000)
    assert recipe(photo(width=3000, height=1000), Options(background="#000000")).background == "#000000"
    small = recipe(photo(), Options(max_pixels=1_000_000))
    assert (small.format, small.canvas) == ("jpeg", (1154, 865))
    assert recipe(photo(), Options(max_pixels=20_000_000)).format is None
    lossless = photo(format="png", lossless=True, width=4000, height=3000, alpha=True)
    assert recipe(lossless, Options()).format == "jpeg"
    assert recipe(lossless, Options(format="png")).format == "png"


def test_only_what_differs_from_the_defaults_is_part_of_the_identity() -> None:
    turned = photo(orientation=6)
    assert recipe(turned, Options()).options == ()
    assert options({"fit": "pad", "quality": 92, "background": "WHITE"}) == options(True) == Options()
    assert recipe(turned, Options(quality=80, fit="crop")).options == (("fit", "crop"), ("quality", 80))
    assert (options(False), options(None)) == (None, None)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("black", "#000000"), ("#ABCDEF", "#abcdef"), ("00ff00", "#00ff00"), ("Grey", "#808080")],
)
def test_a_background_is_a_name_or_six_digits(written: str, meant: str) -> None:
    found = options({"background": written})
    assert found is not None
    assert found.background == meant


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"width": 99, "height": 400}, "enlarges from 100 px on"),
        ({"width": 20_000, "height": 20_000}, "at most 250 million pixels"),
        ({"format": "png", "width": 12_000, "height": 12_000}, "at most 120 million pixels"),
        ({"size": 300 << 20}, "at most 256 MiB"),
    ],
)
def test_what_prepare_does_not_take_is_said(facts: dict[str, Any], why: str) -> None:
    with pytest.raises(ImageError, match=why):
        recipe(photo(**facts), Options())


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("limit", [None, 250_000, 1_000_003])
def test_whatever_is_made_keeps_the_limits(fit: Any, limit: int | None) -> None:
    for width in (100, 101, 299, 300, 333, 751, 2501, 9999):
        for height in (100, 149, 300, 750, 751, 3333, 12_000):
            for orientation in (1, 6):
                facts = photo(format="webp", width=width, height=height, orientation=orientation)
                made = recipe(facts, Options(fit=fit, max_pixels=limit))
                short, long = sorted(made.canvas)
                assert short >= 300
                assert 2 * long <= 5 * short
                assert short * long <= (limit or MOST_PIXELS) or min(made.canvas) == 300
                assert made.inner[0] <= made.canvas[0]
                assert made.inner[1] <= made.canvas[1]


def test_a_png_of_the_pixels_that_png_is_chosen_for_keeps_the_bytes() -> None:
    size = (800, AS_PNG // 800)
    file = io.BytesIO()
    Image.frombytes("RGB", size, random.Random(1).randbytes(3 * size[0] * size[1])).save(
        file, "PNG", compress_level=1
    )
    assert len(file.getvalue()) <= MADE_BYTES


# -- masks ---------------------------------------------------------------------------------------------------------


def mask(width: int, height: int, **changes: Any) -> Facts:
    return photo(format="png", size=5000, width=width, height=height, lossless=True, **changes)


def test_a_mask_stays_where_its_image_does() -> None:
    assert mask_recipe(mask(4000, 3000), recipe(photo(), Options())).format is None
    assert (
        mask_recipe(
            mask(2000, 1500), recipe(photo(colours="cmyk", width=2000, height=1500), Options())
        ).format
        is None
    )


def test_a_mask_follows_its_image() -> None:
    turned = recipe(photo(orientation=6), Options(max_pixels=1_000_000))
    stored = mask_recipe(mask(4000, 3000), turned)
    assert (stored.orientation, stored.canvas, stored.format) == (6, turned.canvas, "png")
    painted = mask_recipe(mask(1500, 2000), turned)
    assert (painted.orientation, painted.canvas) == (1, turned.canvas)
    cropped = recipe(photo(width=3000, height=1000), Options(fit="crop"))
    assert mask_recipe(mask(1500, 500), cropped).crop == (1250, 500)


@pytest.mark.parametrize(
    ("image", "mask_size", "why"),
    [
        ({"width": 3000, "height": 1000}, (3000, 1000), "its image is padded"),
        ({"orientation": 3}, (4000, 3000), "nobody can tell"),
        ({"orientation": 6, "width": 900, "height": 900}, (900, 900), "nobody can tell"),
        ({"orientation": 6}, (1000, 1000), "their ratio must be the same"),
    ],
)
def test_a_mask_that_can_not_follow_is_refused(
    image: dict[str, Any], mask_size: tuple[int, int], why: str
) -> None:
    with pytest.raises(ImageError, match=why):
        mask_recipe(mask(*mask_size), recipe(photo(**image), Options()))


@pytest.mark.parametrize("changes", [{"size": MAX_BYTES + 1}, {"width": 396, "height": 297}])
def test_a_mask_that_would_be_sent_as_it_is_keeps_the_limits_of_the_api(changes: dict[str, Any]) -> None:
    given = replace(mask(4000, 3000), **changes)
    with pytest.raises(ImageError, match="breaks a limit of the API"):
        mask_recipe(given, recipe(photo(), Options()))


# -- what is no picture is taken out ---------------------------------------------------------------------------------


def test_a_jpeg_is_freed_of_all_that_tells_of_it_and_keeps_its_pixels(tmp_path: Path) -> None:
    image = Image.effect_noise((400, 320), 80).convert("RGB")
    second = save(tmp_path, "JPEG").read_bytes()
    path = save(
        tmp_path, "JPEG", image, exif=exif(1), comment=b"SECRET", xmp=b"<x>SECRET</x>", progressive=True
    )
    path.write_bytes(path.read_bytes() + second + b"\0\0\0\x18ftypmp42SECRET")
    found = facts_of(path)
    assert found.extra
    made = stripped(path.read_bytes(), "jpeg")
    assert b"SECRET" not in made
    assert b"Exif" not in made
    assert made.endswith(b"\xff\xd9")
    assert Image.open(io.BytesIO(made)).convert("RGB").tobytes() == Image.open(path).convert("RGB").tobytes()
    (tmp_path / "made.jpg").write_bytes(made)
    assert not facts_of(tmp_path / "made.jpg").extra
    assert stripped(made, "jpeg") == made


def test_a_png_is_freed_of_all_that_tells_of_it_and_keeps_its_pixels(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "SECRET")
    texts.add_itxt("XML:com.adobe.xmp", "SECRET")
    frames = [Image.effect_noise((80, 60), spread).convert("RGB") for spread in (10, 90)]
    path = save(
        tmp_path, "PNG", frames[0], pnginfo=texts, exif=exif(1), save_all=True, append_images=frames[1:]
    )
    path.write_bytes(path.read_bytes() + b"SECRET")
    assert facts_of(path).extra
    made = stripped(path.read_bytes(), "png")
    assert b"SECRET" not in made
    with Image.open(io.BytesIO(made)) as opened:
        assert getattr(opened, "n_frames", 1) == 1
        assert opened.convert("RGB").tobytes() == frames[0].tobytes()
    assert stripped(made, "png") == made


def test_colours_survive_where_metadata_go(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for form in ("JPEG", "PNG"):
        path = save(tmp_path, form, icc_profile=srgb, exif=exif(1))
        with Image.open(io.BytesIO(stripped(path.read_bytes(), form.lower()))) as made:  # type: ignore[arg-type]
            assert made.info["icc_profile"] == srgb
            assert not made.getexif()
