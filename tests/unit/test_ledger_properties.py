"""Whatever is asked of the ledger, in whatever order: it agrees with a model of its rules."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import sqlite3
import tempfile
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from batchgen.errors import TransitionError
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Record, State

ORIGIN = "https://api.example"

# The rules, written down a second time, from the API's facts and what is promised rather than from the code.
MAY_FOLLOW = {
    "pending": "rejected submitted",
    "submitting": "submitted rejected unknown pending",
    "unknown": "submitted pending rejected",
    "submitted": "submitted succeeded failed downloaded",
    "succeeded": "succeeded downloaded failed",
    "rejected": "pending submitted rejected",
    "failed": "failed",
    "downloaded": "downloaded succeeded",
}
MAY_BEGIN = {"pending", "rejected"}
BLOCKS_CREATES = {"submitting", "unknown", "submitted", "succeeded", "downloaded"}

NAMES = ["a", "A", "\u00e9", "e\u0301"]
ESTIMATES = {"d": 560_000, "e": 840_000}
CHARGED = {"succeeded": 700_000, "failed": 0}
IDS = [(base, base if number == 1 else f"{base}~{number}") for base in NAMES for number in (1, 2, 3)]


@dataclass
class Row:
    base: str
    digest: str
    state: str
    attempt: int
    task: str | None = None
    charged: int | None = None
    history: list[tuple[str | None, str]] = field(default_factory=list)


class LedgerAgainstModel(RuleBasedStateMachine):
    """Batches of requests go to the ledger at once; each result must be the model's."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "ledger.db")
        self.now = 1_700_000_000.0
        self.ledger = self.opened()
        self.loop = asyncio.new_event_loop()
        self.rows: dict[str, Row] = {}

    def opened(self) -> Ledger:
        return Ledger.open(self.path, origin=ORIGIN, clock=lambda: self.now)

    @rule(target=requests, name=st.sampled_from(IDS), digest=st.sampled_from("de"))
    def want_begin(self, name: tuple[str, str], digest: str) -> tuple[str, tuple[str, str], Any]:
        return ("begin", name, digest)

    @rule(target=requests, name=st.sampled_from(IDS), to=st.sampled_from(State))
    def want_change(self, name: tuple[str, str], to: State) -> tuple[str, tuple[str, str], Any]:
        return ("apply", name, to)

    @rule(target=requests, name=st.sampled_from(IDS), to=st.sampled_from(State))
    def want_adoption(self, name: tuple[str, str], to: State) -> tuple[str, tuple[str, str], Any]:
        return ("adopt", name, to)

    @rule(batch=st.lists(consumes(requests), min_size=1, max_size=8))
    def at_once(self, batch: list[tuple[str, tuple[str, str], Any]]) -> None:
        async def all_of_them() -> list[Record | BaseException]:
            return await asyncio.gather(*(self.ask(*one) for one in batch), return_exceptions=True)

        for (kind, (base, name), what), result in zip(
            batch, self.loop.run_until_complete(all_of_them()), strict=True
        ):
            expected = getattr(self, f"model_{kind}")(base, name, what)
            if expected:
                assert isinstance(result, Record), (kind, name, what, result)
                assert result.state == self.rows[name].state
            else:
                assert isinstance(result, TransitionError), (kind, name, what, result)

    @rule(seconds=st.floats(-1e6, 1e6))
    def the_clock_jumps(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_new_run(self) -> None:
        self.ledger.close()
        self.ledger = self.opened()

    async def ask(self, kind: str, name: tuple[str, str], what: Any) -> Record:
        if kind == "begin":
            return await self.ledger.begin(self.proposal(name, what))
        of_states: dict[State, dict[str, Any]] = {
            State.SUBMITTED: {"task_id": f"task of {name[1]}"},
            State.SUCCEEDED: {
                "task_id": f"task of {name[1]}",
                "video_url": "https://cdn.example/1",
                "charged": CHARGED["succeeded"],
            },
            State.FAILED: {"task_id": f"task of {name[1]}", "charged": CHARGED["failed"]},
            State.DOWNLOADED: {"video_path": "/clips/x.mp4", "video_sha256": "f"},
        }
        values = of_states.get(what, {})
        change = Change(name[1], what, kind, values=values)
        if kind == "apply":
            return await self.ledger.apply(change)
        return await self.ledger.import_row(self.proposal(name, "d"), change)

    def proposal(self, name: tuple[str, str], digest: str) -> Record:
        base, full = name
        return Record(
            full,
            base,
            "night",
            base,
            1,
            digest,
            '{"mode":"pro","duration":"5"}',
            State.PENDING,
            f"/clips/{base}.mp4",
            estimate=ESTIMATES[digest],
        )

    def model_begin(self, base: str, name: str, digest: str) -> bool:
        row = self.rows.get(name)
        if row is not None and row.state not in MAY_BEGIN:
            return False
        for other, its in self.rows.items():
            if other != name and its.base == base and its.digest == digest and its.state in BLOCKS_CREATES:
                return False
        if row is None:
            row = self.rows[name] = Row(base, digest, "pending", 0, history=[(None, "pending")])
        row.history.append((row.state, "submitting"))
        row.digest, row.state, row.attempt, row.charged = digest, "submitting", row.attempt + 1, None
        return True

    def model_apply(self, base: str, name: str, to: State) -> bool:
        row = self.rows.get(name)
        if row is None or to not in MAY_FOLLOW[row.state].split():
            return False
        row.attempt -= row.state == "submitting" and to == "pending"
        row.history.append((row.state, to.value))
        row.state = to.value
        row.charged = CHARGED.get(to.value, row.charged)
        if to is State.SUBMITTED:
            row.task = f"task of {name}"
        return True

    def model_adopt(self, base: str, name: str, to: State) -> bool:
        row = self.rows.get(name)
        if to not in ("submitted", "succeeded", "failed"):
            return False
        if row is not None and row.state not in ("pending", "rejected", "submitting", "unknown"):
            return False
        before = row.state if row else None
        if row is None:
            row = self.rows[name] = Row(base, "d", "pending", 0)
        row.history.append((before, to.value))
        row.digest, row.state, row.attempt, row.task = "d", to.value, max(row.attempt, 1), f"task of {name}"
        row.charged = CHARGED.get(to.value, row.charged)
        return True

    @invariant()
    def rows_and_history_are_the_models(self) -> None:
        kept = {row.external_task_id: row for row in self.ledger.records()}
        assert kept.keys() == self.rows.keys()
        for name, row in self.rows.items():
            one = kept[name]
            assert (one.base_id, one.digest, one.state, one.attempt, one.task_id) == (
                row.base,
                row.digest,
                row.state,
                row.attempt,
                row.task,
            )
            history = self.ledger.events(name)
            assert [(event.from_state, event.to_state) for event in history] == row.history
        assert sum(self.ledger.counts().values()) == len(self.rows)

    @invariant()
    def the_money_that_is_spent_is_the_sum_of_the_rows(self) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            spent = dict(connection.execute("SELECT quarter, micros FROM spent WHERE micros <> 0").fetchall())
        by_quarter: collections.Counter[int | None] = collections.Counter()
        for one in self.ledger.records():
            row = self.rows[one.external_task_id]
            estimate = 0 if row.state in ("pending", "rejected") else ESTIMATES[row.digest]
            by_quarter[one.quarter] += estimate if row.charged is None else row.charged
        assert spent == {quarter: micros for quarter, micros in by_quarter.items() if micros}

    @invariant()
    def no_two_clips_share_a_file(self) -> None:
        held = [row.output_path for row in self.ledger.records() if row.state in BLOCKS_CREATES]
        assert len({unicodedata.normalize("NFC", path.casefold()) for path in held}) == len(held)

    def teardown(self) -> None:
        with contextlib.closing(self.loop):
            self.ledger.close()
        self.folder.cleanup()


LedgerAgainstModel.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLedgerAgainstModel = LedgerAgainstModel.TestCase
