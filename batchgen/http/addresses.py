"""Addresses of clips: found in an answer and resolved, with every byte kept that can stand in a request.

A signed address is signed byte by byte: written with ``%7E`` for ``~``, or without its ``/x/../``, the clip's host
refuses it. So only characters that can't stand in a request are percent-encoded: spaces, control characters and what
isn't ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from batchgen.models import ClipLink

MAX_LENGTH = 8192  # characters of an address
MAX_CLIPS = 16  # clips of one task; the API makes one, or a few

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(?:([!-~]*)@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{0,5}))?")
#: A relative address. Single words are not: gateways also write "pending" or "n/a" where an address belongs.
_RELATIVE = re.compile(r"/[^/\\].*|//[^/].*|\.{1,2}/.+|[^\s:?]+/[^\s?]+\.\w{2,4}(?:\?.*)?", re.DOTALL)


def clip_links(result: Mapping[str, Any], base: str = "") -> tuple[ClipLink, ...]:
    """The files of a task's ``task_result`` that have a usable address, the clip itself first.

    An entry without ``url`` has its ``watermark_url`` instead; where it has both, the watermarked file is a part of its
    own. ``base`` is the API's own address, which relative ones are relative to.
    """
    videos = result.get("videos")
    entries = videos if isinstance(videos, list) else [videos]
    links: list[ClipLink] = []
    seen: set[str] = set()
    number = 0
    for plain, marked in (_entry(entry, base) for entry in entries):
        clip = plain or marked
        if clip is None or clip in seen or number == MAX_CLIPS:
            continue
        number += 1
        part = "" if number == 1 else f"part{number}"
        seen.add(clip)
        links.append(ClipLink(part, clip))
        if marked and marked not in seen:
            seen.add(marked)
            links.append(ClipLink(f"{part}.watermark".lstrip("."), marked))
    return tuple(links)


def address(given: object, base: str = "") -> str | None:
    """The absolute address to request for a value that should be one; None where it isn't an address."""
    if not isinstance(given, str):
        return None
    text = re.sub("[\t\r\n]", "", given.strip(" \t\r\n\f\v\ufeff"))  # as browsers do
    if not text or len(text) > MAX_LENGTH:
        return None
    if not _SCHEME.match(text):
        if not base or not _RELATIVE.fullmatch(text):
            return None
        text = text if text.startswith("/") else f"/{text}"
        return resolve(base, re.sub(r"^(/\.{1,2}(?=/))+", "", text))
    return resolve(base, text)


def resolve(base: str, reference: str) -> str | None:
    """The absolute address of ``reference`` at ``base``, their bytes kept; None where there is none.

    ``../`` is resolved at the start of a relative reference alone; any other ``/x/../`` stays as it is.
    """
    reference = reference.partition("#")[0]
    if scheme := _SCHEME.match(reference):
        return request_url(reference) if scheme[1].lower() in ("http", "https") else None
    if (parts := _ABSOLUTE.match(base)) is None:
        return None
    scheme_name, authority, target = parts.groups()
    path = target.partition("?")[0] or "/"
    if reference.startswith("//"):
        return request_url(f"{scheme_name}:{reference}")
    if reference.startswith("?"):
        reference = path + reference
    elif not reference:
        reference = target
    elif not reference.startswith("/"):
        folder = path.rpartition("/")[0]
        while up := re.match(r"\.{1,2}/", reference):
            folder = folder.rpartition("/")[0] if up[0] == "../" else folder
            reference = reference[len(up[0]) :]
        reference = f"{folder}/{reference}"
    return request_url(f"{scheme_name}://{authority}{reference}")


def split(url: str) -> tuple[str, str, str] | None:
    """(scheme, authority, the request's target) of an absolute address, its bytes kept; None where it isn't one.

    The authority is without user and password, which are never sent.
    """
    parts = _ABSOLUTE.match(url)
    if parts is None:
        return None
    scheme, authority, target = parts[1].lower(), parts[2], _encoded(parts[3])
    found = _AUTHORITY.fullmatch(authority)
    if found is None and not authority.isascii():
        try:
            authority = authority.encode("idna").decode()
        except UnicodeError:
            return None
        found = _AUTHORITY.fullmatch(authority)
    if found is None or target is None or (found[3] and not 0 < int(found[3]) < 65536):
        return None
    authority = authority.rpartition("@")[2].removesuffix(":")
    return scheme, authority, target if target.startswith("/") else f"/{target}"


def origin_of(url: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an absolute address, lower case, with the scheme's default port; None where it isn't one."""
    given, parts = _ABSOLUTE.match(url), split(url)
    found = _AUTHORITY.fullmatch(parts[1]) if parts else None
    if given is None or parts is None or found is None or "@" in given[2]:
        return None
    return parts[0], found[2].lower(), int(found[3] or {"http": 80, "https": 443}[parts[0]])


def _entry(entry: object, base: str) -> tuple[str | None, str | None]:
    """The addresses of one entry: the clip's and the watermarked clip's."""
    fields = entry if isinstance(entry, Mapping) else {"url": entry}
    return address(fields.get("url"), base), address(fields.get("watermark_url"), base)


def request_url(url: str) -> str | None:
    """An absolute address as it is asked for; None where it is none."""
    parts = split(url)
    return f"{parts[0]}://{parts[1]}{parts[2]}" if parts else None


def _encoded(target: str) -> str | None:
    """A request's target with the characters percent-encoded that can't stand in it, and no others."""
    if re.fullmatch("[!-~]*", target):
        return target
    try:
        raw = target.encode("utf-8", "surrogateescape")  # a header's bytes that are no UTF-8
    except UnicodeEncodeError:
        return None
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"%{byte:02X}" for byte in raw)
