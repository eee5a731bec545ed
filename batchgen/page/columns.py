"""The takes as columns, which pack small: equal texts are listed once, numbers are differences. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from batchgen.page.causes import token_of, trouble_of
from batchgen.page.data import PageData
from batchgen.page.links import Link, pattern_of
from batchgen.page.pictures import Thumbnails
from batchgen.page.takes import KINDS, Take
from batchgen.request.image_fields import is_url

_KINDS = {kind: number for number, kind in enumerate(KINDS)}


class _Listed:
    """Texts by number; 0 is none."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        if not text:
            return 0
        found = self._numbers.get(text)
        if found is None:
            self.texts.append(text)
            found = self._numbers[text] = len(self.texts)
        return found


def payload(page: PageData, link: Link, thumbnails: str, made: Thumbnails, *, ids: bool) -> dict[str, Any]:
    """The page's takes as values for JSON; ``page.js`` reads them.

    ``columns`` has a list for each field, all of the same length; those in ``differences`` have the difference to the
    value before. Texts are numbers in ``texts``, from 1. ``more`` has what few takes have, by their place; with
    ``ids`` that includes every ``external_task_id``.
    """
    texts, manifests = _Listed(), _Listed()
    takes = page.takes
    columns: dict[str, Sequence[Any]] = {
        "manifest": [manifests.number(take.manifest) for take in takes],
        "job": [take.job_id for take in takes],
        "take": [take.take for take in takes],
        "kind": [_KINDS[take.kind] for take in takes],
        "at": list(_differences(int(page.calendar.wall(take.at)) for take in takes)),
        "seconds": [-1 if take.seconds is None else round(take.seconds) for take in takes],
        "prompt": list(_differences(texts.number(take.prompt) for take in takes)),
        "mode": [texts.number(take.mode) for take in takes],
        "length": [int(take.duration) if take.duration.isdigit() else 0 for take in takes],
        "sound": [int(take.sound) for take in takes],
        "micros": [take.micros for take in takes],
        "image": [texts.number(_picture(take, link)) for take in takes],
        "thumb": [
            take.image_sha256[:16] if take.image_sha256 and take.image_sha256 in made.has else ""
            for take in takes
        ],
        "lacks": [texts.number(made.lacking.get(take.image_sha256 or "")) for take in takes],
        "clip": [texts.number(_pattern(take, take.clip, link)) for take in takes],
    }
    return {
        "thumbnails": thumbnails,
        "texts": texts.texts,
        "manifests": manifests.texts,
        "columns": columns,
        "differences": ["at", "prompt"],
        "more": {place: more for place, take in enumerate(takes) if (more := _more(take, ids=ids))},
    }


def _differences(values: Iterable[int]) -> Iterable[int]:
    before = 0
    for value in values:
        yield value - before
        before = value


def _picture(take: Take, link: Link) -> str | None:
    """The URL of a take's source picture: a file's, or an address that a person may open."""
    if take.image is None or is_url(take.image):
        return take.image
    return _pattern(take, take.image, link) if take.image.startswith("/") else None


def _pattern(take: Take, path: str | None, link: Link) -> str | None:
    return None if path is None else pattern_of(link(path), take.job_id)


def _more(take: Take, *, ids: bool) -> dict[str, Any]:
    """What few takes have."""
    more: dict[str, Any] = {}
    if take.tasks > 1:
        more["tasks"], more["failed"] = take.tasks, take.failed
    trouble = trouble_of(take)
    if trouble is not None:
        more["cause"] = token_of(trouble.kind, trouble.code)
        more["message"], more["code"] = trouble.message, trouble.code
    if take.later is not None:
        more["later"] = 1
    if take.risk:
        more["risk"] = take.risk
    if take.changed is not None:
        more["changed"] = take.changed or "since it was paid"
    if ids:
        more["id"] = take.external_task_id
    if trouble is not None or take.kind == "unknown":
        more["id"], more["task"], more["request"] = take.external_task_id, take.task_id, take.request_id
    if take.verdict is not None:
        more["verdict"], more["note"] = take.verdict.verdict, take.verdict.note
    if take.ordered is not None:
        more["ordered"] = take.ordered
    if take.moved:
        more["moved"] = take.moved
    return {name: value for name, value in more.items() if value not in (None, "")}
