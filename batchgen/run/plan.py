"""Decides what a run does about each job, and why. Pure: a job and its rows in the ledger go in, a step comes out."""

from __future__ import annotations

import enum
import functools
import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from batchgen.amounts import dollars
from batchgen.ledger.transitions import ABANDONED, MAY_BE_PAID
from batchgen.models import Brief, ImageFile, Job, Manifest, Record, State, Twin, UnusableJob
from batchgen.money.prices import BUILT_IN, Prices
from batchgen.request.identity import canonical
from batchgen.request.image_fields import is_url
from batchgen.run.clip_paths import output_path
from batchgen.run.failures import EXCUSED, Cause

MAX_TASKS = 3  # tasks of a job in all, where they fail by the job's fault or for an unknown reason
MAX_REFUSED = 2  # the same where the API blames the picture or the prompt
MAX_ANY = (
    8  # the same for any reason: a message that blames the service may be wrong, and every task may be paid
)


class Action(enum.StrEnum):
    """What a run would do about a job."""

    CREATE = "create"  # pays
    RETRY = "retry"  # pays: the last task failed
    SETTLE = "settle"  # ask whether an uncertain create made a task
    FOLLOW = "follow"  # wait for the end of its task
    DOWNLOAD = "download"  # bring home a clip that is ready
    DONE = "done"
    REJECTED = "rejected"  # refused before; waits until it changes
    FAILED = "failed"  # failed as often as it may
    CHANGED = "changed"  # paid, and the manifest says something else now
    ABANDONED = "abandoned"  # a person gave it up
    UNUSABLE = "unusable"  # its image failed the checks
    WAITING = "waiting"  # its image is still being written


_NEW = "new"

PAYS = frozenset({Action.CREATE, Action.RETRY})

_ACTIONS: Mapping[State, tuple[Action, str]] = {
    State.SUBMITTING: (Action.SETTLE, "an earlier run stopped while it was being created"),
    State.UNKNOWN: (Action.SETTLE, "nobody knows whether its create was accepted"),
    State.SUBMITTED: (Action.FOLLOW, "its task was made"),
    State.SUCCEEDED: (Action.DOWNLOAD, "its clip is ready"),
    State.DOWNLOADED: (Action.DONE, "its clip is here"),
}


class Step(NamedTuple):
    """One job's part of a plan. ``micros`` is its estimate in micro-dollars, 0 where nothing would be created."""

    job: Job | UnusableJob
    action: Action
    external_task_id: str
    reason: str
    micros: int = 0
    renamed: bool = False  # the row was made under another name
    ordered: bool = False  # the manifest doesn't ask for it: a person ordered it

    @property
    def cost(self) -> float:
        """The estimate in US dollars."""
        return dollars(self.micros)


def decide(
    job: Job,
    known: Sequence[Brief],
    *,
    retry_failed: bool = False,
    accept_changes: bool = False,
    prices: Prices = BUILT_IN,
) -> Step:
    """Decide about one job. ``known`` are the ledger's rows of this job, and those with its ``external_task_id``."""
    digest = job.digest
    mine = [row for row in known if row.digest == digest]
    if len(mine) > 1:
        mine.sort(key=lambda row: (row.state in MAY_BE_PAID, *_order(row)))
    last = mine[-1] if mine else None
    if last is not None and last.state in MAY_BE_PAID:
        action, reason = _ACTIONS[last.state]
        return Step(job, action, last.external_task_id, reason)  # most jobs of most nights
    pays = functools.partial(_pays, prices, job)
    paid = max(
        (row for row in known if row.digest != digest and row.state in MAY_BE_PAID),
        key=_order,
        default=None,
    )
    if paid is not None and (last is None or last.number < paid.number) and not accept_changes:
        reason = f"paid as {paid.external_task_id}, and changed since"
        return Step(job, Action.CHANGED, paid.external_task_id, reason)
    if last is not None and last.error_code == ABANDONED:
        return Step(job, Action.ABANDONED, last.external_task_id, "given up by hand")
    if last is not None and last.state is State.REJECTED and not retry_failed:
        return Step(job, Action.REJECTED, last.external_task_id, "refused before")
    series = [row for row in known if row.base_id == job.external_task_id]
    newest = max(series, key=_order, default=None)
    if newest is None:
        return pays(Action.CREATE, job.external_task_id, _NEW if paid is None else "changed; accepted")
    if newest.state in (State.PENDING, State.REJECTED):
        reason = "not created yet" if newest.state is State.PENDING else "refused before; sent again"
        return pays(Action.CREATE, newest.external_task_id, reason)
    following = next_id(newest.base_id, newest.external_task_id)
    if newest.digest != digest:
        return pays(
            Action.CREATE, following, "changed; accepted" if newest.state in MAY_BE_PAID else "changed"
        )
    failed = [row.error_code for row in mine if row.state is State.FAILED]
    if not may_retry(failed) and not retry_failed:
        reason = (
            "its task was cancelled"
            if newest.error_code == Cause.CANCELLED
            else f"its task failed {len(failed)} times"
        )
        return Step(job, Action.FAILED, newest.external_task_id, reason)
    return pays(Action.RETRY, following, retry_reason(failed, newest.error_code))


