"""Adds the takes that people ordered to the manifests that their jobs are of."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from batchgen.judgements import Order
from batchgen.ledger.orders import Followed
from batchgen.ledger.reader import Records
from batchgen.ledger.renames import JobName
from batchgen.ledger.transitions import MAY_BE_PAID
from batchgen.models import Job, Manifest
from batchgen.request.identity import external_task_id


class WaitingOrder(NamedTuple):
    """An order that no run can begin as the manifests are now, and why."""

    order: Order
    why: str


def with_orders(
    manifests: Sequence[Manifest], ledger: Records | None
) -> tuple[list[Manifest], list[WaitingOrder], list[Followed]]:
    """The manifests with the takes that were ordered of their jobs, each behind its job's; and the orders that wait.

    An ordered take is the job as its manifest says it now, as if that had ``take`` in it: where the manifest asks for the
    take itself, the order adds nothing. The manifests given are left as they are. Orders of jobs that go by another name
    now are the third value; they have been added under that name.
    """
    standing = [] if ledger is None else ledger.orders.standing([one.name for one in manifests])
    followed = [] if ledger is None else _followed(standing, manifests, ledger)
    if followed:
        moved = {one.order.key: one.moved for one in followed}
        standing = sorted((moved.get(one.key, one) for one in standing), key=lambda one: one.key)
    by_manifest = {
        name: list(orders) for name, orders in itertools.groupby(standing, lambda one: one.manifest)
    }
    found, waiting = [], list[WaitingOrder]()
    for one in manifests:
        orders = by_manifest.get(one.name)
        found.append(_with(one, orders, waiting, ledger) if orders and ledger is not None else one)
    return found, waiting, followed


def _followed(orders: Sequence[Order], manifests: Sequence[Manifest], ledger: Records) -> list[Followed]:
    """The orders that no run has begun and whose job was renamed: what was paid of it is what one other job asks for."""
    gone = {(one.manifest, one.job_id) for one in orders if not one.begun}
    if not gone:
        return []
    for one in manifests:
        gone.difference_update((one.name, bad.id) for bad in one.unusable)
        gone.difference_update((manifest, job_id) for manifest, job_id, _ in one.skipped)
        gone.difference_update((job.manifest, job.id) for job in one.jobs)
    renamed = ledger.orders.renamed()
    paid = dict[tuple[int, str], JobName]()
    for order in orders:
        name = (order.manifest, order.job_id)
        if name in gone:
            keys = ((*one, take) for one in renamed.names(name) for take in range(1, order.take))
            rows = (row for key in keys for row in ledger.rows_of(*key))
            paid |= {(row.take, row.digest): name for row in rows if row.state in MAY_BE_PAID}
    later: dict[JobName, set[JobName]] = {}
    for job in (job for one in manifests for job in one.jobs) if paid else ():
        earlier, name = paid.get((job.take, job.digest)), (job.manifest, job.id)
        if earlier is None:
            continue
        own = any(row.digest == job.digest for row in ledger.rows_of(*job.key))
        if not own or renamed.now(name) == renamed.now(earlier):  # it may have its first name again
            later.setdefault(earlier, set()).add(name)
    return list(_moves(orders, later, ledger))


def _moves(
    orders: Sequence[Order], later: Mapping[JobName, set[JobName]], ledger: Records
) -> Iterator[Followed]:
    """Each order with its job's one later name, as a take that nothing stands for there yet."""
    taken = {order.key for order in orders}
    for order in orders:
        names = later.get((order.manifest, order.job_id), set())
        if order.begun or len(names) != 1:
            continue
        (job,) = names
        take = order.take
        while (*job, take) in taken or ledger.rows_of(*job, take):
            take += 1
        taken.add((*job, take))
        yield Followed(order, job, take)


def _with(
    manifest: Manifest, orders: Sequence[Order], waiting: list[WaitingOrder], ledger: Records
) -> Manifest:
    wanted = {order.job_id for order in orders}
    written: dict[str, list[Job]] = {}
    for job in manifest.jobs:
        if job.id in wanted:
            written.setdefault(job.id, []).append(job)
    skipped = set(manifest.skipped)
    added: dict[tuple[str, str, int], list[Job]] = {}  # by the job that they come behind
    made: dict[str, list[Job]] = {}  # by the job's id
    ordered, retaken = {}, dict[tuple[str, str, int], int]()
    for order in orders:
        takes = written.get(order.job_id, [])
        earlier = [*takes, *made.get(order.job_id, ())]
        if any(job.take == order.take for job in takes):
            retaken |= _retaken(order, earlier, ledger)
            continue
        before = max(takes, key=lambda job: job.take, default=None)
        why = _obstacle(manifest, order, before, skipped)
        if before is not None and not why:
            name = external_task_id(before.manifest, before.id, order.take, before.digest)
            job = before._replace(take=order.take, external_task_id=name)
            added.setdefault(before.key, []).append(job)
            made.setdefault(order.job_id, []).append(job)
            ordered[order.key] = order
            retaken |= _retaken(order, earlier, ledger)
        elif not order.begun:
            waiting.append(WaitingOrder(order, why))
    jobs = (
        [job for one in manifest.jobs for job in (one, *added.get(one.key, ()))] if added else manifest.jobs
    )
    return replace(manifest, jobs=jobs, ordered=ordered, retaken=retaken)


def _retaken(order: Order, takes: Iterable[Job], ledger: Records) -> dict[tuple[str, str, int], int]:
    """The jobs of earlier takes whose content is that of the ordered take, as it was or will be made."""
    rows = ledger.rows_of(*order.key) if order.begun else ()
    made = {row.digest for row in rows}
    return {
        job.key: order.take
        for job in takes
        if job.take < order.take and (not order.begun or job.digest in made)
    }


def _obstacle(
    manifest: Manifest, order: Order, job: Job | None, skipped: Iterable[tuple[str, str, int]]
) -> str:
    """Why an ordered take can't be made as its manifest is now; empty where it can. ``job`` is its job there."""
    if order.key in skipped or (job is None and any(key[1] == order.job_id for key in skipped)):
        return f"{manifest.file} leaves the job out (skip: true)"
    if job is None and any(one.id == order.job_id for one in manifest.unusable):
        return "its image failed the checks"
    if job is None:
        return f"{manifest.file} has no such job any more"
    if job.external_task_id != external_task_id(job.manifest, job.id, job.take, job.digest):
        return f"{manifest.file} gives the job an external_task_id of its own, which stands for one clip"
    return ""
