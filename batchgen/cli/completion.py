"""``batchgen completion SHELL``: what a shell reads to complete batchgen's commands, options, files and jobs."""

from __future__ import annotations

import argparse
from importlib import resources

from batchgen.cli.output import Output
from batchgen.errors import UsageError


def completion(args: argparse.Namespace, out: Output) -> int:
    """Print the completion for a shell. Returns the exit code. Raises UsageError."""
    text = _text(args.shell)
    if args.json:
        out.document({"shell": args.shell, "script": text})
    else:
        out.data([text], end="")
    return 0


def _text(shell: str) -> str:
    """The script, as the wheel has it; made now in a checkout, where the tools for it are installed."""
    packaged = resources.files("batchgen").joinpath("completions", shell)
    if packaged.is_file():
        return packaged.read_text("utf-8")
    try:
        from batchgen.cli import shells
    except ImportError as error:
        raise UsageError(
            "the completions are made when batchgen is built, and this is a checkout: install it, or batchgen[dev]"
        ) from error
    return shells.completion(shell)
