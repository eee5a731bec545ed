"""The summaries of runs and recoveries, for people as text and for scripts as JSON values. Nothing prints here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchgen import limits
from batchgen.cli.job_names import Name
from batchgen.errors import ApiError, BatchgenError, cited
from batchgen.models import Problem
from batchgen.run.buckets import ADVICE

if TYPE_CHECKING:
    from batchgen.ledger.runs import RunRecord
    from batchgen.run.events import Ended
    from batchgen.run.tally import Ending

SHOWN = 20  # endings of one kind that a summary spells out

#: What is said of jobs that were not created where the reason is said above.
AFTER_A_STOP = "The next run creates them, once what stopped this one is gone."
#: The same where nothing has to be put right: what ended this run was a limit of its own, or a signal.
AFTER_A_LIMIT = "The next run goes on with them."
_LIMITS = frozenset(
    {"jobs_cap", "cost_cap", "manifest_cost_cap", "budget", "deadline", "too_late", "until", "signal"}
)

#: What may have become of the creates of a run; their numbers sum to `created`.
_FATES = ("downloaded", "succeeded", "submitted", "failed", "unknown")


def run_text(ended: Ended, *, problems: int = 0, verbose: bool = False) -> Iterator[str]:
    """The summary of a run for people: the counts, then every job that needs a person, with what to do.

    ``problems`` is the number of problems in manifests, which were shown before.
    """
    jobs, stops = Counter(ended.jobs), ended.stops
    yield f"batchgen: {jobs['downloaded']} of {counted(jobs.total(), 'job')} done{_created(ended)}"
    if ended.failed_tasks:
        yield f"  {counted(ended.failed_tasks, 'task')} failed, which may be charged"
    for bucket, (word, _) in ADVICE.items():
        if jobs[bucket] and bucket != "downloaded":
            yield f"  {jobs[bucket]:>7,}  {word}"
    if problems:
        yield f"  without the manifests that have problems, of which nothing was created: {counted(problems, 'problem')} above"
    if any(ended.others.values()):
        parts = ", ".join(f"{count:,} {ADVICE[bucket][0]}" for bucket, count in sorted(ended.others.items()))
        yield f"  of earlier runs, not among these jobs: {parts}"
    present = jobs + Counter(ended.others)
    for stop in stops:
        still = _still(present) if stop.kind == "until" else ""
        yield f"stopped: {_cause(stop)}{still}" + (f". {stop.advice}" if stop.advice else "")
    by_bucket: dict[str, list[Ending]] = {}
    for ending in ended.endings:
        by_bucket.setdefault(ending.bucket, []).append(ending)
    for bucket, (word, advice) in ADVICE.items():
        endings = by_bucket.get(bucket, [])
        if not advice or not present[bucket]:
            continue
        if bucket in ("pending", "retry") and stops:
            limited = all(stop.kind in _LIMITS for stop in stops)
            yield f"{word}: {AFTER_A_LIMIT if limited else AFTER_A_STOP}"
        else:
            yield f"{word}: {advice}"
        for ending in endings if verbose else endings[:SHOWN]:
            yield f"  {Name(ending.manifest, ending.job_id, ending.take)}: {ending.text}" + (
                f" [{ending.external_task_id}]" if ending.external_task_id else ""
            )
        if len(endings) > SHOWN and not verbose:
            yield f"  ... and {len(endings) - SHOWN:,} more; -v shows them all"


def run_object(ended: Ended, code: int, *, verbose: bool = False) -> dict[str, Any]:
    """The summary of a run for scripts, with a bounded number of endings per bucket unless ``verbose``."""
    jobs, tasks = Counter(ended.jobs), Counter(ended.tasks)
    counts: Counter[str] = Counter()
    endings = []
    for ending in ended.endings:
        counts[ending.bucket] += 1
        if verbose or counts[ending.bucket] <= limits.JOBS_SHOWN:
            endings.append(ending)
    more = len(ended.endings) - len(endings)
    return {
        "exit_code": code,
        "jobs": jobs.total(),
        "buckets": {bucket: jobs[bucket] for bucket in ADVICE},
        "others": dict(ended.others),
        "created": ended.created,
        "tasks": {state: tasks[state] for state in _FATES},
        "failed_tasks": ended.failed_tasks,
        "cost_usd_estimate": round(ended.cost_usd, 4),
        "unknown_cost_usd_estimate": round(ended.unsure_cost_usd, 4),
        "stopped": "; ".join(map(str, ended.stops)) or None,
        "stops": [stop_object(stop) for stop in ended.stops],
        "endings": [
            {
                "bucket": ending.bucket,
                "manifest": ending.manifest,
                "job_id": ending.job_id,
                "take": ending.take,
                "external_task_id": ending.external_task_id or None,
                "text": ending.text,
            }
            for ending in endings
        ],
        **({"endings_left_out": more} if more else {}),
    }


def run_facts(run: RunRecord, at: float) -> dict[str, Any]:
    """Which run it was, that ended at ``at``, for scripts."""
    from batchgen.storage.clips import iso

    began, ended = iso(run.began), iso(at)
    return {
        "run_id": run.name,
        "command": run.command,
        "host": run.host,
        "began_at": began,
        "ended_at": ended,
    }


def stop_object(reason: BatchgenError) -> dict[str, Any]:
    """Why creating, or the run, stopped, for scripts: with code and request id for support, and advice."""
    code, request_id = (getattr(reason, name, None) for name in ("code", "request_id"))
    return {
        "kind": reason.kind,
        "code": None if code is None else str(code),
        "message": str(reason),
        "request_id": request_id,
        "advice": reason.advice or None,
    }


def _cause(reason: BatchgenError) -> str:
    return cited(str(reason), reason.code, reason.request_id) if isinstance(reason, ApiError) else str(reason)


def _still(present: Mapping[str, int]) -> str:
    """How many tasks and clips a run that ended early has left, as the end of a sentence."""
    running, clips = present["submitted"], present["succeeded"]
    parts = [f"{counted(running, 'task')} still run{'s' if running == 1 else ''}"] if running else []
    parts += [f"{counted(clips, 'clip')} {'is' if clips == 1 else 'are'} still to come"] if clips else []
    return f"; {', '.join(parts)}" if parts else ""


def problem_object(problem: Problem) -> dict[str, Any]:
    """A manifest's problem for scripts; lines and columns count from 1, and are null for the whole file."""
    place = problem.place
    return {
        "file": place.file,
        "line": place.line or None,
        "column": place.column or None,
        "subject": problem.subject,
        "text": problem.text,
    }


