"""Every error that batchgen raises on purpose, by what the caller must do about it, with its exit code.

BatchgenError                1   the base; its text is for a person, without a traceback
├── UsageError               2   the command line, the environment or the set-up is wrong
├── ManifestError            2   manifests were refused; carries every problem found
├── ImageError               1   an image fails its own job
│   └── Unfinished           1   it isn't whole; somebody may still be writing it
├── EndedEarly               4   work is left that the next run can do
│   └── Interrupted    130/143   a signal said so
├── LedgerError              2   the ledger can't be used; nothing was sent
│   ├── LedgerBusy          75   another run holds it
│   ├── LedgerOutdated       2   it is of an older version, and is migrated first
│   ├── LedgerLost           4   it can't be written any more; stop, then run again
│   ├── OverBudget           4   a budget has no room for one more create; nothing was sent
│   └── TransitionError      1   a change that the rules forbid (a bug, caught before the disk)
│       └── OrderWithdrawn   1   an ordered take that a person withdrew while the run was on
├── Bug                      1   batchgen itself is wrong; the text is a line to report
├── DownloadError            1   a clip couldn't be downloaded; retried as a download
└── ApiError                 1   one create or query went wrong
    ├── NeverSent            1   the request can't have been accepted: send it again
    ├── Throttled            1   1302 or Retry-After: everybody waits
    ├── SlotsFull            1   1303: wait for a slot, nothing is wrong
    ├── Refused              1   not accepted: this job waits until it changes
    ├── NotFound             1   a query: the API knows no such task
    ├── MaybeAccepted        5   the task may exist and may be paid: ask, don't send
    ├── UnknownCode          3   not accepted, for a reason that is unknown or may pass: wait, then stop
    └── AccountStop          3   no create can succeed: stop them all
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from batchgen import limits
from batchgen.amounts import Use, shown

if TYPE_CHECKING:
    from batchgen.models import Problem


PAGE: Final = "page"  # the kind of an answer that something else gives in the API's place

#: What a person does about a cause. Nothing here may suggest something that pays twice.
ADVICE: Mapping[str, str] = {
    "key": "Put a valid key where this one came from (POWERTOKENS_API_KEY, or its file, command or credential), then run again.",
    "clock": "Set this machine's clock (`timedatectl` tells whether it is in step), then run again.",
    "account": "Ask the vendor what is wrong with the account; nothing can be created until then.",
    "balance": "Top up the account or buy a resource pack; until then no run can create anything.",
    "permission": "Have the vendor allow this key the model and the call; until then no run can create anything.",
    "address": "Put this machine's address on the account's allow list, then run again.",
    "endpoint": "Check --base-url and POWERTOKENS_API_BASE: the host has no image-to-video call at that address.",
    "unavailable": "The gateway has nothing that makes this model now: run again later, or ask its operator.",
    "unclear": "Look at what the API said; the next run asks about what is uncertain before it creates anything.",
    "page": "Something before the API answers in its place; the next run goes on where this one stopped.",
    "blocked": (
        "A page said so, not the API: have the proxy or firewall before it let this machine through, or check"
        " --base-url; the key and the account may be all right."
    ),
    "unreachable": "Check the network, the proxy (HTTPS_PROXY, NO_PROXY) and --base-url; the next run goes on.",
    "tls": "Have SSL_CERT_FILE name the certificate authorities that this network uses, or check --base-url.",
    "certificate_expired": "Check this machine's clock; if it is right, the host's operator has to renew the certificate.",
    "proxy": "Check HTTPS_PROXY (http://USER:PASSWORD@HOST:PORT) and NO_PROXY, or have the proxy let this host through.",
    "jobs_cap": "A higher --max-jobs creates more of them, and pays for those.",
    "cost_cap": "A higher --max-cost creates more of them, and pays for those.",
    "manifest_cost_cap": "A higher max_cost_usd in the manifest creates more of its jobs, and pays for those.",
    "budget": "A larger budget (`batchgen budget set`) creates more of them, and pays for those.",
    "declined": "What is open is safe: `batchgen collect` follows it and brings it home, at no cost. --yes doesn't ask.",
    "approval_cap": "More was charged than was estimated. Approve what is left: `batchgen plan -o FILE PATH`.",
    "deadline": "The next run creates what is left; a later --deadline leaves less.",
    "too_late": "The next run creates what is left; a later --until leaves less.",
    "full": "Something else uses the account's slots: find it, or wait for it; the next run goes on.",
    "throttled": "Ask the vendor how fast this account may ask, and whether something else uses it; the next run goes on.",
    "until": "What is open is safe: the next run, or `batchgen collect`, goes on with it. A later --until leaves less.",
    "breaker": "Look at what the tasks failed with: each of them may be charged, and the next run tries one of them first.",
    "breaker_account": "Put right what the tasks failed with, a balance or the account: each of them may be charged.",
    "stuck": "Ask the vendor about the tasks that do not end; the next run creates more as soon as a slot is free.",
    "bug": "The ledger has where every job stands: the next run asks about what is uncertain, and pays nothing twice.",
    "unmounted": "Mount the disk, then run again; where the clips are to lie elsewhere from now on, name that output_dir.",
    "output": "Make the folder one that can be written, or name another with --output-dir, then run again.",
    "unrecorded": "Run `batchgen recover PATH`, then run again.",
    "unproven": "Look into the vendor's console before you run the manifest without --recover: it may be paid again.",
}


class BatchgenError(Exception):
    """Base of all errors that batchgen raises on purpose. ``exit_code`` is the process's where this is its only error.

    ``kind`` is the cause for scripts, one word; ``advice`` is what a person does about it, or empty.
    """

    exit_code: int = 1
    kind: str = "error"

    @property
    def advice(self) -> str:
        return ADVICE.get(self.kind, "")


class UsageError(BatchgenError):
    """The command line, the environment or the set-up is wrong."""

    exit_code = 2
    kind = "usage"

    def __init__(self, message: str, *, kind: str = "usage") -> None:
        super().__init__(message)
        self.kind = kind


class ManifestError(BatchgenError):
    """Manifests were refused. ``problems`` holds all of them, in file and line order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems[: limits.PROBLEMS_SHOWN])))


