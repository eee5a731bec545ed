"""Pings a monitor as healthchecks.io and those like it want it: a start, an exit code, the run's id, the end of the log."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import IO, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from batchgen import __version__
from batchgen.night.summary import Summary

BODY: Final = 10_000  # bytes; what self-hosted monitors keep
ANSWER: Final = 1024  # bytes of an answer that are read
TRIES: Final = 3
SHORTEST: Final = 0.05  # seconds in which a try makes sense
PAUSE: Final = 0.05  # of the time, before another try
EACH: Final = 0.45  # of the time, for each try


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: what a ping says is for the host that was named."""

    def redirect_request(self, *_: object) -> None:
        return None


def send(url: str, signal: str, run_id: str, body: str, *, seconds: float) -> str:
    """Send a signal (``start``, ``log``, or an exit code), for at most about ``seconds``, in up to three tries.

    Returns what was answered, or "". Raises OSError, with words that don't have the address.
    """
    address, headers = _request(url, signal, run_id)
    data = body.encode("utf-8", "replace")[:BODY]
    request = urllib.request.Request(address, data, headers, method="POST")  # noqa: S310, it was checked to be http(s)
    ends = time.monotonic() + seconds
    for left in reversed(range(TRIES)):
        wait = min(EACH * seconds, ends - time.monotonic())
        try:
            return _once(request, max(wait, SHORTEST))
        except OSError as error:
            why, passing = _words(error)
            pause = PAUSE * seconds
            if not (left and passing) or time.monotonic() + pause + SHORTEST > ends:
                raise OSError(why) from None
        except (http.client.HTTPException, ValueError):
            raise OSError("it answers something else than HTTP") from None
        time.sleep(pause)
    raise AssertionError("unreachable")


def text(summary: Summary) -> str:
    """The body of a ping at the end: the summary, then as much of the log's end as there is room for."""
    said = "\n".join(summary.lines)
    room = BODY - len(said.encode()) - len("\n\nlog:\n")
    kept: list[str] = []
    for line in reversed(summary.log):
        room -= len(line.encode()) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join([said, *(["", "log:", *reversed(kept)] if kept else [])])


def host(url: str) -> str:
    """The host of a ping's address, for messages: what is behind it is a secret."""
    return urlsplit(url).hostname or "?"


def secrets(url: str) -> Sequence[str]:
    """The parts of an address that are secret: all but its scheme, its host and its port."""
    parts = urlsplit(url)
    pieces = [
        *parts.path.split("/"),
        *(pair.partition("=")[2] for pair in parts.query.split("&")),
        parts.password,
    ]
    return [piece for piece in pieces if piece]


def problem(url: str) -> str | None:
    """What is wrong with an address, without showing it; None where nothing is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018, it raises ValueError
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is no URL; write https://HOST/..."
    if any(character.isspace() or not character.isprintable() for character in url):
        return "is no URL: it has spaces or invisible characters"
    if not url.isascii():
        return "has letters that belong percent-encoded"
    if parts.fragment:
        return "has a #, behind which nothing is sent"
    return None


def _request(url: str, signal: str, run_id: str) -> tuple[str, dict[str, str]]:
    """The address of a signal, and the headers; a password in the URL becomes one."""
    parts = urlsplit(url)
    headers = {"User-Agent": f"batchgen/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
    if parts.username is not None:
        name = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(name.encode()).decode()}"
    query = "&".join(filter(None, (parts.query, f"rid={run_id}")))
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, netloc, f"{parts.path.rstrip('/')}/{signal}", query, "")), headers


def _once(request: urllib.request.Request, seconds: float) -> str:
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=seconds) as answer:
        return _read(answer)


def _read(answer: IO[bytes]) -> str:
    """The beginning of what was answered, in one line; a body without end isn't waited for."""
    return " ".join(answer.read1(ANSWER).decode("utf-8", "replace").split())[:100]  # type: ignore[attr-defined]  # an HTTP answer has it


def _words(error: OSError) -> tuple[str, bool]:
    """What went wrong, without the address, and whether another try may go better."""
    if isinstance(error, urllib.error.HTTPError):
        code = error.code
        where = urlsplit(error.headers.get("Location") or "").hostname
        error.close()
        if 300 <= code < 400:
            return (
                f"it redirects (HTTP {code}){f' to {where}' if where else ''}, which isn't followed: name that address",
                False,
            )
        return f"it answers HTTP {code}", code >= 500 or code == 429
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLError):
        return f"TLS fails: {getattr(reason, 'verify_message', '') or reason.reason or 'no handshake'}", False
    if isinstance(reason, TimeoutError):
        return "it doesn't answer in time", True
    return (reason.strerror if isinstance(reason, OSError) else None) or "it can't be reached", True
