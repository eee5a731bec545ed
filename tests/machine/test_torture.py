"""The crash harness in short: `make torture` kills hundreds of times, this a few at every point that has a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import torture
from tests.support import kills
from tests.torture import Scenario


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("named points with a budget for one clip each", kills=0, cycles=1, budget=True),
        Scenario("random moments and faults", ("--lookup-lag", "0.9", "--no-unique"), faults=0.02, kills=8),
        Scenario("clip hosts", rules=tuple(kills.clip_hosts(0.08)), kills=4),
        Scenario("a gateway", ("--dialect", "flat"), rules=("task_fails_unsaid=0.2",), kills=3),
        Scenario("stuck and failing", rules=("task_never_ends=0.1", "task_fails_outage=0.3"), kills=4),
        Scenario("lost ledgers and renames", kills=0, losses=4),
        Scenario("a budget that bites", kills=0, nights=3),
        Scenario("no lookups", ("--no-lookups", "--no-unique"), kills=3, lookups=False),
    ],
    ids=lambda scenario: scenario.name.replace(" ", "-"),
)
def test_nothing_is_paid_twice_or_lost_however_often_the_program_is_killed(
    scenario: Scenario, tmp_path: Path
) -> None:
    outcome = torture.play(scenario, "short", tmp_path)
    assert outcome.verdict.violations == []
    assert outcome.verdict.duplicates == outcome.verdict.lost == outcome.verdict.unresolved == 0
    assert outcome.kills >= scenario.kills + scenario.cycles * len(kills.POINTS)
    assert not scenario.cycles or {point.__name__ for point in kills.POINTS} <= outcome.points.keys()
    assert outcome.verdict.accepts > 0
