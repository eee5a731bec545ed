"""Where the API reaches a receiver of callbacks: the address that is given, checked, and the secret that it ends in."""

from __future__ import annotations

from urllib.parse import urlsplit

from batchgen.errors import UsageError
from batchgen.http.endpoint import is_loopback
from batchgen.request import urls

NOTE = "callback_secret"  # the ledger's: it holds as long as tasks may call that were told it
LONGEST = 1000  # characters; nobody says how long the API's field may be


def checked(text: str, api: str) -> str:
    """A ``--public-url``, without the ``/`` at its end. ``api`` is the API's base URL. Raises UsageError."""
    text = text.strip()
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https"):  # not shown: it may hold a secret
        raise UsageError("--public-url must look like https://HOST/PATH")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise UsageError(
            "--public-url must hold no user, password, query or fragment: a secret part is added by itself"
        )
    if len(text) > LONGEST:
        raise UsageError(f"--public-url is longer than {LONGEST} characters")
    if why := urls.problem(text):
        raise UsageError(f"--public-url {text}: {why}")
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(f"--public-url {text} must begin with https://: what is called there is a secret")
    if not is_loopback(urlsplit(api).hostname or "") and (why := urls.unreachable(text)):
        raise UsageError(f"--public-url {text}: {why}")
    return text.rstrip("/")


def callback_url(public_url: str, secret: str) -> str:
    """The ``callback_url`` that jobs get."""
    return f"{public_url}/{secret}"
