"""Who is told of a run, from the command line, the environment or a file."""

from __future__ import annotations

import argparse
import logging
import os
import stat
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from batchgen import files
from batchgen.cli import telling_options
from batchgen.cli.settings import (
    METRICS_FILE_VARIABLE,
    NOTIFY_FILE_VARIABLE,
    NOTIFY_ON_VARIABLE,
    NOTIFY_URLS_VARIABLE,
    ON_FINISH_VARIABLE,
    PING_URL_VARIABLE,
)
from batchgen.errors import UsageError

if TYPE_CHECKING:
    from batchgen.night.receivers import Receivers

LARGEST_FILE = 1 << 16  # bytes

T = TypeVar("T")
log = logging.getLogger("batchgen")


def receivers(args: argparse.Namespace, environ: Mapping[str, str]) -> Receivers | None:
    """Who is told of a run; None where nobody is. Raises UsageError."""
    ping_url = args.ping_url or _read(PING_URL_VARIABLE, environ, telling_options.ping_url)
    on_finish = args.on_finish or _read(ON_FINISH_VARIABLE, environ, telling_options.command_line)
    metrics_file = args.metrics_file or environ.get(METRICS_FILE_VARIABLE)
    file = args.notify_file or environ.get(NOTIFY_FILE_VARIABLE)
    urls = args.notify_url or (environ.get(NOTIFY_URLS_VARIABLE) or "").split()
    if not (ping_url or on_finish or metrics_file or file or urls):
        return None
    from batchgen.night.receivers import Receivers
    from batchgen.night.summary import USUAL

    notify_on = args.notify_on or _read(NOTIFY_ON_VARIABLE, environ, telling_options.states)
    return Receivers(
        ping_url=ping_url,
        on_finish=on_finish,
        notify_urls=(*urls, *(_urls(file) if file else ())),
        notify_on=notify_on or USUAL,
        metrics_file=os.path.abspath(os.path.expanduser(metrics_file)) if metrics_file else None,
        prompts=args.tell_prompts,
    )


def _read(variable: str, environ: Mapping[str, str], read: Callable[[str], T]) -> T | None:
    """The value of a variable; None where it is unset or empty. Raises UsageError, which doesn't show it."""
    if not (given := environ.get(variable)):
        return None
    try:
        return read(given)
    except ValueError as error:
        raise UsageError(f"{variable}: {error}") from None


def _urls(path: str) -> tuple[str, ...]:
    """The URLs of a file, one a line. A file that can't be read keeps no run from its work."""
    try:
        with open(os.path.expanduser(path), "rb", opener=files.open_regular) as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(LARGEST_FILE).decode("utf-8", "replace")
    except OSError as error:
        log.warning("nobody is notified: %s (--notify-file) can't be read: %s", path, error.strerror)
        return ()
    if mode & stat.S_IROTH:
        level = logging.WARNING if os.isatty(2) else logging.INFO  # as of the key's file
        log.log(level, "%s can be read by every user of this machine; chmod 600 ends that", path)
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
