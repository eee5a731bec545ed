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

LARGEST_CLIP = 8 << 30  # bytes
PIECE = 1 << 18  # bytes
GONE = {403, 404, 410}


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip on disk, complete and checked."""

    path: str
    sha256: str
    size: int


class Downloads:
    """Fetches clips. ``timeout`` is in seconds without progress."""

    def __init__(self, *, timeout: float = 60.0) -> None:
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=self._timeout),
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

        A different file that is there already is never overwritten: the clip then gets a name of its own.
        Raises DownloadError.
        """
        target = Path(path)
        part = target.with_name(target.name + ".part")
        try:
            _inside(target.parent, root)
            part.unlink(missing_ok=True)
            with open(part, "w+b", opener=_fresh) as file:
                sha256, size = await self._receive(url, file)
                _check_video(file, size)
                await asyncio.to_thread(os.fsync, file.fileno())
            final = _free_name(target, sha256, size)
            os.replace(part, final)
            _sync_folder(final.parent)
        except aiohttp.ClientError as error:
            raise DownloadError(f"the download broke off: {' '.join(str(error).split()) or 'closed'}"[:300]) from error
        except TimeoutError as error:
            raise DownloadError(f"the download stood still for {self._timeout:g} s") from error
        except OSError as error:
            raise DownloadError(f"can't write {part}: {error.strerror or error}") from error
        return Clip(str(final), sha256, size)

    async def _receive(self, url: str, file: BinaryIO) -> tuple[str, int]:
        if self._session is None:
            raise RuntimeError("downloads are used outside of their 'async with'")
        digest, size = hashlib.sha256(), 0
        try:
            async with self._session.get(url, max_redirects=5) as response:
                if response.status != 200:
                    raise DownloadError(
                        f"the clip's host answered HTTP {response.status}", gone=response.status in GONE
                    )
                async for piece in response.content.iter_chunked(PIECE):
                    size += len(piece)
                    if size > LARGEST_CLIP:
                        raise DownloadError(f"the clip is larger than {LARGEST_CLIP >> 30} GiB; given up")
                    digest.update(piece)
                    file.write(piece)
        except ValueError as error:
            raise DownloadError(f"the clip's address can't be used: {error}"[:300]) from error
        file.flush()
        return digest.hexdigest(), size


def _fresh(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _inside(folder: Path, root: str) -> None:
    """Make ``folder``; refuse one that a symbolic link has led out of ``root``."""
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.resolve().is_relative_to(Path(root).resolve()):
        raise DownloadError(f"{folder} leads out of {root} through a symbolic link; nothing was written there")


def _check_video(file: BinaryIO, size: int) -> None:
    """The file's boxes must be those of an MP4 and fill it exactly: a clip cut short doesn't."""
    if size == 0:
        raise DownloadError("the clip's host sent 0 bytes")
    at = 0
    kinds: list[bytes] = []
    while at < size:
        head = os.pread(file.fileno(), 16, at)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = size - at
        if not kinds and kind != b"ftyp":
            raise DownloadError(f"what came is no MP4 video: it begins with {head[:12]!r}")
        if length < 8 or at + length > size:
            raise DownloadError(f"the video ends early, after {size} bytes")
        kinds.append(kind)
        at += length
    if b"moov" not in kinds:
        raise DownloadError(f"the video ends early, after {size} bytes: its index is missing")


def _free_name(target: Path, sha256: str, size: int) -> Path:
    """``target``, or a name beside it where another file has it already."""
    name = target.with_name(f"{target.stem}-{sha256[:8]}{target.suffix}")
    return target if _free(target, sha256, size) else name


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
