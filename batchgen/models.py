"""The values that the rooms pass to each other. Nothing here does I/O or decides anything."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from batchgen.amounts import dollars
from batchgen.jobs import Job, Place, read_json
from batchgen.judgements import Order

__all__ = (
    "TASK_ID",
    "Brief",
    "Change",
    "ClipLink",
    "HistoryEntry",
    "ImageFile",
    "Job",
    "Manifest",
    "Place",
    "Problem",
    "Record",
    "State",
    "StoredClip",
    "TaskView",
    "Twin",
    "Unusable",
    "UnusableJob",
    "Within",
    "is_try_of",
    "root_of",
)

#: A task id that can stand in a URL's path and in a file's name.
TASK_ID = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9_:-][A-Za-z0-9._:-]*")
_TRY = re.compile(r"~[1-9][0-9]{0,8}")


def is_try_of(external_task_id: str, base_id: str) -> bool:
    """Whether an id is a job's own (``ID``) or that of a retry after a failed task (``ID~2``)."""
    if external_task_id == base_id:
        return True
    return external_task_id.startswith(base_id) and bool(_TRY.fullmatch(external_task_id, len(base_id)))


class State(enum.StrEnum):
    """The state of an ``external_task_id``. Only the ledger changes it."""

    PENDING = "pending"  # known, and nothing of it can be at the API
    SUBMITTING = "submitting"  # the intent is on disk; the create may be out
    UNKNOWN = "unknown"  # a create was sent and its outcome isn't known
    SUBMITTED = "submitted"  # has a task id; the task holds a slot until it ends
    SUCCEEDED = "succeeded"  # the task ended with a clip, which has a URL
    DOWNLOADED = "downloaded"  # the clip is on disk, complete and checked
    FAILED = "failed"  # the task ended without a clip
    REJECTED = "rejected"  # the create was refused; nothing was made


class Problem(NamedTuple):
    """One thing that is wrong in a manifest; ``subject`` reads like ``jobs[3] (hero).duration``, or is empty."""

    place: Place
    subject: str
    text: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (str(self.place), self.subject, self.text)))


class Within(NamedTuple):
    """The folders below which a file must lie whose name comes from a folder or table, not from the manifest's author.

    ``folders`` are absolute and without links; ``shown`` is the first of them as messages name it.
    """

    shown: str
    folders: tuple[str, ...]


class Recipe(NamedTuple):
    """What is done to a picture before it is sent. Without ``format`` its pixels stay, and only metadata are taken out.

    ``source`` is the picture's size as stored, ``inner`` that of what is seen of it in the made picture, ``canvas`` that of
    the made picture, in pixels. ``orientation`` says how it is turned first, ``crop`` is what is kept of the turned picture.
    ``options`` are those that shape the identity; ``words`` and ``doubts`` are for people.
    """

    source_format: str
    source: tuple[int, int]
    inner: tuple[int, int]
    canvas: tuple[int, int]
    orientation: int = 1
    crop: tuple[int, int] | None = None
    format: Literal["jpeg", "png"] | None = None
    quality: int = 92
    background: str = "#ffffff"
    is_mask: bool = False
    profile: str = ""  # the name of its colours, where they aren't sRGB
    options: tuple[tuple[str, int | str], ...] = ()
    words: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class ImageFile(NamedTuple):
    """A local image that passed its checks. ``size`` is in bytes, ``width`` and ``height`` in pixels.

    ``mtime_ns`` is the later one of the times that its content and its inode changed. ``sha256`` (hex) goes into the
    job's identity. ``xxh3`` (128 bits, hex) only checks until it is sent that the file hasn't changed; it is "" where an
    earlier run inspected the file. ``orientation`` is what its EXIF data say: 1 is upright. With ``within``, the file is
    opened below those folders alone. With a ``recipe``, ``width`` and ``height`` are those of the picture that is made of the
    file before it is sent. Images are equal where they are the same file and are sent as the same picture.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str
    format: str
    width: int
    height: int
    orientation: int = 1
    xxh3: str = ""
    within: Within | None = None
    recipe: Recipe | None = None

    def packed(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What many images have in common, and the plain values of this one: :meth:`unpacked` makes the image of both."""
        at = self.path.rfind("/") + 1
        return (self.path[:at], self.within, self.recipe), (
            self.path[at:],
            self.size,
            self.mtime_ns,
            self.inode,
            self.sha256,
            self.format,
            self.width,
            self.height,
            self.orientation,
            self.xxh3,
        )

    @staticmethod
    def unpacked(shared: Sequence[Any], own: Sequence[Any]) -> ImageFile:
        """The image that was :meth:`packed`."""
        folder, *others = shared
        return ImageFile(folder + own[0], *own[1:], *others)

    def to_be_read(self, within: Within | None) -> ImageFile:
        """The same file for another entry, which may read from other folders."""
        return self._replace(within=within)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageFile) and (self[:8], self.recipe) == (other[:8], other.recipe)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self[:8], self.recipe))


