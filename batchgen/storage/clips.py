"""The clips' folders: what lies in them, moves inside them, and ``clips.jsonl`` beside the clips.

``OUTPUT_DIR/NAME/clips.jsonl`` has one line per clip, so that a lost ledger can be rebuilt from the disk alone.
A line is believed only where a file has the digest that it gives.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from batchgen import limits
from batchgen.amounts import dollars, micros
from batchgen.disk import names_beside
from batchgen.models import TASK_ID, Record, State, StoredClip, is_try_of
from batchgen.request.identity import canonical_text, digest
from batchgen.request.json_text import is_request
from batchgen.storage.partfile import LARGEST_CLIP
from batchgen.storage.roots import Folder, Root

NAME = "clips.jsonl"
VERSION = 1
MAX_LINE = 1 << 20  # bytes of a line
MAX_FILE = 1 << 30  # bytes of a file that are read: half a million lines
# Levels of folders below an output folder that are searched: an id's own, with its manifest's and ``superseded``.
MAX_DEPTH = limits.FOLDERS + 2
MAX_COST = 1e6  # US dollars; a line that says more is no line of ours
SUFFIX = ".mp4"
_LAST_SECOND = 253_402_300_799  # of the year 9999, in Unix seconds
_SECONDS, _MILLISECONDS = (
    [f"{number:02}." for number in range(60)],
    [f"{number:03}Z" for number in range(1000)],
)
_PART = re.compile(r"[a-z0-9.]{1,40}")

# The fields of a line that are columns of a row under the same name, with their types; the first ones are never null.
_NEEDED: Mapping[str, type] = {
    "external_task_id": str,
    "base_id": str,
    "task_id": str,
    "manifest": str,
    "job_id": str,
    "take": int,
    "digest": str,
}
_OPTIONAL: Mapping[str, tuple[type, ...]] = {
    "image": (str,),
    "units_charged": (str,),
    "request_id": (str,),
}
_AMOUNTS = {
    "estimate": "cost_usd_estimate",
    "charged": "charged_usd",
}  # columns, and what a line calls them, in US dollars
_TIMES = ("created_at", "submitted_at", "finished_at")


class Entry(NamedTuple):
    """One valid line: the row that it describes, as ``downloaded``, and the API (``scheme://host``) that has its task.

    ``row.video_path`` is where the line says that the clip is; whether it is there has still to be checked.
    """

    row: Record
    api: str


def entry_line(record: Record, folder: str, api: str) -> str:
    """The line for a clip that is on disk; paths in it are relative to ``folder``."""
    assert record.video_path is not None
    line: dict[str, Any] = {
        "version": VERSION,
        "file": _relative(record.video_path, folder),
        "belongs": _relative(record.output_path, folder),
        "sha256": record.video_sha256,
        "size": record.video_size,
        "api": api,
    }
    line |= {name: getattr(record, name) for name in (*_NEEDED, *_OPTIONAL)}
    line |= {
        name: None if (amount := getattr(record, column)) is None else dollars(amount)
        for column, name in _AMOUNTS.items()
    }
    line |= {name: iso(getattr(record, name)) for name in _TIMES}
    parts = json.loads(record.parts) if record.parts else []
    line["parts"] = [
        {**one, "path": one.get("path") and os.path.relpath(one["path"], folder)} for one in parts
    ]
    line["request"] = json.loads(record.canonical)
    return json.dumps(line, separators=(",", ":"))  # ASCII: no editor and no file system changes it


def _relative(path: str, folder: str) -> str:
    """``path`` as it is seen from ``folder``: the general way takes longer than all else of a line."""
    inner = path.removeprefix(f"{folder}{os.sep}")
    plain = inner != path and f"{os.sep}." not in path and f"{os.sep}{os.sep}" not in path
    return inner if plain else os.path.relpath(path, folder)


def append(root: Root, folder: str, lines: Iterable[str]) -> tuple[int, int]:
    """Append lines to the folder's ``clips.jsonl``, synced. Returns its size in bytes before and after. Raises OSError."""
    with root.folder(
        folder, make=True
    ) as there:  # its clips may have been moved away, and the folder with them
        with there.open(NAME, "a+b") as file:
            before = os.fstat(file.fileno()).st_size
            torn = before > 0 and os.pread(file.fileno(), 1, before - 1) != b"\n"  # a crash, or an editor
            file.write(("\n" * torn + "".join(f"{line}\n" for line in lines)).encode())
            file.flush()
            os.fsync(file.fileno())
            after = os.fstat(file.fileno()).st_size
        if not before:
            there.sync()
    return before, after


def folder_of(record: Record) -> str:
    """The folder whose ``clips.jsonl`` has this row's clip: ``OUTPUT_DIR/NAME``."""
    below_root = os.path.relpath(record.output_path, record.root)
    return os.path.join(record.root, below_root.partition(os.sep)[0])


def size(root: Root, folder: str) -> int:
    """The size of the folder's ``clips.jsonl`` in bytes; 0 where there is none that can be read."""
    try:
        with root.folder(folder) as there:
            found = there.look(NAME)
    except OSError:
        return 0
    return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else 0


def entries(root: Root, folder: str) -> Iterator[Entry]:
    """The lines of the folder's ``clips.jsonl``, oldest first; the last one of each external_task_id counts.

    Invalid lines are skipped: torn, foreign, of another version, or edited so that they contradict themselves. Raises
    OSError where the file can't be read.
    """
    with root.folder(folder) as there:
        for line in _lines(there):
            entry = _entry(line, folder, root.path)
            if entry is not None:
                yield entry


def _lines(folder: Folder) -> Iterator[bytes]:
    found = folder.look(NAME)
    if found is None or not stat.S_ISREG(found.st_mode):
        return
    with folder.read(NAME) as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE:
            raise OSError(errno.EFBIG, f"it is larger than {MAX_FILE >> 30} GiB", NAME)
        whole = True
        while line := file.readline(MAX_LINE):
            if whole and line.endswith(b"\n"):
                yield line
            whole = line.endswith(b"\n")


def _entry(line: bytes, folder: str, output_dir: str) -> Entry | None:
    """The clip that a line describes; None for an invalid line."""
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict) or not _is_sound(fields):
            return None
        return Entry(_row(fields, folder, output_dir), str(fields["api"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _is_sound(fields: dict[str, Any]) -> bool:
    """Whether a line's values have their types and ranges, and its digest is that of its request.

    Raises KeyError, TypeError and ValueError for some that haven't.
    """
    if fields["version"] != VERSION or isinstance(fields["version"], bool):
        return False
    if digest(canonical_text(fields["request"])) != fields["digest"] or not is_request(fields["request"]):
        return False
    if not all(type(fields[name]) is kind and fields[name] != "" for name, kind in _NEEDED.items()):
        return False
    given = {name: fields[name] for name in _OPTIONAL if fields.get(name) is not None}
    if not all(type(value) in _OPTIONAL[name] for name, value in given.items()):
        return False
    base, name = fields["base_id"], fields["external_task_id"]
    size = fields["size"]  # null for a clip of the first edition, which didn't record it
    path = f"{fields['manifest']}/{fields['job_id']}"  # below the output folder, as in a manifest
    (path + name).encode()  # a lone surrogate is in no name
    return (
        1 <= fields["take"] < 1 << 31
        and TASK_ID.match(fields["task_id"]) is not None
        and is_try_of(name, base)
        and "\0" not in path + name
        and {"", ".", ".."}.isdisjoint(path.split("/"))
        and (size is None or (type(size) is int and 0 <= size < 1 << 63))
        and all(_is_amount(fields.get(name)) for name in _AMOUNTS.values())
    )


def _row(fields: dict[str, Any], folder: str, output_dir: str) -> Record:
    """The row of a sound line, with absolute paths. Raises ValueError and others for paths that are no clips'."""
    columns: dict[str, Any] = {name: fields[name] for name in _NEEDED}
    columns |= {name: fields.get(name) for name in _OPTIONAL}
    columns |= {
        column: None if (amount := fields.get(name)) is None else micros(amount)
        for column, name in _AMOUNTS.items()
    }
    columns |= {name: _seconds(fields.get(name)) for name in _TIMES}
    columns["created_at"] = columns["created_at"] or 0.0
    parts = [
        {**one, "path": one["path"] and _clip_path(output_dir, folder, one["path"])}
        for one in fields["parts"]
    ]
    for one in parts:
        if type(one["url"]) is not str or not _PART.fullmatch(one["part"]):
            raise ValueError(one["part"])
        if one["path"] and type(one["sha256"]) is not str:
            raise ValueError(one["part"])
    return Record(
        **columns,
        canonical=canonical_text(fields["request"]),
        state=State.DOWNLOADED,
        output_path=_clip_path(output_dir, folder, fields["belongs"], SUFFIX),
        output_dir=output_dir,
        attempt=1,
        video_path=_clip_path(output_dir, folder, fields["file"]),
        video_sha256=str(fields["sha256"]),
        video_size=fields["size"],
        parts=json.dumps(parts) if parts else None,
    )


def _is_amount(value: object) -> bool:
    """Whether a line may have this as an amount in US dollars."""
    return value is None or (type(value) in (int, float) and 0 <= value < MAX_COST)  # type: ignore[operator]  # a number, as just seen


def _clip_path(output_dir: str, folder: str, name: str, suffix: str = "") -> str:
    """The absolute path of the clip ``name``. Raises ValueError where it lies outside of the output folder, or isn't a clip's.

    A person may have renamed a clip; where it belongs, its name ends with ``suffix``.
    """
    path = os.path.normpath(os.path.join(folder, name))
    inside = path.startswith(f"{output_dir.rstrip(os.sep)}{os.sep}") and path.lower().endswith(SUFFIX)
    if "\0" in path or not inside or not path.endswith(suffix):
        raise ValueError(name)
    return path


# -- what lies in folders -------------------------------------------------------------------------------------


def folders(root: Root) -> list[str]:
    """The manifests' folders in an output folder; none where it can't be read. Hidden ones are skipped."""
    try:
        with root.folder(root.path) as there, os.scandir(there.descriptor) as several:
            names = [one.name for one in several if one.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [os.path.join(root.path, name) for name in sorted(names) if not name.startswith(".")]


def is_clip(root: Root, path: str, sha256: str, size: int | None = None) -> bool:
    """Whether the file at ``path`` has this digest (hex), and this ``size`` (bytes) where it is known."""
    try:
        with root.reading(path) as file:
            found = os.fstat(file.fileno()).st_size
            if found > LARGEST_CLIP or (size is not None and found != size):
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except (OSError, ValueError):
        return False


def below(root: Root) -> Iterator[tuple[str, int]]:
    """The videos below an output folder as (path, size in bytes); hidden folders and links are skipped."""
    with contextlib.suppress(OSError), root.folder(root.path) as top:
        for place, folders, names, folder in os.fwalk(".", dir_fd=top.descriptor):
            deep = place.count(os.sep) >= MAX_DEPTH
            folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if name.lower().endswith(SUFFIX):
                    with contextlib.suppress(OSError):
                        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
                        if stat.S_ISREG(there.st_mode):
                            yield os.path.normpath(os.path.join(root.path, place, name)), there.st_size


def mount_point(path: str) -> str:
    """The mount point of the file system that ``path`` lies on, or would lie on."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


class File(NamedTuple):
    """A file of a clip; ``size`` in bytes, None where it isn't known."""

    path: str
    sha256: str
    size: int | None


def files(row: Record | StoredClip) -> list[File]:
    """The files of a downloaded row, the clip itself first."""
    parts = json.loads(row.parts) if row.parts else []
    further = [File(one["path"], str(one.get("sha256")), None) for one in parts if one.get("path")]
    return [File(row.video_path or "", row.video_sha256 or "", row.video_size), *further]


def absent(row: Record | StoredClip) -> str:
    """The path of the first file of a downloaded row that is missing; the clip's own where none is."""
    there = [one.path for one in files(row)]
    return next((path for path in there if not os.path.exists(path)), there[0])


# -- moves ----------------------------------------------------------------------------------------------------


def move(root: Root, source: str, target: str, sha256: str) -> str | None:
    """Move a clip to ``target``. Returns its new path; None where no file has its digest. Safe to repeat after a crash.

    Nothing is overwritten: where another file is at ``target``, the clip gets a name beside it. Raises OSError.
    """
    if not is_clip(root, source, sha256):  # it was moved before, or somebody put something else there
        return next((path for path in names_beside(target, sha256) if is_clip(root, path, sha256)), None)
    here, name = os.path.split(source)
    with root.folder(here) as old, root.folder(os.path.dirname(target), make=True) as new:
        for path in names_beside(target, sha256):
            try:
                old.move(name, new, os.path.basename(path))
            except FileExistsError:
                continue
            try:
                root.check(new)
            except OSError:
                new.move(os.path.basename(path), old, name)
                raise
            new.sync()
            if old.path != new.path:
                old.sync()
            return path
    raise OSError(errno.EEXIST, "no name near it is free", target)


def iso(seconds: float | None) -> str | None:
    """Unix seconds as ``2026-01-31T23:59:59.250Z``; None for None, and for what no calendar has."""
    if seconds is None:
        return None
    if 0 <= seconds < _LAST_SECOND:  # as below, in a sixth of the time: each row of an export has three
        whole = int(seconds)
        if (micro := round((seconds - whole) * 1e6)) < 1_000_000:
            minute, second = divmod(whole, 60)
            return f"{_minute(minute)}{_SECONDS[second]}{_MILLISECONDS[micro // 1000]}"
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return f"{time.isoformat('T', 'milliseconds')[:-6]}Z"


@functools.lru_cache(maxsize=1024)
def _minute(number: int) -> str:
    """``2026-01-31T23:59:`` of the minutes since 1970."""
    return datetime.fromtimestamp(number * 60, UTC).isoformat()[:17]


def _seconds(text: Any) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
