"""What `doctor` says of the ledger, its backups and its runs. It takes no lock and makes no file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from batchgen.advice import command, quoted
from batchgen.cli.quantities import shown_size
from batchgen.cli.report import counted
from batchgen.cli.verdicts import Verdict
from batchgen.errors import LedgerError, LedgerOutdated
from batchgen.ledger import backup, schedules
from batchgen.ledger.checkup import Checkup, checkup
from batchgen.ledger.reader import Records
from batchgen.ledger.runs import RunRecord
from batchgen.run.waits import shown_duration
from batchgen.storage.clips import iso

WITHIN = 4.0  # seconds for the check of all pages
LOOK_BACK = 7 * 86400.0  # seconds in which missed nights are told
STALE = 86400.0  # seconds that a ledger may be younger than its last backup
ENDS_WELL = (0, 4)  # exit codes of runs that nobody has to look at


def check_ledger(path: str, api: str, now: Callable[[], float]) -> Iterator[Verdict]:
    """The ledger itself, its backups, its last run. ``api`` is the origin that a run would have."""
    if not os.path.lexists(path):
        yield Verdict("ledger", "note", f"there is none at {path} yet: the first run makes it")
        return
    wal = f"{os.path.realpath(path)}-wal"
    alone = not os.path.exists(wal)
    verdicts = list(_looked_at(path, api, now))
    if alone and os.path.exists(wal) and any(one.state == "bad" for one in verdicts):
        verdicts = list(_looked_at(path, api, now))  # a run opened it meanwhile, and changed what was read
    yield from verdicts


def _looked_at(path: str, api: str, now: Callable[[], float]) -> Iterator[Verdict]:
    try:
        with checkup(path) as found:
            yield _ledger(found, path, api)
            yield _last_run(found.records.runs.last(1), now())
            yield _next_run(found.records, now())
    except LedgerOutdated:
        yield Verdict(
            "ledger", "note", f"{path} is of an older version: the next command brings it up to date"
        )
    except LedgerError as error:
        yield Verdict("ledger", "bad", str(error))


def _ledger(found: Checkup, path: str, api: str) -> Verdict:
    size = os.stat(path).st_size
    facts = {"path": path, "bytes": size, "origin": found.records.origin}
    if found.records.is_rehearsal:
        return Verdict(
            "ledger", "bad", f"{path} is a rehearsal's, and no run that pays goes on with it", facts=facts
        )
    if api and found.records.origin != api:
        text = f"{path} belongs to {found.records.origin}, and this is {api}"
        return Verdict("ledger", "bad", text, "Name another ledger, or correct the base URL.", facts)
    if not os.access(path, os.W_OK):
        text = f"{path} can't be written by this user"
        return Verdict("ledger", "bad", text, f"ls -l {quoted(path)}", facts)
    ends = time.monotonic() + WITHIN
    damage = found.damage(lambda: time.monotonic() > ends)
    tasks = counted(sum(found.records.counts().values()), "task") if not damage else ""
    if damage:
        advice = (
            f"Keep the file; `{command('recover', 'PATH', options='--ledger NEW')}` rebuilds it into another."
        )
        return Verdict("ledger", "bad", f"{path} is damaged: {damage}", advice, facts)
    if damage is None:
        text = f"{path}: {tasks}, {shown_size(size)}; not all of its pages could be checked in {WITHIN:.0f} s"
        return Verdict("ledger", "note", text, "", facts)
    return Verdict("ledger", "ok", f"{path}: {tasks}, {shown_size(size)}, all pages are sound", "", facts)


def _last_run(runs: list[RunRecord], now: float) -> Verdict:
    if not runs:
        return Verdict("last run", "note", "no run is recorded yet")
    (run,) = runs
    facts = {
        "run_id": run.name,
        "began_at": iso(run.began),
        "ended_at": iso(run.ended),
        "exit_code": run.exit_code,
    }
    began = f"began {time.strftime('%Y-%m-%d %H:%M', time.localtime(run.began))}"
    if run.ended is not None:
        ago = shown_duration(max(now - run.ended, 0.0))
        text = f"{began}, ended {ago} ago with exit code {run.exit_code}"
        well = run.exit_code in ENDS_WELL
        return Verdict(
            "last run",
            "ok" if well else "note",
            text,
            "" if well else "`batchgen runs` and `batchgen status` say why.",
            facts,
        )
    if run.on:
        return Verdict("last run", "ok", f"{began}, and is on: process {run.process}", "", facts)
    text = f"{began} on {run.host}, and its end isn't recorded: it was killed, or is on there"
    return Verdict("last run", "note", text, "", facts)


def _next_run(records: Records, now: float) -> Verdict:
    """When the next run is due, and whether nights were missed; nothing is known of a crontab that was written by hand."""
    missed = schedules.missed(records, now - LOOK_BACK, now)
    facts: dict[str, object] = {"missed": [iso(night.due) for night in missed]}
    due = schedules.next_run(records, now)
    if due is None:
        return Verdict(
            "next run", "note", "none is known: cron and systemd may have one all the same", "", facts
        )
    moment, schedule = due
    facts |= {"due_at": iso(moment), "schedule": schedule.name, "kind": schedule.kind}
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
    text = f"due {when}, in {shown_duration(moment - now)}, by {schedule.kind} on {schedule.host}"
    if missed:
        last = time.strftime("%Y-%m-%d %H:%M", time.localtime(missed[0].due))
        text += f"; {counted(len(missed), 'night')} of the last week did not begin, the last one {last}"
        return Verdict(
            "next run", "bad", text, f"See whether {schedule.kind} runs on {schedule.host}.", facts
        )
    return Verdict("next run", "ok", text, "", facts)


def check_backups(path: str, now: Callable[[], float]) -> Iterator[Verdict]:
    """The copies of the ledger that runs make."""
    if not os.path.lexists(path):
        return
    folder, made = backup.folder(path), backup.backups(path)
    if not made:
        yield Verdict(
            "backups", "note", f"there is none in {folder}: a run that changes the ledger makes one"
        )
        return
    age = max(now() - made[-1].made, 0.0)
    text = f"{len(made)} in {folder}, the newest {shown_duration(age)} old"
    facts = {"folder": folder, "count": len(made), "age_seconds": round(age)}
    if os.stat(path).st_mtime - made[-1].made > STALE:
        advice = f"See whether the folder can be written, and has room: ls -ld {quoted(folder)}"
        yield Verdict("backups", "note", f"{text}; the ledger has changed since", advice, facts)
        return
    yield Verdict("backups", "ok", text, "", facts)
