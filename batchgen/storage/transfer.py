"""One clip's bytes, put together from one or more answers and checked to be one file. No network here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchgen.errors import DownloadError
from batchgen.http import bodies
from batchgen.http.addresses import split
from batchgen.http.bodies import Unpacker
from batchgen.storage import mp4
from batchgen.storage.mp4 import Oddity
from batchgen.storage.partfile import Kept, PartFile

OVERLAP = 1 << 16  # bytes that are requested again and compared where a download resumes
MAX_MISSES = 3  # range requests that fail before the whole file is requested
REPEATS = 2  # times that an odd clip has to come with the same bytes before it is accepted
REPEATS_CUT = 4  # the same where its end seems to be missing, or no header gave its length


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip on disk, complete and checked; ``size`` is in bytes. ``note`` says what is odd about it, if anything."""

    path: str
    sha256: str
    size: int
    note: str = ""


class Changed(Exception):
    """The answer doesn't continue the bytes in the part: the whole file has to be requested."""


class Transfer:
    """A download into ``part``. Clips of more than ``largest`` bytes are refused.

    A clip that looks odd but comes again with the same bytes is accepted ``believe_after`` seconds after it first came:
    it was paid for, and there is no other. ``kept`` is what an earlier run left in the part.
    """

    def __init__(
        self, part: PartFile, *, largest: int, believe_after: float, kept: Kept | None = None
    ) -> None:
        self.part = part
        self._largest, self._believe_after = largest, believe_after
        self._total = kept.total if kept else None  # bytes of the whole, where known
        self._validator: str | None = None
        self._place: tuple[str, ...] = ()  # the address that the validator is of
        self._ranges = True  # whether the host takes range requests
        self._misses = 0
        self._overlap = b""  # what has to come again before anything new
        # The first bytes of a body from its start, until they show how it is packed; None: already known.
        self._held: bytes | None = None if kept else b""
        self._unpacker: Unpacker | None = None
        self._headers: Mapping[str, str] = {}
        self._bounded = True  # whether the headers say where the body ends
        self._repeats: dict[str, tuple[int, float]] = {}  # digest -> how often it came, when first

    # -- an answer's beginning ------------------------------------------------------------------------

    def range_headers(self, url: str) -> dict[str, str]:
        """The headers that request the missing bytes, with an overlap to be compared; empty for the whole file."""
        if not self.part.size or not self._ranges or self._misses >= MAX_MISSES:
            return {}
        headers = {"Range": f"bytes={self._resumed_at}-"}
        if self._validator and self._place == _place(url):  # another host has other validators
            headers["If-Range"] = self._validator
        return headers

    def begin(
        self, url: str, status: int, headers: Mapping[str, str], *, resumes: bool, length: int | None
    ) -> None:
        """Start receiving an answer. ``resumes``: it was a range request. ``length``: bytes of its body, None if unknown.

        Raises Changed, and DownloadError where the answer can't be used.
        """
        part, span = self.part, bodies.span(headers) if status == 206 else None
        if resumes and status == 206:
            if span is None or span.start != self._resumed_at:
                raise Changed
            if None not in (span.total, self._total) and span.total != self._total:
                raise Changed
            self._overlap = part.read(part.size - span.start, span.start)
            self._total = span.total or self._total
            return
        if span is not None and span.start:
            raise DownloadError("the clip's host sent a piece of it that nobody asked for")
        packed = bool(headers.get("Content-Encoding"))
        part.restart({} if packed else bodies.digests(headers))
        self._total = span.total if span else None if packed else length
        self._validator, self._place = bodies.validator(headers), _place(url)
        self._ranges = not packed and headers.get("Accept-Ranges", "").lower() != "none"
        self._bounded = length is not None or "Transfer-Encoding" in headers
        self._headers, self._held, self._unpacker, self._overlap = headers, b"", None, b""
        self._misses = 0
        if max(self._total or 0, length or 0) > self._largest:
            raise self._too_large()
        if self._total is not None:
            part.need(self._total)

    def missed(self) -> None:
        """Count a range request that brought no bytes."""
        self._misses += 1

    # -- its bytes ------------------------------------------------------------------------------------

    def receive(self, piece: bytes) -> None:
        """Receive bytes of the body. Raises Changed, and DownloadError where they can't be a clip's."""
        if self._overlap:
            count = min(len(self._overlap), len(piece))
            if piece[:count] != self._overlap[:count]:
                raise Changed
            self._overlap, piece = self._overlap[count:], piece[count:]
        if self._held is None:
            self._unpack(piece)
        else:
            self._held += piece
            if len(self._held) >= mp4.START:
                self._decide()

    def end(self) -> bool:
        """Finish an answer's body. Returns whether the clip is complete. Raises Changed and DownloadError."""
        if self._held is not None:
            self._decide()
        if self._unpacker is not None:
            try:
                self._write(self._unpacker.end())
            except ValueError as error:
                raise DownloadError(f"the clip can't be read: {error}") from None
        if self._overlap:
            raise Changed
        if not self.part.size:
            raise DownloadError("the clip's host sent 0 bytes")
        return self._total is None or self._unpacker is not None or self.part.size >= self._total

    def judge(self, now: float) -> str:
        """What is odd about the complete clip, which is accepted; empty for a sound one. ``now`` is the loop's clock.

        Raises DownloadError for an odd clip that isn't accepted yet.
        """
        part = self.part
        odd = mp4.oddity(part.read, part.size)
        if part.differs:
            odd = Oddity(f"its {part.differs} is not the one that its host told")  # as its headers gave it
        if odd is None:
            return ""
        if self._unpacker is None and (packed := bodies.packing(self._headers)):
            odd = odd._replace(text=f"{odd.text} (its host says that it came packed, {packed})")
        repeats, first = self._repeats.get(part.sha256, (0, now))
        self._repeats[part.sha256] = repeats + 1, first
        enough = REPEATS_CUT if odd.cut or not self._bounded else REPEATS
        if repeats + 1 < enough or now - first < self._believe_after:
            part.restart()
            raise DownloadError(odd.text)
        return f"{odd.text}; the same bytes came {repeats + 1} times, so they are kept"

    def end_try(self) -> None:
        """End a failed try: discard bytes that can't be resumed from."""
        if self._held is not None or not self._ranges or self._unpacker is not None:
            self.part.restart()

    @property
    def kept(self) -> Kept | None:
        """What a later run can resume from; None where there is nothing."""
        kept = self.part.kept
        return kept and kept._replace(total=self._total)

    # -- inside ---------------------------------------------------------------------------------------

    @property
    def _resumed_at(self) -> int:
        return max(self.part.size - OVERLAP, 0)

    def _decide(self) -> None:
        """Decide by the first bytes whether the body is packed, and refuse a page or a picture. Raises DownloadError."""
        held, self._held = self._held or b"", None
        self._unpacker = bodies.unpacker(self._headers, held, mp4.begins_with_a_box)
        self._unpack(held)
        start = self.part.read(mp4.START, 0)
        if mp4.is_page(start) or mp4.is_picture(start):
            self.part.restart()
            what = "a picture" if mp4.is_picture(start) else "a page or a message"
            raise DownloadError(f"what came is no MP4 video, but {what}{bodies.content_type(self._headers)}")

    def _unpack(self, piece: bytes) -> None:
        if self._unpacker is None:
            self._write(piece)
            return
        try:
            for plain in self._unpacker.pieces(piece):
                self._write(plain)
        except ValueError as error:
            raise DownloadError(f"the clip can't be read: {error}") from None

    def _write(self, piece: bytes) -> None:
        if self.part.size + len(piece) > self._largest:
            raise self._too_large()
        self.part.write(piece)

    def _too_large(self) -> DownloadError:
        self.part.restart()
        return DownloadError(f"the clip is larger than {self._largest:,} bytes; given up")


def _place(url: str) -> tuple[str, ...]:
    """(scheme, authority, path) of an address; its query differs at each signing."""
    scheme, authority, target = split(url) or ("", "", "")
    return scheme, authority, target.partition("?")[0]
