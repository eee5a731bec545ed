"""The plan as a table: what the ledger knows of a job decides, and no state that may be paid ever yields a create."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.judgements import Order
from batchgen.ledger.transitions import ABANDONED, MAY_BE_PAID
from batchgen.manifest import yaml12
from batchgen.models import Brief, ImageFile, Job, Manifest, Place, Problem, State, Twin, UnusableJob
from batchgen.money.prices import BUILT_IN
from batchgen.run.plan import (
    MAX_TASKS,
    PAYS,
    Action,
    Known,
    Step,
    _yaml,
    decide,
    differences,
    new_row,
    next_id,
    plan,
    task_number,
)

P, G, U, S, C, D, F, R = (
    State  # pending, submitting, unknown, submitted, succeeded, downloaded, failed, rejected
)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def steps_of(
    manifests: Sequence[Manifest],
    history: Mapping[tuple[str, str, int], Sequence[Brief]],
    series: Mapping[str, Sequence[Brief]],
    twins: Mapping[str, Sequence[Twin]],
    given_up: Container[tuple[tuple[str, str, int], str]] = (),
    *,
    retry_failed: bool = False,
    accept_changes: bool = False,
) -> Iterator[Step]:
    known = (Known(one, history, series, twins) for one in manifests)
    return plan(manifests, known, given_up, retry_failed=retry_failed, accept_changes=accept_changes)


def job(digest: str = "new", external_task_id: str = "e") -> Job:
    request = {
        "model_name": "kling-v3",
        "image": "https://h/i.png",
        "mode": "pro",
        "sound": "on",
        "duration": "5",
    }
    return Job("m", "j", 1, external_task_id, sha256(digest), request, "/clips", Place("m.yaml"))


def row(state: State, number: int = 1, digest: str = "new", base: str = "e", made: int = 0) -> Brief:
    return Brief(base if number == 1 else f"{base}~{number}", base, state, sha256(digest), number=made)


def failed(error_code: str, number: int = 1) -> Brief:
    return row(F, number)._replace(error_code=error_code)


@pytest.mark.parametrize(
    ("known", "action", "external_task_id"),
    [
        pytest.param([], Action.CREATE, "e", id="new"),
        pytest.param([row(P)], Action.CREATE, "e", id="never sent: keeps its id"),
        pytest.param([row(G)], Action.SETTLE, "e", id="crashed in the create"),
        pytest.param([row(U)], Action.SETTLE, "e", id="unknown"),
        pytest.param([row(S)], Action.FOLLOW, "e", id="runs"),
        pytest.param([row(C)], Action.DOWNLOAD, "e", id="clip ready"),
        pytest.param([row(D)], Action.DONE, "e", id="clip home"),
        pytest.param([row(R)], Action.REJECTED, "e", id="refused: waits"),
        pytest.param([row(F)], Action.RETRY, "e~2", id="failed once"),
        pytest.param([row(F), row(F, 2)], Action.RETRY, "e~3", id="failed twice"),
        pytest.param([row(F), row(F, 2), row(F, 3)], Action.FAILED, "e~3", id="failed as often as it may"),
        pytest.param([failed("failed_service")], Action.RETRY, "e~2", id="failed in an outage"),
        pytest.param(
            [failed("failed_account", number) for number in range(1, 8)],
            Action.RETRY,
            "e~8",
            id="an account's failures don't count",
        ),
        pytest.param(
            [failed("failed_account", number) for number in range(1, 9)],
            Action.FAILED,
            "e~8",
            id="up to a limit of their own",
        ),
        pytest.param([failed(ABANDONED)], Action.ABANDONED, "e", id="given up"),
        pytest.param(
            [row(R)._replace(error_code=ABANDONED)], Action.ABANDONED, "e", id="given up after a refusal"
        ),
        pytest.param(
            [row(D, base="old", digest="old", made=1), row(S, 2, base="old", digest="old", made=2)],
            Action.CHANGED,
            "old~2",
            id="changed since paid twice: the later one is told",
        ),
        pytest.param(
            [row(F, made=1), row(D, base="old", digest="old", made=2)],
            Action.CHANGED,
            "old",
            id="changed back after the change was paid",
        ),
        pytest.param(
            [row(D, base="old", digest="old", made=1), row(F, made=2)],
            Action.RETRY,
            "e~2",
            id="failed after its change was accepted",
        ),
        pytest.param(
            [failed("failed_service"), row(F, 2), row(F, 3)],
            Action.RETRY,
            "e~4",
            id="nor those of an outage among others",
        ),
        pytest.param(
            [failed("failed"), failed("failed", 2), failed("failed", 3)],
            Action.FAILED,
            "e~3",
            id="words that say nothing count",
        ),
        pytest.param([failed("failed_content")], Action.RETRY, "e~2", id="refused for its content once"),
        pytest.param([failed("failed_cancelled")], Action.FAILED, "e", id="cancelled on purpose"),
        pytest.param(
            [failed("failed_service"), failed("failed_cancelled", 2)],
            Action.FAILED,
            "e~2",
            id="cancelled when it was tried again",
        ),
        pytest.param(
            [failed("failed_cancelled"), failed("failed_service", 2)],
            Action.RETRY,
            "e~3",
            id="tried again by a person after that, and an outage",
        ),
        pytest.param(
            [failed("failed_content"), failed("failed_content", 2)],
            Action.FAILED,
            "e~2",
            id="refused for its content twice",
        ),
        pytest.param(
            [failed("failed_content"), failed("failed_service", 2)],
            Action.RETRY,
            "e~3",
            id="once, and an outage",
        ),
        pytest.param([row(F), row(S, 2)], Action.FOLLOW, "e~2", id="second try runs"),
        pytest.param([row(F), row(D, 2)], Action.DONE, "e~2", id="second try is home"),
        pytest.param([row(F), row(P, 2)], Action.CREATE, "e~2", id="second try was not created yet"),
        pytest.param([row(F), row(R, 2)], Action.REJECTED, "e~2", id="second try was refused"),
        pytest.param([row(D, base="old", digest="old")], Action.CHANGED, "old", id="changed since paid"),
        pytest.param(
            [row(U, base="old", digest="old")], Action.CHANGED, "old", id="changed since maybe paid"
        ),
        pytest.param([row(G, base="old", digest="old")], Action.CHANGED, "old", id="changed in a crash"),
        pytest.param([row(F, base="old", digest="old")], Action.CREATE, "e", id="changed after it failed"),
        pytest.param(
            [row(R, base="old", digest="old")], Action.CREATE, "e", id="changed after it was refused"
        ),
        pytest.param([row(P, base="old", digest="old")], Action.CREATE, "e", id="changed before it was sent"),
        pytest.param(
            [row(D, digest="old")], Action.CHANGED, "e", id="changed under its own external_task_id"
        ),
        pytest.param([row(R, digest="old")], Action.CREATE, "e", id="refused, corrected: keeps its id"),
        pytest.param(
            [row(F, digest="old")], Action.CREATE, "e~2", id="failed, corrected: ids must be unique"
        ),
        pytest.param(
            [row(D, base="old", digest="old"), row(D)], Action.DONE, "e", id="changed back, or accepted"
        ),
        pytest.param(
            [row(D, base="old", digest="old"), row(F)], Action.RETRY, "e~2", id="accepted, then failed"
        ),
    ],
)
def test_what_the_ledger_knows_decides(known: list[Brief], action: Action, external_task_id: str) -> None:
    step = decide(job(), known)
    assert (step.action, step.external_task_id) == (action, external_task_id)
    assert step.reason
    assert step.cost == (0.84 if action in PAYS else 0.0)


@pytest.mark.parametrize(
    ("known", "action", "external_task_id"),
    [
        pytest.param([row(D, base="old", digest="old")], Action.CREATE, "e", id="another id"),
        pytest.param([row(D, digest="old")], Action.CREATE, "e~2", id="the same external_task_id"),
        pytest.param([row(D, digest="old"), row(S, 2)], Action.FOLLOW, "e~2", id="created already"),
    ],
)
def test_accepted_changes_are_created_once(known: list[Brief], action: Action, external_task_id: str) -> None:
    step = decide(job(), known, accept_changes=True)
    assert (step.action, step.external_task_id) == (action, external_task_id)


def test_retry_failed_gives_refused_and_failed_jobs_one_more_try() -> None:
    again = decide(job(), [row(R)], retry_failed=True)
    assert (again.action, again.external_task_id) == (Action.CREATE, "e")
    failed = [row(F, number) for number in range(1, MAX_TASKS + 1)]
    assert decide(job(), failed, retry_failed=True).external_task_id == f"e~{MAX_TASKS + 1}"


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ([], "new"),
        ([row(P)], "not created yet"),
        ([row(R)], "refused before; sent again"),
        ([row(D, base="old", digest="old")], "changed; accepted"),
        ([row(D, digest="old")], "changed; accepted"),
        ([row(F, digest="old")], "changed"),
        ([row(F)], "its task failed (1 of 3 tries)"),
        ([failed("failed_service")], "its task failed for no fault of its own"),
        ([failed("failed_service"), row(F, 2)], "its task failed (1 of 3 tries)"),
        ([failed("failed_cancelled")], "its task was cancelled; another one"),
    ],
)
def test_a_create_says_what_it_is_for(known: list[Brief], reason: str) -> None:
    step = decide(job(), known, retry_failed=True, accept_changes=True)
    assert step.action in PAYS
    assert step.reason == reason


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ([failed("failed_cancelled")], "its task was cancelled"),
        ([row(F), row(F, 2), row(F, 3)], "its task failed 3 times"),
        ([failed("failed_service"), row(F, 2), row(F, 3), row(F, 4)], "its task failed 4 times"),
        ([failed(ABANDONED)], "given up by hand"),
        ([row(R)], "refused before"),
        ([row(D, base="old", digest="old")], "paid as old, and changed since"),
    ],
)
def test_a_job_that_waits_for_a_person_says_why(known: list[Brief], reason: str) -> None:
    step = decide(job(), known)
    assert step.action not in PAYS
    assert step.reason == reason


ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(State),
        st.integers(1, 5),
        st.sampled_from(["new", "old"]),
        st.sampled_from(["e", "x"]),
    ),
    max_size=8,
    unique_by=lambda brief: brief.external_task_id,
)


@given(ROWS, st.booleans(), st.booleans())
def test_no_create_ever_goes_out_where_a_task_is_or_may_be(
    known: list[Brief], retry: bool, accept: bool
) -> None:
    step = decide(job(), known, retry_failed=retry, accept_changes=accept)
    if step.action in PAYS:
        states = {brief.external_task_id: brief.state for brief in known}
        assert states.get(step.external_task_id) not in MAY_BE_PAID | {State.FAILED}
        assert not any(brief.state in MAY_BE_PAID and brief.digest == sha256("new") for brief in known)


@given(ROWS, st.randoms())
def test_a_plan_does_not_depend_on_the_order_of_rows(known: list[Brief], rng: object) -> None:
    shuffled = list(known)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis's Random
    assert decide(job(), known) == decide(job(), shuffled)


def test_rows_under_a_jobs_own_id_count_wherever_they_came_from() -> None:
    manifest = Manifest("m.yaml", "m", jobs=[job()])
    moved = Brief("e", "e", State.DOWNLOADED, sha256("new"))
    assert [step.action for step in steps_of([manifest], {}, {"e": [moved]}, {})] == [Action.DONE]


def test_rows_that_are_a_jobs_own_in_both_ways_count_once() -> None:
    manifest = Manifest("m.yaml", "m", jobs=[job()])
    rows = [row(F), row(F, 2)]
    (step,) = steps_of([manifest], {("m", "j", 1): rows}, {"e": list(rows)}, {})
    assert (step.action, step.external_task_id) == (Action.RETRY, "e~3")


def test_of_two_jobs_that_one_id_would_serve_the_second_needs_a_decision() -> None:
    """The ledger's row of one stands under an id that another has been given since."""
    manifest = Manifest("m.yaml", "m", jobs=[job(), job()._replace(id="k")])
    first, second = steps_of([manifest], {}, {}, {})
    assert (first.action, first.external_task_id) == (Action.CREATE, "e")
    assert (second.action, second.external_task_id, second.cost) == (Action.CHANGED, "e", 0.0)
    assert second.reason == "e is another job's in these manifests by now"


