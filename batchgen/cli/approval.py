"""The file of an approval: ``plan -o`` writes it, ``run --plan`` reads it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from batchgen import __version__, advice
from batchgen.amounts import dollars, shown
from batchgen.cli.output import Output
from batchgen.cli.report import counted
from batchgen.disk import write_whole
from batchgen.errors import UsageError
from batchgen.files import open_regular
from batchgen.ledger.reader import Records
from batchgen.money.approval import Approval, Approved, looks_like_one, made, parse
from batchgen.run.approved import approved, check
from batchgen.run.plan import Step
from batchgen.storage.clips import iso

LARGEST = 2**30  # bytes; a million jobs take half of it
_HEAD = 200  # bytes, within which a file says that it is an approval


def target(given: str) -> str:
    """The absolute path of a new approval. Raises UsageError where something else would be lost there."""
    path = os.path.realpath(os.path.expanduser(given))
    if not os.path.isdir(os.path.dirname(path)):
        raise UsageError(f"-o {given}: there is no folder {os.path.dirname(path)} for it")
    try:
        with open(path, "rb", opener=open_regular) as file:
            mine = looks_like_one(file.read(_HEAD))
    except FileNotFoundError:
        return path
    except OSError as error:
        raise UsageError(f"-o {given}: can't be written: {error.strerror}; name another file") from error
    if not mine:
        raise UsageError(
            f"-o {given}: is no approval that batchgen made, so it isn't overwritten; name another file"
        )
    return path


class Draft:
    """The approval of a plan, while that is made."""

    def __init__(self, given: str) -> None:
        self._given, self._path = given, target(given)
        self._jobs: list[Approved] = []

    def taking(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The same steps, each noted as it is taken, if it pays."""
        for step in steps:
            if (job := approved(step)) is not None:
                self._jobs.append(job)
            yield step

    def write(self, ledger: Records | None, path: str, api: str, out: Output) -> Approval:
        """Write the approval of the steps that were taken, and return it. Makes the ledger at ``path`` where there is none yet."""
        identity = ledger.identity if ledger is not None else _new_ledger(path, api, out)
        approval = made(
            self._jobs, ledger=identity, origin=api, made_at=iso(time.time()) or "", program=__version__
        )
        try:
            write_whole(self._path, approval.text())
        except OSError as error:
            raise UsageError(
                f"-o {self._given}: can't be written: {error.strerror or error}; name another file"
            ) from error
        return approval

    def lines(self, approval: Approval, paths: Iterable[str]) -> list[str]:
        """What was written, and what it is for."""
        run = advice.command("run", *paths, options=f"--plan {advice.quoted(self._given)}")
        return [f"wrote {self._given}: {words(approval)}", f"  {run}  creates these and nothing else"]

    def object(self, approval: Approval) -> dict[str, Any]:
        """The same for scripts."""
        return {"file": self._path, **described(approval)}


def read(given: str) -> Approval:
    """The approval in a file. Raises UsageError for a file that is none, or was changed."""
    try:
        with open(os.path.expanduser(given), "rb", opener=open_regular) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(LARGEST + 1) if size <= LARGEST else None
    except OSError as error:
        raise UsageError(f"--plan {given}: can't be read: {error.strerror}") from error
    if content is None or len(content) > LARGEST:
        raise UsageError(f"--plan {given}: is larger than any approval ({LARGEST // 2**20:,} MiB)")
    try:
        return parse(content)
    except UsageError as error:
        raise UsageError(f"--plan {given}: {error}") from None


def for_run(given: str, path: str, api: str) -> Approval:
    """The approval in a file, for a run with the ledger at ``path`` against this API.

    Raises UsageError where it holds for another ledger or API, or there is no ledger: none is made for it.
    """
    approval = read(given)
    if not os.path.lexists(path):
        raise UsageError(
            f"--plan {given}: there is no ledger at {path}, and the approval was made with one, which knows what was paid"
            " by it; nothing was created. Name that ledger with --ledger, or approve anew: `batchgen plan -o FILE PATH`"
        )
    with Records.read(path) as ledger:
        check(approval, ledger.identity, path, api)
    return approval


def words(approval: Approval) -> str:
    """What an approval says, in a few words, with its digest."""
    return (
        f"{counted(len(approval.jobs), 'create')}, about {shown(approval.micros)}, sha256 {approval.sha256}"
    )


def described(approval: Approval) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "sha256": approval.sha256,
        "creates": len(approval.jobs),
        "cost_usd_estimate": dollars(approval.micros),
    }


def _new_ledger(path: str, api: str, out: Output) -> str:
    """Make the ledger, which an approval names. Returns its identity."""
    from batchgen.ledger.writer import Ledger

    with Ledger.open(path, origin=api, masked=out.mask) as ledger:
        out.say(f"made the ledger {path}, for {api}: an approval holds for one ledger")
        return ledger.identity
