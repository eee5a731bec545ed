"""The changes of a ledger's rows, each with its line of history, inside a transaction of its writer.

Every function refuses before it writes, so that the other changes of the same transaction stand.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchgen.errors import OrderWithdrawn, TransitionError
from batchgen.ledger import budgets, database
from batchgen.ledger.free_paths import free_path
from batchgen.ledger.orders import is_standing
from batchgen.ledger.packing import EVENTS, PACKED, STATES, packed
from batchgen.ledger.rows import COLUMNS, path_key, to_record
from batchgen.ledger.spending import account
from batchgen.ledger.transitions import (
    IMPORTABLE,
    MAY_BE_PAID,
    WITHOUT_TASK,
    advance,
    changed_columns,
    intended,
    masked_change,
    quarter_of,
    task_seconds,
)
from batchgen.models import Change, Record, State

_FIND = f"SELECT id, {', '.join(COLUMNS)} FROM tasks WHERE external_task_id = ?"
_SERIES = (
    f"SELECT id, {', '.join(COLUMNS)} FROM tasks WHERE external_task_id IN (?1, ?2)"
    " OR (base_id = ?2 AND external_task_id <> base_id)"
)
_EVENT = (
    "INSERT INTO events (task, at, event, from_state, to_state, code, message, request_id, detail)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_STORED = (*COLUMNS, "kind", "length", "output_key")
_INSERT = f"INSERT INTO tasks ({', '.join(_STORED)}) VALUES ({', '.join('?' * len(_STORED))})"


class Changes:
    """What may be done to rows. Texts from outside are stored through ``masked``; all moments are Unix seconds."""

    def __init__(self, connection: sqlite3.Connection, masked: Callable[[str], str]) -> None:
        self._connection, self._masked = connection, masked

    def detail(self, detail: Mapping[str, Any] | None) -> str | None:
        """More about a change, as its line of history has it: JSON, masked."""
        return self._masked(json.dumps(detail, separators=(",", ":"), default=str)) if detail else None

    def begin(
        self, record: Record, kind: str, detail: str | None, at: float, *, ordered: bool, run: int | None
    ) -> Record:
        """The intent to send a create, by the ``run`` of this number. Raises TransitionError, OrderWithdrawn and OverBudget."""
        number, mine, others = self._family(record)
        if ordered and mine is None and not is_standing(self._connection, record.key):
            raise OrderWithdrawn(f"{record.external_task_id}: its order was withdrawn meanwhile.")
        row = intended(record, mine, at)._replace(run=run)
        for other in others:
            if other.state in MAY_BE_PAID and other.digest == record.digest:
                raise TransitionError(
                    f"{record.external_task_id}: {other.external_task_id} of the same job is {other.state}, so no"
                    " create may be sent for it."
                )
        budgets.check(self._connection, mine, row, at)
        row = row._replace(output_path=free_path(self._connection, record))
        before = mine.state if mine else State.PENDING
        number = self._store(row, kind, number)
        account(self._connection, mine, row)
        if mine is None:
            self._log(number, None, Change(record.external_task_id, before, "planned"), None, at)
        self._log(number, before, Change(record.external_task_id, row.state, "intent"), detail, at)
        return row

    def apply(self, change: Change, detail: str | None, at: float) -> Record:
        """A change of state, or of columns in one. Raises TransitionError."""
        change = masked_change(change, self._masked)
        found = self._execute(_FIND, (change.external_task_id,)).fetchone()
        if found is None:
            raise TransitionError(f"{change.external_task_id}: the ledger has no such row.")
        number, *values = database.restored(found)
        record = to_record(values)
        columns = advance(record, change, at)
        row = record._replace(**columns)
        holds = row.state in MAY_BE_PAID
        if holds != (record.state in MAY_BE_PAID) or row.output_path != record.output_path:
            columns["output_path"] = path = free_path(self._connection, row) if holds else row.output_path
            columns["output_key"] = path_key(path) if holds else None
            row = row._replace(output_path=path)
        if row.state is State.SUCCEEDED and record.state is not State.SUCCEEDED:
            columns["length"] = task_seconds(row)
        self._set(number, columns)
        account(self._connection, record, row)
        self._log(number, record.state, change, detail, at)
        return row

    def rename(self, changes: Sequence[Change], at: float) -> list[Record]:
        """Other names of clips, all at once, and the moves that they mean. Raises TransitionError."""
        found = [(change, self._execute(_FIND, (change.external_task_id,)).fetchone()) for change in changes]
        rows = [(change, to_record(database.restored(row[1:])), row[0]) for change, row in found]
        for change, before, _ in rows:
            advance(before, change, at)
        for _, _, number in rows:  # so that each may take another's path
            self._execute("UPDATE tasks SET output_key = NULL WHERE id = ?", (number,))
        after = []
        for change, before, number in rows:
            row = before._replace(**change.values)
            holds = row.state in MAY_BE_PAID
            row = row._replace(output_path=free_path(self._connection, row) if holds else row.output_path)
            columns = {**change.values, "output_path": row.output_path}
            columns["output_key"] = path_key(row.output_path) if holds else None
            self._set(number, columns)
            moving = self._execute("SELECT 1 FROM moves WHERE task = ?", (number,)).fetchone()
            ours = row.video_path in (before.output_path, change.values.get("output_path"))
            if row.video_path != row.output_path and (moving or ours):
                self._execute("INSERT OR REPLACE INTO moves VALUES (?, ?)", (number, row.output_path))
            paths = self.detail({"from": before.output_path, "to": row.output_path})
            self._log(number, before.state, change, paths, at)
            after.append(row)
        return after

    def moved(self, change: Change, detail: str | None, at: float) -> Record:
        """A move that was made, or dropped. Raises TransitionError."""
        row = self.apply(change, detail, at)
        self._execute(
            "DELETE FROM moves WHERE task = (SELECT id FROM tasks WHERE external_task_id = ?)",
            (change.external_task_id,),
        )
        return row

    def import_row(self, record: Record, kind: str, change: Change, detail: str | None, at: float) -> Record:
        """A task that was found at the API, in a new row or one without a task. Raises TransitionError."""
        if change.to not in IMPORTABLE or change.external_task_id != record.external_task_id:
            raise TransitionError(f"{record.external_task_id}: can't be adopted as {change.to}.")
        change = masked_change(change, self._masked)
        number, mine, _ = self._family(record)
        if mine is not None and mine.state not in WITHOUT_TASK:
            raise TransitionError(f"{mine.external_task_id}: is {mine.state} and has task {mine.task_id}.")
        row = record._replace(
            attempt=max(record.attempt, mine.attempt if mine else 0, 1),
            created_at=mine.created_at if mine else record.created_at or at,
            quarter=mine.quarter if mine else None,
            run=mine.run if mine else None,
            **changed_columns(record, change, at),
        )
        if row.state in MAY_BE_PAID:
            row = row._replace(output_path=free_path(self._connection, record))
        if row.quarter is None:
            row = row._replace(quarter=quarter_of(row.submitted_at or row.created_at))
        number = self._store(row, kind, number)
        account(self._connection, mine, row)
        self._log(number, mine.state if mine else None, change, detail, at)
        return row

    def _family(self, record: Record) -> tuple[int | None, Record | None, list[Record]]:
        """The row of this id, with its number, and the other rows of its job. Raises TransitionError."""
        number, mine, others = None, None, []
        for found in self._execute(_SERIES, (record.external_task_id, record.base_id)):
            its, *row = database.restored(found)
            one = to_record(row)
            if one.external_task_id == record.external_task_id:
                number, mine = its, one
            elif one.base_id == record.base_id:
                others.append(one)
        if mine is not None and mine.base_id != record.base_id:
            raise TransitionError(
                f"{record.external_task_id}: this id belongs to another job, {mine.manifest}/{mine.job_id}."
            )
        return number, mine, others

    def _store(self, row: Record, kind: str, number: int | None) -> int:
        """Insert a row, or overwrite the one with this ``number``. Returns its number."""
        columns = {
            **row._asdict(),
            "kind": kind,
            "length": task_seconds(row) if row.state is State.SUCCEEDED else None,
            "output_key": path_key(row.output_path) if row.state in MAY_BE_PAID else None,
        }
        if number is not None:
            self._set(number, {name: value for name, value in columns.items() if name not in _IDENTITY})
            return number
        return int(self._execute(_INSERT, _cells(columns)).lastrowid or 0)

    def _set(self, number: int, columns: Mapping[str, Any]) -> None:
        self._execute(_update(tuple(columns)), (*_cells(columns), number))

    def _log(self, number: int, before: State | None, change: Change, detail: str | None, at: float) -> None:
        self._execute(
            _EVENT,
            (
                number,
                at,
                EVENTS.get(change.event, change.event),
                STATES[before] if before else None,
                STATES[change.to],
                None if change.code is None else str(change.code),
                change.message,
                change.request_id,
                detail,
            ),
        )

    def _execute(self, sql: str, values: Sequence[Any]) -> sqlite3.Cursor:
        return database.execute(self._connection, sql, values)


_IDENTITY = frozenset({"external_task_id", "base_id"})


def _cells(columns: Mapping[str, Any]) -> list[Any]:
    return [packed(value) if name in PACKED else value for name, value in columns.items()]


@functools.cache
def _update(names: tuple[str, ...]) -> str:
    return f"UPDATE tasks SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"