def retry_reason(failed: Sequence[str | None], newest: str | None) -> str:
    """Why a job whose tasks failed with these causes gets another one; ``newest`` is the last one's."""
    if newest == Cause.CANCELLED:
        return "its task was cancelled; another one"
    if newest in EXCUSED:
        return "its task failed for no fault of its own"
    return f"its task failed ({sum(code not in EXCUSED for code in failed)} of {MAX_TASKS} tries)"


def may_retry(failed: Sequence[str | None]) -> bool:
    """Whether a job whose tasks failed with these causes, the newest last, gets another task without being asked for.

    It doesn't after a task that somebody cancelled.
    """
    if failed and failed[-1] == Cause.CANCELLED:
        return False
    counted = sum(code not in EXCUSED for code in failed)
    return counted < MAX_TASKS and failed.count(Cause.CONTENT) < MAX_REFUSED and len(failed) < MAX_ANY


class Known(NamedTuple):
    """Some jobs of one manifest, and what the ledger knows of them: a run may have more jobs than it can know of at once.

    ``history`` has the ledger's rows by (manifest, job id, take), ``series`` by the job's own external_task_id, and
    ``twins`` by digest: a job without rows may have had another name when it was paid.
    """

    manifest: Manifest
    history: Mapping[tuple[str, str, int], Sequence[Brief]]
    series: Mapping[str, Sequence[Brief]]
    twins: Mapping[str, Sequence[Twin]]


def plan(
    manifests: Sequence[Manifest],
    known: Iterable[Known],
    given_up: Container[tuple[tuple[str, str, int], str]] = (),
    *,
    retry_failed: bool = False,
    accept_changes: bool = False,
    prices: Prices = BUILT_IN,
) -> Iterator[Step]:
    """The steps of all jobs, in the manifests' order; ``known`` has these jobs in the same order.

    ``given_up`` has the key and the evidence of each unusable job that a person gave up.
    """
    names = {manifest.name for manifest in manifests}
    skipped = {key for manifest in manifests for key in manifest.skipped}
    present: dict[tuple[str, str, int], str] | None = None  # digests of all jobs, where they are needed
    # Hashes, which take less than texts. Two that are equal by chance would leave a job for another night, and pay nothing.
    taken: set[int] = set()
    for manifest, history, series, twins in known:
        for job in manifest.jobs:
            key = job.key
            rows = history.get(key, ())
            if series and (elsewhere := series.get(job.external_task_id)):
                rows = [*rows, *(row for row in elsewhere if row not in rows)]
            retaken = key in manifest.retaken
            accept = accept_changes and not retaken  # what it is now is paid for by an order
            step = own = decide(job, rows, retry_failed=retry_failed, accept_changes=accept, prices=prices)
            if twins and job.digest in twins and (step.action in PAYS or step.action is Action.CHANGED):
                present = digests_of(manifests) if present is None else present
                free = (one for one in twins[job.digest] if hash(one.row.external_task_id) not in taken)
                twin = next((one for one in free if _may_be_renamed(one, job, present, skipped)), None)
                moved = twin is not None and twin.key[0] in names
                if twin is not None and (moved or step.action in PAYS):
                    step = _renamed(job, twin, moved=moved)
                    if accept_changes and not moved:
                        step = _pays(
                            prices,
                            job,
                            Action.CREATE,
                            job.external_task_id,
                            f"like {'/'.join(twin.key[:2])}; accepted",
                        )
            settled = retaken and step is own and step.action is Action.CHANGED
            if manifest.ordered and key in manifest.ordered:
                reason = "ordered" if step.reason == _NEW else step.reason
                step = step._replace(reason=reason, ordered=True)
            if settled:  # its old row may be another job's by now
                reason = f"{step.reason}; take {manifest.retaken[key]} was ordered of what it is now"
                step = step._replace(action=Action.DONE, reason=reason)
            elif hash(step.external_task_id) in taken:
                reason = f"{step.external_task_id} is another job's in these manifests by now"
                step = Step(job, Action.CHANGED, step.external_task_id, reason)
            elif step.action is not Action.CHANGED:
                taken.add(hash(step.external_task_id))
            yield step
        for bad in manifest.unusable:
            if (bad.key, bad.evidence) in given_up:
                yield Step(bad, Action.ABANDONED, "", "its image failed the checks; given up by hand")
                continue
            action = Action.WAITING if bad.waits else Action.UNUSABLE
            yield Step(bad, action, "", f"{bad.problem.text} ({bad.problem.place})")


