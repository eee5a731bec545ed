"""The command line of a run that something else starts, elsewhere and later: whole paths, and what it needs of this environment."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from batchgen.api import keys
from batchgen.cli import settings
from batchgen.cli.arguments import HIDDEN, Parser, without_addresses
from batchgen.errors import UsageError
from batchgen.http.endpoint import BASE_URL_VARIABLE

#: Options that say what `schedule` itself does and prints.
_OWN = {
    *("at", "delay", "name", "credential", "on_failure", "system", "install", "remove"),
    *("json", "color", "no_progress"),
}
_ADDRESS = "its address is a secret, which a crontab and the list of processes show; write it into the configuration file"
_NEVER = {
    "sandbox": "a rehearsal makes no clips",
    "dry_run": "it would create nothing",
    "yes": "nobody is asked at night",
    "ping_url": _ADDRESS,
    "notify_url": _ADDRESS,
}
_PATHS = ("FILE", "DIR", "FOLDER", "PATH")
_NEEDED = (
    *("XDG_CONFIG_HOME", "XDG_CACHE_HOME", settings.CLIP_HOSTS_VARIABLE, settings.DOWNLOADS_VARIABLE),
    *(settings.ON_FINISH_VARIABLE, settings.NOTIFY_ON_VARIABLE),
    *("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"),
)
_FILES = (settings.NOTIFY_FILE_VARIABLE, settings.METRICS_FILE_VARIABLE, "SSL_CERT_FILE", "SSL_CERT_DIR")
_SECRET = (settings.PING_URL_VARIABLE, settings.NOTIFY_URLS_VARIABLE)


class Nightly(NamedTuple):
    """What starts a night: the whole command, and its environment. ``left_out`` are variables with a secret in them."""

    program: Sequence[str]
    arguments: Sequence[str]  # of the program: run ...
    environ: Mapping[str, str]
    left_out: Sequence[str]

    @property
    def recorded(self) -> Sequence[str]:
        """The arguments as the night's run records them."""
        return without_addresses(self.arguments)


def nightly(
    args: argparse.Namespace, parser: Parser, words: Sequence[str], environ: Mapping[str, str]
) -> Nightly:
    """The run that ``words``, a command line of `schedule`, are about. Raises UsageError."""
    options = list(_passed(parser, words, args))
    if "--ledger" not in options:
        options = ["--ledger", settings.ledger_path(args.ledger, environ), *options]
    if BASE_URL_VARIABLE in environ and environ[BASE_URL_VARIABLE] and "--base-url" not in options:
        options = ["--base-url", environ[BASE_URL_VARIABLE], *options]
    if "--stay-awake" not in options and "--no-stay-awake" not in options:
        options.append("--stay-awake")
    paths = [os.path.abspath(os.path.expanduser(path)) for path in args.paths]
    for path in paths:
        if not os.path.exists(path):
            raise UsageError(f"{path} isn't there: a night would find nothing")
    given = {name: environ[name] for name in _NEEDED if environ.get(name)}
    given |= {
        name: os.path.abspath(os.path.expanduser(environ[name])) for name in _FILES if environ.get(name)
    }
    left_out = [name for name, value in given.items() if _has_password(value)]
    left_out += [settings.ON_FINISH_VARIABLE] if "://" in given.get(settings.ON_FINISH_VARIABLE, "") else []
    left_out += [name for name in _SECRET if environ.get(name)]
    return Nightly(
        _program(),
        ["run", *options, *paths],
        {name: given[name] for name in given if name not in left_out},
        left_out,
    )


def _has_password(value: str) -> bool:
    try:
        return urlsplit(value).password is not None
    except ValueError:
        return True  # nobody knows


def key_of(environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that says where a night finds the key, and its value; never the key itself. Raises UsageError."""
    if file := environ.get(keys.KEY_FILE_VARIABLE):
        path = os.path.abspath(os.path.expanduser(file))
        if not os.path.exists(path):
            raise UsageError(f"{keys.KEY_FILE_VARIABLE}: {path} isn't there: a night would have no key")
        return keys.KEY_FILE_VARIABLE, path
    if command := environ.get(keys.KEY_COMMAND_VARIABLE):
        return keys.KEY_COMMAND_VARIABLE, command
    raise UsageError(
        "a night needs the key where nobody types it, and no crontab and no unit should have it: put it into a file of mode"
        f" 0600, and let {keys.KEY_FILE_VARIABLE} name that"
    )


def _program() -> Sequence[str]:
    """How this program is started from anywhere, by whole paths."""
    started = sys.argv[0]
    if os.path.basename(started) == "__main__.py" or not started:
        return [sys.executable, "-m", "batchgen"]
    found = started if os.sep in started else shutil.which(started)
    return [os.path.abspath(found)] if found else [sys.executable, "-m", "batchgen"]


def _passed(parser: Parser, words: Sequence[str], args: argparse.Namespace) -> Iterator[str]:
    """The words of the run's options in a command line of `schedule`, each value as it was typed. Raises UsageError.

    What ``words`` hide is taken from ``args``.
    """
    for name, (word, *more) in parser.parted(words):
        if not name:
            continue
        action = parser.option(name)
        if action is None:  # --no-NAME, of a switch that the configuration file has turned on
            yield word
        elif action.nargs == 0:  # -qv are two
            names = [word] if word.startswith("--") else [f"-{letter}" for letter in word[1:]]
            yield from (one for one in names if _is_passed(parser.option(one), one))
        elif _is_passed(action, name):
            value = more[0] if more else word.partition("=")[2] if word.startswith("--") else word[2:]
            if value == HIDDEN:
                value = str(getattr(args, action.dest))
            yield from (name, _lasting(action, name, value))


def _is_passed(action: argparse.Action | None, name: str) -> bool:
    """Whether an option is the run's. Raises UsageError for one that is nothing for every night."""
    if action is None or action.dest in _OWN:
        return False
    if why := _NEVER.get(action.dest):
        raise UsageError(f"{name} is nothing for every night: {why}")
    return True


def _lasting(action: argparse.Action, name: str, value: str) -> str:
    """An option's value, as it holds on every night and from every folder. Raises UsageError."""
    if action.dest in ("deadline", "until") and re.match(r"\s*\d{4}-", value):
        raise UsageError(f"{name} {value} is one night's; a time of day or a duration holds for all")
    if action.dest == "on_finish" and "://" in value:
        raise UsageError(f"{name} is nothing for every night: {_ADDRESS}")
    if str(action.metavar).partition("|")[0] in _PATHS and "://" not in value:
        return os.path.abspath(os.path.expanduser(value))
    return value
