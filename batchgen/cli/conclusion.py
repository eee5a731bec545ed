"""How a run went, as the one value that all others are told, made of what ``--json`` and the terminal have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from batchgen.cli import refusals, report
from batchgen.cli.job_names import Name
from batchgen.errors import BatchgenError, ManifestError
from batchgen.night.observer import Observer
from batchgen.night.redaction import Redaction, prompts_of
from batchgen.night.summary import Part, Summary, states

if TYPE_CHECKING:
    from batchgen.ledger.reader import Records
    from batchgen.ledger.runs import RunRecord
    from batchgen.models import Problem
    from batchgen.run.events import Ended
    from batchgen.run.loading import Loaded
    from batchgen.run.tally import Ending

MOST = 2000  # jobs that need a person, in what is told
PROBLEM = "`batchgen validate` says what is wrong"  # a problem's own words may quote a prompt


class Facts(NamedTuple):
    """What is said of any run: its line of the ledger, how texts lose the key, whether prompts may be told."""

    run: RunRecord
    clean: Callable[[str], str]
    prompts: bool = False


def of_run(
    about: Facts, ended: Ended, document: Mapping[str, Any], loaded: Loaded, seen: Observer, ledger: Records
) -> Summary:
    """The summary of a run that came to its end. ``document`` is its ``--json``."""
    shown = [one for endings in _by_bucket(ended).values() for one in endings[: report.SHOWN]]
    endings = document["endings"][:MOST]
    asked = _prompts(
        ledger, {*seen.answered, *_ids(shown), *(one["external_task_id"] or "" for one in endings)}
    )
    told = {**document, "endings": endings}
    if more := len(ended.endings) - len(endings):
        told["endings_left_out"] = more
    lines = [*report.run_text(ended), *_problem_lines(loaded.problems, about)]
    answered: Iterable[str] = ()
    if about.prompts:
        told["endings"] = [
            {**one, "prompt": "\n".join(asked.get(one["external_task_id"] or "", ())) or None}
            for one in endings
        ]
        lines += [
            f"{Name(one.manifest, one.job_id, one.take)} was asked for: {' '.join(asked[one.external_task_id])}"
            for one in shown
            if one.external_task_id in asked
        ]
    else:
        told = _without_words(told)
        told["endings"] = [
            {**one, "text": Redaction(asked.get(one["external_task_id"] or "", ()))(one["text"])}
            for one in endings
        ]
        few = {*seen.answered, *_ids(shown)}  # all of them would take too much memory
        answered = (prompt for one in few for prompt in asked.get(one, ()))
    redaction = Redaction(answered, about.clean)
    return Summary(
        run_id=about.run.name,
        command=about.run.command,
        host=about.run.host,
        exit_code=document["exit_code"],
        began=about.run.began,
        ended=ended.at,
        document=redaction.value(told),
        lines=[redaction(line) for line in lines],
        log=[redaction(line) for line in seen.lines],
        manifests=_parts(ended, seen),
        slots=seen.slots,
        states=states(document, prices_differ=seen.prices_differ),
    )


def of_code(about: Facts, code: int, at: float, log: Sequence[str]) -> Summary:
    """The summary of a run of which no more is known than its exit code."""
    run, document = about.run, {"exit_code": code, **report.run_facts(about.run, at)}
    line = f"batchgen {run.command}: it ended with exit code {code}"
    return Summary(
        run.name, run.command, run.host, code, run.began, at, document, [line], log, states=states(document)
    )


def of_refusal(about: Facts, error: BatchgenError, at: float, log: Sequence[str] = ()) -> Summary:
    """The summary of a command that couldn't do its work, at ``at``."""
    if isinstance(error, ManifestError) and not about.prompts:
        error = ManifestError([problem._replace(text=PROBLEM) for problem in error.problems])
    redaction = Redaction((), about.clean)
    document = {**refusals.document(error), **report.run_facts(about.run, at)}
    return Summary(
        run_id=about.run.name,
        command=about.run.command,
        host=about.run.host,
        exit_code=error.exit_code,
        began=about.run.began,
        ended=at,
        document=redaction.value(document),
        lines=[redaction(line) for line in refusals.lines(about.run.command, error)],
        log=[redaction(line) for line in log],
        states=states(document),
    )


def for_test(run: RunRecord, at: float) -> Summary:
    """The summary that receivers are tried with: of a run that did nothing."""
    document = {"exit_code": 0, "test": True, **report.run_facts(run, at)}
    line = "batchgen: this is a test; no run began or ended"
    return Summary(run.name, run.command, run.host, 0, run.began, at, document, [line])


def _by_bucket(ended: Ended) -> dict[str, list[Ending]]:
    """The jobs that need a person, by where they ended."""
    found: dict[str, list[Ending]] = {}
    for one in ended.endings:
        found.setdefault(one.bucket, []).append(one)
    return found


def _ids(endings: Iterable[Ending]) -> Iterator[str]:
    return (one.external_task_id for one in endings)


def _prompts(ledger: Records, ids: set[str]) -> dict[str, list[str]]:
    """The prompts of tasks, by external_task_id."""
    rows = ledger.records(ids=ids - {""}) if ids - {""} else ()
    return {row.external_task_id: [*prompts_of(json.loads(row.canonical))] for row in rows}


def _without_words(document: Mapping[str, Any]) -> dict[str, Any]:
    """The object of ``--json`` with the places of problems and warnings, but not what they say of what they found."""
    hidden = {
        name: [{**one, "text": PROBLEM} for one in document.get(name, ())]
        for name in ("problems", "warnings")
    }
    return {**document, **hidden}


def _problem_lines(problems: Sequence[Problem], about: Facts) -> Iterator[str]:
    if problems:
        yield f"manifests with problems, of which nothing was created: {report.counted(len(problems), 'problem')}; {PROBLEM}"
        shown = problems[: report.SHOWN]
        yield from (
            f"  {one if about.prompts else ': '.join(filter(None, (str(one.place), one.subject)))}"
            for one in shown
        )


def _parts(ended: Ended, seen: Observer) -> dict[str, Part]:
    """What became of each manifest's jobs, and what they cost."""
    parts = dict(seen.parts)
    for manifest, counts in ended.manifests.items():
        parts[manifest] = replace(parts.get(manifest, Part()), jobs=dict(counts))
    return parts
