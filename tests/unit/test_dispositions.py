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
from batchgen.models import Change, State
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


# what tells nothing of the API's reach, and what a person has to know of at once
SILENT = {"lost", "a.png: changed", "a.png: not whole"}
TOLD = {"policy", "odd", "a.png: changed", "a.png: not whole"}


def test_each_failure_tells_of_the_apis_reach_and_is_told_where_it_is_a_person_who_can_help() -> None:
    """A page stands in the API's place, so it tells of its reach; a lost answer doesn't."""
    found = {str(error): dispose(error) for error, *_ in RULES}
    assert {said for said, one in found.items() if not one.shows_reach} == SILENT
    assert {said for said, one in found.items() if one.reported} == TOLD
    assert {said for said, one in found.items() if one.bucket == "unusable"} == SILENT - {"lost"}
    assert {one.bucket for one in found.values()} == {None, "unusable"}


def test_what_is_written_down_of_a_create_has_the_errors_words_its_code_and_its_request_id() -> None:
    refused = Refused("policy", code=1301, request_id="r1", kind="policy")
    assert dispose(refused).change("a", refused) == Change(
        "a", State.REJECTED, "refused", 1301, "policy", "r1"
    )
    image = ImageError("a.png: changed")
    assert dispose(image).change("a", image) == Change("a", State.PENDING, "not_sent", None, "a.png: changed")


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
    assert reason.kind == ("unclear" if isinstance(error, MaybeAccepted) else error.kind)


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
