"""Turns the images of a folder, with their sidecars, into drafts of jobs, in the order of their paths.

Each folder is listed once; only sidecars are opened. Hidden files and folders, leftovers of programs and, below the
folder, links to folders are skipped. Without ``match``, the PNG and JPEG files in the folder itself are taken. Others may
write into the folder, so what links lead to outside of it is neither listed nor read.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from batchgen import files, limits
from batchgen.manifest import leftovers, sidecars
from batchgen.manifest.globs import Glob
from batchgen.manifest.locations import Document, Draft, InFolder
from batchgen.manifest.yaml12 import YamlError
from batchgen.models import Place, Problem, Within
from batchgen.names import composed, spelt
from batchgen.request import schema

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".jpe", ".jfif")
_CAMERA: Final = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2")
#: Suffixes of pictures, whether the API takes them or not.
PICTURES: Final = (
    *IMAGE_SUFFIXES,
    ".heic",
    ".heif",
    ".hif",
    ".mpo",
    ".webp",
    ".avif",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".jxl",
    ".jp2",
    ".psd",
    *_CAMERA,
)
MAX_UNSEEN: Final = 50  # folders that are listed only to warn of pictures in them


class Image(NamedTuple):
    """A file that an entry takes: its folder below the entry's (ending in a slash), its name, its sidecars' names.

    ``trouble`` says why it makes no job; ``waits`` is the name of a file beside it that marks an unfinished download.
    """

    below: str
    name: str
    beside: tuple[str, ...] = ()
    trouble: str = ""
    waits: str = ""


class Found(NamedTuple):
    """The content of a folder. Paths are absolute, except for those of ``orphans``, which are relative to the folder."""

    images: list[Image]
    orphans: list[str]  # sidecars without an image
    others: list[str]  # pictures that the entry doesn't take
    deeper: list[str]  # pictures one folder further down than the entry goes
    leftovers: list[str]  # names of programs' leftovers
    strangers: Counter[str]  # how many files of each suffix are neither pictures nor texts; "" is none
    closed: list[str]  # folders that the entry doesn't go into, relative to the folder
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES  # of the pictures that the entry may take


def look(root: str, match: str | None, within: Within, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Found:
    """Everything that the folder ``root`` has for an entry, images sorted by their path below it. Raises OSError.

    ``within`` has ``root``, resolved, for its first folder. Without ``match``, files with these ``suffixes`` are taken.
    """
    glob = Glob(match) if match else None
    found = Found([], [], [], [], [], Counter(), [], suffixes)
    accents = False
    folders = [("", glob.top if glob else frozenset())]
    while folders:
        below, place = folders.pop()
        taken: list[str] = []
        texts: list[str] = []
        pictures: list[str] = []
        unfinished: dict[str, str] = {}
        trouble: dict[str, str] = {}
        for name, is_folder, is_link, leads_to_folder in _listing(within.folders[0], below):
            lower = composed(name).lower()
            if is_folder:
                if leftovers.is_folder(lower) and not (glob and lower in glob.literal):
                    found.leftovers.append(name)
                elif glob and (deeper := glob.below(place, lower)):
                    if below.count("/") >= limits.FOLDERS:  # each is opened from the top on, one by one
                        why = f"folders in it lie more than {limits.FOLDERS} deep"
                        raise OSError(
                            errno.ENAMETOOLONG, f"{why}; move them up, or give a match that passes them over"
                        )
                    folders.append((f"{below}{name}/", deeper))
                else:
                    found.closed.append(f"{below}{name}")
            elif lower.endswith(sidecars.SUFFIXES):
                texts.append(name)
            elif leftovers.is_file(lower):
                found.leftovers.append(name)
                if lower.endswith(leftovers.UNFINISHED):
                    unfinished[os.path.splitext(name)[0]] = name
            elif lower.endswith(suffixes) if glob is None else glob.takes(place, lower):
                if not leads_to_folder:
                    taken.append(name)
                    if is_link and (why := _outside(f"{root}/{below}{name}", within)):
                        trouble[name] = why
                    accents = accents or not (name.isascii() and below.isascii())
            elif lower.endswith(PICTURES) and not leads_to_folder:
                pictures.append(name)
            elif not leads_to_folder:
                found.strangers[os.path.splitext(lower)[1]] += 1
        found.others.extend(f"{root}/{below}{name}" for name in pictures)
        if not (texts or unfinished or trouble):
            found.images.extend(Image(below, name) for name in taken)
            continue
        pairs = sidecars.pair(taken, pictures, texts)
        found.orphans.extend(below + name for name in pairs.orphans)
        for name in taken:
            why = trouble.get(name) or pairs.trouble.get(name, "")
            found.images.append(Image(below, name, pairs.beside.get(name, ()), why, unfinished.get(name, "")))
    for folder in sorted(found.closed)[:MAX_UNSEEN]:
        found.deeper.extend(f"{root}/{folder}/{name}" for name in _pictures_in(within.folders[0], folder))
    if accents:
        _find_twins(found.images)
    found.images.sort()
    found.orphans.sort()
    return found


class _Entry(NamedTuple):
    """A name in a folder, and what it is: a folder, a link, a link that leads to a folder, or none of these."""

    name: str
    is_folder: bool
    is_link: bool
    leads_to_folder: bool


def _listing(root: str, below: str) -> list[_Entry]:
    """The content of a folder below ``root``, without hidden names. Raises OSError."""
    with _opened(root, below) as descriptor, os.scandir(descriptor) as entries:
        return [_judged(entry) for entry in entries if not entry.name.startswith(".")]


def _judged(entry: os.DirEntry[str]) -> _Entry:
    if not entry.is_symlink():
        return _Entry(entry.name, entry.is_dir(follow_symlinks=False), False, False)
    try:
        return _Entry(entry.name, False, True, entry.is_dir())
    except OSError:  # a circle of links; it counts as an image, whose check then reports it
        return _Entry(entry.name, False, True, False)


@contextmanager
def _opened(root: str, below: str) -> Iterator[int]:
    """A descriptor of a folder below ``root``; a link on the way is an OSError."""
    with files.folder_below(root, [name for name in below.split("/") if name]) as step:
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=step)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _outside(path: str, within: Within) -> str:
    """Why a link isn't followed; "" for one that stays within the allowed folders."""
    return files.outside(path, os.path.realpath(path), within) or ""


