"""batchgen: a night's worth of image-to-video jobs, from manifests to clips, each paid once.

``batchgen help library`` tells of what is here for programs. It is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchgen.run.library import (
        Account,
        Action,
        AllowedHost,
        BatchgenError,
        Began,
        Created,
        Downloaded,
        Ended,
        EndedEarly,
        Ending,
        Event,
        Failed,
        Finished,
        Found,
        Held,
        Job,
        JobEvent,
        JobNoticed,
        LedgerBusy,
        LedgerError,
        Loaded,
        Manifest,
        ManifestError,
        NotCreated,
        Noticed,
        Paused,
        Place,
        Planned,
        Problem,
        Progressed,
        Reachable,
        Record,
        Records,
        RunOptions,
        State,
        Step,
        Stopped,
        Succeeded,
        Totals,
        Unreachable,
        UnusableJob,
        UsageError,
        Waiting,
        allowed_hosts,
        collect,
        load,
        plan,
        read_ledger,
        read_prices,
        run,
    )
__version__ = "0.1.0"

__all__ = [
    "Account",
    "Action",
    "AllowedHost",
    "BatchgenError",
    "Began",
    "Created",
    "Downloaded",
    "Ended",
    "EndedEarly",
    "Ending",
    "Event",
    "Failed",
    "Finished",
    "Found",
    "Held",
    "Job",
    "JobEvent",
    "JobNoticed",
    "LedgerBusy",
    "LedgerError",
    "Loaded",
    "Manifest",
    "ManifestError",
    "NotCreated",
    "Noticed",
    "Paused",
    "Place",
    "Planned",
    "Problem",
    "Progressed",
    "Reachable",
    "Record",
    "Records",
    "RunOptions",
    "State",
    "Step",
    "Stopped",
    "Succeeded",
    "Totals",
    "Unreachable",
    "UnusableJob",
    "UsageError",
    "Waiting",
    "allowed_hosts",
    "collect",
    "load",
    "plan",
    "read_ledger",
    "read_prices",
    "run",
]

if not TYPE_CHECKING:
    # The import system binds the room to this name here, and never again: from here on it is the function's.
    from batchgen import run

    del run

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from batchgen.run import library

        return getattr(library, name)