def problem_lines(
    problems: Sequence[Problem], text: Callable[[Problem], str] = str, *, verbose: bool = False
) -> Iterator[str]:
    """The problems or warnings of all manifests for people: the first ones, and how many more there are."""
    shown = problems if verbose else problems[: limits.PROBLEMS_SHOWN]
    yield from map(text, shown)
    if more := len(problems) - len(shown):
        yield f"... and {more:,} more like these; `batchgen validate -v` shows them all"


def problem_fields(
    problems: Sequence[Problem], name: str = "problems", *, verbose: bool = False
) -> dict[str, Any]:
    """The problems or warnings of all manifests for scripts: the first ones, and how many were left out, if any."""
    shown = [problem_object(one) for one in (problems if verbose else problems[: limits.PROBLEMS_SHOWN])]
    more = len(problems) - len(shown)
    return {name: shown, f"{name}_left_out": more} if more else {name: shown}


def warning_text(warning: Problem) -> str:
    """A manifest's warning for people, with its place first, where editors and terminals look for it."""
    return ": ".join(filter(None, (str(warning.place), "warning", warning.subject, warning.text)))


def recovery_text(tasks: Mapping[str, str], missing: int, *, proven: bool, clips: int = 0) -> Iterator[str]:
    """The summary of a recovery for people, and what to do."""
    found = [f"{counted(clips, 'clip')} found on disk"] if clips else []
    found += [f"{counted(len(tasks), 'task')} recovered from the API"] if tasks else []
    absent = f"; the API has no task for {counted(missing, 'job')}" if missing else ""
    yield f"batchgen: {' and '.join(found) or 'nothing to recover'}{absent}"
    if tasks:
        yield "`batchgen collect` follows them and brings their clips home, at no cost."
    if missing and not proven:
        yield (
            "This API has not been seen to find any task by its external_task_id, so that nothing was found proves"
            " nothing: look into the vendor's console before you run these manifests, or they may be paid again."
        )


def counted(count: int, word: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _created(ended: Ended) -> str:
    """What this run created, what it may have created, and what became of these tasks. The numbers sum up."""
    from batchgen.run.tally import created_text  # a summary alone needs it

    sure = ended.created - ended.unsure
    text = f"; {created_text(ended.created, ended.unsure, ended.cost_usd, ended.unsure_cost_usd)}"
    known = {state: count for state, count in ended.tasks.items() if count and state != "unknown"}
    if known and known != {"downloaded": sure}:
        text += ": " + ", ".join(f"{count:,} {ADVICE[state][0]}" for state, count in known.items())
    return text
