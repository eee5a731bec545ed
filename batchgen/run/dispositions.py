"""What a create that made no task, or maybe none, means: for its row, its slot, its job and for all others. One table.

:mod:`batchgen.api.responses` says what went wrong, :func:`dispose` what follows from it, and nothing else decides that. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from batchgen.errors import (
    PAGE,
    AccountStop,
    ApiError,
    BatchgenError,
    EndedEarly,
    ImageError,
    MaybeAccepted,
    NeverSent,
    Refused,
    SlotsFull,
    Throttled,
    UnknownCode,
)
from batchgen.models import Change, State

UNCLEAR: Final = 8  # unclear answers in a row before creating is stopped


class Slot(enum.Enum):
    """What becomes of the slot that was taken for a create."""

    BACK = enum.auto()  # free again: there is no task
    FULL = enum.auto()  # the account had none to give
    HELD = enum.auto()  # there may be a task


class Pause(enum.Enum):
    """Who waits before the API is asked for more."""

    NOBODY = enum.auto()
    CREATES = enum.auto()
    ALL = enum.auto()  # queries as well


class Stop(enum.Enum):
    """When a run creates nothing more."""

    NEVER = enum.auto()
    NOW = enum.auto()  # exit 3
    IN_A_ROW = enum.auto()  # after UNCLEAR of them; exit 4
    IN_A_ROW_ACCOUNT = enum.auto()  # after UNCLEAR of them; exit 3


@dataclass(frozen=True, slots=True)
class Disposition:
    """What follows from one failed create.

    ``state`` and ``event`` go into its row. ``retry``: the job goes back into its queue. ``speaks``: it tells whether
    the API can be reached. ``bucket``: where the job is counted, if not by its state. ``told``: a person has to know of
    it at once. ``taken``: it was refused as if its id were taken.
    """

    state: State
    event: str
    slot: Slot = Slot.BACK
    retry: bool = False
    pause: Pause = Pause.NOBODY
    stop: Stop = Stop.NEVER
    speaks: bool = True
    bucket: str | None = None
    told: bool = False
    taken: bool = False

    @property
    def unclear(self) -> bool:
        """Whether it counts towards :data:`UNCLEAR`."""
        return self.stop in (Stop.IN_A_ROW, Stop.IN_A_ROW_ACCOUNT)

    def change(self, external_task_id: str, error: ApiError | ImageError) -> Change:
        """What is written down of the create."""
        if isinstance(error, ImageError):
            return Change(external_task_id, self.state, self.event, message=str(error))
        text = f"its id may be taken: {error}" if self.taken else str(error)
        return Change(external_task_id, self.state, self.event, error.code, text, error.request_id)

    def stopped_by(self, error: ApiError | ImageError, unclear: int) -> BatchgenError | None:
        """Why nothing more is created, after so many ``unclear`` answers in a row; None: creating goes on."""
        if self.stop is Stop.NOW:
            return error
        if not self.unclear or unclear < UNCLEAR or not isinstance(error, ApiError):
            return None
        text = f"the API gave unclear answers {unclear} times in a row, the last: {error}"
        if self.stop is Stop.IN_A_ROW:
            return EndedEarly(text, kind=error.kind if error.advice else "unclear")
        return AccountStop(text, code=error.code, request_id=error.request_id, kind=error.kind)


_UNUSABLE: Final = Disposition(State.PENDING, "not_sent", speaks=False, bucket="unusable", told=True)
_MAYBE: Final = Disposition(
    State.UNKNOWN, "unclear", Slot.HELD, pause=Pause.CREATES, stop=Stop.IN_A_ROW, speaks=False
)
_REFUSED: Final = Disposition(State.REJECTED, "refused", told=True)
_UNKNOWN_CODE: Final = Disposition(
    State.PENDING, "unknown_code", retry=True, pause=Pause.CREATES, stop=Stop.IN_A_ROW_ACCOUNT
)

#: By the error, and where it matters by its kind.
TABLE: Final[Mapping[tuple[type[BatchgenError], str | None], Disposition]] = MappingProxyType(
    {
        (ImageError, None): _UNUSABLE,
        (NeverSent, None): Disposition(State.PENDING, "not_sent", retry=True, pause=Pause.CREATES),
        (SlotsFull, None): Disposition(State.PENDING, "slots_full", Slot.FULL, retry=True),
        (Throttled, None): Disposition(State.PENDING, "throttled", retry=True, pause=Pause.ALL),
        (AccountStop, None): Disposition(State.PENDING, "account_stopped", retry=True, stop=Stop.NOW),
        (UnknownCode, None): _UNKNOWN_CODE,
        (UnknownCode, "unavailable"): replace(_UNKNOWN_CODE, stop=Stop.IN_A_ROW),
        (MaybeAccepted, None): _MAYBE,
        (MaybeAccepted, PAGE): replace(_MAYBE, speaks=True),
        (Refused, None): _REFUSED,
    }
)
_TAKEN: Final = replace(_MAYBE, taken=True)


def dispose(error: ApiError | ImageError, *, uncertain: bool = False) -> Disposition:
    """What follows from a create that failed with ``error``.

    ``uncertain``: an earlier create of the same id got no clear answer. Where the id itself may be what is refused, a
    task may have it.
    """
    if isinstance(error, ImageError):
        return TABLE[ImageError, None]
    if isinstance(error, Refused) and error.kind == "parameters":
        if uncertain or "external_task_id" in str(error):
            return _TAKEN
    kind = type(error)
    return TABLE.get((kind, error.kind)) or TABLE[kind, None]
