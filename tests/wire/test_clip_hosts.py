"""What clips' hosts do: sign addresses, want the key, break off, go on, pack, and answer oddly with the clip that was paid."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import os
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from batchgen.api.credentials import Credentials
from batchgen.errors import DownloadError
from batchgen.http.bodies import WINDOW, Unpacker
from batchgen.sandbox.video import clip
from batchgen.storage import partfile
from batchgen.storage.download import Downloads
from batchgen.storage.mp4 import is_page, oddity
from batchgen.storage.transfer import OVERLAP, Clip
from tests.support.program import ENDS
from tests.support.wire import Heard, Play, answer, request, wire
from tests.wire.test_download import no_file_beyond

KEY = "canary-5f0e1d-key"
CLIP = clip("a clip")
SHA256 = hashlib.sha256(CLIP).hexdigest()


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


FTYP, MOOV = box(b"ftyp", b"isom"), box(b"moov", b"x" * 100)
LARGE = FTYP + box(b"mdat", random.Random(1).randbytes(300_000)) + MOOV
Says = Callable[[Heard], bytes]


def host(says: Says, heard: list[Heard] | None = None) -> Play:
    """A host that answers each request as ``says`` has it, and remembers it; bytes that end early hang up."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one = await request(reader)
        if heard is not None:
            heard.append(one)
        writer.write(says(one))

    return play


def bring(
    says: Says, path: Path, *tries: str, key: bool = False, heard: list[Heard] | None = None
) -> Clip | DownloadError:
    """Fetch a clip in as many tries as there are addresses below the host's; the first that succeeds ends it."""

    async def scene() -> Clip | DownloadError:
        async with asyncio.timeout(ENDS), wire(host(says, heard)) as url:
            lent = Credentials(url, KEY) if key else None
            lend = {"lend": lent.headers, "masked": lent.masked} if lent else {}
            async with Downloads(timeout=ENDS, **lend) as downloads:  # type: ignore[arg-type]
                transfer = downloads.transfer(str(path), root=str(path.parent))
                failure: Clip | DownloadError = DownloadError("no try")
                for target in tries or ("/v.mp4",):
                    try:
                        return await downloads.attempt(transfer, f"{url}{target}")
                    except DownloadError as error:
                        failure = error
                transfer.part.discard()
                return failure

    end = asyncio.run(scene())
    assert [one.name for one in path.parent.iterdir()] == ([path.name] if isinstance(end, Clip) else [])
    return end


def home(end: Clip | DownloadError) -> Clip:
    assert isinstance(end, Clip), end
    return end


def refusal(end: Clip | DownloadError) -> str:
    assert isinstance(end, DownloadError), end
    return str(end)


# -- signed addresses: the host computes what it signed from the bytes that it was asked for --------------------

SECRET = b"a secret of the bucket's owner"


def mac(text: str) -> bytes:
    return hmac.new(SECRET, text.encode(), hashlib.sha256).digest()


class Signer:
    """A way to sign addresses: ``sign`` makes one, ``holds`` judges the target that a request had."""

    def __init__(self, sign: Callable[[str], str], holds: Callable[[str], bool]) -> None:
        self.sign, self.holds = sign, holds


def _split(target: str, name: str) -> tuple[str, str]:
    """A target without its last parameter ``name``, and that parameter's raw value."""
    rest, _, value = target.rpartition(f"{name}=")
    return rest.rstrip("&?"), value


def _sign_v4(prefix: str, path: str) -> str:
    """As S3 (``X-Amz-``) and GCS (``X-Goog-``) do: parameters sorted, each encoded byte by byte, over the raw path."""
    query = {
        f"{prefix}-Algorithm": "4-HMAC-SHA256",
        f"{prefix}-Credential": "AKIA/20261128/us-east-1/s3/aws4_request",
        f"{prefix}-Date": "20261128T000000Z",
        f"{prefix}-Expires": "3600",
        f"{prefix}-SignedHeaders": "host",
        "response-content-disposition": "attachment; filename=\"kling (1)~'a'.mp4\"",
    }
    canonical = "&".join(
        f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in sorted(query.items())
    )
    signature = mac("\n".join(("GET", path, canonical, "host"))).hex()
    return f"{path}?{canonical}&{prefix}-Signature={signature}"


