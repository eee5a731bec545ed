"""Prints everything: data to stdout, everything else to stderr."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import re
import shutil
import sys
import textwrap
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TextIO

from batchgen.cli import journal
from batchgen.cli.arguments import without_addresses
from batchgen.errors import UsageError
from batchgen.escapes import visible
from batchgen.masking import Mask

SCHEMA_VERSION = 1  # of every object that --json prints; fields are only ever added

_COLOURS = {
    **dict.fromkeys(("downloaded", "done"), "32"),
    **dict.fromkeys(("create", "retry"), "36"),
    **dict.fromkeys(("failed", "rejected", "unusable", "refused", "image refused", "stopped"), "31"),
    **dict.fromkeys(("unknown", "changed", "unrecorded", "submitting", "not created", "not yet home"), "33"),
}
_FIRST_WORDS = re.compile(rf"(?P<before>(?:\s*[\d,]+\s+)?)(?P<word>{'|'.join(_COLOURS)})\b")


class Output:
    """The output of one command, as its options want it. Everything is masked."""

    def __init__(self, args: argparse.Namespace, mask: Mask, arguments: Sequence[str] = ()) -> None:
        """``arguments`` are the command line that ``args`` were read from."""
        self._args = args
        self.command, self.arguments = str(args.command), without_addresses(arguments)
        self.json, self.quiet, self.verbose = bool(args.json), bool(args.quiet), bool(args.verbose)
        self.mask = mask
        if args.json or args.command == "export" or getattr(args, "format", None) == "csv":
            _configure(sys.stdout, encoding="utf-8")  # data is UTF-8, whatever the terminal's encoding

    @property
    def on_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return sys.stdout.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer: stdin and stderr are terminals."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def agreed(self, question: str) -> bool:
        """Ask on the terminal. Only ``y`` and ``yes`` mean yes; an empty line and the end of the input don't."""
        sys.stderr.write(question)
        sys.stderr.flush()
        try:
            answer = sys.stdin.readline()
        except (OSError, ValueError):  # no text
            answer = ""
        if not answer.endswith("\n"):
            sys.stderr.write("\n")
        return answer.strip().casefold() in ("y", "yes")

    def flush(self) -> None:
        """Hand over what was written: the command goes on."""
        sys.stdout.flush()

    @property
    def width(self) -> int | None:
        """The columns of the terminal that stdout is; None where it isn't one, and lines are not folded."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def clean(self, text: str) -> str:
        """The text with the key masked and invisible characters escaped."""
        return visible(self.mask(text))

    def lines(self, lines: Iterable[str]) -> None:
        """Write data to stdout, line by line. Raises BrokenPipeError where its reader has gone."""
        paint = self._coloured(sys.stdout)
        for line in map(visible, self.mask.each(lines)):
            sys.stdout.write(f"{_coloured_line(line) if paint else line}\n")

    def data(self, texts: Iterable[str], *, end: str) -> None:
        """Write texts to stdout, unchanged except for the key; on a terminal, control characters are escaped."""
        on_terminal = sys.stdout.isatty()
        for block in self.mask.blocks(texts):
            sys.stdout.write(end.join([*(map(_visible_lines, block) if on_terminal else block), ""]))

    def paged(self, lines: Iterable[str]) -> None:
        """Show text on a terminal, in the pager that ``PAGER`` names (default: ``less``), or directly where that fails."""
        bold = self._coloured(sys.stdout)
        text = "".join(
            f"\x1b[1m{line}\x1b[0m\n" if bold and line.startswith("#") else f"{line}\n"
            for line in map(self.clean, lines)
        )
        if not _through_pager(text):
            sys.stdout.write(text)

    def document(self, value: Mapping[str, Any]) -> None:
        """Write the one object of ``--json``. An iterator in it is written as a list, item by item."""
        with quiet_pipe():
            before = "{"
            for name, one in {"schema_version": SCHEMA_VERSION, **value}.items():
                sys.stdout.write(f"{before}{self.clean(_json(name))}: ")
                if isinstance(one, Iterator):
                    sys.stdout.write("[")
                    for number, item in enumerate(self.mask.each(map(_json, one))):
                        sys.stdout.write(f"{', ' if number else ''}{visible(item)}")
                    sys.stdout.write("]")
                else:
                    sys.stdout.write(self.clean(_json(one)))
                before = ", "
            sys.stdout.write("}\n")
            sys.stdout.flush()

    def say(self, *lines: object, level: int = logging.INFO) -> None:
        """Write lines to stderr; ``level`` is how much they matter. A closed stderr is no error."""
        try:
            paint = self._coloured(sys.stderr)
            mark = journal.priority(level) if journal.reads(sys.stderr, os.environ) else ""
            for line in map(self.clean, map(str, lines)):
                print(f"{mark}{_coloured_line(line) if paint else line}", file=sys.stderr)
            sys.stderr.flush()
        except OSError:
            _discard(sys.stderr)

    @property
    def shows_progress(self) -> bool:
        """Whether a progress bar is wanted, and stderr is a terminal."""
        return not (self.quiet or self._args.no_progress or self.json) and sys.stderr.isatty()

    def _coloured(self, stream: TextIO) -> bool:
        if self._args.color == "auto":
            return stream.isatty() and not os.environ.get("NO_COLOR")
        return bool(self._args.color == "always")


class _Unmanaged(logging.Formatter):
    """Formats log records of libraries, which may have several lines, with the key masked."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return self._mask(super().format(record))


