"""Has pictures prepared by processes beside the loop, right before they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from batchgen.errors import ImageError
from batchgen.images.recipe import VERSION
from batchgen.manifest.image_refs import with_values
from batchgen.models import ImageFile, Recipe
from batchgen.request.image_fields import image_values
from batchgen.run.decoders import Decoders
from batchgen.storage.prepared import PreparedImages, folder

LARGE: Final = 50_000_000  # pixels from which pictures are prepared one at a time: each takes much memory


def needs_preparing(request: Mapping[str, Any]) -> bool:
    """Whether an image of a request has a recipe."""
    return any(isinstance(value, ImageFile) and value.recipe for _, value in image_values(request))


class Preparer:
    """Prepares the pictures of one run."""

    def __init__(self, decoders: Decoders | None = None) -> None:
        self._decoders = decoders or Decoders()
        self._kept: PreparedImages | None = None
        self._large = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._making: dict[str, asyncio.Lock] = {}  # by key: several jobs may have one picture

    async def prepared(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The request with the files that are sent in place of those that have a recipe. Raises ImageError."""
        made = {}
        for path, value in image_values(request):
            if isinstance(value, ImageFile) and value.recipe is not None:
                made[path] = await self._file(value, value.recipe)
        return with_values(request, made) if made else request

    async def close(self) -> None:
        """End the processes."""
        await self._decoders.close()
        if self._kept is not None:
            self._kept.close()

    async def _file(self, image: ImageFile, recipe: Recipe) -> ImageFile:
        if recipe.format is None and not recipe.words:
            return image._replace(recipe=None)  # as it lies
        form = recipe.format or ("png" if image.format == "png" else "jpeg")
        key = _key(image, recipe)
        try:
            kept = await self._open()
            async with self._making.setdefault(key, asyncio.Lock()):
                found = await asyncio.to_thread(kept.find, key, recipe.canvas, form)
                if found is None:
                    await self._make(kept, key, image, recipe)
                    found = await asyncio.to_thread(kept.find, key, recipe.canvas, form)
        except OSError as error:
            raise ImageError(f"{image.path}: prepared, it can't be kept: {error.strerror}") from error
        if found is None:
            raise ImageError(
                f"{image.path}: prepared, it was gone before it was sent; the next run makes it again"
            )
        return found

    async def _open(self) -> PreparedImages:
        """The pictures that are kept, one folder for the whole run: a temporary one is found by no other."""
        async with self._opening:
            if self._kept is None:
                self._kept = await asyncio.to_thread(PreparedImages, folder(os.environ))
            return self._kept

    async def _make(self, kept: PreparedImages, key: str, image: ImageFile, recipe: Recipe) -> None:
        target = kept.new_path()
        order = {
            "path": image.path,
            "within": image.within,
            "size": image.size,
            "digest": image.xxh3 or image.sha256,
            "recipe": _plain(recipe),
            "to": target,
        }
        alone = recipe.source[0] * recipe.source[1] > LARGE
        try:
            async with self._large if alone else contextlib.nullcontext():
                answer = await self._decoders.answer(order)
            if "error" in answer:
                raise ImageError(f"{image.path}: {answer['error']}")
            await asyncio.to_thread(kept.keep, target, key, answer["sha256"], answer["size"])
        finally:
            kept.discard(target)


def _plain(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe shapes the picture: what is for people and for identities is left out."""
    return {**recipe._asdict(), "options": (), "words": (), "doubts": ()}


def _key(image: ImageFile, recipe: Recipe) -> str:
    """The name under which a prepared picture is kept: the digest of its source and of all that is done to it."""
    text = json.dumps([VERSION, image.sha256, _plain(recipe)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
