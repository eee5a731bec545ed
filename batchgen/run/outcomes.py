"""How far a job got: what a step returns of it, and what the run counts."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """Where a job's way through a run ends, or begins again.

    ``text`` is what a person has to know, or empty; ``about`` the ``external_task_id`` that it is about, if not its
    row's. ``bucket`` is where the job is counted, if not by the state of its row. ``again``: it belongs back into its
    queue, after ``rest`` seconds; then ``text`` counts only where the run ends before its turn.
    """

    text: str = ""
    bucket: str | None = None
    again: bool = False
    rest: float = 0.0
    about: str = ""


class CreateOutcome(NamedTuple):
    """What came of one create. ``end`` is None where the job's row says how it goes on.

    ``taken``: it was refused as if its id were taken.
    """

    end: Outcome | None = None
    taken: bool = False
