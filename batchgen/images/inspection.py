"""Inspects an image in one pass over its bytes: format, size, whether it is whole, and its digests.

The headers are read here rather than by an imaging library: a library decodes pixels or stops after the header,
so finding a truncated file would take a second pass, and a folder of 100,000 images has to be checked in seconds.
Bytes are read in chunks of 1 MiB and hashed; no more of the file is in memory.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import pybase64
import xxhash

from batchgen.errors import ImageError, Unfinished
from batchgen.escapes import excerpt
from batchgen.files import Folders, open_nonblocking
from batchgen.models import ImageFile, Within

# "must not exceed 10MB" can mean 10,000,000 bytes or 10 MiB. The larger limit is used: a create that the API refuses
# costs nothing and is reported, while an image that is refused here could never be sent.
MAX_BYTES = 10 * 1024 * 1024  # bytes
MIN_SIDE = 300  # pixels
MAX_RATIO = (5, 2)  # the longer side to the shorter one
CHUNK = 1 << 20  # bytes

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
ACCEPTED = "the API takes PNG and JPEG"

# Other formats that people have in their folders: (offset, bytes there, name).
_OTHERS = (
    (8, b"WEBP", "a WebP image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"BM", "a BMP image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyphe", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftypmsf1", "a HEIC image"),
    (4, b"ftyp", "a video"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"JXL ", "a JPEG XL image"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"version https://git-lfs", "a Git LFS pointer (run git lfs pull)"),
    (0, b"iVBORw0KGgo", "Base64 text (decode it into a file, or put the text itself into the manifest)"),
    (0, b"/9j/", "Base64 text (decode it into a file, or put the text itself into the manifest)"),
    (0, b"data:", "a data: URL saved as text"),
)
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!doctype|html|svg|!--)", re.IGNORECASE)

# The markers of a JPEG that begin something. 0xFF00 is a stuffed pixel byte, 0xFFFF is filling, 0xFF01 and the restarts
# (D0 to D7) stand alone and may come anywhere.
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_ORIENTATION = 0x0112  # the tag
EXIF_BYTES = 4096  # bytes of EXIF data to look for it in; it stands at their start
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn; the three others are tables
_KNOWN_MARKERS = frozenset(range(0xC0, 0xFF))  # below, nothing is defined that has a length


class Header(NamedTuple):
    """What was read already of a picture that is to be prepared: of any format and size."""

    format: str
    width: int
    height: int
    orientation: int


def inspect(
    path: str, within: Within | None = None, folders: Folders | None = None, header: Header | None = None
) -> ImageFile:
    """Read an image file once and check it. Raises ImageError, and Unfinished, with the reason but without the path.

    With ``folders``, its folder may be open already from the image before. With a ``header`` it needn't be as the API takes
    it, and of other formats than its own only the digests are taken.
    """
    with opened(path, within, folders) as (file, before):
        if before.st_size > MAX_BYTES and header is None:
            raise ImageError(_too_large(before.st_size))
        source = _Source(_chunks(file, before.st_size))
        try:
            form, width, height, orientation = header or _measure(source)
            if header is not None and form in ("png", "jpeg"):
                _measure(source, limits=False)
        except Unfinished as error:
            raise Unfinished(str(error), before.st_mtime) from None
        digest, xxh3 = source.finish()
        after = os.fstat(file)
    if source.size != before.st_size or _version(after) != _version(before):
        raise Unfinished("the file changed while it was read; is something still writing it?", math.inf)
    changed = _changed_ns(before)
    return ImageFile(
        path, source.size, changed, before.st_ino, digest, form, width, height, orientation, xxh3, within
    )


def inspect_base64(text: str) -> ImageFile:
    """Check an image given as Base64; the result's ``path`` is empty, its ``mtime_ns`` and ``inode`` 0. Raises ImageError."""
    source = _Source(decoded(text))
    form, width, height, orientation = _measure(source)
    digest, _ = source.finish()
    return ImageFile("", source.size, 0, 0, digest, form, width, height, orientation)