def guard(mask: Mask) -> None:
    """Mask the key in uncaught exceptions and in libraries' log records, for the whole process."""

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            uncaught(args.exc_type, args.exc_value, args.exc_traceback)

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        if args.exc_value is not None:
            uncaught(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Unmanaged(mask))


def _visible_lines(text: str) -> str:
    return "\n".join(map(visible, text.replace("\r\n", "\n").split("\n")))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _through_pager(text: str) -> bool:
    """Show the text in the user's pager and wait for its end. Returns whether it could be started."""
    import shlex
    import signal
    import subprocess

    env = {name: value for name, value in os.environ.items() if not name.startswith("POWERTOKENS_")}
    env = {"LESS": "FRX", "LV": "-c", **env}  # less: end on a short text, show bold, leave the text there
    try:
        # Without a shell, and named by the user: S603 is about foreign text.
        process = subprocess.Popen(shlex.split(env.get("PAGER") or "less"), stdin=subprocess.PIPE, env=env)  # noqa: S603
    except (OSError, ValueError, IndexError):
        return False
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pager's
    try:
        process.communicate(text.encode("utf-8", "replace"))
    finally:
        signal.signal(signal.SIGINT, before)
    return True


def open_streams() -> None:
    """Make the standard streams take any character, and open closed ones (``>&-``) to the null device."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, open as long as the process is
    for stream in (sys.stdout, sys.stderr):
        _configure(stream, errors="backslashreplace")  # in JSON, that is JSON's own escape


def _configure(stream: TextIO, *, encoding: str | None = None, errors: str = "backslashreplace") -> None:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=encoding, errors=errors)


def folded(text: str, width: int | None, *, indent: int) -> Sequence[str]:
    """The text wrapped to a width, with all lines but the first indented; one line where ``width`` is None."""
    if width is None or len(text) <= width:
        return [text]
    first = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.lstrip(),
        max(width, 20),
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


@contextlib.contextmanager
def quiet_pipe() -> Iterator[None]:
    """Ignore that the reader of stdout has gone, and write nothing more to it. Raises UsageError for a full disk."""
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # it still has what it couldn't write: so that was the error
            _discard(sys.stdout)
            raise UsageError(f"standard output can't be written: {error.strerror}") from error
        raise


def _discard(stream: TextIO) -> None:
    """Redirect a stream to the null device, with what it has buffered."""
    with contextlib.suppress(ValueError):  # closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _coloured_line(line: str) -> str:
    found = _FIRST_WORDS.match(line)
    if not found:
        return line
    word = found["word"]
    return f"{found['before']}\x1b[{_COLOURS[word]}m{word}\x1b[0m{line[found.end() :]}"
