"""The page's HTML: an overview that is there at once, and all takes as compressed data for the gallery. Nothing is read here but the template."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from batchgen.escapes import excerpt, visible
from batchgen.page import causes
from batchgen.page.columns import payload
from batchgen.page.data import PageData, by_kind
from batchgen.page.drawing import night_bar, timeline
from batchgen.page.links import Link
from batchgen.page.pictures import Thumbnails
from batchgen.page.takes import KINDS

CAUSES = 24  # that are spelled out
_CODE = re.compile(r"`([^`]*)`")


class Files(NamedTuple):
    """Where the page finds files: ``link`` gives a path's URL, ``thumbnails`` is the URL of the folder of those that were made."""

    link: Link
    thumbnails: str = ""
    made: Thumbnails = Thumbnails()


@dataclass(frozen=True, slots=True)
class LivePage:
    """What a page from a server talks to: relative URLs, and the token that each request carries as ``X-Batchgen-Token``.

    ``verdicts`` takes POSTs of ``{"external_task_id", "manifest", "job_id", "take", "verdict": "keep" | "retake" | null, "note"}``, ``orders`` of
    ``{"jobs": [{"manifest", "job_id", "note"}]}``, which the next run pays for; ``events``
    is a stream of server-sent events, after each ``changed`` of which ``data`` (:func:`data_json`) and ``overview``
    (:func:`overview`) are asked for anew.
    """

    token: str
    verdicts: str = "verdicts"
    orders: str = "orders"
    events: str = "events"
    data: str = "data"
    overview: str = "overview"


class Commands(NamedTuple):
    """The command lines that the page puts together for a shell, up to the jobs' names."""

    keep: str = "batchgen retake --keep"
    retake: str = "batchgen retake"


COMMANDS = Commands()


def render(
    page: PageData,
    files: Files,
    live: LivePage | None = None,
    *,
    commands: Commands = COMMANDS,
    mask: Callable[[str], str] = str,
) -> str:
    """The whole page. ``mask`` takes the key out of any text."""
    style, script = _Trusted(_asset("page.css")), _Trusted(_asset("page.js"))
    talks = live and json.dumps({name: getattr(live, name) for name in LivePage.__slots__})
    text = _template("page.html").render(
        _context(page),
        policy=_policy(style, script, live=live is not None),
        style=style,
        script=script,
        live=talks,
        data=_packed(data_json(page, files, commands=commands, mask=mask, ids=live is not None)),
    )
    return mask(text)


def overview(page: PageData, *, mask: Callable[[str], str] = str) -> str:
    """The part of the page above its gallery, as HTML."""
    return mask(_template("overview.html").render(_context(page)))


def data_json(
    page: PageData,
    files: Files,
    *,
    commands: Commands = COMMANDS,
    mask: Callable[[str], str] = str,
    ids: bool = True,
) -> str:
    """The takes for the page's script, as JSON that is ASCII; a page that talks to a server needs their ``ids``."""
    head = {
        "commands": commands._asdict(),
        "kinds": {kind: word for kind, (word, _) in KINDS.items()},
        "rehearsal": page.rehearsal,
    }
    return mask(
        json.dumps(
            {**head, **payload(page, files.link, files.thumbnails, files.made, ids=ids)},
            separators=(",", ":"),
        )
    )


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _policy(style: str, script: str, *, live: bool) -> str:
    """The Content-Security-Policy: the page's own style and script by their digests, files beside it, and nothing else."""
    own, server = ("'self'", "'self'") if live else ("'self' file:", "'none'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            f"img-src {own}",
            f"media-src {own}",
            f"connect-src {server}",
            "base-uri 'none'",
            "form-action 'none'",
        )
        + (() if live else ("require-trusted-types-for 'script'", "trusted-types 'none'"))
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class _Trusted(str):
    """A file of ours that stands in the page as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "usd": usd,
        "count": lambda value: f"{value:,.0f}",
        "shown": visible,
        "brief": lambda text: excerpt(text, 160),
        "advice": _advice,
        "day": lambda day: f"{day:%a} {day.day} {day:%b}",
    }
    return environment


def _template(name: str) -> Template:
    return _environment().get_template(name)


def usd(micros: float) -> str:
    """Micro-dollars as dollars and cents."""
    return f"{'-' if micros < 0 else ''}${abs(micros) / 1_000_000:,.2f}"


def _advice(text: str) -> Markup:
    """A sentence with its commands, which stand between backquotes, as code."""
    parts = _CODE.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _title(page: PageData) -> str:
    return f"Night of {_long(page.nights[0].date)}" if page.nights else "No night yet"


def _long(day: date) -> str:
    return f"{day:%A} {day.day} {day:%B}"


def _context(page: PageData) -> Mapping[str, Any]:
    night = page.nights[0] if page.nights else None
    kinds = by_kind(page.takes)
    made = datetime.fromtimestamp(page.made, page.calendar.zone)
    return {
        "title": _title(page),
        "made": f"{made:%d %b %Y, %H:%M %Z}",
        "days": page.calendar.zone.key,
        "ledger": page.ledger,
        "rehearsal": page.rehearsal,
        "night": night,
        "usual": page.usual,
        "numbers": _numbers(page) if night else (),
        "totals": [(KINDS[kind][0], kind, count) for kind, count in kinds.items()],
        "total": len(page.takes),
        "units": page.units,
        "budgets": page.budgets,
        "drift": page.drift,
        "slots": page.slots and timeline(page.slots),
        "nights": [(one, night_bar(one, _largest(page.nights))) for one in page.nights],
        "runs": page.runs,
        "money": page.money,
        "failures": page.failures,
        "causes": CAUSES,
        "risks": page.risks,
        "kept_days": causes.KEPT_DAYS,
        "verdicts": _verdicts(page),
    }


def _largest(nights: Iterable[Any]) -> int:
    return max((one.total for one in nights), default=0)


def _verdicts(page: PageData) -> Sequence[tuple[str, int]]:
    counts = {"keep": 0, "retake": 0}
    for take in page.takes:
        if take.verdict is not None and take.verdict.verdict is not None:
            counts[take.verdict.verdict] += 1
    return [(name, count) for name, count in counts.items() if count]


def _numbers(page: PageData) -> Sequence[tuple[str, str, str, str]]:
    """The night's numbers: (name, value, what is usual, its class)."""
    night, before = page.nights[0], page.usual
    rows = [
        ("Done", f"{night.counts['done']:,}", f"usually {before.done:,.0f}" if before else "", "done"),
        (
            "Failed",
            f"{night.counts['failed']:,}",
            f"usually {before.failed:,.0f}" if before else "",
            "failed",
        ),
        ("Waiting", f"{night.counts['waiting']:,}", "", "waiting"),
    ]
    if night.counts["unknown"]:
        rows.append(("Unknown", f"{night.counts['unknown']:,}", "needs a person", "unknown"))
    rows.append(
        (
            "Money",
            usd(night.money.estimated),
            f"usually {usd(before.micros)}" if before else "estimated",
            "money",
        )
    )
    return rows