def _holds_v4(prefix: str, target: str) -> bool:
    rest, signature = _split(target, f"{prefix}-Signature")
    path, _, canonical = rest.partition("?")
    return hmac.compare_digest(signature, mac("\n".join(("GET", path, canonical, "host"))).hex())


def _sign_policy(path: str) -> str:
    """As CloudFront does with a custom policy: over the whole address, in an alphabet of its own."""
    swapped = base64.b64encode(mac(path)).decode().translate(str.maketrans("+=/", "-_~"))
    return f"{path}?Policy=eyJ+~_-&Key-Pair-Id=K1&Signature={swapped}"


def _holds_policy(target: str) -> bool:
    rest, signature = _split(target, "Signature")
    path = rest.partition("?")[0]
    raw = base64.b64decode(signature.translate(str.maketrans("-_~", "+=/")), validate=True)
    return rest == f"{path}?Policy=eyJ+~_-&Key-Pair-Id=K1" and hmac.compare_digest(raw, mac(path))


def _sign_oss(path: str) -> str:
    """As OSS does: Base64 in the query, every byte of it that needs it encoded, in capitals."""
    signature = quote(base64.b64encode(mac(path)).decode(), safe="")
    return f"{path}?Expires=1795000000&OSSAccessKeyId=LTAI&Signature={signature}"


def _holds_oss(target: str) -> bool:
    rest, signature = _split(target, "Signature")
    path = rest.partition("?")[0]
    # A gateway in front of it compares texts.
    return signature == quote(base64.b64encode(mac(path)).decode(), safe="")


def _sign_whole(path: str) -> str:
    """As a CDN does that signs the target as a text."""
    target = f"{path}?e=%7E%27%40%3A%2c&q=~'@:,&x=%C3%BC&empty=&&Signature="
    return target + mac(target).hex()


def _holds_whole(target: str) -> bool:
    return target[-64:] == mac(target[:-64]).hex()


SIGNERS = {
    "S3": Signer(lambda path: _sign_v4("X-Amz", path), lambda target: _holds_v4("X-Amz", target)),
    "GCS": Signer(lambda path: _sign_v4("X-Goog", path), lambda target: _holds_v4("X-Goog", target)),
    "CloudFront": Signer(_sign_policy, _holds_policy),
    "OSS": Signer(_sign_oss, _holds_oss),
    "a CDN": Signer(_sign_whole, _holds_whole),
}
PATHS = [
    "/files/v.mp4",
    "/a%27b%2Ec%7ed%28e%21f%2Cg%2Fh.mp4",
    "/x/../y/./v.mp4",
    "/kling%20(1)~'a'.mp4",
    "/%E4%BD%A0%2f@v:1,2.mp4",
    "//twice//v.mp4",
]


def guarded(signer: Signer, first: Callable[[Heard], bytes | None] = lambda heard: None) -> Says:
    def says(heard: Heard) -> bytes:
        return first(heard) or (
            answer(CLIP) if signer.holds(heard.path) else answer(b"SignatureDoesNotMatch", 403)
        )

    return says


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("signer", SIGNERS.values(), ids=SIGNERS.keys())
def test_a_signed_address_is_asked_for_as_it_was_signed(signer: Signer, path: str, tmp_path: Path) -> None:
    assert home(bring(guarded(signer), tmp_path / "a.mp4", signer.sign(path))).sha256 == SHA256
    damaged = signer.sign(path)[:-1] + ("0" if signer.sign(path)[-1] != "0" else "1")
    assert "HTTP 403" in refusal(bring(guarded(signer), tmp_path / "b" / "a.mp4", damaged))


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("signer", SIGNERS.values(), ids=SIGNERS.keys())
def test_a_redirect_to_a_signed_address_keeps_its_bytes(
    signer: Signer, status: int, absolute: bool, tmp_path: Path
) -> None:
    signed = signer.sign(PATHS[1])

    def redirect(heard: Heard) -> bytes | None:
        where = f"http://{heard.headers['host']}{signed}" if absolute else signed
        return answer(b"", status, Location=where) if heard.path == "/v.mp4" else None

    assert home(bring(guarded(signer, redirect), tmp_path / "a.mp4")).sha256 == SHA256


