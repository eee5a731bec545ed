"""Addresses of clips: where an answer has them, what a relative one means, and that none is spelt anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.http.addresses import MAX_CLIPS, MAX_LENGTH, address, clip_links, origin_of, resolve, split

API = "https://api.example.com/gateway/kling/v1/videos/image2video"
A, B, C = "https://cdn/a.mp4", "https://cdn/b.mp4", "https://cdn/c.mp4"


def links(*videos: object) -> dict[str, str]:
    return dict(clip_links({"videos": list(videos)}, API))


# -- where a result has them ---------------------------------------------------------------------------------

FOUND: dict[str, tuple[tuple[object, ...], dict[str, str]]] = {
    "one": (({"id": "v", "url": A, "duration": "5"},), {"": A}),
    "only the watermarked one": (({"url": "", "watermark_url": A},), {"": A}),
    "no url at all": (({"watermark_url": A},), {"": A}),
    "null beside it": (({"url": None, "watermark_url": A},), {"": A}),
    "unusable beside it": (({"url": "pending", "watermark_url": A},), {"": A}),
    "both": (({"url": A, "watermark_url": B},), {"": A, "watermark": B}),
    "both the same": (({"url": A, "watermark_url": A},), {"": A}),
    "the first empty": (({"url": ""}, {"url": B}), {"": B}),
    "the first null": ((None, {"url": B}), {"": B}),
    "the middle empty": (({"url": A}, {}, {"url": C}), {"": A, "part2": C}),
    "several": (({"url": A}, {"url": B}, {"url": C}), {"": A, "part2": B, "part3": C}),
    "the same twice": (({"url": A}, {"url": A}), {"": A}),
    "several with watermarks": (
        ({"url": A, "watermark_url": B}, {"url": C, "watermark_url": f"{C}?w"}),
        {"": A, "watermark": B, "part2": C, "part2.watermark": f"{C}?w"},
    ),
    "texts": ((A, B), {"": A, "part2": B}),
    "more than anybody makes": (
        tuple({"url": f"{A}?{number}"} for number in range(100)),
        {"" if number == 0 else f"part{number + 1}": f"{A}?{number}" for number in range(MAX_CLIPS)},
    ),
    "nothing": ((), {}),
}


@pytest.mark.parametrize(("videos", "expected"), FOUND.values(), ids=FOUND.keys())
def test_every_file_of_a_result_is_found_once(videos: tuple[object, ...], expected: dict[str, str]) -> None:
    assert links(*videos) == expected


@pytest.mark.parametrize(("videos", "expected"), [({"url": A}, {"": A}), (A, {"": A}), (None, {}), (7, {})])
def test_a_result_that_is_no_list_is_read_where_it_means_one_thing(
    videos: Any, expected: dict[str, str]
) -> None:
    assert dict(clip_links({"videos": videos}, API)) == expected


GIVEN = {
    f"{A}\n": A,
    f" \t{A}\r\n": A,
    f"\ufeff{A}": A,
    "https://cdn/long/\n  ".rstrip() + "v.mp4": "https://cdn/long/v.mp4",
    "/files/v.mp4": "https://api.example.com/files/v.mp4",
    "files/v.mp4": "https://api.example.com/files/v.mp4",
    "./files/v.mp4": "https://api.example.com/files/v.mp4",
    "../files/v.mp4?x=%2F": "https://api.example.com/files/v.mp4?x=%2F",
    "/v1/videos/t1/content": "https://api.example.com/v1/videos/t1/content",
    "/x/../v.mp4?a=%7E~": "https://api.example.com/x/../v.mp4?a=%7E~",
    "//cdn.example.com/v.mp4": "https://cdn.example.com/v.mp4",
    "HTTPS://CDN.example.com/V.mp4": "https://CDN.example.com/V.mp4",
    "https://cdn/v.mp4#t=1": "https://cdn/v.mp4",
    "https://cdn/a b.mp4?n=ü 1": "https://cdn/a%20b.mp4?n=%C3%BC%201",
    "https://bücher.example/v.mp4": "https://xn--bcher-kva.example/v.mp4",
    "https://cdn?x=1": "https://cdn/?x=1",
    "https://cdn:8443/v.mp4": "https://cdn:8443/v.mp4",
    "https://[::1]:8443/v.mp4": "https://[::1]:8443/v.mp4",
}


@pytest.mark.parametrize(("text", "expected"), GIVEN.items())
def test_an_address_is_taken_where_it_can_mean_only_one_thing(text: str, expected: str) -> None:
    assert address(text, API) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "\n", "pending", "processing", "null", "N/A", "n/a", "-", "/", "//", "v.mp4", "0"),
        *("file:///etc/passwd", "ftp://h/x", "javascript:1", "data:video/mp4;base64,AAAA", "s3://bucket/key"),
        *(
            "http://",
            "https://[::1",
            "https://[",
            "http:/x",
            "http:x",
            "https:\\\\cdn\\v",
            "https://exa mple/v",
        ),
        *(
            "https://cdn:0/v",
            "https://cdn:99999/v",
            "https://cdn:x/v",
            "https://\ud800.example/",
            "https://c/\ud800",
        ),
        "https://cdn/" + "x" * MAX_LENGTH,
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert address(text, API) is None
    assert links({"url": text, "watermark_url": A}) == {"": A}


@pytest.mark.parametrize("value", [None, 7, True, [], {}, [A], b"x"])
def test_what_is_no_text_is_no_address(value: object) -> None:
    assert address(value, API) is None


def test_a_relative_address_means_nothing_where_nobody_says_to_what() -> None:
    assert address("/files/v.mp4") is None


# -- as it was given -----------------------------------------------------------------------------------------

SIGNED = [
    "/files/v.mp4?Expires=1&Signature=q~Z0%2FjQ%3D%3D",
    "/v.mp4?X-Amz-Credential=AKIA%2F20261128%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-SignedHeaders=host&sig=%2b%2B",
    "/v.mp4?a=%7E&b=%27&c=%40&d=%3A&e=%2C&f=%21&g=%24&h=%3b&i=%20&j=+&k=%2B&l=%c3%bc",
    "/a%27b%2Ec%7ed%28e%21f%2Cg%2Fh%40i%3Aj.mp4",
    "/x/../y/./z//v.mp4",
    "/x/%2E%2E/v.mp4",
    "/v.mp4?",
    "/v.mp4?&&a=&=b",
    "/v.mp4?a=1?b=2",
    "/v.mp4;v=1",
    "/%",
    "/%zz?%",
    "/v.mp4?q=\"<>\\^`{|}'",
    "/?x",
    "//v.mp4",
    "/@v:1/[x]?y=[z]",
]


@pytest.mark.parametrize("target", SIGNED)
def test_not_one_byte_of_a_signed_address_changes(target: str) -> None:
    assert address(f"https://cdn{target}") == f"https://cdn{target}"
    assert resolve("https://host/elsewhere?x", f"https://cdn{target}") == f"https://cdn{target}"
    if not target.startswith("//"):
        assert resolve("https://cdn/elsewhere?x", target) == f"https://cdn{target}"


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#")))
def test_no_ascii_is_ever_spelt_in_another_way(target: str) -> None:
    assert split(f"https://cdn/{target}") == ("https", "cdn", f"/{target}")


RELATIVE = {
    "/b.mp4": "https://cdn/b.mp4",
    "b.mp4": "https://cdn/x/y/b.mp4",
    "./b.mp4": "https://cdn/x/y/b.mp4",
    "../b.mp4?s=%7e": "https://cdn/x/b.mp4?s=%7e",
    "../../../b.mp4": "https://cdn/b.mp4",
    "b/../c.mp4": "https://cdn/x/y/b/../c.mp4",
    "?s=%7E": "https://cdn/x/y/a.mp4?s=%7E",
    "//other/b.mp4": "https://other/b.mp4",
    "http://other/b.mp4": "http://other/b.mp4",
    "#top": "https://cdn/x/y/a.mp4?q=1/2",
    "": "https://cdn/x/y/a.mp4?q=1/2",
    "/\udcfc.mp4": "https://cdn/%FC.mp4",  # a header's byte that is no UTF-8
}


@pytest.mark.parametrize(("reference", "expected"), RELATIVE.items())
def test_a_redirect_is_relative_to_what_was_asked_for(reference: str, expected: str) -> None:
    assert resolve("https://cdn/x/y/a.mp4?q=1/2", reference) == expected


@pytest.mark.parametrize("reference", ["ftp://h/x", "file:///etc/passwd", "javascript:1", "http://[", "//"])
def test_a_redirect_to_what_is_no_clips_host_leads_nowhere(reference: str) -> None:
    assert resolve("https://cdn/a.mp4", reference) is None


# -- whose it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://api.example.com/v", True),
        ("HTTPS://API.EXAMPLE.COM:443/v?x", True),
        ("http://api.example.com/v", False),
        ("https://api.example.com:8443/v", False),
        ("https://api.example.com.evil.example/v", False),
        ("https://evil.example/https://api.example.com/v", False),
        ("https://api.example.com@evil.example/v", False),
        ("https://evil.example@api.example.com/v", False),  # with a user of its own
        ("https://api.example.com:@evil.example/v", False),
        ("https://sub.api.example.com/v", False),
        ("https://evil.example\\@api.example.com/v", False),
        ("ftp://api.example.com/v", False),
    ],
)
def test_an_origin_is_the_scheme_the_host_and_the_port(url: str, same: bool) -> None:
    assert (origin_of(url) == origin_of(API)) is same
