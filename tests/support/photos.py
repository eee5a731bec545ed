"""Pictures as cameras, phones and programs leave them. Each quarter of the scene has a colour of its own, so that whatever
is done to it shows which way up it is and what became of its colours."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from tests.support.profiles import ADOBE_RGB, DISPLAY_P3, profile_of

SIZE = (800, 500)
#: The scene's quarters: top left, top right, bottom left, bottom right.
SCENE = ((200, 40, 40), (40, 180, 60), (40, 60, 190), (230, 220, 60))
#: How the stored picture is turned for each orientation of EXIF so that it is seen upright.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
GPS = b"52.5200N-SECRET"


def scene(size: tuple[int, int] = SIZE) -> Image.Image:
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    width, height = size[0] // 2, size[1] // 2
    for number, colour in enumerate(SCENE):
        left, top = number % 2 * width, number // 2 * height
        draw.rectangle((left, top, left + width, top + height), fill=colour)
    return image


def quarters(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours in the middle of a picture's quarters, as numbers of red, green and blue."""
    image = image.convert("RGB")
    places = [(x, y) for y in (1, 3) for x in (1, 3)]
    found = [image.getpixel((image.width * x // 4, image.height * y // 4)) for x, y in places]
    return [tuple(map(int, colour)) for colour in found if isinstance(colour, tuple)]


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    if form == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    image.save(file, form, **options)
    return file.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    data = Image.Exif()
    data[274] = orientation
    data[270] = GPS.decode()
    data.get_ifd(0x8825)[1] = "N"
    return data


def phone_heic(orientation: int) -> bytes:
    """A HEIC as phones write it: its own property turns it, and its EXIF data say the same, which turn nothing more."""
    data = bytearray(turned(orientation, "HEIF", quality=95))
    quarters_left = {1: 0, 8: 1, 3: 2, 6: 3}[orientation]
    box = struct.pack(">I4sB", 9, b"irot", quarters_left)
    places = {name: data.index(name) - 4 for name in (b"meta", b"iprp", b"ipco", b"ipma", b"iloc", b"pitm")}

    def grow(name: bytes, by: int) -> None:
        (size,) = struct.unpack_from(">I", data, places[name])
        struct.pack_into(">I", data, places[name], size + by)

    at = places[b"iloc"] + 8
    assert data[at : at + 6] == b"\0\0\0\0\x44\x40", "another kind of iloc than is known here"
    item_count = int.from_bytes(data[at + 6 : at + 8])
    at += 8
    for _ in range(item_count):
        struct.pack_into(">I", data, at + 4, int.from_bytes(data[at + 4 : at + 8]) + 10)
        at += 10 + 8 * int.from_bytes(data[at + 8 : at + 10])
    (ipco_size,) = struct.unpack_from(">I", data, places[b"ipco"])
    number, step = 0, places[b"ipco"] + 8
    while step < places[b"ipco"] + ipco_size:
        number, step = number + 1, step + int.from_bytes(data[step : step + 4])
    primary = data[places[b"pitm"] + 12 : places[b"pitm"] + 14]
    entry = places[b"ipma"] + 16
    while data[entry : entry + 2] != primary:
        entry += 3 + data[entry + 2]
    count = data[entry + 2]
    data[entry + 2] += 1
    assert places[b"ipma"] > places[b"ipco"]
    data[entry + 3 + count : entry + 3 + count] = bytes([0x80 | number + 1])
    for name, by in ((b"ipma", 1), (b"ipco", 9), (b"iprp", 10), (b"meta", 10)):
        grow(name, by)
    data[places[b"ipco"] + ipco_size : places[b"ipco"] + ipco_size] = box
    return bytes(data)


def turned(orientation: int, form: str = "JPEG", **options: Any) -> bytes:
    turn = STORED[orientation]
    image = scene() if turn is None else scene().transpose(turn)
    return encoded(image, form, exif=exif(orientation), **options)


def inked(image: Image.Image) -> Image.Image:
    """The picture in the colours of printing, without a profile."""
    red, green, blue = image.split()
    none = Image.new("L", image.size)
    return Image.merge("CMYK", [*map(ImageChops.invert, (red, green, blue)), none])


def in_space(colorants: Any, name: str) -> bytes:
    """A JPEG of the scene as a camera stores it in another colour space: with that space's numbers and profile."""
    from PIL import ImageCms

    profile = profile_of(name, colorants)
    other = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(scene(), ImageCms.createProfile("sRGB"), other, outputMode="RGB")
    assert made is not None
    return encoded(made, "JPEG", quality=95, icc_profile=profile)


def camera_adobe() -> bytes:
    """A JPEG in Adobe RGB as some cameras leave it: without a profile, but with EXIF data that say so."""
    with Image.open(io.BytesIO(in_space(ADOBE_RGB, "Adobe RGB (1998)"))) as image:
        image.load()
    interoperability = struct.pack("<HHHI4sI", 1, 0x0001, 2, 4, b"R03", 0)
    details = struct.pack("<HHHIIHHIII", 2, 0xA001, 3, 1, 0xFFFF, 0xA005, 4, 1, 56, 0)
    first = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    data = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + details + interoperability
    return encoded(image.copy(), "JPEG", quality=95, exif=data, icc_profile=None)


def deep_png(image: Image.Image) -> bytes:
    """The picture as a PNG with 16 bits a channel, which Pillow itself doesn't write in colour."""
    rows = b"".join(
        b"\0"
        + bytes(
            value for channel in image.crop((0, y, image.width, y + 1)).tobytes() for value in (channel, 7)
        )
        for y in range(image.height)
    )
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", *image.size, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def kinds() -> Mapping[str, bytes]:
    """A picture of each kind that people have, by the name of its file; all of them show the scene."""
    clear = scene().convert("RGBA")
    odd = Image.new("RGB", SIZE, "black")
    mp4 = b"\0\0\0\x18ftypmp42" + GPS
    grey = Image.new("I;16", SIZE)
    grey.paste(scene().convert("L").convert("I").point(lambda value: value * 257), (0, 0))
    return {
        **{f"turned-{number}.jpg": turned(number) for number in range(1, 9)},
        "turned.png": turned(6, "PNG"),
        "turned.webp": turned(8, "WEBP", quality=95),
        "turned.avif": turned(6, "AVIF", quality=95),
        "phone.heic": phone_heic(6),
        "phone-upside-down.heic": phone_heic(3),
        "phone-burst.heic": encoded(scene(), "HEIF", quality=95, save_all=True, append_images=[odd.copy()]),
        "phone.mpo": encoded(scene(), "MPO", save_all=True, append_images=[odd.copy()], exif=exif()),
        "motion.jpg": turned(1) + mp4,
        "thumbnail.jpg": turned(1) + encoded(odd.copy(), "JPEG"),
        "progressive.jpg": encoded(scene(), "JPEG", progressive=True, exif=exif()),
        "cmyk.jpg": encoded(inked(scene()), "JPEG", quality=95, comment=GPS),
        "p3.jpg": in_space(DISPLAY_P3, "Display P3"),
        "adobe.jpg": in_space(ADOBE_RGB, "Adobe RGB (1998)"),
        "camera-adobe.jpg": camera_adobe(),
        "deep.png": deep_png(scene()),
        "clear.png": encoded(clear, "PNG"),
        "palette.png": encoded(scene().quantize(8), "PNG"),
        "interlaced.gif": encoded(scene().quantize(8), "GIF", interlace=True),
        "animated.gif": encoded(scene().quantize(8), "GIF", save_all=True, append_images=[odd.quantize(8)]),
        "animated.webp": encoded(scene(), "WEBP", quality=95, save_all=True, append_images=[odd.copy()]),
        "animated.png": encoded(scene(), "PNG", save_all=True, append_images=[odd.copy()]),
        "lossless.webp": encoded(clear, "WEBP", lossless=True),
        "pages.tiff": encoded(
            scene(), "TIFF", save_all=True, append_images=[odd.copy()], compression="tiff_lzw"
        ),
        "turned.tiff": encoded(scene().transpose(Image.Transpose.ROTATE_90), "TIFF", tiffinfo={274: 6}),
        "jpeg.tiff": encoded(scene(), "TIFF", compression="jpeg", quality=95),
        "cmyk.tiff": encoded(inked(scene()), "TIFF"),
        "screen.bmp": encoded(scene(), "BMP"),
        "palette.bmp": encoded(scene().quantize(8), "BMP"),
    }