TARGETS = {
    "/v.mp4?q=~'@:,!$()*+;=/?": "/v.mp4?q=~'@:,!$()*+;=/?",
    "/v.mp4?q=%7E%27%40%3A%2C%2b%2B%20": "/v.mp4?q=%7E%27%40%3A%2C%2b%2B%20",
    "/v.mp4?": "/v.mp4?",
    "?x=1": "/?x=1",
    "": "/",
    "/a b.mp4?n=ü 1": "/a%20b.mp4?n=%C3%BC%201",
    "/v.mp4?x=1#t=0,5": "/v.mp4?x=1",
    "/x/../%2E%2e/v.mp4": "/x/../%2E%2e/v.mp4",
    '/"<>\\^`{|}.mp4': '/"<>\\^`{|}.mp4',
    "/%zz%": "/%zz%",
}


@pytest.mark.parametrize(("given", "asked"), TARGETS.items())
def test_what_goes_out_is_what_was_given(given: str, asked: str, tmp_path: Path) -> None:
    heard: list[Heard] = []
    home(bring(lambda _: answer(CLIP), tmp_path / "a.mp4", given, heard=heard))
    assert [one.path for one in heard] == [asked]


def test_a_redirects_raw_bytes_are_encoded_and_nothing_else(tmp_path: Path) -> None:
    heard: list[Heard] = []

    def says(one: Heard) -> bytes:
        if one.path == "/v.mp4":
            return "HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: /ü b%7E.mp4?ü\r\n\r\n".encode()
        return answer(CLIP)

    home(bring(says, tmp_path / "a.mp4", heard=heard))
    assert heard[1].path == "/%C3%BC%20b%7E.mp4?%C3%BC"


# -- the key --------------------------------------------------------------------------------------------------


def locked(heard: Heard) -> bytes:
    return answer(CLIP) if heard.headers.get("authorization") == f"Bearer {KEY}" else answer(b"", 401)


@pytest.mark.parametrize(
    "closed",
    [
        answer(b"", 401),
        answer(b"", 403),
        answer(
            {"error": {"message": "Missing Authentication header", "code": 401}},
            Content_Type="application/json",
        ),
        answer(b"<html>Log in</html>", Content_Type="text/html"),
    ],
)
def test_the_apis_own_origin_gets_the_key_where_it_wants_it(closed: bytes, tmp_path: Path) -> None:
    heard: list[Heard] = []

    def says(one: Heard) -> bytes:
        return locked(one) if "authorization" in one.headers else closed

    home(bring(says, tmp_path / "a.mp4", key=True, heard=heard))
    assert ["authorization" in one.headers for one in heard] == [False, True]


def test_the_key_is_not_offered_where_nobody_wants_it(tmp_path: Path) -> None:
    heard: list[Heard] = []
    home(bring(lambda one: answer(CLIP), tmp_path / "a.mp4", key=True, heard=heard))
    assert "HTTP 404" in refusal(
        bring(lambda one: answer(b"", 404), tmp_path / "b/a.mp4", key=True, heard=heard)
    )
    assert not any("authorization" in one.headers for one in heard)


def test_the_key_is_offered_once_and_stays_out_of_what_is_said(tmp_path: Path) -> None:
    heard: list[Heard] = []

    def says(one: Heard) -> bytes:
        return answer(
            f"<b>{one.headers.get('authorization', '')[7:]}</b> is wrong".encode(), Content_Type="text/html"
        )

    text = refusal(bring(says, tmp_path / "a.mp4", key=True, heard=heard))
    assert len(heard) == 2
    assert "a page or a message (text/html)" in text
    assert KEY not in text


@pytest.mark.parametrize("there", ["another host", "back again"])
def test_no_redirect_takes_the_key_along(there: str, tmp_path: Path) -> None:
    """An API that sends us elsewhere, and another host that sends us to the API, get no key for it."""
    api_heard: list[Heard] = []
    other_heard: list[Heard] = []

    async def scene() -> Clip | DownloadError:
        def other(one: Heard) -> bytes:
            return answer(b"", 302, Location=f"{api}/secret.mp4") if there == "back again" else locked(one)

        def ours(one: Heard) -> bytes:
            if one.path == "/v.mp4" and "authorization" not in one.headers:
                return answer(b"", 401)
            return answer(b"", 302, Location=f"{elsewhere}/v.mp4") if one.path == "/v.mp4" else locked(one)

        async with wire(host(other, other_heard)) as elsewhere, wire(host(ours, api_heard)) as api:
            async with Downloads(timeout=ENDS, lend=Credentials(api, KEY).headers) as downloads:
                try:
                    return await downloads.fetch(f"{api}/v.mp4", str(tmp_path / "a.mp4"), root=str(tmp_path))
                except DownloadError as error:
                    return error

    assert "HTTP 401" in refusal(asyncio.run(scene()))
    assert "authorization" in api_heard[1].headers
    assert not any("authorization" in one.headers for one in [*other_heard, *api_heard[2:]])


