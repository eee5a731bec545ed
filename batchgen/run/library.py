"""batchgen for programs: load manifests, plan, run, collect, read the ledger. The manual's page says how.

Nothing here prints, exits, hears signals or sets anything of the process; two runs share nothing. The key comes in as
an argument, and is shown nowhere.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import ExitStack, nullcontext

from batchgen.errors import (
    BatchgenError,
    EndedEarly,
    LedgerBusy,
    LedgerError,
    ManifestError,
    UsageError,
)
from batchgen.http.endpoint import origin
from batchgen.ledger.reader import Records
from batchgen.ledger.writer import Ledger
from batchgen.masking import Mask
from batchgen.models import Job, Manifest, Place, Problem, Record, State, UnusableJob
from batchgen.request.body import Body
from batchgen.run import loading
from batchgen.run.approved import check
from batchgen.run.clock import Clock
from batchgen.run.configured import read_prices
from batchgen.run.dry_run import dry_run
from batchgen.run.events import (
    Began,
    Ended,
    Event,
    Events,
    Finished,
    JobEvent,
    Noticed,
    Stopped,
    Totals,
    masked,
)
from batchgen.run.loading import Loaded
from batchgen.run.options import RunOptions
from batchgen.run.plan import Action, Step
from batchgen.run.recording import new_run, recorded
from batchgen.run.session import Account, Session
from batchgen.run.stream import Stream
from batchgen.run.tally import Ending
from batchgen.run.work_events import (
    Created,
    Downloaded,
    Failed,
    Found,
    Held,
    JobNoticed,
    NotCreated,
    Paused,
    Planned,
    Progressed,
    Reachable,
    Succeeded,
    Unreachable,
    Waiting,
)
from batchgen.storage.clip_hosts import AllowedHost, allowed_hosts
from batchgen.storage.roots import Roots

#: What ``batchgen`` hands out.
__all__ = [
    "Account",
    "Action",
    "AllowedHost",
    "BatchgenError",
    "Began",
    "Created",
    "Downloaded",
    "Ended",
    "EndedEarly",
    "Ending",
    "Event",
    "Failed",
    "Finished",
    "Found",
    "Held",
    "Job",
    "JobEvent",
    "JobNoticed",
    "LedgerBusy",
    "LedgerError",
    "Loaded",
    "Manifest",
    "ManifestError",
    "NotCreated",
    "Noticed",
    "Paused",
    "Place",
    "Planned",
    "Problem",
    "Progressed",
    "Reachable",
    "Record",
    "Records",
    "RunOptions",
    "State",
    "Step",
    "Stopped",
    "Succeeded",
    "Totals",
    "Unreachable",
    "UnusableJob",
    "UsageError",
    "Waiting",
    "allowed_hosts",
    "collect",
    "load",
    "plan",
    "read_ledger",
    "read_prices",
    "run",
]

Path = str | os.PathLike[str]

LOCK_POLL = 0.1  # seconds between looks at a lock that another run holds

logging.getLogger("batchgen").addHandler(logging.NullHandler())  # without one, Python prints warnings itself


def load(
    *paths: Path, output_dir: Path | None = None, strict: bool = False, ledger: Path | None = None
) -> Loaded:
    """Read manifests: files, or folders with them. No network.

    ``output_dir`` beats the manifests' own; with ``strict``, warnings refuse a manifest. With the ``ledger``, images that
    it knows are not read again. A manifest with problems is left out, and they are all in ``problems``.

    Raises UsageError for a path that is neither a manifest nor a folder with one, and LedgerError.
    """
    with _reader(ledger) as records:
        return loading.load(
            [os.fspath(path) for path in paths],
            output_dir=None if output_dir is None else os.fspath(output_dir),
            strict=strict,
            known=records.images() if records is not None else {},
            now=Clock().now(),
        )


def plan(
    loaded: Loaded, ledger: Path, *, base_url: str = "", options: RunOptions | None = None
) -> list[Step]:
    """What a run would do about each job, with the reason and the estimated cost in US dollars. Writes nothing.

    ``base_url`` is the API's, where the ledger isn't there yet. Raises LedgerError.
    """
    options = options or RunOptions()
    with _reader(ledger) as records, Roots() as roots:
        api = records.origin if records is not None else origin(base_url) if base_url else ""
        steps = dry_run(
            loading.with_orders(loaded, records).manifests,
            records,
            roots,
            api,
            retry_failed=options.retry_failed,
            accept_changes=options.accept_changes,
            prices=options.prices,
        )
        return list(steps)


def run(
    loaded: Loaded,
    ledger: Path,
    account: Account,
    options: RunOptions | None = None,
    *,
    lock_wait: float = 0.0,
) -> AsyncGenerator[Event, None]:
    """Create, follow and collect what is missing, and what the ledger has open; an iterator over what happens.

    The last event is :class:`batchgen.Ended`. A ``break``, an exception or a cancelled task ends the run: nothing more is
    created, creates in flight have five seconds, and the ledger has where each job stands. ``contextlib.aclosing``
    waits for that. ``lock_wait``: seconds to wait for another run that holds the ledger.

    Raises UsageError, LedgerError (LedgerBusy for another run), or a Bug.
    """
    return _run_events(loaded, os.path.abspath(ledger), account, options or RunOptions(), lock_wait)


def collect(
    ledger: Path, account: Account, options: RunOptions | None = None, *, lock_wait: float = 0.0
) -> AsyncGenerator[Event, None]:
    """Follow and download what the ledger has open; an iterator as :func:`run` gives it.

    Never creates, and follows what is open also with ``submit_only``.

    Raises as :func:`run`, and LedgerError where there is no such ledger.
    """
    options = dataclasses.replace(options or RunOptions(), submit_only=False)
    return _run_events(None, os.path.abspath(ledger), account, options, lock_wait)


def read_ledger(path: Path) -> Records:
    """The ledger, to be read; a context manager. It holds up no run, and sees what one has written by then.

    Raises LedgerError where there is none, or it can't be read.
    """
    return Records.read(os.fspath(path))


def _reader(path: Path | None) -> Records | nullcontext[None]:
    return read_ledger(path) if path is not None and os.path.lexists(path) else nullcontext()


async def _run_events(
    loaded: Loaded | None, path: str, account: Account, options: RunOptions, lock_wait: float
) -> AsyncGenerator[Event, None]:
    """The events of one run, which works beside its reader."""
    stream, clock, mask = Stream(), Clock(), Mask(account.key)
    if loaded is None:
        read_ledger(path).close()  # collecting makes no ledger
    else:
        _refuse_key(loaded, mask)
        if options.approval is not None:
            with read_ledger(
                path
            ) as records:  # nothing else is opened, or made, for an approval of another ledger
                check(options.approval, records.identity, path, origin(account.base_url))
    ledger = await _opened(path, origin(account.base_url), mask, lock_wait)
    events = Events(clock.now, lambda event: stream.take(masked(event, mask)))
    session = Session(ledger, account, options, clock, events)
    held = ExitStack()
    held.callback(session.close)
    held.enter_context(ledger)
    work = asyncio.create_task(_work(session, held, loaded, ledger, clock))
    work.add_done_callback(lambda _: stream.close())
    try:
        while (event := await stream.next()) is not None:
            yield event
        await work
    finally:
        with held:  # still, where it was cancelled before its first step
            await _end_run(work, session)


async def _work(
    session: Session, held: ExitStack, loaded: Loaded | None, ledger: Ledger, clock: Clock
) -> None:
    """The run itself. It releases the ledger when it is over, however slow its reader is."""
    with held:
        if loaded is not None:
            loaded = loading.with_orders(loaded, ledger)
        async with recorded(ledger, new_run(clock, "library", ())) as recording:
            if await session.prepare(loaded):
                await session.work()
            ended = await session.conclude()
            recording.over(ended, ended.exit_code, loaded.problems if loaded is not None else ())


async def _end_run(work: asyncio.Task[None], session: Session) -> None:
    """End the run and wait until it has released everything. If this is cancelled, answers aren't waited for any more."""
    cancelled: asyncio.CancelledError | None = None
    in_order = not work.done() and session.end(EndedEarly("its program ended it", kind="program"))
    if not in_order:
        work.cancel()
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
            if in_order:  # once: a second time would take apart what it is releasing
                in_order = False
                work.cancel()
    if cancelled is not None:
        raise cancelled
    if not work.cancelled():
        work.exception()  # it has been raised, or there is no reader to raise it to


