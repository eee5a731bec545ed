"""Makes the picture that a recipe asks for, with Pillow. Only :mod:`batchgen.images.worker` calls it, in its own process."""

from __future__ import annotations

import importlib
import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any, Final, Literal

from batchgen.errors import ImageError
from batchgen.escapes import excerpt
from batchgen.images.profiles import ADOBE_RGB, adobe_rgb, foreign_profile
from batchgen.images.recipe import HEIF_READER, MADE_BYTES, NO_HEIF
from batchgen.images.strip import stripped
from batchgen.models import Recipe

if TYPE_CHECKING:
    from PIL.Image import Image

#: What decoders raise over files that are damaged, or made to damage.
FAULTS: Final = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError),
    *(RuntimeError, AssertionError, struct.error, zlib.error),
)
_TURNED_BY_DECODER: Final = ("heic", "tiff")
_QUALITIES: Final = (85, 75, 60, 40)  # tried in turn where a picture has too many bytes
_ALL_COLOURS: Final = 90  # quality from which colours are kept as fine as light
_STRIP: Final = 128  # rows that are scaled at once
_QUARTERS: Final = 5  # orientations from 5 on turn by a quarter


def make(data: bytes, recipe: Recipe) -> bytes:
    """The bytes that are sent for a source's bytes. Raises ImageError where they can't be made."""
    try:
        if recipe.format is None:
            return stripped(data, "png" if recipe.source_format == "png" else "jpeg")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which aren't sent
            source = [_opened(data, recipe)]
            del (
                data
            )  # a decoded picture holds its file no longer, and nothing holds the one that is made smaller
            return _encoded(_drawn(source.pop(), recipe), recipe, recipe.format)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("it takes more memory to be decoded than prepare allows") from None
    except FAULTS as error:
        raise ImageError(f"it can't be decoded: {excerpt(str(error) or type(error).__name__)}") from error


def _opened(data: bytes, recipe: Recipe) -> Image:
    """The picture, not decoded yet, and a JPEG no larger than is needed."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the recipe has judged the size; that it is the true one is checked here
    if recipe.source_format == "heic":
        read_heif()
    name = {"heic": "HEIF"}.get(recipe.source_format, recipe.source_format.upper())
    image = Image.open(io.BytesIO(data), formats=[name])
    if sorted(image.size) != sorted(recipe.source):
        raise ImageError("it is damaged: it has two sizes")
    if recipe.source_format == "jpeg" and recipe.crop is None:
        width, height = recipe.inner
        image.draft(None, (height, width) if recipe.orientation >= _QUARTERS else (width, height))
    return image


def read_heif() -> None:
    """Have Pillow read HEIC. Raises ImageError where pillow-heif isn't installed."""
    try:
        reader = importlib.import_module(HEIF_READER)
    except ImportError:
        raise ImageError(NO_HEIF) from None
    reader.register_heif_opener(thumbnails=False)


