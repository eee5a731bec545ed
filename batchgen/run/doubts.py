"""Whether the ledger may have lost tasks of a manifest, so that its jobs are looked up before they are created."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from batchgen.ledger.backup import RESTORED, newer_backup
from batchgen.ledger.writer import Ledger
from batchgen.models import Manifest
from batchgen.run.inventory import Inventory

log = logging.getLogger("batchgen")
SAMPLE = 5  # new jobs of a manifest that the ledger knows, which are looked up before they are created


async def doubtful(
    ledger: Ledger, manifests: Sequence[Manifest], inventory: Inventory, *, thoroughly: bool = False
) -> dict[str, bool]:
    """Whether the ledger may have lost tasks, for each manifest by name. Clips that it hasn't are imported first.

    It may where it has no row of a manifest, lacked a clip that is on disk, or is :func:`restored`. Then every job is looked
    up before it is created, in this run and later ones, until one run has finished the manifest (:func:`trusted`). A new
    manifest can't be distinguished from a lost one, and costs these lookups, too.
    """
    newer = newer_backup(ledger.path)
    if newer is not None and ledger.note(RESTORED) != os.path.basename(
        newer
    ):  # once for each copy that is put back
        log.warning(
            "the ledger %s is older than its backup %s: every job is asked for before it is created; `batchgen recover` on"
            " the manifests ends that",
            ledger.path,
            newer,
        )
        await ledger.distrust(os.path.basename(newer))
    doubts = {
        one.name: ledger.note(f"doubtful:{one.name}") == "yes"
        or not ledger.knows(one.name)
        or restored(ledger, one.name)
        for one in manifests
    }
    doubted = [name for name, doubt in doubts.items() if doubt]
    for row in await inventory.import_clips(manifests, doubted, thoroughly=thoroughly):
        if row.manifest in doubts:
            doubts[row.manifest] = True
    for name, doubt in doubts.items():
        if doubt and ledger.note(f"doubtful:{name}") != "yes" and not restored(ledger, name):
            await ledger.set_note(f"doubtful:{name}", "yes")
    return doubts


def restored(ledger: Ledger, manifest: str) -> bool:
    """Whether the ledger is a copy from before some of its creates, and this manifest has not been recovered since.

    So also what the ledger has as refused or never sent is looked up, and nothing is created where lookups prove nothing.
    """
    return ledger.note(RESTORED) is not None and ledger.note(f"doubtful:{manifest}") is None


async def doubted(ledger: Ledger, manifest: str) -> None:
    """Record that every job of the manifest is to be looked up before it is created; no more is asked of a restored ledger."""
    await ledger.set_note(f"doubtful:{manifest}", "yes")


async def trusted(ledger: Ledger, manifest: str) -> None:
    """Record that every job of the manifest has been looked up, so that the ledger can be trusted again."""
    await ledger.set_note(f"doubtful:{manifest}", "no")
