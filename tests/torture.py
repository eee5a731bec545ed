"""Kills the program hundreds of times, then lets it finish, and checks the result by the server's journal.

    python -m tests.torture [--rounds N] [--seed N] [--seconds N] [--kills N]

A round is one pass through all scenarios. Every scenario has a server, a ledger and a manifest of its own, so they
run side by side. It ends with runs without faults until all is done; then the journal, the ledger and the clips are
held to the promise: one accept per id, every accepted task in the ledger, every job done. Exits 1 where one rule
was broken, and keeps that scenario's folder.
"""

# ruff: noqa: T201
# A program of its own, with a table for people.

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchgen.ledger.budgets import set_budgets
from batchgen.sandbox.faults import FAULTS, Moment
from tests.support import kills, losses
from tests.support.evidence import Verdict
from tests.support.kills import Stage
from tests.support.program import Desk, sandbox

JOBS = 24  # at the start of a scenario; more are added where a kill needs one
PRICES = {"std": 42, "pro": 56}  # cents of a clip of five seconds without sound: a table of its own
REACHES = 3  # tries to bring the program to a named point
LAST_RUNS = 8  # runs without faults in which everything must come to its end
VIDEOS = [fault.name for fault in FAULTS.values() if fault.moment is Moment.FETCHED]
TASKS = ("--task-seconds", "0.05-0.3")


@dataclass(frozen=True)
class Scenario:
    """A kind of account, of server and of death.

    ``faults`` is the probability of each fault there is; ``rules`` are faults besides, with their own.
    """

    name: str
    server: tuple[str, ...] = ()
    faults: float = 0.0
    rules: tuple[str, ...] = ()
    kills: int = 30  # at random moments
    cycles: int = 0  # through all named points
    losses: int = 0  # nights between which ledgers are lost, jobs renamed, clips moved; these alone
    lookups: bool = True
    budget: bool = (
        False  # at each named point, one that leaves room for the clip that it is about, and no more
    )
    nights: int = 0  # with a budget that two clips more fit in, and a kill in each; these alone


SCENARIOS = (
    Scenario("named points", kills=0, cycles=3),
    Scenario(
        "named points, lookups lag, ids not unique", ("--lookup-lag", "0.9", "--no-unique"), kills=0, cycles=3
    ),
    Scenario("random moments"),
    Scenario("faults", faults=0.02),
    Scenario("faults, ids not unique", ("--no-unique",), faults=0.02),
    Scenario("faults, lookups lag, ids not unique", ("--lookup-lag", "0.9", "--no-unique"), faults=0.02),
    Scenario("faults, 4 slots, a neighbour", ("--slots", "4", "--neighbour", "3"), faults=0.02),
    Scenario("named points, a budget that bites", kills=0, cycles=2, budget=True),
    Scenario("a budget that bites", kills=0, nights=15),
    Scenario("a budget that bites, faults", faults=0.02, kills=0, nights=15),
    Scenario("lost and older ledgers, renames, moved clips", kills=0, losses=12),
    Scenario(  # no answer names an external_task_id
        "gateway, wrapped", ("--dialect", "wrapped"), rules=tuple(kills.clip_hosts(0.05)), cycles=1
    ),
    Scenario("gateway, flat, ids not unique", ("--dialect", "flat", "--no-unique"), faults=0.02),
    Scenario("gateway, video", ("--dialect", "video", "--lookup-lag", "0.9"), faults=0.02),
    Scenario("clip hosts", rules=tuple(kills.clip_hosts(0.08))),
    Scenario(
        "clip hosts, faults", rules=(*kills.clip_hosts(0.06), *(f"{name}=0.1" for name in VIDEOS)), kills=20
    ),
    Scenario("stuck tasks", rules=("task_never_ends=0.15",), kills=15),
    Scenario(
        "a failing account",
        rules=("task_fails_balance=0.2", "task_fails_outage=0.3", "task_fails_unsaid=0.2", "task_fails=0.2"),
        kills=15,
    ),
    Scenario(
        "no lookups, ids not unique",
        ("--no-lookups", "--no-unique"),
        faults=0.005,
        kills=15,
        cycles=1,
        lookups=False,
    ),
)


