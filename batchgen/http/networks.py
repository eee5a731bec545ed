"""Whether a host is on the public internet: for images that the API fetches, and for clips that are fetched from here.

A host is judged by its text, and by the addresses that it resolves to. An IPv6 address that carries an IPv4 address is
judged by that.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal

#: What lies at an address that isn't public. Some proxies answer every name with a ``benchmark`` address.
Kind = Literal["loopback", "private", "link-local", "metadata", "benchmark", "reserved"]

WORDS: Final[dict[Kind, str]] = {
    "loopback": "this machine",
    "private": "a private network",
    "link-local": "the link that this machine is on",
    "metadata": "the metadata service of a cloud",
    "benchmark": "a network for tests, which some proxies use",
    "reserved": "an address that is not on the public internet",
}

_METADATA_NAMES: Final = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_LOCAL_NAMES: Final = (  # ends of names that resolve in their own network alone
    *(".localdomain", ".local", ".internal", ".intranet", ".private", ".corp", ".lan"),
    *(".home", ".home.arpa", ".test"),
)


def _ipv4(kind: Kind, *networks: str) -> list[tuple[Kind, int, int]]:
    return [
        (kind, int(one.network_address), int(one.netmask)) for one in map(ipaddress.IPv4Network, networks)
    ]


def _ipv6(kind: Kind, *networks: str) -> list[tuple[Kind, int, int]]:
    return [
        (kind, int(one.network_address), int(one.netmask)) for one in map(ipaddress.IPv6Network, networks)
    ]


#: (kind, network, mask): the first network that holds an address gives its kind.
_FOUR: Final = (
    # Those of AWS, Azure, Google and many others; of containers; Alibaba's, Tencent's, Oracle's, Azure's wire server.
    *_ipv4("metadata", "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.169.253"),
    *_ipv4("metadata", "100.100.100.200", "169.254.0.23", "192.0.0.192", "168.63.129.16"),
    *_ipv4("loopback", "127.0.0.0/8", "0.0.0.0/8"),  # 0.0.0.0 is connected to as this machine
    *_ipv4("private", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    *_ipv4("link-local", "169.254.0.0/16"),
    *_ipv4("benchmark", "198.18.0.0/15"),
    *_ipv4("reserved", "192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),
    *_ipv4("reserved", "192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4"),
)
_SIX: Final = (
    *_ipv6("metadata", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42"),
    *_ipv6("loopback", "::/127"),
    *_ipv6("private", "fc00::/7", "fec0::/10"),
    *_ipv6("link-local", "fe80::/10"),
    *_ipv6("benchmark", "2001:2::/48"),
    *_ipv6("reserved", "2001:db8::/32", "3fff::/20", "2001::/23"),  # Teredo among them
)
_PUBLIC_SIX: Final = int(IPv6Address("2000::")), int(ipaddress.IPv6Network("2000::/3").netmask)
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)  # before the IPv4 address in an interface's half


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """A host's address where the host is one, in any spelling that programs accept; None for a name."""
    host = host.rstrip(".")
    try:
        return IPv6Address(host)
    except AddressValueError:
        four = _inet_aton(host.lower())
        return None if four is None else IPv4Address(four)


@lru_cache(maxsize=4096)
def kind_of(address: IPv4Address | IPv6Address) -> Kind | None:
    """The kind of an address; None for the public internet."""
    if isinstance(address, IPv4Address):
        return _found(int(address), _FOUR)
    number = int(address)  # without its zone
    if (kind := _found(number, _SIX)) is not None:
        return kind
    if (inner := _carried(number)) is not None:
        return kind_of(inner)
    network, mask = _PUBLIC_SIX
    return None if number & mask == network else "reserved"


def kind_of_name(name: str) -> Kind | None:
    """The kind of a name (lower case) by its text alone; None where it may be on the public internet."""
    name = name.rstrip(".")
    if name.rpartition(".")[2] == "localhost":
        return "loopback"
    if name in _METADATA_NAMES:
        return "metadata"
    return "private" if "." not in name or name.endswith(_LOCAL_NAMES) else None


def _found(number: int, table: tuple[tuple[Kind, int, int], ...]) -> Kind | None:
    return next((kind for kind, network, mask in table if number & mask == network), None)


def _carried(number: int) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, compatible, translated, NAT64, 6to4, ISATAP."""
    low, middle, high = number & 0xFFFF_FFFF, number >> 32 & 0xFFFF_FFFF, number >> 64
    if high == 0 and middle in (0, 0xFFFF):  # ::a.b.c.d and ::ffff:a.b.c.d
        return IPv4Address(low)
    if (high, middle) in (
        (0, 0xFFFF_0000),
        (0x0064_FF9B_0000_0000, 0),
    ):  # ::ffff:0:a.b.c.d and 64:ff9b::a.b.c.d
        return IPv4Address(low)
    if high >> 48 == 0x2002:
        return IPv4Address(high >> 16 & 0xFFFF_FFFF)
    return IPv4Address(low) if middle in _ISATAP else None


def _inet_aton(host: str) -> int | None:
    """An IPv4 address as the system's inet_aton reads it: 127.1, 0x7f.0.0.1, 0177.0.0.1, 2130706433."""
    numbers: list[int] = []
    for part in host.split("."):
        if not re.fullmatch(r"0x[0-9a-f]{0,16}|[0-9]{1,20}", part):
            return None
        base = 16 if part.startswith("0x") else 8 if part.startswith("0") else 10
        try:
            numbers.append(int(part.removeprefix("0x") or "0", base))
        except ValueError:  # 09
            return None
    *bytes_, last = numbers
    if len(numbers) > 4 or any(byte > 255 for byte in bytes_) or last >= 256 ** (4 - len(bytes_)):
        return None
    return sum(byte << (24 - 8 * place) for place, byte in enumerate(bytes_)) + last
