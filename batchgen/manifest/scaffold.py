"""Writes the first manifest for a folder of pictures: what lies there, what of it has to be prepared, and the text.

Of pictures only headers are read. Two pictures that would be one job (``a.jpg`` beside ``a.heic``) make one: the format of
which there are more is taken by the folder's ``match``, and the others are jobs of their own or are left out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from batchgen.errors import ImageError
from batchgen.files import open_regular
from batchgen.images import facts, recipe
from batchgen.images.inspection import MAX_BYTES, MAX_RATIO, MIN_SIDE
from batchgen.manifest import folders
from batchgen.manifest.folders import Image
from batchgen.manifest.yaml12 import YamlError, load
from batchgen.models import Within
from batchgen.names import composed

FIELDS: Final = {"model_name": "kling-v3", "mode": "std", "duration": "5"}
PROMPT: Final = "Slow camera push-in, gentle parallax, natural light"
_READERS: Final = 8  # threads; each waits for a disk or a server of files
_USUAL: Final = (".jpg", ".jpeg", ".png")  # what a match takes in any case: more may come
_TAKEN: Final = dict.fromkeys((*_USUAL, *facts.SUFFIXES))  # in the order of preference
_BARE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./")


@dataclass(slots=True)
class Contents:
    """What lies in a folder of pictures, and what a manifest makes of it. Paths are relative to the folder."""

    suffixes: tuple[str, ...] = ()  # of the pictures that the folder's entry takes
    deep: bool = False  # whether some of them lie in folders below it
    pictures: int = 0  # jobs that the manifest has
    alone: list[str] = field(default_factory=list)  # pictures that are jobs of their own
    twins: list[str] = field(
        default_factory=list
    )  # pictures that are left out, since another one has their id
    needs: Counter[str] = field(default_factory=Counter)  # why pictures have to be prepared, and how many
    prompts: int = 0  # pictures with a text beside them
    fields: int = 0  # pictures with fields beside them
    others: Counter[str] = field(default_factory=Counter)  # suffixes of all other files

    @property
    def match(self) -> str | None:
        """The entry's ``match``; None where it takes the same without one."""
        usual = facts.SUFFIXES if self.needs else folders.IMAGE_SUFFIXES
        if not (self.deep or self.alone or self.twins) and set(self.suffixes) <= set(usual):
            return None
        names = ",".join(suffix[1:] for suffix in self.suffixes)
        return f"{'**/' * self.deep}*.{f'{{{names}}}' if ',' in names else names}"


def look(root: str, shown: str) -> Contents:
    """What lies in the folder ``root`` (absolute), which messages call ``shown``, and below it. Raises OSError."""
    within = Within(shown, (os.path.realpath(root),))
    everything = (
        "**/*.{" + ",".join(suffix[1:] for suffix in dict.fromkeys((*folders.PICTURES, *_TAKEN))) + "}"
    )
    found = folders.look(root, everything, within)
    contents = Contents(others=found.strangers + Counter(_suffix(name) for name in found.orphans))
    groups: dict[str, list[Image]] = {}
    for image in found.images:
        groups.setdefault(_suffix(image.name), []).append(image)
    for suffix in groups.keys() - _TAKEN.keys():
        contents.others[suffix] += len(groups.pop(suffix))
    _share_ids(contents, groups)
    taken = [image for images in groups.values() for image in images]
    contents.pictures = len(taken)
    contents.deep = any(image.below for image in taken)
    for image in taken:
        beside = {_suffix(text) for text in image.beside}
        contents.prompts += ".txt" in beside
        contents.fields += bool(beside - {".txt"})
    with ThreadPoolExecutor(_READERS, "headers") as pool:
        needs = Counter(pool.map(lambda one: _need(root, one, within), taken))
    contents.needs = Counter({need: count for need, count in needs.items() if need})
    return contents


def claimed_by(manifests: Iterable[str], root: str) -> list[str]:
    """Those of the ``manifests`` (paths of files) that take the pictures of ``root``, or of a folder above or below it."""
    claiming = []
    for file in manifests:
        try:
            with open(file, "rb", opener=open_regular) as opened:
                content = load(opened.read(1 << 20))
        except (OSError, YamlError):
            continue
        jobs = content.get("jobs") if isinstance(content, dict) else None
        for entry in jobs if isinstance(jobs, list) else ():
            named = entry.get("folder") if isinstance(entry, dict) else None
            if isinstance(named, str) and "\0" not in named:
                folder = os.path.realpath(os.path.join(os.path.dirname(file), os.path.expanduser(named)))
                if os.path.commonpath([folder, os.path.realpath(root)]) in (folder, os.path.realpath(root)):
                    claiming.append(file)
                    break
    return claiming