def test_a_job_whose_image_failed_its_checks_is_told_waits_or_was_given_up_with_that_very_image() -> None:
    problem = Problem(Place("m.yaml", 3, 5), "jobs[0]", "a.png is no image")
    bad = [
        UnusableJob("m", "a", 1, problem, "seen"),
        UnusableJob("m", "b", 1, problem, "seen", waits=True),
        UnusableJob("m", "c", 1, problem, "another image by now"),
    ]
    given_up = {(("m", "c", 1), "seen")}
    steps = list(steps_of([Manifest("m.yaml", "m", unusable=bad)], {}, {}, {}, given_up))
    assert [step.action for step in steps] == [Action.UNUSABLE, Action.WAITING, Action.UNUSABLE]
    assert {step.reason for step in steps} == {"a.png is no image (m.yaml:3:5)"}
    again = list(
        steps_of([Manifest("m.yaml", "m", unusable=bad)], {}, {}, {}, {*given_up, (("m", "a", 1), "seen")})
    )
    assert [step.action for step in again] == [Action.ABANDONED, Action.WAITING, Action.UNUSABLE]
    assert again[0].reason == "its image failed the checks; given up by hand"


def named(job_id: str, manifest: str = "m", take: int = 1) -> Job:
    return job(external_task_id=f"{manifest}.{job_id}.{take}")._replace(
        id=job_id, manifest=manifest, take=take
    )


