"""The API's client: each call makes one attempt and says how it ended. Retries are the caller's.

A create ends as accepted, refused or never sent, or as :class:`MaybeAccepted`. This module writes the request's body
itself, so it knows which: until the body's last piece is handed over, the request can't have been accepted. All of
aiohttp's errors are translated here; the key leaves this module in one header, to one origin.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from batchgen import __version__
from batchgen.api.credentials import Credentials
from batchgen.api.responses import Accepted, Answer, read_create, read_query
from batchgen.errors import ApiError, ImageError, MaybeAccepted, NeverSent, NotFound
from batchgen.http import transport
from batchgen.http.bodies import answered_at, unpacked
from batchgen.http.endpoint import origin
from batchgen.http.transport import ProgressTimeout
from batchgen.models import ImageFile, TaskView
from batchgen.request.body import Body, fetch

PATH = "/kling/v1/videos/image2video"
MAX_ANSWER = 1 << 20  # bytes; real answers have a few hundred
SEND_BUFFER = 1 << 17  # bytes of a body that the system may hold and not have sent yet
NO_TASK = "batchgen-doctor.no-such-task"  # that a probe asks for
DRAIN_TURNS = 3  # turns of the event loop that an early response is given to be read in


class Probe(NamedTuple):
    """What one query of no task tells: ``refusal`` is None where the API takes the key.

    ``ahead`` is how far the server's clock is ahead of this machine's at least, in seconds, negative where it is behind;
    None where the answer has no date. ``seconds``: until it answered.
    """

    refusal: ApiError | None
    ahead: float | None
    seconds: float


class _Upload(Payload):
    """A create's body as it is sent. ``complete`` turns true just before its last bytes are handed over."""

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
        connection = _connection(writer)
        _limit_send_buffer(connection)
        pieces = self._body.pieces()
        slices = _slices(pieces)
        try:
            held = next(slices)
            for following in slices:
                await _drain_early_response(connection)
                await writer.write(held)
                self._moved()
                held = following
            await _drain_early_response(connection)
        except ImageError as error:
            self.failure = error
            raise
        finally:
            pieces.close()
        self.complete = True
        await writer.write(held)
        self._moved()


