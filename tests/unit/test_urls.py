"""Web addresses that the API is asked to use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.request import urls


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "localhost:8000",
            "%6cocalhost",
            "ⓛocalhost",
        ),
        *(
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.255.1.2",
            "0.0.0.0",
            "0",
            "2130706433",
            "0x7f.1",
            "0x7F000001",
        ),
        *(
            "0177.0.0.1",
            "１２７.0.0.1",
            "user@127.0.0.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::7f00:1]",
        ),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    ],
)
def test_this_machine_can_t_be_reached(host: str) -> None:
    assert urls.problem(f"http://{host}/a.png") is None
    said = urls.unreachable(f"http://{host}/a.png")
    assert said is not None
    assert said.startswith("the API can't reach ")
    assert said.endswith(": it is this machine")


@pytest.mark.parametrize(
    "host",
    [
        *(
            "10.0.0.3",
            "172.16.3.4",
            "172.31.255.255",
            "192.168.1.2",
            "169.254.169.254",
            "100.64.0.1",
            "255.255.255.255",
        ),
        *(
            "3232235777",
            "[fe80::1]",
            "[fe80::1%25eth0]",
            "[fd00::1]",
            "[::ffff:10.0.0.1]",
            "[ff02::1]",
            "224.0.0.1",
        ),
        *(
            "nas.local",
            "NAS.LOCAL",
            "db.internal",
            "host.docker.internal",
            "pi.lan",
            "nas.home.arpa",
            "shop.test",
            "www.corp",
        ),
        *("nas", "minio:9000", "localhost.localdomain"),
    ],
)
def test_private_networks_can_t_be_reached(host: str) -> None:
    said = urls.unreachable(f"https://{host}/a.png")
    assert said is not None
    assert said.endswith(": it is not on the public internet")


@pytest.mark.parametrize(
    "host",
    [
        *(
            "example.com",
            "example.com.",
            "EXAMPLE.com:8443",
            "8.8.8.8",
            "134744072",
            "172.32.0.1",
            "[2606:4700::1111]",
        ),
        *(
            "[64:ff9b::808:808]",
            "xn--bcher-kva.example",
            "bücher.example",
            "local.example.com",
            "mylocal",
            "1.2.3.4.5.example",
        ),
        *("internal-tools.io", "user@example.com", "256.256.256.256"),
    ],
)
def test_hosts_of_the_internet_are_fine(host: str) -> None:
    url = f"https://{host}/a.png"
    assert urls.problem(url) is None
    assert urls.unreachable(url) is None or host == "mylocal"  # no dot, no name of the internet


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com/my frame.png", "a web address can't hold spaces; write %20"),
        ("https://example.com/a.png\n", "a web address can't hold spaces; write %20"),
        ("https://example.com/\u00a0", "a web address can't hold spaces; write %20"),
        ("https://example.com:99999/a.png", "this web address can't be read: Port out of range 0-65535"),
        ("https://example.com:0/a.png", "this web address can't be read: there is no port 0"),
        ("https://[::1/a.png", "this web address can't be read: Invalid IPv6 URL"),
        ("https:///a.png", "this web address names no host"),
        ("http://127.0.0.1\\@example.com/a.png", "a web address has / after its host, not \\"),
    ],
)
def test_what_is_no_address(url: str, said: str) -> None:
    assert urls.problem(url) == said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com/a.gif", "ends in .gif; the API takes .jpg, .jpeg and .png alone"),
        ("https://example.com/a.GIF#x", "ends in .gif; the API takes .jpg, .jpeg and .png alone"),
        ("https://example.com/a%2Emp4?width=3", "ends in .mp4; the API takes .jpg, .jpeg and .png alone"),
        ("https://example.com/a.heic", "ends in .heic; the API takes .jpg, .jpeg and .png alone"),
        *(
            (url, "is the address of a page that shows a picture, not the picture's own")
            for url in (
                "https://drive.google.com/file/d/1AbC/view?usp=sharing",
                "https://github.com/a/b/blob/main/frame.png",
                "https://www.dropbox.com/s/abc/frame.png?dl=0",
                "https://photos.app.goo.gl/abc",
            )
        ),
        ("https://u:secret@example.com/a.png", "holds a user's name, which the API may not send on"),
    ],
)
def test_what_the_api_may_not_take(url: str, said: str) -> None:
    assert urls.problem(url) is None
    assert urls.warning(url) == said


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://example.com/a.png",
            "https://example.com/a.JPG?x=.gif",
            "https://example.com/frame",
            "https://example.ai",
        ),
        *(
            "https://example.com/a.webp?format=jpg",
            "https://example.com/a.heic?x-oss-process=image/format,png",
        ),
        *("https://www.dropbox.com/s/abc/frame.png?dl=1", "https://github.com/a/b/raw/main/a.png"),
        *(
            "https://example.com/a@2x.png",
            "https://storage.googleapis.com/b/a.png",
            "https://drive.google.com/uc?id=1",
        ),
    ],
)
def test_what_nobody_has_doubts_about(url: str) -> None:
    assert urls.warning(url) is None


@given(st.text(max_size=40))
def test_any_address_is_judged(rest: str) -> None:
    url = f"https://{rest}"
    if urls.problem(url) is None:
        for said in (urls.unreachable(url), urls.warning(url)):
            assert said is None or said
