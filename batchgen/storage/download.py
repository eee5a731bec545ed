"""Downloads a clip: into a ``.part``, checked, synced, renamed. The caller writes the ledger only after that.

Every request, redirects included, has exactly the bytes of the address: hosts refuse a signed address that was rewritten.
The key is sent to the API's own origin alone, and only after that has asked for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from batchgen import __version__
from batchgen.errors import DownloadError, UsageError
from batchgen.http import addresses, transport
from batchgen.http.bodies import answered_at, retry_after
from batchgen.http.transport import ProgressTimeout
from batchgen.storage.clip_hosts import MAX_HOST, ClipHosts, HostRefused
from batchgen.storage.disk_threads import DiskQueue, DiskThreads
from batchgen.storage.partfile import LARGEST_CLIP, Kept, PartFile
from batchgen.storage.roots import Roots
from batchgen.storage.transfer import Changed, Clip, Transfer

PIECE = 1 << 18  # bytes
BACKLOG = 1 << 20  # bytes that wait for the disk before no more are taken from the network
MIN_SPEED = 16 << 10  # bytes per second; a line of 1 MB/s that four share gives each fifteen times as much
BUSY = {429, 503}
BODY_STATUSES = {200, 203, 206}
REDIRECTS = {301, 302, 303, 307, 308}
MAX_REDIRECTS = 5
GONE = {403, 404, 410}
UNAUTHORIZED = {401, 403}


def _ignore(count: int) -> None:
    """What is done with the number of bytes that came where nobody counts them."""


class Downloads:
    """Fetches clips of up to ``largest`` bytes. ``timeout`` is in seconds without progress.

    ``min_speed`` is in bytes per second, on the average of ``timeout``: anything slower is no progress. ``lend`` returns the
    headers with the key that a request to an address may carry, or none; ``masked`` masks the key in what a host
    answered. ``roots`` are the run's output folders. ``hosts`` decides which hosts may be asked; the default is for an API
    on this machine. ``now`` returns Unix seconds.
    """

    def __init__(
        self,
        *,
        timeout: float = 60.0,
        min_speed: float = MIN_SPEED,
        largest: int = LARGEST_CLIP,
        lend: Callable[[str], Mapping[str, str]] = lambda url: {},
        masked: Callable[[bytes], bytes] = bytes,
        roots: Roots | None = None,
        hosts: ClipHosts | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._timeout, self._min_speed = timeout, min_speed
        self._largest = largest
        self._lend, self._masked = lend, masked
        self._roots = Roots() if roots is None else roots
        self._hosts = hosts or ClipHosts()
        self._now = now
        self._threads = DiskThreads()
        self._direct: aiohttp.ClientSession | None = None
        self._proxied: aiohttp.ClientSession | None = None  # a proxy, whose own address may be any

    async def __aenter__(self) -> Self:
        headers = {"User-Agent": f"batchgen/{__version__}", "Accept-Encoding": "identity"}
        resolver = transport.FilteringResolver(self._hosts.accepted)
        self._direct = transport.session(headers=headers, resolver=resolver)
        self._proxied = transport.session(headers=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._direct, self._proxied):
            if session:
                await session.close()
        self._threads.close()

    async def fetch(self, url: str, path: str, *, root: str) -> Clip:
        """Download ``url`` to ``path``, which lies below the folder ``root``, in one try.

        Another file at ``path`` is never overwritten: the clip gets a name beside it. A failure leaves no file behind.
        Raises DownloadError.
        """
        transfer = self.transfer(path, root=root)
        try:
            return await self.attempt(transfer, url)
        finally:
            transfer.part.discard()

    def transfer(
        self, path: str, *, root: str, believe_after: float = 0.0, kept: Kept | None = None
    ) -> Transfer:
        """The state of a download that may take several tries; ``believe_after`` and ``kept`` as in :class:`Transfer`.

        The caller discards its part in the end.
        """
        part = PartFile(path, self._roots[root], kept)
        return Transfer(part, largest=self._largest, believe_after=believe_after, kept=kept)

    async def attempt(
        self, transfer: Transfer, url: str, *, by: float = math.inf, heard: Callable[[int], None] = _ignore
    ) -> Clip:
        """One try, which resumes where the last one broke off, and ends at ``by`` on the loop's clock at the latest.

        ``heard`` is called with the number of bytes of each piece that comes. Raises DownloadError; the bytes that came
        stay in the part.
        """
        part = transfer.part
        limit = asyncio.timeout_at(None if by == math.inf else by)
        try:
            with contextlib.ExitStack() as opened:
                await self._threads.run(lambda: _open(part, opened))
                try:
                    async with limit:
                        await self._receive_all(transfer, url, heard)
                    now = asyncio.get_running_loop().time()
                    return await self._threads.run(lambda: _keep(transfer, now, opened), counts=True)
                except BaseException:
                    await self._threads.run(lambda: _leave(transfer, opened))
                    raise
        except DownloadError as error:
            error.args = (self._masked(str(error).encode("utf-8", "replace")).decode(),)
            raise
        except aiohttp.ClientError as error:
            raise DownloadError(
                f"the download broke off: {self._masked(transport.fault(error).encode()).decode()}"
            ) from error
        except OSError as error:
            if limit.expired():
                raise DownloadError("it took longer than --clip-timeout lets it") from error
            await self._threads.run(part.discard)  # a full disk gets its room back
            raise DownloadError(f"can't write {part.part}: {error.strerror or error}", local=True) from error

    async def _receive_all(self, transfer: Transfer, url: str, heard: Callable[[int], None]) -> None:
        """Receive the missing bytes: one answer, or several where a host sends the clip in pieces."""
        changed = False
        complete = False
        while not complete:
            try:
                complete = await self._receive(transfer, url, heard)
            except Changed:
                if changed:
                    raise DownloadError("the clip's file changes while it comes") from None
                changed = True
                await self._threads.run(transfer.part.restart)

    async def _receive(self, transfer: Transfer, url: str, heard: Callable[[int], None]) -> bool:
        """Receive one answer. Returns whether the clip is complete; False where the next piece has to be asked for."""
        wanted, before = transfer.range_headers(url), transfer.part.size
        came = seen = 0  # bytes of the answer; those of them when the timeout was renewed
        stall = ProgressTimeout(self._timeout)
        try:
            async with stall, self._answer(url, wanted) as response:
                status, headers = response.status, response.headers
                stall.renew()
                if wanted and status == 416:
                    raise Changed
                if status not in BODY_STATUSES:
                    transfer.missed()
                    reason = f"the clip's host answered HTTP {status}"
                    asked = retry_after(headers.get("Retry-After"), answered_at(headers) or self._now())
                    raise DownloadError(reason, busy=status in BUSY, gone=status in GONE, retry_after=asked)
                disk = DiskQueue(self._threads, response.close, PIECE)
                length, resumes = response.content_length, bool(wanted)
                disk.put(lambda: transfer.begin(url, status, headers, resumes=resumes, length=length))
                try:
                    async for piece in response.content.iter_chunked(PIECE):
                        came += len(piece)
                        heard(len(piece))
                        if came - seen >= max(self._min_speed * self._timeout, 1):
                            stall.renew()
                            seen = came
                        disk.put(functools.partial(transfer.receive, piece), len(piece))
                        if disk.backlog >= BACKLOG:
                            with stall.suspended():
                                await disk.done()
                except asyncio.CancelledError:
                    with contextlib.suppress(OSError, DownloadError, Changed):
                        await disk.done()
                    raise
                except aiohttp.ClientError:
                    await disk.done()  # where that failed, it had the connection closed
                    raise
                with stall.suspended():
                    complete = await disk.finish(transfer.end)
        except TimeoutError:
            if not stall.expired:  # of the disk, which has such an error too
                raise
            raise DownloadError(self._too_slow(came - seen), busy=came > seen) from None
        if not complete and transfer.part.size <= before:
            raise DownloadError(f"the clip's host sent {before:,} bytes and no more")
        return complete

    @contextlib.asynccontextmanager
    async def _answer(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request ``url``, follow redirects, and send the key where the API's own origin asks for it."""
        ours = True  # every address so far was of the API's origin
        key: Mapping[str, str] = {}
        redirects = 0
        while True:
            url = addresses.request_url(url) or ""  # without a user and a password
            if (where := _url(url)) is None:
                raise DownloadError("the clip's address can't be used", refused=True)
            ours = ours and bool(self._lend(url))
            try:
                route = transport.route(url)
            except UsageError as error:  # a proxy that can't be used
                raise DownloadError(str(error)) from error
            proxied = route["proxy"] is not None
            session = self._proxied if proxied else self._direct
            if session is None:
                raise RuntimeError("downloads are used outside of their 'async with'")
            try:
                self._hosts.check(url, proxied=proxied)
                async with session.get(
                    where, headers={**headers, **key}, allow_redirects=False, **route
                ) as response:
                    location = response.headers.get("Location")
                    if response.status in REDIRECTS and location is not None:
                        redirects += 1
                        target = addresses.resolve(url, location.strip())
                        if target is None:
                            raise DownloadError("the clip's host redirects to what is no address")
                        if redirects > MAX_REDIRECTS:
                            raise DownloadError("the clip's host redirects without an end")
                        url, key = target, {}
                    elif ours and not key and _wants_key(response):
                        key = self._lend(url)
                    else:
                        yield response
                        return
            except HostRefused as reason:
                place = f"{where.scheme}://{(where.host_subcomponent or '')[:MAX_HOST]}"
                led = "its host redirects to" if redirects else "its address is at"
                raise DownloadError(f"{led} {place}, which is not asked: {reason}", refused=True) from None

    def _too_slow(self, came: int) -> str:
        """The message where the timeout passed after ``came`` bytes."""
        if not came:
            return f"the download stood still for {self._timeout:g} s"
        speed, least = came / self._timeout / 1024, self._min_speed / 1024
        return f"it came with {speed:.1f} KiB/s for {self._timeout:g} s; less than {least:,.6g} KiB/s is too slow (--min-speed)"


