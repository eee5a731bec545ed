"""Makes the steps of a plan from manifests and the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from batchgen.errors import cited
from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import MAY_BE_PAID
from batchgen.models import Brief, Job, Manifest, Record, Twin
from batchgen.names import composed
from batchgen.request.identity import canonical
from batchgen.run.clip_paths import output_path
from batchgen.run.plan import Action, Step, differences, plan


def planned(
    manifests: Sequence[Manifest],
    ledger: Records | None,
    beside: Mapping[str, Record] = MappingProxyType({}),
    *,
    retry_failed: bool = False,
    accept_changes: bool = False,
) -> Iterator[Step]:
    """The steps of all jobs; a changed job's reason lists its changes. ``ledger`` is None where there is none yet.

    ``beside`` are rows that a run will import from the clips' folders, by external_task_id.
    """
    if ledger is None or not manifests:
        history, twins = _with_rows({}, {}, beside)
        for step in plan(manifests, history, {}, twins):
            yield _taken_in(step, beside)
        return
    history = ledger.history_of(manifests)
    unpaid, foreign = [], []
    for job in (job for one in manifests for job in one.jobs):
        paid = own = False
        rows = history.get(job.key, ())
        if rows and all(row.digest != job.digest for row in rows):
            history[job.key] = rows = _respelt(job, rows, ledger)
        for row in rows:
            paid = paid or (row.digest == job.digest and row.state in MAY_BE_PAID)
            own = own or row.base_id == job.external_task_id
        if not paid:
            unpaid.append(job.digest)
        if not own:
            foreign.append(job.external_task_id)
    _find_renamed(manifests, ledger, history)
    series = ledger.briefs(foreign)
    history, twins = _with_rows(history, ledger.twins(unpaid), beside)
    given_up = {(one.key, one.evidence) for one in ledger.unusable() if one.given_up}
    options = {"retry_failed": retry_failed, "accept_changes": accept_changes}
    for planned_step in plan(manifests, history, series, twins, given_up, **options):
        step = _taken_in(planned_step, beside)
        if step.action in (Action.CHANGED, Action.REJECTED, Action.FAILED) and isinstance(step.job, Job):
            yield _explained(step, step.job, ledger.record(step.external_task_id))
        else:
            yield step


def _find_renamed(
    manifests: Sequence[Manifest], ledger: Records, history: dict[tuple[str, str, int], list[Brief]]
) -> None:
    """Give a job without rows the row whose clip has its name: that of a job that was renamed to it after it was paid."""
    new = {output_path(job): job for one in manifests for job in one.jobs if job.key not in history}
    held = ledger.holders(new)
    present = {job.key: job.digest for one in manifests for job in one.jobs} if held else {}
    skipped = {key for one in manifests for key in one.skipped}
    for path, holder in held.items():
        own = holder.key == new[path].key  # by a name whose accents are spelt in both ways at once
        if own or (present.get(holder.key) != holder.row.digest and holder.key not in skipped):
            history[new[path].key] = [holder.row]


def _with_rows(
    history: dict[tuple[str, str, int], list[Brief]],
    twins: dict[str, list[Twin]],
    beside: Mapping[str, Record],
) -> tuple[dict[tuple[str, str, int], list[Brief]], dict[str, list[Twin]]]:
    """``history`` and ``twins`` with the rows in ``beside`` added."""
    for number, row in enumerate(beside.values(), 1 << 40):
        brief = Brief(row.external_task_id, row.base_id, row.state, row.digest, number=number)
        history.setdefault(row.key, []).append(brief)
        twins.setdefault(row.digest, []).append(Twin(row.key, brief))
    return history, twins


def _taken_in(step: Step, beside: Mapping[str, Record]) -> Step:
    if step.action is not Action.DONE or (row := beside.get(step.external_task_id)) is None:
        return step
    return step._replace(reason=f"its clip is at {row.video_path}, and a run takes it in")


def _respelt(job: Job, rows: Sequence[Brief], ledger: Records) -> list[Brief]:
    """A job's rows, with its digest where their requests differ from its own only in the spelling of accents."""
    text = canonical(job.request)
    if text.isascii():
        return [*rows]
    records = ((row, ledger.record(row.external_task_id)) for row in rows)
    return [
        row._replace(digest=job.digest)
        if record is not None and composed(record.canonical) == composed(text)
        else row
        for row, record in records
    ]


def _explained(step: Step, job: Job, record: Record | None) -> Step:
    """The step with more of its reason: what changed, or why the create was refused or the task failed."""
    if record is None:
        return step
    if step.action is not Action.CHANGED:
        detail = cited(record.error_message or "", record.error_code, record.request_id)
    elif record.digest != job.digest:
        detail = differences(record.canonical, canonical(job.request))
    else:
        return step
    return Step(job, step.action, step.external_task_id, f"{step.reason}: {detail}")
