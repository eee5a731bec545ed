"""A plan as people and scripts read it: what a run would do about each job, and what it would pay for."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from batchgen import limits
from batchgen.amounts import about, dollars
from batchgen.cli.job_names import Name
from batchgen.cli.output import folded
from batchgen.cli.preparations import preparations
from batchgen.cli.report import counted
from batchgen.escapes import visible
from batchgen.models import Job
from batchgen.money.prices import BUILT_IN, Prices
from batchgen.request.asked import asked
from batchgen.request.identity import canonical
from batchgen.request.image_fields import is_url
from batchgen.run.ordered import WaitingOrder
from batchgen.run.plan import PAYS, Action, Step, image_name
from batchgen.storage.clips import iso

#: What each word of a plan means.
LEGEND: Mapping[Action, str] = {
    Action.CREATE: "a new task is made, and paid",
    Action.RETRY: "its last task failed: another one is made, and paid",
    Action.SETTLE: "the API is asked whether it has the task, before anything else",
    Action.FOLLOW: "its task is made already: the clip is waited for and fetched, at no cost",
    Action.DOWNLOAD: "its clip is ready, and is fetched at no cost",
    Action.DONE: "nothing is left to do",
    Action.REJECTED: "nothing, until the job changes; --retry-failed sends it again",
    Action.FAILED: "nothing, until the job changes; --retry-failed pays for another task",
    Action.CHANGED: "nothing: the clip as it was is, or may be, paid; --accept-changes pays for another",
    Action.ABANDONED: "nothing, until the job changes",
    Action.UNUSABLE: "nothing, until its image is replaced",
    Action.WAITING: "nothing yet: its image is still being written",
}


class Subtotals:
    """What a plan would pay for, by manifest and mode: how many clips, and their cost."""

    def __init__(self) -> None:
        self._creates: Counter[tuple[str, str]] = Counter()
        self._cost: Counter[tuple[str, str]] = Counter()  # micro-dollars

    def counting(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The same steps, each counted as it is taken, if it pays."""
        for step in steps:
            if step.action in PAYS and isinstance(step.job, Job):
                key = (step.job.manifest, str(asked(step.job.request)["mode"]))
                self._creates[key] += 1
                self._cost[key] += step.micros
            yield step

    @property
    def cost(self) -> int:
        """The whole, in micro-dollars."""
        return self._cost.total()

    def lines(self) -> Iterator[str]:
        """A line for each manifest and mode; none where there is but one."""
        if len(self._cost) > 1:
            for (manifest, mode), cost in self._cost.items():
                yield f"  {visible(manifest)}, {mode}: {self._creates[manifest, mode]:,} to create, about {about(cost)}"

    def objects(self) -> list[dict[str, Any]]:
        """The same for scripts, always."""
        return [
            {
                "manifest": manifest,
                "mode": mode,
                "creates": self._creates[manifest, mode],
                "cost_usd_estimate": dollars(cost),
            }
            for (manifest, mode), cost in self._cost.items()
        ]


def plan_text(
    steps: Iterable[Step], *, width: int | None = None, verbose: bool = False, prices: Prices = BUILT_IN
) -> Iterator[str]:
    """The plan as text: a line per job and one for what is paid, the meaning of the actions, and the sums.

    ``width`` is the terminal's, in columns: what is bought is cut to it; None leaves it whole, as ``verbose`` does,
    which shows the same of all jobs. Of each action the first jobs are shown, and with ``verbose`` all.
    """
    counts: Counter[Action] = Counter()
    cost = bounds = 0
    sums = Subtotals()
    for step in sums.counting(steps):
        pays = step.action in PAYS
        counts[step.action] += 1
        cost += step.micros
        bounds += pays and isinstance(step.job, Job) and prices.is_bound(step.job.request)
        if counts[step.action] > limits.JOBS_SHOWN and not verbose:
            continue
        price = about(step.micros) if pays else ""
        name = Name(step.job.manifest, step.job.id, step.job.take)
        yield from folded(f"{step.action:<9} {price:>8}  {name}  ({step.reason})", width, indent=6)
        if isinstance(step.job, Job) and (pays or verbose):
            yield _bought(step.job, None if verbose else width)
            if verbose:
                yield from (f"    {field}: {what}" for field, _, what in preparations(step.job))
    for action in Action:
        if (more := counts[action] - limits.JOBS_SHOWN) > 0 and not verbose:
            yield f"... and {more:,} more: {action}; -v shows them all, --json has them"
    for action in Action:
        if counts[action]:
            yield from folded(f"  {action}: {LEGEND[action]}", width, indent=6)
    if bounds:
        price = (
            "its price is not published, so twice the one with sound is counted, as the most that it can be"
        )
        yield f"{counted(bounds, 'job')} with a named voice: {price}"
    yield from sums.lines()
    parts = ", ".join(f"{count:,} {action}" for action, count in counts.items()) or "no jobs"
    yield f"{counted(counts.total(), 'job')}: {parts}; about {about(cost)}"


