"""The takes that people ordered. It is only ever added to; of a take's lines the last one counts.

An order is begun with the first row of its take, which only a run makes. From then on its take is a job like any other,
and it can't be withdrawn.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from batchgen import limits
from batchgen.judgements import Order
from batchgen.ledger import beside, database, renames
from batchgen.ledger.renames import JobName, Renamed
from batchgen.ledger.rows import COLUMNS, to_order, to_record
from batchgen.models import Record, State
from batchgen.names import composed, spellings

_BEGUN = (
    "EXISTS (SELECT 1 FROM tasks WHERE tasks.manifest = orders.manifest AND tasks.job_id = orders.job_id"
    " AND tasks.take = orders.take)"
)
_SELECT = f"SELECT orders.manifest, orders.job_id, orders.take, at, note, by, {_BEGUN}, withdrawn FROM orders"
_LAST = "orders.id IN (SELECT max(id) FROM orders GROUP BY manifest, job_id, take)"
_INSERT = "INSERT INTO orders (manifest, job_id, take, at, note, by, withdrawn) VALUES (?, ?, ?, ?, ?, ?, ?)"
_OPEN = "SELECT withdrawn FROM orders WHERE manifest = ? AND job_id = ? AND take = ? ORDER BY id DESC LIMIT 1"
_OF_JOB = (
    f"SELECT {', '.join(COLUMNS)} FROM tasks WHERE manifest IN (SELECT value FROM json_each(?))"
    " AND job_id IN (SELECT value FROM json_each(?)) ORDER BY take, id"
)


class Orders:
    """Reads the orders of a ledger."""

    def __init__(self, query: Callable[[str, Sequence[Any]], Iterator[Sequence[Any]]]) -> None:
        """``query`` gives the rows that a statement finds with these values. Raises LedgerError."""
        self._query = query

    def standing(self, manifests: Collection[str] | None = None) -> list[Order]:
        """The orders that weren't withdrawn, begun or not, of these manifests (None: of all), in the order of their takes."""
        of_these = "" if manifests is None else " AND manifest IN (SELECT value FROM json_each(?))"
        rows = self._query(
            f"{_SELECT} WHERE {_LAST}{of_these} ORDER BY manifest, job_id, take",
            () if manifests is None else (json.dumps([*manifests]),),
        )
        return [to_order(row) for *row, withdrawn in rows if not withdrawn]

    def renamed(self) -> Renamed:
        """The jobs that orders were moved with, by their earlier names."""
        return renames.read(self._query)

    def history(self, manifest: str, job_id: str) -> list[tuple[Order, bool]]:
        """All lines about a job's takes, oldest first; each with whether it withdraws the take."""
        rows = self._query(
            f"{_SELECT} WHERE manifest = ? AND job_id = ? ORDER BY id", (composed(manifest), composed(job_id))
        )
        return [(to_order(row), bool(withdrawn)) for *row, withdrawn in rows]


class Placed(NamedTuple):
    """What became of a wish for another take of a job: its order, or why there is none.

    ``last`` is the newest row of its newest take; None where the ledger has no row of the job. ``again``: the order would
    be taken with ``again``. ``waiting``: there is none because one that no run has begun stands already.
    """

    manifest: str
    job_id: str
    order: Order | None
    why: str = ""
    last: Record | None = None
    again: bool = False
    waiting: bool = False


class Wish(NamedTuple):
    """Another take of a job that a person wants."""

    manifest: str
    job_id: str
    note: str | None = None


def order(
    path: str, wishes: Iterable[Wish], *, at: float, by: str | None, again: bool = False
) -> list[Placed]:
    """Order the next take of each of these jobs, in one transaction. A run may hold the ledger meanwhile.

    A job that was renamed gets it under the name that it goes by. Without ``again`` a job whose newest take isn't judged yet gets none: one that is ordered, under way, or ended without
    a clip. ``at`` is the time in Unix seconds.
    """
    with beside.transaction(path) as connection:
        renamed = renames.read(functools.partial(database.execute, connection))
        return [_order(connection, wish, renamed, at, by, again=again) for wish in wishes]


