"""Where `schedule --install` writes: this user's crontab, and this user's units. What is another's there stays as it is."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from batchgen.disk import write_whole
from batchgen.errors import UsageError
from batchgen.files import open_regular
from batchgen.night import crontab

ENDS = 20.0  # seconds that crontab or systemctl may take
LINGERS = "/var/lib/systemd/linger"
#: What the crontabs of the several crons say where a user has none; anything else may be one that can't be read.
_NONE = re.compile(r"no f?crontab for|No such file or directory")


class Place(Protocol):
    """Where a schedule is installed."""

    def write(self, texts: Sequence[str]) -> bool:
        """Write it. Returns whether that changed anything. Raises UsageError."""

    def remove(self) -> Sequence[str]:
        """Take it out. Returns what was removed. Raises UsageError."""

    def notes(self) -> Sequence[str]:
        """What is still to be done by a person."""


class Crontab:
    """This user's crontab, through the program of that name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, texts: Sequence[str]) -> bool:
        _, said, entry, *_ = texts[0].splitlines()
        return self._change(lambda text: crontab.with_block(text, self._name, said.removeprefix("# "), entry))

    def remove(self) -> Sequence[str]:
        changed = self._change(lambda text: crontab.without_block(text, self._name))
        return ["the lines in the crontab"] if changed else []

    def notes(self) -> Sequence[str]:
        return []

    def _change(self, change: Callable[[str], str]) -> bool:
        before = self._read()
        try:
            after = change(before)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if after == before:
            return False
        came = _run(["crontab", "-"], after) if after else _run(["crontab", "-r"])
        if came.returncode or self._read() != after:
            raise UsageError(
                f"the crontab could not be written: {came.stderr.strip() or 'it holds something else now'}"
            )
        return True

    def _read(self) -> str:
        came = _run(["crontab", "-l"])
        if came.returncode and not _NONE.search(came.stderr):
            raise UsageError(f"the crontab can't be read, and stays as it is: {came.stderr.strip()}")
        return "" if came.returncode else came.stdout


class Units:
    """A service and a timer among this user's units."""

    def __init__(self, name: str, folder: str) -> None:
        self._name, self._folder = name, folder
        self._paths = [os.path.join(folder, f"{name}.{kind}") for kind in ("service", "timer")]
        self._wanted = os.path.join(folder, "timers.target.wants", f"{name}.timer")
        self._untold = ""  # why systemd couldn't be told

    def write(self, texts: Sequence[str]) -> bool:
        self._refuse_others()
        changed = [path for path, text in zip(self._paths, texts, strict=True) if _content(path) != text]
        try:
            os.makedirs(os.path.dirname(self._wanted), exist_ok=True)
            for path, text in zip(self._paths, texts, strict=True):
                if path in changed:
                    write_whole(path, text)
            if not os.path.lexists(self._wanted):  # as `systemctl enable` does it
                os.symlink(self._paths[1], self._wanted)
        except OSError as error:
            raise UsageError(f"{error.filename or self._folder} can't be written: {error.strerror}") from None
        self._tell("daemon-reload")
        self._tell("restart" if changed else "start", f"{self._name}.timer")
        return bool(changed)

    def remove(self) -> Sequence[str]:
        self._refuse_others()
        there = [path for path in (self._wanted, *self._paths) if os.path.lexists(path)]
        if there:
            self._tell("stop", f"{self._name}.timer")
        for path in there:
            os.unlink(path)
        if there:
            self._tell("daemon-reload")
        return [path for path in there if path != self._wanted]

    def notes(self) -> Sequence[str]:
        import getpass

        notes = []
        if self._untold:
            told = f"systemctl --user daemon-reload && systemctl --user start {self._name}.timer"
            notes.append(
                f"systemd could not be told ({self._untold}); it begins at your next login, or with: {told}"
            )
        if not os.path.exists(os.path.join(LINGERS, getpass.getuser())):
            notes.append(
                "it begins while you are logged in; `loginctl enable-linger` lets it begin at any time"
            )
        return notes

    def _refuse_others(self) -> None:
        for path in self._paths:
            content = _content(path)
            if content is not None and not content.startswith(mark(self._name) + "\n"):
                raise UsageError(f"{path} is not of this program, and stays as it is; choose another --name")

    def _tell(self, *words: str) -> None:
        came = _run(["systemctl", "--user", *words])
        if came.returncode:
            self._untold = came.stderr.strip().partition("\n")[0] or f"exit code {came.returncode}"


def mark(name: str) -> str:
    """The first line of a unit of a schedule."""
    return f"# batchgen schedule: {name}"


def user_units(environ: Mapping[str, str]) -> str:
    """The folder of this user's own units."""
    base = environ.get("XDG_CONFIG_HOME") or ""
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.config"), "systemd", "user")


def _content(path: str) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        with open(path, encoding="utf-8", errors="surrogateescape", newline="", opener=open_regular) as file:
            return file.read(1 << 20)
    return None


def _run(command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program, which isn't given the key."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("POWERTOKENS_")}
    try:
        return subprocess.run(  # noqa: S603  # crontab and systemctl, with our own words
            command,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env={**environ, "LC_ALL": "C"},
            timeout=ENDS,
            check=False,
        )
    except FileNotFoundError:
        if command[0] == "crontab":
            raise UsageError(
                "there is no crontab here: install cron, or use `batchgen schedule systemd`"
            ) from None
        return subprocess.CompletedProcess(command, 127, "", f"there is no {command[0]} here")
    except subprocess.TimeoutExpired:
        raise UsageError(f"{command[0]} gives no answer") from None
