"""What people said of clips, and the takes that they ordered: frozen values, as in `models`."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Verdict(NamedTuple):
    """What a person said of a row's clip: the last one counts. ``at`` is Unix seconds; None takes back what was said."""

    external_task_id: str
    at: float
    verdict: Literal["keep", "retake"] | None
    note: str | None = None
    by: str | None = None


class Order(NamedTuple):
    """A take that a person ordered, as the ledger has it. ``at`` is Unix seconds.

    ``begun``: the ledger has a row for it, so that it can't be withdrawn any more.
    """

    manifest: str
    job_id: str
    take: int
    at: float
    note: str | None = None
    by: str | None = None
    begun: bool = False

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.manifest, self.job_id, self.take)
