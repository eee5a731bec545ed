"""Reads rows of many names in parts: no read stays open between them, so none holds the WAL back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from batchgen.names import spellings

Query = Callable[
    [str, Sequence[Any]], Iterator[Sequence[Any]]
]  # the rows that a statement finds with these values

PART = 500  # rows or values at a time


def of_jobs(
    query: Query, manifest: str, job_ids: Iterable[str], columns: str, condition: str = ""
) -> Iterator[Sequence[Any]]:
    """These columns of the rows of some jobs, each row once, however the accents of their names are spelt."""
    once = dict.fromkeys(job_ids)  # takes of one job may stand apart
    for some in parts(name for job_id in once for name in spellings(job_id)):
        where = f"manifest = ? AND job_id IN ({marks(some)}){condition} ORDER BY job_id, take, id"
        for spelling in spellings(manifest):
            yield from query(
                f"SELECT {columns} FROM tasks INDEXED BY tasks_job WHERE {where}", (spelling, *some)
            )


def parts(values: Iterable[Any]) -> Iterator[list[Any]]:
    """The values, ``PART`` at a time."""
    values = iter(values)
    while part := list(itertools.islice(values, PART)):
        yield part


def marks(values: Collection[object]) -> str:
    """As many question marks as there are values, for a statement."""
    return ",".join("?" * len(values))
