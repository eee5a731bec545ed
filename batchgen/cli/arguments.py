"""The parser of the command line, and the types of its options' values."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NoReturn

from batchgen.amounts import micros
from batchgen.cli import moments, quantities
from batchgen.escapes import visible
from batchgen.models import TASK_ID

if TYPE_CHECKING:
    from batchgen.storage.clip_hosts import AllowedHost


_NOT_GIVEN: list[str] = []  # an option's value until one is given; those of append begin with a copy of it

#: Options whose values may hold a secret, such as a token in an address: no record has them.
SECRET = ("--ping-url", "--on-finish", "--notify-url")
HIDDEN = "[hidden]"


def without_addresses(arguments: Sequence[str]) -> Sequence[str]:
    """A command line as it may be recorded and shown, without the values of :data:`SECRET`."""
    shown: list[str] = []
    for word in arguments:
        name, equals, _ = word.partition("=")
        if shown and shown[-1] in SECRET:
            shown.append(HIDDEN)
        else:
            shown.append(f"{name}={HIDDEN}" if equals and name in SECRET else word)
    return shown


class WrongCommandLine(SystemExit):
    """The command line can't be read; ``text`` says why, and has been printed."""

    def __init__(self, text: str) -> None:
        super().__init__(2)
        self.text = text


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, and takes options by their whole names only.

    An abbreviation in a crontab would mean something else, or nothing, as soon as another option begins like it.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**given, "allow_abbrev": False})
        self.commands: Mapping[str, Parser] = {}  # the program's alone has any
        self.others: Mapping[str, Parser] = {}  # beside a command's, those of all commands
        self.mixes = False  # whether options may stand between its positional words

    @property
    def options(self) -> Sequence[argparse.Action]:
        """Its options, without those that end the program by themselves."""
        return [one for one in self._actions if one.option_strings and one.default is not argparse.SUPPRESS]

    def option(self, name: str) -> argparse.Action | None:
        """The option with this name, such as ``-v``; None where there is none."""
        return self._option_string_actions.get(name)

    def parted(self, words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """The words of a command line by option: its name as it was typed, and its words; "" for positional ones."""
        rest = iter(words)
        for word in rest:
            if word == "--":
                yield "", [word, *rest]
                return
            if word[:1] != "-" or word == "-":
                yield "", [word]
                continue
            long = word.startswith("--")
            name, inside = (word.partition("=")[0], "=" in word) if long else (word[:2], len(word) > 2)
            action = self.option(name)
            takes_next = action is not None and action.nargs != 0 and not inside
            yield name, [word, *itertools.islice(rest, int(takes_next))]

    @property
    def option_names(self) -> Collection[str]:
        """The names of its options, such as ``-v`` and ``--verbose``."""
        return self._option_string_actions.keys()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Report unknown arguments here, in the command's parser: the program's knows neither command nor options."""
        words = sys.argv[1:] if args is None else list(args)
        if (
            self.commands
            and words
            and words[0].startswith("-")
            and words[0] not in {"--", *self.option_names}
        ):
            self.error(self._unknown(words[:1]))  # else its value, maybe the key, is quoted as no command
        if self.commands:
            return super().parse_known_args(words, namespace)
        if self.mixes:
            parts = list(self.parted(words))
            words = [
                *(one for name, some in parts if name for one in some),
                *(one for name, some in parts if not name for one in some),
            ]
        known, rest = self._parse(words)
        if rest:
            self.error(self._unknown(rest))
        return known, rest

    def _parse(self, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parse a command's words. ``given`` of the namespace are the options that stand there; others are as built in."""
        begun = argparse.Namespace(**{one.dest: _NOT_GIVEN for one in self.options})
        words, off = self._switched_off(words)
        known, rest = super().parse_known_args(words, begun)
        vars(known).update(dict.fromkeys(off, False))
        known.given = frozenset(name for name, value in vars(known).items() if value is not _NOT_GIVEN)
        for one in self.options:
            if one.dest not in known.given:
                setattr(known, one.dest, one.default)
        return known, rest

    def _switched_off(self, words: list[str]) -> tuple[list[str], set[str]]:
        """The words without each ``--no-NAME`` of a switch ``--NAME``, and the switches that they are of.

        It undoes what the configuration file turned on, so no help lists it.
        """
        switches = {name: one.dest for one in self.options if one.nargs == 0 for name in one.option_strings}
        opposites = {f"--no-{name[2:]}": dest for name, dest in switches.items() if name.startswith("--")}
        opposites |= {f"--{name[5:]}": dest for name, dest in switches.items() if name.startswith("--no-")}
        opposites = {name: dest for name, dest in opposites.items() if name not in self.option_names}
        end = words.index("--") if "--" in words else len(words)
        off = {opposites[word] for word in words[:end] if word in opposites}
        return [word for at, word in enumerate(words) if at >= end or word not in opposites], off

    def _unknown(self, rest: list[str]) -> str:
        """The message for unknown arguments. What follows a = isn't shown: it may be the key."""
        option = next((word.partition("=")[0] for word in rest if word.startswith("-")), None)
        if option is None:
            return f"unrecognized arguments: {' '.join(rest)}"
        if "key" in option:
            return f"there is no option {option}: the key is taken from no command line, where others could read it"
        if any(option in command.option_names for command in self.commands.values()):
            return f"{option} stands before the command; options go behind it"
        from difflib import get_close_matches

        if near := get_close_matches(option, self.option_names, n=1):
            return f"there is no option {option} (did you mean {near[0]}?)"
        if having := [name for name, other in self.others.items() if option in other.option_names]:
            named = " and ".join(filter(None, (", ".join(having[:-1]), having[-1])))
            return f"there is no option {option} here; {named} {'has' if len(having) == 1 else 'have'} it"
        behind = "" if option.startswith("--") else "; a name that begins with - goes behind --"
        return f"there is no option {option}{behind}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Say which command may be meant. What is near to none isn't shown: it may be the key."""
        if not self.commands or action.dest != "command" or value in self.commands:
            super()._check_value(action, value)
            return
        from difflib import get_close_matches

        if near := get_close_matches(value, self.commands, n=1):
            text = f"there is no command {value} (did you mean {near[0]}?)"
        else:
            text = f"there is no such command; write one of {', '.join(self.commands)}"
        self.error(text)

    def error(self, message: str) -> NoReturn:
        text = visible(message.removeprefix("argument "))
        self._print_message(f"{self.prog}: {text}; see {self.prog} --help\n", sys.stderr)
        raise WrongCommandLine(text)


def _checked(read: Callable[[str], float], kind: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parse.__name__ = kind
    return parse


def _positive(read: Callable[[str], float], words: str, form: str = "") -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = read(text)
        except ValueError:
            value = 0
        if not 0 < value < 1e12:
            raise ValueError(f"{text!r} is no {words} above 0{form}")
        return value

    return _checked(parse, words)


count = _positive(int, "whole number")
money = _positive(lambda text: float(text.removeprefix("$")), "amount in dollars")
positive_duration = _positive(quantities.seconds, "duration", "; write 90, 90s, 15m, 2h or 1h30m")
duration = _checked(quantities.seconds, "duration")
speed = _checked(quantities.bytes_per_second, "speed")
downloads = _checked(quantities.downloads, "number")


def budget(text: str) -> int | str:
    """A budget in micro-dollars; ``none`` for no limit."""
    text = text.strip()
    if text.casefold() == "none":
        return "none"
    if not re.fullmatch(r"\$?([0-9]+(\.[0-9]{1,6})?|\.[0-9]{1,6})", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no amount in dollars; write 40, 40.50, 0 for nothing, or none for no limit"
        )
    try:
        return micros(text.removeprefix("$"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is more than a budget can be; write none for no limit"
        ) from None


def port(text: str) -> int:
    """A port of TCP."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 1 to 65535")
    return number


def day(text: str) -> date:
    """A calendar day."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        found = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write 2026-01-31") from None
    if not 1970 <= found.year < 9999:
        raise argparse.ArgumentTypeError(f"{text!r} is no date from 1970 on")
    return found


def clock(text: str) -> str:
    """A time of day, as HH:MM."""
    found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of day; write 22:30")
    return f"{int(found[1]):02}:{found[2]}"


def unit_name(text: str) -> str:
    """A name that a unit may have: ``batchgen``, ``night-shop``."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}", text):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no such name; write letters, digits, - and _")
    return text


def task_id(text: str) -> str:
    if not TASK_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no task id")
    return text


def clip_hosts(text: str) -> tuple[AllowedHost, ...]:
    from batchgen.storage.clip_hosts import allowed_hosts

    try:
        return allowed_hosts(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


moment = _checked(lambda text: moments.moment(text, time.time()), "time")