def _refuse_key(loaded: Loaded, mask: Mask) -> None:
    """Raise UsageError for a job that has the key: in what is sent, or in the names that the ledger gets."""
    if mask.holds_key is None:
        return
    for one in loaded.manifests:
        for job in one.jobs:
            body = Body(job.request)
            texts = (one.name, job.id, job.external_task_id, *(image.path for image in body.files))
            if any(map(mask.holds, (*texts, *body.texts()))):
                raise _holds_key(mask, job.place, job.id)
        for bad in one.unusable:
            if any(map(mask.holds, (one.name, bad.id))):
                raise _holds_key(mask, bad.problem.place, bad.id)


def _holds_key(mask: Mask, place: Place, job_id: str) -> UsageError:
    where = mask(f"{place}: ({job_id})")
    return UsageError(f"{where} holds the API key; take it out, and give it as the account's")


async def _opened(path: str, api: str, mask: Mask, lock_wait: float) -> Ledger:
    """Open the ledger for writing; another run is waited for without blocking the loop."""
    gives_up = asyncio.get_running_loop().time() + lock_wait
    while True:
        try:
            return Ledger.open(path, origin=api, masked=mask)
        except LedgerBusy:
            if asyncio.get_running_loop().time() >= gives_up:
                raise
        await asyncio.sleep(LOCK_POLL)