def digests_of(manifests: Iterable[Manifest]) -> dict[tuple[str, str, int], str]:
    """The digests of all jobs, by manifest, job id and take."""
    return {job.key: job.digest for one in manifests for job in one.jobs}


def _may_be_renamed(
    twin: Twin,
    job: Job,
    present: Mapping[tuple[str, str, int], str],
    skipped: Container[tuple[str, str, int]],
) -> bool:
    """Whether ``twin`` may have been paid for ``job`` under another name: that name's job is gone, or has changed.

    ``present`` has the digests of the manifests' jobs. This also finds all jobs of a list whose names moved on by one.
    """
    if twin.key == job.key:  # its own, by a name whose accents are spelt in both ways at once
        return True
    return twin.key[2] == job.take and twin.key not in skipped and present.get(twin.key) != twin.row.digest


def _renamed(job: Job, twin: Twin, *, moved: bool) -> Step:
    """The step for a job whose clip was paid under another name. If that manifest isn't here, a person has to decide."""
    manifest, job_id, _ = twin.key
    action, reason = _ACTIONS[twin.row.state]
    if moved:
        reason = f"{reason}, made as {manifest}/{job_id}"
        return Step(job, action, twin.row.external_task_id, reason, renamed=True)
    reason = (
        f"paid as {manifest}/{job_id}, which is not in these manifests; where this one was renamed,"
        f" `name: {_yaml(manifest)}` in it keeps the clip"
    )
    return Step(job, Action.CHANGED, twin.row.external_task_id, reason)


def _yaml(name: str) -> str:
    """A name as YAML, quoted where it would be read as something else."""
    plain = re.fullmatch(r"(?!(?i:null|true|false)$)[A-Za-z_][\w.-]*", name, re.ASCII)
    return name if plain else json.dumps(name, ensure_ascii=False)


def differences(before: str, after: str) -> str:
    """The differences between two canonical requests, field by field; images as the first digits of their digests."""
    old, new = json.loads(before), json.loads(after)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return "; ".join(f"{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}" for name in names)


def _shown(value: object) -> str:
    if isinstance(value, dict) and isinstance(value.get("sha256"), str):
        how = value.get("prepare")
        options = (
            "".join(f" {key}={how[key]}" for key in sorted(how) if key != "version")
            if isinstance(how, dict)
            else ""
        )
        return f"bytes {value['sha256'][:12]}{', prepared' if how else ''}{options}"
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def new_row(job: Job, external_task_id: str, prices: Prices) -> Record:
    """The ledger's row for a new task of a job, with its estimate by these prices."""
    request = job.request
    return Record(
        external_task_id=external_task_id,
        base_id=job.external_task_id,
        manifest=job.manifest,
        job_id=job.id,
        take=job.take,
        digest=job.digest,
        canonical=canonical(request),
        state=State.PENDING,
        output_path=output_path(job),
        estimate=prices.estimate(request),
        image=image_name(request),
        output_dir=job.output_dir,
    )


def image_name(request: Mapping[str, Any]) -> str | None:
    """The path or URL of a checked request's ``image`` (or ``image_tail``); None for Base64."""
    image = request.get("image", request.get("image_tail"))
    if isinstance(image, ImageFile):
        return image.path
    return image if isinstance(image, str) and is_url(image) else None


def next_id(base_id: str, external_task_id: str) -> str:
    """The id of a job's task after that of ``external_task_id``: ``ID``, ``ID~2``, ``ID~3``, ..."""
    return f"{base_id}~{_number(base_id, external_task_id) + 1}"


def task_number(step: Step | None) -> int:
    """The number of a step's task among those of its job: 1, 2, ..."""
    if step is None or not isinstance(step.job, Job):
        return 1
    return _number(step.job.external_task_id, step.external_task_id)


def _pays(prices: Prices, job: Job, action: Action, external_task_id: str, reason: str) -> Step:
    return Step(job, action, external_task_id, reason, prices.estimate(job.request))


def _order(row: Brief) -> tuple[int, str]:
    return _number(row.base_id, row.external_task_id), row.external_task_id


def _number(base_id: str, external_task_id: str) -> int:
    return int(external_task_id[len(base_id) + 1 :] or 1)