class UnusableJob(NamedTuple):
    """A job whose image failed its checks: it fails alone, and its manifest's other jobs run.

    With ``waits``, a file of it is still being written and may be whole at the next run.
    """

    manifest: str
    id: str
    take: int
    problem: Problem
    evidence: str = ""  # changes when one of its files is replaced
    waits: bool = False

    @property
    def key(self) -> tuple[str, str, int]:
        """What names this job to a person: manifest name, job id, take."""
        return (self.manifest, self.id, self.take)


@dataclass(slots=True)
class Manifest:
    """One manifest without problems. Limits are None where the manifest doesn't set them.

    ``skipped`` are the keys of jobs that it leaves out; ``warnings`` are what may be a mistake and refuses nothing.
    ``ordered`` are those of its jobs that it doesn't ask for itself: a person ordered them, by key. ``retaken`` are jobs of
    which a later take, that number, was ordered and is of what the manifest says now.
    """

    file: str
    name: str
    concurrency: int | None = None
    max_running: int | None = None
    max_cost_usd: float | None = None
    downloads: int | None = None
    jobs: list[Job] = field(default_factory=list)
    unusable: list[UnusableJob] = field(default_factory=list)
    skipped: list[tuple[str, str, int]] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    ordered: Mapping[tuple[str, str, int], Order] = field(default_factory=dict)
    retaken: Mapping[tuple[str, str, int], int] = field(default_factory=dict)


def root_of(output_path: str, job_id: str) -> str:
    """The output folder of an old row, which doesn't have it recorded."""
    return output_path.rsplit("/", job_id.count("/") + 2)[0] or "/"


class Record(NamedTuple):  # a tuple, as every change makes another one
    """One row of the ledger: one ``external_task_id``. Times are Unix seconds, money is in micro-dollars."""

    external_task_id: str
    base_id: str  # the job's own id; differs from external_task_id by its ~2, ~3, ...
    manifest: str
    job_id: str
    take: int
    digest: str
    canonical: str
    state: State
    output_path: str  # where the clip belongs; two rows of different jobs never share one
    attempt: int = 0  # creates under this id that may have reached the API
    task_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    request_id: str | None = None
    created_at: float = 0.0
    submitted_at: float | None = None
    finished_at: float | None = None
    video_url: str | None = None
    video_path: str | None = None
    video_sha256: str | None = None
    estimate: int | None = None  # what its task may cost
    charged: int | None = None  # what the API says that it charged
    units_charged: str | None = None  # the API's own words: units
    balance: str | None = None  # the same for an account with a balance: a JSON object
    quarter: int | None = (
        None  # the quarter of an hour, since 1970, that its money counts in: that of its last intent
    )
    run: int | None = None  # the run that sent its last create; None: one of an earlier version, or none
    image: str | None = None  # the path or URL that was sent, None for Base64: for people, not for identity
    parts: str | None = None  # JSON: the clip's further files, see database.py
    output_dir: str | None = (
        None  # the output folder that output_path lies below; None in rows of older versions
    )
    video_size: int | None = None  # bytes

    @property
    def root(self) -> str:
        """The output folder."""
        return self.output_dir or root_of(self.output_path, self.job_id)

    @property
    def cost_usd_estimate(self) -> float | None:
        """The estimate in US dollars, as ``export`` and other programs have it."""
        return None if self.estimate is None else dollars(self.estimate)

    @property
    def key(self) -> tuple[str, str, int]:
        """What names the job to a person: manifest name, job id, take."""
        return (self.manifest, self.job_id, self.take)

    @property
    def kind(self) -> str:
        """``mode/duration``: tasks of one kind take about as long as each other."""
        request = read_json(self.canonical)
        return f"{request['mode']}/{request['duration']}"