def test_a_redirect_within_the_apis_origin_may_want_the_key_at_its_end(tmp_path: Path) -> None:
    heard: list[Heard] = []

    def says(one: Heard) -> bytes:
        return answer(b"", 307, Location="/content/v.mp4") if one.path == "/v.mp4" else locked(one)

    home(bring(says, tmp_path / "a.mp4", key=True, heard=heard))
    assert ["authorization" in one.headers for one in heard] == [False, False, True]


def test_another_port_is_another_origin(tmp_path: Path) -> None:
    async def scene() -> Clip | DownloadError:
        async with wire(host(locked)) as url:
            async with Downloads(
                timeout=ENDS, lend=Credentials("http://127.0.0.1:1", KEY).headers
            ) as downloads:
                try:
                    return await downloads.fetch(f"{url}/v.mp4", str(tmp_path / "a.mp4"), root=str(tmp_path))
                except DownloadError as error:
                    return error

    assert "HTTP 401" in refusal(asyncio.run(scene()))


# -- a clip that isn't to our taste ------------------------------------------------------------------------------


def packed(window: int) -> bytes:
    stream = zlib.compressobj(wbits=window)
    return stream.compress(CLIP) + stream.flush()


whole = f"bytes 0-{len(CLIP) - 1}/{len(CLIP)}"
WHOLE: Mapping[str, tuple[bytes, bytes]] = {
    "203": (answer(CLIP, 203), CLIP),
    "206": (answer(CLIP, 206, Content_Range=whole), CLIP),
    "206 of who knows what": (answer(CLIP, 206), CLIP),
    "gzip": (answer(gzip.compress(CLIP), Content_Encoding="gzip"), CLIP),
    "x-gzip": (answer(gzip.compress(CLIP), Content_Encoding="x-gzip"), CLIP),
    "gzip in two": (
        answer(gzip.compress(CLIP[:500]) + gzip.compress(CLIP[500:]), Content_Encoding="gzip"),
        CLIP,
    ),
    "gzip unsaid": (answer(gzip.compress(CLIP)), CLIP),
    "gzip said and not done": (answer(CLIP, Content_Encoding="gzip"), CLIP),
    "deflate": (answer(packed(15), Content_Encoding="deflate"), CLIP),
    "deflate, raw": (answer(packed(-15), Content_Encoding="deflate"), CLIP),
    "an encoding that is none": (answer(CLIP, Content_Encoding="aws-chunked"), CLIP),
    "a type that is none": (answer(CLIP, Content_Type="text/plain"), CLIP),
    **{
        f"{name.decode()} first": (answer(box(name, bytes(8)) + CLIP), box(name, bytes(8)) + CLIP)
        for name in (b"free", b"skip", b"wide", b"styp", b"uuid")
    },
    **{
        f"{count} stray bytes": (answer(CLIP + b"\r\n\0abcd"[:count]), CLIP + b"\r\n\0abcd"[:count])
        for count in range(1, 8)
    },
    "no ftyp": (answer(MOOV + box(b"mdat", b"x")), MOOV + box(b"mdat", b"x")),
    "a last box without a length": (
        answer(FTYP + MOOV + struct.pack(">I4s", 0, b"mdat") + b"x"),
        FTYP + MOOV + struct.pack(">I4s", 0, b"mdat") + b"x",
    ),
    "zeros at the end": (answer(CLIP + bytes(100)), CLIP + bytes(100)),
}


@pytest.mark.parametrize(("said", "content"), WHOLE.values(), ids=map(str, WHOLE))
def test_a_clip_that_comes_in_another_way_is_the_clip(said: bytes, content: bytes, tmp_path: Path) -> None:
    assert home(bring(lambda _: said, tmp_path / "a.mp4")).note == ""
    assert (tmp_path / "a.mp4").read_bytes() == content


