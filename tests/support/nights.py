"""Nights in virtual time: real runs against a real sandbox in one process, hours of them in a second.

Runner, ledger, client and sandbox are the program's own, and talk over the loopback; see :mod:`tests.support.virtual_time`.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from batchgen.errors import BatchgenError
from batchgen.ledger.reader import Records
from batchgen.ledger.writer import Ledger
from batchgen.models import HistoryEntry, Record, State
from batchgen.run import events, loading
from batchgen.run.clock import Clock
from batchgen.run.hints import Hints
from batchgen.run.options import RunOptions
from batchgen.run.session import Account, Session
from batchgen.run.tally import Tally
from batchgen.sandbox import faults
from batchgen.sandbox.config import Config
from batchgen.sandbox.journal import Entry
from batchgen.sandbox.server import Sandbox
from tests.support import virtual_time
from tests.support.evidence import Evidence, Verdict
from tests.support.program import KEY
from tests.support.virtual_time import Loop

T = TypeVar("T")

JOB = {"image": "https://example.com/a.png", "model_name": "kling-v3"}


@dataclass(frozen=True)
class Ran:
    """How one run ended. ``began`` and ``ended`` are in seconds of virtual time."""

    tally: Tally
    stops: Sequence[BatchgenError]
    code: int
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def kinds(self) -> list[str]:
        """The stops' kinds, each once."""
        return sorted({stop.kind for stop in self.stops})

    @property
    def words(self) -> str:
        """What a person reads of its jobs."""
        return "\n".join(ending.text for ending in self.tally.endings)


class Night:
    """An account, and a folder with a manifest and its ledger, in which runs follow one another."""

    def __init__(self, loop: Loop, sandbox: Sandbox, folder: Path, seed: int) -> None:
        self.loop, self.sandbox, self.folder = loop, sandbox, folder
        self.rng = random.Random(seed)
        self.heard: list[events.Event] = []  # of all runs
        self.ledger = folder / "ledger.db"
        self._evidence = Evidence(self.ledger, folder / "clips")
        self._evidence.journal = Path(sandbox.config.journal) if sandbox.config.journal else None

    def write(self, jobs: int | Sequence[dict[str, Any]]) -> None:
        """The manifest: so many jobs, or these."""
        listed = [{"prompt": f"x {n}"} for n in range(jobs)] if isinstance(jobs, int) else jobs
        numbered = [{"id": f"j{n}", **JOB, **job} for n, job in enumerate(listed)]
        manifest = {"version": 1, "name": "m", "output_dir": str(self.folder / "clips"), "jobs": numbered}
        (self.folder / "m.yaml").write_text(json.dumps(manifest))

    async def run(
        self,
        *,
        collect: bool = False,
        until: float | None = None,
        deadline: float | None = None,
        hints: Hints | None = None,
        **options: Any,
    ) -> Ran:
        """One run of the manifest, or a collect. ``until`` and ``deadline`` in seconds from its beginning."""
        loop, begun = self.loop, self.loop.time()
        moments = {"deadline": deadline, "until": until}
        named: dict[str, Any] = {
            name: loop.now() + after for name, after in moments.items() if after is not None
        }
        given = RunOptions(**named, **options)
        origin = self.sandbox.base_url
        with Ledger.open(str(self.ledger), origin=origin, clock=loop.now) as ledger:
            told = events.Events(loop.now, self.heard.append)
            session = Session(ledger, Account(origin, KEY), given, Clock(loop.now, self.rng), told)
            if hints is not None:
                session.hints = hints
            loaded = None if collect else loading.load([str(self.folder / "m.yaml")], now=loop.now())
            assert loaded is None or not loaded.problems, loaded.problems
            if await session.prepare(loaded):
                await session.work()
            ended = await session.conclude()
        if self._evidence.journal is not None:
            self._evidence.look("after a run")
        jobs, others, tasks = (Counter(found) for found in (ended.jobs, ended.others, ended.tasks))
        tally = Tally(jobs, others, list(ended.endings), tasks, ended.failed_tasks)
        return Ran(tally, ended.stops, ended.exit_code, begun, loop.time())

    # -- what came of it

    @property
    def entries(self) -> list[Entry]:
        """Everything that reached the account."""
        return self.sandbox.journal.entries

    @property
    def creates(self) -> list[Entry]:
        return self.sandbox.journal.of("create")

    def rows(self) -> list[Record]:
        with Records.read(str(self.ledger)) as ledger:
            return sorted(ledger.records())

    def events(self, row: Record) -> list[HistoryEntry]:
        with Records.read(str(self.ledger)) as ledger:
            return ledger.events(row.external_task_id)

    def states(self) -> dict[State, int]:
        """How many rows are in which state."""
        return Counter(row.state for row in self.rows())

    def verdict(self, jobs: int) -> Verdict:
        """What journal, ledger and disk say together, once every job is done."""
        export = [row._asdict() | {"state": row.state.value} for row in self.rows()]
        return self._evidence.conclude(export, {f"j{n}" for n in range(jobs)}, lookups=True)

    def idle(self, slots: int) -> float:
        """The share of the slots that nothing ran in, from the first create on until the last job had its first turn."""
        first: dict[str, float] = {}
        for entry in self.creates:
            first.setdefault((entry.external_task_id or "").partition("~")[0], entry.at)
        begun, ended = min(first.values()), max(first.values())
        account = self.sandbox.account
        busy = sum(
            max(min(task.ends - account.started, ended) - (task.started - account.started), 0.0)
            for task in account.tasks
        )
        return 1 - busy / (slots * (ended - begun))


def play(
    scene: Callable[[Night], Awaitable[T]],
    jobs: int | Sequence[dict[str, Any]] = 1,
    *rules: str,
    seed: int = 1,
    **config: Any,
) -> T:
    """Play ``scene`` against a sandbox with these faults; ``config`` is its :class:`Config`."""
    # On a disk, a night is as long as its thousands of fsyncs.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="night-", dir=memory) as name:
        folder = Path(name)

        async def main(loop: Loop) -> T:
            given: dict[str, Any] = {"journal": folder / "journal", **config}
            told = Config(seed=seed, faults=tuple(map(faults.parse, rules)), **given)
            async with Sandbox(told, loop.time, loop.now) as sandbox:
                night = Night(loop, sandbox, folder, seed)
                night.write(jobs)
                return await scene(night)

        return virtual_time.run(main)