class Brief(NamedTuple):
    """The part of a row that planning needs: small, because there is one for every row of the ledger."""

    external_task_id: str
    base_id: str
    state: State
    digest: str
    error_code: str | None = None
    number: int = 0  # rows count up in the order in which they were made


class Unusable(NamedTuple):
    """The ledger's record of a job whose image failed its checks. ``since`` is in Unix seconds."""

    manifest: str
    job_id: str
    take: int
    evidence: str
    text: str
    since: float
    given_up: str | None = None  # by whom

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.manifest, self.job_id, self.take)


class StoredClip(NamedTuple):
    """The part of a downloaded row that says where its clip should be."""

    external_task_id: str
    manifest: str
    job_id: str
    take: int
    output_path: str
    output_dir: str | None
    video_path: str
    video_sha256: str
    video_size: int | None
    error_code: str | None
    parts: str | None

    @property
    def root(self) -> str:
        """The output folder."""
        return self.output_dir or root_of(self.output_path, self.job_id)


class Twin(NamedTuple):
    """A row with the same clip (digest or path) as a job, and the job that it belongs to: (manifest, job id, take)."""

    key: tuple[str, str, int]
    row: Brief


class HistoryEntry(NamedTuple):
    """One line of a row's history. ``from_state`` is None where the row begins; ``at`` is Unix seconds."""

    external_task_id: str
    at: float
    event: str
    from_state: State | None
    to_state: State
    code: str | None
    message: str | None
    request_id: str | None
    detail: Mapping[str, Any]


class Change(NamedTuple):
    """One step of one row, to be written with its line of history.

    ``event`` is one word for what happened (``accepted``, ``refused``, ...). ``values`` are columns of
    :class:`Record` to set besides the state; ``detail`` is kept with the history only.
    """

    external_task_id: str
    to: State
    event: str
    code: int | str | None = None
    message: str | None = None
    request_id: str | None = None
    values: Mapping[str, Any] = MappingProxyType({})
    detail: Mapping[str, Any] = MappingProxyType({})


class ClipLink(NamedTuple):
    """One file of a task's result. ``part`` is "" for the clip itself, else ``part2``, ``watermark``, ``part2.watermark``."""

    part: str
    url: str


class TaskView(NamedTuple):
    """What the API says about a task. ``raw_status`` is its word for the status, ``status`` None where that is unknown.

    ``clips`` are the files of its result that have a usable address, the clip itself first.
    """

    task_id: str
    external_task_id: str | None
    status: Literal["submitted", "processing", "succeed", "failed"] | None
    raw_status: str
    message: str = ""
    created_at: float | None = None  # Unix seconds
    updated_at: float | None = None  # Unix seconds
    clips: tuple[ClipLink, ...] = ()
    units_charged: str | None = None
    balance: str | None = None  # ``final_balance_deduction`` as JSON
    request_id: str | None = None

    @property
    def video_url(self) -> str | None:
        """The address of the clip itself; None where there is none that can be used."""
        return self.clips[0].url if self.clips else None
