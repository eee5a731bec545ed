"""JSON for identities and bodies: compact, with an escape for lone surrogates, which UTF-8 can't encode."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_compact = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
compact_sorted = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), sort_keys=True
).encode
_SURROGATE = re.compile("[\ud800-\udfff]")


def sendable(text: str) -> str:
    """JSON text with lone surrogates escaped, so that UTF-8 can encode it."""
    return text if text.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can encode a text; it can't encode lone surrogates, which JSON and file names may have."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def json_bytes(value: Any) -> bytes:
    """A value's JSON in UTF-8."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # half a surrogate pair, or a number of more than 64 bits
        return sendable(_compact(value)).encode()


def is_request(fields: Any) -> bool:
    """Whether a value that was read as canonical JSON has the fields, in the types, that its readers rely on."""
    if type(fields) is not dict:
        return False
    shots, image = fields.get("multi_prompt"), fields.get("image", fields.get("image_tail"))
    return (
        type(fields.get("mode")) is str
        and type(fields.get("duration")) is str
        and type(fields.get("prompt") or "") is str
        and type(fields.get("watermark_info") or {}) is dict
        and (shots is None or (type(shots) is list and all(type(shot) is dict for shot in shots)))
        and (type(image) is not dict or type(image.get("sha256")) is str)
    )
