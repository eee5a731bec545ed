"""What a run may do is one frozen value: made of the command line and the environment once, checked where it is made."""

from __future__ import annotations

import dataclasses
import datetime
import math
from typing import Any

import pytest

from batchgen.cli import options as command_line
from batchgen.cli.quantities import shown_size
from batchgen.cli.shared import run_options
from batchgen.errors import UsageError
from batchgen.models import Manifest
from batchgen.run.download_limit import DOWNLOADS, MOST
from batchgen.run.options import CONCURRENCY, RunOptions
from batchgen.storage.clip_hosts import allowed_hosts


def parsed(*words: str) -> RunOptions:
    return run_options(command_line.parser().parse_args([*words]))


def test_without_flags_a_run_and_collecting_have_the_built_in_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BATCHGEN_CLIP_HOSTS", raising=False)
    monkeypatch.delenv("BATCHGEN_DOWNLOADS", raising=False)
    assert parsed("run", "m.yaml") == RunOptions()
    assert parsed("collect") == RunOptions()


def test_every_option_is_taken_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHGEN_CLIP_HOSTS", "cdn.corp")
    words = (
        "run m.yaml --concurrency 3 --max-running 2 --max-jobs 4 --max-cost 5.5 --deadline 2030-01-02T03:04Z --until 2030-01-02T03:05Z"
        " --submit-only --retry-failed --accept-changes --recover --timeout 6 --settle 7 --poll-interval 8"
        " --retry-wait 9 --clip-timeout 10 --min-speed 11 --downloads 12"
    )
    found = parsed(*words.split())
    assert found == RunOptions(
        concurrency=3,
        max_running=2,
        max_jobs=4,
        max_cost=5.5,
        deadline=1893553440.0,
        until=1893553500.0,
        submit_only=True,
        retry_failed=True,
        accept_changes=True,
        recover=True,
        timeout=6.0,
        settle=7.0,
        poll_interval=8.0,
        retry_wait=9.0,
        clip_timeout=10.0,
        min_speed=11.0,
        downloads=12,
        clip_hosts=allowed_hosts("cdn.corp"),
    )
    assert all(
        getattr(found, field.name) != getattr(RunOptions(), field.name)
        for field in dataclasses.fields(found)
        if field.name
        not in ("prices", "approval", "usual_concurrency", "usual_downloads")  # those are files'
    )


@pytest.mark.parametrize("name", ["concurrency", "max_jobs", "max_cost", "timeout", "min_speed", "downloads"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_number_that_nothing_could_be_done_with_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        RunOptions(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_cost", "5"),
        ("max_cost", True),
        ("max_jobs", 2.5),
        ("max_running", False),
        ("timeout", None),
        ("deadline", datetime.datetime(2030, 1, 2, tzinfo=datetime.UTC)),
        ("accept_changes", "no"),  # which is true
        ("retry_failed", 0),
        ("submit_only", None),
        ("clip_hosts", ("cdn.corp",)),
        ("clip_hosts", "cdn.corp"),
        ("clip_hosts", None),
    ],
)
def test_a_value_of_another_type_is_refused_before_it_can_pay_for_anything(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} is .*, and has to be "):
        RunOptions(**{name: value})


def test_whole_numbers_are_amounts_and_durations_as_well() -> None:
    assert RunOptions(max_cost=50, timeout=30, retry_wait=0) == RunOptions(
        max_cost=50.0, timeout=30.0, retry_wait=0.0
    )


def test_a_manifest_that_states_more_creates_than_the_built_in_number_gets_them() -> None:
    manifests = [Manifest("a.yaml", "a", concurrency=CONCURRENCY + 3), Manifest("b.yaml", "b")]
    assert RunOptions().limits(manifests).concurrency == CONCURRENCY + 3
    assert RunOptions().limits(manifests[1:]).concurrency == CONCURRENCY
    assert RunOptions(concurrency=2).limits(manifests).concurrency == 2


def test_the_usual_numbers_stand_below_what_manifests_and_options_state() -> None:
    usual = RunOptions(usual_concurrency=3, usual_downloads=5)
    silent, stating = Manifest("a.yaml", "a"), Manifest("b.yaml", "b", concurrency=6, downloads=4)
    assert usual.limits([silent]).concurrency == 3
    assert usual.limits([silent, stating]).concurrency == 6
    assert usual.limits([silent]).downloads == 5
    assert usual.limits([stating]).downloads == 4
    both = dataclasses.replace(usual, concurrency=1, downloads=2).limits([silent, stating])
    assert (both.concurrency, both.downloads) == (1, 2)
    with pytest.raises(UsageError, match="usual_downloads"):
        RunOptions(usual_downloads=MOST + 1)


def test_a_run_fetches_as_many_clips_at_once_as_one_of_its_manifests_wants() -> None:
    """A manifest that says nothing wants the built-in number."""
    few, many, silent = (Manifest("a.yaml", "a", downloads=number) for number in (4, 32, None))
    assert RunOptions().limits([few]).downloads == 4
    assert RunOptions().limits([few, many]).downloads == 32
    assert RunOptions().limits([few, silent]).downloads == DOWNLOADS
    assert RunOptions().limits(iter([silent])).downloads == DOWNLOADS
    assert RunOptions().limits([]).downloads == DOWNLOADS
    assert RunOptions(downloads=2).limits([many]).downloads == 2


def test_the_number_of_downloads_is_taken_from_the_environment_where_the_command_line_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BATCHGEN_DOWNLOADS", " 5 ")
    assert parsed("collect").downloads == 5
    assert parsed("run", "m.yaml", "--downloads", "7").downloads == 7
    monkeypatch.setenv("BATCHGEN_DOWNLOADS", "")
    assert parsed("collect").downloads is None


@pytest.mark.parametrize("given", ["0", "257", "-1", "1.5", "many", "²"])
def test_a_number_of_downloads_that_is_none_is_told_with_its_range(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BATCHGEN_DOWNLOADS", given)
    with pytest.raises(UsageError, match="BATCHGEN_DOWNLOADS: .* is no whole number from 1 to 256"):
        parsed("collect")
    with pytest.raises(SystemExit):
        parsed("collect", f"--downloads={given}")
    assert "is no whole number from 1 to 256" in capsys.readouterr().err


def test_more_downloads_than_descriptors_allow_are_refused() -> None:
    assert RunOptions(downloads=MOST).downloads == MOST
    with pytest.raises(UsageError, match="256 at most"):
        RunOptions(downloads=MOST + 1)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        *((0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (57_344, "57 kB"), (999_400, "999 kB")),
        *((999_500, "1.0 MB"), (1_540_000, "1.5 MB"), (999_400_000, "999.4 MB"), (2_100_000_000, "2.1 GB")),
    ],
)
def test_a_size_is_shown_in_the_unit_that_people_would_use(count: int, shown: str) -> None:
    assert shown_size(count) == shown