def _drawn(image: Image, recipe: Recipe) -> Image:
    from PIL import Image as Pillow

    profile = image.info.get("icc_profile") or (adobe_rgb() if recipe.profile == ADOBE_RGB else b"")
    orientation = _orientation(image, recipe)
    image = _plain(image)
    across = orientation >= _QUARTERS  # turned last, when there is least of it
    if recipe.crop is not None:
        width, height = recipe.crop[::-1] if across else recipe.crop
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    size = recipe.inner[::-1] if across else recipe.inner
    if image.size != size:
        image = image.resize(size, Pillow.Resampling.NEAREST) if recipe.is_mask else _resized(image, size)
    if orientation != 1:
        image = image.transpose(_turn(orientation))
    if recipe.is_mask:
        return image
    image = _flat(_in_srgb(image, profile), recipe.background)
    if recipe.canvas != recipe.inner:
        canvas = Pillow.new("RGB", recipe.canvas, recipe.background)
        canvas.paste(image, ((canvas.width - image.width) // 2, (canvas.height - image.height) // 2))
        image = canvas
    return image


def _orientation(image: Image, recipe: Recipe) -> int:
    if recipe.source_format in _TURNED_BY_DECODER:
        return 1
    if recipe.source_format == "avif":  # Pillow gives its own properties as if they were EXIF's
        return int(image.getexif().get(274, 1))
    return recipe.orientation


def _turn(orientation: int) -> Any:
    from PIL.Image import Transpose as Turn

    return {
        2: Turn.FLIP_LEFT_RIGHT,
        3: Turn.ROTATE_180,
        4: Turn.FLIP_TOP_BOTTOM,
        5: Turn.TRANSPOSE,
        6: Turn.ROTATE_270,
        7: Turn.TRANSVERSE,
        8: Turn.ROTATE_90,
    }[orientation]


def _plain(image: Image) -> Image:
    """The decoded picture with 8 bits a channel: L, LA, RGB, RGBA or CMYK."""
    image.load()
    mode = image.mode
    if mode.startswith("I"):
        wide: Any = image.convert("I")
        return wide.point(lambda value: value * (1 / 257) + 0.5).convert("L")  # type: ignore[no-any-return]  # Pillow's types know no point() of mode I
    if "transparency" in image.info or mode in ("PA", "RGBa", "La"):
        return image.convert("LA" if mode in ("L", "1", "La") else "RGBA")
    if mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return image
    if mode == "1":
        return image.convert("L")
    if mode == "LAB":
        return _transformed(image, None)
    return image.convert("RGB")


def _resized(image: Image, size: tuple[int, int]) -> Image:
    from PIL import Image as Pillow

    if image.mode in ("LA", "RGBA"):  # what can't be seen mustn't colour what can
        whole = image.convert("RGBA").convert("RGBa")
        return _resized(whole, size).convert("RGBA")
    made = Pillow.new(image.mode, size)
    for top in range(0, size[1], _STRIP):  # all at once would need as much memory again
        bottom = min(top + _STRIP, size[1])
        box = (0.0, top * image.height / size[1], float(image.width), bottom * image.height / size[1])
        made.paste(image.resize((size[0], bottom - top), Pillow.Resampling.LANCZOS, box=box), (0, top))
    return made


def _in_srgb(image: Image, profile: bytes) -> Image:
    if image.mode in ("LA", "RGBA"):
        if not foreign_profile(profile):
            return image
        solid = _in_srgb(image.convert("RGB" if image.mode == "RGBA" else "L"), profile).convert("RGB")
        solid.putalpha(image.getchannel("A"))
        return solid
    if foreign_profile(profile):
        from PIL import ImageCms

        try:
            return _transformed(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError, ValueError):  # a broken one, or one of other channels
            pass
    return image.convert("RGB") if image.mode == "CMYK" else image


def _transformed(image: Image, source: Any) -> Image:
    from PIL import ImageCms

    made = ImageCms.profileToProfile(
        image,
        source or ImageCms.createProfile("LAB"),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert made is not None  # as it isn't made in place
    return made


def _flat(image: Image, background: str) -> Image:
    from PIL import Image as Pillow

    if image.mode not in ("LA", "RGBA"):
        return image
    canvas = Pillow.new("RGB", image.size, background)
    canvas.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return canvas


def _encoded(image: Image, recipe: Recipe, form: Literal["jpeg", "png"]) -> bytes:
    """The picture's bytes, with nothing in them but itself."""
    image.info = {}
    for quality in (recipe.quality, *(less for less in _QUALITIES if less < recipe.quality)):
        file = io.BytesIO()
        if form == "png":
            image.save(file, "PNG")
        else:
            fine = quality >= _ALL_COLOURS
            image.save(file, "JPEG", quality=quality, subsampling="4:4:4" if fine else "4:2:0")
        if file.tell() <= MADE_BYTES:
            return file.getvalue()
        if form == "png":
            break
    raise ImageError(
        f"prepared it has {file.tell():,} bytes, more than the {MADE_BYTES:,} that are sent; set max_pixels"
        f"{', or format: jpeg' if form == 'png' else ''}"
    )
