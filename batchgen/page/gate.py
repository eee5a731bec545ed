"""Who may ask the page's server: the page itself, in a browser of this machine. Pure.

The address of the page holds a token, which no other page and no other user of the machine knows. Another page may send
requests here all the same, and its name may be made to lead to this machine; so ``Host``, ``Origin`` and
``Sec-Fetch-Site`` have to be those of the page, and what is more than loading a file carries the token once more, as a
header that no other page can set.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import NamedTuple

ADDRESS = "127.0.0.1"
HEADER = "X-Batchgen-Token"
#: What every answer carries: it is shown in no other page, kept nowhere, and taken for nothing but what it says it is.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Of the page, which has a policy of its own in its head.
PAGE_POLICY = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class Asked(NamedTuple):
    """What a request says of itself. ``token`` is the one in its path; header names are in small letters.

    ``loads``: it is for a file that the page loads or the page itself, which a browser asks for without the header.
    """

    method: str
    token: str
    headers: Mapping[str, str]
    hosts: int = 1
    loads: bool = False


def refusal(asked: Asked, port: int, token: str) -> tuple[int, str] | None:
    """The HTTP status and the reason for which a request isn't answered; None where it is."""
    own = f"{ADDRESS}:{port}"
    headers = asked.headers
    if asked.hosts != 1 or headers.get("host") != own:
        return 421, f"this is {own}, and no other name"
    if headers.get("origin", f"http://{own}") != f"http://{own}":
        return 403, "another page asks"
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return 403, "another page asks"
    if not _same(asked.token, token):
        return 404, "there is nothing at this address; `batchgen review` prints the right one"
    if not asked.loads and not _same(headers.get(HEADER.lower(), ""), token):
        return 403, "the token is missing"
    if asked.method == "POST" and "origin" not in headers:
        return 403, "a browser says who asks"
    if (
        asked.method == "POST"
        and headers.get("content-type", "").partition(";")[0].strip() != "application/json"
    ):
        return 415, "JSON is taken alone"
    return None


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode())
