"""How requests leave this machine: through the proxies and with the certificate authorities that the environment names.

``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` (small letters win) are read as Python's own library
reads them, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` as OpenSSL does. A ``.netrc`` is never read: it would send somebody
else's password along.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import ipaddress
import math
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypedDict
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from yarl import URL

from batchgen.errors import UsageError
from batchgen.escapes import excerpt
from batchgen.http.endpoint import is_loopback

CERT_EXPIRED = {9, 10}  # OpenSSL's verify codes: not valid yet, no longer valid
STALL_SECONDS = 1.0  # a timer that fires this much late: the process itself stood still


class Route(TypedDict):
    """aiohttp's arguments for the way that a request takes; both are None for a direct connection."""

    proxy: URL | None
    proxy_headers: dict[str, str] | None


DIRECT = Route(proxy=None, proxy_headers=None)


class ProgressTimeout:
    """A context manager that raises TimeoutError once ``seconds`` pass in it without a :meth:`renew`.

    Where this process itself stood still (a disk that didn't answer, a machine that slept), the time starts once more:
    an answer that came meanwhile has still to be read, and may be the answer to a create.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, math.inf
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._until = math.inf  # on the loop's clock
        self._extended = False  # once only: a flood of work may keep the loop late for ever

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self.renew()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    @property
    def expired(self) -> bool:
        """Whether the timeout has passed."""
        return self._timeout.expired()

    def renew(self, last: float = math.inf) -> None:
        """Start the time anew, but let it end at ``last`` on the loop's clock at the latest."""
        self._last, self._extended = last, False
        self._wait(min(asyncio.get_running_loop().time() + self._seconds, last))

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Let no time pass meanwhile: what is waited for is this machine's own disk."""
        now = asyncio.get_running_loop().time
        left = self._until - now()
        if self._timer is not None:
            self._timer.cancel()
        try:
            yield
        finally:
            self._wait(now() + left)

    def _wait(self, until: float) -> None:
        if self.expired:
            return
        self._until = until
        if self._timer is not None:
            if self._timer.when() <= until and not self._timer.cancelled():
                return  # once it has come, it is set anew: that happens less often than progress
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(until, self._on_timer)

    def _on_timer(self) -> None:
        now, due = asyncio.get_running_loop().time(), self._until
        self._timer = None
        if now < due:
            self._wait(due)
        elif now - due > STALL_SECONDS and not self._extended:
            self._extended = True
            self._wait(max(min(now + self._seconds, self._last), now + STALL_SECONDS))
        elif not self.expired:  # by a timer before this one, while it was renewed
            self._timeout.reschedule(now)


class FilteringResolver(AbstractResolver):
    """Resolves a name to those of its addresses that ``accept`` returns, so that only checked addresses are connected to.

    ``accept`` gets a host and its addresses, and may raise.
    """

    def __init__(
        self, accept: Callable[[str, Sequence[str]], Sequence[str]], inner: AbstractResolver | None = None
    ) -> None:
        self._accept, self._inner = accept, inner or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        taken = self._accept(host, [one["host"] for one in found])
        return [one for one in found if one["host"] in taken]

    async def close(self) -> None:
        await self._inner.close()


class _Connector(aiohttp.TCPConnector):
    """Adds to ``reached`` the addresses of hosts that it has connected to without a proxy."""

    def __init__(self, reached: set[str], **given: Any) -> None:
        super().__init__(**given)
        self._reached_at = reached

    async def connect(self, req: aiohttp.ClientRequest, *given: Any, **named: Any) -> Connection:
        connection = await super().connect(req, *given, **named)
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        if peer and req.proxy is None:
            self._reached_at.add(peer[0])
        return connection


@functools.lru_cache(maxsize=1)
def _context(*named: tuple[str, str, int]) -> ssl.SSLContext:
    """The context of all sessions that trust the same certificates: reading a system's takes as long as twenty creates.

    ``named`` are SSL_CERT_FILE and SSL_CERT_DIR, with the paths that they name and the times of their last changes.
    """
    return ssl.create_default_context()