@dataclass
class Outcome:
    """The result of one scenario."""

    name: str
    seed: str
    folder: Path
    verdict: Verdict
    kills: int
    runs: int
    seconds: float
    points: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)


def play(scenario: Scenario, seed: str, folder: Path) -> Outcome:
    """One scenario in a folder of its own, from the first kill to the verdict."""
    start = time.monotonic()
    rng = random.Random(seed)
    stage = Stage(folder, rng)
    verdict = stage.evidence.verdict
    try:
        with ExitStack() as stack:
            options = (*TASKS, *scenario.server, "--seed", str(rng.randrange(10**6)))
            stage.serve(stack.enter_context(sandbox(folder, *options)))
            if scenario.losses:
                losses.play(stage, scenario.losses)
            elif scenario.nights:
                save(stage, scenario)
            else:
                torment(stage, scenario)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        verdict.violations.append(f"{type(error).__name__}: {error}")
    return Outcome(
        scenario.name,
        seed,
        folder,
        verdict,
        stage.kills,
        stage.runs,
        time.monotonic() - start,
        stage.points,
        stage.missed,
    )


def torment(stage: Stage, scenario: Scenario) -> None:
    """Kill the program at the named points and at random moments, then let it finish."""
    stage.add_jobs(JOBS)
    if scenario.cycles:
        kills.kill_the_first_creates(stage)
        stage.run("run", "--max-jobs", "3", "m.yaml")
    for _ in range(scenario.cycles):
        for point in stage.rng.sample(kills.POINTS, len(kills.POINTS)):
            for _ in range(REACHES):
                limit = set_budget(stage, stage.mode(len(stage.jobs))) if scenario.budget else None
                reached = kills.kill_at(stage, point, lookups=scenario.lookups)
                if limit is not None:
                    use_up(stage, limit, point.__name__)
                if reached:
                    break
    if scenario.budget:
        set_budgets(str(stage.ledger), {"month": None}, None, usual="UTC", at=time.time(), by=None)
    stage.fault(*(kills.mixed_faults(scenario.faults) if scenario.faults else ()), *scenario.rules)
    wanted = stage.kills + scenario.kills
    for _ in range(4 * scenario.kills):
        if stage.kills < wanted:
            kills.kill_at_random(stage)
    assert stage.kills >= wanted, f"only {stage.kills} of {wanted} kills: the runs end by themselves"
    if "task_never_ends" in "".join(scenario.rules):
        leave_the_stuck(stage)
    end_in_peace(stage, lookups=scenario.lookups)


def save(stage: Stage, scenario: Scenario) -> None:
    """Kill the program in nights that may pay for two clips more each; the journal has the bill."""
    stage.add_jobs(JOBS)
    stage.run("run", "--max-jobs", "1", "m.yaml")
    stage.fault(*(kills.mixed_faults(scenario.faults) if scenario.faults else ()))
    for night in range(scenario.nights):
        limit = set_budget(stage, "std", "pro")
        stage.add_jobs(2)
        kills.kill_at_random(stage)
        hold(stage, limit, f"night {night}")
    stage.calm()
    limit = set_budget(stage, "std", "pro")
    ended = [
        stage.run("run", "--retry-failed", "m.yaml").code for _ in range(2)
    ]  # the first may have to settle
    if ended[-1] != 4 or not limit - max(PRICES.values()) < spent(stage) <= limit:
        text = f"the budget of {limit} cents was not used up, or not held: {spent(stage)}, and the runs ended with {ended}"
        stage.evidence.verdict.violations.append(text)
    set_budgets(str(stage.ledger), {"month": None}, None, usual="UTC", at=time.time(), by=None)
    end_in_peace(stage, lookups=scenario.lookups)


def set_budget(stage: Stage, *modes: str) -> int:
    """Set the month's budget to what is spent and clips of these modes more, in cents. Returns it."""
    limit = spent(stage) + sum(map(PRICES.__getitem__, modes))
    set_budgets(str(stage.ledger), {"month": limit * 10_000}, None, usual="UTC", at=time.time(), by=None)
    return limit


