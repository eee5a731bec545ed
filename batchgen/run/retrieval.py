"""Downloads one task's clip: retries for minutes, with a fresh address each time. Never creates anything.

Which path a clip gets and what is recorded of it is decided here; how its bytes are received is decided in
:mod:`batchgen.storage.download`. A task may have several files: its clip is downloaded when all of them are.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any

from batchgen.advice import command
from batchgen.errors import ApiError, DownloadError, NotFound
from batchgen.http.addresses import request_url
from batchgen.ledger.transitions import CLIP_GONE
from batchgen.models import ClipLink, Job, Record, State, TaskView
from batchgen.run.clip_paths import output_path, part_path
from batchgen.run.clip_times import ClipTime, ClipTimes
from batchgen.run.context import RunContext
from batchgen.run.create import write
from batchgen.run.lanes import Work
from batchgen.run.outcomes import Outcome
from batchgen.run.places import Places
from batchgen.run.survey import unmounted
from batchgen.run.waits import backoff
from batchgen.run.work_events import Downloaded, JobNoticed
from batchgen.storage import clips, partfile
from batchgen.storage.partfile import Kept

if TYPE_CHECKING:
    from batchgen.storage.download import Downloads
    from batchgen.storage.transfer import Clip, Transfer

MIN_TRIES = (
    4  # as many as an odd clip needs to be accepted; where this machine is the reason, there are no more
)
PROGRESS = 1 << 16  # bytes that a try has to bring to count as progress
KEPT = 30 * 86400.0  # seconds after which the API deletes results
PART_KEPT = "part_kept"  # the event that says what is left of a clip's files
MAX_WAIT = 120.0  # seconds that a clip's host may ask to wait


class Retrieval:
    """Downloads the clips of one run. Each file has ``settle`` seconds without progress, and ``clip`` seconds in all.

    After tries in vain, later ones have less time, so that many slow clips hardly take longer than a few.
    """

    def __init__(self, run: RunContext, downloads: Downloads) -> None:
        self._ledger, self._queries, self._inventory = run.ledger, run.queries, run.inventory
        self._patience = run.waits.settle
        self._clock, self._events = run.clock, run.events
        self._downloads = downloads
        self._times = ClipTimes(run.waits.clip, self._patience / 4)
        self._places = Places(run.pool.limits.downloads)

    async def download(self, work: Work, record: Record) -> Outcome | None:
        """Download the clip of a succeeded task.

        Returns the job's outcome for this run; None where its row's state says how it goes on.
        """
        record, root = await self._placed(work, record)
        if (why := unmounted(self._ledger, root)) is not None:
            return Outcome(f"its clip is paid and waits: {why}; mount it and run again")
        files = _ClipFiles(links(record), self._kept(record))
        now = asyncio.get_running_loop().time
        failed, since = 0, now()  # tries without progress, and since when
        recorded = ""  # the last error that was recorded
        time = ClipTime(self._times)
        refused = False
        try:
            while (link := files.next) is not None:
                transfer = self._transfer(link, record, root, files)
                try:
                    files.done[link.part] = await self._attempt(transfer, link.url, time)
                    if files.has_progressed(link.part, math.inf):
                        failed, since = 0, now()
                        time.file_came()
                    continue
                except DownloadError as caught:
                    error = caught
                if error.refused:
                    if refused:
                        return await self._refused(work, record, error)
                    refused = True  # another address may do, and the API may be found where this one is
                    record = work.record = await self._refresh_addresses(record, files)
                    continue
                if files.has_progressed(link.part, transfer.part.size):
                    failed, since = 0, now()
                failed += 1
                if str(error) != recorded:  # the same error is recorded once, not at every try
                    recorded = str(error)
                    record = await write(
                        self._ledger, record, State.SUCCEEDED, "download_failed", message=recorded
                    )
                    work.record = record
                wait = self._wait(failed, error)
                lasting = error.local or now() - since >= self._patience
                if time.over(now() + wait) or (failed >= MIN_TRIES and lasting):
                    return await self._not_downloaded(work, record, error, files)
                await asyncio.sleep(wait)
                record = work.record = await self._refresh_addresses(record, files)
        finally:
            await self._keep_parts(work, files)
        time.clip_came()
        writing = asyncio.create_task(self._record(work, record, files))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:  # the run ends; what is on disk is recorded first
            await writing
            raise
        return None

    def _transfer(self, link: ClipLink, record: Record, root: str, files: _ClipFiles) -> Transfer:
        """The transfer of one of a clip's files, which all tries go on with."""
        transfer = files.transfers.get(link.part)
        if transfer is None:
            transfer = files.transfers[link.part] = self._downloads.transfer(
                part_path(record.output_path, link.part),
                root=root,
                believe_after=self._patience / 4,
                kept=files.kept.pop(link.part, None),
            )
        return transfer

    async def _attempt(self, transfer: Transfer, url: str, time: ClipTime) -> Clip:
        """One try to download a file, on a place of its host's. Raises DownloadError."""
        now = asyncio.get_running_loop().time
        queued = now()
        async with self._places.one(url) as place:
            began = now()
            try:
                by = time.limit(began, began - queued)
                return await self._downloads.attempt(transfer, url, by=by, heard=place.received)
            finally:  # before the place is another's, who has less time by it
                time.tried(now() - began, place.shared)

    def _kept(self, record: Record) -> dict[str, Kept]:
        """What an earlier run left of the clip's files, by part."""
        found: dict[str, Kept] = {}
        for event in self._ledger.events(record.external_task_id):
            if event.event == PART_KEPT:
                parts = event.detail.get("parts")
                each = parts.items() if isinstance(parts, dict) else ()
                found = {part: kept for part, value in each if (kept := Kept.from_json(value)) is not None}
        return found

    async def _keep_parts(self, work: Work, files: _ClipFiles) -> None:
        """Record what is left of incomplete files, for the next run, however the download ended."""
        record, left = work.record, files.resumable
        if left and record is not None and record.state is State.SUCCEEDED:
            detail = {"parts": {part: kept.as_json() for part, kept in left.items()}}
            work.record = await write(
                self._ledger, record, State.SUCCEEDED, PART_KEPT, message=record.error_message, detail=detail
            )

    def _wait(self, failed: int, error: DownloadError) -> float:
        """Seconds before the next try: growing, jittered, and at least what the clip's host asks for (bounded)."""
        wait = backoff(
            failed - 1, self._clock.rng, first=min(1.0, self._patience / 8), cap=min(30.0, self._patience / 4)
        )
        return max(wait, min(error.retry_after or 0.0, MAX_WAIT))

    async def _not_downloaded(
        self, work: Work, record: Record, error: DownloadError, files: _ClipFiles
    ) -> Outcome:
        """The outcome of a clip that wasn't downloaded in this run. It is gone only where results are deleted by now."""
        if error.gone and files.asked and (age := self._age(record)) > KEPT:
            files.clear()
            if record.video_sha256 is not None:
                return await self._lost(work, record)
            return Outcome(
                f"its clip is gone: {error}, {age / 86400:.0f} days after its task ended (results are deleted after 30);"
                f" `{command('resolve', record.external_task_id, options='--abandon')}` gives it up",
                "vanished",
            )
        then = "fetches it again"
        if came := sum(kept.size for kept in files.resumable.values()):
            then = f"goes on after the {came / (1 << 20):.1f} MiB that came, where its host can"
        return Outcome(f"its clip is paid and not home yet: {error}; the next run {then}, at no cost")

    async def _refused(self, work: Work, record: Record, error: DownloadError) -> Outcome:
        """The outcome of a clip whose address is never requested: neither a retry nor waiting helps."""
        work.record = await write(
            self._ledger, record, State.SUCCEEDED, "download_failed", message=str(error)
        )
        return Outcome(f"its clip is paid and lies at its host, which deletes it after 30 days: {error}")

    async def _record(self, work: Work, record: Record, files: _ClipFiles) -> None:
        """Record a clip whose files are all on disk."""
        clip = files.done[""]
        notes = "; ".join(
            f"{part}: {one.note}" if part else one.note for part, one in files.done.items() if one.note
        )
        parts = [
            {"part": part, "url": files.urls[part], "path": one.path, "sha256": one.sha256}
            for part, one in files.done.items()
            if part
        ]
        job = work.step.job if work.step is not None and isinstance(work.step.job, Job) else None
        columns = {
            "video_url": files.urls[""],
            "video_path": clip.path,
            "video_sha256": clip.sha256,
            "video_size": clip.size,
            "parts": json.dumps(parts) if parts else None,
        }
        work.record = await self._inventory.keep(record, job, notes, **columns)
        if notes:
            self._events.emit_job(JobNoticed, record, notes, action="odd_clip", level="warning")
        for one in (
            work.record.video_path,
            *(part["path"] for part in json.loads(work.record.parts or "[]")),
        ):
            self._events.emit_job(Downloaded, work.record, str(one), path=str(one))

    async def _placed(self, work: Work, record: Record) -> tuple[Record, str]:
        """The row with its clip's present path, which a changed output folder moves, and the output folder of that."""
        if work.step is not None and isinstance(job := work.step.job, Job) and job.output_dir != record.root:
            values = {"output_path": output_path(job), "output_dir": job.output_dir}
            detail = {"from": record.output_path}
            for part in self._kept(record):  # the download begins anew at the new path
                partfile.remove(part_path(record.output_path, part), self._inventory.roots[record.root])
            record = work.record = await write(
                self._ledger, record, State.SUCCEEDED, "moved", detail=detail, **values
            )
        return record, record.root

    async def refetch(self, work: Work, record: Record) -> Outcome | None:
        """Query the address of a clip that was downloaded and is no longer on disk, so that it is downloaded again."""
        where = f"its clip is no longer at {clips.absent(record)}"
        try:
            view = await self._queries.ask(record.task_id or "")
        except ApiError as error:
            if isinstance(error, NotFound) and self._age(record) > KEPT:
                return await self._lost(work, record)
            text = f"{where}, and can't be asked for now: {error}; the next run asks again, at no cost"
            return Outcome(text, State.SUCCEEDED.value)
        values = addresses(record, view)
        if not values:
            if self._age(record) > KEPT:
                return await self._lost(work, record)
            text = f"{where}, and the API gives no address for it now; the next run asks again, at no cost"
            return Outcome(text, State.SUCCEEDED.value)
        work.record = await write(
            self._ledger, record, State.SUCCEEDED, "clip_missing", message=where, **values
        )
        text = f"{where}: fetched again, at no cost"
        self._events.emit_job(JobNoticed, record, text, action="clip_missing")
        return None

    def _age(self, record: Record) -> float:
        """Seconds since the row's task ended, or since the best time that is known."""
        return self._clock.now() - (record.finished_at or record.submitted_at or record.created_at)

    async def _lost(self, work: Work, record: Record) -> Outcome:
        """Record that neither the disk nor the API has the clip any more: later runs don't query it again."""
        text = f"its clip was at {clips.absent(record)} and is no longer there, and the API has deleted it"
        work.record = await write(
            self._ledger, record, State.DOWNLOADED, "clip_gone", code=CLIP_GONE, message=text
        )
        advice = "a copy that is put back there is found by the next run. Nothing is paid or asked for again"
        return Outcome(f"{text}; {advice}", "vanished")

    async def _refresh_addresses(self, record: Record, files: _ClipFiles) -> Record:
        """Query the task's present addresses, since they expire. Returns the row with them."""
        files.asked = False
        try:
            view = await self._queries.ask(record.task_id or "")
        except NotFound:
            files.asked = True
        except ApiError:
            pass
        else:
            files.asked = True
            values = addresses(record, view)
            if values and values != {name: getattr(record, name) for name in values}:
                record = await write(self._ledger, record, State.SUCCEEDED, "new_url", **values)
                files.readdress(links(record))
        return record


