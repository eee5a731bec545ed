"""One take of a job, as the page shows it; made from the ledger's rows of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from batchgen.judgements import Verdict
from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import ABANDONED, CLIP_GONE, may_be_charged
from batchgen.models import Record, State
from batchgen.money.periods import QUARTER
from batchgen.request.asked import asked, parsed
from batchgen.run.plan import may_retry

#: What became of a take -> how the page calls it, and the number at its top that it counts for.
KINDS: Mapping[str, tuple[str, str]] = {
    "done": ("done", "done"),
    "failed": ("failed", "failed"),
    "refused": ("refused", "failed"),
    "picture": ("image refused", "failed"),
    "gone": ("clip gone", "failed"),
    "retry": ("failed, tried again", "waiting"),
    "waiting": ("not created", "waiting"),
    "running": ("running", "waiting"),
    "coming": ("not yet home", "waiting"),
    "unknown": ("unknown", "unknown"),
    "given-up": ("given up", ""),
}
_BY_STATE = {
    State.PENDING: "waiting",
    State.SUBMITTING: "running",
    State.UNKNOWN: "unknown",
    State.SUBMITTED: "running",
    State.SUCCEEDED: "coming",
    State.DOWNLOADED: "done",
    State.FAILED: "failed",
    State.REJECTED: "refused",
}
_TROUBLE = (State.PENDING, State.FAILED, State.REJECTED)
#: kind -> the bucket whose words say what a person does about it.
BUCKETS = {
    "failed": "failed",
    "refused": "rejected",
    "picture": "unusable",
    "gone": "vanished",
    "retry": "retry",
    "waiting": "pending",
    "running": "submitted",
    "coming": "succeeded",
    "unknown": "unknown",
}


class Trouble(NamedTuple):
    """What a task ended with, where it needs somebody: its kind, the API's code and message."""

    kind: str
    code: str | None
    message: str | None


@dataclass(slots=True)
class Take:
    """One take. Times are Unix seconds, money is in micro-dollars (millionths of a US dollar) of all its tasks."""

    manifest: str
    job_id: str
    take: int
    kind: str
    at: float
    number: int = 0  # counts up in the order in which takes were made
    seconds: float | None = None  # from acceptance to end
    prompt: str = ""
    mode: str = ""
    duration: str = ""
    sound: bool = False
    image: str | None = None  # a path or URL
    image_sha256: str | None = None
    clip: str | None = None  # a path
    finished_at: float | None = None
    micros: int = 0
    tasks: int = 0
    failed: int = 0  # of these
    external_task_id: str | None = None
    task_id: str | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    current: bool = False
    later: Trouble | None = (
        None  # of a task that was made after the one that is shown, which has the clip that counts
    )
    risk: str = ""  # a key of causes.RISKS, but for "changed"
    changed: str | None = (
        None  # why the manifest says something else by now, as the last run found it; None: it doesn't
    )
    verdict: Verdict | None = None  # what a person said of its clip
    ordered: int | None = None  # the job's take that was ordered, at its newest take
    moved: str = ""  # as what its job's later take was ordered, where the job goes by another name since

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.manifest, self.job_id, self.take)


def micros(row: Record) -> int:
    """What a row may have cost by its estimate, in micro-dollars; 0 where nothing can have been charged."""
    return (row.estimate or 0) if may_be_charged(row) else 0


def began(row: Record) -> float:
    """When a row's task was accepted, else when the row was made; within the quarter of an hour that its money counts in."""
    at = row.submitted_at if row.submitted_at is not None else row.created_at
    if row.quarter is None:
        return at
    begins = row.quarter * QUARTER
    return min(max(at, begins), begins + QUARTER - 1)


def kind_of(row: Record) -> str:
    """What became of a row."""
    if row.error_code == ABANDONED:
        return "given-up"
    if row.state is State.DOWNLOADED and row.error_code == CLIP_GONE:
        return "gone"
    return _BY_STATE[row.state]