def _changed_ns(status: os.stat_result) -> int:
    """When the file was changed last, in nanoseconds: its mtime can be set back, its ctime can't."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


def is_acceptable(image: ImageFile) -> bool:
    """Whether an image that was inspected is one that the API takes as it lies."""
    try:
        _check_sides(image.width, image.height)
    except ImageError:
        return False
    return image.format in ("png", "jpeg") and image.size <= MAX_BYTES


def unchanged(image: ImageFile) -> bool:
    """Whether the file still has the size, time and inode of its inspection. Its bytes are compared when it is sent."""
    try:
        status = os.stat(image.path)
    except (OSError, ValueError):
        return False  # whoever inspects it again gets the reason
    now = (status.st_size, _changed_ns(status), status.st_ino)
    return stat.S_ISREG(status.st_mode) and now == (image.size, image.mtime_ns, image.inode)


@contextmanager
def opened(
    path: str, within: Within | None, folders: Folders | None = None
) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file: its descriptor and its status. Every OSError, also while it is read, becomes an ImageError.

    Only a lack of descriptors stays an OSError: no image is at fault. A named pipe isn't waited for. With ``within``, what
    leads out of its folders isn't opened.
    """
    try:
        if folders is None or within is None:
            file = open_nonblocking(path, os.O_RDONLY, within)
        else:
            file = folders.open(path, os.O_RDONLY, within)
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        if error.errno == errno.EXDEV:
            raise ImageError(error.strerror) from error
        raise ImageError(f"the file can't be opened: {error.strerror}") from error
    except ValueError as error:  # a NUL, or a character that no file name has here
        raise ImageError(f"this can't be a file's name: {error}") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"it is {_kind(status.st_mode)}, not an image file")
        yield file, status
    except OSError as error:
        raise ImageError(f"the file can't be read: {error.strerror}") from error
    finally:
        os.close(file)


