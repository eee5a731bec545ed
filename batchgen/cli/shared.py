"""What the commands that talk to the API share: key, ledger, manifests, and when they end."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

from batchgen.cli import keys, settings
from batchgen.cli.ending import AFTER_DEADLINE, End
from batchgen.cli.output import Output
from batchgen.http.endpoint import origin
from batchgen.images import inspection
from batchgen.ledger.writer import Ledger
from batchgen.manifest import reader
from batchgen.models import ImageFile, Job, Manifest, Problem, Within
from batchgen.run.options import RunOptions


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which manifests are read, and how: the folder that their clips go to instead, whether warnings refuse them."""

    paths: Sequence[str]
    output_dir: str | None
    strict: bool


def wanted(args: argparse.Namespace) -> Wanted:
    """What the command line says of manifests."""
    return Wanted(args.paths, args.output_dir, args.strict)


def run_options(args: argparse.Namespace) -> RunOptions:
    """What the command line, and for some of it the environment, says of a run, or of collecting. Raises UsageError."""
    names = {field.name for field in fields(RunOptions)} - {"clip_hosts"}
    given = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    return RunOptions(**given, clip_hosts=settings.clip_hosts(args.clip_hosts, os.environ))


async def load_manifests(wanted: Wanted, out: Output, ledger: Ledger) -> tuple[list[Manifest], list[Problem]]:
    """The manifests; no image is read again that the ledger knows by size, times and inode."""
    fresh: list[ImageFile] = []

    def inspect(path: str, within: Within | None) -> ImageFile:
        image = inspection.inspect(path, within)
        fresh.append(image)
        return image

    found = reader.read(
        wanted.paths,
        output_dir=wanted.output_dir,
        strict=wanted.strict,
        known=ledger.images(),
        inspect=inspect,
        now=time.time(),
        holds_key=out.mask.holds_key,
    )
    await ledger.remember_images(fresh)
    await ledger.note_unusable(found[0])
    return found


def jobs_of(manifests: Iterable[Manifest]) -> Iterator[Job]:
    """All jobs of manifests."""
    return (job for one in manifests for job in one.jobs)


def api_settings(args: argparse.Namespace, out: Output) -> tuple[str, str]:
    """The API's base URL, and the key. Raises UsageError."""
    keys.keep_out_of_core_dumps()
    base_url, key = settings.base_url(args.base_url, os.environ), keys.api_key(os.environ)
    out.mask.learn(key)
    return base_url, key


def end_of(args: argparse.Namespace, out: Output) -> End:
    """When the run ends: at --until, else a while after --deadline, by which all of it should have."""
    deadline = getattr(args, "deadline", None)
    if args.until is not None or deadline is None:
        return End(out, args.until, timeout=args.timeout)
    why = f"{AFTER_DEADLINE / 3600:.0f} hours have passed since --deadline"
    return End(out, deadline + AFTER_DEADLINE, why, timeout=args.timeout)


def open_ledger(args: argparse.Namespace, out: Output, base_url: str, end: End) -> Ledger:
    """The ledger, to be written; another run is waited for until the end at most."""
    path = settings.ledger_path(args.ledger, os.environ)
    wait = min(args.lock_wait, end.left)
    return Ledger.open(path, origin=origin(base_url), lock_wait=wait, masked=out.mask)
