"""Finds the image that a field's text means: a URL, a file, or Base64."""

from __future__ import annotations

import math
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import xxhash

from batchgen import files
from batchgen.errors import ImageError, Unfinished
from batchgen.escapes import excerpt
from batchgen.files import Folders
from batchgen.images import facts, inspection
from batchgen.images.facts import Facts
from batchgen.images.recipe import check_source
from batchgen.manifest.pictures import remedy
from batchgen.models import ImageFile, Within
from batchgen.names import Disk
from batchgen.request import urls
from batchgen.request.image_fields import is_url

# The start of PNG and JPEG in Base64. A JPEG's may also be a path, so files are looked for first.
_STARTS = ("iVBORw0KGgo", "/9j/")
_ALPHABET = re.compile(r"[A-Za-z0-9+/\s]++={0,2}+\s*+", re.ASCII)  # nothing is tried twice: linear
_LONGEST_PATH = 4096  # bytes, of Linux; only Base64 is longer
_SURELY_BASE64 = (
    256  # characters; a text of Base64's alphabet that is longer and names no file is meant as Base64
)
Entry = TypeVar("Entry")
Inspect = Callable[..., ImageFile]
FRESH = 60.0  # seconds after its last change in which an incomplete file may still be being copied
DAY = 86_400.0  # seconds
LARGE = 1 << 20  # bytes from which an image is read on another thread
CORES = min(os.cpu_count() or 1, 8)  # more threads would only wait for the disk
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?=//)")


class SourceError(ValueError):
    """The text can't mean an image, whatever is on the disk."""


