"""Who may send requests to the sandbox: programs that use a loopback name or its own address, but no page in a browser."""

from __future__ import annotations

import functools
import ipaddress
import re

from aiohttp import web
from yarl import URL

Address = tuple[str, int]  # a host as it is compared, and a port
_NOT_FOREIGN = {
    "none",
    "same-origin",
}  # Sec-Fetch-Site of an address that a person typed, and of what it loads


def refusal(request: web.Request, listened: str = "") -> tuple[int, str] | None:
    """The HTTP status and the reason for which ``request`` is not answered; None where it is.

    A page whose name was made to resolve to this machine still sends that name as ``Host``; ``listened`` is the
    name that the sandbox listens on. Other pages are recognised by ``Origin`` or ``Sec-Fetch-Site``.
    """
    hosts = request.headers.getall("Host", [])
    link = request.get_extra_info("sockname")
    own = {canonical(listened), canonical(link[0]) if link else ""}
    if len(hosts) != 1 or not _is_ours(hosts[0], own):
        return 421, "the sandbox answers to loopback hosts and its own address alone"
    if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") not in _NOT_FOREIGN:
        return 403, "the sandbox is for programs; it answers no page of a browser"
    return None


def _is_ours(host: str, own: set[str]) -> bool:
    try:
        name = canonical(URL(f"http://{host}").host or "")
    except ValueError:
        return False
    return is_loopback(name) or (name in own and name != "")


@functools.lru_cache(maxsize=64)  # the same few with every request
def canonical(host: str) -> str:
    """A host normalised for comparison: IPv6 without brackets and zone, names in lower case."""
    host = host.strip("[]").partition("%")[0].lower().removesuffix(".")
    try:
        return ipaddress.ip_address(host).compressed
    except ValueError:
        return host


def is_loopback(host: str) -> bool:
    """Whether a canonical host is a loopback address or ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(text: str) -> Address:
    """``HOST:PORT`` of a receiver on this machine. Raises ValueError."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", text, re.ASCII)
    host = canonical(match[1]) if match else ""
    if not match or not is_loopback(host) or not 0 < int(match[2]) < 1 << 16:
        raise ValueError(f"{text!r}: write a host of this machine and a port, as 127.0.0.1:9000")
    return host, int(match[2])


def receiver(url: URL) -> Address:
    """The host and port that a request for ``url`` goes to."""
    return canonical(url.host or ""), url.port or 0
