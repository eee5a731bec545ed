"""Who may ask the page's server: the page itself alone, whatever else a browser of this machine shows."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from batchgen.page import gate
from batchgen.page.gate import Asked

TOKEN = "x" * 43
OWN: Mapping[str, str] = {
    "host": "127.0.0.1:8123",
    "x-batchgen-token": TOKEN,
    "sec-fetch-site": "same-origin",
}
POST = {**OWN, "origin": "http://127.0.0.1:8123", "content-type": "application/json; charset=utf-8"}


def status(
    method: str = "GET", token: str = TOKEN, hosts: int = 1, *, loads: bool = False, **headers: str
) -> int:
    base = POST if method == "POST" else OWN
    given = {**base, **{name.replace("_", "-"): value for name, value in headers.items()}}
    refused = gate.refusal(
        Asked(method, token, {k: v for k, v in given.items() if v}, hosts, loads), 8123, TOKEN
    )
    return refused[0] if refused else 200


def test_the_page_itself_may_ask() -> None:
    assert status() == status("POST") == status(loads=True, x_batchgen_token="") == 200
    assert status(loads=True, x_batchgen_token="", sec_fetch_site="none") == 200  # typed, or pasted
    assert status(sec_fetch_site="", origin="http://127.0.0.1:8123") == 200  # an older browser


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost:8123",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.2:8123",
        "[::1]:8123",
        "evil.example:8123",
        "evil.example",
    ],
)
def test_another_name_that_leads_here_is_none_of_ours(host: str) -> None:
    for loads in (True, False):
        assert status(host=host, loads=loads) == 421
    assert status("POST", host=host) == 421


def test_two_hosts_are_none() -> None:
    assert status(hosts=2) == status(hosts=0) == 421


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://localhost:8123",
        "http://127.0.0.1",
        "http://127.0.0.1:81",
        "https://127.0.0.1:8123",
        "https://evil.example",
    ],
)
def test_another_origin_is_refused_whatever_else_it_knows(origin: str) -> None:
    for loads in (True, False):
        assert status(origin=origin, loads=loads) == 403
    assert status("POST", origin=origin) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "whatever"])
def test_what_a_browser_says_comes_from_elsewhere_is_refused(site: str) -> None:
    assert status(sec_fetch_site=site, loads=True) == status("POST", sec_fetch_site=site) == 403


@pytest.mark.parametrize("token", ["", "x", "y" * 43, "x" * 42, "x" * 44, "é" * 43, "\udc80"])
def test_without_the_token_there_is_nothing(token: str) -> None:
    assert status(token=token) == status(token=token, loads=True) == status("POST", token=token) == 404
    assert status(x_batchgen_token=token) == status("POST", x_batchgen_token=token) == 403


def test_a_post_says_who_asks_and_is_json() -> None:
    assert status("POST", origin="") == 403
    assert status("POST", content_type="") == status("POST", content_type="text/plain") == 415
    assert status("POST", content_type="application/x-www-form-urlencoded") == 415