class Sources:
    """Images by the text that means them; each file is inspected once, however many jobs use it.

    Of those that are ``known`` from before, by their paths, only what has changed since is inspected; ``folders`` opens
    what lies in an entry's folders. ``now`` is the
    time at which the reading began, in Unix seconds; what was written shortly before may not be whole yet.
    """

    def __init__(
        self,
        inspect: Inspect,
        known: Mapping[str, ImageFile],
        folders: Folders,
        now: float = 0.0,
    ) -> None:
        self.folders = folders
        self._now = now
        self._inspect = inspect
        self._known = known
        self._seen: dict[str, ImageFile | ImageError] = {}
        self._named: set[int] = set()  # hashes of paths; two that are equal by chance would lose a warning
        self._pictures: dict[str, tuple[ImageFile, Facts] | ImageError] = {}  # those that are to be prepared
        self._begun: dict[str, Future[ImageFile]] = {}
        self._begun_pictures: dict[str, Future[tuple[ImageFile, Facts]]] = {}
        self._latest_size = 0
        self._disk = Disk()
        self._inside: set[tuple[str, Within]] = set()  # folders whose files lie where they must

    def find(self, path: str, base: str) -> str:
        """``path``, relative to ``base``, in the spelling that its name has on disk."""
        return self._disk.find(absolute(path, base))

    def has(self, path: str) -> bool:
        """Whether a job has named the file at an absolute path."""
        return hash(path) in self._named or path in self._pictures

    def may_wait(self, error: ImageError) -> bool:
        """Whether an incomplete image may still be being written."""
        if not isinstance(error, Unfinished):
            return False
        return error.changed == math.inf or abs(self._now - error.changed) < FRESH

    def is_recent(self, path: str) -> bool:
        """Whether a file was written in the last day. An older mark of a download doesn't count."""
        try:
            return abs(self._now - os.stat(path).st_mtime) < DAY
        except OSError:
            return False

    def changed(self) -> set[str]:
        """The paths of images that were complete, and have been changed since they were inspected."""
        pictures = {path: found[0] for path, found in self._pictures.items() if isinstance(found, tuple)}
        return {
            path
            for path, image in {**self._seen, **pictures}.items()
            if isinstance(image, ImageFile) and self._is_fresh(image) and not inspection.unchanged(image)
        }

    def file(self, path: str, within: Within | None = None) -> ImageFile:
        """A folder's image at an absolute path, which lies within ``within``, links resolved. Raises ImageError."""
        return self._file(path, within, keep=False)

    def _file(self, path: str, within: Within | None, *, keep: bool) -> ImageFile:
        """The image at a path. One that is known and unchanged is only remembered with ``keep``: a folder's is used once."""
        self._named.add(hash(path))
        begun = self._begun.pop(path, None) if self._begun else None
        known = self._unchanged(path) if begun is None and path not in self._seen else None
        if known is None:
            image = self._once(path, lambda _: self._read(path, within) if begun is None else begun.result())
        else:
            image = known
            if keep or self._is_fresh(image):  # a fresh one is looked at again in the end
                self._seen[path] = image
        return image if image.within is within else image.to_be_read(within)

    def picture(self, path: str, within: Within | None = None) -> tuple[ImageFile, Facts]:
        """The picture at an absolute path, which is to be prepared: of any format and size. Raises ImageError."""
        found = self._pictures.get(path)
        if found is None:
            try:
                found = self._picture(path, within)
            except ImageError as error:
                found = error
            self._pictures[path] = found
        if isinstance(found, ImageError):
            raise found
        image, about = found
        return (image if image.within is within else image.to_be_read(within)), about

    def _picture(self, path: str, within: Within | None) -> tuple[ImageFile, Facts]:
        if (begun := self._begun_pictures.pop(path, None)) is not None:
            return begun.result()
        image = self._known.get(path)
        if image is None or not inspection.unchanged(image):
            return self._read_picture(path, within)
        return image, facts.examine(path, within, self.folders)

    def _read_picture(self, path: str, within: Within | None) -> tuple[ImageFile, Facts]:
        about = facts.examine(path, within, self.folders)
        check_source(about)
        header = inspection.Header(about.format, about.width, about.height, about.orientation)
        image = self._inspect(path, within, self.folders, header)
        if image.size != about.size:
            raise Unfinished("the file changed while it was read; is something still writing it?", math.inf)
        self._latest_size = image.size
        return image, about

    def read_ahead(
        self, entries: Iterable[Entry], path: Callable[[Entry], str | None], within: Within, *, prepare: bool
    ) -> Iterator[Entry]:
        """The same entries; where images are large, other threads read those of the next few entries meanwhile.

        ``path`` gives the absolute path of an entry's image, or None. ``prepare``: they are to be prepared.
        """
        seen: Mapping[str, object] = self._pictures if prepare else self._seen
        with ThreadPoolExecutor(CORES, "images") as pool:
            coming: deque[Entry] = deque()
            for entry in entries:
                file = path(entry)
                if self._latest_size >= LARGE and file not in self._known and file not in seen and file:
                    if prepare:
                        self._begun_pictures[file] = pool.submit(self._read_picture, file, within)
                    else:
                        self._begun[file] = pool.submit(self._read, file, within)
                coming.append(entry)
                if len(coming) > 2 * CORES:
                    yield coming.popleft()
            yield from coming

    def _unchanged(self, path: str) -> ImageFile | None:
        """The image that was known before, unless it was changed since."""
        try:
            image = self._known[path]
        except KeyError:
            return None
        return image if inspection.is_acceptable(image) and inspection.unchanged(image) else None

    def _is_fresh(self, image: ImageFile) -> bool:
        return abs(self._now - image.mtime_ns / 1e9) < FRESH

    def _read(self, path: str, within: Within | None) -> ImageFile:
        try:
            image = self._inspect(path, within, self.folders)
        except Unfinished:
            raise
        except ImageError as error:
            raise ImageError(f"{error}{remedy(path, within)}") from error
        self._latest_size = image.size
        return image

    def look(
        self, text: str, base: str, within: Within | None = None, *, prepare: bool = False
    ) -> ImageFile | None:
        """The image that ``text`` means, with an empty path for Base64; None for a URL, which isn't opened here.

        Paths are relative to ``base``; ``~/`` is the home folder. With ``within`` a file lies below its folders. One that is
        to be prepared may be of any format and size.
        Raises SourceError and ImageError.
        """
        if is_url(text):
            if why := urls.refusal(text):
                raise SourceError(why)
            return None
        if "\0" in text:
            raise ImageError("a NUL stands in it, which no file's name has")
        path = self.find(text, base) if len(text) < _LONGEST_PATH else text
        mode = _mode(path) if len(text) < _LONGEST_PATH else None
        if mode is not None:
            try:
                if within and (why := self._leads_out(path, stat.S_ISLNK(mode), within)):
                    raise ImageError(why)
                if prepare:
                    return self.picture(path, within)[0]
                return self._file(path, within, keep=True)
            except ImageError as error:
                raise _named(error, text) from error
        if scheme := _SCHEME.match(text):
            hint = "write the path alone" if scheme[0].lower() == "file:" else "only http and https go"
            raise SourceError(f"the API can't fetch {scheme[0]}// addresses; {hint}")
        if looks_like_base64(text):
            return self._once(text, inspection.inspect_base64)
        named = absolute(text, base) if len(text) < _LONGEST_PATH else excerpt(text)
        raise ImageError(f"no such file: {named}")

    def _leads_out(self, path: str, is_link: bool, within: Within) -> str | None:
        """Why a file may not be read; None where it may. Each folder is checked once; links are checked each."""
        folder = (path.rpartition("/")[0], within)
        if folder in self._inside and not is_link:
            return None
        why = files.outside(path, _resolved(path), within)
        if why is None and not is_link:
            self._inside.add(folder)
        return why

    def _once(self, name: str, inspect: Callable[[str], ImageFile]) -> ImageFile:
        found = self._seen.get(name)
        if found is None:
            try:
                found = inspect(name)
            except ImageError as error:
                found = error
            self._seen[name] = found
        if isinstance(found, ImageError):
            raise found
        return found


