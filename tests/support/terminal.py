"""A terminal of 100 columns: what a program shows there, and what of it stays to be read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

QUESTION = b"[y/N] "
PATIENCE = 120.0  # seconds in which a program shows something or ends


def on_a_terminal(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: str = "",
    more: Callable[[str], object] = lambda shown: None,
    answer: str | None = None,
) -> tuple[int, str]:
    """Run a program to its end. Returns its exit code and everything that the terminal was sent.

    ``stdin`` comes from a pipe; ``more`` is given all that was shown so far, each time there is more. With an ``answer``,
    stdin is the terminal, and it is typed once a question is shown.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={"TERM": "xterm-256color", **env},
        stdin=subprocess.PIPE if answer is None else theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(stdin.encode())
    shown = b""
    with contextlib.suppress(OSError):  # Linux's way to say that nobody has the other side open any more
        while select.select([ours], [], [], PATIENCE)[0]:
            shown += os.read(ours, 65536)
            more(shown.decode("utf-8", "replace"))
            if answer is not None and QUESTION in shown:
                os.write(ours, answer.encode())
                answer = None
    os.close(ours)
    return process.wait(PATIENCE), shown.decode()


def read(shown: str) -> str:
    """What stays to be read of what was shown: without colours, and without what was written over."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", shown).replace("\r\n", "\n")
    return "\n".join(line.rpartition("\r")[2].rstrip() for line in text.split("\n"))
