"""Tells all receivers how a run went, side by side, in ten seconds at most; nothing of it changes how the run ended."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final

from batchgen.night import hook, metrics, notify, ping
from batchgen.night.receivers import Receivers
from batchgen.night.summary import Summary

TOTAL: Final = 10.0  # seconds for all of it
LONGEST_TITLE: Final = 250  # characters
MARGIN: Final = 0.1  # of it, in which programs that were started are ended


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of telling one receiver: its name, without its address, whether it heard, what came back.

    ``output`` is the end of what a hook printed.
    """

    receiver: str
    ok: bool
    text: str
    output: str = field(default="", repr=False)


Tell = Callable[[float], Sequence[Outcome]]  # up to this moment of the monotonic clock


class Teller:
    """Tells ``receivers`` of the run ``run_id``. ``environ`` is what programs get that it starts: no key is in it."""

    def __init__(
        self, receivers: Receivers, run_id: str, environ: Mapping[str, str], *, total: float = TOTAL
    ) -> None:
        self._receivers, self._run_id, self._environ, self._total = receivers, run_id, environ, total
        self._stopped = threading.Event()
        self._start: threading.Thread | None = None
        self._results: SimpleQueue[tuple[str, Sequence[Outcome]] | None] = SimpleQueue()

    def begin(self) -> None:
        """Ping that the run begins; nobody waits for the answer."""
        if url := self._receivers.ping_url:
            self._start = threading.Thread(target=self._ping_start, args=(url,), name="ping", daemon=True)
            self._start.start()

    def stop(self) -> None:
        """Leave those that haven't heard yet; a signal handler may call it."""
        self._stopped.set()
        self._results.put(None)

    def finish(self, summary: Summary) -> Iterator[Outcome]:
        """Tell of the end of a run. Yields what came of it as it comes, for at most the whole time."""
        return self._all(self._receivers_of(summary))

    def test(self, summary: Summary) -> Iterator[Outcome]:
        """Try every receiver. What a monitor thinks of the night stays as it is, and so do the metrics."""
        return self._all(self._receivers_of(summary, test=True))

    def _all(self, work: Mapping[str, Tell]) -> Iterator[Outcome]:
        """Do all of it side by side; none waits for another."""
        until = time.monotonic() + self._total
        ends = until - MARGIN * self._total
        for name, one in work.items():
            threading.Thread(target=self._do, args=(name, one, ends), name=name, daemon=True).start()
        waiting = dict.fromkeys(work)
        while waiting:
            try:
                result = self._results.get(timeout=max(until - time.monotonic(), 0.0))
            except Empty:
                break
            if result is None:  # stopped: programs are ended, which takes a moment
                until = min(until, time.monotonic() + MARGIN * self._total)
                continue
            name, outcomes = result
            waiting.pop(name, None)
            yield from outcomes
        why = "left, at a signal" if self._stopped.is_set() else f"no answer in {self._total:g} seconds"
        yield from (Outcome(name, False, why) for name in waiting)

    def _do(self, name: str, one: Tell, ends: float) -> None:
        outcomes: Sequence[Outcome] = [Outcome(name, False, "it failed, for a reason of batchgen's own")]
        with contextlib.suppress(Exception):
            outcomes = one(ends)
        self._results.put((name, outcomes))

    def _receivers_of(self, summary: Summary, *, test: bool = False) -> Mapping[str, Tell]:
        """Whom there is to tell, by name."""
        to = self._receivers
        work: dict[str, Tell] = {}
        if url := to.ping_url:
            signal = "log" if test else str(summary.exit_code)
            name = f"the ping to {ping.host(url)}"
            work[name] = lambda ends: [self._ping(name, url, signal, summary, ends)]
        if command := to.on_finish:
            work[HOOK] = lambda ends: [self._hook(command, summary, ends)]
        if (
            urls := to.notify_urls
            if test or summary.states & to.notify_on or "always" in to.notify_on
            else ()
        ):
            work["the notifications"] = lambda ends: self._notify(urls, summary, ends)
        if path := to.metrics_file:
            work[METRICS] = lambda _: [_write(path, summary, test=test)]
        return work

    def _ping_start(self, url: str) -> None:
        with contextlib.suppress(OSError):  # the ping at the end tells of it
            ping.send(url, "start", self._run_id, "", seconds=self._total / 2)

    def _ping(self, name: str, url: str, signal: str, summary: Summary, ends: float) -> Outcome:
        if self._start is not None:  # a start that comes after its end begins another run at the monitor
            self._start.join(max(ends - time.monotonic(), 0.0) / 2)
        left = ends - time.monotonic()
        try:
            answer = ping.send(url, signal, self._run_id, ping.text(summary), seconds=left)
        except OSError as error:
            return Outcome(name, False, str(error))
        heard = not answer.casefold().startswith(
            "ok ("
        )  # OK (not found): it was read, and is no ping of any check
        return Outcome(name, heard, f"it answers {answer!r}" if answer else "it took it, and answers nothing")

    def _hook(self, command: str, summary: Summary, ends: float) -> Outcome:
        left = ends - time.monotonic()
        try:
            ended = hook.run(command, summary, self._environ, seconds=left, stopped=self._stopped.is_set)
        except ValueError as error:
            return Outcome(HOOK, False, f"it {error}")
        if ended.code is None:
            return Outcome(HOOK, False, f"it can't be started: {ended.output}; give the program's whole path")
        if ended.late:
            text = f"it took longer than {(1 - MARGIN) * self._total:.3g} seconds and was ended, with all that it had started"
            return Outcome(HOOK, False, text, ended.output)
        how = f"exit code {ended.code}" if ended.code >= 0 else f"signal {-ended.code}"
        return Outcome(HOOK, not ended.code, f"it ended with {how}", ended.output)

    def _notify(self, urls: Sequence[str], summary: Summary, ends: float) -> Sequence[Outcome]:
        if not notify.available():
            return [Outcome("the notifications", False, notify.MISSING)]
        title = f"batchgen {summary.command} on {summary.host}: {summary.headline}"[:LONGEST_TITLE]
        sent = notify.send(
            urls,
            title,
            notify.body(summary),
            self._environ,
            seconds=ends - time.monotonic(),
            stopped=self._stopped.is_set,
        )
        return [Outcome(f"the notification by {one.service}", one.ok, one.text) for one in sent]


HOOK: Final = "the command of --on-finish"
METRICS: Final = "the metrics file"


def _write(path: str, summary: Summary, *, test: bool) -> Outcome:
    if not metrics.available():
        return Outcome(METRICS, False, metrics.MISSING)
    try:
        metrics.write(path, None if test else summary)
    except OSError as error:
        return Outcome(METRICS, False, f"{path} can't be written: {error.strerror}")
    hint = "" if path.endswith(".prom") else ", but node_exporter reads names alone that end in .prom"
    return Outcome(METRICS, True, f"{path} is written{hint}")