def renamed(jobs: list[Job], twins: list[Twin], *, accept_changes: bool = False) -> list[tuple[Action, str]]:
    manifests = [Manifest(f"{name}.yaml", name) for name in sorted({one.manifest for one in jobs})]
    for one in jobs:
        next(manifest for manifest in manifests if manifest.name == one.manifest).jobs.append(one)
    steps = steps_of(manifests, {}, {}, {sha256("new"): twins}, accept_changes=accept_changes)
    return [(step.action, step.external_task_id) for step in steps]


def test_a_job_that_was_renamed_is_not_paid_again() -> None:
    twin = Twin(("m", "old", 1), row(D, base="old"))
    assert renamed([named("new")], [twin]) == [(Action.DONE, "old")]


def test_a_row_under_a_jobs_own_name_spelt_in_another_way_is_its_own() -> None:
    assert renamed([named("a")], [Twin(("m", "a", 1), row(D, base="old"))]) == [(Action.DONE, "old")]


def test_a_job_that_its_manifest_skips_keeps_its_clip_for_itself() -> None:
    manifest = Manifest("m.yaml", "m", jobs=[named("new")], skipped=[("m", "old", 1)])
    (step,) = steps_of([manifest], {}, {}, {sha256("new"): [Twin(("m", "old", 1), row(D, base="old"))]})
    assert (step.action, step.external_task_id) == (Action.CREATE, "m.new.1")


