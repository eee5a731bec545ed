"""A crontab's lines for a schedule, and what a crontab is with and without them. Text in, text out: nothing is installed here.

Traps of cron that are seen to: a `%` ends a command, lines are short, settings above a line count for it, and which shell
runs it is one of them; so the line starts one program in a way that all shells read alike, and sets nothing for others.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

LONGEST = 990  # characters of a command; cron takes 998
_NO_END = " (the line above had no end)"  # so that removing restores every byte


def line(hour: int, minute: int, environ: Mapping[str, str], words: Sequence[str]) -> str:
    """The line that starts a command each day. Raises ValueError for what no crontab can hold."""
    settings = [f"{name}={value}" for name, value in environ.items()]
    command = " ".join(map(quoted, ["/usr/bin/env", *settings, *words] if settings else words))
    if "\n" in command or "\r" in command:
        raise ValueError("a crontab has no names with line breaks")
    if len(command) > LONGEST:
        raise ValueError(
            f"cron takes commands of {LONGEST} characters, and this one has {len(command):,}: put options into the"
            " configuration file, or name a folder of manifests"
        )
    return f"{minute} {hour} * * * {command}"


def quoted(word: str) -> str:
    """A word for the shell of a crontab: a `%` stands outside of quotes, for a cron that takes the backslash and one that doesn't."""
    return r"\%".join(shlex.quote(part) if part else "" for part in word.split("%")) or "''"


def block(name: str, said: str, entry: str, *, no_end: bool = False) -> str:
    """The lines of a schedule between the marks that it is found by."""
    return f"{_begin(name)}{_NO_END if no_end else ''}\n# {said}\n{entry}\n{_end(name)}\n"


def with_block(crontab: str, name: str, said: str, entry: str) -> str:
    """The crontab with this schedule: in its place where it has one, else at the end. Raises ValueError."""
    found = _find(crontab, name)
    if found is not None:
        no_end = _NO_END in found[0].partition("\n")[0]
        return crontab[: found.start()] + block(name, said, entry, no_end=no_end) + crontab[found.end() :]
    no_end = bool(crontab) and not crontab.endswith("\n")
    return crontab + "\n" * no_end + block(name, said, entry, no_end=no_end)


def without_block(crontab: str, name: str) -> str:
    """The crontab without this schedule, every other byte as it was. Raises ValueError."""
    found = _find(crontab, name)
    if found is None:
        return crontab
    last = found.end() == len(crontab)
    begin = found.start() - (last and _NO_END in found[0].partition("\n")[0])
    return crontab[:begin] + crontab[found.end() :]


def _find(crontab: str, name: str) -> re.Match[str] | None:
    begins, ends = (
        re.findall(rf"^{re.escape(mark(name))}(?=[ \r]|$)", crontab, re.M) for mark in (_begin, _end)
    )
    if len(begins) != len(ends) or len(begins) > 1:
        raise ValueError(
            f"the crontab's marks {_begin(name)!r} and {_end(name)!r} don't belong to each other any more: take the lines"
            " out with `crontab -e`"
        )
    return re.search(
        rf"^{re.escape(_begin(name))}(?: [^\n]*)?\n.*?^{re.escape(_end(name))}[^\n]*\n?", crontab, re.M | re.S
    )


_BEGIN = "# begin batchgen schedule"  # then the schedule's name
_END = "# end batchgen schedule"


def _begin(name: str) -> str:
    return f"{_BEGIN} {name}"


def _end(name: str) -> str:
    return f"{_END} {name}"