def _named(error: ImageError, text: str) -> ImageError:
    message = f"{text}: {error}"
    return Unfinished(message, error.changed) if isinstance(error, Unfinished) else ImageError(message)


def _mode(path: str) -> int | None:
    """The mode of what is at a path, of a link itself; None where nothing is."""
    try:
        return os.lstat(path).st_mode
    except (OSError, ValueError):
        return None


def _resolved(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL: nothing has such a name
        return path


def absolute(path: str, base: str) -> str:
    """``path`` below ``base`` unless it is absolute or starts with ``~/``."""
    return os.path.normpath(os.path.join(base, os.path.expanduser(path) if path.startswith("~/") else path))


def looks_like_base64(text: str) -> bool:
    """Whether a text that names no file is meant as Base64."""
    if not text.startswith(_STARTS) and len(text) < _SURELY_BASE64:
        return False
    return _ALPHABET.fullmatch(text) is not None


def label(text: str, base: str) -> str:
    """The absolute path or URL of an image; "" for Base64."""
    if is_url(text):
        return text
    path = absolute(text, base)
    if looks_like_base64(text) and not (len(text) < _LONGEST_PATH and os.path.lexists(path)):
        return ""
    return path


def stamp(text: str, base: str, within: Within | None) -> str:
    """Size and time of the file that an image's text names; a digest of the text where there is no such file.

    A file outside of ``within`` counts as absent.
    """
    path = absolute(text, base)
    try:
        if within and files.outside(path, _resolved(path), within):
            raise FileNotFoundError
        status = os.stat(path)
    except (OSError, ValueError):
        return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
    return f"{status.st_size}:{status.st_mtime_ns}"


def with_values(request: Mapping[str, Any], values: Mapping[tuple[str | int, ...], Any]) -> dict[str, Any]:
    """A copy of ``request`` with other values at these paths, which are those of ``image_values``."""
    changed = dict(request)
    if "dynamic_masks" in changed and any(path[0] == "dynamic_masks" for path in values):
        changed["dynamic_masks"] = [
            {**mask, "mask": values.get(("dynamic_masks", number, "mask"), mask["mask"])}
            for number, mask in enumerate(changed["dynamic_masks"])
        ]
    changed.update({str(path[0]): value for path, value in values.items() if len(path) == 1})
    return changed
