"""What the command line and the environment say: flag > environment > built-in; an empty variable is an unset one.

Everything here raises UsageError, and no message ever holds the key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from batchgen.errors import UsageError

LEDGER_VARIABLE = "BATCHGEN_LEDGER"
BASE_URL_VARIABLE = "POWERTOKENS_API_BASE"
KEY_VARIABLE = "POWERTOKENS_API_KEY"
KEY_FILE_VARIABLE = "POWERTOKENS_API_KEY_FILE"
CREDENTIAL = "powertokens_api_key"
LONGEST_KEY_FILE = 4096  # characters that are read
DEFAULT_BASE_URL = "https://api.powertokens.ai"

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?:in)?)?(?:{_NUMBER}s?)?")


def ledger_path(flag: str | None, environ: Mapping[str, str]) -> str:
    """The ledger's file: ``--ledger``, ``BATCHGEN_LEDGER``, or ``$XDG_STATE_HOME/batchgen/ledger.db``."""
    if named := flag or environ.get(LEDGER_VARIABLE):
        return os.path.abspath(os.path.expanduser(named))
    state = environ.get("XDG_STATE_HOME") or ""
    if not os.path.isabs(state):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            raise UsageError(
                f"there is no home folder to keep the ledger in; name it with --ledger or {LEDGER_VARIABLE}"
            )
        state = os.path.join(home, ".local", "state")
    return os.path.join(state, "batchgen", "ledger.db")


def base_url(flag: str | None, environ: Mapping[str, str]) -> str:
    """The API's base URL: ``--base-url``, ``POWERTOKENS_API_BASE``, or the built-in one."""
    return flag or environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL


def api_key(environ: Mapping[str, str]) -> str:
    """The key, from its variable, the file that one names, or systemd's credentials."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    credential = os.path.join(folder, CREDENTIAL) if folder else ""
    if key := environ.get(KEY_VARIABLE, "").strip():
        source = KEY_VARIABLE
    elif file := environ.get(KEY_FILE_VARIABLE):
        source, key = KEY_FILE_VARIABLE, _read(file, KEY_FILE_VARIABLE)
    elif os.path.exists(credential):
        source, key = credential, _read(credential, "CREDENTIALS_DIRECTORY")
    else:
        raise UsageError(
            f"there is no API key: set {KEY_VARIABLE}, or {KEY_FILE_VARIABLE} to a file that holds it"
        )
    if not key:
        raise UsageError(f"the API key from {source} is empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"the API key from {source} has characters that no key has; was more than the key copied?"
        )
    return key


def _read(path: str, variable: str) -> str:
    # What is no path at first sight isn't shown: it may be the key, in the wrong variable.
    named = (
        f"the API key's file {path} ({variable})"
        if path.startswith(("/", "~", "."))
        else f"the file in {variable}"
    )
    try:
        # Opened so, a pipe that nobody writes to is empty rather than waited for; one with a writer is read.
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(descriptor, True)
        with open(
            descriptor, encoding="utf-8", errors="replace"
        ) as file:  # an error would hold what was read
            return file.read(LONGEST_KEY_FILE).strip()
    except OSError as error:
        raise UsageError(f"{named} can't be read: {error.strerror}") from None


def seconds(text: str) -> float:
    """A duration: ``90``, ``90s``, ``15m``, ``2h``, ``1h30m``. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip().lower())
    if not match or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration; write 90, 90s, 15m, 2h or 1h30m")
    hours, minutes, rest = (float(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + rest


def deadline(text: str, now: datetime) -> float:
    """The moment of ``--deadline`` in Unix seconds: a duration, ``06:30`` (the next one), or a date and time.

    ``now`` is local and naive, so that a night in which the clocks change ends when its clock says so.
    Raises ValueError.
    """
    text = text.strip()
    try:
        if re.fullmatch(r"\d{1,2}:\d\d", text):
            hour, minute = map(int, text.split(":"))
            moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            if moment <= now:
                moment += timedelta(days=1)
        elif re.match(r"\d{4}-", text):
            moment = datetime.fromisoformat(text)
        else:
            moment = now.astimezone() + timedelta(seconds=seconds(text))
        at = moment.timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no deadline; write 06:30, 2h or 2026-01-31T06:30") from None
    if at < now.timestamp():
        raise ValueError(f"{text!r} has passed")
    return at
