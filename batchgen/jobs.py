"""A job, checked and ready to be planned, in few bytes: a manifest may have a million, and most of what they hold is text."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

LONGEST: Final = 4096  # bytes; longer values (Base64) aren't made again at every look

#: Digest, take, line and column of a job, and how many bytes its external_task_id has.
_HEAD: Final = struct.Struct("<32sQIIH")


class Place(NamedTuple):
    """A position in a file. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@functools.lru_cache(maxsize=256)
def _once(*values: str) -> tuple[str, ...]:
    """The same tuple for all jobs that have these values."""
    return values


class Job:
    """One job, checked and ready to be planned. It can't be changed; a run may have a million, so each takes few bytes.

    ``request`` holds the API's fields as they will be sent, without ``external_task_id``; where the API takes an
    image, the value is a URL or Base64 (``str``) or an :class:`ImageFile`. ``digest`` is the SHA-256 (hex) of what
    shapes the clip.
    """

    __slots__ = ("_packed", "_request", "_shared", "id")
    _FIELDS = ("manifest", "id", "take", "external_task_id", "digest", "request", "output_dir", "place")

    def __init__(
        self,
        manifest: str,
        job_id: str,
        take: int,
        external_task_id: str,
        digest: str,
        request: Mapping[str, Any],
        output_dir: str,
        place: Place,
    ) -> None:
        self.id: Final = job_id
        self._shared: Final = _once(manifest, output_dir, place.file, *request)
        name, values = external_task_id.encode("utf-8", "surrogatepass"), _packed(request)
        head = _HEAD.pack(bytes.fromhex(digest), take, place.line, place.column, len(name))
        self._packed: Final = b"".join((head, name, values or b""))
        self._request: Final = request if values is None else None

    @property
    def manifest(self) -> str:
        return self._shared[0]

    @property
    def take(self) -> int:
        return int(_HEAD.unpack_from(self._packed)[1])

    @property
    def external_task_id(self) -> str:
        return self._packed[_HEAD.size : self._end_of_id].decode("utf-8", "surrogatepass")

    @property
    def digest(self) -> str:
        return self._packed[:32].hex()

    @property
    def request(self) -> Mapping[str, Any]:
        if self._request is not None:
            return self._request
        return _unpacked(self._shared[3:], self._packed[self._end_of_id :])

    @property
    def output_dir(self) -> str:
        return self._shared[1]

    @property
    def place(self) -> Place:
        _, _, line, column, _ = _HEAD.unpack_from(self._packed)
        return Place(self._shared[2], line, column)

    @property
    def key(self) -> tuple[str, str, int]:
        """What names this job to a person: manifest name, job id, take."""
        return (self.manifest, self.id, self.take)

    @property
    def _end_of_id(self) -> int:
        return _HEAD.size + int(_HEAD.unpack_from(self._packed)[4])

    def _replace(self, **changes: Any) -> Job:
        """A copy with some fields changed, as a named tuple has it."""
        return Job(*(changes[name] if name in changes else getattr(self, name) for name in self._FIELDS))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and all(
            getattr(self, name) == getattr(other, name) for name in self._FIELDS
        )

    def __hash__(self) -> int:
        return hash(self._packed)


def _packed(fields: Mapping[str, Any]) -> bytes | None:
    """The values of ``fields``, in their order; None where they are kept better as they are."""
    import orjson

    try:
        data = orjson.dumps([*fields.values()], option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except orjson.JSONEncodeError:  # an ImageFile, half a surrogate pair, a number of more than 64 bits
        return None
    return data if len(data) <= LONGEST else None


def _unpacked(names: Sequence[str], data: bytes) -> dict[str, Any]:
    """The fields with these names whose values :func:`_packed` gave."""
    import orjson

    return dict(zip(names, orjson.loads(data), strict=True))
