"""Checks of the web addresses in a request: whether the API can reach them, and whether an image can be there.

They are checked by their text alone; nothing is looked up.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from unicodedata import normalize
from urllib.parse import parse_qsl, unquote, urlsplit

from batchgen.escapes import excerpt
from batchgen.http import networks

# Addresses that need no closer look, except at their host.
_PLAIN = re.compile(r"https?://([A-Za-z0-9][A-Za-z0-9.-]*)(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*)?")
_NOT_TAKEN: Final = (
    *(".gif", ".webp", ".heic", ".heif", ".avif", ".svg", ".bmp", ".tif", ".tiff", ".jxl", ".jp2", ".ico"),
    *(".psd", ".ai", ".eps", ".pdf", ".raw", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".zip", ".html", ".htm"),
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".mp3", ".wav", ".txt", ".json"),
)
_DOUBTFUL = re.compile("goo|1drv|icloud|github|dropbox")
_TAKEN = re.compile(r"png|jpe?g", re.IGNORECASE)
# Sites whose share buttons give the address of a page that shows the picture: host, path.
_PAGES: Final = (
    (r"drive\.google\.com", r"/(file/d/|open)"),
    (r"photos\.google\.com|photos\.app\.goo\.gl|1drv\.ms|(www\.)?icloud\.com", r"/"),
    (r"github\.com", r"/[^/]+/[^/]+/blob/"),
    (r"(www\.)?dropbox\.com", r"/(s|scl)/"),
)


def refusal(url: str) -> str | None:
    """Why the API can't fetch what is at an http(s) address, or None."""
    if plain := _PLAIN.fullmatch(url):
        return _unreachable(plain[1])
    return problem(url) or unreachable(url)


def problem(url: str) -> str | None:
    """Why an http(s) address can't be used; None where it can. Its host is checked by :func:`unreachable`."""
    if _PLAIN.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"this web address can't be read: {excerpt(str(error))}"
    if not host:
        return "this web address names no host"
    if port == 0:
        return "this web address can't be read: there is no port 0"
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return "a web address can't hold spaces; write %20"
    if "\\" in parts.netloc:
        return "a web address has / after its host, not \\"
    return None


def unreachable(url: str) -> str | None:
    """Why the API can't reach the host of a valid address; None where it may."""
    plain = _PLAIN.fullmatch(url)
    return _unreachable(plain[1] if plain else urlsplit(url).hostname or "")


@lru_cache(maxsize=4096)
def _unreachable(host: str) -> str | None:
    host = normalize("NFKC", unquote(host)).lower()  # as names are read before they are looked up
    host = "".join(c for c in host if c.isprintable()).rstrip(".")
    address = networks.literal(host)
    kind = networks.kind_of_name(host) if address is None else networks.kind_of(address)
    if kind is None:
        return None
    return f"the API can't reach {host}: it is {'this machine' if kind == 'loopback' else 'not on the public internet'}"


def warning(url: str) -> str | None:
    """Why there may be no image for the API at a valid address; None where nothing speaks against it."""
    doubtful = _is_doubtful(url.partition("//")[2].partition("/")[0])
    if url.endswith((".png", ".jpg", ".jpeg")) and "@" not in url and not doubtful:
        return None  # nearly all
    start, _, query = url.partition("?")
    path = unquote(start.partition("#")[0]).lower()
    if path.endswith(_NOT_TAKEN) and path.count("/") > 2 and not _TAKEN.search(query):
        return f"ends in .{path.rpartition('.')[2]}; the API takes .jpg, .jpeg and .png alone"
    if doubtful:
        parts = urlsplit(url)
        direct = {"raw": "1", "dl": "1"}.items() & dict(parse_qsl(parts.query)).items()
        for host, page in _PAGES:
            if re.fullmatch(host, parts.hostname or "") and re.match(page, parts.path or "/") and not direct:
                return "is the address of a page that shows a picture, not the picture's own"
    if "@" in path and urlsplit(url).username is not None:
        return "holds a user's name, which the API may not send on"
    return None


@lru_cache(maxsize=4096)
def _is_doubtful(host: str) -> bool:
    """Whether a host, as an address has it, may be one of the sites in ``_PAGES``."""
    return _DOUBTFUL.search(host) is not None
