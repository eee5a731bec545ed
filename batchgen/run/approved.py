"""What an approval means for a run: the creates that it allows, and why others are left out. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from batchgen.amounts import shown
from batchgen.errors import UsageError
from batchgen.models import Job, Manifest
from batchgen.money.approval import Approval, Approved
from batchgen.request.asked import asked
from batchgen.run.plan import PAYS, Step
from batchgen.run.tally import Ending

UNAPPROVED = "unapproved"  # the bucket


def approved(step: Step) -> Approved | None:
    """The create that a step pays for, as an approval has it; None where it doesn't pay."""
    job = step.job
    if step.action not in PAYS or not isinstance(job, Job):
        return None
    mode = str(asked(job.request)["mode"])
    return Approved(step.external_task_id, *job.key, mode, job.digest, step.action.value, step.micros)


def check(approval: Approval, identity: str, path: str, api: str) -> None:
    """Raise UsageError for an approval of another ledger, or another API. ``path`` and ``identity`` are the ledger's."""
    if approval.ledger not in (None, identity):
        raise UsageError(
            f"the approval was made with another ledger ({approval.ledger}) than {path} ({identity}), which doesn't know"
            " what was paid by it; nothing was created. Name that ledger with --ledger, or approve with this one:"
            " `batchgen plan -o FILE PATH`"
        )
    if approval.origin != api:
        raise UsageError(
            f"the approval is for {approval.origin}, and this is {api}; nothing was created. Name that API with"
            " --base-url, or approve for this one: `batchgen plan -o FILE PATH`"
        )


def hold(steps: Iterable[Step], approval: Approval) -> tuple[list[Step], list[Ending]]:
    """The steps that pay for nothing or for what was approved; and why each of the others is left out."""
    kept, endings = [], []
    of_job: dict[tuple[str, str, int], Approved] = {}
    for step in steps:
        wanted = approved(step)
        if wanted is None or approval.allows(wanted.external_task_id, wanted.digest, wanted.micros):
            kept.append(step)
            continue
        of_job = of_job or {job.key: job for job in approval.jobs.values()}
        before = approval.jobs.get(wanted.external_task_id) or of_job.get(wanted.key)
        text = _why(step, wanted, before)
        endings.append(Ending(UNAPPROVED, *wanted.key, wanted.external_task_id, text))
    return kept, endings


def gone(approval: Approval, manifests: Iterable[Manifest], begun: Container[str]) -> Iterator[Ending]:
    """What was approved, and is no job of these manifests any more. ``begun`` are ids that the ledger knows what became of."""
    names, present = set(), set[tuple[str, str, int]]()
    for one in manifests:
        names.add(one.name)
        present.update(job.key for job in one.jobs)
        present.update(bad.key for bad in one.unusable)
        present.update(one.skipped)
    for job in approval.jobs.values():
        if job.key in present or job.external_task_id in begun:
            continue
        whole = (
            "is no job of its manifest any more"
            if job.manifest in names
            else "its manifest isn't in this run"
        )
        yield Ending(UNAPPROVED, *job.key, job.external_task_id, f"approved, and {whole}")


def _why(step: Step, wanted: Approved, before: Approved | None) -> str:
    if before is None:
        return f"not approved ({step.reason})"
    if before.digest != wanted.digest:
        return f"changed since it was approved as {before.external_task_id}"
    if before.external_task_id != wanted.external_task_id:
        return f"approved as {before.external_task_id}, and this is another task of it ({step.reason})"
    return f"approved for {shown(before.micros)}, and its estimate is {shown(wanted.micros)} now"