def use_up(stage: Stage, limit: int, point: str) -> None:
    """Check that after a kill a budget for one clip is held, and that a run makes that clip where the kill left none."""
    hold(stage, limit, point)
    desk = Desk(stage.desk.folder)
    desk.env = stage.desk.env
    ended = desk.run("run", *kills.PACE, "m.yaml")
    if ended.code != 4 or spent(stage) != limit:
        text = f"after {point}: {spent(stage)} cents of {limit} were used, and the run said {ended.code}: {ended.err}"
        stage.evidence.verdict.violations.append(text)


def hold(stage: Stage, limit: int, when: str) -> None:
    """Check that the server's tasks cost no more than the budget."""
    if spent(stage) > limit:
        stage.evidence.verdict.violations.append(f"{when}: {spent(stage)} cents, and {limit} at most")


def spent(stage: Stage) -> int:
    """What the server's tasks cost, in cents, by its journal: all but those that fail, which are free."""
    made = (entry for entry in stage.evidence.catch_up() if entry.accepted)
    return sum(
        PRICES[one.fields.get("mode", "std")]
        for one in made
        if not (one.fault or "").startswith("task_fails")
    )


def leave_the_stuck(stage: Stage) -> None:
    """Check that runs end although tasks never do, and leave only these tasks."""
    for turn in range(2):
        ended = stage.run("run", "--deadline", "4s", "m.yaml")
        stage.evidence.look(f"run {turn + 1} beside tasks that never end")
        if ended.code not in (0, 1, 4):
            stage.evidence.verdict.violations.append(f"a run beside stuck tasks ended with {ended}")
        if "--abandon" in ended.err:
            stage.evidence.verdict.violations.append(f"a task that may end was to be given up: {ended.err}")


def end_in_peace(stage: Stage, *, lookups: bool) -> None:
    """Run without faults until nothing is left to do, then judge."""
    stage.calm()
    codes: list[int] = []
    while len(codes) < LAST_RUNS and codes[-1:] != [0] and (lookups or codes[-2:] != [5, 5]):
        ended = stage.run("run", "--retry-failed", "m.yaml")
        codes.append(ended.code)
        stage.evidence.look(f"peaceful run {len(codes)}")
        if ended.code:
            stage.calm()
    if codes[-1] not in ((0,) if lookups else (0, 5)):
        stage.evidence.verdict.violations.append(f"the last runs ended with {codes}: {ended.err[-2000:]}")
    requests = len(stage.evidence.catch_up())
    again = stage.run("run", "m.yaml")
    creates = [entry for entry in stage.evidence.catch_up()[requests:] if entry.kind == "create"]
    if again.code != codes[-1] or creates or (lookups and again.out + again.err):
        stage.evidence.verdict.violations.append(f"the run after the last was not idle: {again}, {creates}")
    stage.evidence.conclude(stage.desk.export(), {job["id"] for job in stage.jobs}, lookups=lookups)


def torture(
    scenarios: Sequence[Scenario], rounds: int, seed: int, seconds: float, folder: Path, workers: int
) -> Iterable[Outcome]:
    """The outcomes as they come in; no scenario is begun after ``seconds``."""
    end = time.monotonic() + seconds

    def one(number: int, place: int) -> Outcome | None:
        if time.monotonic() > end:
            return None
        scenario = scenarios[place]
        own = folder / f"{number}-{place}"
        own.mkdir()
        return play(scenario, f"{seed}/{number}/{scenario.name}", own)

    with ThreadPoolExecutor(workers) as pool:
        plays = [
            pool.submit(one, number, place) for number in range(rounds) for place in range(len(scenarios))
        ]
        for future in plays:
            if (outcome := future.result()) is not None:
                yield outcome


# -- the table ------------------------------------------------------------------------------------------------

HEAD = ("scenario", "kills", "runs", "accepts", "duplicates", "lost", "unresolved", "seconds", "broken")


