"""Settings from the command line or the environment: flag > environment > built-in; an empty variable is unset.

All functions raise UsageError. The key has a module of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from batchgen.cli import quantities
from batchgen.errors import UsageError

if TYPE_CHECKING:
    from batchgen.storage.clip_hosts import AllowedHost

LEDGER_VARIABLE = "BATCHGEN_LEDGER"
CLIP_HOSTS_VARIABLE = "BATCHGEN_CLIP_HOSTS"
DOWNLOADS_VARIABLE = "BATCHGEN_DOWNLOADS"
PING_URL_VARIABLE = "BATCHGEN_PING_URL"
ON_FINISH_VARIABLE = "BATCHGEN_ON_FINISH"
NOTIFY_FILE_VARIABLE = "BATCHGEN_NOTIFY_FILE"
NOTIFY_URLS_VARIABLE = "BATCHGEN_NOTIFY_URLS"
NOTIFY_ON_VARIABLE = "BATCHGEN_NOTIFY_ON"
METRICS_FILE_VARIABLE = "BATCHGEN_METRICS_FILE"
#: The variable of the environment that stands between an option and the configuration file.
VARIABLES: Mapping[str, str] = {
    "ledger": LEDGER_VARIABLE,
    "base_url": "POWERTOKENS_API_BASE",
    "clip_hosts": CLIP_HOSTS_VARIABLE,
    "downloads": DOWNLOADS_VARIABLE,
    "clips": "BATCHGEN_SANDBOX_CLIPS",
    "color": "NO_COLOR",
    "ping_url": PING_URL_VARIABLE,
    "on_finish": ON_FINISH_VARIABLE,
    "notify_file": NOTIFY_FILE_VARIABLE,
    "notify_url": NOTIFY_URLS_VARIABLE,
    "notify_on": NOTIFY_ON_VARIABLE,
    "metrics_file": METRICS_FILE_VARIABLE,
}


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
    from batchgen.http.endpoint import BASE_URL_VARIABLE, DEFAULT_BASE_URL

    return flag or environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL


def clip_hosts(flag: tuple[AllowedHost, ...] | None, environ: Mapping[str, str]) -> tuple[AllowedHost, ...]:
    """The hosts that clips may come from besides public ones over https: ``--clip-hosts``, or ``BATCHGEN_CLIP_HOSTS``."""
    if flag is not None:
        return flag
    from batchgen.storage.clip_hosts import allowed_hosts

    try:
        return allowed_hosts(environ.get(CLIP_HOSTS_VARIABLE) or "")
    except ValueError as error:
        raise UsageError(f"{CLIP_HOSTS_VARIABLE}: {error}") from None


def downloads(flag: int | None, environ: Mapping[str, str]) -> int | None:
    """How many clips are fetched at once: ``--downloads``, or ``BATCHGEN_DOWNLOADS``; None: what the manifests say."""
    if flag is not None or not (given := environ.get(DOWNLOADS_VARIABLE)):
        return flag
    try:
        return quantities.downloads(given)
    except ValueError as error:
        raise UsageError(f"{DOWNLOADS_VARIABLE}: {error}") from None
