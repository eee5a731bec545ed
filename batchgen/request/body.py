"""The body of a create: a stream of known length that fails where an image isn't the one that was checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pybase64
import xxhash

from batchgen.errors import ImageError
from batchgen.images.inspection import CHUNK, opened
from batchgen.models import ImageFile
from batchgen.request.json_text import json_bytes

# Bytes of a file that are read at a time: 128 KiB of Base64. It is a multiple of 3, so only the end is padded.
READ = 3 * 32 * 1024
LONG = 256 * 1024  # characters; a longer text is encoded in pieces


# A part of a body: encoded JSON, a long text still to be escaped, or a file still to be read.
Part = bytes | str | ImageFile


class Body:
    """The JSON of one create. Its files are encoded as Base64 while it is sent; it is never whole in memory.

    ``fields`` is the request with its ``external_task_id``. ``length`` is the exact number of bytes that
    :meth:`pieces` yields, ``files`` are the files that it reads. Empty lists are left out: they ask for nothing, but the
    API may count them as given beside a field that excludes them. A request's identity keeps them: ids never change.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._parts = _merged(_parts({name: value for name, value in fields.items() if value != []}))
        self.files = [part for part in self._parts if isinstance(part, ImageFile)]
        self.length = sum(map(_length, self._parts))

    def texts(self) -> Iterator[str]:
        """Everything that is sent, except for the files."""
        for part in self._parts:
            if not isinstance(part, ImageFile):
                yield part if isinstance(part, str) else part.decode()

    def pieces(self) -> Generator[bytes, None, None]:
        """The body from its start; each call reads the files anew.

        Raises ImageError, naming the file, where a file isn't what was checked, and always before the last piece:
        a request with a wrong image stays incomplete, so the API can't accept it. Closing the generator closes its file.
        """
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            elif isinstance(part, str):
                yield from _escaped(part)
            else:
                assert part.recipe is None, "a picture is sent as it lies that is to be prepared"
                try:
                    yield from _verified_base64(part)
                except ImageError as error:
                    raise ImageError(f"{part.path}: {error}") from error


def fetch(image: ImageFile, secret: bytes = b"") -> None:
    """Read a file once, so that it is in the system's cache and :meth:`Body.pieces` doesn't wait for a disk.

    Raises ImageError where the file holds ``secret``; any other error is left for :meth:`Body.pieces` to raise.
    """
    held, end = False, b""
    with suppress(ImageError), opened(image.path, image.within) as (file, _):
        for _ in range(0, image.size, CHUNK):
            piece = os.read(file, CHUNK)
            if secret:
                held = held or secret in piece or secret in end + piece[: len(secret)]
                end = piece[-len(secret) :]
    if held:
        raise ImageError(f"{image.path}: the file holds the API key, so it is not sent")


def _parts(value: Any) -> Iterator[Part]:
    if _is_short(value):
        yield json_bytes(value)
    elif isinstance(value, Mapping):
        for index, (key, item) in enumerate(value.items()):
            yield (b"," if index else b"{") + json_bytes(key) + b":"
            yield from _parts(item)
        yield b"}"
    elif isinstance(value, list | tuple) and not isinstance(value, ImageFile):
        for index, item in enumerate(value):
            yield b"," if index else b"["
            yield from _parts(item)
        yield b"]"
    else:
        yield b'"'
        yield value
        yield b'"'


def _is_short(value: Any) -> bool:
    """Whether a value is encoded in one piece: it has neither files nor long texts."""
    if isinstance(value, str):
        return len(value) <= LONG
    if isinstance(value, Mapping):
        return all(map(_is_short, value.values()))
    if isinstance(value, ImageFile):
        return False
    return not isinstance(value, list | tuple) or all(map(_is_short, value))


def _merged(parts: Iterable[Part]) -> list[Part]:
    """The parts with neighbouring bytes joined; the last part is bytes, and never empty."""
    merged: list[Part] = []
    ready: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            ready.append(part)
        else:
            merged += (b"".join(ready), part)
            ready.clear()
    return [*merged, b"".join(ready)]


def _length(part: Part) -> int:
    if isinstance(part, bytes):
        return len(part)
    if isinstance(part, str):
        return sum(map(len, _escaped(part)))
    return (part.size + 2) // 3 * 4


def _escaped(text: str) -> Iterator[bytes]:
    """A text as the inside of a JSON string, in pieces; each character is escaped alone, so it can be cut anywhere."""
    for start in range(0, len(text), LONG):
        yield json_bytes(text[start : start + LONG])[1:-1]


def _verified_base64(image: ImageFile) -> Iterator[bytes]:
    """The Base64 of a file's bytes, in pieces. Raises ImageError, after the last at the latest, if the bytes changed."""
    checked = image.xxh3 or image.sha256
    hasher = xxhash.xxh3_128() if image.xxh3 else hashlib.sha256()
    changed = "the file changed since it was checked"
    buffer = memoryview(bytearray(min(READ, image.size)))
    with opened(image.path, image.within) as (file, status):
        if status.st_size != image.size:
            raise ImageError(f"{changed}: {image.size:,} bytes then, {status.st_size:,} now")
        for start in range(0, image.size, READ):
            wanted = buffer[: image.size - start]
            filled = 0
            while filled < len(wanted):
                if not (count := os.readv(file, [wanted[filled:]])):
                    raise ImageError(f"{changed}: it became shorter")
                filled += count
            hasher.update(wanted)
            yield pybase64.b64encode(wanted)
        if os.read(file, 1):
            raise ImageError(f"{changed}: it grew")
    if hasher.hexdigest() != checked:
        raise ImageError(f"{changed}: its bytes are others")