def test_a_job_that_moved_between_manifests_of_the_run_is_not_paid_again() -> None:
    twin = Twin(("a", "hero", 1), row(S, base="old"))
    other = named("other", "a")._replace(digest=sha256("another"))
    assert renamed([named("hero", "b"), other], [twin]) == [
        (Action.CREATE, "a.other.1"),
        (Action.FOLLOW, "old"),
    ]


def test_the_same_clip_under_a_manifest_that_is_not_here_needs_a_decision() -> None:
    twin = Twin(("gone", "hero", 1), row(D, base="old"))
    assert renamed([named("hero")], [twin]) == [(Action.CHANGED, "old")]
    assert renamed([named("hero")], [twin], accept_changes=True) == [(Action.CREATE, "m.hero.1")]


def test_jobs_whose_names_moved_on_by_one_keep_their_clips() -> None:
    """A list that counts its lines, and got a new first one."""
    jobs = [job(digest, f"m.{number}")._replace(id=str(number)) for number, digest in enumerate("xabc", 1)]
    rows = {
        str(number): row(D, base=f"old.{number}", digest=digest) for number, digest in enumerate("abc", 1)
    }
    history = {("m", name, 1): [one] for name, one in rows.items()}
    twins = {one.digest: [Twin(("m", name, 1), one)] for name, one in rows.items()}
    manifest = Manifest("m.yaml", "m", jobs=jobs)

    steps = list(steps_of([manifest], history, {}, twins))
    renamed = [(Action.DONE, f"old.{number}") for number in (1, 2, 3)]
    assert [(step.action, step.external_task_id) for step in steps] == [(Action.CHANGED, "old.1"), *renamed]
    accepted = list(steps_of([manifest], history, {}, twins, accept_changes=True))
    assert [(step.action, step.external_task_id) for step in accepted] == [(Action.CREATE, "m.1"), *renamed]


