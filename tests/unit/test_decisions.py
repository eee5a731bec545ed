"""Every event of a row's history has words for people, and they say what the plan's own rules say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import batchgen
from batchgen.models import HistoryEntry, Record, State
from batchgen.run import dispositions
from batchgen.run.decisions import WORDS, explained

PACKAGE = Path(batchgen.__file__).parent
ROW = Record("a", "a", "bags", "tote", 1, "d", "{}", State.PENDING, "/clips/bags/tote.mp4")


def event(name: str, to: State = State.PENDING, code: str | None = None) -> HistoryEntry:
    return HistoryEntry("a", 0.0, name, None, to, code, None, None, {})


def failed(*codes: str | None) -> list[Record]:
    return [
        ROW._replace(external_task_id=f"a~{number}", state=State.FAILED, error_code=code)
        for number, code in enumerate(codes, 1)
    ]


def written_events() -> Iterator[str]:
    """The event of each change that the program writes: the third argument of Change, the fourth of write."""
    for path in PACKAGE.rglob("*.py"):
        constants: dict[str, str] = {}
        tree = ast.parse(path.read_text())
        for line in tree.body:
            if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
                constants |= {
                    name.id: str(line.value.value) for name in line.targets if isinstance(name, ast.Name)
                }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = {"Change": 2, "write": 3}.get(called)
            if place is None or len(node.args) <= place:
                continue
            for part in ast.walk(node.args[place]):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value
                elif isinstance(part, ast.Name) and part.id in constants:
                    yield constants[part.id]
    yield from (one.event for one in dispositions.TABLE.values())


def test_every_event_that_is_written_has_words_and_a_rule() -> None:
    events = set(written_events())
    assert {"accepted", "part_kept", "resolved_as_abandoned", "moved", "unclear", "lost_track"} <= events
    assert events <= set(WORDS)
    for name in events:
        what, rule = explained(event(name), [], [], "d")
        assert what and rule.endswith("."), name


@pytest.mark.parametrize(
    ("past", "earlier", "rule"),
    [
        ([], [], "The ledger had nothing of this job."),
        (["planned"], [], "The ledger had nothing of this job."),
        (
            ["planned", "intent", "slots_full"],
            [],
            "Before, nothing was made of it (no free slot): it is sent again under the same id.",
        ),
        (
            ["planned", "intent", "of_a_later_version"],
            [],
            "Before, nothing was made of it (of_a_later_version): it is sent again under the same id.",
        ),
        ([], failed("failed"), "Another task, since its task failed (1 of 3 tries)."),
        (
            [],
            failed("failed", "failed_service"),
            "Another task, since its task failed for no fault of its own.",
        ),
        (
            [],
            failed("failed_cancelled"),
            "Another task, since its task was cancelled; another one; --retry-failed asked for it.",
        ),
        (
            [],
            failed("failed", "failed", "failed"),
            "Another task, since its task failed (3 of 3 tries); --retry-failed asked for it.",
        ),
        (
            [],
            [ROW._replace(state=State.DOWNLOADED, digest="x")],
            "The job had changed since a, and the change was accepted.",
        ),
        ([], [ROW._replace(state=State.REJECTED, digest="x")], "The job had changed since a."),
        ([], [ROW._replace(state=State.FAILED, digest="x")], "The job had changed since a."),
    ],
)
def test_a_create_is_begun_for_the_reason_that_the_plan_had(
    past: list[str], earlier: list[Record], rule: str
) -> None:
    assert explained(event("intent"), [event(name) for name in past], earlier, "d") == ("create begun", rule)


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("failed_account", "The account is the reason"),
        ("failed_service", "The service is the reason"),
        ("failed_content", "one more task, then it waits"),
        ("failed_cancelled", "only with --retry-failed"),
        ("failed", "one of the few tasks"),
        (None, "one of the few tasks"),
        ("of_a_later_version", "one of the few tasks"),
    ],
)
def test_a_failed_task_counts_by_its_cause(code: str | None, part: str) -> None:
    assert part in explained(event("task_failed", State.FAILED, code), [], [], "d").rule


def test_a_file_that_is_not_found_is_no_task_that_is_not_found() -> None:
    assert "asks again" in explained(event("not_found", State.SUBMITTED), [], [], "d").rule
    assert "isn't moved" in explained(event("not_found", State.DOWNLOADED), [], [], "d").rule


def test_an_event_of_a_later_version_is_shown_by_its_name() -> None:
    assert explained(event("moved_to_tape"), [], [], "d") == ("moved to tape", "")