def row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    verdicts = [outcome.verdict for outcome in outcomes]
    numbers = (
        sum(outcome.kills for outcome in outcomes),
        sum(outcome.runs for outcome in outcomes),
        sum(verdict.accepts for verdict in verdicts),
        sum(verdict.duplicates for verdict in verdicts),
        sum(verdict.lost for verdict in verdicts),
        sum(verdict.unresolved for verdict in verdicts),
        round(sum(outcome.seconds for outcome in outcomes)),
        sum(len(verdict.violations) for verdict in verdicts),
    )
    return name, *map(str, numbers)


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in rows
    )


def wrapped(words: Iterable[str]) -> str:
    return textwrap.fill(", ".join(words), 108, initial_indent="  ", subsequent_indent="  ")


def report(outcomes: Sequence[Outcome], scenarios: Sequence[Scenario]) -> str:
    """The whole of it, for a person."""
    faults = sum((outcome.verdict.faults for outcome in outcomes), Counter[str]())
    points = sum((outcome.points for outcome in outcomes), Counter[str]())
    missed = sum((outcome.missed for outcome in outcomes), Counter[str]())
    played = [(one.name, [outcome for outcome in outcomes if outcome.name == one.name]) for one in scenarios]
    rows = [HEAD, *(row(name, some) for name, some in [*played, ("all", outcomes)])]
    named = [point.__name__ for point in (kills.kill_the_first_creates, *kills.POINTS)]
    width = max(map(len, named))
    lines = [table(rows), "", "named points: killed there, and times that the program got past it first"]
    lines += [f"  {name.replace('_', ' '):{width}} {points[name]:4} {missed[name]:4}" for name in named]
    never = [
        name for name, fault in FAULTS.items() if fault.moment not in kills.UNSTRUCK and not faults[name]
    ]
    lines += [
        "",
        f"faults: {sum(faults.values())}",
        wrapped(f"{name} {faults[name]}" for name in FAULTS if faults[name]),
    ]
    lines += ["never played:", wrapped(never)] if never else ["every kind was played"]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=2,
        metavar="N",
        help="passes through all scenarios (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="repeat the decisions of another run (default: random)"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), metavar="N", help="begin nothing new after so long"
    )
    parser.add_argument("--kills", type=int, metavar="N", help="random kills in a scenario (default: 30)")
    parser.add_argument("--only", metavar="TEXT", help="only scenarios with this in their name")
    parser.add_argument(
        "--workers", type=int, default=2 * (os.cpu_count() or 1), metavar="N", help="scenarios side by side"
    )
    arguments = parser.parse_args()
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    scenarios = [one for one in SCENARIOS if (arguments.only or "") in one.name]
    if arguments.kills is not None:
        scenarios = [replace(one, kills=arguments.kills if one.kills else 0) for one in scenarios]
    folder = Path(tempfile.mkdtemp(prefix="batchgen-torture-"))
    start = time.monotonic()
    outcomes = []
    for outcome in torture(scenarios, arguments.rounds, seed, arguments.seconds, folder, arguments.workers):
        outcomes.append(outcome)
        for violation in outcome.verdict.violations:
            print(f"{outcome.name} ({outcome.folder}): {violation}", flush=True)
        if not outcome.verdict.violations:
            shutil.rmtree(outcome.folder)
    broken = any(outcome.verdict.violations for outcome in outcomes)
    reached = {name for outcome in outcomes for name in outcome.points}
    missed = [point.__name__ for point in kills.POINTS if reached and point.__name__ not in reached]
    print(report(outcomes, scenarios))
    given = sys.argv[1:] if arguments.seed is not None else [*sys.argv[1:], "--seed", str(seed)]
    print(f"\n{time.monotonic() - start:.0f} s; the same again: python -m tests.torture {shlex.join(given)}")
    if missed:
        print(f"never killed at: {', '.join(missed)}")
    if broken:
        print(f"rules were broken; the evidence is in {folder}")
    else:
        folder.rmdir()
    return 1 if broken or missed else 0


if __name__ == "__main__":
    sys.exit(main())
