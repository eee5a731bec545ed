"""Makes the completions for shells and the man page, from the parser: for the wheel, and for `completion` in a checkout."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import shtab
from argparse_manpage.manpage import Manpage  # type: ignore[import-untyped]  # it has no types of its own

from batchgen import __version__
from batchgen.cli import options
from batchgen.manual import pages

SHELLS = ("bash", "zsh", "fish")
PREAMBLES = {
    "bash": """
_batchgen_words() {
  batchgen completion --words bash "$1" 2>/dev/null
}
""",
    "zsh": """
_batchgen_words() {
  local -a found
  found=("${(@f)$(batchgen completion --words zsh "${PREFIX}" 2>/dev/null)}")
  compadd -a -- found
}
""",
    "fish": "",
}
_NAMES = {
    "bash": "_batchgen_words",
    "zsh": "_batchgen_words",
    "fish": "(batchgen completion --words fish (commandline -ct) 2>/dev/null)",
}
_COMPLETED = {
    **dict.fromkeys(("JOB", "GLOB"), _NAMES),
    **dict.fromkeys(("FILE", "PATH", "FILE|URL"), shtab.FILE),
    **dict.fromkeys(("DIR", "FOLDER"), shtab.DIRECTORY),
}
_TITLE = "batchgen's manual"
_MORE = """
The manual comes with the program, and needs no network: \\fBbatchgen help\\fR lists its pages, and
\\fBbatchgen help operations\\fR shows the one about every night.
"""


def completion(shell: str) -> str:
    """The completion of the whole command line for one of :data:`SHELLS`, a script for it to read."""
    parser = options.parser()
    for action in _actions(parser):
        if isinstance(action.metavar, str) and action.metavar in _COMPLETED:
            action.complete = _COMPLETED[action.metavar]  # type: ignore[attr-defined]  # how shtab is told
        elif action.metavar == "TOPIC":
            action.choices = pages.TOPICS
    return shtab.complete(parser, shell, preamble=PREAMBLES[shell])


def man_page() -> str:
    """The page of all commands and options, in roff."""
    parser = options.parser()
    examples, _, codes = (parser.epilog or "").partition("\nexit codes:\n")
    parser.epilog = None
    page = Manpage(parser)
    page.source, page.manual, page.description = f"batchgen {__version__}", _TITLE, parser.description
    for heading, text in (("examples", examples.removeprefix("examples:\n")), ("exit status", codes)):
        page.add_section(heading, "=", _as_it_is(text))
    page.add_section("see also", "=", _MORE.strip())
    return str(page)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of its commands."""
    for action in parser._actions:  # noqa: SLF001  # argparse has no other way to list them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # the same
            for command in action.choices.values():
                yield from _actions(command)


def _as_it_is(text: str) -> str:
    """Text for roff that keeps its lines and its blanks."""
    lines = text.strip("\n").replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join([".nf", *(f"\\&{line}" for line in lines), ".fi"])
