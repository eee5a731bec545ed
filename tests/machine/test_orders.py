"""What people say of clips and order is written beside a run, and neither harms the other: on real files, with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from batchgen import limits
from batchgen.errors import LedgerBusy, LedgerError, LedgerOutdated, OrderWithdrawn
from batchgen.judgements import Order, Verdict
from batchgen.ledger import beside, database, orders, upkeep, verdicts
from batchgen.ledger.orders import Wish
from batchgen.ledger.reader import Records
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Record, State
from batchgen.request.identity import external_task_id
from tests.support.program import Desk, sandbox, until

ORIGIN = "https://api.example"
ROOT = Path(__file__).parents[2]
NOW = 1_700_000_000.0


def row(name: str = "hero", take: int = 1, *, digest: str = "d" * 64, manifest: str = "night") -> Record:
    given = external_task_id(manifest, name, take, digest)
    path = f"/clips/{manifest}/{name}.take{take}.mp4"
    canonical = '{"duration":"5","mode":"pro"}'
    return Record(given, given, manifest, name, take, digest, canonical, State.PENDING, path)


HERO, SECOND = row(), row(take=2)


async def to(ledger: Ledger, record: Record, *states: State) -> None:
    """Bring a row to the last of these states."""
    values: dict[State, dict[str, Any]] = {
        State.SUBMITTED: {"task_id": record.external_task_id[-20:]},
        State.SUCCEEDED: {"video_url": "https://cdn.example/1.mp4"},
        State.DOWNLOADED: {"video_path": record.output_path, "video_sha256": "f" * 64},
        State.FAILED: {},
        State.UNKNOWN: {},
        State.PENDING: {},
        State.REJECTED: {},
    }
    await ledger.begin(record)
    for state in states:
        await ledger.apply(Change(record.external_task_id, state, "x", values=values[state]))


HOME = (State.SUBMITTED, State.SUCCEEDED, State.DOWNLOADED)


def clip(path: str, *records: Record) -> None:
    """A ledger in which these rows have a clip."""
    with Ledger.open(path, origin=ORIGIN) as ledger:
        for record in records:
            asyncio.run(to(ledger, record, *HOME))


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "ledger.db")
    clip(path, HERO)
    return path


def say(path: str, verdict: Any, record: Record = HERO, **fields: Any) -> None:
    verdicts.give(path, [Verdict(record.external_task_id, fields.pop("at", NOW), verdict, **fields)])


def ordered(path: str, *jobs: str, again: bool = False, note: str | None = None) -> list[orders.Placed]:
    wishes = [Wish("night", job, note) for job in jobs or ("hero",)]
    return orders.order(path, wishes, at=NOW, by="you@here", again=again)


def takes(path: str) -> list[tuple[str, int, bool]]:
    with Records.read(path) as ledger:
        return [(one.job_id, one.take, one.begun) for one in ledger.orders.standing()]


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_the_last_verdict_counts_and_all_are_kept(path: str) -> None:
    say(path, "retake", note="too fast", by="you@here")
    say(path, "keep", at=NOW + 1)
    with Records.read(path) as ledger:
        (last,) = ledger.verdicts.of([HERO.external_task_id, "nobody"]).values()
        said = ledger.verdicts.history(HERO.external_task_id)
    assert (last.verdict, last.note, last.at) == ("keep", None, NOW + 1)
    assert [(one.verdict, one.note, one.by) for one in said] == [
        ("retake", "too fast", "you@here"),
        ("keep", None, None),
    ]


def test_a_verdict_that_was_taken_back_is_none(path: str) -> None:
    say(path, "retake")
    say(path, None)
    with Records.read(path) as ledger:
        assert ledger.verdicts.of([HERO.external_task_id]) == {}
        assert ledger.verdicts.marked() == []
        assert len(ledger.verdicts.history(HERO.external_task_id)) == 2


@pytest.mark.parametrize("name", ["nobody", row("other").external_task_id])
def test_only_a_clip_that_is_there_is_judged_and_one_wrong_verdict_writes_none(path: str, name: str) -> None:
    with Ledger.open(path, origin=ORIGIN) as ledger:
        asyncio.run(to(ledger, row("other"), State.SUBMITTED))
    with pytest.raises(LedgerError, match="nothing was written"):
        verdicts.give(path, [Verdict(HERO.external_task_id, NOW, "keep"), Verdict(name, NOW, "keep")])
    with Records.read(path) as ledger:
        assert ledger.verdicts.of([HERO.external_task_id]) == {}


def test_marked_are_newest_clips_alone_whose_last_verdict_is_retake(path: str) -> None:
    old, kept, changed = row("old"), row("kept"), row("changed")
    clip(path, old, row("old", 2), kept, changed, row("changed", digest="e" * 64))
    for record in (HERO, old, kept, changed):
        say(path, "retake", record, note="again")
    say(path, "keep", kept)
    with Records.read(path) as ledger:
        assert [(one.external_task_id, one.note) for one in ledger.verdicts.marked()] == [
            (HERO.external_task_id, "again")
        ]


def test_history_of_opinions_can_only_grow(path: str) -> None:
    say(path, "keep")
    ordered(path)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("verdicts", "orders"):
            for statement in (f"UPDATE {table} SET at = 0", f"DELETE FROM {table}"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("INSERT INTO verdicts SELECT 1, id, 'now', 'keep', NULL, NULL FROM tasks", "at of"),
        ("INSERT INTO verdicts SELECT 1, id, 9e999, 'keep', NULL, NULL FROM tasks", "at of"),
        ("INSERT INTO verdicts SELECT 1, id, 1.0, 'perhaps', NULL, NULL FROM tasks", "verdict of"),
        ("INSERT INTO verdicts SELECT 1, id, 1.0, 'keep', x'80', NULL FROM tasks", "can't decode"),
        ("INSERT INTO orders VALUES (1, 'night', 'hero', 0, 1.0, 0, NULL, NULL)", "take of night/hero"),
        ("INSERT INTO orders VALUES (1, 'night', 'hero', 'two', 1.0, 0, NULL, NULL)", "take of night"),
        ("INSERT INTO orders VALUES (1, 'night', x'80', 2, 1.0, 0, NULL, NULL)", "can't decode"),
        ("INSERT INTO orders VALUES (1, 'night', 'hero', 2, 'now', 0, NULL, NULL)", "at of night"),
    ],
)
def test_cells_that_no_batchgen_writes_are_one_clear_error(path: str, statement: str, words: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (verdict IN', 'CHECK (1 OR verdict IN')"
            " WHERE name = 'verdicts'"
        )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    with Records.read(path) as ledger, pytest.raises(LedgerError, match=words) as caught:
        ledger.verdicts.of([HERO.external_task_id])
        ledger.orders.standing()
    assert "damaged" in str(caught.value)


# -- orders -----------------------------------------------------------------------------------------------------------


def test_an_order_is_for_the_take_after_the_highest_and_says_what_it_follows(path: str) -> None:
    (placed,) = ordered(path, note="slower")
    assert placed.order == Order("night", "hero", 2, NOW, "slower", "you@here")
    assert placed.last is not None and placed.last.external_task_id == HERO.external_task_id
    assert takes(path) == [("hero", 2, False)]


def test_what_is_ordered_is_ordered_once_unless_asked_for_again(path: str) -> None:
    ordered(path)
    (twice,) = ordered(path)
    assert (twice.order, twice.why, twice.again) == (None, "take 2 is ordered already", True)
    (again,) = ordered(path, again=True)
    assert again.order is not None and again.order.take == 3
    assert takes(path) == [("hero", 2, False), ("hero", 3, False)]


@pytest.mark.parametrize(
    "states",
    [
        (),
        (State.UNKNOWN,),
        (State.SUBMITTED,),
        (State.SUBMITTED, State.SUCCEEDED),
        (State.PENDING,),
        (State.SUBMITTED, State.FAILED),
        (State.REJECTED,),
    ],
)
def test_a_take_without_a_clip_gets_another_only_where_that_is_asked_for(
    path: str, states: tuple[State, ...]
) -> None:
    with Ledger.open(path, origin=ORIGIN) as ledger:
        asyncio.run(to(ledger, SECOND, *states))
        (refused,) = ordered(path)
        assert refused.order is None and refused.again
        assert refused.why == f"take 2 is {states[-1] if states else 'submitting'}, and has no clip yet"
        (placed,) = ordered(path, again=True)
        assert placed.order is not None and placed.order.take == 3


def test_a_job_with_an_id_of_its_own_or_without_a_task_gets_no_take(path: str) -> None:
    given = row("given")._replace(external_task_id="my-id", base_id="my-id")
    clip(path, given)
    own, none = ordered(path, "given", "nobody", again=True)
    assert (own.order, none.order) == (None, None)
    assert "external_task_id my-id" in own.why and "has no task of it" in none.why
    assert takes(path) == []


def test_a_job_that_an_older_version_recorded_with_split_accents_has_its_takes_counted(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "ledger.db")
    clip(path, row("cafe\u0301"), row("cafe\u0301", 2))
    (placed,) = ordered(path, "caf\u00e9")
    assert placed.order is not None and (placed.order.job_id, placed.order.take) == ("caf\u00e9", 3)


def test_takes_end_where_the_schema_says(path: str) -> None:
    clip(path, row(take=limits.TAKE))
    (placed,) = ordered(path)
    assert placed.order is None and "are the most" in placed.why


def test_an_order_can_be_withdrawn_until_it_is_begun_and_its_number_is_free_again(path: str) -> None:
    (placed,) = ordered(path)
    assert placed.order is not None
    assert orders.withdraw(path, [placed.order], at=NOW, by="you@here") == [placed.order]
    assert orders.withdraw(path, [placed.order], at=NOW, by="you@here") == []  # it stands no more
    assert takes(path) == []
    (again,) = ordered(path)
    assert again.order is not None and again.order.take == 2
    with Ledger.open(path, origin=ORIGIN) as ledger:
        asyncio.run(ledger.begin(SECOND, ordered=True))
        assert orders.withdraw(path, [again.order], at=NOW, by=None) == []
        assert [gone for _, gone in ledger.orders.history("night", "hero")] == [False, True, False]
    assert takes(path) == [("hero", 2, True)]


def test_a_run_that_planned_an_order_creates_nothing_of_it_once_it_is_withdrawn(path: str) -> None:
    (placed,) = ordered(path)
    assert placed.order is not None
    with Ledger.open(path, origin=ORIGIN) as ledger:
        orders.withdraw(path, [placed.order], at=NOW, by=None)
        with pytest.raises(OrderWithdrawn, match="withdrawn meanwhile"):
            asyncio.run(ledger.begin(SECOND, ordered=True))
        assert ledger.record(SECOND.external_task_id) is None
        assert asyncio.run(ledger.begin(SECOND)).state is State.SUBMITTING  # the manifest says so itself


def test_an_order_that_was_begun_and_not_sent_begins_again_whatever_is_said_of_it(path: str) -> None:
    (placed,) = ordered(path)
    assert placed.order is not None
    with Ledger.open(path, origin=ORIGIN) as ledger:
        asyncio.run(to(ledger, SECOND, State.PENDING))
        assert orders.withdraw(path, [placed.order], at=NOW, by=None) == []
        assert asyncio.run(ledger.begin(SECOND, ordered=True)).state is State.SUBMITTING


# -- beside a run -----------------------------------------------------------------------------------------------------


def script(source: str, *arguments: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(PREAMBLE) + textwrap.dedent(source)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )


PREAMBLE = """
    import asyncio, itertools, sys
    from tests.machine.test_orders import *
    path = sys.argv[1]