def test_a_body_is_unpacked_a_bounded_piece_at_a_time() -> None:
    unpacker = Unpacker(zlib.MAX_WBITS | 16)
    sizes = [len(piece) for piece in unpacker.pieces(gzip.compress(bytes(9_000_000)))]
    assert sum(sizes) + len(unpacker.end()) == 9_000_000
    assert max(sizes) <= WINDOW


def test_what_unpacks_to_more_than_a_clip_has_is_given_up(tmp_path: Path) -> None:
    bomb = answer(gzip.compress(FTYP + bytes(50_000_000)))

    async def scene() -> None:
        async with wire(host(lambda _: bomb)) as url, Downloads(timeout=ENDS, largest=1 << 20) as downloads:
            with pytest.raises(DownloadError, match="larger than 1,048,576 bytes"):
                await downloads.fetch(url, str(tmp_path / "a.mp4"), root=str(tmp_path))

    asyncio.run(scene())
    assert list(tmp_path.iterdir()) == []


CUT = FTYP + struct.pack(">I4s", 5000, b"mdat") + b"x" * 300
ODD = {
    "cut at its host": (answer(CUT), CUT, "ends early"),
    "no index": (answer(FTYP + box(b"mdat", b"x")), FTYP + box(b"mdat", b"x"), "index is missing"),
    "another container": (
        answer(b"\x1a\x45\xdf\xa3" + bytes(100)),
        b"\x1a\x45\xdf\xa3" + bytes(100),
        "no MP4 video",
    ),
    "packed as nobody unpacks": (
        answer(b"\x1b" + bytes(200), Content_Encoding="br"),
        b"\x1b" + bytes(200),
        "came packed, as br",
    ),
    "another digest": (answer(CLIP, Content_MD5=base64.b64encode(bytes(16)).decode()), CLIP, "md5"),
}


@pytest.mark.parametrize(("said", "content", "reason"), ODD.values(), ids=ODD.keys())
def test_what_looks_odd_and_comes_the_same_again_is_kept_with_a_note(
    said: bytes, content: bytes, reason: str, tmp_path: Path
) -> None:
    heard: list[Heard] = []
    tries = map("/{}".format, range(9))
    assert reason in home(bring(lambda _: said, tmp_path / "a.mp4", *tries, heard=heard)).note
    assert len(heard) == (4 if "early" in reason or "missing" in reason else 2)
    assert (tmp_path / "a.mp4").read_bytes() == content


def test_what_looks_odd_and_comes_whole_the_next_time_needs_no_note(tmp_path: Path) -> None:
    end = home(bring(lambda one: answer(CUT if one.path == "/1" else CLIP), tmp_path / "a.mp4", "/1", "/2"))
    assert (end.note, end.sha256) == ("", SHA256)


def test_odd_bytes_that_are_others_each_time_are_never_kept(tmp_path: Path) -> None:
    tries = [f"/{number}" for number in range(8)]
    refusal(bring(lambda one: answer(CUT + one.path.encode()), tmp_path / "a.mp4", *tries))


def test_a_clip_whose_end_nobody_tells_has_to_come_the_same_more_often(tmp_path: Path) -> None:
    heard: list[Heard] = []
    open_end = b"HTTP/1.1 200 OK\r\n\r\n" + b"\x1a\x45\xdf\xa3" + bytes(100)
    home(bring(lambda _: open_end, tmp_path / "a.mp4", *map("/{}".format, range(9)), heard=heard))
    assert len(heard) == 4


