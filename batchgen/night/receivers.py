"""Who is told of a run, as one frozen value; their addresses are secrets."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from batchgen.night import ping
from batchgen.night.summary import USUAL

_PIECES: Final = re.compile(r"[/?&=@:,]+")
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


@dataclass(frozen=True, slots=True)
class Receivers:
    """Who is told of a run.

    ``notify_urls`` are Apprise's, told of the states in ``notify_on``; ``prompts``: they may hear the prompts of jobs that
    need a person, as may all others.
    """

    ping_url: str | None = field(default=None, repr=False)
    on_finish: str | None = field(default=None, repr=False)
    notify_urls: tuple[str, ...] = field(default=(), repr=False)
    notify_on: frozenset[str] = USUAL
    metrics_file: str | None = None
    prompts: bool = False

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.ping_url or self.on_finish or self.notify_urls or self.metrics_file)

    def secrets(self) -> Iterator[str]:
        """What of their addresses is secret: all but schemes and hosts, in pieces as they may stand in messages."""
        if self.ping_url:
            yield from ping.secrets(self.ping_url)
        for url in self.notify_urls:
            yield from _PIECES.split(url)[1:]
        for word in _ADDRESS.findall(self.on_finish or ""):
            yield from ping.secrets(word) if ping.problem(word) is None else ()


def words_of(command: str) -> Sequence[str]:
    """The words of a command, as a shell would split them; no shell runs it. Raises ValueError."""
    words = shlex.split(command)
    if not words or "\0" in command:
        raise ValueError("is no command")
    return [os.path.expanduser(words[0]), *words[1:]]