class Takes:
    """All takes of a ledger, from its rows in the order they were made. Equal texts are kept once."""

    def __init__(self) -> None:
        self.by_key: dict[tuple[str, str, int], Take] = {}
        self._texts: dict[str, str] = {}

    def add(self, row: Record, *, current: bool) -> None:
        """Take in a row; the one with the clip that counts is shown, else the last one."""
        same = self._texts.setdefault
        key = (same(row.manifest, row.manifest), row.job_id, row.take)
        take = self.by_key.get(key)
        if take is None:
            take = self.by_key[key] = Take(*key, "", 0.0, len(self.by_key))
        take.tasks += 1
        take.failed += row.state is State.FAILED
        take.micros += micros(row)
        if current or not take.current:
            self._show(take, row)
            take.current, take.later = current, None
        elif row.state in _TROUBLE and row.error_code != ABANDONED:
            take.later = Trouble(kind_of(row), row.error_code, row.error_message)

    def _show(self, take: Take, row: Record) -> None:
        same = self._texts.setdefault
        request = asked(parsed(row.canonical))
        take.kind, take.at = kind_of(row), began(row)
        take.finished_at, take.seconds = row.finished_at, None
        if row.submitted_at is not None and row.finished_at is not None:
            take.seconds = max(row.finished_at - row.submitted_at, 0.0)
        prompt = request["prompt"] or ""
        take.prompt = same(prompt, prompt)
        for name in ("mode", "duration"):
            text = str(request[name] or "")
            setattr(take, name, same(text, text))
        take.sound = request["sound"] == "on"
        take.image, take.image_sha256 = row.image or request["image"], request["image_sha256"]
        take.clip = row.video_path if row.state is State.DOWNLOADED else None
        take.code, take.message, take.request_id = row.error_code, row.error_message, row.request_id
        take.external_task_id, take.task_id = row.external_task_id, row.task_id

    def refuse_picture(self, key: tuple[str, str, int], text: str, since: float, *, given_up: bool) -> None:
        """Take in a job whose image was refused; one that has a clip, or may get one, keeps its kind."""
        take = self.by_key.get(key)
        if take is None:
            take = self.by_key[key] = Take(*key, "", since, len(self.by_key))
        if take.kind in ("", "waiting", "refused", "failed", "retry", "given-up"):
            take.kind = "given-up" if given_up else "picture"
            take.message, take.code, take.at = text, None, since

    def mark_retries(self, ledger: Records) -> None:
        """Tell the failed takes that the next run pays another task for from those that wait for a person."""
        for take in self.by_key.values():
            if take.kind == "failed" and take.external_task_id and not take.current:
                row = ledger.record(take.external_task_id)
                if row is not None and _may_retry(ledger.series(row.base_id), row):
                    take.kind = "retry"

    def mark_verdicts(self, ledger: Records) -> None:
        """Put to the clips what people said of them, and to the jobs the takes that they ordered."""
        clips = {
            take.external_task_id: take
            for take in self.by_key.values()
            if take.clip and take.external_task_id
        }
        for name, verdict in ledger.verdicts.of(clips).items():
            clips[name].verdict = verdict
        standing = ledger.orders.standing()
        orders = {order.key[:2]: order.take for order in standing if not order.begun}
        renamed = ledger.orders.renamed()
        if not standing:
            return
        newest = {take.key[:2]: take for take in sorted(self.by_key.values(), key=lambda one: one.take)}
        for job in orders.keys() & newest.keys():
            newest[job].ordered = orders[job]
        last = {order.key[:2]: order.take for order in standing}
        for job in newest.keys() & set(renamed.earlier):
            now = renamed.now(job)
            if now != job and last.get(now, 0) > newest[job].take:
                newest[job].moved = f"{now[0]}/{now[1]}@{last[now]}"


def _may_retry(series: Iterable[Record], row: Record) -> bool:
    return may_retry(
        [one.error_code for one in series if one.digest == row.digest and one.state is State.FAILED]
    )
