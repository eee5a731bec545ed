"""What is done to images before they are sent, for people and scripts."""

from __future__ import annotations

from collections.abc import Iterator

from batchgen.manifest.locations import subject
from batchgen.models import ImageFile, Job
from batchgen.request.image_fields import image_values


def preparations(job: Job) -> Iterator[tuple[str, str, str]]:
    """The images of a job that are to be prepared: their field, their path, and in words what is done to them."""
    for path, image in image_values(job.request):
        if isinstance(image, ImageFile) and image.recipe is not None:
            yield subject("", None, path), image.path, ", ".join(image.recipe.words) or "sent as it is"
