"""Finds the jobs and rows of the ledger that a JOB on the command line means.

A job's full name is ``MANIFEST/JOB_ID``. Any end of it after a ``/`` names it, too, and a glob means all full names and
ends that it matches; ``@2`` behind any of these means the second take. An ``external_task_id`` wins over a full name, that
over an end, and that over a glob, so that ids with ``*``, ``[`` or ``@`` in them can be named.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from batchgen.errors import UsageError
from batchgen.names import composed

if TYPE_CHECKING:
    from batchgen.ledger.reader import Records
    from batchgen.models import Record

LISTED = 10  # names that a message lists
SEARCHED = 20_000  # names that are searched for similar ones
_GLOB = re.compile(r"[*?[]")
_TAKE = re.compile(r"(?s)(.+)@([1-9]\d{0,8})")


class Name(NamedTuple):
    """One take of one job."""

    manifest: str
    job_id: str
    take: int = 1

    def __str__(self) -> str:
        return f"{self.manifest}/{self.job_id}" + (f"@{self.take}" if self.take > 1 else "")


class Match(NamedTuple):
    """The takes that a text means; ``is_glob`` where it matched as a glob, which may mean several jobs."""

    names: Sequence[Name]
    is_glob: bool = False

    @property
    def jobs(self) -> Sequence[str]:
        """The jobs' full names, whichever take."""
        return list(dict.fromkeys(str(name._replace(take=1)) for name in self.names))


def match(text: str, names: Iterable[Name]) -> Match:
    """The takes among ``names`` that ``text`` means. The spelling of accents makes no difference."""
    spelt = [(name, composed(f"{name.manifest}/{name.job_id}")) for name in names]
    text = composed(text)
    with_take = _TAKE.fullmatch(text)
    readings: list[tuple[str, int | None]] = [(text, None)]
    readings += [(with_take[1], int(with_take[2]))] if with_take else []
    for fits in (_is_full, _is_end, _fits_glob):
        for wanted, take in readings:
            if fits is _fits_glob and not _GLOB.search(wanted):
                continue
            test = fits(wanted)
            found = [name for name, full in spelt if (take is None or name.take == take) and test(full)]
            if found:
                return Match(found, fits is _fits_glob)
    return Match(())


def rows(ledger: Records, text: str, *, many: bool) -> dict[Name, list[Record]]:
    """The takes that ``text`` means, each with its rows in the order they were made.

    An ``external_task_id`` means its row alone; a take whose image was refused may have no rows. Raises UsageError where
    ``text`` means nothing, or several jobs; with ``many``, a glob may mean several.
    """
    if (record := ledger.record(text)) is not None:
        return {Name(record.manifest, record.job_id, record.take): [record]}
    names = [Name(*name) for name in ledger.names()]
    found = match(text, names)
    if not found.names:
        raise UsageError(_nothing(ledger.path, text, names))
    if len(found.jobs) > 1 and not (many and found.is_glob):
        listed = found.jobs[:LISTED]
        more = [f"  ... and {len(found.jobs) - LISTED:,} more"] if len(found.jobs) > LISTED else []
        first = f"{text!r} names {len(found.jobs):,} jobs; say which:"
        raise UsageError("\n".join([first, *(f"  {name}" for name in listed), *more]))
    return {name: ledger.rows_of(*name) for name in found.names}


def near(text: str, names: Iterable[Name]) -> list[str]:
    """Full names that are similar to ``text``, the likeliest first."""
    text = composed(text).strip().strip("/").casefold()
    texts: dict[str, list[str]] = {}  # what is compared -> full names
    for name in list(names)[:SEARCHED]:
        full = str(name._replace(take=1))
        for part in (full, name.job_id, name.job_id.rpartition("/")[2]):
            texts.setdefault(composed(part).casefold(), []).append(full)
    import difflib

    likely = difflib.get_close_matches(text, texts, LISTED, 0.7)
    likely += [part for part in texts if text and text in part]
    return list(dict.fromkeys(full for part in likely for full in texts[part]))[:LISTED]


def _nothing(path: str, text: str, names: Sequence[Name]) -> str:
    message = f"no job in the ledger {path} goes by {text!r}"
    wanted = composed(text).strip("/")
    if any(composed(name.manifest) == wanted for name in names):
        return f"{message}; '{text.strip('/')}/*' names the jobs of that manifest"
    if likely := near(text, names):
        return "\n".join([f"{message}; near it:", *(f"  {name}" for name in likely)])
    return message


def _is_full(wanted: str) -> Callable[[str], bool]:
    return lambda full: full == wanted


def _is_end(wanted: str) -> Callable[[str], bool]:
    return lambda full: full.endswith(f"/{wanted}")


def _fits_glob(wanted: str) -> Callable[[str], bool]:
    """A test whether a full name, or an end of it, matches a glob; ``*`` matches ``/``, too."""
    pattern = re.compile(rf"(?s:.*/)?{fnmatch.translate(wanted)}")
    return lambda full: pattern.match(full) is not None
