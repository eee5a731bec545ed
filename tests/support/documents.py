"""The project's documents as data: code blocks, tables, and a shell in which their commands are typed in order."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import batchgen
from batchgen.manual import pages
from batchgen.sandbox.command import CLIPS_VARIABLE
from tests.support.terminal import on_a_terminal, read

PACKAGE = Path(batchgen.__file__).parent
ROOT = PACKAGE.parent
README = (ROOT / "README.md").read_text("utf-8")
MANUAL = {topic: pages.page(topic).text for topic in pages.TOPICS}
#: README and the manual's pages, by their files' paths in the checkout.
PAGES = {"README.md": README} | {f"batchgen/manual/{topic}.md": text for topic, text in MANUAL.items()}
ARCHITECTURE = (PACKAGE / "ARCHITECTURE.md").read_text("utf-8")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_NAMED = re.compile(r"# (\S+\.\w+)\n")
_CODE = re.compile(r"`([^`]+)`")


class Typed(NamedTuple):
    """A command as the document shows it, and what it says comes out; ``...`` stands for anything."""

    command: str
    shown: str


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.M)
    assert found, f"no heading says {title!r}"
    rest = text[found.end() :]
    after = re.search(rf"^#{{1,{len(found[1])}}} ", re.sub(_BLOCK, _blank, rest), re.M)
    return rest[: after.start()] if after else rest


def _blank(block: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", block[0])  # a comment in a code block is no heading


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language, in their order."""
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def files(text: str, language: str) -> dict[str, str]:
    """The files that code blocks of a language show: each begins with its path in a comment."""
    found: dict[str, str] = {}
    for body in blocks(text, language):
        parts = _NAMED.split(body)
        assert not parts[0], f"a block says what file it is in its first line: {body[:60]!r}"
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


def typed(text: str) -> list[Typed]:
    """Every command of the console blocks, in order."""
    found = []
    for body in blocks(text, "console"):
        for part in re.split(r"^\$ ", body, flags=re.M)[1:]:
            command, _, shown = part.partition("\n")
            found.append(Typed(command.strip(), shown))
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without their heads."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    heads = {number - 1 for number, row in enumerate(cells) if set("".join(row)) <= set("-:")}
    return [row for number, row in enumerate(cells) if number not in heads and number - 1 not in heads]


def codes(text: str) -> list[str]:
    """What stands between backticks."""
    return _CODE.findall(text)


def matches(shown: str, came: str) -> bool:
    """Whether an output is the one that is shown, where ``...`` stands for anything and blanks at lines' ends don't count."""
    wanted = [re.escape(part) for part in _trimmed(shown).split("...")]
    return re.fullmatch(".*".join(wanted), _trimmed(came), re.S) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


class Came(NamedTuple):
    """How a typed command ended; ``out`` is what stays to be read on the terminal."""

    code: int
    out: str


@dataclass
class Shell:
    """A person's shell: what one command exports, or where it changes to, holds for the next.

    ``~`` is an empty home whose ``.local/bin`` comes first on the PATH, with ``python3`` as the tests' interpreter.
    """

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")

    def __post_init__(self) -> None:
        self.home.mkdir()
        self.cwd = self.home
        tools = self.home.with_name(f"{self.home.name}-tools")
        script(tools / "python3", sys.executable)
        path = os.pathsep.join([str(self.home / ".local/bin"), str(tools), "/usr/bin", "/bin"])
        self.env = {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8", CLIPS_VARIABLE: "stand-in"}

    def type(self, command: str, *, stdin: str = "") -> Came:
        """Run one command to its end."""
        after = self.home.with_name(f"{self.home.name}-after")
        tail = f'\ncode=$?; {{ pwd; env -0; }} > {shlex.quote(str(after))}; exit "$code"'
        code, shown = on_a_terminal(["bash", "-c", command + tail], cwd=self.cwd, env=self.env, stdin=stdin)
        where, _, variables = after.read_text().partition("\n")
        self.cwd = Path(where)
        self.env = dict(pair.split("=", 1) for pair in variables.split("\0") if pair)
        return Came(code, read(shown))


def script(path: Path, *command: str, environ: Mapping[str, str] | None = None) -> None:
    """A program that hands its arguments on to ``command``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in (environ or {}).items())
    path.write_text(f'#!/bin/sh\nexec env {settings} {shlex.join(command)} "$@"\n')
    path.chmod(0o755)


def prose(text: str) -> Iterator[str]:
    """The commands of batchgen that are named in running text, between backticks."""
    yield from (code for code in codes(_BLOCK.sub("", text)) if code.startswith("batchgen "))
