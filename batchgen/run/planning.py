"""Makes the steps of a plan from manifests and the ledger."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from batchgen.errors import cited
from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import MAY_BE_PAID
from batchgen.models import Brief, Job, Manifest, Record, Twin
from batchgen.money.prices import BUILT_IN, Prices
from batchgen.names import composed
from batchgen.request.identity import canonical
from batchgen.run.clip_paths import output_path
from batchgen.run.plan import Action, Known, Step, differences, digests_of, plan

PART = 1000  # jobs whose rows are in memory at once
History = dict[tuple[str, str, int], list[Brief]]
Twins = dict[str, list[Twin]]


def planned(
    manifests: Sequence[Manifest],
    ledger: Records | None,
    beside: Mapping[str, Record] = MappingProxyType({}),
    *,
    retry_failed: bool = False,
    accept_changes: bool = False,
    prices: Prices = BUILT_IN,
) -> Iterator[Step]:
    """The steps of all jobs; a changed job's reason lists its changes. ``ledger`` is None where there is none yet.

    ``beside`` are rows that a run will import from the clips' folders, by external_task_id.
    """
    more = _with_rows(beside)
    if ledger is None:
        parts = (Known(part, {}, {}, {}) for one in manifests for part in _parts(one))
        for step in plan(manifests, map(functools.partial(_joined, more), parts), prices=prices):
            yield _taken_in(step, beside)
        return
    given_up = {(one.key, one.evidence) for one in ledger.unusable() if one.given_up}
    known = map(functools.partial(_joined, more), _known(manifests, ledger))
    steps = plan(
        manifests,
        known,
        given_up,
        retry_failed=retry_failed,
        accept_changes=accept_changes,
        prices=prices,
    )
    for planned_step in steps:
        step = _taken_in(planned_step, beside)
        if step.action in (Action.CHANGED, Action.REJECTED, Action.FAILED) and isinstance(step.job, Job):
            yield _explained(step, step.job, ledger.record(step.external_task_id))
        else:
            yield step


def _parts(one: Manifest) -> Iterator[Manifest]:
    """The manifest in parts of at most ``PART`` jobs."""
    starts = range(0, len(one.jobs) or 1, PART)
    for start in starts:
        unusable = one.unusable if start == starts[-1] else []
        yield replace(one, jobs=one.jobs[start : start + PART], unusable=unusable)


def _known(manifests: Sequence[Manifest], ledger: Records) -> Iterator[Known]:
    """What the ledger knows of the jobs, of one part of a manifest after another."""
    present = functools.cache(lambda: digests_of(manifests))
    skipped = {key for one in manifests for key in one.skipped}
    for part in (part for one in manifests for part in _parts(one)):
        history = ledger.briefs.of([part])
        unpaid, foreign, new = [], [], dict[str, Job]()
        for job in part.jobs:
            paid = own = False
            digest, name = job.digest, job.external_task_id
            key = job.key
            rows = history.get(key, ())
            if not rows:
                new[output_path(job)] = job
            elif rows[0].digest != digest and all(row.digest != digest for row in rows):
                history[key] = rows = _respelt(job, rows, ledger)
            for row in rows:
                paid = paid or (row.digest == digest and row.state in MAY_BE_PAID)
                own = own or row.base_id == name
            if not paid:
                unpaid.append(digest)
            if not own:
                foreign.append(name)
        for path, holder in ledger.briefs.at(new).items():
            # The row whose clip has a job's name may be that of a job that was renamed to it after it was paid.
            own = holder.key == new[path].key  # by a name whose accents are spelt in both ways at once
            if own or (present().get(holder.key) != holder.row.digest and holder.key not in skipped):
                history[new[path].key] = [holder.row]
        yield Known(part, history, ledger.briefs.named(foreign), ledger.briefs.twins(unpaid))


def _with_rows(beside: Mapping[str, Record]) -> tuple[History, Twins]:
    """The rows in ``beside`` by their jobs, and by their contents."""
    history, twins = History(), Twins()
    for number, row in enumerate(beside.values(), 1 << 40):
        brief = Brief(row.external_task_id, row.base_id, row.state, row.digest, number=number)
        history.setdefault(row.key, []).append(brief)
        twins.setdefault(row.digest, []).append(Twin(row.key, brief))
    return history, twins


def _joined(more: tuple[History, Twins], known: Known) -> Known:
    """What is known of some jobs, with these rows added."""
    history, twins = more
    if not history:
        return known
    keys = [job.key for job in known.manifest.jobs if job.key in history]
    digests = {job.digest for job in known.manifest.jobs} & twins.keys()
    return known._replace(
        history={**known.history, **{key: [*known.history.get(key, ()), *history[key]] for key in keys}},
        twins={**known.twins, **{one: [*known.twins.get(one, ()), *twins[one]] for one in digests}},
    )


def _taken_in(step: Step, beside: Mapping[str, Record]) -> Step:
    if not beside or step.action is not Action.DONE or (row := beside.get(step.external_task_id)) is None:
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
        detail = cited(record.error_message or "", record.error_code, record.request_id).lstrip()
    else:
        detail = differences(record.canonical, canonical(job.request))
    return step._replace(reason=f"{step.reason}: {detail}") if detail else step
