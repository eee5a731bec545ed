"""One clip's way home: fetched, tried again, its address asked for anew. Never a create.

Which file a clip gets and what is recorded of it is decided here; how its bytes come is decided in
:mod:`batchgen.download`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from typing import TYPE_CHECKING

from batchgen.advice import command
from batchgen.asking import Asker
from batchgen.creating import tell, write
from batchgen.errors import ApiError, DownloadError
from batchgen.ledger import Ledger
from batchgen.models import Job, Record, State
from batchgen.pacing import backoff
from batchgen.plan import output_path
from batchgen.pool import Work

if TYPE_CHECKING:
    from batchgen.download import Downloads

DOWNLOADS = 4  # in flight at once
DOWNLOAD_TRIES = 3


class Retrieval:
    """Brings the clips of one run home."""

    def __init__(self, ledger: Ledger, asker: Asker, downloads: Downloads) -> None:
        self._ledger, self._asker, self._downloads = ledger, asker, downloads
        self._rng = random.Random()
        self._places = asyncio.Semaphore(DOWNLOADS)

    async def bring_home(self, work: Work, record: Record) -> str:
        """Download the clip of a task that has ended well. Returns what a person has to know, or nothing."""
        assert record.video_url is not None
        record, root = await self._placed(work, record)
        text = ""
        for turn in range(DOWNLOAD_TRIES):
            try:
                async with self._places:
                    clip = await self._downloads.fetch(record.video_url or "", record.output_path, root=root)
            except DownloadError as error:
                text = str(error)
                record = work.record = await write(
                    self._ledger, record, State.SUCCEEDED, "download_failed", message=text
                )
                if turn + 1 < DOWNLOAD_TRIES:
                    await asyncio.sleep(backoff(turn, self._rng))
                    expired = record.video_url
                    record = work.record = await self._fresh_url(record)
                    if error.gone and turn and record.video_url == expired:
                        work.bucket = "vanished"
                        return (
                            f"its clip is gone: {text} (results are deleted after 30 days);"
                            f" `{command('resolve', record.external_task_id, options='--abandon')}` gives it up"
                        )
            else:
                work.record = await write(
                    self._ledger, record, State.DOWNLOADED, "downloaded", detail={"bytes": clip.size},
                    video_path=clip.path, video_sha256=clip.sha256,
                )  # fmt: skip
                tell(logging.INFO, "downloaded", record, clip.path)
                return ""
        return f"its clip is paid but didn't come home: {text}; the next run fetches it again, at no cost"

    async def _placed(self, work: Work, record: Record) -> tuple[Record, str]:
        """The row with the path that its clip belongs to now, and the output folder that the path lies in."""
        root = os.path.normpath(
            os.path.join(record.output_path, *[os.pardir] * (record.job_id.count("/") + 2))
        )
        if work.step is not None and isinstance(job := work.step.job, Job) and job.output_dir != root:
            moved = {"from": record.output_path}
            record = work.record = await write(
                self._ledger, record, State.SUCCEEDED, "moved", detail=moved, output_path=output_path(job)
            )
            root = job.output_dir
        return record, root

    async def _fresh_url(self, record: Record) -> Record:
        """Addresses expire: ask for the task's present one."""
        try:
            view = await self._asker.ask(record.task_id or "")
        except ApiError:
            return record
        if view.video_url and view.video_url != record.video_url:
            return await write(self._ledger, record, State.SUCCEEDED, "new_url", video_url=view.video_url)
        return record