"""


def test_orders_and_verdicts_come_in_while_a_run_writes_and_neither_loses_any(path: str) -> None:
    """Two processes order and judge as fast as they can; a run's commits go on between."""
    source = """
        for number in range(20):
            say(path, "keep", note=str(number))
            assert ordered(path, again=True)[0].order is not None
    """

    async def run(ledger: Ledger, others: list[subprocess.Popen[str]]) -> int:
        for number in range(100_000):
            await asyncio.gather(*(ledger.begin(row(f"{number}-{one}")) for one in range(5)))
            if all(other.poll() is not None for other in others):
                return number + 1
        raise AssertionError("they never ended")

    with Ledger.open(path, origin=ORIGIN) as ledger:
        with ExitStack() as stack:
            others = [stack.enter_context(script(source, path)) for _ in range(2)]
            written = asyncio.run(run(ledger, others))
        assert [other.returncode for other in others] == [0, 0]
        assert sum(ledger.counts().values()) == 1 + 5 * written
        assert [one.take for one in ledger.orders.standing()] == [*range(2, 42)]
        assert len(ledger.verdicts.history(HERO.external_task_id)) == 40
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_what_was_acknowledged_of_opinions_survives_a_kill(path: str) -> None:
    source = """
        for number in itertools.count():
            say(path, "retake", note=str(number))
            order = ordered(path, again=True)[0].order
            print(number, order.take, flush=True)
    """
    with Ledger.open(path, origin=ORIGIN) as ledger, script(source, path) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        lines += [line for line in process.stdout.readlines() if line.endswith("\n")]
        process.wait()
        notes = [one.note for one in ledger.verdicts.history(HERO.external_task_id)]
        told = [int(line.split()[1]) for line in lines]
        standing = [one.take for one in ledger.orders.standing()]
        assert notes[: len(lines)] == [str(number) for number in range(len(lines))]
        assert standing[: len(told)] == told == [*range(2, len(told) + 2)]
        assert max(len(notes), len(standing)) <= len(lines) + 1
        asyncio.run(ledger.begin(row("later")))  # the run goes on


