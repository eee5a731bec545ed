"""The API's client: one attempt, judged, no policy.

Whatever can happen to a create ends as one of three kinds, and which one is known rather than guessed because
the body is written by us: until its last piece is handed over, the request can't have been accepted. All of
aiohttp's errors are translated here; the key leaves this module in one header, to one origin.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from batchgen import __version__
from batchgen.answers import Accepted, Answer, read_create, read_query
from batchgen.errors import ApiError, ImageError, MaybeAccepted, NeverSent, UsageError
from batchgen.models import TaskView
from batchgen.request import Body

DEFAULT_BASE_URL = "https://api.powertokens.ai"
PATH = "/kling/v1/videos/image2video"
LARGEST_ANSWER = 1 << 20  # bytes; real answers have a few hundred
IDLE_CONNECTION = 2.0  # seconds; below any server's own limit, so that no create meets a connection being closed
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def origin(base_url: str) -> str:
    """The checked, normalised base URL: ``scheme://host[:port][/path]``. Raises UsageError."""
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"the base URL {base_url!r} can't be read: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"the base URL {base_url!r} must look like {DEFAULT_BASE_URL}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError("the base URL must hold no user, password, query or fragment; the key has its own variable")
    if parts.scheme == "http" and host not in LOOPBACK and not host.startswith("127."):
        raise UsageError(f"the base URL {base_url!r} would send the key unencrypted; use https://{host}")
    shown = f"[{host}]" if ":" in host else host
    standard = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}{f':{port}' if port not in (None, standard) else ''}{parts.path.rstrip('/')}"


class _Upload(Payload):
    """A create's body on its way out. ``complete`` turns true just before the last piece leaves us."""

    def __init__(self, body: Body, moved: Callable[[], None]) -> None:
        super().__init__(body, content_type="application/json")
        self._size = body.length
        self._body = body
        self._moved = moved
        self.complete = False
        self.failure: ImageError | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a create's body is never held in memory")

    async def write(self, writer: AbstractStreamWriter) -> None:
        pieces = self._body.pieces()
        try:
            held = next(pieces)
            for piece in pieces:
                await writer.write(held)
                self._moved()
                held = piece
        except ImageError as error:
            self.failure = error
            raise
        finally:
            pieces.close()
        self.complete = True
        await writer.write(held)
        self._moved()


class Api:
    """Creates and queries tasks. ``timeout`` is in seconds without progress."""

    def __init__(self, base_url: str, key: str, *, timeout: float = 60.0) -> None:
        self.url = origin(base_url) + PATH
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"batchgen/{__version__}",
        }
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._creates: set[asyncio.Timeout] = set()
        self._hurry = math.inf  # loop time after which no create is waited for

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    def hurry(self, seconds: float) -> None:
        """Wait at most so long for the creates in flight; they end as NeverSent or MaybeAccepted."""
        self._hurry = asyncio.get_running_loop().time() + seconds
        for progress in self._creates:
            self._postpone(progress)

    def _postpone(self, progress: asyncio.Timeout) -> None:
        """Something moved: wait for the next thing from now on."""
        if not progress.expired():
            progress.reschedule(min(asyncio.get_running_loop().time() + self._timeout, self._hurry))

    async def create(self, fields: Mapping[str, Any]) -> Accepted:
        """Send one create. ``fields`` is the request with its ``external_task_id``; images may be files.

        Raises NeverSent, MaybeAccepted, ImageError (a file isn't what was checked; nothing was accepted), or what
        :func:`answers.read_create` makes of a refusal.
        """
        body = Body(fields)
        upload: _Upload | None = None
        try:
            async with asyncio.timeout(None) as progress:
                self._creates.add(progress)
                self._postpone(progress)
                upload = _Upload(body, partial(self._postpone, progress))
                try:
                    answer = await self._ask("POST", self.url, upload)
                finally:
                    self._creates.discard(progress)
            return read_create(answer, str(fields["external_task_id"]))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure: ApiError = MaybeAccepted(f"no answer: {_reason(error, self._timeout)}")
            cause: BaseException = error
        except MaybeAccepted as error:
            failure, cause = error, error
        if upload is not None and upload.failure is not None:
            raise upload.failure
        if upload is None or not upload.complete:
            raise NeverSent(f"not sent: {str(failure).removeprefix('no answer: ')}", code=failure.code) from cause
        if failure is cause:
            raise failure
        raise failure from cause

    async def query(self, asked: str) -> TaskView:
        """Ask for a task by its task id or ``external_task_id``. Raises what :func:`answers.read_query` does."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._ask("GET", f"{self.url}/{quote(asked, safe='')}", None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NeverSent(f"no answer: {_reason(error, self._timeout)}") from error
        return read_query(answer, asked)

    async def _ask(self, method: str, url: str, upload: _Upload | None) -> Answer:
        if self._session is None:
            raise RuntimeError("the client is used outside of its 'async with'")
        async with self._session.request(
            method, URL(url, encoded=True), data=upload, headers=self._headers, allow_redirects=False
        ) as response:
            body, complete = b"", True
            try:
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > LARGEST_ANSWER:
                        complete = False
                        break
            except aiohttp.ClientPayloadError:
                complete = False
            if not complete:
                response.close()
            return Answer(
                response.status,
                body,
                response.headers.get("Retry-After"),
                response.headers.get("Location"),
                complete,
            )


def _reason(error: BaseException, patience: float) -> str:
    """What went wrong on the wire, in a line."""
    if isinstance(error, TimeoutError):
        return f"nothing moved for {patience:g} s"
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300]
