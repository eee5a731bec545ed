"""What a request asks for in a person's words: its prompt, its picture, its mode and length."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import orjson

from batchgen.request.image_fields import is_url
from batchgen.request.schema import defaults


def parsed(canonical: str) -> dict[str, Any]:
    """The fields of a canonical text, which the ledger has."""
    try:
        fields: dict[str, Any] = orjson.loads(canonical)
    except orjson.JSONDecodeError:  # half of a pair, which is no UTF-8, and ours all the same
        fields = json.loads(canonical)
    return fields


_defaults = functools.cache(defaults)


def kind(fields: Mapping[str, Any]) -> str:
    """``mode/duration`` of a request: what :attr:`batchgen.models.Record.kind` will be of its task."""
    default = _defaults()
    return "/".join(str(fields.get(name, default.get(name))) for name in ("mode", "duration"))


def asked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a request, or its canonical form, asks for in a person's words.

    ``prompt`` is the shots' texts, a line each, where there are shots; ``image`` is the URL, if it is one, and
    ``image_sha256`` the digest of the picture's bytes otherwise.
    """
    default = _defaults()
    shots = fields.get("multi_prompt") or default.get("multi_prompt") or ()
    image = fields.get("image", fields.get("image_tail"))
    return {
        "prompt": fields.get("prompt", default.get("prompt"))
        or "\n".join(str(shot.get("prompt", "")) for shot in shots)
        or None,
        "image": image if isinstance(image, str) and is_url(image) else None,
        "image_sha256": image["sha256"] if isinstance(image, dict) else getattr(image, "sha256", None),
        "mode": fields.get("mode", default.get("mode")),
        "duration": fields.get("duration", default.get("duration")),
        "sound": fields.get("sound", default.get("sound")),
    }
