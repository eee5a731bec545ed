"""The one table of what a failed or uncertain create means: for its row, its slot, its job and all other jobs. Pure.

:mod:`batchgen.api.responses` says what went wrong, :func:`dispose` what follows from it. Nothing else decides that.
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
    """What happens to the slot that was taken for a create."""

    BACK = enum.auto()  # given back: there is no task
    FULL = enum.auto()  # given back, and the account has no free slot
    HELD = enum.auto()  # kept: there may be a task


class Pause(enum.Enum):
    """Which requests wait before the next one is sent."""

    NOBODY = enum.auto()
    CREATES = enum.auto()
    ALL = enum.auto()  # queries as well


class Stop(enum.Enum):
    """When the run stops creating."""

    NEVER = enum.auto()
    NOW = enum.auto()  # exit 3
    IN_A_ROW = enum.auto()  # after UNCLEAR of them; exit 4
    IN_A_ROW_ACCOUNT = enum.auto()  # after UNCLEAR of them; exit 3


@dataclass(frozen=True, slots=True)
class Disposition:
    """What follows from one failed create.

    ``state`` and ``event`` go into its row. ``retry``: the job goes back into its queue. ``shows_reach``: the error says
    whether the API can be reached. ``bucket``: where the job is counted, if not by its state. ``reported``: the job ends
    here for this run, and a person has to know why. ``taken``: the create was refused as if its id were taken.
    """

    state: State
    event: str
    slot: Slot = Slot.BACK
    retry: bool = False
    pause: Pause = Pause.NOBODY
    stop: Stop = Stop.NEVER
    shows_reach: bool = True
    bucket: str | None = None
    reported: bool = False
    taken: bool = False

    @property
    def unclear(self) -> bool:
        """Whether it counts towards :data:`UNCLEAR`."""
        return self.stop in (Stop.IN_A_ROW, Stop.IN_A_ROW_ACCOUNT)

    def change(self, external_task_id: str, error: ApiError | ImageError) -> Change:
        """The change of the row that records the create."""
        if isinstance(error, ImageError):
            return Change(external_task_id, self.state, self.event, message=str(error))
        text = f"its id may be taken: {error}" if self.taken else str(error)
        return Change(external_task_id, self.state, self.event, error.code, text, error.request_id)

    def stopped_by(self, error: ApiError | ImageError, unclear: int) -> BatchgenError | None:
        """Why the run stops creating, after ``unclear`` unclear answers in a row; None where it goes on."""
        if self.stop is Stop.NOW:
            return error
        if not self.unclear or unclear < UNCLEAR or not isinstance(error, ApiError):
            return None
        text = f"the API gave unclear answers {unclear} times in a row, the last: {error}"
        if self.stop is Stop.IN_A_ROW:
            return EndedEarly(text, kind=error.kind if error.advice else "unclear")
        return AccountStop(text, code=error.code, request_id=error.request_id, kind=error.kind)


_UNUSABLE: Final = Disposition(State.PENDING, "not_sent", shows_reach=False, bucket="unusable", reported=True)
_MAYBE: Final = Disposition(
    State.UNKNOWN, "unclear", Slot.HELD, pause=Pause.CREATES, stop=Stop.IN_A_ROW, shows_reach=False
)
_REFUSED: Final = Disposition(State.REJECTED, "refused", reported=True)
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
        (MaybeAccepted, PAGE): replace(_MAYBE, shows_reach=True),
        (Refused, None): _REFUSED,
    }
)
_TAKEN: Final = replace(_MAYBE, taken=True)


def dispose(error: ApiError | ImageError, *, uncertain: bool = False) -> Disposition:
    """What follows from a create that failed with ``error``.

    ``uncertain``: an earlier create of the same id got no clear answer. Then a refusal of the parameters may be one of
    the id, which its task may have.
    """
    if isinstance(error, ImageError):
        return TABLE[ImageError, None]
    if isinstance(error, Refused) and error.kind == "parameters":
        if uncertain or "external_task_id" in str(error):
            return _TAKEN
    kind = type(error)
    return TABLE.get((kind, error.kind)) or TABLE[kind, None]
