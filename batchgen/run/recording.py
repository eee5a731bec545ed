"""The record that a run leaves in the ledger, however it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchgen import __version__
from batchgen.errors import BatchgenError, Bug, LedgerError
from batchgen.ledger.runs import RunRecord
from batchgen.ledger.writer import Ledger
from batchgen.models import Problem
from batchgen.run.clock import Clock
from batchgen.run.events import Ended
from batchgen.run.tally import created_in
from batchgen.storage.threads import in_thread

log = logging.getLogger("batchgen")


def new_run(
    clock: Clock, command: str, arguments: Sequence[str], masked: Callable[[str], str] = str
) -> RunRecord:
    """The line of a run of this process that begins. ``masked`` masks the key in its arguments."""
    name = uuid.UUID(int=clock.rng.getrandbits(128), version=4)
    said = json.dumps([masked(one) for one in arguments])
    host = os.uname().nodename
    return RunRecord(
        0, str(name), clock.now(), None, command, said, host, os.getpid(), __version__, None, None
    )


def refused(run: RunRecord, error: BatchgenError, at: float, masked: Callable[[str], str] = str) -> RunRecord:
    """The line of a run that ended with this error, at ``at``, before it began."""
    summary = json.dumps({"stopped": [masked(str(error))]}, separators=(",", ":"))
    return run._replace(ended=at, exit_code=error.exit_code, summary=summary)


def log_refused(run: RunRecord) -> None:
    """Log a :func:`refused` run as any run is logged."""
    _log_begin(run)
    _log_end(run, run.exit_code or 0, run.facts)


@dataclass(slots=True)
class Recording:
    """What is known of a run when it is over: its exit code, and what it says of itself."""

    code: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def over(self, ended: Ended, code: int, problems: Sequence[Problem] = ()) -> None:
        """The run came to its end; ``problems`` are those of the manifests, of which nothing was created."""
        self.code = code
        self.facts = {
            "jobs": {bucket: count for bucket, count in ended.jobs.items() if count},
            "others": {bucket: count for bucket, count in ended.others.items() if count},
            "created": ended.created,
            "failed_tasks": ended.failed_tasks,
            "cost_usd_estimate": round(ended.cost_usd, 6),
            "unknown": ended.unsure,
            "unknown_cost_usd_estimate": round(ended.unsure_cost_usd, 6),
            "stopped": [*map(str, ended.stops), *_refused(problems)],
        }

    def failed(self, error: BaseException) -> None:
        """The run ended with an error."""
        self.code = getattr(error, "exit_code", Bug.exit_code)
        self.facts = {"stopped": [str(error) if isinstance(error, BatchgenError) else type(error).__name__]}


@contextlib.asynccontextmanager
async def recorded(ledger: Ledger, run: RunRecord) -> AsyncIterator[Recording]:
    """Inside of this the run works, and says at its end how it went."""
    await ledger.begin_run(run)
    _log_begin(run)
    recording = Recording()
    try:
        yield recording
    except BaseException as error:
        recording.failed(error)
        raise
    finally:
        _log_end(run, recording.code, recording.facts)
        try:
            await ledger.end_run(recording.code, json.dumps(recording.facts, separators=(",", ":")))
        except LedgerError as error:  # what the run did is in the ledger, or its own error
            log.warning("how this run ended could not be recorded: %s", error)
        await _back_up(ledger)


async def _back_up(ledger: Ledger) -> None:
    """Back the ledger up. Where that fails, it is a warning: the run is over, and its work is in the ledger."""
    if ledger.is_rehearsal:
        return
    try:
        await in_thread(ledger.back_up)
    except LedgerError as error:
        log.warning("%s", error)
    except RuntimeError:  # Python is ending, and starts no thread any more: the next run makes it
        log.info("the ledger is not backed up: the program is ending")


def _refused(problems: Sequence[Problem]) -> list[str]:
    """What is said of manifests that were refused."""
    if not problems:
        return []
    more = f", and {len(problems) - 1:,} more" if len(problems) > 1 else ""
    return [f"a manifest was refused: {problems[0]}{more}"]


def _log_begin(run: RunRecord) -> None:
    words = shlex.join(json.loads(run.arguments)) or run.command
    text = f"run {run.name} began: batchgen {run.version} as process {run.process} on {run.host}: {words}"
    log.info("%s", text, extra={"action": "run_began"})


def _log_end(run: RunRecord, code: int, facts: Mapping[str, Any]) -> None:
    text = f"run {run.name} ended: exit code {code}{_said(facts)}"
    log.info("%s", text, extra={"action": "run_ended"})


def _said(facts: Mapping[str, Any]) -> str:
    parts = []
    if (jobs := facts.get("jobs")) is not None:
        parts.append(f"{jobs.get('downloaded', 0):,} of {sum(jobs.values()):,} jobs done")
        parts.append(created_in(facts))
    parts += facts["stopped"]
    return "".join(f"; {part}" for part in parts)
