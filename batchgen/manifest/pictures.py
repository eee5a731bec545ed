"""The images of a job that are to be prepared: what is done to each, and whether masks can follow their image."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from batchgen.errors import ImageError
from batchgen.images import facts
from batchgen.images.facts import Facts
from batchgen.images.recipe import HEIF_READER, NO_HEIF, STRIPPED, Options, mask_recipe, recipe
from batchgen.models import ImageFile, Recipe, Within
from batchgen.request.findings import Finding

Path = tuple[str | int, ...]
_MASKS = ("static_mask", "dynamic_masks")
_POINTS = "the points of its trajectories count in the picture as it lies, which is to be turned or scaled; do that to the picture itself"
NOTHING = "has no effect: a picture that is named by its URL, or given as Base64, is sent as it is"


def prepare(
    request: Mapping[str, Any],
    images: dict[Path, ImageFile],
    options: Options,
    look: Callable[[str, Within | None], tuple[ImageFile, Facts]],
) -> list[Finding]:
    """Give each file among a request's ``images`` the recipe by which it is prepared. Returns what is wrong with them.

    ``look`` gives an image file, and the facts about it.
    """
    failures: list[Finding] = []
    first: Recipe | None = None
    for path, image in images.items():  # the image comes first, its masks after it
        if not image.path:
            continue
        try:
            about = look(image.path, image.within)[1]
            if path[0] not in _MASKS:
                made = recipe(about, options)
            else:
                size = about.width, about.height
                made = mask_recipe(about, first or Recipe(about.format, size, size, size))
            if about.format == "heic" and not _reads_heif():
                raise ImageError(NO_HEIF)
        except ImageError as error:
            failures.append(Finding(path, str(error)))
        else:
            first = made if path == ("image",) else first
            width, height = made.canvas
            images[path] = image._replace(width=width, height=height, orientation=1, recipe=made)
    if first is not None and "dynamic_masks" in request and first.canvas != first.source:
        failures.append(Finding(("dynamic_masks",), _POINTS))
    return failures


def doubts(images: Mapping[Path, ImageFile]) -> list[Finding]:
    """What may be a mistake in what is done to images."""
    return [
        Finding(path, text)
        for path, image in images.items()
        if image.recipe is not None
        for text in image.recipe.doubts
    ]


def remedy(path: str, within: Within | None) -> str:
    """The end of a message about an image that is refused: what ``prepare`` would do about it; "" where it can't."""
    try:
        about = facts.examine(path, within)
        made = recipe(about, Options())
    except ImageError:
        return ""
    if made.format is None:
        return ""
    extra = "" if about.format != "heic" or _reads_heif() else f" ({NO_HEIF})"
    return f"; `prepare: true` would take it{extra}: {', '.join(word for word in made.words if word != STRIPPED)}"


@cache
def _reads_heif() -> bool:
    return importlib.util.find_spec(HEIF_READER) is not None
