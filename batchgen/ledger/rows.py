"""Makes values from the rows of the ledger's file. A cell that batchgen never writes is a LedgerError."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

import orjson

from batchgen import limits
from batchgen.judgements import Order, Verdict
from batchgen.ledger.integrity import MAX_NUMBER, CellTypes, wrong_cell
from batchgen.ledger.packing import LETTERS, STATES
from batchgen.models import (
    Brief,
    HistoryEntry,
    ImageFile,
    Record,
    State,
    StoredClip,
    Unusable,
    is_try_of,
)
from batchgen.names import composed
from batchgen.request.json_text import is_request

COLUMNS = Record._fields
_ONE_RUN = ("xxh3", "within", "recipe")  # fields of an image that hold for one run alone
IMAGE_COLUMNS = tuple(name for name in ImageFile._fields if name not in _ONE_RUN)

_STATE, _CANONICAL, _PARTS = map(COLUMNS.index, ("state", "canonical", "parts"))
_STATES = {state.value: state for state in State}
_LETTERS = {
    letter: State(state) for state, letter in STATES.items()
}  # in the history, where earlier versions wrote names
_RECORD, _BRIEF, _STORED_CLIP, _UNUSABLE, _VERDICT = (
    CellTypes(kind, kind._fields) for kind in (Record, Brief, StoredClip, Unusable, Verdict)
)
_ORDER = CellTypes(Order, Order._fields[:-1])
_KEY = CellTypes(Record, ("manifest", "job_id", "take"))
_IMAGE = CellTypes(ImageFile, IMAGE_COLUMNS)
_EVENT = CellTypes(
    HistoryEntry, ("external_task_id", "at", "event", "from_state", "code", "message", "request_id")
)


def to_record(row: Sequence[Any]) -> Record:
    """A Record from the values of COLUMNS."""
    return to_record_and_request(row)[0]


def to_record_and_request(row: Sequence[Any]) -> tuple[Record, dict[str, Any]]:
    """A Record from the values of COLUMNS, and the fields of its canonical text."""
    _RECORD.check(row)
    _check_ids(row[0], row[1])
    request = _request(row[_CANONICAL], row[0])
    if row[_PARTS] is not None:
        _check_parts(row[_PARTS], row[0])
    values = list(row)
    values[_STATE] = to_state(values[_STATE], row[0])
    return Record._make(values), request


def to_stored_clip(row: Sequence[Any]) -> StoredClip:
    """A StoredClip from the values of its fields."""
    _STORED_CLIP.check(row)
    found = StoredClip(*row)
    if found.parts is not None:
        _check_parts(found.parts, found.external_task_id)
    return found


def _check_ids(name: str, base: str) -> None:
    """Raise LedgerError where a row's id is neither its job's own nor one with a retry's number (``ID~2``)."""
    if not is_try_of(name, base):
        raise wrong_cell("base_id", name, "is no id that it is a try of")


def _request(text: str, name: object) -> dict[str, Any]:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:  # half of a pair, which is no UTF-8, and ours all the same
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
    if not is_request(fields):
        raise wrong_cell("canonical", name, "is no request")
    return fields  # type: ignore[no-any-return]  # is_request() has seen that it is a dict


