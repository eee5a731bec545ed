"""Rebuilds a lost ledger from the clips' folders, and from the API by looking up every job's ids. Nothing is created."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from batchgen.errors import AccountStop, ApiError, BatchgenError, EndedEarly, NotFound
from batchgen.manifest.takes import MOST
from batchgen.models import Change, Job, State, TaskView
from batchgen.money.prices import Prices
from batchgen.request.identity import external_task_id, is_derived
from batchgen.run import doubts
from batchgen.run.charges import charged
from batchgen.run.clip_paths import superseded_path
from batchgen.run.failures import cause_of
from batchgen.run.inventory import Inventory
from batchgen.run.plan import new_row, next_id
from batchgen.run.queries import QUERIES, Queries
from batchgen.run.waits import backoff

LOOKUP_ATTEMPTS = 6  # queries about one id before the recovery gives up
MAX_SERIES = 100  # tasks of one job; an API that finds more seems to find any id


@dataclass(slots=True)
class Recovered:
    """The result: the imported tasks, ``external_task_id`` -> task id; and the number of jobs without any task."""

    tasks: dict[str, str] = field(default_factory=dict)
    missing: int = 0


async def recover(
    queries: Queries, inventory: Inventory, jobs: Iterable[Job], rng: random.Random
) -> Recovered:
    """Look up every job's id, and ``~2``, ``~3``, ... as long as they are found; record the tasks that the ledger hasn't.

    The takes after the manifests' last one are looked up as well, as long as they are found: they may have been ordered.
    Where none is found, the task is queried that ``clips.jsonl`` names for the job, if any. Raises AccountStop, and
    EndedEarly where there was no clear answer; what was found until then is kept.
    """
    ledger = inventory.ledger
    jobs = list(jobs)
    result, queue = Recovered(), iter(jobs)
    without: list[Job] = []

    highest = _highest_takes(jobs)
    if any(doubts.restored(ledger, name) for name in {job.manifest for job in jobs}):
        await (
            queries.lookups_work()
        )  # first: an answer that doesn't say whose task it is says nothing until then

    async def work() -> None:
        for job in queue:
            if not await _recover_job(queries, inventory, job, result, rng):
                without.append(job)
            elif job.take == highest.get(job.key[:2], 1) and is_derived(job.external_task_id):
                further = _next_take(job)  # that was ordered, which only the lost ledger knew
                while further.take <= job.take + MOST and await _recover_job(
                    queries, inventory, further, result, rng
                ):  # an API that says of any id that it knows it has an end, too
                    further = _next_take(further)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(QUERIES):
                group.create_task(work())
    # Not except*: Python 3.11.2 puts what is raised there into a group again.
    except BaseExceptionGroup as several:
        first: BaseException = several
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if several.split(BatchgenError)[1] is not None:
            raise
        raise first from None
    paid = ledger.briefs.twins(job.digest for job in without)  # under another name
    result.missing = sum(job.digest not in paid for job in without)
    if result.missing:
        await queries.lookups_work()
    return result


def _highest_takes(jobs: Iterable[Job]) -> dict[tuple[str, str], int]:
    """The highest take of each job that has more than the first, by manifest name and job id."""
    found: dict[tuple[str, str], int] = {}
    for job in jobs:
        if job.take > 1:
            found[job.key[:2]] = max(job.take, found.get(job.key[:2], 1))
    return found


def _next_take(job: Job) -> Job:
    name = external_task_id(job.manifest, job.id, job.take + 1, job.digest)
    return job._replace(take=job.take + 1, external_task_id=name)


async def _recover_job(
    queries: Queries, inventory: Inventory, job: Job, result: Recovered, rng: random.Random
) -> bool:
    """Record the job's tasks. Returns whether the ledger or the API has any."""
    ledger = inventory.ledger
    name, known = job.external_task_id, False
    views: dict[str, TaskView] = {}
    while len(views) <= MAX_SERIES:
        record = ledger.record(name)
        known = known or (
            record is not None and (record.task_id is not None or not doubts.restored(ledger, job.manifest))
        )
        if record is None or record.task_id is None:
            view = await _with_retries(functools.partial(queries.look_up, name), name, rng)
            if view is None:
                break
            views[name] = view
        name = next_id(job.external_task_id, name)
    else:
        text = f"the API finds a task for any id that it is asked for, such as {name}: nothing it finds can be believed"
        raise EndedEarly(text, kind="unproven")
    line = inventory.lost_line(job)
    if line is not None and not views and not known:
        view = await _with_retries(lambda: queries.named_task(line, job), line.task_id or "", rng)
        if view is not None:
            views[job.external_task_id] = view
    changes = {name: _recovered(name, view, inventory.prices) for name, view in views.items()}
    paid = [name for name, change in changes.items() if change.to is not State.FAILED]
    for name, change in changes.items():
        row = new_row(job, name, inventory.prices)
        if name in paid[:-1]:  # a later one is the clip of the job
            row = row._replace(output_path=superseded_path(row.output_path))
        await ledger.import_row(row, change)
        result.tasks[name] = views[name].task_id
    return known or bool(views)


def _recovered(name: str, view: TaskView, prices: Prices) -> Change:
    """The first change of the row for a task that the ledger hadn't."""
    values = {"task_id": view.task_id, "submitted_at": view.created_at}
    ended = {**values, "finished_at": view.updated_at, **charged(view, prices)}
    if view.status == "failed":
        text = view.message or "the API gave no reason"
        return Change(
            name,
            State.FAILED,
            "recovered",
            cause_of(view.message, view.raw_status).value,
            text,
            view.request_id,
            ended,
        )
    if view.status == "succeed" and view.video_url and len(view.clips) == 1:
        found = {**ended, "video_url": view.video_url}
        return Change(name, State.SUCCEEDED, "recovered", None, None, view.request_id, found)
    return Change(name, State.SUBMITTED, "recovered", None, None, view.request_id, values)


async def _with_retries(
    ask: Callable[[], Coroutine[Any, Any, TaskView | ApiError | None]], name: str, rng: random.Random
) -> TaskView | None:
    """The task that ``ask`` finds, tried ``LOOKUP_ATTEMPTS`` times; None where the API has none. Raises as recover()."""
    answer: TaskView | ApiError | None = None
    for turn in range(LOOKUP_ATTEMPTS):
        answer = await ask()
        if answer is None or isinstance(answer, TaskView):
            return answer
        if isinstance(answer, NotFound):
            return None
        if isinstance(answer, AccountStop):
            raise answer
        await asyncio.sleep(backoff(turn, rng))
    raise EndedEarly(f"the API gave no answer about {name}: {answer}; run it again")
