"""Which hosts clips are fetched from: public ones over https, and those that ``--clip-hosts`` names.

The addresses of clips come from outside. Unchecked, they could make this machine request anything that it can reach.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from batchgen.http import networks
from batchgen.http.addresses import origin_of
from batchgen.http.networks import Kind

MAX_HOST = 253  # characters of a host

_NAME = re.compile(r"\.?[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ENTRY = re.compile(
    r"(?:(https?)://)?(?:\*(?=\.))?(\[[^]]*\]|[^\[\]/:@]*|[0-9A-Fa-f:.]+)(/\d{1,3})?/?", re.IGNORECASE
)


class HostRefused(Exception):
    """A host that clips are not fetched from; the text says why, and how to allow it."""


class AllowedHost(NamedTuple):
    """One entry of ``--clip-hosts``: a name, a network, or with a dot before it the end of names.

    ``plain`` allows http besides https.
    """

    name: str
    network: IPv4Network | IPv6Network | None = None
    plain: bool = False

    def holds(self, host: str) -> bool:
        """Whether this entry covers a host or address, by its text."""
        if self.network is not None:
            address = networks.literal(host)
            return address is not None and address in self.network
        return host == self.name or (self.name.startswith(".") and host.endswith(self.name))


def allowed_hosts(text: str) -> tuple[AllowedHost, ...]:
    """The entries of ``--clip-hosts``, separated by commas or spaces. Raises ValueError with the entry that is none."""
    return (
        tuple(map(_allowed_host, re.split(r"[,\s]+", text.strip(", \t\n")))) if text.strip(", \t\n") else ()
    )


def _allowed_host(text: str) -> AllowedHost:
    match = _ENTRY.fullmatch(text)
    scheme, host, bits = match.groups() if match else (None, "", None)
    plain, host = (scheme or "").lower() == "http", host.strip("[]")
    if match and _kind(_bare(host)) == "metadata" and not bits:
        raise ValueError(f"{host} is {networks.WORDS['metadata']}, which has no clips; it is never asked")
    if match and (bits or networks.literal(host) is not None):
        try:
            return AllowedHost("", ipaddress.ip_network(f"{host}{bits or ''}", strict=False), plain)
        except ValueError:
            host = ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            host = ""
    if not _NAME.fullmatch(host) or ".." in host:
        shown = "an entry with a user" if "@" in text else repr(text[:80])
        raise ValueError(
            f"{shown} is no host; write HOST, .DOMAIN, ADDRESS, NETWORK/BITS, or http://HOST for one without TLS"
        )
    return AllowedHost(host.lower().rstrip("."), None, plain)


class ClipHosts:
    """The hosts that clips of one API may come from.

    With an API at ``https``, clips come over ``https`` alone. A kind of address that isn't public (loopback, private)
    is allowed where the API has it too: in ``base_url``, or among the addresses in ``reached``, which grows during a run.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1",
        allowed: Iterable[AllowedHost] = (),
        reached: Collection[str] = (),
    ) -> None:
        origin = origin_of(base_url)
        self._tls = origin is None or origin[0] == "https"
        self._own = _kind(origin[1]) if origin else None
        self._allowed, self._reached = tuple(allowed), reached

    def check(self, url: str, *, proxied: bool) -> None:
        """Raise HostRefused where the text of ``url`` shows that it must not be requested.

        Names are checked again by :meth:`accepted` once they are resolved. Where a proxy resolves them (``proxied``) that
        can't be, so names of private networks are refused here.
        """
        scheme, host, _ = origin_of(url) or ("", "", 0)
        bare = _bare(host)
        address, kind = networks.literal(bare), _kind(bare)
        if kind == "private" and address is None and not proxied:
            kind = None
        plain = scheme == "http" and self._tls
        entry = f"http://{host.rstrip('.')}" if plain else bare
        if not _is_host(bare, address):
            raise HostRefused("no host of clips is spelt like that")
        if not self._allows(bare, kind):
            raise HostRefused(_why(kind, entry))
        if plain and not any(one.plain and one.holds(bare) for one in self._allowed):
            raise HostRefused(f"it is not encrypted, and the API is; {_remedy(entry)}")

    def accepted(self, host: str, found: Sequence[str]) -> list[str]:
        """Those of a host's addresses that may be connected to. Raises HostRefused where none may be.

        One public address is enough: a name may have others that are of use in its own network alone.
        """
        kinds = {one: networks.kind_of(ipaddress.ip_address(one)) for one in found}
        taken = [one for one, kind in kinds.items() if self._allows(_bare(host), kind, one)]
        if not taken and found:
            raise HostRefused(_why(kinds[found[0]], _bare(host), f" ({found[0]})"))
        return taken

    def _allows(self, host: str, kind: Kind | None, address: str = "") -> bool:
        if kind is None or kind == "metadata":
            return kind is None
        if kind == self._own or kind in {
            networks.kind_of(ipaddress.ip_address(one)) for one in self._reached
        }:
            return True
        return any(one.holds(host) or (address and one.holds(address)) for one in self._allowed)


def _bare(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _kind(bare: str) -> Kind | None:
    """The kind of a host by its text."""
    address = networks.literal(bare)
    return networks.kind_of_name(bare) if address is None else networks.kind_of(address)


def _is_host(bare: str, address: IPv4Address | IPv6Address | None) -> bool:
    """Whether a host is a name, or an address in the one spelling that all programs read alike."""
    if address is not None:
        return address.version == 6 or str(address) == bare
    return len(bare) <= MAX_HOST and bool(_NAME.fullmatch(bare)) and not re.fullmatch("[0-9.]*", bare)


def _why(kind: Kind | None, entry: str, at: str = "") -> str:
    words = f"it leads to {networks.WORDS[kind or 'reserved']}{at}"
    if kind == "metadata":
        return f"{words}, which has no clips"
    return f"{words}, and the API was not reached there; {_remedy(entry)}"


def _remedy(entry: str) -> str:
    return f"where that is a host of clips that you trust, `--clip-hosts {shlex.quote(entry)}` allows it"