def test_jobs_that_swapped_their_names_keep_their_clips() -> None:
    jobs = [job(digest, f"m.{digest}")._replace(id=name) for name, digest in ("ab", "ba")]
    rows = {name: row(D, base=f"old.{name}", digest=name) for name in "ab"}
    history = {("m", name, 1): [one] for name, one in rows.items()}
    twins = {sha256(name): [Twin(("m", name, 1), one)] for name, one in rows.items()}
    steps = steps_of([Manifest("m.yaml", "m", jobs=jobs)], history, {}, twins)
    assert [(step.action, step.external_task_id) for step in steps] == [
        (Action.DONE, "old.b"),
        (Action.DONE, "old.a"),
    ]


@pytest.mark.parametrize("accept", [False, True])
def test_a_take_that_was_ordered_settles_a_change_and_hides_no_clip_that_was_paid_under_another_name(
    accept: bool,
) -> None:
    jobs = [job(digest, f"m.{digest}")._replace(id=name) for name, digest in ("ab", "ba", "cx")]
    rows = {name: row(D, base=f"old.{name}", digest=name) for name in "abc"}
    history = {("m", name, 1): [one] for name, one in rows.items()}
    twins = {sha256(name): [Twin(("m", name, 1), one)] for name, one in rows.items()}
    manifest = Manifest("m.yaml", "m", jobs=jobs, retaken={("m", "b", 1): 2, ("m", "c", 1): 2})
    steps = list(steps_of([manifest], history, {}, twins, accept_changes=accept))
    found = [(step.action, step.external_task_id) for step in steps]
    assert found == [(Action.DONE, "old.b"), (Action.DONE, "old.a"), (Action.DONE, "old.c")]
    assert "ordered" not in steps[1].reason and "take 2 was ordered of what it is now" in steps[2].reason


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_a_change_that_an_order_settles_leaves_the_clip_to_the_job_that_was_renamed(names: str) -> None:
    paid = row(D, base="old", digest="first")
    jobs = [job("other", "m.a")._replace(id="a"), job("first", "m.b")._replace(id="b")]
    jobs.sort(key=lambda one: names.index(one.id))
    manifest = Manifest("m.yaml", "m", jobs=jobs, retaken={("m", "a", 1): 2})
    twins = {paid.digest: [Twin(("m", "a", 1), paid)]}
    steps = list(steps_of([manifest], {("m", "a", 1): [paid]}, {}, twins))
    assert [(step.action, step.external_task_id) for step in steps] == [(Action.DONE, "old")] * 2


def test_two_jobs_of_one_content_are_two_clips_and_one_old_name_serves_one_of_them() -> None:
    there = Twin(("m", "a", 1), row(D, base="a"))
    assert renamed([named("a2"), named("a", "x")], [there])[0] == (Action.DONE, "a")
    gone = Twin(("m", "gone", 1), row(D, base="gone"))
    assert renamed([named("b"), named("c")], [gone]) == [(Action.DONE, "gone"), (Action.CREATE, "m.c.1")]


