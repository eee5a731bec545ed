"""The paid jobs whose manifests say something else by now, as the last run of each manifest found them.

They stand in one note of the ledger, for the page, which reads no manifests. A run writes the note where it differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from batchgen.ledger.reader import Records
from batchgen.run.plan import Action, Step

NOTE = "changed"
REASONS = 1000  # that are kept; the ids of all are
REASON = 300  # characters of one


def noted(ledger: Records) -> dict[str, str]:
    """Why each changed job is changed, by the ``external_task_id`` of the row that was paid; empty where that isn't kept."""
    return {name: why for jobs in _read(ledger.note(NOTE)).values() for name, why in jobs.items()}


class Changed:
    """The changed jobs while a run plans: those of its own manifests are found anew, those of others stay."""

    def __init__(self, before: str | None, manifests: Iterable[str]) -> None:
        """``before`` is the note's text, ``manifests`` the names of those that are planned."""
        self._jobs = _read(before)
        for name in manifests:
            self._jobs.pop(name, None)
        self._others = {name: jobs for jobs in self._jobs.values() for name in jobs}
        self._count = 0

    def seen(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The same steps, once they are taken note of."""
        for step in steps:
            if step.action is Action.CHANGED:
                why = step.reason if self._count < REASONS else ""
                self._count += 1
                name = step.external_task_id
                self._jobs.setdefault(step.job.manifest, {})[name] = (
                    why if len(why) <= REASON else f"{why[: REASON - 3]}..."
                )
            elif self._others and (jobs := self._others.pop(step.external_task_id, None)):
                del jobs[
                    step.external_task_id
                ]  # its manifest was renamed meanwhile, or its job went to another
            yield step

    @property
    def text(self) -> str:
        """The note's text; the same for the same jobs."""
        return json.dumps(
            {name: jobs for name, jobs in self._jobs.items() if jobs}, separators=(",", ":"), sort_keys=True
        )


def _read(text: str | None) -> dict[str, dict[str, str]]:
    """The note's jobs by manifest; what isn't one is left out: the next run writes it anew."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        manifest: {name: why for name, why in jobs.items() if isinstance(why, str)}
        for manifest, jobs in found.items()
        if isinstance(jobs, dict)
    }
