"""Bringing a clip home: ``.part``, checked, synced, renamed. The caller writes the ledger only after that.

No key is at hand here, so none can reach the hosts that keep the clips.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import aiohttp

from batchgen import __version__
from batchgen.errors import DownloadError
from batchgen.fields import in_a_line

LARGEST_CLIP = 2 << 30  # bytes; fifteen seconds of 4K have a fraction of it
PIECE = 1 << 18  # bytes
LEAST = 1 << 16  # bytes that have to come while the patience lasts: a drip is no progress
MOST_BOXES = 100_000  # at the top of a file; a clip has a handful, one in fragments has hundreds
GONE = {403, 404, 410}


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip on disk, complete and checked."""

    path: str
    sha256: str
    size: int


class Downloads:
    """Fetches clips of up to ``largest`` bytes. ``timeout`` is in seconds without progress."""

    def __init__(self, *, timeout: float = 60.0, largest: int = LARGEST_CLIP) -> None:
        self._timeout = timeout
        self._largest = largest
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": f"batchgen/{__version__}", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def fetch(self, url: str, path: str, *, root: str) -> Clip:
        """Download ``url`` to ``path``, which lies below the folder ``root``.

        A different file that is there already is never overwritten: the clip then gets a name of its own. Where
        nothing came of it, nothing is left behind. Raises DownloadError.
        """
        target = Path(path)
        part = target.with_name(target.name + ".part")
        try:
            _inside(target.parent, root)
            part.unlink(missing_ok=True)
            try:
                with open(part, "w+b", opener=_fresh) as file:
                    sha256, size = await self._receive(url, file)
                    _check_video(file, size)
                    await asyncio.to_thread(os.fsync, file.fileno())
                final = _free_name(target, sha256, size)
                os.replace(part, final)
            finally:
                part.unlink(missing_ok=True)  # on a full disk above all
            _sync_folder(final.parent)
        except TimeoutError as error:
            raise DownloadError(f"the download stood still for {self._timeout:g} s") from error
        except aiohttp.ClientError as error:
            raise DownloadError(f"the download broke off: {_reason(error)}") from error
        except OSError as error:
            raise DownloadError(f"can't write {part}: {error.strerror or error}") from error
        return Clip(str(final), sha256, size)

    async def _receive(self, url: str, file: BinaryIO) -> tuple[str, int]:
        if self._session is None:
            raise RuntimeError("downloads are used outside of their 'async with'")
        digest, size, due, start = hashlib.sha256(), 0, LEAST, b""
        now = asyncio.get_running_loop().time
        try:
            async with (
                asyncio.timeout(self._timeout) as patience,
                self._session.get(url, max_redirects=5) as response,
            ):
                if response.status != 200:
                    raise DownloadError(
                        f"the clip's host answered HTTP {response.status}", gone=response.status in GONE
                    )
                if (response.content_length or 0) > self._largest:
                    raise self._too_large()
                async for piece in response.content.iter_chunked(PIECE):
                    size += len(piece)
                    if size > self._largest:
                        raise self._too_large()
                    if size >= due:
                        patience.reschedule(now() + self._timeout)
                        due = size + LEAST
                    if len(start) < len(_START):
                        start = (start + piece)[:16]
                        _check_start(start)
                    digest.update(piece)
                    file.write(piece)
        except ValueError as error:
            raise DownloadError(f"the clip's address can't be used: {_reason(error)}") from error
        file.flush()
        return digest.hexdigest(), size

    def _too_large(self) -> DownloadError:
        return DownloadError(f"the clip is larger than {self._largest:,} bytes; given up")


def _reason(error: Exception) -> str:
    """What went wrong on the wire, in a line."""
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    if isinstance(error, aiohttp.TooManyRedirects):
        text = "too many redirects"
    return in_a_line(text)[:300] or type(error).__name__


def _fresh(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _inside(folder: Path, root: str) -> None:
    """Make ``folder``, unless a symbolic link on the way leads out of ``root``."""
    if not folder.resolve().is_relative_to(Path(root).resolve()):
        raise DownloadError(
            f"{folder} leads out of {root} through a symbolic link; nothing was written there"
        )
    folder.mkdir(parents=True, exist_ok=True)


_START = b"\0\0\0\0ftyp"  # the length comes first


def _check_start(start: bytes) -> None:
    """Tell early that it is no MP4: nobody has to wait for the end of a page, or of something without an end."""
    if start[4:8] != _START[4 : len(start)]:
        raise DownloadError(f"what came is no MP4 video: it begins with {start!r}")


def _check_video(file: BinaryIO, size: int) -> None:
    """The file's boxes must be those of an MP4 and fill it exactly: a clip cut short doesn't."""
    if size == 0:
        raise DownloadError("the clip's host sent 0 bytes")
    at = boxes = 0
    index = False
    while at < size:
        head = os.pread(file.fileno(), 16, at)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = size - at
        if length < 8 or at + length > size:
            raise DownloadError(f"the video ends early, after {size:,} bytes")
        at += length
        boxes += 1
        if boxes > MOST_BOXES:
            raise DownloadError(f"what came is no MP4 video: it has more than {MOST_BOXES:,} boxes")
        index = index or kind == b"moov"
    if not index:
        raise DownloadError(f"the video ends early, after {size:,} bytes: its index is missing")


def _free_name(target: Path, sha256: str, size: int) -> Path:
    """``target``, or a name beside it where another file has it already."""
    for tail in ("", f"-{sha256[:8]}", f"-{sha256}"):
        name = target.with_name(f"{target.stem}{tail}{target.suffix}")
        if _free(name, sha256, size):
            return name
    raise DownloadError(f"no name near {target} is free")


def _free(path: Path, sha256: str, size: int) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return True
    if not stat.S_ISREG(there.st_mode) or there.st_size != size:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
