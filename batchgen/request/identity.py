"""A create request: what it is (canonical JSON, digest, ``external_task_id``) and how it is sent (a streamed body).

Identities must come out the same on every machine and in every later version, or work would be paid twice: golden
tests hold them. Even Unicode is pinned: its tables grow with Python's versions, the ones of Unicode 3.2 never do.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import orjson
import pybase64
import xxhash

from batchgen.errors import ImageError
from batchgen.images.inspection import CHUNK, decoded, opened
from batchgen.models import ImageFile
from batchgen.names import composed, unicode_3_2
from batchgen.request import schema

IMAGE_FIELDS = ("image", "image_tail", "static_mask")  # and dynamic_masks[].mask
NOT_THE_CLIP = ("callback_url", "external_task_id")  # fields that don't shape it
READ = 3 * 32 * 1024  # bytes of a file at a time, 128 KiB of Base64; threes, so that it pads only at the end
LONG = 256 * 1024  # characters; a longer text is encoded on its way out

_compact = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
_compact_sorted = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), sort_keys=True
).encode
_SURROGATE = re.compile("[\ud800-\udfff]")


@cache
def defaults() -> Mapping[str, Any]:
    """The values that the specification gives to fields left out."""
    fields = schema.load("request")["properties"]
    return {name: field["default"] for name, field in fields.items() if "default" in field}


def is_url(text: str) -> bool:
    """Whether an image's text goes to the API as a URL (else it is Base64)."""
    start = text[:8]
    return start == "https://" or start.lower().startswith(("http://", "https://"))


def image_values(request: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value that stands where the API takes an image, with its path. The request may be unchecked."""
    for name in IMAGE_FIELDS:
        if name in request:
            yield (name,), request[name]
    masks = request.get("dynamic_masks")
    for index, mask in enumerate(masks if isinstance(masks, list) else ()):
        if isinstance(mask, Mapping) and "mask" in mask:
            yield ("dynamic_masks", index, "mask"), mask["mask"]


def canonical(request: Mapping[str, Any]) -> str:
    """The checked request as the one JSON text that stands for everything that shapes its clip.

    Keys are sorted, numbers have one spelling, defaults are filled in, and an image is ``{"sha256": hex}`` of its
    bytes, be it a file or inline Base64; a URL stays text, because what is behind it isn't known.
    """
    fields = {**defaults(), **request}
    for name in NOT_THE_CLIP:
        fields.pop(name, None)
    for name in IMAGE_FIELDS:
        if name in fields:
            fields[name] = _by_content(fields[name])
    if "dynamic_masks" in fields:
        fields["dynamic_masks"] = [
            {**mask, "mask": _by_content(mask["mask"])} for mask in fields["dynamic_masks"]
        ]
    alike = True
    for name in request:  # the defaults are plain
        if name in fields and type(fields[name]) is not str:
            fields[name] = _plain(fields[name])
            alike = alike and _is_alike(fields[name])
    if alike:
        try:
            return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode()
        except orjson.JSONEncodeError:  # half a surrogate pair, or a number of more than 64 bits
            pass
    return _sendable(_compact_sorted(fields))


def asked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a request, or its canonical form, asks for in a person's words.

    ``prompt`` is the shots' texts, a line each, where there are shots; ``image`` is the URL, if it is one, and
    ``image_sha256`` the digest of the picture's bytes otherwise.
    """
    fields = {**defaults(), **fields}
    shots = fields.get("multi_prompt") or ()
    image = fields.get("image", fields.get("image_tail"))
    return {
        "prompt": fields.get("prompt") or "\n".join(str(shot.get("prompt", "")) for shot in shots) or None,
        "image": image if isinstance(image, str) and is_url(image) else None,
        "image_sha256": image["sha256"] if isinstance(image, dict) else getattr(image, "sha256", None),
        "mode": fields.get("mode"),
        "duration": fields.get("duration"),
        "sound": fields.get("sound"),
    }


def is_request(fields: Any) -> bool:
    """Whether what was read again as a canonical form has all that is asked of one later (:func:`asked`)."""
    if type(fields) is not dict:
        return False
    shots, image = fields.get("multi_prompt"), fields.get("image", fields.get("image_tail"))
    return (
        all(type(fields.get(name)) is str for name in ("mode", "duration"))
        and type(fields.get("prompt") or "") is str
        and type(fields.get("watermark_info") or {}) is dict
        and (shots is None or (type(shots) is list and all(type(shot) is dict for shot in shots)))
        and (type(image) is not dict or type(image.get("sha256")) is str)
    )


def canonical_text(fields: Any) -> str:
    """The text that :func:`canonical` gave, from what it says as JSON."""
    return _sendable(_compact_sorted(fields))


def digest(canonical_text: str) -> str:
    """SHA-256 (hex) of a canonical text."""
    return hashlib.sha256(canonical_text.encode()).hexdigest()


def external_task_id(manifest: str, job_id: str, take: int, digest: str) -> str:
    """``MANIFEST.JOB.HEX``: readable parts of two names, and 80 bits of a digest over the names, take and content.

    At most 78 characters, all of them unreserved in URLs, and never a ``~``: that is the mark of a retry. File
    systems spell accents in two ways, so names are compared composed (NFC).
    """
    manifest, job_id = composed(manifest), composed(job_id)
    identity = _json([manifest, job_id, take, digest])
    return f"{_slug(manifest, 24)}.{_slug(job_id, 32)}.{hashlib.sha256(identity).hexdigest()[:20]}"


def _slug(name: str, longest: int) -> str:
    if not name.isascii():
        name = "".join(c for c in unicode_3_2.normalize("NFKD", name) if not unicode_3_2.combining(c))
    if not (name.isascii() and name.isalnum()):
        name = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:longest].rstrip("-")
    return name[:longest] or "x"


