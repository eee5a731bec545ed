"""From manifests and a ledger to a plan: what rows mean for a job, whichever of a run's options are given."""

from __future__ import annotations

import asyncio
import dataclasses
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Job, Manifest, Place, Problem, Record, State, UnusableJob
from batchgen.money.prices import BUILT_IN
from batchgen.request.identity import canonical, digest, external_task_id
from batchgen.run import planning
from batchgen.run.clip_paths import output_path
from batchgen.run.plan import Action, Step, new_row
from batchgen.run.planning import planned

WORDS = "Slow camera push-in"
DEAR = dataclasses.replace(
    BUILT_IN, per_second={key: 2 * price for key, price in BUILT_IN.per_second.items()}
)
PRICE = 560_000  # micro-dollars of such a clip


def job(name: str, words: str = WORDS) -> Job:
    request = {"model_name": "kling-v3", "mode": "pro", "image": "https://example.com/a.png", "prompt": words}
    sha256 = digest(canonical(request))
    task = external_task_id("shop", name, 1, sha256)
    return Job("shop", name, 1, task, sha256, request, "/clips", Place("m.yaml"))


def shop(*jobs: Job, **more: Any) -> Manifest:
    return Manifest("m.yaml", "shop", jobs=list(jobs), **more)


def told(found: Iterable[Step]) -> list[tuple[str, Action, str, int]]:
    return [(step.job.id, step.action, step.reason, step.micros) for step in found]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(str(tmp_path / "ledger.db"), origin="https://api.example") as ledger:
        write(ledger, job("another", "Another"), State.DOWNLOADED)
        yield ledger


def write(ledger: Ledger, one: Job, *states: State, **ending: Any) -> None:
    """Rows of a job, one task after the other, which came to these states."""

    async def add(state: State, number: int) -> None:
        name = one.external_task_id if number == 1 else f"{one.external_task_id}~{number}"
        await ledger.begin(new_row(one, name, BUILT_IN))
        if state is State.REJECTED:
            await ledger.apply(Change(name, state, "refused", **ending))
            return
        await ledger.apply(Change(name, State.SUBMITTED, "accepted", values={"task_id": name[::-1]}))
        if state is State.FAILED:
            await ledger.apply(Change(name, state, "failed", **ending))
            return
        url = {"video_url": "https://cdn.example/1.mp4"}
        await ledger.apply(Change(name, State.SUCCEEDED, "succeeded", values=url))
        file = {"video_path": output_path(one), "video_sha256": "f" * 64}
        await ledger.apply(Change(name, State.DOWNLOADED, "downloaded", values=file))

    for number, state in enumerate(states, 1):
        asyncio.run(add(state, number))


def beside(one: Job, name: str, state: State = State.DOWNLOADED) -> dict[str, Record]:
    """A row that a clip's line in the output folder gives."""
    row = new_row(one, name, BUILT_IN)
    return {name: row._replace(state=state, video_path=f"/clips/{one.id}.mp4")}


def test_an_estimate_is_by_the_accounts_prices_with_a_ledger_and_without(ledger: Ledger) -> None:
    for known in (ledger, None):
        assert [step.micros for step in planned([shop(job("a"))], known, prices=DEAR)] == [2 * PRICE]


@pytest.mark.parametrize(
    ("ending", "shown"),
    [
        ({"code": "1301", "message": "a policy"}, "refused before: a policy [code 1301]"),
        ({"code": "1301", "request_id": "r-1"}, "refused before: [code 1301, request id r-1]"),
        ({}, "refused before"),
    ],
)
def test_a_refused_job_waits_with_what_was_said_until_it_is_to_be_sent_again(
    ledger: Ledger, ending: dict[str, str], shown: str
) -> None:
    write(ledger, job("a"), State.REJECTED, **ending)
    one = [shop(job("a"))]
    assert told(planned(one, ledger)) == [("a", Action.REJECTED, shown, 0)]
    again = ("a", Action.CREATE, "refused before; sent again", PRICE)
    assert told(planned(one, ledger, retry_failed=True)) == [again]


