"""What a command says that can't do its work, or wasn't let: for people, and for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchgen.errors import ApiError, BatchgenError, Bug, Interrupted, ManifestError, UsageError, cited
from batchgen.manifest.isolation import to_report


def refusal(error: BaseException) -> BatchgenError:
    """The error of ours that any exception means."""
    if isinstance(error, BatchgenError):
        return error
    if isinstance(error, OSError):  # the machine fails: no descriptors, no memory, no current folder
        gone = isinstance(error, FileNotFoundError) and not error.filename
        text = "the current folder is gone" if gone else f"{error.strerror or error}"
        return UsageError(f"{text}: {error.filename}" if error.filename else text)
    if isinstance(error, MemoryError):
        return UsageError("it needs more memory than there is")
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("interrupted; nothing was being created", 130)
    assert isinstance(error, Exception)
    return Bug(f"it failed; {to_report(error)}")


def lines(command: str, error: BatchgenError, *, verbose: bool = False) -> Sequence[str]:
    """Why a command couldn't do its work, and what to do, for people."""
    if isinstance(error, ManifestError) and error.problems:
        from batchgen.cli.report import problem_lines

        return [*problem_lines(error.problems, verbose=verbose)]
    text = cited(str(error), error.code, error.request_id) if isinstance(error, ApiError) else str(error)
    first, *more = text.splitlines() or [type(error).__name__]
    return [f"batchgen {command}: {first}", *more, *filter(None, [error.advice])]


def document(error: BatchgenError, *, verbose: bool = False) -> dict[str, Any]:
    """The same for scripts."""
    from batchgen.cli import report

    problems = error.problems if isinstance(error, ManifestError) else ()
    return {
        "exit_code": error.exit_code,
        "error": str(error),
        **report.problem_fields(problems, verbose=verbose),
        "stops": [report.stop_object(error)],
    }
