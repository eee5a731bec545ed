"""Keeps this machine from falling asleep while a run is on: through systemd's login manager, or macOS's ``caffeinate``."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence

#: What the helper needs of the environment; the key isn't among it.
_NEEDS = ("PATH", "XDG_RUNTIME_DIR", "DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS")
ENDS = 2.0  # seconds in which the helper ends once it isn't needed

log = logging.getLogger("batchgen")


@contextlib.contextmanager
def awake(environ: Mapping[str, str]) -> Iterator[None]:
    """Inside of this the machine stays awake, where it lets this user say so; else the log says that it couldn't be had.

    A helper holds the lock as long as a pipe to it is open, which the kernel closes however this process ends.
    """
    command = _command(environ)
    if command is None:
        log.info("nothing here can keep this machine awake")
        yield
        return
    helper = subprocess.Popen(  # noqa: S603  # found by name, with our own words
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: environ[name] for name in _NEEDS if name in environ},
        cwd="/",
        start_new_session=True,
    )
    try:
        yield
    finally:
        if helper.poll() is not None:
            log.info("this machine could not be kept awake: %s ended with %s", command[0], helper.returncode)
        assert helper.stdin is not None
        helper.stdin.close()
        try:
            helper.wait(ENDS)
        except subprocess.TimeoutExpired:
            helper.kill()
            helper.wait()


def _command(environ: Mapping[str, str]) -> Sequence[str] | None:
    path = environ.get("PATH", os.defpath)
    cat = shutil.which("cat", path=path)
    if cat is not None and (program := shutil.which("systemd-inhibit", path=path)) is not None:
        what = ["--what=sleep:idle", "--mode=block", "--who=batchgen", "--why=clips are made and fetched"]
        return [program, *what, cat]
    if cat is not None and (program := shutil.which("caffeinate", path=path)) is not None:
        return [program, "-i", "-s", cat]
    return None
