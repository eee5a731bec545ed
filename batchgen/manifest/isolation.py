"""Keeps manifests apart: an unforeseen error while one is read becomes its problem, and the others are read on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from batchgen import __version__
from batchgen.errors import EndedEarly, LedgerError, UsageError

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE)  # no descriptors left: the next manifest would fail as well


@contextmanager
def isolated(report: Callable[[str], object]) -> Iterator[None]:
    """Pass an exception inside of this to ``report``, as text for a person, unless it concerns all manifests.

    These are raised: Ctrl-C and the like, a signal that ended the run, a ledger that can't be used, an incomplete
    installation, and a machine without descriptors. A lack of memory is the manifest's own problem: its memory is free
    afterwards.
    """
    try:
        yield
    except (EndedEarly, LedgerError, UsageError):
        raise
    except MemoryError:
        report("needs more memory than there is; split it into several manifests")
    except Exception as error:  # what is unforeseen in one manifest keeps no other from running
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            raise
        report(f"was left out, because batchgen failed over it; {to_report(error)}")


def to_report(error: BaseException) -> str:
    """The line that a person is asked to report about a bug in batchgen: its type and place, and nothing that was read."""
    return f"please report this line: batchgen {__version__}, {type(error).__name__} at {place(error.__traceback__)}"


def place(traceback: TracebackType | None) -> str:
    """The places in batchgen's code that an exception came from: files, lines and functions, and nothing that was read."""
    found: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename.startswith(_HERE) and code.co_filename != __file__:
            found.append(f"{code.co_filename.removeprefix(_HERE)}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return " < ".join(found[:-4:-1]) or "an unknown place"
