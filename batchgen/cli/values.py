"""The value of each option of a run, and where it comes from: for `doctor`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from batchgen.cli import settings
from batchgen.cli.arguments import Parser
from batchgen.cli.check_disk import Named
from batchgen.cli.config_keys import keys
from batchgen.cli.settings import VARIABLES
from batchgen.http.endpoint import DEFAULT_BASE_URL as BASE_URL

BUILT_IN = "built in"
OTHERS = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NO_PROXY",
    "TZ",
)  # variables that a run hears, and that are no option's


_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^/\s?#]*@)?([^/\s?#]*)\S*", re.I)
_DEFAULT = re.compile(r"default:? ([^;)]+)")
_OF_HOSTS = ("http://", "https://")  # others may have a token where these have a host


class Value(NamedTuple):
    """One value as it is written, and its origin: a flag, a variable, a manifest, a place in the file, or built in."""

    name: str
    text: str
    origin: str


def values(
    args: argparse.Namespace,
    commands: Mapping[str, Parser],
    environ: Mapping[str, str],
    manifests: Iterable[Named],
) -> Iterator[Value]:
    """All options that may stand in the configuration file, with what the manifests say besides. No secret is in them."""
    found = args.configuration
    content = {} if found is None else found.content
    for key in keys(commands):
        name, dest = ".".join(key.path), key.action.dest
        if key.refused:
            continue
        typed: Any = content
        for step in key.path:
            typed = typed.get(step) if isinstance(typed, dict) else None
        if len(key.path) == 1 and dest in args.given:
            yield Value(name, shareable(name, getattr(args, dest)), "command line")
        elif dest in VARIABLES and environ.get(VARIABLES[dest]):
            yield Value(name, shareable(name, environ[VARIABLES[dest]]), VARIABLES[dest])
        elif typed is not None and found is not None:
            place = found.place(key.path)
            shown = key.value(typed, os.path.dirname(os.path.abspath(found.file))) if key.is_path else typed
            yield Value(name, shareable(name, shown), f"{place.file}:{place.line}")
        elif len(key.path) == 1:
            yield Value(name, shareable(name, _built_in(key.action, environ)), BUILT_IN)
    for manifest in manifests:
        for name, typed in manifest.values.items():
            yield Value(name, shareable(name, typed), manifest.file)
    for variable in OTHERS:
        if given := environ.get(variable) or environ.get(variable.lower()):
            yield Value(variable, shareable(variable, given), "environment")


def _built_in(option: argparse.Action, environ: Mapping[str, str]) -> Any:
    """What holds where nobody says anything: the option's value, else what its help says of it."""
    if option.dest == "ledger":
        return settings.ledger_path(None, environ)
    if option.dest == "base_url":
        return BASE_URL
    told = _DEFAULT.search(str(option.help))
    return told[1] if option.default is None and told is not None else option.default


def shareable(name: str, value: Any) -> str:
    """A value that may be pasted anywhere: of an address its host alone, of a command its program, since both may have tokens."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(shareable(name, one) for one in value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if name == "on_finish" or name.endswith("command"):
        return f"{text.split()[0]} ..." if text.strip() else "-"
    if name in ("base_url", "ledger"):
        return re.sub(r"://[^/\s]*@", "://...@", text).partition("?")[0]
    return _ADDRESS.sub(lambda found: f"{found[1]}{f'{found[2]}/' if found[1] in _OF_HOSTS else ''}...", text)
