"""What each line of a row's history means for people, and the rule that was followed; one table. Pure.

The rules themselves are where they are applied: :mod:`batchgen.run.plan`, :mod:`batchgen.run.dispositions` and the steps
of a job. ``tests/unit/test_decisions.py`` holds that no event is without its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from batchgen.ledger.transitions import MAY_BE_PAID
from batchgen.models import HistoryEntry, Record, State
from batchgen.run.failures import Cause
from batchgen.run.plan import may_retry, retry_reason


class Decision(NamedTuple):
    """One line of history in words: what happened, and the rule by which it went on."""

    what: str
    rule: str


_D = Decision
_NOTHING = "Nothing was made, so nothing is paid and its id stays free"

#: By the event of a line of history.
WORDS: Mapping[str, Decision] = MappingProxyType(
    {
        "planned": _D("entered", "A job's row is written before anything of it is sent."),
        "intent": _D("create begun", ""),  # see explained()
        "accepted": _D("accepted", "It is paid for. It is followed until it ends, and never created again."),
        "refused": _D(
            "refused",
            f"{_NOTHING}. The same request would be refused again: it waits until the job changes, or for --retry-failed.",
        ),
        "not_sent": _D(
            "not sent", f"{_NOTHING}; it is sent when what its message says is put right or over."
        ),
        "slots_full": _D("no free slot", f"{_NOTHING}. It waits until a task of the account ends."),
        "throttled": _D("throttled", f"{_NOTHING}. All requests paused, and it waits for its turn."),
        "account_stopped": _D(
            "stopped by the account",
            f"{_NOTHING}. The run created no more: the next job would meet the same.",
        ),
        "unknown_code": _D(
            "refused with an unknown code", f"{_NOTHING}. Creates paused; it is sent again, a few times."
        ),
        "unclear": _D(
            "no clear answer",
            "It may have been accepted, and paid. So it isn't sent again before the API was asked for its id.",
        ),
        "lost_track": _D(
            "no answer recorded",
            "The run that sent it ended first. It may be paid, so it isn't sent again before the API was asked for its id.",
        ),
        "not_created": _D(
            "not at the API",
            "The API finds other ids of this account, and hadn't this one after the settling time. So nothing was made, and it"
            " may be created under the same id.",
        ),
        "adopted": _D(
            "found at the API", "Its create had made this task. It is followed; nothing is created."
        ),
        "recovered": _D(
            "found, and taken over", "Its task was there, and the ledger hadn't it: nothing is created."
        ),
        "known_again": _D("known to the API again", "It is followed as before."),
        "overdue": _D(
            "left running",
            "The run waited no longer for it. It is paid: the next run asks again, and creates nothing.",
        ),
        "not_found": _D(
            "not known to the API",
            "It was accepted, so it is paid: the next run asks again, and creates nothing. Only days of the same answer make"
            " it a matter for the vendor's support.",
        ),
        "task_succeeded": _D(
            "task ended with a clip", "It is paid. The clip is downloaded; nothing is created."
        ),
        "task_failed": _D("task failed", ""),  # see explained()
        "download_failed": _D(
            "download failed",
            "The clip is paid. The next run, or `batchgen collect`, asks for its address again.",
        ),
        "part_kept": _D("part of the clip kept", "What is on disk isn't fetched again."),
        "new_url": _D("new address asked for", "An address may expire. Asking costs nothing."),
        "downloaded": _D("clip is here", "The file is complete, checked and synced: the job is done."),
        "found_on_disk": _D("clip found on disk", "It was there already, and isn't fetched again."),
        "clip_missing": _D("clip not on disk", "It is fetched again from the API, and never created again."),
        "clip_gone": _D(
            "clip neither on disk nor at the API",
            "It was paid, so nothing is created: a person decides what to do.",
        ),
        "moved": _D("clip moved", "A clip lies where the manifest's job, folder and take say."),
        "renamed": _D(
            "clip's place renamed", "The same content is the same clip, whatever the job is called."
        ),
        "superseded": _D("clip set aside", "Another clip of this job took its name. Nothing is deleted."),
        "resolved_as_created": _D("decided by hand: it was created", "Its task is followed."),
        "resolved_as_not_created": _D(
            "decided by hand: it was not created", "The API is asked once more, then it is created."
        ),
        "resolved_as_abandoned": _D("given up by hand", "It is never created again, and no run tells of it."),
    }
)

_FILE_NOT_FOUND = _D("clip not found where it was", "It isn't moved; where it is gone, it is fetched again.")

_FAILED: Mapping[str, str] = MappingProxyType(
    {
        Cause.ACCOUNT: "The account is the reason, not the job: it doesn't count among the job's tries.",
        Cause.SERVICE: "The service is the reason, not the job: it doesn't count among the job's tries.",
        Cause.CONTENT: "The picture or the words were refused: one more task, then it waits for a change.",
        Cause.CANCELLED: "Somebody ended it on purpose, so another one is paid for only with --retry-failed.",
        Cause.UNKNOWN: "It counts as one of the few tasks that a job may have.",
    }
)


def explained(
    event: HistoryEntry, before: Sequence[HistoryEntry], earlier: Sequence[Record], digest: str
) -> Decision:
    """What a line of a row's history says, and by which rule.

    ``before`` are the lines of the row before it, oldest first; ``earlier`` the rows of its job before this row, as they are;
    ``digest`` is the row's own.
    """
    words = WORDS.get(event.event)
    if words is None:  # of a later version
        return Decision(event.event.replace("_", " "), "")
    if event.event == "intent":
        return words._replace(rule=_sent_since(before, earlier, digest))
    if event.event == "task_failed":
        return words._replace(rule=_FAILED.get(event.code or Cause.UNKNOWN, _FAILED[Cause.UNKNOWN]))
    if event.event == "not_found" and event.to_state in (State.DOWNLOADED, State.SUCCEEDED):
        return _FILE_NOT_FOUND
    return words


def _sent_since(before: Sequence[HistoryEntry], earlier: Sequence[Record], digest: str) -> str:
    """Why a create was begun."""
    past = [event.event for event in before if event.event != "planned"]
    if past:
        word = WORDS[past[-1]].what if past[-1] in WORDS else past[-1]
        return f"Before, nothing was made of it ({word}): it is sent again under the same id."
    if not earlier:
        return "The ledger had nothing of this job."
    last = earlier[-1]
    if last.digest != digest or last.state is not State.FAILED:
        accepted = ", and the change was accepted" if last.state in MAY_BE_PAID else ""
        return f"The job had changed since {last.external_task_id}{accepted}."
    failed = [row.error_code for row in earlier if row.state is State.FAILED and row.digest == last.digest]
    asked = "" if may_retry(failed) else "; --retry-failed asked for it"
    return f"Another task, since {retry_reason(failed, last.error_code)}{asked}."