PAGES = [
    b"<!DOCTYPE html><title>x</title>" + bytes(99),
    b"\n\n <html>",
    b"\xef\xbb\xbf<?xml version='1.0'?><Error/>",
    b'{"code": 1203}',
    b"Not Found",
    b"[]",
    "找不到".encode(),
    "<html>".encode("utf-16"),
    gzip.compress(b"<html></html>", mtime=0),
    b" " * 9000,
    b"",
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_never_a_clip_however_often_it_comes(page: bytes, tmp_path: Path) -> None:
    refusal(bring(lambda _: answer(page), tmp_path / "a.mp4", *map("/{}".format, range(9))))


@pytest.mark.parametrize("size", range(16, 64))
def test_no_beginning_of_a_clip_is_a_page(size: int) -> None:
    assert not is_page(CLIP[:size])
    assert not is_page(LARGE[:size])


def test_stray_bytes_are_none_where_the_pictures_are_missing() -> None:
    def odd(content: bytes) -> str:
        found = oddity(lambda count, at: content[at : at + count], len(content))
        return found.text if found else ""

    assert "pictures are missing" in odd(FTYP + MOOV)
    assert "ends early" in odd(FTYP + MOOV + box(b"mdat", b"x")[:7])
    assert odd(FTYP + MOOV + box(b"mdat", b"x") + b"\0" * 7) == ""
    assert "ends early" in odd(FTYP + MOOV + box(b"mdat", b"x") + b"\r\n\r\nabcd")


# -- digests ----------------------------------------------------------------------------------------------------

MD5, SHA1, SHA2 = (hashlib.new(name, CLIP).digest() for name in ("md5", "sha1", "sha256"))
B64 = {name: base64.b64encode(one).decode() for name, one in (("md5", MD5), ("sha1", SHA1), ("sha256", SHA2))}
OTHER = {name: base64.b64encode(bytes(len(base64.b64decode(one)))).decode() for name, one in B64.items()}


def told(digest: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"Content_MD5": digest["md5"]},
        {"Digest": f"md5={digest['md5']},sha-256={digest['sha256']}"},
        {"Digest": f"SHA-256={digest['sha256']}"},
        {"Content_Digest": f"sha-256=:{digest['sha256']}:"},
        {"Repr_Digest": f"unixsum=:AAAA:, sha-256=:{digest['sha256']}:"},
        {"x_amz_checksum_sha256": digest["sha256"]},
        {"x_amz_checksum_sha1": digest["sha1"]},
        {"x_goog_hash": f"crc32c=AAAAAA==,md5={digest['md5']}"},
        {"ETag": f'"{base64.b64decode(digest["md5"]).hex()}"', "Server": "AmazonS3"},
        {"ETag": f'"{base64.b64decode(digest["md5"]).hex().upper()}"', "Server": "AliyunOSS"},
    ]


@pytest.mark.parametrize("headers", told(B64))
def test_a_digest_that_agrees_is_no_news(headers: dict[str, str], tmp_path: Path) -> None:
    assert home(bring(lambda _: answer(CLIP, 200, **headers), tmp_path / "a.mp4")).note == ""


@pytest.mark.parametrize("headers", told(OTHER))
def test_bytes_of_another_digest_are_fetched_again(headers: dict[str, str], tmp_path: Path) -> None:
    assert "is not the one that its host told" in refusal(
        bring(lambda _: answer(CLIP, 200, **headers), tmp_path / "a.mp4")
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"0123456789abcdef0123456789abcdef"'},  # of who knows what
        {"ETag": '"0123456789abcdef0123456789abcdef-3"', "Server": "AmazonS3"},  # in three parts
        {
            "ETag": '"0123456789abcdef0123456789abcdef"',
            "Server": "AmazonS3",
            "x_amz_server_side_encryption": "aws:kms",
        },
        {"x_amz_checksum_sha256": f"{OTHER['sha256']}-3"},
        {"Content_MD5": "who knows"},
        {"Digest": "sha-256=?, =,"},
        {"Digest": "crc32=00000000"},
        {"Content_Digest": "nothing"},
    ],
)
def test_what_is_no_digest_of_the_whole_says_nothing(headers: dict[str, str], tmp_path: Path) -> None:
    assert home(bring(lambda _: answer(CLIP, 200, **headers), tmp_path / "a.mp4")).note == ""


# -- going on ---------------------------------------------------------------------------------------------------

HALF = 150_000


def serve(
    content: bytes, heard: Heard, *, tag: str = '"v1"', cut: int | None = None, **headers: str
) -> bytes:
    """As a host does that knows ranges; ``cut`` bytes into a whole answer it hangs up."""
    said = heard.headers.get("range")
    if said and heard.headers.get("if-range", tag) == tag:
        start = int(said.removeprefix("bytes=").rstrip("-"))
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return answer(content[start:], 206, Content_Range=span, ETag=tag, **headers)
    whole = answer(content, 200, ETag=tag, **headers)
    return whole if cut is None else whole[: whole.index(b"\r\n\r\n") + 4 + cut]