def _order(
    connection: sqlite3.Connection, wish: Wish, renamed: Renamed, at: float, by: str | None, *, again: bool
) -> Placed:
    from batchgen.request.identity import is_derived  # readers, who order nothing, need no digests

    (manifest, job_id), *earlier = renamed.names((composed(wish.manifest), composed(wish.job_id)))
    rows, standing, unusable = list[Record](), list[Order](), 0
    for name in ((manifest, job_id), *earlier):
        spelt = json.dumps([*spellings(name[0])]), json.dumps([*spellings(name[1])])
        rows += [to_record(database.restored(row)) for row in database.execute(connection, _OF_JOB, spelt)]
        found = database.execute(connection, f"{_SELECT} WHERE {_LAST} AND manifest = ? AND job_id = ?", name)
        standing += [to_order(row) for *row, withdrawn in map(database.restored, found) if not withdrawn]
        (most,) = database.execute(
            connection, "SELECT max(take) FROM unusable WHERE manifest = ? AND job_id = ?", name
        ).fetchone()
        unusable = max(unusable, most or 0)
    rows.sort(key=lambda row: row.take)
    last = rows[-1] if rows else None
    placed = Placed(manifest, job_id, None, last=last)
    if last is None:
        return placed._replace(
            why="the ledger has no task of it, so there is no take that another could follow"
        )
    if not is_derived(last.base_id):
        why = f"its manifest gives it the external_task_id {last.base_id}, which stands for one clip; another one there asks for another"
        return placed._replace(why=why)
    waiting = next((one for one in standing if not one.begun), None)
    if not again and waiting is not None:
        return placed._replace(why=f"take {waiting.take} is ordered already", again=True, waiting=True)
    if not again and last.state is not State.DOWNLOADED:
        return placed._replace(why=f"take {last.take} is {last.state}, and has no clip yet", again=True)
    take = 1 + max(last.take, unusable, *(one.take for one in standing), 0)
    if take > limits.TAKE:
        return placed._replace(why=f"{limits.TAKE:,} takes are the most")
    database.execute(connection, _INSERT, (manifest, job_id, take, at, wish.note, by, 0))
    return placed._replace(order=Order(manifest, job_id, take, at, wish.note, by))


class Followed(NamedTuple):
    """An order whose job goes by another name now, as which take of it."""

    order: Order
    job: JobName
    take: int

    @property
    def moved(self) -> Order:
        """The order as it stands under the job's name."""
        return self.order._replace(manifest=self.job[0], job_id=self.job[1], take=self.take)


def follow(
    connection: sqlite3.Connection, followed: Iterable[Followed], reused: Iterable[JobName], at: float
) -> None:
    """Move orders to the names that their jobs go by, and note these; ``reused`` are names that other jobs have now.

    An order that was withdrawn meanwhile stays so.
    """
    renamed = renames.read(functools.partial(database.execute, connection))
    renamed.drop(reused)
    for one in followed:
        if not is_standing(connection, one.order.key):
            continue
        name = f"{one.job[0]}/{one.job[1]}@{one.take}"
        gone = (*one.order.key, at, f"its job was renamed: it is ordered as {name}", None, 1)
        database.execute(connection, _INSERT, gone)
        order = one.moved
        database.execute(connection, _INSERT, (*order.key, order.at, order.note, order.by, 0))
        renamed.add((one.order.manifest, one.order.job_id), one.job)
    database.execute(
        connection,
        "INSERT INTO notes VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (renames.NOTE, renamed.text),
    )


def withdraw(
    path: str, orders: Iterable[Order], *, at: float, by: str | None, note: str | None = None
) -> list[Order]:
    """Withdraw those of these orders that stand and weren't begun. Returns them. A run may hold the ledger meanwhile."""
    gone = []
    with beside.transaction(path) as connection:
        for one in orders:
            begun = database.execute(
                connection,
                "SELECT 1 FROM tasks WHERE manifest = ? AND job_id = ? AND take = ? LIMIT 1",
                one.key,
            ).fetchone()
            if begun is None and is_standing(connection, one.key):
                database.execute(connection, _INSERT, (*one.key, at, note, by, 1))
                gone.append(one)
    return gone


def is_standing(connection: sqlite3.Connection, key: tuple[str, str, int]) -> bool:
    """Whether a take, by manifest name, job id and number, is ordered and wasn't withdrawn."""
    row = database.execute(connection, _OPEN, key).fetchone()
    return row is not None and not row[0]