def test_one_that_is_killed_in_its_transaction_leaves_nothing_and_holds_nothing(path: str) -> None:
    source = """
        with beside.transaction(path) as connection:
            connection.execute("INSERT INTO verdicts (task, at, verdict) VALUES (1, 1.0, 'keep')")
            print("in", flush=True)
            sys.stdin.read()
    """
    with Ledger.open(path, origin=ORIGIN) as ledger, script(source, path) as process:
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        asyncio.run(ledger.begin(row("later")))
        assert ledger.verdicts.history(HERO.external_task_id) == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "WAIT_SECONDS", 0)


@pytest.mark.usefixtures("impatient")
def test_a_ledger_that_somebody_else_holds_takes_nothing_and_says_so(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerBusy, match="nothing was written"):
            say(path, "keep")
        other.execute("ROLLBACK")
    say(path, "keep")


def test_an_older_ledger_is_not_migrated_beside_a_run(path: str, tmp_path: Path) -> None:
    old = str(tmp_path / "old.db")
    with Ledger.open(old, origin=ORIGIN, migrations=database.MIGRATIONS[:3]):
        with pytest.raises(LedgerOutdated):
            say(old, "keep")
        with pytest.raises(LedgerBusy, match="older batchgen"):
            Records.read(old)
    Records.read(old).close()
    assert ordered(old)[0].order is None  # it has no such job, and is of the present version


