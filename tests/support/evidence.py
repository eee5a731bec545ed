"""Checks the server's journal, the ledger and the disk against each other, after every kill and in the end."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from batchgen.ledger.reader import Records
from batchgen.models import HistoryEntry, Record, State
from batchgen.sandbox.journal import Entry, parse

#: A create may be sent out of these alone.
FREE = (State.PENDING, State.REJECTED)


@dataclass
class Verdict:
    """The result of a scenario. ``violations`` is empty where every rule held."""

    accepts: int = 0
    duplicates: int = 0
    lost: int = 0
    unresolved: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Evidence:
    """The witness of one scenario: it reads what a journal, a ledger and a folder of clips hold, and remembers.

    ``look`` may be called whenever no program runs; what it finds wrong is added to ``verdict.violations``.
    """

    def __init__(self, ledger: Path, clips: Path) -> None:
        self.ledger, self.clips = ledger, clips
        self.journal: Path | None = None
        self.verdict = Verdict()
        self.entries: list[Entry] = []
        self._read = 0  # bytes of the journal
        self._history: dict[str, list[HistoryEntry]] = {}
        self._tasks: dict[str, str] = {}

    def catch_up(self) -> list[Entry]:
        """Everything that reached the server so far, in order."""
        if self.journal is None:
            return []
        with self.journal.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    break
                self._read += len(line)
                self.entries.append(parse(line))
        return self.entries

    def rows(self) -> dict[str, Record]:
        """The ledger's rows by external_task_id, as another program sees them; none where there is no ledger yet."""
        if not self.ledger.exists():
            return {}
        with Records.read(str(self.ledger)) as ledger:
            return {row.external_task_id: row for row in ledger.records()}

    def events(self) -> dict[str, list[HistoryEntry]]:
        """The history of every row."""
        if not self.ledger.exists():
            return {}
        with Records.read(str(self.ledger)) as ledger:
            return {row.external_task_id: ledger.events(row.external_task_id) for row in ledger.records()}

    def look(self, when: str) -> None:
        """Check the present state against the five rules of the ledger."""
        entries, rows, events = self.catch_up(), self.rows(), self.events()
        found = [
            *intents_come_first(entries, events),
            *tasks_are_recorded_first(entries, rows),
            *nothing_is_sent_again(entries, events),
            *what_is_here_is_whole(entries, rows, self.clips),
            *history_only_grows(self._history, events),
            *(
                f"rule 2: {name} was task {task} and is none now"
                for name, task in self._tasks.items()
                if name not in rows or rows[name].task_id != task
            ),
        ]
        self._history = events
        self._tasks |= {name: row.task_id for name, row in rows.items() if row.task_id}
        self.verdict.violations += [f"{when}: {text}" for text in found if text not in self._said]

    @property
    def _said(self) -> set[str]:
        return {violation.partition(": ")[2] for violation in self.verdict.violations}

    def conclude(self, export: Sequence[Mapping[str, Any]], jobs: set[str], *, lookups: bool) -> Verdict:
        """Check the end: nothing paid twice, nothing lost, every job done (or known to be undecided)."""
        self.look("in the end")
        verdict = self.verdict
        accepted = [entry for entry in self.entries if entry.accepted]
        accepts = Counter(entry.external_task_id for entry in accepted)
        verdict.accepts = len(accepted)
        verdict.faults = Counter(entry.fault for entry in self.entries if entry.fault)
        twice = {name: count for name, count in accepts.items() if count > 1}
        verdict.duplicates = sum(count - 1 for count in twice.values())
        verdict.violations += [
            f"duplicate: {name} was accepted {count} times" for name, count in twice.items()
        ]

        known = {(row["task_id"], row["external_task_id"]) for row in export}
        undecided = (
            set() if lookups else {row["external_task_id"] for row in export if row["state"] == "unknown"}
        )
        for entry in accepted:
            if (
                entry.task_id,
                entry.external_task_id,
            ) not in known and entry.external_task_id not in undecided:
                verdict.lost += 1
                verdict.violations.append(
                    f"lost: task {entry.task_id} of {entry.external_task_id} is not in the ledger"
                )

        states = defaultdict(list)
        for row in export:
            states[row["job_id"]].append(row["state"])
        good = {"downloaded"} if lookups else {"downloaded", "unknown"}
        for job in sorted(jobs | states.keys()):
            ends = [state for state in states[job] if state != "failed"]
            if len(ends) != 1 or ends[0] not in good or job not in jobs:
                verdict.unresolved += 1
                verdict.violations.append(
                    f"unresolved: job {job} ended as {', '.join(states[job]) or 'nothing'}"
                )
        for row in export:
            if row["state"] == "downloaded":
                content = Path(row["video_path"]).read_bytes() if Path(row["video_path"]).exists() else b""
                if hashlib.sha256(content).hexdigest() != row["video_sha256"]:
                    verdict.violations.append(f"rule 4: {row['video_path']} is not what the export says")
        here = set(digests(self.clips).values())
        for entry in accepted:
            away = [file for file in entry.clips if file not in here]
            if away and entry.external_task_id not in undecided:
                verdict.lost += 1
                verdict.violations.append(
                    f"lost: {len(away)} of {len(entry.clips)} files of {entry.external_task_id} are not at home"
                )
        verdict.violations += [f"left behind: {part}" for part in self.clips.rglob("*.part")]
        return verdict