def session(
    *,
    force_close: bool = False,
    headers: Mapping[str, str] | None = None,
    resolver: AbstractResolver | None = None,
    reached: set[str] | None = None,
) -> aiohttp.ClientSession:
    """An HTTP session without aiohttp's own limits, cookies and decompression.

    ``force_close`` opens a connection for each request. ``reached`` collects the addresses that were connected to.
    Raises UsageError where SSL_CERT_FILE or SSL_CERT_DIR can't be read.
    """
    named = [(name, path) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if (path := os.environ.get(name))]
    for name, path in named:
        if not os.access(path, os.R_OK):
            text = f"{name} names {path}, which can't be read: no certificate could be checked with it"
            raise UsageError(text, kind="tls")
    # aiohttp has one with the system's own
    context = _context(*((name, path, os.stat(path).st_mtime_ns) for name, path in named)) if named else True
    return aiohttp.ClientSession(
        connector=_Connector(
            set() if reached is None else reached,
            limit=0,
            force_close=force_close,
            ssl=context,
            resolver=resolver,
        ),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        auto_decompress=False,
        trust_env=False,
    )


def route(url: str) -> Route:
    """Whether a request for ``url`` goes through a proxy. Plain HTTP to this machine never does.

    Raises UsageError where the proxy that the environment names can't be used.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http" and is_loopback(host):
        return DIRECT
    proxies = getproxies_environment()
    given = proxies.get(parts.scheme) or proxies.get("all")
    if not given or _bypassed(host, parts.netloc.rpartition("@")[2], proxies):
        return DIRECT
    return _via_proxy(given, parts.scheme)


def certificate_fault(error: BaseException) -> tuple[str, str] | None:
    """(kind, text) of an error that a certificate caused; None for any other error."""
    fault = getattr(error, "certificate_error", error)
    if not isinstance(fault, ssl.SSLCertVerificationError):
        return None
    expired = fault.verify_code in CERT_EXPIRED
    return (
        "certificate_expired" if expired else "tls",
        f"its certificate is not trusted: {fault.verify_message.rstrip('.')}",
    )


def fault(error: BaseException, proxy: URL | None = None) -> str:
    """What failed on the wire, in batchgen's own words: the library's may quote what the other side sent."""
    if found := certificate_fault(error):
        return found[1]
    at = "the proxy" if proxy is None else f"the proxy {proxy}"
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"{at} answered HTTP {error.status}"
        case aiohttp.ClientResponseError():
            return "what came isn't HTTP"
        case aiohttp.ClientPayloadError():
            return "what came ends early"
        case aiohttp.ServerDisconnectedError():
            return "it hung up without an answer"
        case aiohttp.ClientConnectorError():
            proxied = isinstance(error, aiohttp.ClientProxyConnectionError)
            return (
                f"can't connect to {at if proxied else f'{error.host}:{error.port}'}: {_why(error.os_error)}"
            )
        case OSError(errno=int()):
            return _why(error)
        case OSError():
            return "the connection was closed while the request was sent"
        case _:
            return f"it failed ({type(error).__name__})"


def _why(error: OSError) -> str:
    """The system's text for an error, without its number."""
    return error.strerror or os.strerror(error.errno or 0) if error.errno else excerpt(str(error))


def _bypassed(host: str, netloc: str, proxies: dict[str, str]) -> bool:
    """Whether ``NO_PROXY`` has the host: by its name or the end of it (as Python does), its address, or a network."""
    if proxy_bypass(netloc, proxies):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in proxies.get("no", "").split(","):
        try:
            if address in ipaddress.ip_network(entry.strip().strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False


def _via_proxy(given: str, scheme: str) -> Route:
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if (
        "@" in f"{parts.path}{parts.query}{parts.fragment}"
    ):  # a password with a / in it, taken for a host's port
        host = ""
    variable = f"{scheme.upper()}_PROXY"
    if parts.scheme not in ("http", "https") or not host:
        kind = (
            f"a {parts.scheme}:// proxy, which can't be used"
            if host
            else "no proxy that can be read (a / in a password is written %2F)"
        )
        text = f"{variable} (or ALL_PROXY) names {kind}: write http://HOST:PORT, or leave it out"
        raise UsageError(text, kind="proxy")
    headers = None
    if parts.username is not None:  # said as Authorization here, which aiohttp gives to the proxy alone
        user, password = unquote(parts.username), unquote(parts.password or "")
        headers = {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    port = port or (443 if parts.scheme == "https" else 80)
    return Route(proxy=URL.build(scheme=parts.scheme, host=host, port=port), proxy_headers=headers)
