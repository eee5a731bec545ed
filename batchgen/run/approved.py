"""What an approval means for a plan: the creates that it allows, and why others are left out. Pure."""

from __future__ import annotations

from batchgen.models import Job
from batchgen.money.approval import Approved
from batchgen.request.asked import asked
from batchgen.run.plan import PAYS, Step


def approved(step: Step) -> Approved | None:
    """The create that a step pays for, as an approval has it; None where it doesn't pay."""
    job = step.job
    if step.action not in PAYS or not isinstance(job, Job):
        return None
    mode = str(asked(job.request)["mode"])
    return Approved(step.external_task_id, *job.key, mode, job.digest, step.action.value, step.micros)
