"""What the buckets are called that jobs end in, and what a person does about them."""

from __future__ import annotations

from collections.abc import Mapping

_HOME = (
    "Paid. The next run, or `batchgen collect`, brings the clips home at no cost. Where a line below says what is in the way,"
    " put that right first."
)

#: bucket -> (what it is called, what to do). Nothing here may suggest something that pays twice.
ADVICE: Mapping[str, tuple[str, str]] = {
    "downloaded": ("done", ""),
    "submitted": (
        "running",
        "Paid. The next run, or `batchgen collect`, asks again and brings home what is ready, at no cost.",
    ),
    "succeeded": ("not yet home", _HOME),
    "pending": (
        "not created",
        "The next run creates them. Where the account or the key is the reason, put it right first.",
    ),
    "retry": (
        "failed, to be tried again",
        "May be charged. The next run of their manifests pays for another task.",
    ),
    "failed": (
        "failed",
        (
            "May be charged. Change the job, or run with --retry-failed, which pays for another task;"
            " `batchgen resolve JOB --abandon` gives it up."
        ),
    ),
    "rejected": (
        "refused",
        (
            "Nothing was paid. Change the job, and the next run sends it again, or run with --retry-failed to send it as it"
            " is; `batchgen resolve JOB --abandon` gives it up."
        ),
    ),
    "unusable": (
        "image refused",
        (
            "Nothing was sent. Do what its message says, or replace the image; or leave it out with `skip: true`, or"
            " `batchgen resolve JOB --abandon`."
        ),
    ),
    "waiting": (
        "still being copied",
        "Nothing was sent. The next run takes it, if its image is whole by then.",
    ),
    "unknown": (
        "unknown",
        (
            "May be paid: don't create it by other means. The next run asks again. Where it stays unknown, look for its id in"
            " the vendor's console; `batchgen resolve JOB` shows all that is known. Where it is there,"
            " `batchgen resolve JOB --task-id T` follows it; only where it certainly is not,"
            " `batchgen resolve JOB --not-created` has the next run create it, and pay."
        ),
    ),
    "changed": (
        "changed",
        (
            "The clip as it was is paid, or may be. Undo the change to keep it; another `take`, or --accept-changes, pays for"
            " another clip."
        ),
    ),
    "unapproved": (
        "not as approved",
        (
            "This run didn't create them. `batchgen plan -o FILE PATH` says what they would cost, and approves them;"
            " `batchgen run` on a terminal asks."
        ),
    ),
    "unrecorded": (
        "unrecorded",
        "The API has tasks of this manifest that the ledger doesn't: run `batchgen recover PATH`, then run again.",
    ),
    "vanished": (
        "vanished",
        (
            "Paid, but the API no longer has the task or its clip. Ask its support; where that can't help, `batchgen resolve JOB`"
            " shows what can be decided."
        ),
    ),
    "abandoned": ("given up", ""),
}
