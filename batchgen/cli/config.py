"""Takes options from the configuration file: flag > environment > manifest > configuration file > built-in."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from batchgen import __version__
from batchgen.cli.arguments import Parser
from batchgen.cli.config_keys import REFUSED_BELOW, Key, keys, keys_of
from batchgen.cli.settings import VARIABLES
from batchgen.errors import UsageError
from batchgen.manifest import configuration
from batchgen.manifest.configuration import Configuration
from batchgen.models import Problem

if TYPE_CHECKING:
    from batchgen.money.prices import Prices

NO_KEY = (
    "the API's key can't stand here: POWERTOKENS_API_KEY has it, POWERTOKENS_API_KEY_FILE names a file that holds it, or"
    " POWERTOKENS_API_KEY_COMMAND a command that prints it"
)
#: Options whose value in a manifest is above that in the file; they are in a namespace's ``usual``.
BELOW_MANIFESTS = frozenset({"concurrency", "downloads", "output_dir"})
#: What a namespace has besides its options, where no file was read.
NOTHING: Mapping[str, Any] = MappingProxyType({"configuration": None, "usual": MappingProxyType({})})


def configure(args: argparse.Namespace, commands: Mapping[str, Parser], environ: Mapping[str, str]) -> None:
    """Give ``args`` what the configuration file says, for options that neither the command line nor the environment has.

    ``args.configuration`` is the file, and ``args.usual`` has what manifests may say otherwise. Raises ManifestError with every problem of the file, and UsageError where it can't
    be read.
    """
    found = configuration.read(environ)
    if found is None:
        return
    values, problems = _values(found, commands, args.command)
    configuration.checked(found, problems)
    args.configuration, args.usual = found, {}
    for key, value in values:
        name = key.action.dest
        if key.is_excluded(args.given) or environ.get(VARIABLES.get(name, "")):
            continue
        if name in BELOW_MANIFESTS:
            args.usual[name] = value
        else:
            setattr(args, name, value)


def usual_output_dir(args: argparse.Namespace) -> str:
    """Where the clips of a manifest go that says nothing of it."""
    return str(args.usual.get("output_dir", "clips"))


def prices(args: argparse.Namespace) -> Prices:
    """The account's prices: the file's, else those that are built in."""
    from batchgen.run import configured

    return configured.prices(args.configuration)


def _values(
    found: Configuration, commands: Mapping[str, Parser], command: str
) -> tuple[list[tuple[Key, Any]], list[Problem]]:
    """The command's keys that the file has, and those that manifests may have, with their values; and all problems."""
    known = {key.path: key for key in keys(commands)}
    content = found.content
    problems = []
    if isinstance(content, dict):
        content = _natural(content, known)
        odd = dict(_misplaced(content, known, commands))
        problems += [found.problem(path, text) for path, text in odd.items()]
        content = _without(content, odd)
    for problem in found.problems(content):
        unknown = problem.text.startswith("unknown key") and "did you mean" not in problem.text
        newer = f"; batchgen {__version__} has no such option" if unknown else ""
        problems.append(problem._replace(text=problem.text + newer))
    if problems:
        return [], problems
    from batchgen.run.configured import price_faults

    problems += price_faults(found)
    values = []
    for_manifests = [key for key in known.values() if key.action.dest in BELOW_MANIFESTS]
    for key in dict.fromkeys([*keys_of(command, commands), *for_manifests]):
        try:
            typed = content
            for step in key.path:
                typed = typed[step]
        except KeyError:
            continue
        try:
            values.append((key, key.value(typed, os.path.dirname(os.path.abspath(found.file)))))
        except (ValueError, argparse.ArgumentTypeError, UsageError) as error:
            problems.append(found.problem(key.path, str(error)))
    return values, problems


def _natural(content: Mapping[Any, Any], known: Mapping[tuple[str, ...], Key]) -> dict[Any, Any]:
    """The content with switches as people type them: ``on``, ``yes`` are text in YAML 1.2."""
    from batchgen.request import schema

    read = dict(content)
    for name, value in content.items():
        if isinstance(value, dict):
            inner: dict[tuple[str, ...], Key] = {
                at[1:]: key for at, key in known.items() if len(at) == 2 and at[0] == name
            }
            read[name] = _natural(value, inner) if inner else value
        elif (name,) in known and known[name,].is_switch:
            read[name] = schema.read_switch(value)
    return read


def _misplaced(
    content: Mapping[Any, Any], known: Mapping[tuple[str, ...], Key], commands: Collection[str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys that can't stand where they stand, each with the reason: the schema would call them unknown."""
    for name, value in content.items():
        plain = _plain(name)
        below = [path[0] for path, key in known.items() if path[1:] == (plain,) and not key.refused]
        if name in commands and isinstance(value, dict) and not (reason := _refused_below(name)):
            yield from _misplaced_below(name, value, known)
        elif reason := _refused(known.get((plain,))) or _refused_below(name):
            yield (name,), f"can't stand in the configuration: {reason}"
        elif (plain,) not in known and ("key" in plain.split("_") or plain.endswith("apikey")):
            yield (name,), NO_KEY
        elif (plain,) not in known and below and name not in commands:
            yield (name,), f"stands under its command: {below[0]}: {{{plain}: ...}}"


def _misplaced_below(
    command: str, content: Mapping[Any, Any], known: Mapping[tuple[str, ...], Key]
) -> Iterator[tuple[tuple[str, ...], str]]:
    for name in content:
        key = known.get((command, _plain(name)))
        if reason := _refused(key):
            yield (command, name), f"can't stand in the configuration: {reason}"
        elif key is None and (top := known.get((_plain(name),))) and not top.refused:
            yield (command, name), f"stands at the top, for every command that has it: {_plain(name)}: ..."


def _plain(name: object) -> str:
    """A key as it would be spelt here: ``--max-cost`` as ``max_cost``."""
    return str(name).strip("-").replace("-", "_").lower()


def _refused(key: Key | None) -> str:
    return "" if key is None else key.refused


def _refused_below(command: str) -> str:
    return REFUSED_BELOW.get((command, "*"), "")


def _without(content: Mapping[Any, Any], odd: Mapping[tuple[str, ...], str]) -> dict[Any, Any]:
    left = {name: value for name, value in content.items() if (name,) not in odd}
    for command in {path[0] for path in odd if len(path) == 2}:
        left[command] = {at: one for at, one in content[command].items() if (command, at) not in odd}
        if not left[command]:
            del left[command]
    return left
