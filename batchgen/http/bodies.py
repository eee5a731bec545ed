"""What an answer's headers say of its body: which bytes these are, how they are packed, and what they must come to.

A clip's host may say all this in a dozen ways, or in none; what can't be read is as good as not said.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

WINDOW = 1 << 20  # bytes that a packed piece is unpacked by at once
MAX_RETRY_AFTER = 3600.0  # seconds that a Retry-After may ask for

#: Names of digests, as headers spell them, in small letters.
ALGORITHMS: Mapping[str, str] = {
    "md5": "md5",
    "sha": "sha1",
    "sha1": "sha1",
    "sha-1": "sha1",
    "sha256": "sha256",
    "sha-256": "sha256",
    "sha512": "sha512",
    "sha-512": "sha512",
}
#: What is named to people as it is told.
KNOWN_TYPES = frozenset(
    {
        *(
            "text/html",
            "text/plain",
            "text/xml",
            "application/xml",
            "application/json",
            "application/octet-stream",
        ),
        *("image/jpeg", "image/png", "image/webp", "video/mp4"),
    }
)
KNOWN_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate", "compress", "br", "zstd"})
_RANGE = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)
_PAIR = re.compile(r'\s*([A-Za-z0-9-]+)=:?"?([A-Za-z0-9+/_-]+=*)"?:?\s*')


class Span(NamedTuple):
    """The bytes that a body is of its whole: from ``start`` up to, without, ``end``; ``total`` is None where not said."""

    start: int
    end: int
    total: int | None


def span(headers: Mapping[str, str]) -> Span | None:
    """What ``Content-Range`` says; None where it says nothing that can be."""
    found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None:
        return None
    start, last, total = int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])
    return Span(start, last + 1, total) if start <= last and (total is None or last < total) else None


def validator(headers: Mapping[str, str]) -> str | None:
    """What ``If-Range`` asks with: a strong ETag, else the time of the last change; None for what can't be sent back."""
    tag = headers.get("ETag", "").strip()
    found = tag if re.fullmatch(r'"[^"]*"', tag) else headers.get("Last-Modified")
    return found if found and found.isascii() and found.isprintable() else None


def digests(headers: Mapping[str, str]) -> dict[str, str]:
    """The digests of a whole, unpacked body that headers tell: name for :mod:`hashlib` -> hex."""
    told = [("md5", headers.get("Content-MD5", ""))]
    for name in ("Digest", "Content-Digest", "Repr-Digest", "x-goog-hash", "x-ms-blob-content-md5"):
        value = headers.get(name, "")
        told += [pair.groups() for part in value.split(",") if (pair := _PAIR.fullmatch(part))]  # type: ignore[misc]
    told += [(name, headers.get(f"x-amz-checksum-{name}", "")) for name in ("sha1", "sha256")]
    found = {}
    for spelt, value in told:
        name = ALGORITHMS.get(spelt.lower(), "")
        if name and (digest := _hex(value, hashlib.new(name, usedforsecurity=False).digest_size)):
            found[name] = digest
    tag = headers.get("ETag", "").strip('"')
    plain = headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
    plain = plain and not any(name.lower().endswith("customer-algorithm") for name in headers)
    store = headers.get("Server", "") in ("AmazonS3", "AliyunOSS") or "x-amz-request-id" in headers
    if store and plain and re.fullmatch("[0-9A-Fa-f]{32}", tag):  # elsewhere, a tag may be anything
        found.setdefault("md5", tag.lower())
    return found


def _hex(value: str, size: int) -> str | None:
    """A digest of so many bytes, which may be spelt in Base64 or in hex."""
    if re.fullmatch(f"[0-9A-Fa-f]{{{2 * size}}}", value):
        return value.lower()
    try:
        raw = base64.b64decode(value, altchars=b"-_" if re.search("[-_]", value) else None, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == size else None


def retry_after(value: str | None, now: float) -> float | None:
    """``Retry-After`` in seconds, at most an hour: a number, or a date as seen from ``now`` (Unix seconds)."""
    if not value:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value.strip()):
        return min(float(value), MAX_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), MAX_RETRY_AFTER)


def answered_at(headers: Mapping[str, str]) -> float | None:
    """When the server says that it answered (Unix seconds), which its Retry-After counts from."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return None


def content_type(headers: Mapping[str, str]) -> str:
    """A body's type for people, in brackets: one that is known, or nothing. A stranger's own words are never shown."""
    told = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return f" ({told})" if told in KNOWN_TYPES else ""


def packing(headers: Mapping[str, str]) -> str:
    """How a body is said to be packed, for people; empty where it isn't."""
    told = headers.get("Content-Encoding", "").strip().lower()
    return told and (f"as {told}" if told in KNOWN_ENCODINGS else "in a way that nobody knows")


def unpacked(body: bytes, packing: str, *, largest: int) -> bytes | None:
    """A body as it was before it was packed as its headers say; None where that can't be told, or it is larger."""
    for method in reversed([one.strip().lower() for one in packing.split(",")]):
        if method in ("", "identity"):
            continue
        if method not in ("gzip", "x-gzip", "deflate"):
            return None
        for window in (47, -15):  # gzip or zlib; deflate without its head, as some send it
            stream = zlib.decompressobj(window)
            try:
                plain = stream.decompress(body, largest)
            except zlib.error:
                continue
            if not stream.eof or stream.unconsumed_tail:
                return None
            body = plain
            break
        else:
            return None
    return body


def unpacker(
    headers: Mapping[str, str], start: bytes, looks_plain: Callable[[bytes], bool]
) -> Unpacker | None:
    """What unpacks a body that came packed, though nobody asked for that; None where its first bytes are plain."""
    encoding = headers.get("Content-Encoding", "").lower()
    if start[:3] == b"\x1f\x8b\x08":  # whatever its headers say
        return Unpacker(zlib.MAX_WBITS | 16)
    if "deflate" in encoding and not looks_plain(start):
        zipped = len(start) > 1 and start[0] & 15 == 8 and int.from_bytes(start[:2], "big") % 31 == 0
        return Unpacker(zlib.MAX_WBITS if zipped else -zlib.MAX_WBITS)
    return None


class Unpacker:
    """Unpacks a body, a bounded piece at a time. Raises ValueError where it isn't what it should be."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._stream = zlib.decompressobj(window)

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """What these further bytes unpack to."""
        try:
            while packed:
                if self._stream.eof:  # another member follows, as gzip allows
                    self._stream = zlib.decompressobj(self._window)
                yield self._stream.decompress(packed, WINDOW)
                packed = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error as error:
            raise ValueError(f"it came packed, and can't be unpacked: {error}") from None

    def end(self) -> bytes:
        """What is left when there is no more. Raises ValueError where something is missing."""
        left = self._stream.flush()
        if not self._stream.eof:
            raise ValueError("it came packed, and ends early")
        return left
