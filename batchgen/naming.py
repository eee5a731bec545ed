"""Which clip has a job's plain name: that of the job as the manifest says it now; what it replaces is set aside.

Names are changed in the ledger first, with the moves that they mean, and then on disk: after a crash at any moment
the moves are finished by the next run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

from batchgen import clips
from batchgen.cliplog import ClipLog
from batchgen.creating import tell
from batchgen.ledger import Ledger
from batchgen.models import Change, Job, Record, State
from batchgen.plan import clip_path, output_path, superseded_path
from batchgen.transitions import MAY_BE_PAID


class Names:
    """Gives the clips of one run's ledger their names."""

    def __init__(self, ledger: Ledger, log: ClipLog) -> None:
        self._ledger, self._log = ledger, log
        self._one_at_a_time = asyncio.Lock()  # what is moved by one must not be taken for another's
        self._current: set[str] = set()  # rows that a job has under a name that they weren't made with

    async def give(self, wanted: Sequence[tuple[Record, Job | None]], offline: Iterable[str] = ()) -> None:
        """Let these rows' clips have the plain names of the jobs that they are of; all at once, so that they may swap.

        ``job`` None: the manifest isn't at hand, and a job's newest row has its name. Folders in ``offline`` are left
        alone.
        """
        self._current |= {record.external_task_id for record, job in wanted if job is not None}
        async with self._one_at_a_time:
            await self._write_down(wanted)
            await self._finish(offline)

    async def take(self, record: Record, job: Job | None) -> Record:
        """The same for a clip that has just come home; returns its row."""
        async with self._one_at_a_time:
            if not await self._write_down([(record, job)]):
                return record
            await self._finish()
            return self._ledger.record(record.external_task_id) or record

    async def _write_down(self, wanted: Sequence[tuple[Record, Job | None]]) -> bool:
        """Change the names in the ledger where they can be had. Returns whether there are any such."""
        targets: dict[str, tuple[Record, str]] = {}
        for record, job in wanted:
            target = output_path(job) if job is not None else clip_path(record.root, *record.key)
            known = job.output_dir == record.root if job is not None else self._is_newest(record)
            if record.output_path != target and known:
                targets[record.external_task_id] = (record, target)
        replaced: dict[str, Record] = {}
        settled = False
        while not settled:
            settled, replaced = True, {}
            for name, (record, target) in list(targets.items()):
                holder = self._ledger.holder(target)
                if holder is None or holder.external_task_id in targets:
                    continue
                if record.state is State.DOWNLOADED and self._is_replaced(holder, target):
                    replaced[holder.external_task_id] = holder
                else:
                    del targets[name]
                    settled = False
        changes = [
            Change(
                name, holder.state, "superseded", values=_belongs(superseded_path(holder.output_path), holder)
            )
            for name, holder in replaced.items()
        ]
        changes += [
            Change(name, record.state, "renamed", values=_belongs(target, record))
            for name, (record, target) in targets.items()
        ]
        if changes:
            await self._ledger.rename(changes)
        return bool(changes)

    def _is_newest(self, record: Record) -> bool:
        """Whether no later row of the same job may have a clip."""
        paid = [row.external_task_id for row in self._ledger.rows_of(*record.key) if row.state in MAY_BE_PAID]
        return paid[-1:] == [record.external_task_id]

    def _is_replaced(self, holder: Record, target: str) -> bool:
        """Whether the row that has the name must give it up; names that differ in case alone are two jobs'."""
        return holder.output_path == target and holder.external_task_id not in self._current

    # -- moves ------------------------------------------------------------------------------------------------

    async def finish(self, offline: Iterable[str] = ()) -> None:
        """Make the moves that a run before was killed in, or couldn't make."""
        async with self._one_at_a_time:
            await self._finish(offline)

    async def _finish(self, offline: Iterable[str] = ()) -> None:
        """Move the files whose new names are written down."""
        unreachable = set(offline)
        pending = [(row, target) for row, target in self._ledger.moves() if row.root not in unreachable]
        stuck: set[str] = (
            set()
        )  # files that can't be moved: what is to have their names waits for another run
        while pending:
            left = []
            for row, target in pending:
                if target in stuck:
                    stuck.add(str(row.video_path))
                elif any(
                    target == other.video_path for other, _ in pending if other is not row
                ) and os.path.lexists(target):
                    left.append((row, target))
                elif not await self._move(row, target):
                    stuck.add(str(row.video_path))
            if len(left) == len(pending):  # they wait for each other: one steps aside
                row, target = left.pop(0)
                aside = list(clips.names(target, row.video_sha256 or ""))[-1]
                if await self._move(row, aside, last=False):
                    left += [
                        move
                        for move in self._ledger.moves()
                        if move[0].external_task_id == row.external_task_id
                    ]
                else:
                    stuck.add(str(row.video_path))
            pending = left

    async def _move(self, row: Record, target: str, *, last: bool = True) -> bool:
        """Move one clip; False where it can't be. ``last``: it is where it was meant to go then."""
        source = str(row.video_path)
        try:
            path = await asyncio.to_thread(clips.move, source, target, row.video_sha256 or "", root=row.root)
            values: dict[str, Any] = {} if path is None else {"video_path": path}
            if path is not None and row.parts:
                values["parts"] = await asyncio.to_thread(_move_parts, row, path)
        except OSError as error:
            text = f"its clip stays at {source}: {error.filename or target}: {error.strerror or error}"
            tell(logging.WARNING, "not_moved", row, f"{text}; the next run tries again")
            return False
        change = Change(
            row.external_task_id, row.state, "moved" if path is not None else "not_found", row.error_code,
            row.error_message, values=values, detail={"from": source, "to": path},
        )  # fmt: skip
        done = last or path is None
        row = await (self._ledger.moved(change) if done else self._ledger.apply(change))
        if path is not None and row.state is State.DOWNLOADED:
            await self._log.add(row)
            tell(logging.INFO, "moved", row, f"{source} -> {path}")
        return True


def _belongs(path: str, record: Record) -> dict[str, str]:
    return {"output_path": path, "output_dir": record.root}


def _move_parts(row: Record, path: str) -> str:
    """Move a clip's further files to beside it; returns the row's ``parts`` as they are then."""
    stem, suffix = os.path.splitext(path)
    parts = json.loads(row.parts or "[]")
    for one in parts:
        if one.get("path"):
            target = f"{stem}.{one['part']}{suffix}"
            one["path"] = clips.move(one["path"], target, str(one["sha256"]), root=row.root) or one["path"]
    return json.dumps(parts)