def text(contents: Contents, *, name: str, folder: str, max_cost_usd: int, clips: str | None = None) -> str:
    """The manifest; ``folder`` is as it names it. ``clips`` is where clips go without a word of it, if somebody said so."""
    below = " and in the folders below it" if contents.deep else ""
    lines = [
        f"# One job for each picture in {_plain(folder)}{below}; pictures that come later are jobs of later runs.",
        "# What a run would do, and what that costs: batchgen plan. All keys: batchgen help manifest",
        "version: 1",
        f"name: {_scalar(name)} # part of what tells paid jobs apart: it stays as it is",
        f"output_dir: clips # beside this file; its clips go into clips/{_plain(name)}"
        if clips is None
        else f"# output_dir: clips # without it, its clips go into {_plain(os.path.join(clips, name))}: the configuration says so",
    ]
    cap = f"max_cost_usd: {max_cost_usd}"
    if contents.fields:
        lines.append(f"# {cap} # a run creates for no more; the fields beside pictures may make them dearer")
    else:
        lines.append(f"{cap} # a run creates for no more, however many pictures there are by then")
    lines += ["", "defaults:"]
    lines += [
        f"  model_name: {FIELDS['model_name']}",
        f"  mode: {FIELDS['mode']} # or pro or 4k, which cost more",
        f"  duration: {FIELDS['duration']} # seconds, 3 to 15",
        "  # What is to happen. A text beside a picture is its own: NAME.txt for NAME.jpg.",
        f"  prompt: {PROMPT}",
    ]
    if contents.needs:
        count = contents.needs.total()
        lines.append(f"  # {count:,} of {contents.pictures:,} pictures need it: {reasons(contents.needs)}")
        lines.append("  prepare: true")
    lines += ["", "jobs:"]
    if contents.suffixes:
        lines.append(f"  - folder: {_scalar(folder)}")
        if contents.match:
            lines.append(f"    match: {_scalar(contents.match)}")
    if contents.alone:
        lines.append("  # Pictures of other formats. One that lies beside another of its name is left out.")
    for path in contents.alone:
        lines.append(f"  - id: {_scalar(composed(os.path.splitext(path)[0]))}")
        lines.append(f"    image: {_scalar(os.path.join(folder, path))}")
    return "\n".join([*lines, ""])


def reasons(needs: Counter[str]) -> str:
    """Why pictures have to be prepared, in words."""
    return ", ".join(f"{count:,} {need}" for need, count in needs.most_common())


def manifest_name(name: str) -> str:
    """A manifest's name from that of a folder: what it may not hold is left out."""
    kept = "".join(
        letter if letter.isprintable() and letter not in "/\\" else "-" for letter in composed(name)
    )
    return kept[:100].lstrip(".~ ").rstrip(". ") or "pictures"


def _share_ids(contents: Contents, groups: dict[str, list[Image]]) -> None:
    """Decide which pictures the entry takes, which are jobs of their own, and which make none, so that no id is there twice.

    ``groups``, by suffix, keep those that make jobs.
    """
    preference = [*_TAKEN]
    ids: set[str] = set()
    suffixes: list[str] = []
    for suffix in sorted(groups, key=lambda one: (-len(groups[one]), preference.index(one))):
        own = [composed(os.path.splitext(image.below + image.name)[0]) for image in groups[suffix]]
        if len(set(own)) == len(own) and ids.isdisjoint(own):
            suffixes.append(suffix)
            ids.update(own)
            continue
        kept = []
        for image, job_id in zip(groups[suffix], own, strict=True):
            (contents.twins if job_id in ids else contents.alone).append(image.below + image.name)
            if job_id not in ids:
                kept.append(image)
            ids.add(job_id)
        groups[suffix] = kept
    free = [suffix for suffix in _USUAL if suffix not in groups]
    if suffixes:
        contents.suffixes = tuple(sorted({*suffixes, *free}, key=preference.index))


def _need(root: str, image: Image, within: Within) -> str:
    """Why a picture has to be prepared; "" for one that can be sent as it lies, or not at all, as the plan says then."""
    if image.trouble:
        return ""
    try:
        found = facts.examine(f"{root}/{image.below}{image.name}", within)
        todo = recipe.recipe(found, recipe.Options())
    except ImageError:
        return ""
    if todo.format is None:
        return ""
    short, long = sorted((found.width, found.height))
    if found.format not in ("jpeg", "png"):
        return {"webp": "WebP"}.get(found.format, found.format.upper())
    if found.orientation != 1:
        return "turned by their EXIF data"
    if found.size > MAX_BYTES:
        return "over 10 MB"
    if short < MIN_SIDE:
        return f"under {MIN_SIDE} px"
    if long * MAX_RATIO[1] > short * MAX_RATIO[0]:
        return "longer than 2.5:1"
    return "with colours that few screens show"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _scalar(value: str) -> str:
    """A text as YAML has it; quoted unless it can't be anything but a text."""
    plain = value and set(value) <= _BARE and value[0].isalpha()
    if plain and value.lower() not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n"):
        return value
    return '"' + "".join(map(_letter, value)) + '"'


def _letter(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"


def _plain(value: str) -> str:
    """A text for a comment: in one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in value)
