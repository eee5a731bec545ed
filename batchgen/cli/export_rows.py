"""Rows of the ledger as other programs read them. The manual lists the fields; fields are only ever added."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from batchgen.amounts import dollars
from batchgen.http.addresses import request_url
from batchgen.judgements import Verdict
from batchgen.ledger.transitions import may_be_charged
from batchgen.models import Record
from batchgen.request.asked import asked, parsed
from batchgen.storage.clips import iso

EXPORT_FIELDS = (
    "external_task_id",
    "task_id",
    "state",
    "manifest",
    "job_id",
    "take",
    "attempt",
    "error_code",
    "error_message",
    "request_id",
    "created_at",
    "submitted_at",
    "finished_at",
    "video_url",
    "video_path",
    "video_sha256",
    "cost_usd_estimate",
    "units_charged",
    "prompt",
    "image",
    "image_sha256",
    "mode",
    "duration",
    "sound",
    "verdict",
    "current",
    "charged_usd",
    "run_id",
)
#: Those of them that a spreadsheet would take for numbers or dates, and round.
IDENTIFIERS = frozenset(
    {
        *("external_task_id", "task_id", "manifest", "job_id", "request_id"),
        *("video_sha256", "image_sha256"),
    }
)
_LONGEST_TEXT = 255  # characters of a text in a spreadsheet's formula
# What a cell begins with that is, or may become, a formula; and where a cell begins inside of a text, for a program that
# takes another separator than the comma: such as Excel in the countries that write 0,5.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_LATER = re.compile(r"(?<![;|\s\"])([;|\s\"]++)([=+\-@\uff1d\uff0b\uff0d\uff20])")
_SEPARATORS = frozenset(";|\t\r\n")


_MONEY = ("cost_usd_estimate", "charged_usd")  # floats, whose exponents orjson writes in another way


_BREAK = ",\n  "


class _Returned:
    """What the csv module writes to, to return it."""

    @staticmethod
    def write(text: str) -> str:
        return text


def export_row(
    record: Record,
    fields: Mapping[str, Any] | None = None,
    *,
    current: bool,
    verdict: Verdict | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    """The fields of one row, in order; times as ISO 8601 in UTC, what is empty as None.

    ``fields`` are those of its canonical text, where they are known; ``current``: whether the row's clip is its job's now;
    ``verdict``: what a person said of it last; ``run_id``: the name of the run that sent its last create.
    """
    request = asked(parsed(record.canonical) if fields is None else fields)
    url = record.video_url
    if url and "@" in url:
        url = request_url(url) or url  # an older version may have kept a user and a password
    return {
        "external_task_id": record.external_task_id or None,
        "task_id": record.task_id or None,
        "state": record.state.value,
        "manifest": record.manifest or None,
        "job_id": record.job_id or None,
        "take": record.take,
        "attempt": record.attempt,
        "error_code": record.error_code or None,
        "error_message": record.error_message or None,
        "request_id": record.request_id or None,
        "created_at": iso(record.created_at),
        "submitted_at": iso(record.submitted_at),
        "finished_at": iso(record.finished_at),
        "video_url": url or None,
        "video_path": record.video_path or None,
        "video_sha256": record.video_sha256 or None,
        "cost_usd_estimate": record.cost_usd_estimate if may_be_charged(record) else 0.0,
        "units_charged": record.units_charged or None,
        "prompt": request["prompt"],
        "image": record.image or request["image"],
        "image_sha256": request["image_sha256"] or None,
        "mode": request["mode"] or None,
        "duration": request["duration"] or None,
        "sound": request["sound"] or None,
        "verdict": verdict.verdict if verdict is not None else None,
        "current": current,
        "charged_usd": None if record.charged is None else dollars(record.charged),
        "run_id": run_id,
    }


def csv_lines(rows: Iterable[Mapping[str, Any]], *, excel: bool = False) -> Iterator[str]:
    """Rows as CSV without the ends of their lines, the fields' names first; True and False as ``true`` and ``false``.

    With ``excel`` as spreadsheets open it without damage: a byte order mark, so that accents stay; identifiers as
    text, so that long numbers stay; and text that would be a formula with a ``'`` before it. Without ``excel``
    as it is, for programs.
    """
    end = "\r\n" if excel else "\n"
    writer = csv.writer(_Returned, lineterminator=end, quoting=csv.QUOTE_ALL if excel else csv.QUOTE_MINIMAL)
    yield ("\ufeff" if excel else "") + writer.writerow(EXPORT_FIELDS).removesuffix(end)
    for row in rows:
        if excel:
            yield writer.writerow(map(spreadsheet_cell, row, map(_no_bool, row.values()))).removesuffix(end)
            continue
        cells = [
            "" if one is None else one if type(one) is str else str(_no_bool(one)) for one in row.values()
        ]
        text = ",".join(cells)
        if '"' in text or "\n" in text or "\r" in text:
            text = writer.writerow(cells).removesuffix(end)
        elif text.count(",") >= len(cells):  # as the csv module writes it, in a fifth of the time
            text = ",".join([f'"{cell}"' if "," in cell else cell for cell in cells])
        yield text


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows as JSON objects, as the standard library writes them."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    for row in rows:
        if all(row[name] is None or row[name] == 0 or 0.001 <= row[name] < 1e15 for name in _MONEY):
            try:  # in a third of the time: what is indented has the spaces, and no text has the end of a line
                text = orjson.dumps(row, option=orjson.OPT_INDENT_2).decode()
                yield f"{{{text[4:-2].replace(_BREAK, ', ')}}}"
                continue
            except orjson.JSONEncodeError:  # half a surrogate pair
                pass
        yield encode(row)


def _no_bool(value: Any) -> Any:
    return "true" if value is True else "false" if value is False else value


def _no_formula(found: re.Match[str]) -> str:
    """Insert a ``'`` after whatever a spreadsheet may take for a separator, where a formula would follow."""
    between, start = found.groups()
    return f"{between}'{start}" if not _SEPARATORS.isdisjoint(between) else found[0]


def spreadsheet_cell(field: str, value: Any) -> Any:
    """The value as a spreadsheet shows it unchanged, and never runs it.

    ``="1234"`` is a text to Excel and to LibreOffice alike; ``'`` is what keeps the rest from being a formula, also
    after the file was saved there and opened again.
    """
    if not isinstance(value, str) or not value:
        return value
    if ";" in value or "|" in value or "\t" in value or "\n" in value or "\r" in value:
        value = _LATER.sub(_no_formula, value)
    if value.startswith(_FORMULA):
        return f"'{value}"
    if field in IDENTIFIERS and len(value) <= _LONGEST_TEXT and value.isprintable():
        text = value.replace('"', '""')
        return f'="{text}"'
    return value