# -- the ledger's rules that no code path breaks; each gives its violations ---------------------


def intents_come_first(entries: Sequence[Entry], events: Mapping[str, Sequence[HistoryEntry]]) -> list[str]:
    """Rule 1: every create that reached the server has an intent of its own on disk."""
    sent = Counter(
        entry.external_task_id for entry in entries if entry.kind == "create" and entry.external_task_id
    )
    meant = {
        name: sum(event.to_state is State.SUBMITTING for event in history) for name, history in events.items()
    }
    return [
        f"rule 1: {name} was sent {count} times with {meant.get(name, 0)} intents on disk"
        for name, count in sent.items()
        if count > meant.get(name, 0)
    ]


def tasks_are_recorded_first(entries: Sequence[Entry], rows: Mapping[str, Record]) -> list[str]:
    """Rule 2: a task that was asked for by its id, or whose clip was fetched, is on disk."""
    recorded = {row.task_id for row in rows.values()}
    made = {entry.task_id for entry in entries if entry.accepted}
    asked = {unquote(entry.path.rpartition("/")[2]) for entry in entries if entry.kind == "query"} & made
    fetched = {entry.task_id for entry in entries if entry.kind == "video" and entry.task_id}
    return [
        f"rule 2: task {task} was followed and is not on disk"
        for task in sorted((asked | fetched) - recorded)
    ]


def nothing_is_sent_again(
    entries: Sequence[Entry], events: Mapping[str, Sequence[HistoryEntry]]
) -> list[str]:
    """Rule 3: no create for what was accepted, and no intent but out of a state that is free."""
    found, made = [], set()
    for entry in entries:
        if entry.kind == "create" and entry.external_task_id:
            if entry.external_task_id in made:
                found.append(f"rule 3: {entry.external_task_id} was sent again although it was accepted")
            if entry.accepted:
                made.add(entry.external_task_id)
    for name, history in events.items():
        found += [
            f"rule 3: {name} was to be created out of {event.from_state}"
            for event in history
            if event.to_state is State.SUBMITTING and event.from_state not in FREE
        ]
    return found


def what_is_here_is_whole(entries: Sequence[Entry], rows: Mapping[str, Record], clips: Path) -> list[str]:
    """Rule 4: a clip that the ledger calls downloaded is there, and whatever has a clip's name is complete."""
    found = []
    paid = {entry.task_id: entry.clips for entry in entries if entry.accepted}
    here = digests(clips)
    for row in rows.values():
        if row.state is State.DOWNLOADED:
            parts = [part["path"] for part in json.loads(row.parts or "[]")]
            paths = [Path(path or "") for path in (row.video_path, *parts)]
            if tuple(here.get(path) for path in paths) != paid.get(row.task_id):
                found.append(
                    f"rule 4: {row.external_task_id} is downloaded, and {', '.join(map(str, paths))} is not its clip"
                )
    whole = {file for files in paid.values() for file in files}
    found += [f"rule 4: {path} is no complete clip" for path, digest in here.items() if digest not in whole]
    return found


def digests(clips: Path) -> dict[Path, str]:
    """The SHA-256 of every file that has a clip's name."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in clips.rglob("*.mp4") if path.is_file()
    }


def history_only_grows(
    before: Mapping[str, Sequence[HistoryEntry]], now: Mapping[str, Sequence[HistoryEntry]]
) -> list[str]:
    """Rule 5: what was in the history once stays as it was, and each line goes on where the last one ended."""
    found = []
    for name, history in before.items():
        if list(now.get(name, ()))[: len(history)] != list(history):
            found.append(f"rule 5: the history of {name} was rewritten")
    for name, history in now.items():
        states = [None, *(event.to_state for event in history)]
        if any(event.from_state is not state for event, state in zip(history, states, strict=False)):
            found.append(f"rule 5: the history of {name} has a gap")
    return found