def test_another_take_and_a_job_that_is_still_there_are_no_old_names() -> None:
    assert renamed([named("b", take=2)], [Twin(("m", "a", 1), row(D, base="a"))]) == [
        (Action.CREATE, "m.b.2")
    ]
    both = renamed([named("a"), named("b")], [Twin(("m", "a", 1), row(D, base="a"))])
    assert both[1] == (Action.CREATE, "m.b.1")
    there = row(D, base="m.a.1")
    manifest = Manifest("m.yaml", "m", jobs=[named("b"), named("a")])
    steps = steps_of([manifest], {("m", "a", 1): [there]}, {}, {sha256("new"): [Twin(("m", "a", 1), there)]})
    assert [step.action for step in steps] == [Action.CREATE, Action.DONE], "the new one stands before it"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"mode": "std"}, {"mode": "std"}, ""),
        ({"mode": "std", "duration": "5"}, {"mode": "pro", "duration": "5"}, 'mode: "std" -> "pro"'),
        ({"mode": "std"}, {"mode": "std", "sound": "on"}, 'sound: nothing -> "on"'),
        (
            {"image": {"sha256": "0123456789abcdef"}, "seed": 1},
            {"image": {"sha256": "fedcba9876543210"}},
            "image: bytes 0123456789ab -> bytes fedcba987654; seed: 1 -> nothing",
        ),
        (
            {"image": {"sha256": "0123456789abcdef"}},
            {
                "image": {
                    "sha256": "0123456789abcdef",
                    "prepare": {"version": 2, "quality": 90, "fit": "crop"},
                }
            },
            "image: bytes 0123456789ab -> bytes 0123456789ab, prepared fit=crop quality=90",
        ),
        ({}, {"camera_control": {"type": "simple"}}, 'camera_control: nothing -> {"type": "simple"}'),
        ({"prompt": "猫"}, {"prompt": "x" * 58}, f'prompt: "猫" -> "{"x" * 58}"'),
        ({"prompt": "x"}, {"prompt": "y" * 59}, f'prompt: "x" -> "{"y" * 56}...'),
    ],
)
def test_a_change_is_told_field_by_field(before: object, after: object, told: str) -> None:
    assert differences(json.dumps(before), json.dumps(after)) == told


def test_a_step_knows_which_of_its_jobs_tasks_it_is_about() -> None:
    steps = [decide(job(), known) for known in ([], [row(F)], [row(F), row(F, 2)])]
    assert [task_number(step) for step in (None, *steps)] == [1, 1, 2, 3]
    bad = UnusableJob("m", "j", 1, Problem(Place("m.yaml"), "", "no image"), "seen")
    assert task_number(Step(bad, Action.UNUSABLE, "", "no image")) == task_number(None) == 1


@pytest.mark.parametrize("again", [False, True])
def test_a_plan_sends_again_what_was_refused_only_where_it_is_told_to(again: bool) -> None:
    history = {("m", "j", 1): [row(R)]}
    manifest = Manifest("m.yaml", "m", jobs=[job()])
    (step,) = steps_of([manifest], history, {}, {}, retry_failed=again)
    assert step.action is (Action.CREATE if again else Action.REJECTED)
    assert (step.renamed, step.ordered) == (False, False)
    (unsaid,) = steps_of([manifest], history, {}, {})
    assert unsaid.action is Action.REJECTED


def test_a_step_says_that_its_row_was_made_under_another_name() -> None:
    manifest = Manifest("m.yaml", "m", jobs=[named("new")])
    (step,) = steps_of([manifest], {}, {}, {sha256("new"): [Twin(("m", "old", 1), row(D, base="old"))]})
    assert (step.renamed, step.reason) == (True, "its clip is here, made as m/old")


def test_a_name_is_quoted_only_where_yaml_needs_it_and_stays_legible() -> None:
    assert (_yaml("night-shop"), _yaml("猫")) == ("night-shop", '"猫"')


def test_ids_of_tries_count_up() -> None:
    assert [next_id("e", "e"), next_id("e", "e~2"), next_id("e", "e~9")] == ["e~2", "e~3", "e~10"]