def _check_parts(text: str, name: object) -> None:
    try:
        parts = json.loads(text)
        good = type(parts) is list and all(
            type(one["part"]) is str
            and type(one["url"]) is str
            and type(one.get("path") or "/") is str
            and (one.get("path") or "/")[0] == "/"
            for one in parts
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise wrong_cell("parts", name, "are no further files of a clip")


def to_key(row: Sequence[Any], *, compose: bool = False) -> tuple[str, str, int]:
    """Manifest name, job id and take from their cells; with ``compose`` the names in NFC, else as they are stored."""
    _KEY.check(row)
    manifest, job_id, take = row
    return (composed(manifest), composed(job_id), take) if compose else (manifest, job_id, take)


def to_target(target: Any, record: Record) -> str:
    """The target of a move, which must be a clip's path below the row's output folder."""
    inside = isinstance(target, str) and target.startswith(f"{record.root.rstrip('/')}/")
    if not (inside and target.endswith(".mp4") and "/../" not in target):
        raise wrong_cell("moves.target", record.external_task_id, "is no clip's path")
    return str(target)


def to_number(value: Any, name: str, row: object) -> float | None:
    """A time or a duration in seconds; ``name`` and ``row`` say in an error where it stands."""
    if value is not None and (type(value) is not float or not abs(value) < MAX_NUMBER):
        raise wrong_cell(name, row, "is no time")
    return value


def to_state(text: str, name: object) -> State:
    try:
        return _STATES[text]
    except (KeyError, TypeError):
        raise wrong_cell("state", name, "is none that there is") from None


def _detail(text: Any, name: str) -> dict[str, Any]:
    try:
        detail = json.loads(text) if text else {}
    except (ValueError, TypeError, RecursionError):
        detail = None
    if not isinstance(detail, dict):
        raise wrong_cell("events.detail", name, "is no JSON object")
    return detail


def to_brief(
    external_task_id: str, base_id: str, state: str, digest: str, error_code: str | None, number: int
) -> Brief:
    # One string for both names where they are equal: there are as many of these as jobs.
    base_id = external_task_id if base_id == external_task_id else base_id
    _BRIEF.check((external_task_id, base_id, state, digest, error_code, number))
    _check_ids(external_task_id, base_id)
    return Brief(external_task_id, base_id, to_state(state, external_task_id), digest, error_code, number)


def to_image(row: Sequence[Any]) -> tuple[str, ImageFile]:
    path, size, mtime_ns, inode, *rest = row
    try:
        image = ImageFile(path, size, int(mtime_ns), int(inode), *rest)
    except (ValueError, TypeError):
        raise wrong_cell("images.mtime_ns or inode", path, "is no number") from None
    _IMAGE.check((path, size, 0, 0, *rest))
    return path, image


def image_cells(image: ImageFile) -> tuple[object, ...]:
    """The values of IMAGE_COLUMNS after the path. Times and inodes are text: they may exceed 64 bits with a sign."""
    times = str(image.mtime_ns), str(image.inode)
    return image.size, *times, image.sha256, image.format, image.width, image.height, image.orientation


def to_unusable(row: Sequence[Any]) -> Unusable:
    _UNUSABLE.check(row)
    return Unusable(*row)


def to_verdict(row: Sequence[Any]) -> Verdict:
    """A Verdict from the values of its fields."""
    _VERDICT.check(row)
    if row[2] not in ("keep", "retake", None):
        raise wrong_cell("verdict", row[0], "is none that there is")
    return Verdict(*row)


def to_order(row: Sequence[Any]) -> Order:
    """An Order from the values of its fields."""
    manifest, job_id, take, at, note, by, begun = row
    _ORDER.check((manifest, job_id, take, at, note, by))
    if not 0 < take <= limits.TAKE:
        raise wrong_cell("orders.take", f"{manifest}/{job_id}", "is no take")
    return Order(manifest, job_id, take, at, note, by, bool(begun))


def to_event(external_task_id: str, row: Sequence[Any]) -> HistoryEntry:
    """``row``: at, event, from_state, to_state, code, message, request_id, detail."""
    at, event, before, after, code, message, request_id, detail = row
    _EVENT.check((external_task_id, at, event, before, code, message, request_id))
    return HistoryEntry(
        external_task_id,
        at,
        LETTERS.get(event, event),
        _LETTERS.get(before) or _STATES.get(before),
        _LETTERS.get(after) or to_state(after, external_task_id),
        code,
        message,
        request_id,
        _detail(detail, external_task_id),
    )


def path_key(path: str) -> str:
    """A key that is equal for paths that some file system takes for the same: case and accents' spelling don't count."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
