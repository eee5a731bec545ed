"""A job, checked and ready to be planned, in few bytes: a manifest may have a million, and most of what they hold is text."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

LONGEST: Final = 4096  # bytes; longer values (Base64) aren't made again at every look

#: What a job's bytes begin with: digest, take, line. The external_task_id follows, a NUL (JSON has none), and the values.
_HEAD: Final = struct.Struct("<32sII")
_TAKE: Final = struct.Struct("<32xI")
_LINE: Final = struct.Struct("<32x4xI")

_PLAIN: Final = frozenset((str, int, float, bool, type(None), list, dict))  # what is no image


class Place(NamedTuple):
    """A position in a file. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@functools.lru_cache(maxsize=256)
def _once(*values: Any) -> tuple[Any, ...]:
    """The same tuple for all jobs that have these values."""
    return values


class Job:
    """One job, checked and ready to be planned; never changed. A run may have a million, so each takes few bytes.

    ``request`` holds the API's fields as they will be sent, without ``external_task_id``; where the API takes an
    image, the value is a URL or Base64 (``str``) or an :class:`ImageFile`. ``digest`` is the SHA-256 (hex) of what
    shapes the clip. ``place`` is a line's beginning, or the file as a whole.
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
        file, line, _ = place
        at = 0 if line else file.rfind("/") + 1  # many images lie in one folder
        values, images = _packed(file[at:] if at else "", request)
        folder = file[:at] if at and values is not None else file
        self._shared: Final = _once(manifest, output_dir, folder, images, *request)
        name = external_task_id.encode("utf-8", "surrogatepass")
        self._packed: Final = _HEAD.pack(bytes.fromhex(digest), take, line) + name + b"\0" + (values or b"")
        self._request: Final = request if values is None else None

    @property
    def manifest(self) -> str:
        return str(self._shared[0])

    @property
    def take(self) -> int:
        return int(_TAKE.unpack_from(self._packed)[0])

    @property
    def external_task_id(self) -> str:
        return self._packed[_HEAD.size : self._packed.rindex(0)].decode("utf-8", "surrogatepass")

    @property
    def digest(self) -> str:
        return self._packed[:32].hex()

    @property
    def request(self) -> Mapping[str, Any]:
        if self._request is not None:
            return self._request
        values = self._values[: self._count]
        for number, unpacked, shared in self._shared[3]:
            values[number] = unpacked(shared, values[number])
        return dict(zip(self._shared[4:], values, strict=True))

    @property
    def output_dir(self) -> str:
        return str(self._shared[1])

    @property
    def place(self) -> Place:
        line = _LINE.unpack_from(self._packed)[0]
        name = self._values[self._count :] if self._request is None and not line else ()
        return Place("".join((self._shared[2], *name)), line, min(line, 1))

    @property
    def key(self) -> tuple[str, str, int]:
        """What names this job to a person: manifest name, job id, take."""
        return (self._shared[0], self.id, _TAKE.unpack_from(self._packed)[0])

    @property
    def _count(self) -> int:
        """How many fields the request has."""
        return len(self._shared) - 4

    @property
    def _values(self) -> list[Any]:
        """What :func:`_packed` kept."""
        values: list[Any] = _reader()(self._packed[self._packed.rindex(0) + 1 :])
        return values

    def _replace(self, **changes: Any) -> Job:
        """A copy with some fields changed, as a named tuple has it."""
        return Job(*(changes[name] if name in changes else getattr(self, name) for name in self._FIELDS))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and all(
            getattr(self, name) == getattr(other, name) for name in self._FIELDS
        )

    def __hash__(self) -> int:
        return hash(self._packed)


@functools.cache
def _writer() -> tuple[Any, int, type[Exception]]:
    """What writes values as JSON, its option, and what it raises where it can't."""
    import orjson  # it takes longer to load than --help may take

    return orjson.dumps, orjson.OPT_PASSTHROUGH_DATACLASS, orjson.JSONEncodeError


@functools.cache
def _reader() -> Any:
    import orjson

    return orjson.loads


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError."""
    try:
        return _reader()(text)
    except ValueError:  # half a surrogate pair, which is no UTF-8
        return json.loads(text)


def _packed(name: str, fields: Mapping[str, Any]) -> tuple[bytes | None, tuple[Any, ...]]:
    """The values of ``fields``, in their order, and ``name``, if any; and how images among them are made again.

    None for the values where they are kept better as they are.
    """
    values: list[Any] = [*fields.values()]
    images: tuple[Any, ...] = ()
    if not _PLAIN.issuperset(map(type, values)):
        for number, value in enumerate(values):
            if hasattr(value, "unpacked"):
                shared, values[number] = value.packed()
                images += ((number, value.unpacked, shared),)
    if name:
        values.append(name)
    dumps, option, error = _writer()
    try:
        data: bytes = dumps(values, None, option)
    except error:  # an image in a list, half a surrogate pair, a number of more than 64 bits
        return None, ()
    return (data, images) if len(data) <= LONGEST else (None, ())
