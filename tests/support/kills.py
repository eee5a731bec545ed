"""SIGKILL at random moments and at named points of a job's lifecycle, which are all reached from outside.

The program is not touched: the sandbox stalls, the journal and the ledger are watched, and where the program must
be caught between an answer and its record, another connection holds the ledger's write lock, as a backup would.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from batchgen.ledger.reader import Records
from batchgen.models import State
from batchgen.sandbox.faults import FAULTS, HOSTS, Moment
from batchgen.sandbox.hosts import SIGNED_FOR
from batchgen.sandbox.journal import Entry
from tests.support.evidence import Evidence
from tests.support.pictures import make_png
from tests.support.program import KEY, Desk, Result, Server, until

PACE = ("--timeout", "1", "--settle", "1", "--poll-interval", "0.05")
RETRY = ("--retry-wait", "0.1")
LARGE = 9_000_000  # bytes of an image whose body no socket's buffers hold
PATIENCE = 15.0  # seconds in which a point is reached or given up
LONGEST = 4.0  # seconds that a run lives that is killed at random
UNSTRUCK = {Moment.CALLED}  # no job asks for callbacks


class NotReached(Exception):
    """The program ended, or went on, without reaching the point."""


class Stage:
    """One scenario's program, server and witness; jobs are added as they are needed."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        # What never ends must not fill the disk: 64 MiB and no file grows further.
        limited = ("/bin/sh", "-c", 'ulimit -f 131072 && exec "$0" "$@"', sys.executable, "-m", "batchgen")
        self.desk = Desk(folder, program=limited)
        self.rng = rng
        self.jobs: list[dict[str, Any]] = []
        self.kills = self.runs = 0
        self.points: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.ledger = folder / "ledger.db"
        self.evidence = Evidence(self.ledger, folder / "clips")
        self.desk.env |= {"BATCHGEN_LEDGER": str(self.ledger), "POWERTOKENS_API_KEY": KEY}
        self.server: Server

    def serve(self, server: Server) -> None:
        """Use this server and its journal from now on."""
        self.server, self.evidence.journal = server, server.journal
        self.desk.against(server)

    def mode(self, number: int) -> str:
        """The mode of the job of this number, and so its price."""
        return "pro" if number % 4 == 1 else "std"

    def add_jobs(self, count: int, *, large: bool = False) -> str:
        """Put new jobs before all others, one in three with a local image. Returns the first one's id."""
        new: list[dict[str, Any]] = []
        for number in range(len(self.jobs), len(self.jobs) + count):
            job: dict[str, Any] = {
                "id": f"j{number}",
                "prompt": f"Clip {number}",
                "image": f"https://example.com/{number}.png",
            }
            if (mode := self.mode(number)) != "std":
                job["mode"] = mode
            if number % 5 == 4:
                job["watermark_info"] = {"enabled": True}
            if large or number % 3 == 0:
                job["image"] = f"images/{number}.png"
                self.desk.write(job["image"], padded_png(number, LARGE if large else 0))
            new.append(job)
        self.jobs[:0] = new
        manifest = {
            "version": 1,
            "name": "m",
            "output_dir": "clips",
            "defaults": {"model_name": "kling-v3"},
            "jobs": self.jobs,
        }
        self.desk.write("m.yaml", json.dumps(manifest))
        return str(new[0]["id"])

    def start(self, *options: str) -> subprocess.Popen[str]:
        self.runs += 1
        return self.desk.start("run", *PACE, *RETRY, "--log-file", "run.log", *options, "m.yaml")

    def kill(self, program: subprocess.Popen[str]) -> None:
        """Kill the program. One that has ended by itself must have had a reason."""
        assert program.stdout is not None
        if program.stdout.closed:  # was killed before
            return
        self.kills += program.poll() is None
        program.kill()
        _, err = program.communicate()
        if (
            "Traceback" in err
            or "please report" in err
            or program.returncode not in (-signal.SIGKILL, 0, 1, 3, 4, 5)
        ):
            self.evidence.verdict.violations.append(f"a run ended with {program.returncode}: {err[-2000:]}")

    def run(self, command: str, *options: str) -> Result:
        """A run to its end, without faults unless the server has some."""
        self.runs += 1
        retry = RETRY if command == "run" else ()
        return self.desk.run(command, *PACE, *retry, "--log-file", "run.log", *options)

    def state_of(self, job: str) -> State | None:
        """The state of the job's newest row."""
        return {row.job_id: row.state for row in self.evidence.rows().values()}.get(job)

    def events_of(self, job: str) -> list[str]:
        """The events of the job so far."""
        events = self.evidence.events()
        return [
            event.event for name, history in events.items() if name.split(".")[1] == job for event in history
        ]

    def lines(self) -> int:
        """How long the ledger's history is."""
        return sum(map(len, self.evidence.events().values()))

    def calm(self) -> None:
        """No more faults, and no task that runs for ever."""
        self.server.ask("faults", {"clear": True})
        self.server.ask("finish", {})

    def fault(self, *rules: str) -> None:
        self.server.ask("faults", {"clear": True, "add": rules})

    @contextlib.contextmanager
    def running(self, *options: str) -> Iterator[Running]:
        """A run that is killed where the block ends."""
        program = self.start("--max-jobs", "1", *options)
        try:
            yield Running(self, program, len(self.evidence.catch_up()))
        finally:
            self.kill(program)

    @contextlib.contextmanager
    def locked_ledger(self) -> Iterator[None]:
        """Lock the ledger's file inside of this; the program waits a few seconds before it gives up."""
        with contextlib.closing(sqlite3.connect(self.ledger, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield


class Running:
    """A running program; ``news`` are the server's entries since its start."""

    def __init__(self, stage: Stage, program: subprocess.Popen[str], seen: int) -> None:
        self.stage, self.program, self._seen = stage, program, seen

    def news(self) -> list[Entry]:
        return self.stage.evidence.catch_up()[self._seen :]

    def until(self, condition: Callable[[], bool], *, pause: float = 0.002) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if self.program.poll() is not None or time.monotonic() > end:
                raise NotReached
            time.sleep(pause)

    def creates(self) -> int:
        return sum(entry.kind == "create" for entry in self.news())

    def struck(self, fault: str) -> bool:
        return any(entry.fault == fault for entry in self.news())

    def watch(self, seconds: float, wrong: Callable[[], bool]) -> None:
        """Wait long enough for a program that breaks a rule to break it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not wrong():
            time.sleep(0.01)


# -- the points, in the order of a job's life ----------------------------------------------------------------


def before_the_intent_is_durable(stage: Stage) -> None:
    """At a create whose intent can't be written (again, after a 1303)."""
    job = stage.add_jobs(1)
    stage.fault("slots_full@1")
    with stage.running() as run:
        run.until(lambda: run.struck("slots_full") and stage.state_of(job) is State.PENDING)
        with stage.locked_ledger():
            run.watch(1.7, lambda: run.creates() > 1)
            stage.kill(run.program)
        if run.creates() > 1:
            stage.evidence.verdict.violations.append(
                "rule 1: a create went out while no intent could be written"
            )


def after_the_intent_before_the_first_byte(stage: Stage) -> None:
    stage.add_jobs(1, large=True)
    with stage.running() as run, Records.read(str(stage.ledger)) as ledger:
        run.until(lambda: ledger.counts()[State.SUBMITTING] > 0, pause=0)
        stage.kill(run.program)
    if run.creates():
        raise NotReached


def in_the_middle_of_the_body(stage: Stage) -> None:
    stage.add_jobs(1, large=True)
    stage.fault("stall_early@1")
    with stage.running() as run:
        run.until(lambda: run.struck("stall_early"))


def body_out_and_not_read(stage: Stage) -> None:
    """The whole request lies in the server's kernel when the program dies; the task is made after that."""
    job = stage.add_jobs(1)
    stage.fault("slots_full@1")  # the second try asks the server for nothing before it
    with stage.running() as run:
        run.until(lambda: run.struck("slots_full") and stage.state_of(job) is State.PENDING)
        with stage.server.frozen():
            run.until(lambda: stage.state_of(job) is State.SUBMITTING)
            run.watch(stage.rng.uniform(0.05, 0.3), lambda: False)
            stage.kill(run.program)
    stage.calm()
    if not any(entry.accepted for entry in run.news()):
        raise NotReached


def body_out_and_nothing_made(stage: Stage) -> None:
    stage.add_jobs(1)
    stage.fault("stall_before@1")
    with stage.running() as run:
        run.until(lambda: run.struck("stall_before"))


def made_and_not_answered(stage: Stage) -> None:
    stage.add_jobs(1)
    stage.fault("stall_after@1")
    with stage.running() as run:
        run.until(lambda: run.struck("stall_after"))


def answered_and_not_recorded(stage: Stage) -> None:
    job = stage.add_jobs(1)
    stage.fault("stall_after@1")
    with stage.running() as run:
        run.until(lambda: run.struck("stall_after"))
        with stage.locked_ledger():
            stage.server.ask("release", {})
            run.watch(stage.rng.uniform(0.2, 0.5), lambda: any(entry.kind == "query" for entry in run.news()))
            stage.kill(run.program)
    if stage.state_of(job) is not State.SUBMITTING:
        raise NotReached


def task_id_recorded(stage: Stage) -> None:
    job = stage.add_jobs(1)
    stage.fault("task_never_ends@1")
    with stage.running("--poll-interval", "30") as run:
        run.until(lambda: stage.state_of(job) is State.SUBMITTED)


def while_polling(stage: Stage) -> None:
    stage.add_jobs(1)
    stage.fault("task_never_ends@1", "query_stall@1")
    with stage.running() as run:
        run.until(lambda: run.struck("query_stall"))


def in_the_middle_of_the_clip(stage: Stage) -> None:
    stage.add_jobs(1)
    stage.fault("video_stall@1")
    with stage.running() as run:
        run.until(lambda: run.struck("video_stall"))
        run.until(lambda: any(stage.evidence.clips.rglob("*.part")))


def between_two_files_of_a_clip(stage: Stage) -> None:
    """One file has its name, the other is being downloaded, and neither is recorded."""
    job = stage.add_jobs(1)
    stage.fault("clip_several@1", "video_stall@2")
    with stage.running() as run:
        run.until(lambda: run.struck("video_stall"))
        run.until(lambda: any(path.stem == job for path in stage.evidence.clips.rglob("*.mp4")))


def before_its_address_expires(stage: Stage) -> None:
    """The address in the ledger has expired when the next run finds it."""
    stage.add_jobs(1)
    stage.fault("clip_signed@1", "video_stall@1")
    with stage.running() as run:
        run.until(lambda: run.struck("video_stall"))
        stage.kill(run.program)
        time.sleep(SIGNED_FOR)


def renamed_and_not_recorded(stage: Stage) -> None:
    """The clip has its name and the ledger can't say so. A first fetch fails, to have the time to lock the ledger."""
    job = stage.add_jobs(1)
    stage.fault("video_500@1")
    with stage.running() as run:
        run.until(lambda: "download_failed" in stage.events_of(job))
        with stage.locked_ledger():
            run.until(lambda: any(path.stem == job for path in stage.evidence.clips.rglob("*.mp4")))
            stage.kill(run.program)
    if stage.state_of(job) is not State.SUCCEEDED:
        raise NotReached


POINTS: tuple[Callable[[Stage], None], ...] = (
    before_the_intent_is_durable,
    after_the_intent_before_the_first_byte,
    in_the_middle_of_the_body,
    body_out_and_not_read,
    body_out_and_nothing_made,
    made_and_not_answered,
    answered_and_not_recorded,
    task_id_recorded,
    while_polling,
    in_the_middle_of_the_clip,
    between_two_files_of_a_clip,
    before_its_address_expires,
    renamed_and_not_recorded,
)


def kill_at(stage: Stage, point: Callable[[Stage], None], *, lookups: bool) -> bool:
    """Bring the program to a point, kill it there, and let `collect` take up what is open. Returns whether it got there."""
    missed = stage.missed[point.__name__]
    try:
        point(stage)
        stage.points[point.__name__] += 1
    except NotReached:
        stage.missed[point.__name__] += 1
    stage.calm()
    stage.evidence.look(point.__name__)
    collected = stage.run("collect")
    if collected.code not in (
        (0, 4) if lookups else (0, 4, 5)
    ):  # 4: it was never created, which collect leaves be
        stage.evidence.verdict.violations.append(
            f"after {point.__name__}: collect said {collected.code}: {collected.err}"
        )
    stage.evidence.look(f"{point.__name__} and collect")
    return stage.missed[point.__name__] == missed


def kill_the_first_creates(stage: Stage) -> None:
    """On an empty ledger: no task is known that lookups could be proven by."""
    stage.fault("stall_before=1")
    program = stage.start("--concurrency", "8")
    until(lambda: any(entry.kind == "create" for entry in stage.evidence.catch_up()))
    stage.kill(program)
    if State.SUBMITTING not in {row.state for row in stage.evidence.rows().values()}:
        stage.evidence.verdict.violations.append("rule 1: no intent is on disk while a create is on its way")
    stage.points[kill_the_first_creates.__name__] += 1
    stage.calm()


def kill_at_random(stage: Stage) -> None:
    """Kill a run after some time, or after some progress as the server or the ledger shows it."""
    rng, evidence = stage.rng, stage.evidence

    def requests(kinds: tuple[str, ...]) -> int:
        return sum(entry.kind in kinds for entry in evidence.catch_up())

    measure = rng.choice(
        (
            time.monotonic,
            stage.lines,
            lambda: requests(("create",)),
            lambda: requests(("create", "query", "video")),
            lambda: requests(("video", "elsewhere")),
        )
    )
    enough = measure() + (rng.uniform(0.05, 0.9) if measure is time.monotonic else rng.randint(1, 12))
    again = ("--retry-failed",) if rng.random() < 0.3 else ()
    program = stage.start("--concurrency", str(rng.choice((1, 3, 8))), *again)
    end = time.monotonic() + LONGEST
    while program.poll() is None and measure() < enough and time.monotonic() < end:
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 0.02))
    stage.kill(program)
    evidence.look(f"run {stage.runs}")
    if program.returncode in (0, 1, 5):  # it has no more to do
        stage.add_jobs(6)


def mixed_faults(probability: float) -> list[str]:
    """Every fault there is, each with this probability."""
    return [f"{fault.name}={probability}" for fault in FAULTS.values() if fault.moment not in UNSTRUCK]


def clip_hosts(probability: float) -> list[str]:
    """Every kind of host that a clip can have, each with this probability."""
    return [f"{name}={probability}" for name in HOSTS]


def padded_png(seed: int, size: int) -> bytes:
    """A small picture in a file of at least ``size`` bytes: the rest is a chunk that no reader looks at."""
    picture = make_png(seed=seed)
    if not size:
        return picture
    data = random.Random(seed).randbytes(size)
    chunk = struct.pack(">I", size) + b"paDd" + data + struct.pack(">I", zlib.crc32(b"paDd" + data))
    return picture[:-12] + chunk + picture[-12:]