def test_a_download_that_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    heard: list[Heard] = []
    end = bring(lambda one: serve(LARGE, one, cut=HALF), tmp_path / "a.mp4", "/v?1", "/v?2", heard=heard)
    assert home(end).sha256 == hashlib.sha256(LARGE).hexdigest()
    assert [one.headers.get("range") for one in heard] == [None, f"bytes={HALF - OVERLAP}-"]
    assert heard[1].headers["if-range"] == '"v1"'
    assert (tmp_path / "a.mp4").read_bytes() == LARGE


def test_it_goes_on_at_another_address_and_after_one_that_has_expired(tmp_path: Path) -> None:
    heard: list[Heard] = []

    def says(one: Heard) -> bytes:
        return (
            answer(b"expired", 403) if one.path == "/old" and len(heard) > 1 else serve(LARGE, one, cut=HALF)
        )

    home(bring(says, tmp_path / "a.mp4", "/old", "/old", "/new", heard=heard))
    assert (tmp_path / "a.mp4").read_bytes() == LARGE
    assert [one.headers.get("range") for one in heard[1:]] == [f"bytes={HALF - OVERLAP}-"] * 2
    assert "if-range" not in heard[2].headers  # its validator is another place's


CHANGED: Mapping[str, Callable[[Heard], bytes]] = {
    "another version": lambda one: serve(FTYP + box(b"mdat", bytes(400_000)) + MOOV, one, tag='"v2"'),
    "another version without a validator": lambda one: serve(
        FTYP + box(b"mdat", bytes(300_000)) + MOOV, one, tag='"v1"'
    ),
    "another size": lambda one: serve(
        box(b"ftyp", b"mp42") + LARGE[12:] + box(b"free", bytes(9)), one, tag='"v1"'
    ),
    "no ranges": lambda one: answer(LARGE),
    "416": lambda one: answer(b"", 416) if "range" in one.headers else answer(LARGE),
    "another range": lambda one: (
        answer(LARGE[7:], 206, Content_Range=f"bytes 7-{len(LARGE) - 1}/{len(LARGE)}")
        if "range" in one.headers
        else answer(LARGE)
    ),
    "several ranges": lambda one: (
        answer(b"--x", 206, Content_Type="multipart/byteranges; boundary=x")
        if "range" in one.headers
        else answer(LARGE)
    ),
    "a range that is packed": lambda one: (
        answer(
            gzip.compress(LARGE),
            206,
            Content_Encoding="gzip",
            Content_Range=one.headers["range"].replace("=", " ")[:-1] + f"-{len(LARGE) - 1}/{len(LARGE)}",
        )
        if "range" in one.headers
        else answer(LARGE)
    ),
    "a short range": lambda one: (
        answer(LARGE[HALF - OVERLAP : HALF - 9], 206, Content_Range=f"bytes {HALF - OVERLAP}-{HALF - 10}/*")
        if "range" in one.headers
        else answer(LARGE)
    ),
}


@pytest.mark.parametrize("says", CHANGED.values(), ids=CHANGED.keys())
def test_what_does_not_go_on_is_fetched_from_its_start(says: Says, tmp_path: Path) -> None:
    heard: list[Heard] = []

    def first_broken(one: Heard) -> bytes:
        return serve(LARGE, one, cut=HALF) if len(heard) == 1 else says(one)

    end = home(bring(first_broken, tmp_path / "a.mp4", "/v", "/v", heard=heard))
    expected = says(Heard("GET", "/v", {}, b"")).partition(b"\r\n\r\n")[2]
    assert (tmp_path / "a.mp4").read_bytes() == expected
    assert end.note == ""
    assert len(heard) <= 3


def test_a_host_that_refuses_every_question_for_a_piece_is_asked_for_the_whole(tmp_path: Path) -> None:
    heard: list[Heard] = []

    def says(one: Heard) -> bytes:
        if "range" in one.headers:
            return answer(b"", 501)
        return serve(LARGE, one, cut=HALF if len(heard) == 1 else None)

    home(bring(says, tmp_path / "a.mp4", *["/v"] * 9, heard=heard))
    assert len(heard) == 5


