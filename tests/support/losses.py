"""Ledgers that are lost or older, jobs that are renamed, clips that are moved or deleted, and kills between all of it.

What was paid is counted by content, since a renamed job has another id: nothing is paid for twice, each clip that was
paid is at home exactly once, and each job's plain name is its clip.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path

from tests.support.evidence import digests
from tests.support.kills import Stage, clip_hosts
from tests.support.stored import lose

RUNS = 6  # without kills, in which everything must come home
# Exit codes of a run. 1: a clip's host is late; 4 and 5: the ledger is new and misses tasks that the API has.
ENDS = (0, 1, 4, 5)


class Losses:
    """One studio: jobs by what they ask for, and the names that they have now."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.rng = stage, stage.rng
        self.names: dict[int, str] = {}  # content -> job id
        self.contents = 0
        self.older: Path | None = None
        self.accepting = False
        self.deleted = False  # a clip, which only the ledger tells of from then on until it is home again

    @property
    def clips(self) -> Path:
        return self.stage.evidence.clips

    @property
    def broken(self) -> list[str]:
        return self.stage.evidence.verdict.violations

    def play(self, cycles: int) -> None:
        """Play so many nights, each with a mishap, then check the result."""
        for cycle in range(cycles):
            self.add_jobs()
            self.accepting = cycle > 0 and self.rng.random() < 0.5
            if self.accepting:
                self.change_a_job()
            self.write()
            for _ in range(self.rng.randint(0, 2)):
                self.kill_a_run()
            if self.rng.random() < 0.3 and not self.deleted:
                self.lose_ledger()  # with tasks that run
                if self.rng.random() < 0.5:
                    self.stage.run("recover", "m.yaml")
            self.come_home(f"cycle {cycle}")
            self.deleted = False
            self.mishap()
        self.accepting = False
        self.come_home("in the end")

    def add_jobs(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            self.names[self.contents] = f"j{self.contents}"
            self.contents += 1

    def change_a_job(self) -> None:
        old = self.rng.choice(sorted(self.names))
        self.names[self.contents] = self.names.pop(old)
        self.contents += 1

    def write(self) -> None:
        jobs = [
            {"id": name, "prompt": f"Clip {content}", "image": f"https://example.com/{content}.png"}
            for content, name in self.names.items()
        ]
        self.rng.shuffle(jobs)
        manifest = {
            "version": 1,
            "name": "m",
            "output_dir": "clips",
            "defaults": {"model_name": "kling-v3"},
            "jobs": jobs,
        }
        self.stage.desk.write("m.yaml", json.dumps(manifest))

    @property
    def choices(self) -> tuple[str, ...]:
        return ("--accept-changes",) if self.accepting else ()

    def kill_a_run(self) -> None:
        program = self.stage.start(*self.choices)
        end = time.monotonic() + self.rng.uniform(0.3, 1.5)
        while program.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        self.stage.kill(program)

    def come_home(self, when: str) -> None:
        """Run until all is done, then look at the disk."""
        codes: list[int] = []
        while len(codes) < RUNS and codes[-1:] != [0]:
            ended = self.stage.run("run", *self.choices, "m.yaml")
            codes.append(ended.code)
            if ended.code == 5:
                self.stage.run("recover", "m.yaml")
        if codes[-1] != 0 or not set(codes) <= set(ENDS):
            self.broken.append(f"{when}: the runs ended with {codes}: {ended.err[-1500:]}")
        self.judge(when)

    def judge(self, when: str) -> None:
        made: dict[int, list[tuple[str, ...]]] = {}  # the digests of each task's files
        entries = self.stage.evidence.catch_up()
        for entry in entries:
            if entry.accepted:
                content = int(str(entry.fields["prompt"]).removeprefix("Clip "))
                made.setdefault(content, []).append(entry.clips)
        verdict = self.stage.evidence.verdict
        verdict.faults = Counter(entry.fault for entry in entries if entry.fault)
        verdict.accepts = sum(map(len, made.values()))
        verdict.duplicates = sum(len(tasks) - 1 for tasks in made.values())
        found = [
            f"content {content} was paid {len(tasks)} times"
            for content, tasks in made.items()
            if len(tasks) > 1
        ]
        here = digests(self.clips)
        files = Counter(here.values())
        for content, tasks in made.items():
            for number, file in enumerate(file for task in tasks for file in task):
                times = files[file]
                if not times or (times > 1 and not number):  # a further one that was moved comes again
                    found.append(f"content {content}: file {number} of its clip is there {times} times")
                    verdict.lost += not times
        for content, name in self.names.items():
            path = self.clips / "m" / f"{name}.mp4"
            wanted = {task[0] for task in made.get(content, ())}
            if here.get(path) not in wanted and not self.was_moved(wanted, here):
                found.append(f"{name}.mp4 is not the clip of content {content}")
                verdict.unresolved += 1
        self.broken.extend(f"{when}: {text}" for text in found)

    def was_moved(self, wanted: set[str], here: dict[Path, str]) -> bool:
        """Whether a person put the clip elsewhere, where it stays."""
        return any(path.parent.name == "best" and digest in wanted for path, digest in here.items())

    # -- what may happen between two nights, when everything is at home -----------------------------------------

    def mishap(self) -> None:
        lost = False
        if self.older is not None and self.rng.random() < 0.4:
            shutil.copy(self.older, self.stage.ledger)
            lost = True
        elif self.rng.random() < 0.5:
            self.lose_ledger()
            lost = True
        else:
            self.older = self.stage.desk.folder / "older.db"
            shutil.copy(self.stage.ledger, self.older)
        if self.rng.random() < 0.7:
            self.rename()
        self.harm(lost=lost)
        if self.rng.random() < 0.3:
            with (self.clips / "m/clips.jsonl").open("a") as file:
                file.write(
                    self.rng.choice(('{"version": 1, "file": "j0.mp4", "sha', "# mine\n", "\n\n", "\0"))
                )

    def lose_ledger(self) -> None:
        lose(self.stage.desk.folder / "ledger.db")

    def rename(self) -> None:
        """Give some jobs new names, or each other's."""
        some = self.rng.sample(sorted(self.names), k=self.rng.randint(1, min(3, len(self.names))))
        if self.rng.random() < 0.5 and len(some) > 1:
            names = [self.names[content] for content in some]
            for content, name in zip(some, names[1:] + names[:1], strict=True):
                self.names[content] = name
        else:
            for content in some:
                self.names[content] = f"r{self.rng.randrange(10**6)}-{content}"
        self.write()

    def harm(self, *, lost: bool) -> None:
        """Move a clip, or delete one, where the ledger still has its row."""
        files = sorted((self.clips / "m").glob("*.mp4"))
        if files and self.rng.random() < 0.4:
            (self.clips / "best").mkdir(exist_ok=True)
            moved = self.rng.choice(files)
            moved.rename(self.clips / "best" / f"{self.rng.randrange(10**6)}.mp4")
            files.remove(moved)
        if files and not lost and self.rng.random() < 0.4:
            self.rng.choice(files).unlink()
            self.deleted = True


def play(stage: Stage, cycles: int) -> None:
    """Nights with mishaps of all kinds, at a server that makes every clip, some at hosts of all kinds."""
    stage.fault(*clip_hosts(0.04), "clip_several=0.3")
    Losses(stage).play(cycles)
