"""Whether the ledger may have lost tasks of a manifest, so that its jobs are looked up before they are created."""

from __future__ import annotations

from collections.abc import Sequence

from batchgen.ledger.writer import Ledger
from batchgen.models import Manifest
from batchgen.run.inventory import Inventory

SAMPLE = 5  # new jobs of a manifest that the ledger knows, which are looked up before they are created


async def doubtful(
    ledger: Ledger, manifests: Sequence[Manifest], inventory: Inventory, *, thoroughly: bool = False
) -> dict[str, bool]:
    """Whether the ledger may have lost tasks, for each manifest by name. Clips that it hasn't are imported first.

    It may where it has no row of a manifest, or lacked a clip that is on disk. Then every job is looked up before it is
    created, in this run and later ones, until one run has finished the manifest (:func:`trusted`). A new manifest can't
    be distinguished from a lost one, and costs these lookups, too.
    """
    doubts = {
        one.name: ledger.note(f"doubtful:{one.name}") == "yes" or not ledger.knows(one.name)
        for one in manifests
    }
    doubted = [name for name, doubt in doubts.items() if doubt]
    for row in await inventory.import_clips(manifests, doubted, thoroughly=thoroughly):
        if row.manifest in doubts:
            doubts[row.manifest] = True
    for name, doubt in doubts.items():
        if doubt and ledger.note(f"doubtful:{name}") != "yes":
            await ledger.set_note(f"doubtful:{name}", "yes")
    return doubts


async def trusted(ledger: Ledger, manifest: str) -> None:
    """Record that every job of the manifest has been looked up, so that the ledger can be trusted again."""
    await ledger.set_note(f"doubtful:{manifest}", "no")
