"""What a night was like for those who are told: it failed, needs a decision, money is the matter."""

from __future__ import annotations

from typing import Any

import pytest

from batchgen.night.metrics import updated
from batchgen.night.summary import STATES, Part, Summary, states


def document(code: int, *kinds: str, others: dict[str, int] | None = None, **buckets: int) -> dict[str, Any]:
    return {
        "exit_code": code,
        "stops": [{"kind": kind} for kind in kinds],
        "buckets": buckets,
        "others": others or {},
    }


@pytest.mark.parametrize(
    ("found", "held"),
    [
        (document(0, downloaded=3), set()),
        (document(1, failed=1, downloaded=2), {"fail"}),
        (document(1, unusable=1), {"fail"}),
        (document(1, others={"rejected": 1}), {"fail"}),
        (document(2), {"fail"}),
        (document(3, "key", pending=1), {"fail"}),
        (document(3, "balance", pending=1), {"fail", "money"}),
        (document(4, "until", submitted=1), set()),
        (document(4, "deadline", pending=1), set()),
        (document(4, "jobs_cap", pending=1), set()),
        (document(4, "cost_cap", pending=1), {"money"}),
        (document(4, "budget", pending=1), {"money"}),
        (document(4, "unreachable", pending=1), {"fail"}),
        (document(4, "breaker", failed=8), {"fail"}),
        (document(4, "until", pending=1, unknown=1), {"decision"}),
        (document(5, unknown=1), {"decision"}),
        (document(5, changed=1, failed=1), {"fail", "decision"}),
        (document(5, others={"vanished": 1}), {"decision"}),
        (document(3, "key", unapproved=1), {"fail", "decision"}),
        (document(75, "ledger"), {"fail"}),
        (document(143, "signal", submitted=2), {"fail"}),
        ({"exit_code": 4}, set()),
    ],
)
def test_what_holds_of_a_run_is_told_by_why_it_stopped_and_where_its_jobs_ended(
    found: dict[str, Any], held: set[str]
) -> None:
    assert states(found) == held
    assert states(found, prices_differ=True) == held | {"money"}
    assert held < set(STATES)


def summary(code: int, ended: float, command: str = "run", **parts: Part) -> Summary:
    found = document(code, downloaded=2) | {"created": 1, "cost_usd_estimate": 0.42}
    return Summary("id", command, "host", code, ended - 60, ended, found, ["batchgen: x"], manifests=parts)


def test_a_success_is_remembered_through_failed_runs_and_other_manifests_and_commands() -> None:
    done, left = Part(jobs={"downloaded": 2}, created=1), Part(jobs={"downloaded": 1, "failed": 1})
    first = updated({}, summary(0, 100.0, bags=done, shoes=done))
    second = updated(first, summary(1, 200.0, bags=left))
    third = updated(second, summary(0, 300.0, "collect"))
    run, collect = (("command", "run"),), (("command", "collect"),)
    assert third["batchgen_last_success_timestamp_seconds", run] == 100
    assert third["batchgen_last_success_timestamp_seconds", collect] == 300
    assert third["batchgen_last_run_timestamp_seconds", run] == 200
    assert third["batchgen_last_run_exit_code", run] == 1
    bags, shoes = (("manifest", "bags"),), (("manifest", "shoes"),)
    assert third["batchgen_manifest_last_success_timestamp_seconds", bags] == 100
    assert third["batchgen_manifest_last_run_timestamp_seconds", bags] == 200
    assert third["batchgen_manifest_last_run_timestamp_seconds", shoes] == 100
    assert third["batchgen_manifest_created_tasks", bags] == 0
    assert third["batchgen_manifest_jobs", (("bucket", "failed"), *bags)] == 1


def test_where_a_job_ended_in_an_earlier_run_is_not_kept_beside_where_it_ended_in_this_one() -> None:
    first = updated({}, summary(1, 100.0, bags=Part(jobs={"failed": 2})))
    second = updated(first, summary(0, 200.0, bags=Part(jobs={"downloaded": 2})))
    jobs = {labels: value for (name, labels), value in second.items() if name == "batchgen_manifest_jobs"}
    assert jobs == {(("bucket", "downloaded"), ("manifest", "bags")): 2}


@pytest.mark.parametrize(
    ("code", "jobs", "well"),
    [
        (0, {"downloaded": 2, "abandoned": 1, "waiting": 1}, True),
        (0, {"submitted": 2}, True),  # --submit-only
        (4, {"submitted": 2}, False),
        (4, {"downloaded": 2}, True),  # what was left is another manifest's
        (4, {"downloaded": 1, "pending": 1}, False),
        (5, {"unknown": 1}, False),
    ],
)
def test_a_manifest_has_its_own_success(code: int, jobs: dict[str, int], well: bool) -> None:
    found = updated({}, summary(code, 100.0, bags=Part(jobs=jobs)))
    assert (("batchgen_manifest_last_success_timestamp_seconds", (("manifest", "bags"),)) in found) == well