def test_a_host_that_sends_small_pieces_is_asked_for_one_after_the_other(tmp_path: Path) -> None:
    heard: list[Heard] = []

    def says(one: Heard) -> bytes:
        start = int(one.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        end = min(start + 100_000, len(LARGE))
        return answer(LARGE[start:end], 206, Content_Range=f"bytes {start}-{end - 1}/{len(LARGE)}")

    home(bring(says, tmp_path / "a.mp4", heard=heard))
    assert (tmp_path / "a.mp4").read_bytes() == LARGE
    assert len(heard) < 12


def test_a_host_that_sends_the_same_piece_for_ever_is_left(tmp_path: Path) -> None:
    heard: list[Heard] = []
    piece = answer(LARGE[:HALF], 206, Content_Range=f"bytes 0-{HALF - 1}/{len(LARGE)}")
    refusal(bring(lambda _: piece, tmp_path / "a.mp4", heard=heard))
    assert len(heard) <= 4


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("2.5", 2.5), ("Wed, 15 Nov 2023 00:00:30 GMT", 30.0), ("soon", None)],
)
def test_how_long_a_host_wants_to_be_left_alone_is_read_in_both_forms(
    header: str, seconds: float | None, tmp_path: Path
) -> None:
    busy = answer(b"", 503, Retry_After=header, Date="Wed, 15 Nov 2023 00:00:00 GMT")
    end = bring(lambda _: busy, tmp_path / "a.mp4")
    assert isinstance(end, DownloadError) and end.retry_after == seconds


def test_a_host_that_takes_no_questions_for_pieces_is_asked_for_none(tmp_path: Path) -> None:
    heard: list[Heard] = []

    def says(one: Heard) -> bytes:
        return serve(LARGE, one, cut=HALF if len(heard) == 1 else None, Accept_Ranges="none")

    home(bring(says, tmp_path / "a.mp4", "/v", "/v", heard=heard))
    assert not any("range" in one.headers for one in heard)


def test_only_a_strong_tag_or_a_time_is_a_validator(tmp_path: Path) -> None:
    for tag, expected in (('W/"v1"', None), ("v1", None), ('"v1"', '"v1"')):
        heard: list[Heard] = []

        def says(one: Heard, heard: list[Heard] = heard, tag: str = tag) -> bytes:
            return serve(LARGE, one, tag=tag, cut=HALF if len(heard) == 1 else None)

        home(bring(says, tmp_path / "x" / "a.mp4", "/v", "/v", heard=heard))
        assert heard[1].headers.get("if-range") == expected
        (tmp_path / "x" / "a.mp4").unlink()


def test_a_part_that_was_tampered_with_between_tries_is_not_gone_on_with(tmp_path: Path) -> None:
    part = tmp_path / "a.mp4.part"

    async def scene() -> Clip:
        heard: list[Heard] = []
        cut = host(lambda one: serve(LARGE, one, cut=HALF if len(heard) == 1 else None), heard)
        async with wire(cut) as url, Downloads(timeout=ENDS) as downloads:
            transfer = downloads.transfer(str(tmp_path / "a.mp4"), root=str(tmp_path))
            with pytest.raises(DownloadError):
                await downloads.attempt(transfer, url)
            assert part.stat().st_size == HALF
            part.write_bytes(b"mine")
            return await downloads.attempt(transfer, url)

    assert asyncio.run(scene()).sha256 == hashlib.sha256(LARGE).hexdigest()


def test_a_full_disk_gets_its_room_back_between_tries(tmp_path: Path) -> None:
    async def scene() -> Clip:
        async with wire(host(lambda _: answer(LARGE))) as url, Downloads(timeout=ENDS) as downloads:
            transfer = downloads.transfer(str(tmp_path / "a.mp4"), root=str(tmp_path))
            with no_file_beyond(HALF), pytest.raises(DownloadError, match="can't write") as caught:
                await downloads.attempt(transfer, url)
            assert caught.value.local
            assert list(tmp_path.iterdir()) == []
            return await downloads.attempt(transfer, url)

    assert asyncio.run(scene()).size == len(LARGE)


# -- the disk's room --------------------------------------------------------------------------------------------


def test_a_clip_that_the_disk_has_no_room_for_is_refused_before_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = os.statvfs(tmp_path)
    monkeypatch.setattr(partfile, "MARGIN", disk.f_blocks * disk.f_frsize)  # more than can be free
    sent: list[Heard] = []
    end = bring(lambda _: answer(CLIP)[:200], tmp_path / "a.mp4", heard=sent)
    assert isinstance(end, DownloadError)
    assert end.local
    assert f"no room in {tmp_path}: the clip has {len(CLIP):,} bytes, and" in str(end)
