"""Sends notifications through Apprise, in a process of its own: what hangs there is killed, and the key isn't there."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from batchgen.night import process
from batchgen.night.summary import Summary

BODY: Final = 2000  # characters; some services take no more
OUTPUT: Final = 1 << 16  # bytes of the process's answer
MISSING: Final = "notifications need the package apprise: install batchgen[notify]"


class Sent(NamedTuple):
    """What became of one notification: the service's name, whether it took it, and what it said."""

    service: str
    ok: bool
    text: str


def available() -> bool:
    """Whether Apprise is installed."""
    return importlib.util.find_spec("apprise") is not None


def body(summary: Summary) -> str:
    """The summary as a message: its lines but the first, which is the title, as many as fit."""
    kept, room = [], BODY
    for line in summary.lines[1:]:
        room -= len(line) + 1
        if room < 0:
            kept.append("...")
            break
        kept.append(line)
    return "\n".join(kept) or summary.headline


def send(
    urls: Sequence[str],
    title: str,
    text: str,
    environ: Mapping[str, str],
    *,
    seconds: float,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Sent]:
    """Send a message to each of the URLs, for at most ``seconds`` in all. ``environ`` is the process's, without the key."""
    order = json.dumps({"urls": list(urls), "title": title, "body": text}).encode()
    words = (sys.executable, "-P", "-m", "batchgen.night.apprise_process")
    ended = process.run(words, order, environ, seconds=seconds, stopped=stopped, most=OUTPUT)
    sent = [Sent("notification", False, "no answer in time" if ended.late else "its process died")] * len(
        urls
    )
    for line in ended.output.splitlines():
        try:
            number, service, ok, said = json.loads(line)
            sent[number] = Sent(str(service), bool(ok), str(said))
        except (ValueError, TypeError, IndexError):  # a line of something else
            continue
    return sent
