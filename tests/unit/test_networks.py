"""What lies inside of a network, and which hosts clips are fetched from."""

from __future__ import annotations

import re
import shlex
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.http import networks
from batchgen.http.networks import kind_of, kind_of_name, literal
from batchgen.storage.clip_hosts import ClipHosts, HostRefused, allowed_hosts

API = "https://api.example.com"

KINDS = {
    "loopback": "127.0.0.1 127.9.9.9 0.0.0.0 0.1.2.3 ::1 :: ::ffff:127.0.0.1 ::ffff:0:127.0.0.1 ::127.0.0.1"
    " 64:ff9b::7f00:1 2002:7f00:1:: 2002:7f00:1::5",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 fc00::1 fdff::1 fec0::1"
    " ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1:: 2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:10.0.0.1",
    "link-local": "169.254.0.1 169.254.255.254 fe80::1 fe80::1%eth0 febf::1 ::ffff:169.254.1.1",
    "metadata": "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 fd00:ec2::254 fd20:ce::254"
    " ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::",
    "benchmark": "198.18.0.1 198.19.255.255 2001:2::1",
    "reserved": "192.0.0.1 192.0.2.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255"
    " ff02::1 ff0e::1 2001:db8::1 3fff::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 64:ff9b:1::1 100::1 4000::1",
    None: "8.8.8.8 1.1.1.1 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 169.253.1.1 198.17.0.1 198.20.0.1"
    " 223.255.255.255 126.255.255.255 128.0.0.1 2606:4700::1111 2a00::1 64:ff9b::808:808 ::ffff:8.8.8.8 2002:808:808::"
    " 2400:3200::1",
}


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, one) for kind, all_ in KINDS.items() for one in all_.split()]
)
def test_an_address_is_of_the_kind_that_it_leads_to(kind: str | None, text: str) -> None:
    assert kind_of(ip_address(text)) == kind


@given(st.ip_addresses(v=4))
def test_no_spelling_of_an_address_is_of_another_kind(address: IPv4Address) -> None:
    """As one number, in octal, in hex, short, in IPv6; and nothing is public that Python's own table calls private."""
    number = int(address)
    first, rest = number >> 24, number & 0xFF_FFFF
    spellings = (
        f"{number}",
        f"0x{number:x}",
        f"0{number:o}",
        f"{first}.{rest}",
        f"0{first:o}.0x{rest:x}",
        f"{address}.",
    )
    assert {literal(one) for one in spellings} == {address}
    kind = kind_of(address)
    for base in ("::ffff:0:0", "::ffff:0:0:0", "64:ff9b::"):
        assert kind_of(IPv6Address(int(IPv6Address(base)) | number)) == kind
    assert kind_of(IPv6Address(0x2002 << 112 | number << 80)) == kind
    if kind is None:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_nothing_is_public_that_the_standard_calls_private(address: IPv6Address) -> None:
    if kind_of(address) is None and address.ipv4_mapped is None:
        assert address.is_global or int(address) >> 96 == 0x0064_FF9B or address.sixtofour is not None
        assert not address.is_multicast


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((one, "loopback") for one in ("localhost", "localhost.", "a.localhost", "a.localhost.")),
        *(
            (one, "metadata")
            for one in ("metadata.google.internal", "metadata.google.internal.", "instance-data")
        ),
        *(
            (one, "private")
            for one in ("nas", "minio.", "cdn.corp", "x.internal", "nas.local.", "pi.home.arpa")
        ),
        *((one, None) for one in ("cdn.example.com", "localhost.example.com", "mylocal.io")),
    ],
)
def test_a_name_tells_by_its_text_where_it_belongs(name: str, kind: str | None) -> None:
    assert kind_of_name(name) == kind


# -- which hosts are asked -----------------------------------------------------------------------------------------


