"""Thumbnails of source pictures, as files beside the page. Each is named after its picture's digest, and made once."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from batchgen.run.decoders import Decoders

SIDE = 360  # pixels: two to a card, on screens that have two for each of the page's


class Thumbnails(NamedTuple):
    """Whose thumbnails are there, by digest, and why others' aren't."""

    has: frozenset[str] = frozenset()
    lacking: Mapping[str, str] = {}


class _File(NamedTuple):
    """A picture's file: of one that changes, another try is made."""

    sha256: str
    path: str
    size: int
    mtime_ns: int


def file_name(sha256: str) -> str:
    """The thumbnail's name below the page's folder of files."""
    return f"{sha256[:16]}.jpg"


class Thumbnailer:
    """Makes thumbnails in a folder. A file of which none can be made isn't tried again."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lacking: dict[_File, str] = {}

    def make_missing(
        self, pictures: Iterable[tuple[str, str]], *, advance: Callable[[], object] = lambda: None
    ) -> Thumbnails:
        """Make the thumbnails that are missing of some pictures, (digest, path), in processes of their own.

        Raises OSError where the folder can't be written.
        """
        try:
            there = set(os.listdir(self._folder))
        except FileNotFoundError:
            there = set()
        has: set[str] = set()
        lacking: dict[str, str] = {}
        missing: list[_File] = []
        for sha256, path in pictures:
            if file_name(sha256) in there:
                has.add(sha256)
            elif isinstance(file := _look(sha256, path), str):
                lacking[sha256] = file
            elif (why := self._lacking.get(file)) is not None:
                lacking[sha256] = why
            else:
                missing.append(file)
        if missing:
            import asyncio  # most pages need neither it nor the processes

            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            failed = asyncio.run(self._make_all(missing, advance))
            self._lacking |= failed
            lacking |= {file.sha256: why for file, why in failed.items()}
            has |= {file.sha256 for file in missing if file not in failed}
        return Thumbnails(frozenset(has), lacking)

    async def _make_all(self, files: Iterable[_File], advance: Callable[[], object]) -> dict[_File, str]:
        """Make thumbnails of files; returns of which none could be made, and why."""
        import asyncio

        from batchgen.run.decoders import WORKERS, Decoders

        decoders, todo, failed = Decoders(), iter(files), dict[_File, str]()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(self._make_some(decoders, todo, failed, advance))
        except* OSError as errors:
            raise errors.exceptions[0] from None
        finally:
            await decoders.close()
        return failed

    async def _make_some(
        self,
        decoders: Decoders,
        files: Iterator[_File],
        failed: dict[_File, str],
        advance: Callable[[], object],
    ) -> None:
        for file in files:
            path = os.path.join(self._folder, file_name(file.sha256))
            draft = f"{path}.part"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)
            order = {"path": file.path, "within": None, "size": file.size, "digest": file.sha256}
            answer = await decoders.answer({**order, "side": SIDE, "to": draft})
            if "error" in answer:
                failed[file] = answer["error"]
            else:
                os.rename(draft, path)  # whole or not at all; one that is lost in a crash is made again
            advance()


def _look(sha256: str, path: str) -> _File | str:
    """A picture's file, or why it can't be one."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return "the picture is gone"
    except (OSError, ValueError) as error:
        return f"the picture can't be opened: {getattr(error, 'strerror', None) or error}"
    if not stat.S_ISREG(found.st_mode):
        return "the picture is no file any more"
    return _File(sha256, path, found.st_size, found.st_mtime_ns)