def test_no_ledger_is_made_by_judging(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        say(str(tmp_path / "none.db"), "keep")
    assert os.listdir(tmp_path) == []


def test_a_verdict_that_comes_while_the_file_is_compacted_is_no_damage(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written as soon as the first count of the rows is over."""
    count = upkeep._checked
    done = threading.Event()

    def counted(connection: sqlite3.Connection, path: str) -> list[int]:
        rows = count(connection, path)
        if not done.is_set():
            say(path, "keep")
            done.set()
        return rows

    monkeypatch.setattr(upkeep, "_checked", counted)
    upkeep.compact(path, temporary=str(tmp_path))
    assert done.is_set()
    with Records.read(path) as ledger:
        assert len(ledger.verdicts.history(HERO.external_task_id)) == 1


# -- a run that creates what was ordered ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["stall_before", "stall_after"])
def test_a_kill_while_an_ordered_take_is_created_makes_it_once(tmp_path: Path, fault: str) -> None:
    """The create is out, and no answer came: nothing was made of it, or the task."""
    desk = Desk(tmp_path)
    quick = ("--poll-interval", "0.05", "--timeout", "1", "--settle", "0.5")
    job = {"id": "tote", "model_name": "kling-v3", "image": "https://example.com/1.png", "prompt": "x"}
    desk.write("m.yaml", json.dumps({"version": 1, "jobs": [job]}))
    with sandbox(tmp_path, "--task-seconds", "0", "--fault", f"{fault}@2") as server:
        desk.against(server)
        assert desk.run("run", *quick, "m.yaml").code == 0
        assert desk.run("retake", "tote").code == 0
        process = desk.start("run", *quick, "m.yaml")
        until(lambda: [row["state"] for row in desk.export() if row["take"] == 2] == ["submitting"])
        until(lambda: sum(entry.kind == "create" for entry in server.entries()) >= 1)
        assert desk.run("retake", "--withdraw", "tote").code == 2  # it may be paid
        process.kill()
        process.communicate()
        server.ask("release", {})
        assert desk.run("run", *quick, "m.yaml").code == 0
        assert desk.run("run", *quick, "m.yaml").code == 0
        assert [(row["take"], row["state"]) for row in desk.export()] == [
            (1, "downloaded"),
            (2, "downloaded"),
        ]
        assert len(server.accepted()) == 2 and server.summary()["twice"] == []
