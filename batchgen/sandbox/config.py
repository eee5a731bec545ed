"""A sandbox's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from batchgen.sandbox.faults import Rule
from batchgen.sandbox.guard import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One sandbox's settings. Everything random depends on ``seed`` and the order of requests alone.

    ``slots``: tasks that may run at once; None means no limit. ``task_seconds``: the range of a task's duration, in seconds,
    or the function that makes one of a number from 0 to 1; with ``scaled`` that of a five-second ``std`` clip, and longer
    and better clips take longer. ``latency``: seconds that a request takes to arrive, and its answer again.
    ``lookup_lag``: seconds until a query finds a new external id; ``lookups=False``: it never does.
    ``unique``: a second create with an external id is refused (1201), else it makes a second task.
    ``key``: the bearer key that is required; None accepts any. ``neighbour``: up to so many slots are held by somebody
    else, another number every ``neighbour_seconds``. ``drip``: seconds per byte of a slow answer.
    ``callbacks``: the receivers that may be called back; ``webhook_secret`` (``whsec_...``) signs what they get; two of
    them, with a space between, do in the week after a rotation.
    ``real_clips``: encode each clip from its picture, rather than one stand-in for all; needs :mod:`encoding`'s libraries.
    ``dialect``: a name in :data:`batchgen.sandbox.dialects.DIALECTS`.
    """

    slots: int | None = None
    task_seconds: tuple[float, float] | Callable[[float], float] = (0.1, 0.3)
    latency: float = 0.0
    scaled: bool = False
    seed: int = 0
    faults: tuple[Rule, ...] = ()
    lookup_lag: float = 0.0
    lookups: bool = True
    unique: bool = True
    key: str | None = None
    journal: str | Path | None = None
    neighbour: int = 0
    neighbour_seconds: float = 1.0
    drip: float = 0.05
    callbacks: frozenset[Address] = frozenset()
    webhook_secret: str | None = None
    dialect: str = "vendor"
    real_clips: bool = False
