"""Logging: to stderr, and to ``--log-file``; as text or as JSON Lines."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import stat
from collections import deque
from collections.abc import Iterator
from io import TextIOWrapper
from typing import TYPE_CHECKING

from batchgen import files
from batchgen.cli import journal
from batchgen.errors import UsageError
from batchgen.escapes import visible
from batchgen.masking import Mask

if TYPE_CHECKING:
    from batchgen.run.events import Event

log = logging.getLogger("batchgen")
NOTICE = logging.INFO + 5  # what is said on a terminal and in log files, and is no reason for a mail
LEVELS = {"info": logging.INFO, "notice": NOTICE, "warning": logging.WARNING}
logging.addLevelName(NOTICE, "NOTICE")


class _Lines(logging.Formatter):
    """Formats a record as one line, masked and escaped, whatever its text has in it."""

    def __init__(self, mask: Mask, form: str | None = None) -> None:
        super().__init__(form)
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return visible(self._mask(super().format(record)))


class _JsonLines(_Lines):
    """Formats a record as a line of JSON, with its ``action`` and ``external_task_id``."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower()}
        for name in ("action", "external_task_id"):
            if (value := getattr(record, name, None)) is not None:
                line[name] = value
        text = json.dumps({**line, "message": record.getMessage()}, ensure_ascii=False)
        return visible(self._mask(text))


class _Journal(logging.Formatter):
    """Formats a record for the system's journal: its priority, then the line as it is elsewhere."""

    def __init__(self, form: logging.Formatter) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        return f"{journal.priority(record.levelno)}{self._form.format(record)}"


class _LogFile(logging.FileHandler):
    """A log file that its owner alone can read: messages have names of files and texts of the API.

    It may be rotated while it is written: one that was truncated is appended to, and where it was renamed, the lines from then
    on are in the file that has its name. Where none can be opened there, they go on in the old one.
    """

    _said = False  # that the new file can't be written

    def _open(self) -> TextIOWrapper:
        descriptor = files.open_private(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None and self._was_renamed(self.stream):
            try:
                stream = self._open()
            except OSError as error:
                if not self._said:
                    self._said = True
                    text = "the log file %s was renamed, and none can be written in its place: %s; the old one is gone on with"
                    log.warning(text, self.baseFilename, error.strerror)
            else:
                self.stream.close()
                self.stream = stream
        super().emit(record)

    def _was_renamed(self, stream: TextIOWrapper) -> bool:
        ours = os.fstat(stream.fileno())
        if not stat.S_ISREG(ours.st_mode):
            return False
        try:
            return not os.path.samestat(ours, os.stat(self.baseFilename))
        except FileNotFoundError:
            return True
        except OSError:
            return False


class Kept(logging.Handler):
    """Keeps the lines that a terminal would be shown, of one width at most, in a bounded list."""

    LONGEST = 500  # characters of a line

    def __init__(self, lines: deque[str], mask: Mask) -> None:
        super().__init__(NOTICE)
        self._lines = lines
        self.setFormatter(_Lines(mask, "%(asctime)s %(levelname)-7s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record)[: self.LONGEST])


@contextlib.contextmanager
def configured(args: argparse.Namespace, mask: Mask) -> Iterator[None]:
    """Set logging up for one command, and undo it at the end. Raises UsageError where the log file can't be written.

    stderr shows warnings (-v: everything, -q: errors alone, on a terminal: notices, too), a log file everything.
    """
    stderr = logging.StreamHandler()
    usual = NOTICE if stderr.stream.isatty() else logging.WARNING
    level = logging.ERROR if args.quiet else logging.INFO if args.verbose else usual
    handlers: list[logging.Handler] = [stderr]
    handlers[0].setLevel(level)
    if args.log_file:
        try:
            handlers.append(_LogFile(args.log_file))
        except OSError as error:
            raise UsageError(f"the log file {args.log_file} can't be written: {error.strerror}") from None
    form = (
        _JsonLines(mask)
        if args.log_format == "json"
        else _Lines(mask, "%(asctime)s %(levelname)-7s %(message)s")
    )
    forms = [_Journal(form) if journal.reads(stderr.stream, os.environ) else form, form]
    before = log.level, log.propagate
    # Records that no handler shows aren't made.
    log.setLevel(min(handler.level or logging.INFO for handler in handlers))
    log.propagate = False
    for handler, its in zip(handlers, forms, strict=False):
        handler.setFormatter(its)
        log.addHandler(handler)
    try:
        yield
    finally:
        level, log.propagate = before
        log.setLevel(level)
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


def write(event: Event) -> None:
    """Write the line of what happened in a run, where it has one; programs find it by its ``action``."""
    level = LEVELS[event.level]
    if event.text is not None and log.isEnabledFor(level):
        names = {name: getattr(event, name, None) for name in ("action", "external_task_id")}
        extra = {name: value for name, value in names.items() if value}
        log.log(level, "%s", event.message, extra=extra)
