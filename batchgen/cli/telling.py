"""Tells others of a run while it works and once it has ended, however it ends; where nobody listens, nothing is loaded."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from batchgen.cli import logs, refused_runs, settings
from batchgen.cli.arguments import Parser, WrongCommandLine
from batchgen.cli.output import Output
from batchgen.cli.receivers import receivers
from batchgen.cli.refusals import refusal
from batchgen.errors import BatchgenError, UsageError
from batchgen.masking import Mask
from batchgen.run.clock import Clock
from batchgen.run.recording import new_run

if TYPE_CHECKING:
    from batchgen.cli.callbacks import Callbacks
    from batchgen.cli.voice import Voice
    from batchgen.ledger.reader import Records
    from batchgen.ledger.runs import RunRecord
    from batchgen.night.systemd import Systemd
    from batchgen.run.events import Ended, Listener
    from batchgen.run.loading import Loaded


class Night:
    """What a command that works tells others of its run. Where nobody listens, it does nothing."""

    def __init__(self, run: RunRecord, systemd: Systemd | None = None, voice: Voice | None = None) -> None:
        """``run`` is the line that the ledger will have of this run."""
        self.run = run
        self.callbacks: Callbacks | None = None  # how the API tells the run of its tasks
        self._systemd, self._voice = systemd, voice

    @property
    def listeners(self) -> Sequence[Listener]:
        """Who else listens to the run's events."""
        found: list[Listener] = [] if self._systemd is None else [self._systemd.listen]
        return found if self._voice is None else [*found, self._voice.seen]

    def working(self) -> AbstractContextManager[None]:
        """Inside of this the run is alive only while its loop is."""
        if self._systemd is None:
            return contextlib.nullcontext()
        import asyncio

        return self._systemd.working(asyncio.get_running_loop())

    def begin(self) -> None:
        """The run begins: it isn't only asked for any more."""
        if self._voice is not None:
            self._voice.begin()

    def conclude(
        self, run: RunRecord, ended: Ended, document: Mapping[str, Any], loaded: Loaded, ledger: Records
    ) -> None:
        """The run came to its end, with this ``--json``; ``run`` is its line as the ledger has it."""
        if self._voice is not None:
            self._voice.conclude(run, ended, document, loaded, ledger)


def told(args: argparse.Namespace, out: Output, work: Callable[[Night], int]) -> int:
    """Do a run's work, and tell of it, in ten seconds at most. Returns its exit code; its errors go on.

    An error before the run began is recorded in its ledger, before anybody is told.
    """
    run = new_run(Clock(), out.command, out.arguments, out.mask)
    rehearses = bool(getattr(args, "sandbox", False))

    def record(error: BaseException) -> None:
        if not rehearses and refusal(error).kind != "declined":
            refused_runs.record(run, refusal(error), args.ledger, out.mask)

    def recorded(night: Night) -> int:
        try:
            return work(night)
        except (Exception, KeyboardInterrupt) as error:
            record(error)
            raise

    try:
        to = None if rehearses else receivers(args, os.environ)  # a rehearsal is nobody's business
    except UsageError as error:
        record(error)
        raise
    with _service_manager() as systemd:
        if to is None:
            code = recorded(Night(run, systemd))
            if systemd is not None:
                systemd.stopping()
            return code
        from batchgen.cli.voice import Voice

        ledger = ""
        with contextlib.suppress(UsageError):  # it is raised where the ledger is opened
            ledger = settings.ledger_path(args.ledger, os.environ)
        voice = Voice(run, to, out, ledger)
        with voice.listening():
            try:
                code = recorded(Night(run, systemd, voice))
            except (Exception, KeyboardInterrupt) as error:
                found = refusal(error)
                if found.kind != "declined":  # by a person, before it began
                    voice.refused(found, time.time())
                raise
            else:
                voice.ended(code, time.time())
                return code
            finally:
                if systemd is not None:
                    systemd.stopping()
                with contextlib.suppress(Exception):  # whatever is wrong with it, the run ended as it did
                    voice.finish()


def told_of_command_line(words: Sequence[str], error: WrongCommandLine, parser: Parser, mask: Mask) -> None:
    """Record a run whose command line couldn't be read, and tell of it as far as is known to whom."""
    with contextlib.suppress(
        BatchgenError, WrongCommandLine, OSError
    ):  # what is wrong with the line is said already
        args = refused_runs.understood(words, error, parser)
        if args is None:
            return
        out = Output(args, mask, refused_runs.without_values(words))

        def work(night: Night) -> int:
            raise UsageError(error.text)

        with logs.configured(args, mask):
            told(args, out, work)


@contextlib.contextmanager
def _service_manager() -> Iterator[Systemd | None]:
    """The service manager that waits for word of this process; None where none does."""
    if not os.environ.get("NOTIFY_SOCKET"):
        yield None
        return
    from batchgen.night.systemd import Systemd

    with Systemd(os.environ) as systemd:
        yield systemd