def skipped_text(keys: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    """The jobs that their manifests leave out, a line each, and their number."""
    count = 0
    for key in keys:
        count += 1
        yield f"skipped            {Name(*key)}"
    yield f"{counted(count, 'job')} skipped"


def waiting_text(waiting: WaitingOrder) -> str:
    """An order that no run can begin as the manifests are now, in a line."""
    order = waiting.order
    return f"ordered, and waits: {Name(*order.key)}: {waiting.why}"


def waiting_object(waiting: WaitingOrder) -> dict[str, Any]:
    """The same for scripts."""
    order = waiting.order
    names = {"manifest": order.manifest, "job_id": order.job_id, "take": order.take}
    return {**names, "ordered_at": iso(order.at), "note": order.note, "reason": waiting.why}


def plan_object(steps: Iterable[Step]) -> dict[str, Any]:
    """The plan for scripts, with all of its jobs."""
    sums = Subtotals()
    rows = [
        {
            "manifest": step.job.manifest,
            "job_id": step.job.id,
            "take": step.job.take,
            "external_task_id": step.external_task_id or None,
            "action": step.action.value,
            "reason": step.reason,
            "cost_usd_estimate": step.cost,
            **_wanted(step),
        }
        for step in sums.counting(steps)
    ]
    return {
        "jobs": rows,
        "creates": sum(row["action"] in PAYS for row in rows),
        "cost_usd_estimate": dollars(sums.cost),
        "subtotals": sums.objects(),
    }


def _wanted(step: Step) -> dict[str, Any]:
    """The fields of a job's request; all null where its image was refused."""
    if not isinstance(step.job, Job):
        return {**dict.fromkeys(asked({})), "prepare": None}
    request = step.job.request
    wanted = asked(request) | {"image": image_name(request)}
    if wanted["image"] is None:  # Base64, whose digest its canonical form has
        wanted["image_sha256"] = asked(json.loads(canonical(request)))["image_sha256"]
    done = {field: what for field, _, what in preparations(step.job)}
    return {**wanted, "prepare": done or None}


def _bought(job: Job, width: int | None) -> str:
    """A job's picture, mode, seconds and prompt in a line of at most ``width`` columns."""
    wanted = asked(job.request)
    sound = ", sound" if wanted["sound"] == "on" else ""
    how = f", {wanted['mode']}, {wanted['duration']} s{sound}: "
    prompt = visible(" ".join((wanted["prompt"] or "no prompt").split()))
    image = image_name(job.request) or "Base64"
    if width is None:
        here = os.path.join(os.getcwd(), "")
        return f"    {visible(image.removeprefix(here))}{how}{prompt}"
    file = os.path.basename(image.partition("?")[0] if is_url(image) else image) or image
    return cut(f"    {visible(file)}{how}{prompt}", width)


def cut(text: str, width: int) -> str:
    """The text cut to ``width`` columns of a terminal, with ``...`` where it was longer."""
    if (len(text) if text.isascii() else sum(map(_columns, text))) <= width:
        return text
    room = max(width - 3, 0)
    for kept, letter in enumerate(text):
        room -= _columns(letter)
        if room < 0:
            return f"{text[:kept]}..."
    return text


def _columns(letter: str) -> int:
    """The columns that a character takes: 2 for wide ones (East Asian), 0 for combining marks."""
    if letter.isascii():
        return 1
    return 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
