"""The keys of the configuration file: those of the options, and which options can't stand there.

An option of ``run`` is a key at the top, and holds for all commands that share it; one that other commands have alone
stands under its command: ``spend: {by: month}``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batchgen.cli.arguments import Parser

_MAIN = "run"  # whose options are keys at the top

_HIDES = "it would keep jobs from every run without a word"
_DECISION = "a decision is made once, about the jobs that it names"
#: Options that can't stand in the file, each with the reason: what pays, decides or hides, where it is forgotten there.
REFUSED = {
    "yes": "every run would pay without asking",
    "accept_changes": "every change of a manifest would be paid for again, seen or not",
    "retry_failed": "what was refused or failed would be tried, and maybe paid, again every night",
    "plan": "an approval is for one run, and names what that may create",
    "only": f"{_HIDES}; a manifest can say skip: true",
    "dry_run": "no run would create anything any more",
    "sandbox": "every run would be a rehearsal, and create nothing",
}
#: The same for options of single commands; ``*`` are all of a command.
REFUSED_BELOW = {
    ("plan", "output"): "an approval is asked for each time",
    ("resolve", "*"): _DECISION,
    ("retake", "*"): _DECISION,
    ("budget", "*"): "budgets stand in the ledger; batchgen budget set",
    ("schedule", "install"): "it is written when somebody says so",
    ("schedule", "remove"): "it is taken out when somebody says so",
    ("sandbox", "list_faults"): "it would start no sandbox any more",
}
#: Where one of them is given, those of the file that contradict it aren't heard.
_EXCLUSIVE = (frozenset({"quiet", "verbose"}), frozenset({"json", "format", "excel"}))
_Append = type(argparse.ArgumentParser().add_argument("--each", action="append"))
_PATHS = ("FILE", "DIR", "FOLDER", "PATH")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file, and the option whose value it is."""

    path: tuple[str, ...]  # ("max_cost",), ("spend", "by")
    action: argparse.Action

    @property
    def is_switch(self) -> bool:
        return self.action.nargs == 0

    @property
    def is_list(self) -> bool:
        return isinstance(self.action, _Append)

    @property
    def is_path(self) -> bool:
        return str(self.action.metavar).partition("|")[0] in _PATHS

    @property
    def refused(self) -> str:
        """Why it can't stand there, or ""."""
        if len(self.path) == 1:
            return REFUSED.get(self.path[0], "")
        command, name = self.path
        return REFUSED_BELOW.get((command, name)) or REFUSED_BELOW.get((command, "*"), "")

    def is_excluded(self, given: frozenset[str]) -> bool:
        """Whether an option of the command line, or one that contradicts it, stands above this key."""
        mine = self.action.dest
        return mine in given or any(mine in group and not group.isdisjoint(given) for group in _EXCLUSIVE)

    def value(self, typed: Any, folder: str) -> Any:
        """The option's value for what is typed in a file in ``folder``. Raises ValueError or ArgumentTypeError."""
        if self.is_switch:
            return bool(typed)
        if self.is_list:
            return [self._read(one, folder) for one in (typed if isinstance(typed, list) else [typed])]
        return self._read(",".join(map(_text, typed)) if isinstance(typed, list) else typed, folder)

    def _read(self, typed: Any, folder: str) -> Any:
        text = _text(typed)
        if "\0" in text:  # as no command line can have it
            raise ValueError("it has a character with the number 0; take it out")
        if self.is_path and "://" not in text:
            text = os.path.normpath(os.path.join(folder, os.path.expanduser(text)))
        read = self.action.type
        return read(text) if callable(read) else text


def _text(typed: Any) -> str:
    return str(int(typed)) if isinstance(typed, float) and typed.is_integer() else str(typed)


def keys(commands: Mapping[str, Parser]) -> Iterator[Key]:
    """All keys, also those that are refused; each once."""
    seen: set[tuple[str, ...]] = set()
    for command in (_MAIN, *(name for name in commands if name != _MAIN)):
        for key in keys_of(command, commands):
            if key.path not in seen:
                seen.add(key.path)
                yield key


def keys_of(command: str, commands: Mapping[str, Parser]) -> Iterator[Key]:
    """The keys of one command's options."""
    shared = {id(action) for action in commands[_MAIN].options}
    for action in commands[command].options:
        name = max(action.option_strings, key=len).lstrip("-").replace("-", "_")
        yield Key((name,) if id(action) in shared else (command, name), action)
