"""Finds the API key in the environment, in a file or by a command. No message ever has it."""

from __future__ import annotations

import logging
import os
import shlex
import stat
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from batchgen import files
from batchgen.errors import UsageError

if TYPE_CHECKING:
    import subprocess

KEY_VARIABLE = "POWERTOKENS_API_KEY"
KEY_FILE_VARIABLE = "POWERTOKENS_API_KEY_FILE"
KEY_COMMAND_VARIABLE = "POWERTOKENS_API_KEY_COMMAND"
CREDENTIAL = "powertokens_api_key"
LONGEST_KEY = 4096  # bytes that are read
COMMAND_ENDS = 60.0  # seconds that the command may take; a person may have to unlock a password store

log = logging.getLogger("batchgen")


def source(environ: Mapping[str, str]) -> tuple[str, str]:
    """Where the key is taken from: a variable, or the path of systemd's credential; and the file that has it, or "".

    Raises UsageError where there is none.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    credential = os.path.join(folder, CREDENTIAL) if folder else ""
    if environ.get(KEY_VARIABLE, "").strip():
        return KEY_VARIABLE, ""
    if file := environ.get(KEY_FILE_VARIABLE):
        return KEY_FILE_VARIABLE, file
    if environ.get(KEY_COMMAND_VARIABLE):
        return KEY_COMMAND_VARIABLE, ""
    if os.path.exists(credential):
        return credential, credential
    raise UsageError(
        f"there is no API key: set {KEY_VARIABLE}, {KEY_FILE_VARIABLE} to a file that holds it,"
        f" or {KEY_COMMAND_VARIABLE} to a command that prints it"
    )


def api_key(environ: Mapping[str, str], *, command_seconds: float | None = None) -> str:
    """The key: from its variable, the file or the command that a variable names, or systemd's credentials.

    Raises UsageError where there is none, or where it can't be a key; and where the command takes longer than it may.
    """
    name, file = source(environ)
    if file:
        key = _from_file(file, KEY_FILE_VARIABLE if name == KEY_FILE_VARIABLE else "CREDENTIALS_DIRECTORY")
    elif name == KEY_COMMAND_VARIABLE:
        key = _from_command(environ[name], COMMAND_ENDS if command_seconds is None else command_seconds)
    else:
        key = environ[name].strip()
    check(key, f"the API key from {name}")
    return key


def named_file(file: str, variable: str) -> str:
    """The file of a key for messages. What doesn't look like a path isn't shown: it may be the key, in the wrong variable."""
    if file.startswith(("/", "~", ".")):
        return f"the API key's file {file} ({variable})"
    return f"the file in {variable}"


def check(key: object, name: str = "the API key") -> None:
    """Raise UsageError, which calls the key by this ``name``, where it can't be a key."""
    if not key:
        raise UsageError(f"{name} is empty")
    if not isinstance(key, str) or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"{name} has characters that no key has; was more than the key copied?")


def key_without_waiting(environ: Mapping[str, str]) -> str:
    """The key for masking, where it is known without running a command or waiting for a pipe; else ""."""
    if key := environ.get(KEY_VARIABLE, "").strip():
        return key
    folder = environ.get("CREDENTIALS_DIRECTORY")
    file = environ.get(KEY_FILE_VARIABLE) or (os.path.join(folder, CREDENTIAL) if folder else "")
    path = os.path.expanduser(file)
    try:
        if not os.path.isfile(path):  # a pipe can be read once, and api_key() has to read it
            return ""
        with open(path, "rb", opener=files.open_regular) as opened:
            return _text(opened.read(LONGEST_KEY))
    except (OSError, ValueError):
        return ""


def _from_file(path: str, variable: str) -> str:
    named = named_file(path, variable)
    try:
        # With O_NONBLOCK, a pipe without a writer is empty rather than waited for; one with a writer is read.
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(descriptor, True)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode) and mode & stat.S_IROTH and variable == KEY_FILE_VARIABLE:
                # Away from a terminal it goes to the log file alone: a night that went well makes no mail.
                level = logging.WARNING if os.isatty(2) else logging.INFO
                log.log(level, "%s can be read by every user of this machine; chmod 600 ends that", named)
            return _text(file.read(LONGEST_KEY))
    except OSError as error:
        raise UsageError(f"{named} can't be read: {error.strerror}") from None


def _from_command(command: str, seconds: float) -> str:
    """The output of a command, run without a shell; its stderr goes to the user. Raises UsageError."""
    from subprocess import TimeoutExpired  # for the few who have such a command

    what = f"the command in {KEY_COMMAND_VARIABLE}"  # not the command itself: it may be the key, in the wrong variable
    process, why = _started(command)
    if process is None:
        raise UsageError(f"{what} can't be run: {why}")
    assert process.stdout is not None
    ends = time.monotonic() + seconds
    try:
        printed = _output(process.stdout.fileno(), ends)
        code = process.wait(max(0.0, ends - time.monotonic()))
    except (TimeoutError, TimeoutExpired):
        raise UsageError(f"{what} took longer than {seconds:.0f} seconds and was ended") from None
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    if code:
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise UsageError(
            f"{what} failed with {how}; it runs without a shell; what it said is above, if anything"
        )
    return _text(printed)


def _started(command: str) -> tuple[subprocess.Popen[bytes] | None, str]:
    """The process; or None, and why it didn't start. An exception would have the command in it."""
    import subprocess

    try:
        words = shlex.split(command)
        words[:1] = map(os.path.expanduser, words[:1])
        # Without a shell, and named by the user: S603 is about foreign text.
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE), ""  # noqa: S603  # as above
    except OSError as error:
        return None, f"{error.strerror}; give the program's whole path"
    except (ValueError, IndexError):
        return None, "it is empty, holds a NUL, or has a quote that is never closed"


def _output(descriptor: int, ends: float) -> bytes:
    """A command's output up to its end. Raises TimeoutError at ``ends``, UsageError where it is longer than a key."""
    import select

    output = b""
    while len(output) <= LONGEST_KEY:
        if not select.select([descriptor], [], [], max(0.0, ends - time.monotonic()))[0]:
            raise TimeoutError
        if not (more := os.read(descriptor, LONGEST_KEY + 1 - len(output))):
            return output
        output += more
    raise UsageError(f"the command in {KEY_COMMAND_VARIABLE} prints more than a key ({LONGEST_KEY} bytes)")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()  # strict decoding would raise an error with the key in it