def decoded(text: str) -> Iterator[bytes]:
    """Decode strict, standard Base64, in pieces. Raises ImageError, also where the image would be too large."""
    padding = 2 if text.endswith("==") else int(text.endswith("="))
    if len(text) // 4 * 3 - padding > MAX_BYTES:
        raise ImageError(_too_large(len(text) // 4 * 3 - padding))
    if not text or len(text) % 4 or text.find("=", 0, len(text) - 2) >= 0:
        raise ImageError(_not_base64(text))
    for start in range(0, len(text), CHUNK):
        try:
            yield pybase64.b64decode(text[start : start + CHUNK], validate=True)
        except ValueError:
            raise ImageError(_not_base64(text)) from None


def _not_base64(text: str) -> str:
    if not text:
        return "it is empty"
    if text[:5].lower() == "data:":
        prefix = text[: text.find(",", 0, 100) + 1] or "data:"
        return f'the API takes Base64 without a prefix: leave out "{excerpt(prefix)}"'
    if odd := re.search(r"[^A-Za-z0-9+/=]", text):
        if odd[0].isspace():
            return "its Base64 has spaces or line breaks in it; write it in one piece, or give a file's path"
        if odd[0] in "-_":
            return f'its Base64 is the URL-safe kind ("{odd[0]}" in it); the API takes the standard one ("+", "/")'
        return f"it is not Base64: {odd[0]!a} at character {odd.start() + 1}"
    return 'its Base64 is cut off, or the "=" at its end are missing or too many'


def _too_large(size: int) -> str:
    return f"{size:,} bytes: an image must not exceed 10 MB ({MAX_BYTES:,} bytes)"


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a named pipe" if stat.S_ISFIFO(mode) else "a device or socket"


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _chunks(file: int, size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := os.read(file, min(CHUNK, size))):
        size -= len(chunk)
        yield chunk


class _Source:
    """A stream of bytes that is hashed as it is read. ``size`` is the number of bytes so far."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.size = 0
        self._chunks = chunks
        self._digest = hashlib.sha256()
        self._xxh3 = xxhash.xxh3_128()
        self._buffer = b""
        self._at = 0

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        self._digest.update(chunk)
        self._xxh3.update(chunk)
        self.size += len(chunk)
        rest = self._buffer[self._at :]
        self._buffer, self._at = rest + chunk if rest else chunk, 0
        return bool(chunk)

    def _need(self) -> None:
        if not self._more():
            raise Unfinished(f"the image is cut off: it ends after {self.size:,} bytes")

    def peek(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end, without consuming them."""
        while len(self._buffer) - self._at < count and self._more():
            pass
        return self._buffer[self._at : self._at + count]

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, which should be few. Raises Unfinished where there are less."""
        while len(self._buffer) - self._at < count:
            self._need()
        self._at += count
        return self._buffer[self._at - count : self._at]

    def skip(self, count: int, crc: int = 0) -> int:
        """Skip ``count`` bytes and return ``crc`` continued over them. Raises Unfinished where there are less."""
        while True:
            view = memoryview(self._buffer)[self._at : self._at + count]
            crc = zlib.crc32(view, crc)
            self._at += len(view)
            count -= len(view)
            if not count:
                return crc
            self._need()

    def next_marker(self) -> int:
        """Skip to behind the next JPEG marker and return the marker's second byte. Raises Unfinished."""
        while not (found := _MARKER.search(self._buffer, self._at)):
            self._at = max(self._at, len(self._buffer) - 1)  # the last byte may be a marker's first
            self._need()
        self._at = found.end()
        return self._buffer[self._at - 1]

    def finish(self) -> tuple[str, str]:
        """Read the rest and return the SHA-256 and the XXH3 (hex) of all bytes."""
        self._at = len(self._buffer)
        while self._more():
            self._at = len(self._buffer)
        return self._digest.hexdigest(), self._xxh3.hexdigest()


def _measure(source: _Source, *, limits: bool = True) -> tuple[str, int, int, int]:
    """Format, width, height and orientation of an image. Raises ImageError where it isn't whole, or beyond the API's limits."""
    head = source.peek(512)
    if head.startswith(PNG):
        return "png", *_measure_png(source, limits)
    if head.startswith(JPEG):
        return "jpeg", *_measure_jpeg(source, limits)
    raise ImageError(f"{kind_of(head)}; {ACCEPTED}")


def kind_of(head: bytes) -> str:
    """What a file is that is neither PNG nor JPEG, by its first 512 bytes. Raises Unfinished for one without content."""
    if not head:
        raise Unfinished("the file is empty")
    if not head.strip(b"\0"):
        raise Unfinished("the file begins with zero bytes, as one does that isn't written yet")
    for offset, start, name in _OTHERS:
        if head.startswith(start, offset):
            return f"it is {name}"
    if _MARKUP.match(head):
        return "it is an SVG drawing" if b"<svg" in head.lower() else "it is an HTML or XML page"
    return "it is neither PNG nor JPEG"


def _measure_png(source: _Source, limits: bool) -> tuple[int, int, int]:
    """Read the chunks up to IEND. Critical chunks must have the right checksum."""
    source.read(len(PNG))
    if source.read(8) != b"\0\0\0\x0dIHDR":
        raise ImageError("the PNG is damaged: it doesn't start with its header")
    header = source.read(13)
    if zlib.crc32(header, zlib.crc32(b"IHDR")) != int.from_bytes(source.read(4)):
        raise ImageError("the PNG is damaged: its header's checksum is wrong")
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    if limits:
        _check_sides(width, height)
    orientation = 1
    pixels = False
    while True:
        start = source.read(8)
        length, name = int.from_bytes(start[:4]), start[4:]
        if not (name.isalpha() and name.isascii()):
            raise Unfinished("the PNG is damaged: something that is no chunk stands between its chunks")
        if name == b"eXIf":
            orientation = orientation_of(source.peek(min(length, EXIF_BYTES)))
        crc = source.skip(length, zlib.crc32(name))
        if crc != int.from_bytes(source.read(4)) and name[:1].isupper():
            raise Unfinished(f"the PNG is damaged: a checksum is wrong ({name.decode()})")
        pixels = pixels or name == b"IDAT"
        if name == b"IEND":
            break
    if not pixels:
        raise ImageError("the PNG is damaged: it has no pixels")
    return width, height, orientation


def _measure_jpeg(source: _Source, limits: bool) -> tuple[int, int, int]:
    """Read the markers up to the end of the first picture.

    Segments are skipped by their length, so a thumbnail inside of one is never mistaken for the picture. What follows
    the end (a phone's second picture, or its video) is ignored.
    """
    source.read(2)
    sides: tuple[int, int] | None = None
    orientation = 1
    pixels = False
    while (marker := source.next_marker()) != _EOI:
        if marker == _SOI or marker not in _KNOWN_MARKERS:
            raise ImageError(f"the JPEG is damaged: a marker stands where none may (FF{marker:02X})")
        length = int.from_bytes(source.read(2)) - 2
        if length < 0 or (marker in _FRAMES and length < 6):
            raise ImageError(f"the JPEG is damaged: a segment is too short (FF{marker:02X})")
        if marker in _FRAMES and sides is None:
            frame = source.read(6)
            length -= 6
            sides = int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3])
            if limits:
                _check_sides(*sides)
        elif marker == _APP1 and (exif := source.peek(min(length, EXIF_BYTES))).startswith(b"Exif\0\0"):
            orientation = orientation_of(exif[6:])
        pixels = pixels or marker == _SOS
        source.skip(length)
    if sides is None or not pixels:
        raise ImageError("the JPEG is damaged: it has no pixels")
    return *sides, orientation


def orientation_of(exif: bytes) -> int:
    """The orientation in EXIF data (a TIFF header and its first list of tags), 1 to 8; 1, upright, where there is none."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    at = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[at : at + 2], order)
    for start in range(at + 2, min(at + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[start : start + 2], order) == _ORIENTATION:
            value = int.from_bytes(exif[start + 8 : start + 10], order)
            return value if value in range(1, 9) else 1
    return 1


def _check_sides(width: int, height: int) -> None:
    short, long = sorted((width, height))
    if short < MIN_SIDE:
        raise ImageError(f"{width}x{height}: each side must be at least {MIN_SIDE} px")
    if long * MAX_RATIO[1] > short * MAX_RATIO[0]:
        raise ImageError(f"{width}x{height}: the ratio of the sides must be between 1:2.5 and 2.5:1")
