"""What the rows of a ledger cost, summed up by quarters of an hour and by manifest, mode or job.

SQLite sums up, a block of rows at a time: no read stays open in between, and a million rows need no more memory than a few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from batchgen.ledger.conditions import MAY_BE_CHARGED
from batchgen.ledger.integrity import wrong_cell

BLOCK = 50_000  # rows of one read
JOBS = 2_000  # jobs of one read
# What sums of rows have: how many, their estimates, those of rows without a charge, and the charges.
_SUMS = "count(*), sum(ifnull(estimate, 0)), sum(iif(charged IS NULL, ifnull(estimate, 0), 0)), sum(ifnull(charged, 0))"
_INTEGERS = (int,) * 4
_WITHIN = f"{MAY_BE_CHARGED} AND quarter >= ?3 AND quarter < ?4"


@dataclass(slots=True)
class Sums:
    """The money of some rows that may be charged, in micro-dollars, and their number.

    ``reserved`` is held by rows without a charge; with ``charged``, which is what the API said, it is what budgets count.
    """

    tasks: int = 0
    estimated: int = 0
    reserved: int = 0
    charged: int = 0

    @property
    def difference(self) -> int:
        """How much more was charged than had been estimated, of the rows with a charge."""
        return self.charged + self.reserved - self.estimated

    def add(self, other: Sums) -> None:
        self.tasks += other.tasks
        self.estimated += other.estimated
        self.reserved += other.reserved
        self.charged += other.charged


class Within(NamedTuple):
    """The quarters of an hour, counted from 1970, that are asked about: from ``first`` on, and before ``end``."""

    first: int = -(2**62)
    end: int = 2**62


EVER = Within()


class Costs:
    """Reads what the rows of a ledger cost."""

    def __init__(self, query: Callable[[str, Sequence[Any]], Iterator[Sequence[Any]]]) -> None:
        """``query`` gives the rows that a statement finds with these values. Raises LedgerError."""
        self._query = query

    def by_quarter(self, within: Within = EVER) -> Iterator[tuple[int, Sums]]:
        """Sums by quarter of an hour, counted from 1970; one may come more than once, for other rows."""
        for quarter, *sums in self._by("quarter", within):
            yield quarter, _sums(sums)

    def by_manifest(self, within: Within = EVER) -> Iterator[tuple[str, Sums]]:
        """Sums by manifest name; one may come more than once, for other rows."""
        for name, *sums in self._by("manifest", within):
            yield _text(name), _sums(sums)

    def by_mode(self, within: Within = EVER) -> Iterator[tuple[str, Sums]]:
        """Sums by mode; one may come more than once, for other rows."""
        for name, *sums in self._by("substr(kind, 1, instr(kind, '/') - 1)", within):
            yield _text(name), _sums(sums)

    def by_job(self, within: Within = EVER) -> Iterator[tuple[str, str, Sums]]:
        """Sums by manifest name and job id, in their order, of all takes."""
        sql = (
            f"SELECT manifest, job_id, {_SUMS} FROM tasks INDEXED BY tasks_job"
            f" WHERE (manifest, job_id) > (?1, ?2) AND {_WITHIN} GROUP BY manifest, job_id"
            f" ORDER BY manifest, job_id LIMIT {JOBS}"
        )
        manifest, job_id = "", ""
        while rows := list(self._query(sql, (manifest, job_id, *within))):
            before = (manifest, job_id)
            for row in rows:
                manifest, job_id = _text(row[0]), _text(row[1])
                yield manifest, job_id, _sums(row[2:])
            if (manifest, job_id) == before:  # a BLOB, which comes after every text, and again each time
                raise wrong_cell("manifest or job_id", job_id, "is no text")

    def _by(self, key: str, within: Within) -> Iterator[Sequence[Any]]:
        """A key in SQL and sums, block by block."""
        ((last,),) = self._query("SELECT ifnull(max(id), 0) FROM tasks", ())
        sql = f"SELECT {key}, {_SUMS} FROM tasks WHERE id > ?1 AND id <= ?2 AND {_WITHIN} GROUP BY 1"
        for begin in range(0, last, BLOCK):
            yield from list(self._query(sql, (begin, begin + BLOCK, *within)))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong_cell("manifest, job_id or kind", value, "is no text")
    return value


def _sums(values: Sequence[object]) -> Sums:
    if tuple(map(type, values)) != _INTEGERS:
        raise wrong_cell("estimate or charged", "some row", "is no amount")
    return Sums(*values)  # type: ignore[arg-type]  # just checked
