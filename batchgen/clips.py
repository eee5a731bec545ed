"""The clips' folders: what lies in them, moves inside them, and the record that is kept beside the clips.

``OUTPUT_DIR/NAME/clips.jsonl`` has one line per clip, so that a lost ledger can be rebuilt from the disk alone.
Whatever stands there is believed only where a file has the digest that the line gives.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from batchgen.disk import leads_out, names_beside, sync_folder
from batchgen.files import regular
from batchgen.models import TASK_ID, Record, Shelved, State
from batchgen.request import canonical_text, digest

NAME = "clips.jsonl"
VERSION = 1
LONGEST = 1 << 20  # bytes of a line
SUFFIX = ".mp4"
_TRY = re.compile(r"~[1-9][0-9]{0,8}")
_PART = re.compile(r"[a-z0-9.]{1,40}")

# A line's fields that are a row's columns under the same name, with their types; the first ones are never null.
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
    "cost_usd_estimate": (int, float),
    "units_charged": (str,),
    "request_id": (str,),
}
_TIMES = ("created_at", "submitted_at", "finished_at")


class Entry(NamedTuple):
    """One line that makes sense: the row that it tells of, as ``downloaded``, and which API its task was made by.

    ``row.video_path`` is where the line says that the clip is; whether it is there has still to be seen.
    """

    row: Record
    api: str


def entry_line(record: Record, folder: str, api: str) -> str:
    """The line for a clip that is on disk; the file is named as seen from ``folder``."""
    assert record.video_path is not None
    line: dict[str, Any] = {
        "version": VERSION,
        "file": os.path.relpath(record.video_path, folder),
        "belongs": os.path.relpath(record.output_path, folder),
        "sha256": record.video_sha256,
        "size": record.video_size,
        "api": api,
    }
    line |= {name: getattr(record, name) for name in (*_NEEDED, *_OPTIONAL)}
    line |= {name: iso(getattr(record, name)) for name in _TIMES}
    parts = json.loads(record.parts) if record.parts else []
    line["parts"] = [
        {**one, "path": one.get("path") and os.path.relpath(one["path"], folder)} for one in parts
    ]
    line["request"] = json.loads(record.canonical)
    return json.dumps(line, separators=(",", ":"))  # ASCII: no editor and no file system changes it


def append(folder: str, lines: Iterable[str]) -> tuple[int, int]:
    """Add lines to the folder's ``clips.jsonl``, synced. Returns its size in bytes before and after. Raises OSError."""
    path = os.path.join(folder, NAME)
    os.makedirs(folder, exist_ok=True)  # its clips may be elsewhere by now
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    with open(descriptor, "r+b", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no file", path)
        before = os.fstat(descriptor).st_size
        torn = before > 0 and os.pread(descriptor, 1, before - 1) != b"\n"  # a crash, or an editor
        data = memoryview(("\n" * torn + "".join(f"{line}\n" for line in lines)).encode())
        while data:
            data = data[file.write(data) :]
        os.fsync(descriptor)
        after = os.fstat(descriptor).st_size
    if not before:
        sync_folder(folder)
    return before, after


def folder_of(record: Record) -> str:
    """The folder whose ``clips.jsonl`` tells of this row's clip: ``OUTPUT_DIR/NAME``."""
    below_root = os.path.relpath(record.output_path, record.root)
    return os.path.join(record.root, below_root.partition(os.sep)[0])


def size(folder: str) -> int:
    """The bytes of the folder's ``clips.jsonl``; 0 where there is none that can be read."""
    try:
        found = os.lstat(os.path.join(folder, NAME))
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def entries(folder: str, output_dir: str) -> dict[str, Entry]:
    """The clips that the folder's ``clips.jsonl`` tells of, by external_task_id; the last line about one counts.

    Lines that make no sense are passed over: torn, foreign, of another version, or edited so that they contradict
    themselves. Raises OSError where the file can't be read.
    """
    found: dict[str, Entry] = {}
    for line in _lines(os.path.join(folder, NAME)):
        entry = _entry(line, folder, output_dir)
        if entry is not None:
            found[entry.row.external_task_id] = entry
    return found


def _lines(path: str) -> Iterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        whole = True
        while line := file.readline(LONGEST):
            if whole and line.endswith(b"\n"):
                yield line
            whole = line.endswith(b"\n")


def _entry(line: bytes, folder: str, output_dir: str) -> Entry | None:
    try:
        told = json.loads(line)
        if not isinstance(told, dict) or told["version"] != VERSION or isinstance(told["version"], bool):
            return None
        text = canonical_text(told["request"])
        if digest(text) != told["digest"]:
            return None
        request = told["request"]
        if not isinstance(request["mode"], str) or not isinstance(request["duration"], str):
            return None
        sound = all(type(told[name]) is kind and told[name] != "" for name, kind in _NEEDED.items())
        sound = sound and all(
            told.get(name) is None or type(told[name]) in kinds for name, kinds in _OPTIONAL.items()
        )
        if not sound or not 1 <= told["take"] < 1 << 31 or not TASK_ID.match(told["task_id"]):
            return None
        base, name = told["base_id"], told["external_task_id"]
        if name != base and not (name.startswith(base) and _TRY.fullmatch(name, len(base))):
            return None
        plain = f"{told['manifest']}/{told['job_id']}"  # a path below the output folder, as validation has it
        if "\0" in plain + name or not {"", ".", ".."}.isdisjoint(plain.split("/")):
            return None
        (plain + name).encode()  # half of a surrogate pair is in no name
        path = _below(output_dir, folder, told["file"])
        belongs = _below(output_dir, folder, told["belongs"])
        if type(told["size"]) is not int:
            return None
        parts = [
            {**one, "path": one["path"] and _below(output_dir, folder, one["path"])} for one in told["parts"]
        ]
        if not all(type(one["url"]) is str and _PART.fullmatch(one["part"]) for one in parts):
            return None
        columns: dict[str, Any] = {name: told[name] for name in _NEEDED}
        columns |= {name: told.get(name) for name in _OPTIONAL}
        columns |= {name: _seconds(told.get(name)) for name in _TIMES}
        columns["created_at"] = columns["created_at"] or 0.0
        row = Record(
            **columns,
            canonical=text,
            state=State.DOWNLOADED,
            output_path=belongs,
            output_dir=output_dir,
            attempt=1,
            video_path=path,
            video_sha256=str(told["sha256"]),
            video_size=told["size"],
            parts=json.dumps(parts) if parts else None,
        )
        return Entry(row, str(told["api"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _below(output_dir: str, folder: str, name: str) -> str:
    """The clip's whole path. Raises ValueError where it lies outside of the output folder, or is no clip's."""
    path = os.path.normpath(os.path.join(folder, name))
    inside = path.startswith(f"{output_dir.rstrip(os.sep)}{os.sep}") and path.endswith(".mp4")
    if "\0" in path or not inside:
        raise ValueError(name)
    return path


# -- what lies in folders -------------------------------------------------------------------------------------


def listing(folder: str) -> dict[str, int]:
    """The files in a folder and their sizes in bytes; links lead to files. Raises OSError."""
    found = {}
    with os.scandir(folder) as several:
        for one in several:
            try:
                there = one.stat()
            except OSError:  # a link that leads nowhere, or it has just gone
                continue
            if stat.S_ISREG(there.st_mode):
                found[one.name] = there.st_size
    return found


def is_clip(path: str, sha256: str, size: int | None = None) -> bool:
    """Whether the file at ``path`` has these bytes. ``size`` None: it isn't known."""
    try:
        with open(path, "rb", opener=regular) as file:
            if size is not None and os.fstat(file.fileno()).st_size != size:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except (OSError, ValueError):
        return False


def below(output_dir: str) -> Iterator[tuple[str, int]]:
    """The videos below an output folder with their sizes in bytes; hidden folders and links are passed over."""
    for folder, folders, names in os.walk(output_dir):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIX):
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    there = os.lstat(path)
                    if stat.S_ISREG(there.st_mode):
                        yield path, there.st_size


def mount_point(path: str) -> str:
    """Where the file system is mounted that ``path`` lies on, or would lie on."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


class File(NamedTuple):
    """A file of a clip; ``size`` in bytes, None where it isn't known."""

    path: str
    sha256: str
    size: int | None


def files(row: Record | Shelved) -> list[File]:
    """The files of a downloaded row, the clip itself first."""
    parts = json.loads(row.parts) if row.parts else []
    further = [File(one["path"], str(one.get("sha256")), None) for one in parts if one.get("path")]
    return [File(row.video_path or "", row.video_sha256 or "", row.video_size), *further]


def absent(row: Record | Shelved) -> str:
    """The first file of a downloaded row that isn't where it was; the clip itself where all are."""
    there = [one.path for one in files(row)]
    return next((path for path in there if not os.path.exists(path)), there[0])


# -- moves ----------------------------------------------------------------------------------------------------


def move(source: str, target: str, sha256: str, *, root: str) -> str | None:
    """Move a clip; returns where it is then, None where it isn't. It can be done again after a crash at any moment.

    Nothing is overwritten: where another file is at ``target``, the clip gets a name beside it. Raises OSError.
    """
    if not is_clip(source, sha256):  # it was moved before, or somebody put something else there
        return next((path for path in names_beside(target, sha256) if is_clip(path, sha256)), None)
    folder = os.path.dirname(target)
    if leads_out(folder, root):
        raise OSError(0, f"it leads out of {root} through a symbolic link", folder)
    os.makedirs(folder, exist_ok=True)
    for path in names_beside(target, sha256):
        if not os.path.lexists(path) or os.path.samefile(path, source):
            os.rename(source, path)
            sync_folder(folder)
            if os.path.dirname(source) != folder:
                sync_folder(os.path.dirname(source))
            return path
    raise OSError(0, "no name near it is free", target)


def iso(seconds: float | None) -> str | None:
    """Unix seconds as ``2026-01-31T23:59:59.250Z``; None for none, and for what no calendar has."""
    if seconds is None:
        return None
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: Any) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