async def _in_daemon_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in a thread that the process doesn't wait for when it ends: a read from a dead disk never returns.

    Raises OSError and ImageError, as ``work`` does.
    """
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            work()
        except (OSError, ImageError) as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="fetch", daemon=True).start()
    await asyncio.wrap_future(done)


def _slices(pieces: Iterable[bytes]) -> Iterator[memoryview]:
    """The same bytes in slices of at most ``SEND_BUFFER``: each slice that is sent counts as progress."""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), SEND_BUFFER):
            yield view[start : start + SEND_BUFFER]


def _connection(writer: AbstractStreamWriter) -> socket.socket | None:
    transport = getattr(writer, "transport", None)
    return transport.get_extra_info("socket") if transport is not None else None


async def _drain_early_response(connection: socket.socket | None) -> None:
    """Let the loop read an answer that came before the body was sent: it is lost if we write on and are disconnected."""
    if connection is None or connection.fileno() < 0:
        return
    arrived = select.poll()
    arrived.register(connection.fileno(), select.POLLIN)
    for _ in range(DRAIN_TURNS):
        if not arrived.poll(0):
            return
        await asyncio.sleep(0)


def _limit_send_buffer(connection: socket.socket | None) -> None:
    """Keep the system from buffering megabytes of a body that the network hasn't taken: that isn't progress yet."""
    if connection is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, SEND_BUFFER)


class Api:
    """Creates and queries tasks. ``timeout`` is in seconds without progress; ``now`` gives Unix seconds."""

    def __init__(
        self, base_url: str, key: str, *, timeout: float = 60.0, now: Callable[[], float] = time.time
    ) -> None:
        self.url = origin(base_url) + PATH
        self.credentials = Credentials(self.url, key)
        self.reached: set[str] = set()  # addresses at which the API has been reached
        self._route = transport.route(self.url)
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"batchgen/{__version__}",
        }
        self._timeout, self._now = timeout, now
        self._for_creates: aiohttp.ClientSession | None = None
        self._for_queries: aiohttp.ClientSession | None = None
        self._in_flight: dict[ProgressTimeout, _Upload] = {}
        self._send_until = math.inf  # loop time after which no create is sent any more
        self._answer_seconds = 0.0  # seconds after that for the answers of those that were sent

    async def __aenter__(self) -> Self:
        # Each create has a connection of its own: on a shared one, a stray answer to an earlier request would be
        # taken for its own and bring another task's id. Queries may share: their answers name the task.
        self._for_creates = transport.session(force_close=True, reached=self.reached)
        self._for_queries = transport.session(reached=self.reached)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._for_creates, self._for_queries):
            if session:
                await session.close()

    def set_deadline(self, seconds: float, *, answers: float = 0.0) -> None:
        """Wait at most so long for the creates in flight, and ``answers`` more for those that are sent whole by then.

        They end as NeverSent or MaybeAccepted. Of several calls, the one that ends first holds.
        """
        now = asyncio.get_running_loop().time()
        if now + seconds + answers < self._send_until + self._answer_seconds:
            self._send_until, self._answer_seconds = now + seconds, answers
        for progress in self._in_flight:
            self._renew(progress)

    @property
    def _past_deadline(self) -> bool:
        return asyncio.get_running_loop().time() >= self._send_until

    def _renew(self, progress: ProgressTimeout) -> None:
        """Start a create's timeout anew, because some of it was sent; never beyond the deadline of :meth:`set_deadline`."""
        sent = self._in_flight[progress].complete
        progress.renew(self._send_until + (self._answer_seconds if sent else 0.0))

    async def create(self, fields: Mapping[str, Any]) -> Accepted:
        """Send one create. ``fields`` is the request with its ``external_task_id``; images may be files.

        Raises NeverSent, MaybeAccepted, ImageError (a file can't be read or isn't what was checked; nothing was
        accepted), or what :func:`responses.read_create` makes of a refusal. A request that holds the key is an ImageError.
        """
        progress = ProgressTimeout(self._timeout)
        cause: BaseException | None = None
        body = Body(fields)
        if any(self.credentials.mask.holds(text.rstrip("=")) for text in body.texts()):
            raise ImageError("the request holds the API key, so it is not sent; take it out of the job")
        upload = _Upload(body, partial(self._renew, progress))
        reading: ImageFile | None = None
        try:
            async with progress:
                self._in_flight[progress] = upload
                self._renew(progress)
                try:
                    for reading in body.files:
                        await _in_daemon_thread(partial(fetch, reading, self.credentials.secret))
                    reading = None
                    answer = await self._ask(self._for_creates, "POST", self.url, upload)
                finally:
                    del self._in_flight[progress]
            return read_create(answer, str(fields["external_task_id"]))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure: ApiError = MaybeAccepted(f"no answer: {self._reason(error, sent=upload.complete)}")
            cause = error
            if reading is not None and isinstance(error, TimeoutError) and not self._past_deadline:
                reason = f"it can't be read: nothing came from its disk for {self._timeout:g} s"
                upload.failure = ImageError(f"{reading.path}: {reason}")
        except MaybeAccepted as error:
            failure = error
        # Raised out here, so that aiohttp's errors aren't chained: they carry the request's headers, and so the key.
        if upload.failure is not None:
            raise upload.failure
        if not upload.complete:
            reason = f"not sent: {str(failure).removeprefix('no answer: ')}"
            raise self._never_sent(cause, reason) if cause else NeverSent(reason, code=failure.code)
        raise failure

    async def query(self, asked: str) -> TaskView:
        """Ask for a task by its task id or ``external_task_id``. Raises what :func:`responses.read_query` does."""
        return read_query(await self._answer_about(asked), asked, self.url)

    async def probe(self) -> Probe:
        """Ask for a task that nobody has, which costs nothing: what the API says of the key, and by which clock.

        Raises NeverSent where the API wasn't reached.
        """
        begun = self._now()
        answer = await self._answer_about(NO_TASK)
        heard, ahead = self._now(), None
        if answer.is_dated:  # in whole seconds, at a moment between asking and hearing
            least, most = answer.date - heard, answer.date + 1 - begun
            ahead = least if least > 0 else most if most < 0 else 0.0
        refusal: ApiError | None = None
        try:
            read_query(answer, NO_TASK, self.url)
        except NotFound:
            pass  # as it should be
        except ApiError as error:
            refusal = error
        return Probe(refusal, ahead, heard - begun)

    async def _answer_about(self, asked: str) -> Answer:
        try:
            async with ProgressTimeout(self._timeout):
                url = f"{self.url}/{quote(asked, safe='')}"
                return await self._ask(self._for_queries, "GET", url, None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = self._never_sent(error, f"no answer: {self._reason(error)}")
        raise failure

    async def _ask(
        self, session: aiohttp.ClientSession | None, method: str, url: str, upload: _Upload | None
    ) -> Answer:
        if session is None:
            raise RuntimeError("the client is used outside of its 'async with'")
        async with session.request(
            method,
            URL(url, encoded=True),
            data=upload,
            headers=self._headers,
            allow_redirects=False,
            **self._route,
        ) as response:
            body, complete = b"", True
            try:
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > MAX_ANSWER:
                        complete = False
                        break
            except aiohttp.ClientPayloadError:
                complete = False
            if not complete:
                response.close()
            elif packing := response.headers.get("Content-Encoding"):  # although nobody asked for it
                plain = unpacked(body, packing, largest=MAX_ANSWER)
                body, complete = (body, False) if plain is None else (plain, True)
            location, dated = response.headers.get("Location", ""), answered_at(response.headers)
            return Answer(
                response.status,
                self.credentials.masked(body),
                response.headers.get("Retry-After"),
                self.credentials.mask(location) or None,
                complete,
                dated or self._now(),
                dated is not None,
            )

    def _reason(self, error: BaseException, *, sent: bool = True) -> str:
        """What went wrong on the wire, in a line; ``sent``: the whole request was sent before that."""
        if isinstance(error, TimeoutError):
            slow = "none came whole within" if sent else "nothing moved for"
            return "the run was ended" if self._past_deadline else f"{slow} {self._timeout:g} s"
        return self.credentials.mask(transport.fault(error, self._route["proxy"]))

    def _never_sent(self, error: BaseException, reason: str) -> NeverSent:
        """The error for a request that wasn't sent whole; its ``kind`` says what a person can put right."""
        if fault := transport.certificate_fault(error):
            return NeverSent(reason, kind=fault[0])
        refusal = isinstance(error, aiohttp.ClientHttpProxyError) and error.status in (403, 407)
        return NeverSent(reason, kind="proxy" if refusal else "unreachable")
