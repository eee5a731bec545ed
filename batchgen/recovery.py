"""A lost ledger, rebuilt from the API: every job's ids are derived again and asked for. Nothing here creates."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from batchgen.asking import QUERIES, Asker
from batchgen.errors import AccountStop, ApiError, BatchgenError, EndedEarly, NotFound
from batchgen.ledger import Ledger
from batchgen.models import Change, Job, Manifest, State, TaskView
from batchgen.pacing import backoff
from batchgen.plan import Action, Step, new_row, next_id
from batchgen.prices import cost_usd

TRIES = 6  # questions about one id before the recovery gives up
SAMPLE = 5  # new jobs of a manifest that the ledger knows, asked for before they are created


@dataclass(slots=True)
class Recovered:
    """What a recovery found: ``external_task_id`` -> task id of the tasks adopted, and the jobs without any."""

    tasks: dict[str, str] = field(default_factory=dict)
    missing: int = 0


async def doubtful(ledger: Ledger, manifests: Iterable[Manifest]) -> dict[str, bool]:
    """Whether the ledger may have lost tasks of a manifest, by its name.

    It may where it has none: then every job is asked for before it is created, in this run and in those after it,
    until one has got to its end (:func:`trusted`). That a manifest is new looks just the same, and costs questions.
    """
    doubts = {}
    for manifest in manifests:
        key = f"doubtful:{manifest.name}"
        doubts[manifest.name] = ledger.note(key) == "yes" or not ledger.knows(manifest.name)
        if doubts[manifest.name]:
            await ledger.set_note(key, "yes")
    return doubts


async def trusted(ledger: Ledger, manifest: str) -> None:
    """Every job of the manifest has been asked for: what the ledger doesn't have, isn't."""
    await ledger.set_note(f"doubtful:{manifest}", "no")


async def recover(asker: Asker, ledger: Ledger, jobs: Iterable[Job]) -> Recovered:
    """Ask for every job's id, and for its ``~2``, ``~3``, ... while they are found; adopt what the ledger hasn't.

    Raises AccountStop, or EndedEarly where an answer couldn't be had: what was found until then is kept.
    """
    result, queue = Recovered(), iter(jobs)

    async def work() -> None:
        for job in queue:
            await _recover_job(asker, ledger, job, result)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(QUERIES):
                group.create_task(work())
    except* BatchgenError as several:
        first: BaseException = several
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return result


async def _recover_job(asker: Asker, ledger: Ledger, job: Job, result: Recovered) -> None:
    name, found = job.external_task_id, False
    while True:
        record = ledger.record(name)
        if record is None or record.task_id is None:
            view = await _patiently(asker, name)
            if view is None:
                break
            values = {"task_id": view.task_id, "submitted_at": view.created_at}
            change = Change(name, State.SUBMITTED, "recovered", request_id=view.request_id, values=values)
            row = new_row(Step(job, Action.CREATE, name, "recovered", cost_usd(job.request)), job)
            await ledger.adopt(row, change)
            result.tasks[name] = view.task_id
        found = True
        name = next_id(job.external_task_id, name)
    result.missing += not found


async def _patiently(asker: Asker, name: str) -> TaskView | None:
    """The task of that id; None where the API has none."""
    answer: TaskView | ApiError
    for turn in range(TRIES):
        answer = await asker.look_up(name)
        if isinstance(answer, TaskView):
            return answer
        if isinstance(answer, NotFound):
            return None
        if isinstance(answer, AccountStop):
            raise answer
        await asyncio.sleep(backoff(turn, random.Random()))
    raise EndedEarly(f"the API gave no answer about {name}: {answer}; run it again")