class ImageError(BatchgenError):
    """An image can't be sent: missing, unreadable, of a wrong format or size, or changed since it was checked."""


class Unfinished(ImageError):
    """An image isn't whole; somebody may still be writing it.

    ``changed`` is when it was written last, in Unix seconds; infinite where it changed while it was read.
    """

    def __init__(self, text: str, changed: float = 0.0) -> None:
        super().__init__(text)
        self.changed = changed


class EndedEarly(BatchgenError):
    """The run, or its creates, ended with work left that the next run can do."""

    exit_code = 4

    def __init__(self, message: str, *, kind: str = "ended") -> None:
        super().__init__(message)
        self.kind = kind


class Interrupted(EndedEarly):
    """A signal ended the run; ``exit_code`` is 130 for SIGINT and 143 for SIGTERM and SIGHUP."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, kind="signal")
        self.exit_code = exit_code


class LedgerError(BatchgenError):
    """The ledger can't be used: unreadable, damaged, of a newer version, or of another API origin."""

    exit_code = 2
    kind = "ledger"


class LedgerBusy(LedgerError):
    """Another run holds the ledger."""

    exit_code = 75


class LedgerOutdated(LedgerError):
    """The ledger is of an older version, and has to be migrated before it is read."""


class LedgerLost(LedgerError):
    """The ledger can't be written any more (disk full, file replaced): nothing may be sent from here on."""

    exit_code = 4


class OverBudget(LedgerError):
    """Budgets of the ledger have no room for a create. ``uses`` are those budgets, ``cost`` what it would add, in micro-dollars."""

    exit_code = 4
    kind = "budget"

    def __init__(self, uses: Sequence[Use], cost: int) -> None:
        self.uses, self.cost = tuple(uses), cost
        super().__init__(self.text(cost, "the next clip"))

    @property
    def room(self) -> int:
        """What these budgets leave, in micro-dollars."""
        return min(one.left or 0 for one in self.uses)

    def text(self, cost: int, what: str) -> str:
        """Which budgets have no room, what they would have to be for ``what`` of this cost, and when their periods end."""
        return "; ".join(
            f"the {one.period}'s budget of {shown(one.limit or 0)} has no room for more: {shown(one.spent)} is spent or held;"
            f" for {what} it would have to be {shown(one.spent + cost)}; the {one.period} ends {one.end}"
            for one in self.uses
        )


class TransitionError(LedgerError):
    """A change of state that the ledger's rules forbid."""

    exit_code = 1


class OrderWithdrawn(TransitionError):
    """A take that was ordered when the run began, and isn't any more: nothing of it was sent."""


class Bug(BatchgenError):
    """A mistake in batchgen. Its text is for the developers: the place in the code, and nothing of what was read."""

    kind = "bug"


class DownloadError(BatchgenError):
    """A clip could not be downloaded.

    ``gone``: its host says that there is no such file, not yet or no more. ``local``: this machine is the reason, which
    waiting doesn't mend. ``refused``: the address is one that is never requested, which only another address or an option
    mends. ``busy``: its host says that too much is asked of it, or sends too slowly. ``retry_after`` is in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        busy: bool = False,
        gone: bool = False,
        local: bool = False,
        refused: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.busy = busy
        self.gone = gone
        self.refused = refused
        self.local = local
        self.retry_after = retry_after


class ApiError(BatchgenError):
    """One request to the API went wrong.

    ``code`` is the API's own code, else the HTTP status as ``"HTTP 502"``, else None where nothing was
    answered. ``request_id`` is the API's, for its support. ``retry_after`` is in seconds. ``kind`` is a key of
    :data:`ADVICE`, or one that needs none (``internal``, ``parameters``, ``policy``, ``slots``, ``speed``).
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        kind: str = "internal",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after


class NeverSent(ApiError):
    """The request was not sent whole, so it can't have been accepted."""

    def __init__(self, message: str, *, code: int | str | None = None, kind: str = "unreachable") -> None:
        super().__init__(message, code=code, kind=kind)


class Throttled(ApiError):
    """The API asks everybody to slow down."""


class SlotsFull(ApiError):
    """The account runs as many tasks as it may."""


class Refused(ApiError):
    """The API read the request and refused it."""


class NotFound(ApiError):
    """The API knows no task of that id."""


class MaybeAccepted(ApiError):
    """The answer, or its absence, leaves open whether a task was created."""

    exit_code = 5


class UnknownCode(ApiError):
    """Not accepted, for a reason that batchgen doesn't know, or that may pass."""

    exit_code = 3


class AccountStop(ApiError):
    """The account can't create anything: key, balance, pack, permission or address."""

    exit_code = 3


def cited(text: str, code: int | str | None, request_id: str | None) -> str:
    """``text`` with the code and request id that the API's support asks for."""
    parts = [f"code {code}"] * (code is not None) + [f"request id {request_id}"] * (request_id is not None)
    return f"{text} [{', '.join(parts)}]" if parts else text
