"""How requests leave this machine: through the proxies and with the certificate authorities that the environment names.

``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` (small letters win) are read as Python's own library
reads them, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` as OpenSSL does. A ``.netrc`` is never read: it would send somebody
else's password along.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import math
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
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
STALL_SECONDS = 1.0  # seconds that the loop comes late where this process was kept from its work


class Route(TypedDict):
    """What a request is given besides its URL; both None where it goes straight."""

    proxy: URL | None
    proxy_headers: dict[str, str] | None


DIRECT = Route(proxy=None, proxy_headers=None)


class ProgressTimeout:
    """Raises TimeoutError where ``seconds`` pass in it without :meth:`renew`, or where the last moment has come.

    Where this process itself stood still, behind a disk that didn't answer or on a machine that slept, they begin once
    more: what came meanwhile has still to be heard, and may be the answer to a create.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, math.inf
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._extended = False  # it has begun once more: a flood may keep a process from its work for ever

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
        """Whether it has ended so."""
        return self._timeout.expired()

    def renew(self, last: float = math.inf) -> None:
        """Wait anew from now on, until the moment ``last`` of the loop's clock at most."""
        self._last, self._extended = last, False
        self._wait(min(asyncio.get_running_loop().time() + self._seconds, last))

    def _wait(self, until: float) -> None:
        if self.expired:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(until, self._on_timer, until)

    def _on_timer(self, due: float) -> None:
        now = asyncio.get_running_loop().time()
        if now - due > STALL_SECONDS and not self._extended:
            self._extended = True
            self._wait(max(min(now + self._seconds, self._last), now + STALL_SECONDS))
        else:
            self._timeout.reschedule(now)


class FilteringResolver(AbstractResolver):
    """Resolves names to those of their addresses that ``accept`` takes: what is connected to is what was judged.

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
    """Remembers in ``reached`` at which addresses it has connected to hosts themselves, not to a proxy."""

    def __init__(self, reached: set[str], **given: Any) -> None:
        super().__init__(**given)
        self._reached_at = reached

    async def connect(self, req: aiohttp.ClientRequest, *given: Any, **named: Any) -> Connection:
        connection = await super().connect(req, *given, **named)
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        if peer and req.proxy is None:
            self._reached_at.add(peer[0])
        return connection


def session(
    *,
    force_close: bool = False,
    headers: Mapping[str, str] | None = None,
    resolver: AbstractResolver | None = None,
    reached: set[str] | None = None,
) -> aiohttp.ClientSession:
    """A session without limits, cookies and decompression of its own. Raises UsageError for a set-up that can't work.

    ``force_close``: a connection for each request. ``reached`` gets the addresses that it has connected to.
    """
    named = [(name, path) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if (path := os.environ.get(name))]
    for name, path in named:
        if not os.access(path, os.R_OK):
            text = f"{name} names {path}, which can't be read: no certificate could be checked with it"
            raise UsageError(text, kind="tls")
    context = ssl.create_default_context() if named else True  # aiohttp has one with the system's own
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
    """How a request for ``url`` goes. Plain HTTP on this machine never leaves it. Raises UsageError."""
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
    """(kind, text) where a certificate is the reason; None where the error is of another sort."""
    fault = getattr(error, "certificate_error", error)
    if not isinstance(fault, ssl.SSLCertVerificationError):
        return None
    expired = fault.verify_code in CERT_EXPIRED
    return (
        "certificate_expired" if expired else "tls",
        f"its certificate is not trusted: {fault.verify_message.rstrip('.')}",
    )


def fault(error: BaseException, proxy: URL | None = None) -> str:
    """What failed on the wire, in plain words. None are the library's, which quote what came, or those of who answered."""
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
    """The system's words for it, without its numbers."""
    return error.strerror or os.strerror(error.errno or 0) if error.errno else excerpt(str(error))


def _bypassed(host: str, netloc: str, proxies: dict[str, str]) -> bool:
    """Whether ``NO_PROXY`` holds the host: by its name or end (as Python does), its address, or a network's."""
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