def refusal(hosts: ClipHosts, url: str, *found: str, proxied: bool = False) -> str | None:
    """Why an address whose host has these addresses isn't asked; None where it is."""
    try:
        hosts.check(url, proxied=proxied)
        if found:
            assert hosts.accepted("cdn.example.com", found)
    except HostRefused as reason:
        return str(reason)
    return None


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ),
        *(
            "0.0.0.0",
            "0",
            "[::]",
            "localhost",
            "localhost.",
            "LOCALHOST",
            "a.localhost",
            "10.0.0.7",
            "[fd00::7]",
        ),
        *(
            "169.254.1.1",
            "[fe80::1]",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "metadata.google.internal",
            "100.64.1.1",
        ),
        *(
            "[64:ff9b::10.0.0.7]",
            "[2002:a00:7::]",
            "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
            "224.0.0.1",
            "198.18.0.1",
        ),
        *("[::ffff:a9fe:a9fe]", "255.255.255.255", "192.168.0.1:8443"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxied", [False, True])
def test_a_host_that_is_inside_of_a_network_by_its_text_is_not_asked(
    host: str, scheme: str, proxied: bool
) -> None:
    url = f"{scheme}://{host}/v.mp4?delete=all"
    said = refusal(ClipHosts(API), url, proxied=proxied)
    assert said is not None
    assert [said.startswith("it leads to "), said == "no host of clips is spelt like that"].count(True) == 1
    assert ("--clip-hosts" in said) == ("it leads to" in said and "metadata" not in said)
    if advised := re.search("`--clip-hosts (.*)` allows it", said):
        (entry,) = shlex.split(advised[1])  # it does what is said of it
        assert refusal(ClipHosts(API, allowed_hosts(entry)), url, proxied=proxied) in (
            None,
            "no host has such a name",
        )


@pytest.mark.parametrize(
    "host", ["134744072", "8.8.2056", "010.8.8.8", "256.1.1.1", "1.2.3.4.5", "1" * 300, "[::1::]", "..", "-x"]
)
def test_a_host_that_programs_read_differently_is_not_asked(host: str) -> None:
    assert refusal(ClipHosts(API), f"https://{host}/v.mp4") is not None


@pytest.mark.parametrize("kinds", [*(all_.split() for kind, all_ in KINDS.items() if kind is not None)])
def test_a_name_is_judged_by_what_it_resolves_to(kinds: list[str]) -> None:
    for one in kinds:
        said = refusal(ClipHosts(API), "https://cdn.example.com/v.mp4", one)
        assert said is not None
        assert one in said


def test_one_public_address_is_enough_and_the_others_are_never_connected_to() -> None:
    found = ["10.0.0.7", "8.8.8.8", "::1", "2606:4700::1111", "169.254.169.254", "fe80::1%2"]
    assert ClipHosts(API).accepted("cdn.example.com", found) == ["8.8.8.8", "2606:4700::1111"]


def test_plain_http_is_taken_where_the_api_is_at_plain_http_or_somebody_says_so() -> None:
    url = "http://cdn.example.com:8080/v.mp4"
    said = refusal(ClipHosts(API), url)
    assert said is not None
    assert "`--clip-hosts http://cdn.example.com`" in said
    assert refusal(ClipHosts("http://127.0.0.1:9"), url) is None
    assert refusal(ClipHosts(API, allowed_hosts("http://cdn.example.com")), url, "8.8.8.8") is None
    assert refusal(ClipHosts(API, allowed_hosts("http://.example.com")), url, "8.8.8.8") is None
    assert refusal(ClipHosts(API, allowed_hosts("cdn.example.com")), url) is not None
    assert refusal(ClipHosts(API, allowed_hosts("http://other.example.com")), url) is not None


@pytest.mark.parametrize(
    ("base_url", "reached", "host", "asked"),
    [
        ("http://127.0.0.1:8080", "", "127.0.0.1", True),
        ("http://127.0.0.1:8080", "", "[::1]", True),
        ("http://localhost:8080", "", "127.0.0.1", True),
        ("https://localhost", "", "127.0.0.1", True),
        ("http://127.0.0.1:8080", "", "10.0.0.7", False),
        ("http://127.0.0.1:8080", "", "169.254.169.254", False),
        ("https://10.1.1.1", "", "10.9.9.9", True),
        ("https://10.1.1.1", "", "[fd00::7]", True),
        ("https://10.1.1.1", "", "127.0.0.1", False),
        ("https://10.1.1.1", "", "169.254.1.1", False),
        ("https://[fd00::1]", "", "[fd00::2]", True),
        ("https://gateway.corp", "", "10.9.9.9", True),
        ("https://gateway.example.com", "", "10.9.9.9", False),
        ("https://gateway.example.com", "10.1.1.1", "10.9.9.9", True),
        ("https://gateway.example.com", "10.1.1.1", "127.0.0.1", False),
        ("https://gateway.example.com", "8.8.8.8", "10.9.9.9", False),
        ("https://api.example.com", "198.18.0.4", "198.18.0.9", True),
        ("https://api.example.com", "198.18.0.4", "10.0.0.9", False),
        ("https://169.254.169.254", "", "169.254.169.254", False),
        ("https://api.example.com", "169.254.169.254", "169.254.169.254", False),
    ],
)
def test_hosts_of_the_kind_that_the_api_is_itself_are_asked(
    base_url: str, reached: str, host: str, asked: bool
) -> None:
    hosts = ClipHosts(base_url, (), {reached} if reached else ())
    assert (refusal(hosts, f"https://{host}/v.mp4") is None) is asked
    assert (refusal(hosts, "https://cdn.example.com/v.mp4", host.strip("[]")) is None) is asked


def test_what_was_not_reached_at_first_counts_as_soon_as_it_is() -> None:
    reached: set[str] = set()
    hosts = ClipHosts("https://gateway.example.com", (), reached)
    assert refusal(hosts, "https://10.9.9.9/v.mp4") is not None
    reached.add("10.1.1.1")
    assert refusal(hosts, "https://10.9.9.9/v.mp4") is None


@pytest.mark.parametrize(
    ("allowed", "url", "found", "asked"),
    [
        ("10.0.0.0/8", "https://10.2.3.4/v", "", True),
        ("10.0.0.0/8", "https://cdn.example.com/v", "10.2.3.4", True),
        ("10.0.0.0/8", "https://cdn.example.com/v", "192.168.1.1", False),
        ("10.2.3.4", "https://10.2.3.4:9000/v", "", True),
        ("10.2.3.4", "https://10.2.3.5/v", "", False),
        ("fd00::/16", "https://[fd00::9]/v", "", True),
        ("[fd00::9]", "https://[fd00::9]/v", "", True),
        ("cdn.example.com", "https://cdn.example.com/v", "10.2.3.4", True),
        ("CDN.example.com.", "https://cdn.example.com./v", "10.2.3.4", True),
        (".example.com", "https://cdn.example.com/v", "127.0.0.1", True),
        ("*.example.com", "https://cdn.example.com/v", "127.0.0.1", True),
        (".ample.com", "https://cdn.example.com/v", "127.0.0.1", False),
        ("localhost", "https://localhost/v", "", True),
        ("localhost", "https://127.0.0.1/v", "", False),
        ("https://127.0.0.1/", "https://127.0.0.1:1/v", "", True),
        ("a.corp b.corp,cdn.example.com", "https://cdn.example.com/v", "10.2.3.4", True),
        ("169.254.0.0/16,cdn.example.com", "https://169.254.169.254/v", "", False),
        (
            "169.254.0.0/16,cdn.example.com",
            "https://cdn.example.com/v",
            "169.254.169.254",
            False,
        ),
        ("169.254.0.0/16", "https://169.254.7.7/v", "", True),
        ("", "https://10.2.3.4/v", "", False),
    ],
)
def test_a_host_that_somebody_names_is_asked_and_no_other(
    allowed: str, url: str, found: str, asked: bool
) -> None:
    said = refusal(ClipHosts(API, allowed_hosts(allowed)), url, *filter(None, [found]))
    assert (said is None) is asked


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "a b/c",
        "https://h/x",
        "h:8080",
        "u:pw@h",
        "10.0.0.0/99",
        "ftp://h",
        "/8",
        "a..b",
        "-h",
        "h?",
        "*",
    ],
)
def test_what_names_no_host_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="write HOST") as caught:
        allowed_hosts(text)
    assert "pw" not in str(caught.value)


def test_behind_a_proxy_names_of_local_networks_are_refused_by_their_text() -> None:
    hosts = ClipHosts(API)
    for name in ("jenkins", "jenkins.corp", "db.internal", "nas.local"):
        assert refusal(hosts, f"https://{name}/v", proxied=True) is not None
        assert refusal(hosts, f"https://{name}/v", proxied=False) is None  # what it resolves to is judged
    assert refusal(hosts, "https://cdn.example.com/v", proxied=True) is None
    assert refusal(ClipHosts("https://gateway.corp"), "https://cdn.corp/v", proxied=True) is None


def test_every_kind_has_its_words() -> None:
    assert set(networks.WORDS) == {kind for kind in KINDS if kind is not None}


@pytest.mark.parametrize(
    "entry",
    [
        "169.254.169.254",
        "http://169.254.169.254",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "2852039166",
    ],
)
def test_the_metadata_service_of_a_cloud_is_no_host_of_clips_and_naming_it_is_refused(entry: str) -> None:
    with pytest.raises(
        ValueError, match="is the metadata service of a cloud, which has no clips; it is never asked"
    ):
        allowed_hosts(f"cdn.example.com, {entry}")
