"""What `doctor` says of disks and folders: whether there is room, and whether they can be read and written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from batchgen.cli.quantities import shown_size
from batchgen.cli.report import counted
from batchgen.cli.verdicts import Verdict
from batchgen.errors import LedgerError
from batchgen.files import open_regular
from batchgen.images.facts import SUFFIXES
from batchgen.ledger.checkup import checkup
from batchgen.manifest import reader, yaml12
from batchgen.manifest.configuration import LARGEST_FILE

CLIP = 25_000_000  # bytes of a clip, where none has come yet
SPARE = 100_000_000  # bytes that should be left besides
NAMED = 4  # folders that a line names

Free = Callable[[str], tuple[int, int]]  # of a folder's disk: bytes and files that can be added


def free(folder: str) -> tuple[int, int]:
    """What can be added to a folder's disk: bytes, and files where it counts them. Raises OSError."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize, disk.f_favail if disk.f_files else 1 << 60


class Named(NamedTuple):
    """What a manifest names: the clips' folder, the folders and tables of its jobs, and values at its top."""

    file: str
    output: str
    inputs: tuple[str, ...]
    values: Mapping[str, Any]


def named(paths: Sequence[str], usual: str) -> Iterator[Named]:
    """What the manifests at ``paths`` name, as far as they can be read: `validate` tells what is wrong with them."""
    for file in reader.files(paths):
        try:
            with open(file, "rb", opener=open_regular) as opened:
                content = yaml12.load(opened.read(LARGEST_FILE))
        except (OSError, yaml12.YamlError):
            continue
        if not isinstance(content, dict):
            continue
        base = os.path.dirname(os.path.abspath(file))
        own = content.get("output_dir")
        output = _below(base, own if isinstance(own, str) else usual)
        jobs = content.get("jobs")
        inputs = dict.fromkeys(_inputs(jobs if isinstance(jobs, list) else (), base))
        values = {
            name: content[name]
            for name in ("concurrency", "max_running", "max_cost_usd", "downloads", "output_dir")
            if name in content
        }
        yield Named(file, output, tuple(inputs), values)


def _inputs(jobs: Iterable[Any], base: str) -> Iterator[str]:
    for job in jobs:
        if not isinstance(job, dict):
            continue
        for key in ("folder", "table"):
            if isinstance(path := job.get(key), str):
                yield _below(base, path)
        image = job.get("image")
        if isinstance(image, str) and "://" not in image and image.lower().endswith(tuple(SUFFIXES)):
            yield os.path.dirname(_below(base, image))


def _below(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, os.path.expanduser(path)))


def check_disk(path: str, outputs: Iterable[str], room: Free = free) -> Iterator[Verdict]:
    """Whether the disks have room for the clips of open tasks, and for the ledger."""
    open_clips: Counter[str] = Counter()
    size = None
    try:
        if os.path.lexists(path):
            with checkup(path) as found:
                open_clips.update(row.root for row in found.records.open_records())
                size = found.clip_size()
    except LedgerError:
        pass  # the ledger's own verdict says so
    needs: dict[int, tuple[str, int]] = {}
    for folder in (os.path.dirname(path), *open_clips, *outputs):
        there = _nearest(folder)
        device = os.stat(there).st_dev
        first, clips = needs.get(device, (there, 0))
        needs[device] = first, clips + open_clips.pop(folder, 0)
    for folder, clips in needs.values():
        yield _room(folder, clips, size, room(folder))


def _room(folder: str, clips: int, size: int | None, left: tuple[int, int]) -> Verdict:
    need = clips * (size or CLIP)
    text = f"{shown_size(left[0])} free at {folder}"
    if clips:
        learned = "on average" if size else "assumed"
        text += f"; {counted(clips, 'open task')}: about {shown_size(need)} ({shown_size(size or CLIP)} a clip, {learned})"
    facts = {"folder": folder, "free_bytes": left[0], "open_tasks": clips, "needed_bytes": need}
    advice = "Make room: a clip that has none waits for the next run, and what is paid isn't lost."
    if left[1] <= 0:
        return Verdict("disk", "bad", f"no more files fit on the disk of {folder}", advice, facts)
    if left[0] < need + SPARE:
        enough = need <= left[0] and left[0] >= SPARE // 10
        return Verdict(
            "disk",
            "note" if enough else "bad",
            f"{text}: {'little is left' if enough else 'too little'}",
            advice,
            facts,
        )
    return Verdict("disk", "ok", text, "", facts)


def _nearest(folder: str) -> str:
    """The folder, or the first above it that is there."""
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return folder


def check_folders(path: str, manifests: Sequence[Named], outputs: Iterable[str]) -> Iterator[Verdict]:
    """Whether the clips' folders can be written, and the pictures' folders and tables read."""
    faults: list[tuple[str, str]] = []
    writable = dict.fromkeys([*outputs, os.path.dirname(path)])
    for folder in writable:
        faults += _not_writable(folder)
    readable = dict.fromkeys(one for manifest in manifests for one in manifest.inputs)
    for name in readable:
        faults += _not_readable(name)
    for fault, advice in faults:
        yield Verdict("folders", "bad", fault, advice)
    if not faults:
        text = _list("can be written or made: ", writable)
        if readable:
            text += _list("; can be read: ", readable)
        yield Verdict("folders", "ok", text, "", {"writable": [*writable], "readable": [*readable]})


def _list(before: str, names: Iterable[str]) -> str:
    names = [*names]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{before}{', '.join(names[:NAMED])}{more}"


def _not_writable(folder: str) -> Iterator[tuple[str, str]]:
    there = folder
    while not os.path.lexists(there) and there != os.path.dirname(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        yield f"{there} is no folder", "Move it away, or name another."
    elif not os.access(there, os.W_OK | os.X_OK):
        made = "" if there == folder else f", so {folder} can't be made"
        yield f"{there} can't be written by this user{made}", f"ls -ld {there}"


def _not_readable(name: str) -> Iterator[tuple[str, str]]:
    try:
        if os.path.isdir(name):
            with os.scandir(name):
                pass
            if not os.access(name, os.X_OK):
                yield f"{name} can't be entered by this user", f"ls -ld {name}"
        else:
            with open(name, "rb", opener=open_regular):
                pass
    except OSError as error:
        yield f"{name} can't be read: {error.strerror}", f"ls -ld {name}"