def _by_content(image: str | ImageFile) -> str | dict[str, str]:
    if isinstance(image, ImageFile):
        return {"sha256": image.sha256}
    if is_url(image):
        return image
    sha256 = hashlib.sha256()
    for piece in decoded(image):
        sha256.update(piece)
    return {"sha256": sha256.hexdigest()}


def _plain(value: Any) -> Any:
    """The value with one spelling for every number: 1.0 is 1."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _is_alike(value: Any) -> bool:
    """Whether orjson spells the value as the standard library does, which identities are made with: all but floats
    far from one, and whatever else may come.
    """
    if isinstance(value, float):
        return 0.001 <= abs(value) <= 1000
    if isinstance(value, dict | list):
        return all(map(_is_alike, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str | int)


def _sendable(text: str) -> str:
    """JSON text that UTF-8 can encode: half a surrogate pair, which it can't, becomes JSON's own escape."""
    return text if text.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


# A part of a body: JSON that is ready, a long text still to be escaped, or a file still to be read.
Part = bytes | str | ImageFile


class Body:
    """The JSON of one create, with the Base64 of its files made on the way out; it is never whole in memory.

    ``fields`` is the request with its ``external_task_id``. ``length`` is the exact number of bytes that
    :meth:`pieces` yields, ``files`` what it reads on the way. Empty lists are left out: they ask for nothing, but the
    API may take them for given beside what excludes them. A request's identity keeps them, as ids are for ever.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._parts = _merged(_parts({name: value for name, value in fields.items() if value != []}))
        self.files = [part for part in self._parts if isinstance(part, ImageFile)]
        self.length = sum(map(_length, self._parts))

    def texts(self) -> Iterator[str]:
        """All that is sent but the files."""
        for part in self._parts:
            if not isinstance(part, ImageFile):
                yield part if isinstance(part, str) else part.decode()

    def pieces(self) -> Generator[bytes, None, None]:
        """The body from its start; each call is a new reading of the files.

        Raises ImageError, naming the file, where a file isn't what was checked, and always before the last piece:
        a request with a wrong image stays incomplete, so the API can't accept it. Files are closed when the
        generator is.
        """
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            elif isinstance(part, str):
                yield from _escaped(part)
            else:
                try:
                    yield from _proven_base64(part)
                except ImageError as error:
                    raise ImageError(f"{part.path}: {error}") from error


def fetch(image: ImageFile, secret: bytes = b"") -> None:
    """Read a file once, so that the system has it at hand and :meth:`Body.pieces` waits for no disk.

    What is wrong with it is left to that to say, but that it holds a ``secret``: then this raises ImageError.
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
        yield _json(value)
    elif isinstance(value, Mapping):
        for index, (key, item) in enumerate(value.items()):
            yield (b"," if index else b"{") + _json(key) + b":"
            yield from _parts(item)
        yield b"}"
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield b"," if index else b"["
            yield from _parts(item)
        yield b"]"
    else:
        yield b'"'
        yield value
        yield b'"'


def _is_short(value: Any) -> bool:
    """Whether the value's JSON can be made at once."""
    if isinstance(value, str):
        return len(value) <= LONG
    if isinstance(value, Mapping):
        return all(map(_is_short, value.values()))
    return all(map(_is_short, value)) if isinstance(value, list | tuple) else not isinstance(value, ImageFile)


def _merged(parts: Iterable[Part]) -> list[Part]:
    """The same with neighbours that are ready joined into one, so the last is never empty."""
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


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # half a surrogate pair, or a number of more than 64 bits
        return _sendable(_compact(value)).encode()


def _escaped(text: str) -> Iterator[bytes]:
    """A string's inside in JSON, in pieces: every character is escaped for itself, so any cut is a good one."""
    for start in range(0, len(text), LONG):
        yield _json(text[start : start + LONG])[1:-1]


def _proven_base64(image: ImageFile) -> Iterator[bytes]:
    """The Base64 of a file's bytes, in pieces. Raises ImageError, after the last at the latest, if they are others."""
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