def _pictures_in(root: str, below: str) -> list[str]:
    try:
        with _opened(root, below) as descriptor:
            names = os.listdir(descriptor)
    except OSError:
        return []
    return [name for name in names if name.lower().endswith(PICTURES) and name[0] != "."]


def _find_twins(images: list[Image]) -> None:
    """Replace images whose paths differ only in the spelling of accents by one that can't be used: it is ambiguous."""
    same: dict[str, list[Image]] = {}
    for image in images:
        same.setdefault(composed(image.below + image.name), []).append(image)
    if len(same) == len(images):
        return
    images.clear()
    for twins in same.values():
        if len(twins) > 1:
            names = " and ".join(sorted(spelt(twin.below + twin.name) for twin in twins))
            trouble = f"stands here {len(twins)} times under one name that is spelt differently: {names};"
            twins[0] = twins[0]._replace(trouble=f"{trouble} keep one of them")
        images.append(twins[0])


def drafts(
    number: int, path: str, images: list[Image], within: Within, opened: files.Folders
) -> Iterator[Draft | Problem]:
    """A draft for each of the ``images`` of the folder ``path``, of which none is left then.

    ``number`` is the entry's position in ``jobs``.
    """
    shown = os.path.join(within.shown, "")
    images.reverse()
    while images:  # each is let go of when it has become a draft
        image = images.pop()
        relative = f"{image.below}{image.name}"
        origin = InFolder(number, f"{shown}{relative}", None, None)
        fields: dict[str, Any] = {}
        if image.beside and not image.trouble:
            origin, problems = _with_sidecars(origin, path, image, fields, within, opened)
            if problems:
                yield from problems
                continue
        job_id = composed(os.path.splitext(relative)[0])
        yield Draft(origin, fields, job_id, f"{path}/{relative}", image.trouble, image.waits)


def _with_sidecars(
    origin: InFolder, path: str, image: Image, fields: dict[str, Any], within: Within, opened: files.Folders
) -> tuple[InFolder, list[Problem]]:
    """Put what an image's sidecars say into ``fields``: its origin with them, and their problems."""
    problems: list[Problem] = []
    shown = os.path.join(within.shown, image.below)
    for text in image.beside:
        file = os.path.join(shown, text)
        try:
            data = sidecars.read(f"{path}/{image.below}{text}", within, opened)
            if text.lower().endswith(".txt"):
                fields["prompt"] = sidecars.prompt(data)
                origin = origin._replace(prompt_file=file)
            else:
                own = schema.natural(sidecars.fields(data))
                document = Document(file, data)
                origin = origin._replace(sidecar=document)
                if twice := own.keys() & fields.keys():
                    what = f"{min(twice)} is given in {os.path.join(shown, image.beside[0])} as well"
                    problems.append(Problem(document.place([min(twice)]), min(twice), what))
                fields.update(own)
        except YamlError as error:
            problems.append(Problem(Place(file, error.line, error.column), "", error.text))
        except OSError as error:
            problems.append(Problem(Place(file), "", f"can't be read: {error.strerror}"))
    return origin, problems
