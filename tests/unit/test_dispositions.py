"""What a failed create means: the whole table, error by error."""

from __future__ import annotations

import pytest

from batchgen.api.codes import CODES, PAGES, PHRASES, STATUSES, WORDS
from batchgen.errors import (
    PAGE,
    AccountStop,
    ApiError,
    ImageError,
    MaybeAccepted,
    NeverSent,
    NotFound,
    Refused,
    SlotsFull,
    Throttled,
    Unfinished,
    UnknownCode,
)
from batchgen.models import State
from batchgen.run.dispositions import UNCLEAR, Disposition, Pause, Slot, Stop, dispose

# error; the row's state, its slot, whether the job comes again, who waits, when creating stops
RULES: list[tuple[ApiError | ImageError, State, Slot, bool, Pause, Stop]] = [
    (NeverSent("no route"), State.PENDING, Slot.BACK, True, Pause.CREATES, Stop.NEVER),
    (SlotsFull("full", code=1303, kind="slots"), State.PENDING, Slot.FULL, True, Pause.NOBODY, Stop.NEVER),
    (Throttled("slow", code=1302, kind="speed"), State.PENDING, Slot.BACK, True, Pause.ALL, Stop.NEVER),
    (AccountStop("no money", kind="balance"), State.PENDING, Slot.BACK, True, Pause.NOBODY, Stop.NOW),
    (UnknownCode("what", code=1999), State.PENDING, Slot.BACK, True, Pause.CREATES, Stop.IN_A_ROW_ACCOUNT),
    (UnknownCode("none", kind="unavailable"), State.PENDING, Slot.BACK, True, Pause.CREATES, Stop.IN_A_ROW),
    (MaybeAccepted("lost"), State.UNKNOWN, Slot.HELD, False, Pause.CREATES, Stop.IN_A_ROW),
    (MaybeAccepted("<html>", kind=PAGE), State.UNKNOWN, Slot.HELD, False, Pause.CREATES, Stop.IN_A_ROW),
    (Refused("policy", code=1301, kind="policy"), State.REJECTED, Slot.BACK, False, Pause.NOBODY, Stop.NEVER),
    (
        Refused("odd", code=1201, kind="parameters"),
        State.REJECTED,
        Slot.BACK,
        False,
        Pause.NOBODY,
        Stop.NEVER,
    ),
    (ImageError("a.png: changed"), State.PENDING, Slot.BACK, False, Pause.NOBODY, Stop.NEVER),
    (Unfinished("a.png: not whole"), State.PENDING, Slot.BACK, False, Pause.NOBODY, Stop.NEVER),
]


@pytest.mark.parametrize(("error", "state", "slot", "retry", "pause", "stop"), RULES)
def test_each_failure_of_a_create_has_its_row_slot_retry_pause_and_stop(
    error: ApiError | ImageError, state: State, slot: Slot, retry: bool, pause: Pause, stop: Stop
) -> None:
    found = dispose(error)
    assert (found.state, found.slot, found.retry, found.pause, found.stop) == (
        state,
        slot,
        retry,
        pause,
        stop,
    )


def test_a_page_in_place_of_an_answer_tells_that_the_api_is_not_there_and_other_silence_does_not() -> None:
    speaking = [dispose(error).shows_reach for error, *_ in RULES if isinstance(error, MaybeAccepted)]
    assert speaking == [False, True]


def test_a_slot_is_held_exactly_where_a_task_may_exist() -> None:
    for error, state, *_ in RULES:
        assert (dispose(error).slot is Slot.HELD) == (state is State.UNKNOWN)


def test_whatever_the_tables_of_answers_can_mean_has_a_disposition() -> None:
    meanings = [*CODES.values(), *WORDS.values(), *(meaning for _, _, meaning in PHRASES)]
    kinds: set[tuple[type[ApiError], str]] = {(meaning.error, meaning.kind) for meaning in meanings}
    kinds |= {*STATUSES.values(), *PAGES.values()}
    kinds |= {(error, "") for error in ApiError.__subclasses__() if error is not NotFound}  # of queries alone
    assert len(kinds) > 15
    for error, kind in kinds:
        assert isinstance(dispose(error("said", kind=kind)), Disposition), (error, kind)


@pytest.mark.parametrize(
    ("error", "uncertain", "taken"),
    [
        (Refused("external_task_id must be unique", kind="parameters"), False, True),
        (Refused("a parameter was refused", kind="parameters"), True, True),
        (Refused("a parameter was refused", kind="parameters"), False, False),
        (Refused("refused by the content policy", kind="policy"), True, False),
    ],
)
def test_a_refusal_that_may_mean_that_the_id_is_taken_leaves_the_question_open(
    error: Refused, uncertain: bool, taken: bool
) -> None:
    found = dispose(error, uncertain=uncertain)
    assert found.taken == taken
    assert found.state is (State.UNKNOWN if taken else State.REJECTED)
    assert found.change("a", error).message == (f"its id may be taken: {error}" if taken else str(error))


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (UnknownCode("1999"), 3),
        (UnknownCode("no channel", kind="unavailable"), 4),
        (MaybeAccepted("502"), 4),
    ],
)
def test_creating_stops_at_the_eighth_unclear_answer_in_a_row(error: ApiError, exit_code: int) -> None:
    found = dispose(error)
    assert found.stopped_by(error, UNCLEAR - 1) is None
    reason = found.stopped_by(error, UNCLEAR)
    assert reason is not None
    assert reason.exit_code == exit_code
    assert "8 times in a row" in str(reason)


def test_other_failures_stop_creating_at_once_or_never() -> None:
    stop = AccountStop("no money", kind="balance")
    assert dispose(stop).stopped_by(stop, 0) is stop
    for error in (
        Throttled("slow"),
        SlotsFull("full"),
        NeverSent("no route"),
        Refused("no"),
        ImageError("gone"),
    ):
        assert dispose(error).stopped_by(error, 100) is None
