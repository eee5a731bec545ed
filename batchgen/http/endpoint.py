"""The API's address, checked and normalised: a ledger is bound to one and compares it as text."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from batchgen.errors import UsageError

BASE_URL_VARIABLE = "POWERTOKENS_API_BASE"
DEFAULT_BASE_URL = "https://api.powertokens.ai"


def origin(base_url: str) -> str:
    """The checked, normalised base URL: ``scheme://host[:port][/path]``. Raises UsageError."""
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:  # whose text may hold a password
        raise UsageError("the base URL can't be read; it must look like https://HOST") from None
    if "://" not in base_url:  # not shown: it may be the key, in the wrong variable
        raise UsageError("the base URL must look like https://HOST")
    if "@" in base_url or parts.query or parts.fragment:
        raise UsageError(
            "the base URL must hold no user, password, query or fragment; the key has its own variable"
        )
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch("[!-~]+", base_url.strip()):
        raise UsageError(f"the base URL {base_url!r} must look like https://HOST")
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(f"the base URL {base_url!r} would send the key unencrypted; use https://{host}")
    shown = f"[{host}]" if ":" in host else host
    standard = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}{f':{port}' if port not in (None, standard) else ''}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: a loopback address, or ``localhost``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