@pytest.mark.parametrize("name", ["night", "a: b", "012", "#x", "null", "no", "'x", "- y", "猫"])
def test_the_name_that_a_plan_asks_for_is_read_back_as_it_was(name: str) -> None:
    written = f"name: {_yaml(name)}"
    assert yaml12.load(written.encode()) == {"name": name}


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({"image": ImageFile("/in/a.png", 1, 2, 3, "0" * 64, "png", 300, 300)}, "/in/a.png"),
        ({"image": "https://h/i.png"}, "https://h/i.png"),
        ({"image_tail": "https://h/tail.png"}, "https://h/tail.png"),
        ({"image": "iVBORw0KGgoAAAANSUhEUgAA"}, None),
        ({}, None),
    ],
    ids=["file", "address", "tail", "Base64", "none"],
)
def test_a_new_row_is_pending_and_has_what_its_job_says(image: dict[str, Any], name: str | None) -> None:
    request = {"model_name": "kling-v3", "mode": "pro", "duration": "5", **image}
    one = Job("m", "j", 2, "e", sha256("new"), request, "/clips", Place("m.yaml"))
    made = new_row(one, "e~2", BUILT_IN)
    assert (made.external_task_id, made.base_id, made.state) == ("e~2", "e", State.PENDING)
    assert (made.manifest, made.job_id, made.take, made.digest) == ("m", "j", 2, sha256("new"))
    assert (made.output_path, made.output_dir) == ("/clips/m/j.take2.mp4", "/clips")
    assert made.cost_usd_estimate == pytest.approx(0.56)
    assert json.loads(made.canonical)["mode"] == "pro"
    assert made.image == name


def test_nothing_is_sent_again_or_accepted_that_nobody_asked_for() -> None:
    jobs = [named("refused"), named("changed"), named("failed")]
    history = {
        jobs[0].key: [row(R, base="m.refused.1")],
        jobs[1].key: [row(D, digest="old", base="old")],
        jobs[2].key: [row(F, number, base="m.failed.1") for number in (1, 2, 3)],
    }
    manifest = Manifest("m.yaml", "m", jobs=jobs)
    steps = plan([manifest], [Known(manifest, history, {}, {})])
    assert [step.action for step in steps] == [Action.REJECTED, Action.CHANGED, Action.FAILED]


@pytest.mark.parametrize(
    ("mine", "old", "action", "external_task_id"),
    [
        (row(D), "m", Action.DONE, "e"),  # an equal clip under a name that is gone is no reason to move it
        (row(D, digest="old", base="before"), "gone", Action.CHANGED, "before"),
        (row(D, digest="old", base="before"), "m", Action.DONE, "twin"),
    ],
)
def test_a_clip_under_another_name_serves_a_job_that_would_pay_or_has_changed(
    mine: Brief, old: str, action: Action, external_task_id: str
) -> None:
    manifest = Manifest("m.yaml", "m", jobs=[job()])
    twins = {sha256("new"): [Twin((old, "old", 1), row(D, base="twin"))]}
    (step,) = steps_of([manifest], {job().key: [mine]}, {}, twins)
    assert (step.action, step.external_task_id) == (action, external_task_id)


def test_a_take_that_a_person_ordered_says_so_and_one_that_is_paid_says_what_of_it() -> None:
    order = Order("m", "j", 2, 1.7e9)
    jobs = [named("a", take=2), named("b", take=2), named("c")]
    history = {jobs[1].key: [row(S, base="m.b.2")]}
    ordered = {one.key: order for one in jobs[:2]}
    manifest = Manifest("m.yaml", "m", jobs=jobs, ordered=ordered)
    steps = steps_of([manifest], history, {}, {})
    assert [(step.action, step.reason, step.ordered) for step in steps] == [
        (Action.CREATE, "ordered", True),
        (Action.FOLLOW, "its task was made", True),
        (Action.CREATE, "new", False),
    ]


def test_a_take_that_was_ordered_settles_no_create_and_no_clip_of_a_manifest_that_is_not_here() -> None:
    jobs = [named("a"), job("other", "m.b.1")._replace(id="b")]
    manifest = Manifest("m.yaml", "m", jobs=jobs, retaken={one.key: 2 for one in jobs})
    twins = {sha256("other"): [Twin(("gone", "b", 1), row(D, base="old"))]}
    steps = list(steps_of([manifest], {}, {}, twins))
    assert [step.action for step in steps] == [Action.CREATE, Action.CHANGED]
    assert "was ordered" not in steps[0].reason + steps[1].reason
