"""The fields that a sidecar or a row may set only where the manifest's author allows it.

Whoever writes into a folder is trusted with pictures and prompts. The author alone decides, in the entry or by
``allow_fields``, where the API sends callbacks, which external_task_id a job has, and where the API fetches pictures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from batchgen.request.image_fields import image_values, is_url
from batchgen.request.schema import Finding

IMAGE_URLS: Final = "image_urls"  # stands for every field that takes an image
_CLOSED: Final = {
    "folder": ("a file beside an image", ("callback_url", "external_task_id", IMAGE_URLS)),
    "table": ("a row", ("callback_url", "external_task_id")),  # a row's image is often a URL
}


def closed(kind: str, allowed: Collection[str]) -> Mapping[str, str]:
    """The fields that sidecars of a ``"folder"``, or rows of a ``"table"``, may not set, each with its message.

    ``allowed`` is the entry's ``allow_fields``.
    """
    who, names = _CLOSED[kind]
    texts = {}
    for name in (name for name in names if name not in allowed):
        what = "names an image by its URL" if name == IMAGE_URLS else f"sets {name}"
        keys = ", ".join([*allowed, name])
        text = f"{who} {what} only where its entry says so: `allow_fields: [{keys}]` there allows it"
        texts[name] = f"{text}, and changes no id"
    return texts


def check(own: Mapping[str, Any], closed: Mapping[str, str]) -> list[Finding]:
    """The findings for those of a sidecar's or row's ``own`` fields that it may not set."""
    if IMAGE_URLS not in closed and closed.keys().isdisjoint(own):
        return []  # nearly always
    found = [Finding((name,), text) for name, text in closed.items() if name in own]
    if text := closed.get(IMAGE_URLS):
        values = image_values(own)
        found += [Finding(path, text) for path, value in values if isinstance(value, str) and is_url(value)]
    return found
