"""Where images are in a request, and which of them are sent as URLs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IMAGE_FIELDS = ("image", "image_tail", "static_mask")  # and dynamic_masks[].mask
_PATHS: tuple[tuple[str, tuple[str | int, ...]], ...] = tuple((name, (name,)) for name in IMAGE_FIELDS)
_SCHEMES = ("https://", "http://")


def is_url(text: str) -> bool:
    """Whether an image's text is sent as a URL (else it is Base64)."""
    return text.startswith(_SCHEMES) or text[:8].lower().startswith(_SCHEMES)


def image_values(request: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], Any]]:
    """Every value where the API takes an image, with its path. The request may be unchecked."""
    found: list[tuple[tuple[str | int, ...], Any]] = []
    for name, path in _PATHS:  # asked of every job several times, so without a comprehension
        if name in request:
            found.append((path, request[name]))
    if "dynamic_masks" in request and isinstance(masks := request["dynamic_masks"], list):
        found += [
            (("dynamic_masks", index, "mask"), mask["mask"])
            for index, mask in enumerate(masks)
            if isinstance(mask, Mapping) and "mask" in mask
        ]
    return found
