"""What the command line and the environment say: flag > environment > built-in; an empty variable is an unset one.

Everything here raises UsageError. The key has a module of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from batchgen.errors import UsageError
from batchgen.storage.clip_hosts import Entry, entries

LEDGER_VARIABLE = "BATCHGEN_LEDGER"
CLIP_HOSTS_VARIABLE = "BATCHGEN_CLIP_HOSTS"
BASE_URL_VARIABLE = "POWERTOKENS_API_BASE"
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


def clip_hosts(flag: tuple[Entry, ...] | None, environ: Mapping[str, str]) -> tuple[Entry, ...]:
    """The hosts that clips may come from besides public ones over https: ``--clip-hosts``, or ``BATCHGEN_CLIP_HOSTS``."""
    if flag is not None:
        return flag
    try:
        return entries(environ.get(CLIP_HOSTS_VARIABLE) or "")
    except ValueError as error:
        raise UsageError(f"{CLIP_HOSTS_VARIABLE}: {error}") from None


def seconds(text: str) -> float:
    """A duration: ``90``, ``90s``, ``15m``, ``2h``, ``1h30m``. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip().lower())
    if not match or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration; write 90, 90s, 15m, 2h or 1h30m")
    hours, minutes, rest = (float(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + rest


def bytes_per_second(text: str) -> float:
    """A speed: ``16384``, ``16K``, ``1.5M``, with units of 1024. Raises ValueError."""
    match = re.fullmatch(rf"{_NUMBER}\s*(?:([kmg])(?:i?b)?(?:/s)?)?", text.strip().lower())
    if not match:
        raise ValueError(f"{text!r} is no speed; write bytes a second: 16384, 16K or 1M")
    return float(match[1]) * {None: 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2]]


def deadline(text: str, now: datetime) -> float:
    """The moment of ``--deadline`` or ``--until`` in Unix seconds: a duration, ``06:30`` (the next one), or a date and time.

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
        raise ValueError(
            f"{text!r} is no time and no duration; write 06:30, 2h or 2026-01-31T06:30"
        ) from None
    if at < now.timestamp():
        raise ValueError(f"{text!r} has passed")
    return at
