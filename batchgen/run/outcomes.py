"""The outcomes that the steps of a job return, and that the run counts."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """How a job ended for this run, or that it goes back into its queue.

    ``text`` is what a person has to know, or empty; ``about`` is the ``external_task_id`` that it is about, if not its
    row's. ``bucket`` is where the job is counted, if not by the state of its row. ``again``: it goes back into its queue
    after ``retry_in`` seconds; then ``text`` counts only where the run ends before its turn. ``parked``: nobody asks for its
    task, unless a create waits for its slot; ``about`` names its row.
    """

    text: str = ""
    bucket: str | None = None
    again: bool = False
    retry_in: float = 0.0
    about: str = ""
    parked: bool = False


class CreateOutcome(NamedTuple):
    """The outcome of one create. ``end`` is None where the job's row says how it goes on.

    ``taken``: the create was refused as if its id were taken.
    """

    end: Outcome | None = None
    taken: bool = False
