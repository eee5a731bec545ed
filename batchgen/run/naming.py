"""Gives clips their names: a job's current clip has its plain name, and the clip that it replaces is set aside.

Names change in the ledger first, together with the moves that they mean, and then on disk. After a crash at any moment
the next run finishes the moves.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from batchgen.disk import names_beside
from batchgen.ledger.transitions import MAY_BE_PAID
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Job, Record, State
from batchgen.run.clip_paths import clip_path, output_path, part_path, superseded_path
from batchgen.run.cliplog import ClipLog
from batchgen.run.events import Events
from batchgen.storage import clips
from batchgen.storage.roots import Root, Roots
from batchgen.storage.threads import to_thread

if TYPE_CHECKING:
    import asyncio


class Names:
    """Gives the clips of one run's ledger their names."""

    def __init__(self, ledger: Ledger, log: ClipLog, roots: Roots, events: Events) -> None:
        self._ledger, self._log, self._roots, self._events = ledger, log, roots, events
        self._current: set[str] = set()  # rows of renamed jobs, which keep their clips

    @functools.cached_property
    def _one_at_a_time(self) -> asyncio.Lock:
        """Two renamings at once would mistake each other's files."""
        import asyncio

        return asyncio.Lock()

    async def rename_all(
        self, wanted: Sequence[tuple[Record, Job | None]], offline: Iterable[str] = ()
    ) -> None:
        """Give these rows' clips the plain names of their jobs, all at once, so that they may swap names.

        Where ``job`` is None the manifest isn't at hand, and a job's newest row has its name. Folders in ``offline`` are
        left alone.
        """
        own = {row.external_task_id for row, job in wanted if job is not None and job.digest == row.digest}
        wanted = [  # a job that has changed leaves its clip to the one that asks for it under another name
            (row, job)
            for row, job in wanted
            if job is None or job.digest == row.digest or row.external_task_id not in own
        ]
        self._current |= {record.external_task_id for record, job in wanted if job is not None}
        async with self._one_at_a_time:
            await self._write_down(wanted)
            await self._finish(offline)

    async def rename_one(self, record: Record, job: Job | None) -> Record:
        """Give the plain name to a clip that has just been downloaded; returns its row."""
        async with self._one_at_a_time:
            if not await self._write_down([(record, job)]):
                return record
            await self._finish()
            return self._ledger.record(record.external_task_id) or record

    async def _write_down(self, wanted: Sequence[tuple[Record, Job | None]]) -> bool:
        """Change the names in the ledger where they are free. Returns whether any changed."""
        targets: dict[str, tuple[Record, str]] = {}
        for record, job in wanted:
            target = output_path(job) if job is not None else clip_path(record.root, *record.key)
            known = job.output_dir == record.root if job is not None else self._is_newest(record)
            if record.output_path != target and known:
                targets[record.external_task_id] = (record, target)
        replaced: dict[str, Record] = {}
        waits: dict[str, list[str]] = {}  # a row that has to give up its name -> those that want it
        unsettled = list(targets)
        while unsettled:
            name = unsettled.pop()
            record, target = targets[name]
            holder = self._ledger.holder(target)
            if holder is None:
                continue
            if holder.external_task_id in targets:
                waits.setdefault(holder.external_task_id, []).append(name)
            elif record.state is State.DOWNLOADED and self._is_replaced(holder, target):
                replaced[holder.external_task_id] = holder
            else:  # the holder keeps its name, so this row and those that wait for its name keep theirs
                del targets[name]
                unsettled += waits.pop(name, [])
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
        """Whether this is the last row of its job that may have a clip."""
        paid = [row.external_task_id for row in self._ledger.rows_of(*record.key) if row.state in MAY_BE_PAID]
        return paid[-1:] == [record.external_task_id]

    def _is_replaced(self, holder: Record, target: str) -> bool:
        """Whether the row that has the name must give it up. Names that differ in case alone are those of two jobs."""
        return holder.output_path == target and holder.external_task_id not in self._current

    # -- moves ------------------------------------------------------------------------------------------------

    async def finish(self, offline: Iterable[str] = ()) -> None:
        """Make the moves that an earlier run recorded and didn't finish."""
        async with self._one_at_a_time:
            await self._finish(offline)

    async def _finish(self, offline: Iterable[str] = ()) -> None:
        """Make the recorded moves, each after the move of the file that has its new name."""
        unreachable = set(offline)
        pending = {
            row.external_task_id: (row, target)
            for row, target in self._ledger.moves()
            if row.root not in unreachable
        }
        holders = {str(row.video_path): name for name, (row, _) in pending.items()}
        stuck: set[str] = set()  # paths of files that can't be moved, so no other file can get their names
        while pending:
            chain = {next(iter(pending)): None}  # rows, each before the one that has to be moved first
            while chain:
                name = next(reversed(chain))
                row, target = pending[name]
                holder = holders.get(target, name)
                held = holder != name and holder in pending and pending[holder][0].video_path == target
                if held and os.path.lexists(target):
                    if holder not in chain:
                        chain[holder] = None
                        continue
                    path = list(names_beside(target, row.video_sha256 or ""))[
                        -1
                    ]  # a circle: use another name first
                else:
                    path = target
                del chain[name]
                if path in stuck or not await self._move(row, path, last=path == target):
                    stuck.add(str(row.video_path))
                elif path != target and (moved := self._ledger.record(name)) is not None:
                    if moved.video_path != row.video_path:
                        pending[name] = (moved, target)
                        continue
                del pending[name]

    async def _move(self, row: Record, target: str, *, last: bool = True) -> bool:
        """Move one clip; returns whether that worked. ``last``: ``target`` is its final name."""
        from batchgen.run.work_events import JobNoticed

        source = str(row.video_path)
        try:
            root = self._roots[row.root]
            path = await to_thread(clips.move, root, source, target, row.video_sha256 or "")
            values: dict[str, Any] = {} if path is None else {"video_path": path}
            if path is not None and row.parts:
                values["parts"] = await to_thread(_move_parts, root, row, path)
        except OSError as error:
            text = f"its clip stays at {source}: {error.filename or target}: {error.strerror or error}"
            text = f"{text}; the next run tries again"
            self._events.emit_job(JobNoticed, row, text, action="not_moved", level="warning")
            return False
        change = Change(
            row.external_task_id,
            row.state,
            "moved" if path is not None else "not_found",
            row.error_code,
            row.error_message,
            values=values,
            detail={"from": source, "to": path},
        )
        done = last or path is None
        row = await (self._ledger.moved(change) if done else self._ledger.apply(change))
        if path is not None and row.state is State.DOWNLOADED:
            await self._log.add(row)
            self._events.emit_job(JobNoticed, row, f"{source} -> {path}", action="moved")
        return True


def _belongs(path: str, record: Record) -> dict[str, str]:
    return {"output_path": path, "output_dir": record.root}


def _move_parts(root: Root, row: Record, path: str) -> str:
    """Move a clip's further files beside it; returns the row's new ``parts``."""
    parts = json.loads(row.parts or "[]")
    for one in parts:
        if one.get("path") and os.path.dirname(one["path"]) == os.path.dirname(row.video_path or ""):
            target = part_path(path, str(one["part"]))
            one["path"] = clips.move(root, one["path"], target, str(one.get("sha256"))) or one["path"]
    return json.dumps(parts)
