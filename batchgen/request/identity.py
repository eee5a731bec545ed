"""The identity of a request: its canonical JSON, the digest of that, and the ``external_task_id``.

Identities must be the same on every machine and in every later version, or work would be paid twice: golden tests hold
them. Unicode 3.2 is used because its tables never change, while those of ``unicodedata`` grow with Python's versions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from batchgen.images.inspection import decoded
from batchgen.images.recipe import VERSION
from batchgen.models import ImageFile
from batchgen.names import composed, unicode_3_2
from batchgen.request.image_fields import IMAGE_FIELDS, is_url
from batchgen.request.json_text import compact_sorted, json_bytes, sendable
from batchgen.request.schema import defaults

_DERIVED = re.compile(r"[A-Za-z0-9_-]{1,24}\.[A-Za-z0-9_-]{1,32}\.[0-9a-f]{20}")
_ODD = re.compile(r"[^A-Za-z0-9_]+")
NOT_THE_CLIP = ("callback_url", "external_task_id")  # fields that don't shape the clip


def canonical(request: Mapping[str, Any]) -> str:
    """The canonical JSON of everything in a checked request that shapes its clip.

    Keys are sorted, numbers have one spelling, defaults are filled in, and an image is ``{"sha256": hex}`` of its
    bytes, be it a file or inline Base64; where other pixels are made of them, ``prepare`` says by which rules. A URL stays text, because the image behind it isn't known.
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
    same = True
    for name, value in request.items():  # the defaults are plain, and so is what stands for an image
        if type(value) is not str and name in fields and name not in IMAGE_FIELDS:
            fields[name] = _plain(fields[name])
            same = same and _same_in_orjson(fields[name])
    if same:
        try:
            return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode()
        except orjson.JSONEncodeError:  # half a surrogate pair, or a number of more than 64 bits
            pass
    return sendable(compact_sorted(fields))


def canonical_text(fields: Any) -> str:
    """The text that :func:`canonical` gave, made again from its parsed JSON."""
    return sendable(compact_sorted(fields))


def digest(canonical_text: str) -> str:
    """SHA-256 (hex) of a canonical text."""
    return hashlib.sha256(canonical_text.encode()).hexdigest()


def external_task_id(manifest: str, job_id: str, take: int, digest: str) -> str:
    """``MANIFEST.JOB.HEX``: readable parts of two names, and 80 bits of a digest over the names, take and content.

    At most 78 characters, all of them unreserved in URLs, and never a ``~``, which marks a retry. Names are taken in
    NFC, because file systems spell accents in two ways.
    """
    manifest, job_id = composed(manifest), composed(job_id)
    identity = json_bytes([manifest, job_id, take, digest])
    return f"{_manifest_slug(manifest)}.{_slug(job_id, 32)}.{hashlib.sha256(identity).hexdigest()[:20]}"


def is_derived(name: str) -> bool:
    """Whether an id looks like one of :func:`external_task_id`, and not like one that a manifest gave."""
    return _DERIVED.fullmatch(name) is not None


@lru_cache(maxsize=64)  # many jobs have one manifest
def _manifest_slug(manifest: str) -> str:
    return _slug(manifest, 24)


def _slug(name: str, longest: int) -> str:
    if not name.isascii():
        name = "".join(c for c in unicode_3_2.normalize("NFKD", name) if not unicode_3_2.combining(c))
    if not (name.isascii() and name.isalnum()):
        name = _ODD.sub("-", name).strip("-")[:longest].rstrip("-")
    return name[:longest] or "x"


def _by_content(image: str | ImageFile) -> str | dict[str, Any]:
    if isinstance(image, ImageFile):
        if image.recipe is not None and image.recipe.format is not None:
            return {"sha256": image.sha256, "prepare": {"version": VERSION, **dict(image.recipe.options)}}
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


def _same_in_orjson(value: Any) -> bool:
    """Whether orjson writes the value exactly as the standard library does, which defines identities.

    Floats far from 1 differ; every other type counts as different.
    """
    if isinstance(value, float):
        return 0.001 <= abs(value) <= 1000
    if isinstance(value, dict | list):
        return all(map(_same_in_orjson, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str | int)