def test_a_job_whose_tasks_failed_waits_with_the_last_ones_words_until_another_is_wanted(
    ledger: Ledger,
) -> None:
    write(ledger, job("a"), State.FAILED, State.FAILED, State.FAILED, message="no reason")
    one = [shop(job("a"))]
    assert told(planned(one, ledger)) == [("a", Action.FAILED, "its task failed 3 times: no reason", 0)]
    (again,) = planned(one, ledger, retry_failed=True)
    assert (again.action, again.external_task_id[-2:], again.micros) == (Action.RETRY, "~4", PRICE)


def test_a_changed_job_waits_with_its_changes_until_they_are_accepted(ledger: Ledger) -> None:
    for name in ("a", "b"):
        write(ledger, job(name), State.DOWNLOADED)
    one = [shop(job("a", "Fast"), job("b"))]
    reason = f'paid as {job("a").external_task_id}, and changed since: prompt: "{WORDS}" -> "Fast"'
    done = ("b", Action.DONE, "its clip is here", 0)
    assert told(planned(one, ledger)) == [("a", Action.CHANGED, reason, 0), done]
    accepted = ("a", Action.CREATE, "changed; accepted", PRICE)
    assert told(planned(one, ledger, accept_changes=True)) == [accepted, done]


def test_an_unusable_job_stays_given_up_while_its_files_stay(ledger: Ledger) -> None:
    problem = Problem(Place("m.yaml"), "jobs[0]", "is no image")
    bad = [UnusableJob("shop", name, 1, problem, "1 2") for name in ("a", "b")]

    async def note() -> None:
        await ledger.note_unusable([shop(unusable=bad)])
        await ledger.give_up(ledger.unusable()[1], "somebody")

    asyncio.run(note())
    found = planned([shop(unusable=bad)], ledger)
    assert [step.action for step in found] == [Action.UNUSABLE, Action.ABANDONED]
    replaced = shop(unusable=[one._replace(evidence="3 4") for one in bad])
    assert [step.action for step in planned([replaced], ledger)] == 2 * [Action.UNUSABLE]


@pytest.mark.parametrize("part", [1, 2, 1000])
@pytest.mark.parametrize("jobs", [0, 1, 2, 3])
def test_each_job_has_one_step_and_unusable_ones_come_last(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, jobs: int, part: int
) -> None:
    monkeypatch.setattr(planning, "PART", part)
    bad = UnusableJob("shop", "bad", 1, Problem(Place("m.yaml"), "", "is no image"))
    names = [f"j{number}" for number in range(jobs)]
    one = shop(*map(job, names), unusable=[bad])
    for known in (ledger, None):
        assert [step.job.id for step in planned([one], known)] == [*names, "bad"]


def test_a_clip_beside_that_the_ledger_has_not_is_taken_in_and_nothing_is_paid(ledger: Ledger) -> None:
    mine, new = job("a"), job("b", "Fast")
    wanted = [
        ("a", Action.DONE, "its clip is at /clips/a.mp4, and a run takes it in", 0),
        ("b", Action.CREATE, "new", PRICE),
    ]
    for known in (ledger, None):
        assert told(planned([shop(mine, new)], known, beside(mine, mine.external_task_id))) == wanted


def test_a_clip_beside_under_a_jobs_earlier_name_is_its_own_too(ledger: Ledger) -> None:
    old = job("old", "Fast")
    for known in (ledger, None):
        (step,) = planned([shop(job("new", "Fast"))], known, beside(old, old.external_task_id))
        assert (step.action, step.external_task_id, step.renamed) == (Action.DONE, old.external_task_id, True)


def test_rows_of_the_ledger_count_beside_a_clip_that_it_has_not(ledger: Ledger) -> None:
    """A task that failed, in the ledger, and the next one, of which the folder knows."""
    mine = job("a")
    name = f"{mine.external_task_id}~2"
    write(ledger, mine, State.FAILED)
    (step,) = planned([shop(mine)], ledger, beside(mine, name))
    assert (step.action, step.external_task_id) == (Action.DONE, name)
    (step,) = planned([shop(mine)], ledger, beside(job("other", "Fast"), "other"))
    assert (step.action, step.external_task_id) == (Action.RETRY, name)


def test_a_clip_beside_that_is_changed_waits_for_a_person_and_is_not_called_taken_in(ledger: Ledger) -> None:
    mine = job("a")
    (step,) = planned([shop(job("a", "Fast"))], ledger, beside(mine, mine.external_task_id))
    reason = f"paid as {mine.external_task_id}, and changed since"
    assert told([step]) == [("a", Action.CHANGED, reason, 0)]


