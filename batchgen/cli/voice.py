"""Gathers what a run's receivers are told, and tells them; loaded only where there are any."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchgen.cli import conclusion, logs
from batchgen.cli.ending import heard, interrupted
from batchgen.cli.output import SCHEMA_VERSION, Output
from batchgen.errors import BatchgenError
from batchgen.night import hook
from batchgen.night.observer import Observer
from batchgen.night.telling import TOTAL, Outcome, Teller

if TYPE_CHECKING:
    from types import FrameType

    from batchgen.ledger.reader import Records
    from batchgen.ledger.runs import RunRecord
    from batchgen.night.receivers import Receivers
    from batchgen.night.summary import Summary
    from batchgen.run.events import Ended
    from batchgen.run.loading import Loaded

log = logging.getLogger("batchgen")


class Voice:
    """What is told of one run, and to whom. Nothing of it changes how the run ends."""

    def __init__(self, run: RunRecord, to: Receivers, out: Output, ledger: str) -> None:
        """``ledger`` is the ledger's file, for commands that are run."""
        for secret in to.secrets():
            out.mask.hide(secret)
        self.seen = Observer()
        self._mask = out.mask
        self._about = conclusion.Facts(run, out.clean, to.prompts)
        self._environ = {"BATCHGEN_LEDGER": ledger}
        self._teller = Teller(to, run.name, self._environ, total=TOTAL)
        self._summary: Summary | None = None

    def begin(self) -> None:
        """The run begins."""
        self._teller.begin()

    def conclude(
        self, run: RunRecord, ended: Ended, document: Mapping[str, Any], loaded: Loaded, ledger: Records
    ) -> None:
        """The run came to its end, with this ``--json``; nobody is told yet: the ledger's lock is held."""
        self._about = self._about._replace(run=run)
        whole = {"schema_version": SCHEMA_VERSION, **document}
        with contextlib.suppress(Exception):  # else what is told of a run could change how it ends
            self._summary = conclusion.of_run(self._about, ended, whole, loaded, self.seen, ledger)

    def refused(self, error: BatchgenError, at: float) -> None:
        """The command ended with an error, at ``at``."""
        self._summary = conclusion.of_refusal(self._about, error, at, self._log)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Inside of this, what is logged is kept for the receivers, and signals end the command in order."""
        handler = logs.Kept(self.seen.lines, self._mask)
        level, before = log.level, {number: signal.getsignal(number) for number in heard()}
        for number in before:
            signal.signal(number, interrupted)
        log.addHandler(handler)
        log.setLevel(min(level, handler.level))
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
            for number, old in before.items():
                signal.signal(number, old)

    @property
    def _log(self) -> Sequence[str]:
        """What was said meanwhile, where the API said nothing yet: what it says may hold a prompt, and the ledger is closed."""
        return () if self.seen.answered else self.seen.lines

    def ended(self, code: int, at: float) -> None:
        """The command ended with an exit code, at ``at``."""
        if self._summary is None:
            self._summary = conclusion.of_code(self._about, code, at, self._log)

    def finish(self) -> None:
        """Tell of it. A signal ends the telling, and nothing else."""
        if self._summary is None:  # a person said no before it began
            return

        def leave(number: int, frame: FrameType | None) -> None:
            self._teller.stop()

        for number in heard():
            signal.signal(number, leave)
        # Not before: a command that prints the key may take it from another variable, and the run knows it by now.
        self._environ.update({**hook.stripped(os.environ, self._mask.finds), **self._environ})
        for outcome in self._teller.finish(self._summary):
            write(outcome)


def write(outcome: Outcome) -> None:
    """Log what came of telling a receiver."""
    level = logging.INFO if outcome.ok else logging.WARNING
    log.log(level, "%s: %s", outcome.receiver, outcome.text, extra={"action": "told"})
    for line in outcome.output.splitlines():
        log.log(level, "%s printed: %s", outcome.receiver, line, extra={"action": "told"})