def _open(part: PartFile, opened: contextlib.ExitStack) -> None:
    """Open the part, and prove what an earlier run left in it."""
    opened.enter_context(part.opened())
    for _ in part.verify_kept():
        pass


def _keep(transfer: Transfer, now: float, opened: contextlib.ExitStack) -> Clip:
    """Judge a complete clip, sync it and give it its name."""
    part, note = transfer.part, transfer.judge(now)
    part.sync()
    clip = Clip(part.keep(), part.sha256, part.size, note)
    opened.close()
    return clip


def _leave(transfer: Transfer, opened: contextlib.ExitStack) -> None:
    """End a try that failed."""
    with opened.pop_all():
        transfer.end_try()


def _wants_key(response: aiohttp.ClientResponse) -> bool:
    """Whether a request with the key may get another answer: this one says so, or is a page instead of a clip."""
    kind = response.content_type
    return response.status in UNAUTHORIZED or (
        response.status == 200 and (kind.startswith("text/") or kind.endswith("json"))
    )


def _url(url: str) -> URL | None:
    """The address for aiohttp, its bytes kept. The whole target goes in as a path: yarl would drop an empty query."""
    if (parts := addresses.split(url)) is None:
        return None
    scheme, authority, target = parts
    try:
        return URL.build(scheme=scheme, authority=authority, path=target, encoded=True)
    except ValueError:
        return None
