"""Loads manifests for a run, and records in the ledger which images were read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from batchgen.files import Folders
from batchgen.images import inspection
from batchgen.ledger.orders import Followed
from batchgen.manifest import reader
from batchgen.models import ImageFile, Job, Manifest, Problem, Within
from batchgen.run import ordered
from batchgen.run.ordered import WaitingOrder

if TYPE_CHECKING:
    from batchgen.ledger.reader import Records
    from batchgen.ledger.writer import Ledger


@dataclass(frozen=True, slots=True)
class Loaded:
    """Loaded manifests: those without problems, and all problems of the others.

    ``images`` are the files that were read for it; those that the ledger knew are not among them. ``waiting`` are orders of
    their jobs' takes that can't be begun, ``followed`` those of jobs that go by another name now.
    """

    manifests: Sequence[Manifest]
    problems: Sequence[Problem] = ()
    images: Sequence[ImageFile] = ()
    waiting: Sequence[WaitingOrder] = ()
    followed: Sequence[Followed] = ()

    @property
    def jobs(self) -> Iterator[Job]:
        """All jobs, in the manifests' order."""
        return jobs_of(self.manifests)

    @property
    def warnings(self) -> list[Problem]:
        """The warnings of the manifests, which refuse nothing."""
        return [warning for one in self.manifests for warning in one.warnings]

    @property
    def skipped(self) -> int:
        """How many jobs their manifests skip."""
        return sum(len(one.skipped) for one in self.manifests)


def load(
    paths: Sequence[str],
    *,
    output_dir: str | None = None,
    usual_output_dir: str = "clips",
    strict: bool = False,
    known: Mapping[str, ImageFile] = MappingProxyType({}),
    now: float = 0.0,
    holds_key: Callable[[str], bool] | None = None,
) -> Loaded:
    """Read manifests, as :func:`batchgen.manifest.reader.read` does. No image is read again that is ``known``."""
    fresh: list[ImageFile] = []

    def inspect(
        path: str, within: Within | None, folders: Folders, header: inspection.Header | None = None
    ) -> ImageFile:
        image = inspection.inspect(path, within, folders, header)
        fresh.append(image)
        return image

    found = reader.read(
        paths,
        output_dir=output_dir,
        usual_output_dir=usual_output_dir,
        strict=strict,
        known=known,
        inspect=inspect,
        now=now,
        holds_key=holds_key,
    )
    return Loaded(*found, fresh)


def with_orders(loaded: Loaded, ledger: Records | None) -> Loaded:
    """The same with the takes that people ordered of these manifests' jobs."""
    manifests, waiting, followed = ordered.with_orders(loaded.manifests, ledger)
    return replace(loaded, manifests=manifests, waiting=waiting, followed=followed)


async def remember(ledger: Ledger, loaded: Loaded) -> None:
    """Record which images were read, which jobs have images that failed their checks, and orders under the names of now."""
    await ledger.remember_images(loaded.images)
    await ledger.note_unusable(loaded.manifests)
    earlier = set(ledger.orders.renamed().earlier)
    reused = [job.key[:2] for job in jobs_of(loaded.manifests) if job.key[:2] in earlier] if earlier else []
    if loaded.followed or reused:
        await ledger.follow_orders(loaded.followed, reused)


def jobs_of(manifests: Iterable[Manifest]) -> Iterator[Job]:
    """All jobs of manifests."""
    return (job for one in manifests for job in one.jobs)