class _ClipFiles:
    """The files of one clip: their addresses, those that are downloaded, those in progress, and what earlier runs left."""

    def __init__(self, found: list[ClipLink], kept: dict[str, Kept]) -> None:
        self.done: dict[str, Clip] = {}
        self.transfers: dict[str, Transfer] = {}
        self.kept = kept
        self._most: dict[str, float] = {}  # bytes that a file had at most; infinite once it was whole
        self.asked = False  # whether the API said where the clip is when it was asked last
        self.urls = {link.part: link.url for link in found}

    @property
    def next(self) -> ClipLink | None:
        """The next file to download; None where all are."""
        return next((ClipLink(part, url) for part, url in self.urls.items() if part not in self.done), None)

    @property
    def resumable(self) -> dict[str, Kept]:
        """What a later run can resume from, by part."""
        return self.kept | {
            part: kept
            for part, transfer in self.transfers.items()
            if part not in self.done and (kept := transfer.kept) is not None
        }

    def has_progressed(self, part: str, size: float) -> bool:
        """Whether ``size`` bytes of a file are progress: at least ``PROGRESS`` more than ever before in this run."""
        most = self._most.get(part, 0.0)
        progress = most < math.inf and size >= most + PROGRESS
        if progress:
            self._most[part] = size
        return progress

    def readdress(self, found: list[ClipLink]) -> None:
        """Take new addresses. Where there are more or fewer files than before, all of them start anew."""
        if [link.part for link in found] != list(self.urls):
            self.clear()
            self.done.clear()
        self.urls = {link.part: link.url for link in found}

    def clear(self) -> None:
        """Discard incomplete files."""
        for transfer in self.transfers.values():
            transfer.part.discard()
        self.transfers.clear()
        self.kept.clear()


def addresses(record: Record, view: TaskView) -> dict[str, Any]:
    """The columns for the addresses of a task's files; watermarked files only where the request asked for them."""
    if not view.clips:
        return {}
    asked = json.loads(record.canonical).get("watermark_info") or {}
    further = [link for link in view.clips[1:] if asked.get("enabled") or not link.part.endswith("watermark")]
    parts = [{**link._asdict(), "path": None, "sha256": None} for link in further]
    return {"video_url": view.video_url, "parts": json.dumps(parts) if parts else None}


def links(record: Record) -> list[ClipLink]:
    """The addresses of a row's files, the clip itself first."""
    parts = json.loads(record.parts) if record.parts else []
    found = [ClipLink("", record.video_url or ""), *(ClipLink(one["part"], one["url"]) for one in parts)]
    return [ClipLink(part, request_url(url) or url) for part, url in found]
