"""Where images are in a request, and which of them are sent as URLs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

IMAGE_FIELDS = ("image", "image_tail", "static_mask")  # and dynamic_masks[].mask


def is_url(text: str) -> bool:
    """Whether an image's text is sent as a URL (else it is Base64)."""
    start = text[:8]
    return start == "https://" or start.lower().startswith(("http://", "https://"))


def image_values(request: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value where the API takes an image, with its path. The request may be unchecked."""
    for name in IMAGE_FIELDS:
        if name in request:
            yield (name,), request[name]
    masks = request.get("dynamic_masks")
    for index, mask in enumerate(masks if isinstance(masks, list) else ()):
        if isinstance(mask, Mapping) and "mask" in mask:
            yield ("dynamic_masks", index, "mask"), mask["mask"]