def test_a_clip_beside_of_an_earlier_content_changes_nothing_about_what_the_ledger_has(
    ledger: Ledger,
) -> None:
    write(ledger, job("a"), State.DOWNLOADED)
    (step,) = planned([shop(job("a"))], ledger, beside(job("a", "Fast"), "earlier"))
    assert told([step]) == [("a", Action.DONE, "its clip is here", 0)]


def test_a_clip_beside_is_newer_than_all_rows_of_its_job(ledger: Ledger) -> None:
    """So a failed task of now's content is none to be tried again: another content was paid since."""
    write(ledger, job("a"), State.FAILED)
    (step,) = planned([shop(job("a"))], ledger, beside(job("a", "Fast"), "later"))
    assert (step.action, step.external_task_id) == (Action.CHANGED, "later")


def test_clips_of_renamed_jobs_are_found_in_the_ledger_and_beside_it(ledger: Ledger) -> None:
    write(ledger, job("old"), State.DOWNLOADED)
    found = planned([shop(job("new"), job("newer"))], ledger, beside(job("older"), "older"))
    assert {step.external_task_id: step.action for step in found} == {
        job("old").external_task_id: Action.DONE,
        "older": Action.DONE,
    }


def test_a_clip_of_a_manifest_that_is_not_there_is_told_of_without_differences(ledger: Ledger) -> None:
    write(ledger, job("old"), State.DOWNLOADED)
    other = job("new")._replace(manifest="other", external_task_id="other.new")
    (step,) = planned([Manifest("o.yaml", "other", jobs=[other])], ledger)
    assert step.action is Action.CHANGED
    assert step.reason.endswith("`name: shop` in it keeps the clip"), step.reason


def test_accents_that_are_spelt_in_another_way_are_no_change(ledger: Ledger) -> None:
    write(ledger, job("a", unicodedata.normalize("NFD", "Grüße")), State.DOWNLOADED)
    write(ledger, job("b", "Grüße"), State.DOWNLOADED)
    found = planned([shop(job("a", "Grüße"), job("b", "Große"))], ledger)
    assert [step.action for step in found] == [Action.DONE, Action.CHANGED]


def test_a_row_from_before_accents_were_composed_is_its_jobs_still(ledger: Ledger) -> None:
    one = job("a", "Gr\xfc\xdfe")
    text = unicodedata.normalize("NFD", canonical(one.request))
    old = new_row(one, one.external_task_id, BUILT_IN)._replace(canonical=text, digest=digest(text))
    asyncio.run(ledger.begin(old))
    (step,) = planned([shop(one)], ledger)
    assert (step.action, step.external_task_id) == (Action.SETTLE, one.external_task_id)


def test_a_job_whose_task_failed_has_the_clip_that_was_paid_under_its_earlier_name(ledger: Ledger) -> None:
    old, new = job("old"), job("new")
    write(ledger, old, State.DOWNLOADED)
    write(ledger, new, State.FAILED)
    (step,) = planned([shop(new)], ledger)
    assert (step.action, step.external_task_id) == (Action.DONE, old.external_task_id)


def test_an_id_that_is_another_jobs_in_the_ledger_is_never_created(ledger: Ledger) -> None:
    taken = job("another", "Another").external_task_id
    (step,) = planned([shop(job("b")._replace(external_task_id=taken))], ledger)
    assert (step.action, step.external_task_id) == (Action.CHANGED, taken)


@pytest.mark.parametrize("left", ["gone", "changed", "skipped", "there"])
def test_a_changed_job_of_another_name_has_the_clip_that_lies_at_its_path_where_that_clips_job_is_gone(
    ledger: Ledger, left: str
) -> None:
    """It was renamed, and its clip with it; then its prompt was changed."""
    old, new = job("old"), job("new", "Fast")
    write(ledger, old, State.DOWNLOADED)
    moved = Change(old.external_task_id, State.DOWNLOADED, "x", values={"output_path": output_path(new)})
    asyncio.run(ledger.rename([moved]))
    one = {
        "gone": shop(new),
        "changed": shop(new, job("old", "Faster")),
        "skipped": shop(new, skipped=[old.key]),
        "there": shop(new, old),
    }[left]
    step = next(planned([one], ledger))
    assert step.action is (Action.CHANGED if left in ("gone", "changed") else Action.CREATE)
