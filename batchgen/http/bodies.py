"""What an answer's headers say about its body: its range, its encoding, its digests, its type; and how it is unpacked.

Hosts say these things in many ways, or not at all; a header that can't be read counts as absent.
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

WINDOW = 1 << 20  # bytes that are unpacked at a time
MAX_RETRY_AFTER = 3600.0  # seconds that a Retry-After may ask for

#: Names of digests as headers have them (lower case) -> names for :mod:`hashlib`.
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
#: Content types that messages may repeat. No other text of a foreign header is shown.
KNOWN_TYPES = frozenset(
    {
        "text/html",
        "text/plain",
        "text/xml",
        "application/xml",
        "application/json",
        "application/octet-stream",
        "image/jpeg",
        "image/png",
        "image/webp",
        "video/mp4",
    }
)
KNOWN_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate", "compress", "br", "zstd"})
_RANGE = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)
_PAIR = re.compile(r'\s*([A-Za-z0-9-]+)=:?"?([A-Za-z0-9+/_-]+=*)"?:?\s*')


class Span(NamedTuple):
    """The range of the whole file that a body has: ``start`` up to ``end``, excluded. ``total`` is None where unknown."""

    start: int
    end: int
    total: int | None


def span(headers: Mapping[str, str]) -> Span | None:
    """The range that ``Content-Range`` gives; None where there is none, or one that makes no sense."""
    found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None:
        return None
    start, last, total = int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])
    return Span(start, last + 1, total) if start <= last and (total is None or last < total) else None


def validator(headers: Mapping[str, str]) -> str | None:
    """The value for ``If-Range``: a strong ETag, else Last-Modified; None for what a header can't hold."""
    tag = headers.get("ETag", "").strip()
    found = tag if re.fullmatch(r'"[^"]*"', tag) else headers.get("Last-Modified")
    return found if found and found.isascii() and found.isprintable() else None


def digests(headers: Mapping[str, str]) -> dict[str, str]:
    """The digests of the whole, unpacked body that the headers give: name for :mod:`hashlib` -> hex."""
    given = [("md5", headers.get("Content-MD5", ""))]
    for name in ("Digest", "Content-Digest", "Repr-Digest", "x-goog-hash", "x-ms-blob-content-md5"):
        value = headers.get(name, "")
        given += [pair.groups() for part in value.split(",") if (pair := _PAIR.fullmatch(part))]  # type: ignore[misc]  # a group of _PAIR is always there
    given += [(name, headers.get(f"x-amz-checksum-{name}", "")) for name in ("sha1", "sha256")]
    found = {}
    for algorithm, value in given:
        name = ALGORITHMS.get(algorithm.lower(), "")
        if name and (digest := _hex(value, hashlib.new(name, usedforsecurity=False).digest_size)):
            found[name] = digest
    tag = headers.get("ETag", "").strip('"')
    plain = headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
    plain = plain and not any(name.lower().endswith("customer-algorithm") for name in headers)
    store = headers.get("Server", "") in ("AmazonS3", "AliyunOSS") or "x-amz-request-id" in headers
    if store and plain and re.fullmatch("[0-9A-Fa-f]{32}", tag):  # other hosts' tags may be anything
        found.setdefault("md5", tag.lower())
    return found


def _hex(value: str, size: int) -> str | None:
    """A digest of ``size`` bytes, given in hex or Base64, as hex; None where it is neither."""
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
    """The answer's ``Date`` in Unix seconds: a date in its Retry-After counts from there. None where it has none."""
    if not (text := headers.get("Date")):
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def content_type(headers: Mapping[str, str]) -> str:
    """The body's type for a message, in brackets, where it is one of ``KNOWN_TYPES``; else empty."""
    given = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return f" ({given})" if given in KNOWN_TYPES else ""


def packing(headers: Mapping[str, str]) -> str:
    """The body's Content-Encoding for a message; empty where it has none."""
    given = headers.get("Content-Encoding", "").strip().lower()
    return given and (f"as {given}" if given in KNOWN_ENCODINGS else "in a way that nobody knows")


def unpacked(body: bytes, packing: str, *, largest: int) -> bytes | None:
    """A body decoded from its Content-Encoding ``packing``; None where it can't be, or has more than ``largest`` bytes."""
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
    """The unpacker for a body that came packed although that wasn't asked for; None where its ``start`` isn't packed.

    ``looks_plain`` says whether first bytes are those of the file itself.
    """
    encoding = headers.get("Content-Encoding", "").lower()
    if start[:3] == b"\x1f\x8b\x08":  # whatever its headers say
        return Unpacker(zlib.MAX_WBITS | 16)
    if "deflate" in encoding and not looks_plain(start):
        zipped = len(start) > 1 and start[0] & 15 == 8 and int.from_bytes(start[:2], "big") % 31 == 0
        return Unpacker(zlib.MAX_WBITS if zipped else -zlib.MAX_WBITS)
    return None


class Unpacker:
    """Unpacks a body in pieces of at most ``WINDOW`` bytes. Raises ValueError where it is damaged."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._stream = zlib.decompressobj(window)

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Unpack the next bytes of the body."""
        try:
            while packed:
                if self._stream.eof:  # another member follows, as gzip allows
                    self._stream = zlib.decompressobj(self._window)
                yield self._stream.decompress(packed, WINDOW)
                packed = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error as error:
            raise ValueError(f"it came packed, and can't be unpacked: {error}") from None

    def end(self) -> bytes:
        """The rest, once the body has ended. Raises ValueError where it ended early."""
        left = self._stream.flush()
        if not self._stream.eof:
            raise ValueError("it came packed, and ends early")
        return left
