"""Finds and reads sidecars, the files beside an image: its prompt in ``NAME.txt``, any fields in ``NAME.yaml``.

NAME is the image's without its suffix. Another spelling (``CAT.TXT``, ``cat.png.txt``, accents as another system
writes them) counts where it can mean only one image. Where it can mean several, these images fail, rather than be paid
for without their prompts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from batchgen.files import Folders
from batchgen.limits import SIDECAR_BYTES
from batchgen.manifest.yaml12 import YamlError, decode, load
from batchgen.models import Within
from batchgen.names import folded, spelt

SUFFIXES: Final = (".txt", ".yaml", ".yml")


class Pairs(NamedTuple):
    """Each image's sidecars by its name, the reasons of images whose sidecars are unclear, and sidecars without an image."""

    beside: Mapping[str, tuple[str, ...]]
    trouble: Mapping[str, str]
    orphans: Sequence[str]


# Texts for people, which aren't prompts.
_NOTES = frozenset({"readme", "read me", "license", "licence", "copyright", "credits"})


def pair(taken: Sequence[str], others: Iterable[str], texts: Sequence[str]) -> Pairs:
    """Match a folder's ``texts`` with its images: those that an entry has ``taken``, and the ``others``."""
    stems: dict[str, list[str]] = {}
    loose: dict[str, list[str]] = {}
    for name in (*taken, *others):
        stem = os.path.splitext(name)[0]
        stems.setdefault(stem, []).append(name)
        for key in {folded(stem), folded(name)}:
            loose.setdefault(key, []).append(name)
    wanted = set(taken)
    exact: dict[str, list[str]] = {}
    further: dict[str, list[str]] = {}
    trouble: dict[str, str] = {}
    orphans: list[str] = []
    for text in sorted(texts):
        base, suffix = os.path.splitext(text)
        if base in stems:
            owners, found = stems[base], exact if suffix in SUFFIXES else further
        elif base in wanted:
            owners, found = [base], further
        else:
            owners, found = loose.get(folded(base), []), further
            if len(owners) > 1:
                for owner in owners:
                    names = " or ".join(sorted(map(_shown, owners)))
                    trouble[owner] = f"{_shown(text)} may belong to {names}; name it after one of them"
        if not owners and folded(base) not in _NOTES:
            orphans.append(text)
        for owner in owners:
            found.setdefault(owner, []).append(text)
    beside: dict[str, tuple[str, ...]] = {}
    for owner in wanted.intersection(exact.keys() | further.keys()):
        own = [*exact.get(owner, ()), *further.get(owner, ())]
        for kind in (".txt", ".y"):
            same = [text for text in own if _suffix(text).startswith(kind)]
            if len(same) > 1 and not set(same) <= set(exact.get(owner, ())):
                names = " and ".join(map(_shown, same))
                trouble.setdefault(owner, f"{names} both lie beside it; keep one of them")
        beside[owner] = tuple(sorted(own, key=lambda text: (SUFFIXES.index(_suffix(text)), text)))
    return Pairs(beside, trouble, orphans)


def _suffix(text: str) -> str:
    return os.path.splitext(text)[1].lower()


def _shown(name: str) -> str:
    return name if name.isascii() else f"{name} ({spelt(name)})"


def prompt(data: bytes) -> str:
    """The prompt in a text file's bytes. Raises YamlError."""
    text = decode(data).strip()
    if not text:
        raise YamlError(1, 1, "the file is empty; write the prompt into it, or remove it")
    return text


def fields(data: bytes) -> dict[str, Any]:
    """The fields in a YAML file's bytes, as they were typed. Raises YamlError."""
    found = load(data)
    if found is None:
        raise YamlError(1, 1, "the file is empty; write fields into it (prompt: ...), or remove it")
    if not isinstance(found, dict):
        raise YamlError(1, 1, "a file beside an image holds fields (key: value)")
    return found


def read(path: str, within: Within, folders: Folders) -> bytes:
    """The bytes of a sidecar. Raises YamlError where it is too large, and OSError, also where it lies outside ``within``."""
    with open(path, "rb", opener=lambda _, flags: folders.open_regular(path, flags, within)) as file:
        data = file.read(SIDECAR_BYTES + 1)
    if len(data) > SIDECAR_BYTES:
        raise YamlError(1, 1, f"more than {SIDECAR_BYTES >> 20} MiB: this can't be about one image")
    return data
