"""One run over one ledger, from the manifests to each job's outcome; shared by the command line and the library.

:meth:`Session.prepare` plans, :meth:`Session.work` does what is to be done, :meth:`Session.conclude` counts. The API's
client isn't even loaded where there is nothing to do.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchgen.amounts import dollars, micros, shown
from batchgen.errors import BatchgenError, EndedEarly
from batchgen.http.endpoint import BASE_URL_VARIABLE, DEFAULT_BASE_URL
from batchgen.ledger.transitions import counted
from batchgen.ledger.writer import Ledger
from batchgen.models import Manifest, Record, State
from batchgen.money.approval import Approval
from batchgen.run import changed, doubts, loading
from batchgen.run.approved import check, gone, hold
from batchgen.run.clock import Clock
from batchgen.run.events import Began, Ended, Events, Finished
from batchgen.run.failures import TASKS_FAIL, Breaker
from batchgen.run.inventory import Inventory
from batchgen.run.lanes import Lane
from batchgen.run.loading import Loaded
from batchgen.run.options import RunOptions
from batchgen.run.plan import Step
from batchgen.run.planning import planned
from batchgen.run.polling import Lengths
from batchgen.run.pool import Limits, Pool
from batchgen.run.tally import Counts, Tally

if TYPE_CHECKING:
    import asyncio

    from batchgen.api.client import Api
    from batchgen.run.hints import Hints
    from batchgen.run.runner import Runner
    from batchgen.storage.download import Downloads


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a run works for: the API's base URL, and the key, which is shown nowhere.

    Raises UsageError for a key that can't be one: with a line break at its end, for example.
    """

    base_url: str
    key: str = field(repr=False)

    def __post_init__(self) -> None:
        from batchgen.api import keys

        keys.check(self.key)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Account:
        """The account that the command line would use: its variables, key file, key command or systemd's credentials.
        The configuration file isn't read.

        A key command runs, and is waited for. Raises UsageError where there is no key.
        """
        from batchgen.api.keys import api_key

        return cls(environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL, api_key(environ))


class Session:
    """One run. The caller closes the ledger when the run has ended."""

    def __init__(
        self,
        ledger: Ledger,
        account: Account,
        options: RunOptions,
        clock: Clock,
        events: Events,
        chosen: Container[tuple[str, str, int]] | None = None,
    ) -> None:
        """``chosen`` are the keys of the jobs that this run is about; None: all. What is open of others is followed with them
        where there are manifests: it holds slots.
        """
        self._chosen = chosen
        self._tally = Tally()
        self._pool = Pool(Limits(), clock.rng)
        self._runner: Runner | None = None  # once it works
        self._ledger, self._account, self._options = ledger, account, options
        self._clock, self._events = clock, events
        self._inventory = Inventory(ledger, events, options.prices)
        self._manifests: Sequence[Manifest] = ()
        self._steps: Sequence[Step] | None = None  # None: the ledger is recovered first
        self._recovery: asyncio.Task[None] | None = None

    @functools.cached_property
    def hints(self) -> Hints:
        """What callbacks say, as whoever receives them tells it."""
        from batchgen.run.hints import Hints

        return Hints()

    async def prepare(self, loaded: Loaded | None) -> bool:
        """Check the disk, and plan. Returns whether anything is left to do. With None, only what is open is followed.

        It needs no event loop, as :func:`batchgen.loops.drive` has it, and nor does :meth:`conclude`.
        """
        ledger, inventory, options = self._ledger, self._inventory, self._options
        if options.approval is not None:
            check(options.approval, ledger.identity, ledger.path, ledger.origin)
        breaker = Breaker(wary=ledger.note(TASKS_FAIL) == "yes")
        if loaded is not None:
            await loading.remember(ledger, loaded)
            self._manifests = loaded.manifests
        lengths = Lengths(first=options.poll_interval, known=ledger.durations)
        self._pool = Pool(self._limits(), self._clock.rng, breaker, lengths)
        recovers = bool(self._manifests) and options.recover
        doubtful = await doubts.doubtful(ledger, self._manifests, inventory, thoroughly=recovers)
        folders = {job.output_dir for job in loading.jobs_of(self._manifests)}
        await inventory.look(None if loaded is None else loaded.manifests, folders)
        for one in self._manifests:
            cap = None if one.max_cost_usd is None else micros(one.max_cost_usd)
            lane = Lane(one.name, one.concurrency, one.max_running, cap)
            lane.lookups_left = math.inf if doubtful[one.name] else doubts.SAMPLE
            lane.restored = doubts.restored(ledger, one.name)
            lane.closed = inventory.unwritable(one)
            self._pool.lanes.append(lane)
        await inventory.note_mounts(folders)
        self._steps = None if recovers else await self._plan()
        if self._steps is None or self._steps or inventory.found.missing:
            return True
        return next(self._wanted(ledger.open_records()), None) is not None

    async def work(self) -> None:
        """Run everything that is left to do."""
        from batchgen.api.client import Api
        from batchgen.storage.clip_hosts import ClipHosts
        from batchgen.storage.download import Downloads

        options, account = self._options, self._account
        api = Api(account.base_url, account.key, timeout=options.timeout, now=self._clock.now)
        downloads = Downloads(
            timeout=options.timeout,
            min_speed=options.min_speed,
            lend=api.credentials.headers,
            masked=api.credentials.masked,
            roots=self._inventory.roots,
            hosts=ClipHosts(api.url, options.clip_hosts, api.reached),
            now=self._clock.now,
        )
        async with api, downloads:
            await self._work(api, downloads)

    async def _work(self, api: Api, downloads: Downloads) -> None:
        import asyncio

        from batchgen.run.runner import Runner
        from batchgen.run.wall_time import keep

        # Its moments are by the loop's clock from here on.
        self._pool.last.shift(self._clock.now() - asyncio.get_running_loop().time())
        inventory, waits = self._inventory, self._options.waits
        runner = self._runner = Runner(
            inventory, api, downloads, self._pool, waits, self._tally, self._clock, self.hints
        )
        keeper = asyncio.create_task(keep(self._options, self._clock, runner.shift, self.end))
        try:
            await self._all_jobs(runner)
        finally:
            keeper.cancel()

    async def _all_jobs(self, runner: Runner) -> None:
        import asyncio

        inventory = self._inventory
        if self._steps is None:
            self._recovery = asyncio.create_task(self._recover(runner))
            try:
                await self._recovery
            except asyncio.CancelledError:
                if runner.ended is None:  # it wasn't ended, but cancelled as a whole
                    raise
            self._steps = await self._plan()
        left = itertools.chain(self._ledger.open_records(), inventory.missing())
        records = inventory.begin(self._wanted(left))
        await runner.run(self._steps, records, submit_only=self._options.submit_only)

    def _wanted(self, records: Iterator[Record]) -> Iterator[Record]:
        """The rows to follow and fetch, of those that are open."""
        chosen = self._chosen
        if chosen is None or self._manifests:
            return records
        return (record for record in records if record.key in chosen)

    def end(self, reason: BatchgenError) -> bool:
        """End early: no new creates, a few seconds for those in flight, all else stops where it is safe.

        At the moment that was set for the end, creates in flight may take as long as a request may. Returns whether it
        works; before that there is nothing to be ended in order, and cancelling it is safe.
        """
        if self._runner is not None:
            self._runner.end(reason, answers=self._options.timeout if reason.kind == "until" else 0.0)
        if self._recovery is not None:
            self._recovery.cancel()
        return self._runner is not None

    async def conclude(self) -> Ended:
        """Record what the next run needs, and emit how this one went."""
        await self._inventory.log.remember()
        ended = self._runner is not None and self._runner.ended is not None
        for lane in self._pool.lanes:
            looked_up = not (lane.unfinished or lane.unapproved or ended)
            if looked_up and self._chosen is None:  # all that the manifest has
                await doubts.trusted(self._ledger, lane.name)
        if (exceeded := self._exceeded()) is not None:
            self._events.notice(exceeded, "approval_exceeded")
        ended_by = self._runner.stops if self._runner is not None else []
        event = summary(
            self._events.now, self._tally, self._pool, ended_by, submit_only=self._options.submit_only
        )
        self._events.emit(event)
        return event

    def close(self) -> None:
        """Close what the run holds open of its output folders."""
        self._inventory.roots.close()

    async def _plan(self) -> list[Step]:
        steps = planned(
            self._manifests,
            self._ledger,
            retry_failed=self._options.retry_failed,
            accept_changes=self._options.accept_changes,
            prices=self._options.prices,
        )
        tally = self._tally
        chosen = self._chosen
        before = self._ledger.note(changed.NOTE)
        changes = changed.Changed(before, (one.name for one in self._manifests))
        # Of all: a job that isn't chosen is none that is gone.
        applied = changes.seen(self._inventory.found.applied(steps))
        left = tally.count_finished(step for step in applied if chosen is None or step.job.key in chosen)
        if self._options.approval is not None:
            left = self._held(left, self._options.approval)
        if changes.text != (before or "{}"):
            await self._ledger.set_note(changed.NOTE, changes.text)
        await self._inventory.place()
        settled = tally.buckets.total()
        self._events.emit(Began(at=self._events.now, jobs=settled + len(left), settled=settled))
        for ending in tally.endings:
            self._events.emit(
                Finished(
                    at=self._events.now,
                    manifest=ending.manifest,
                    job_id=ending.job_id,
                    take=ending.take,
                    external_task_id=ending.external_task_id,
                    bucket=ending.bucket,
                    reason=ending.text,
                )
            )
        return left

    def _held(self, steps: Sequence[Step], approval: Approval) -> list[Step]:
        """The steps without creates that weren't approved; those are counted, and what was approved and is gone."""
        kept, endings = hold(steps, approval)
        lanes = {lane.name: lane for lane in self._pool.lanes}
        for ending in endings:
            lanes[ending.manifest].unapproved += 1
        if self._chosen is None:  # else others are left out on purpose
            begun = {
                row.external_task_id
                for row in self._approved_rows(approval)
                if row.state is not State.PENDING
            }
            endings += gone(approval, self._manifests, begun)
        self._tally.leave_out(endings)
        return kept

    def _approved_rows(self, approval: Approval) -> Iterator[Record]:
        """The ledger's rows of what was approved."""
        rows = self._ledger.records(ids=approval.jobs)
        return (row for row in rows if row.external_task_id in approval.jobs)

    async def _recover(self, runner: Runner) -> None:
        """Record the tasks that the API has and the ledger hasn't, before anything is planned."""
        from batchgen.run import recovery

        jobs = loading.jobs_of(self._manifests)
        found = await recovery.recover(runner.queries, self._inventory, jobs, self._clock.rng)
        if found.missing and not runner.queries.lookups_proven:
            for lane in self._pool.lanes:
                if lane.lookups_left == math.inf:
                    lane.unrecorded = True
                    text = f"{lane.name}: nothing was found, which proves nothing at this API"
                    lane.closed = EndedEarly(text, kind="unproven")

    def _limits(self) -> Limits:
        limits = self._options.limits(self._manifests)
        if (approval := self._options.approval) is None or not self._manifests:
            return limits
        left = approval.micros - self._approved_spent(approval)
        return replace(limits, approval=approval, approved_cost=max(left, 0))

    def _approved_spent(self, approval: Approval) -> int:
        """What the tasks of an approval cost, in micro-dollars; creates without a task may be sent again."""
        return sum(counted(row) for row in self._approved_rows(approval) if row.task_id is not None)

    def _exceeded(self) -> str | None:
        """What to say where the approved creates cost more than was approved: bills came after they were sent."""
        approval = self._options.approval
        if approval is None or (spent := self._approved_spent(approval)) <= approval.micros:
            return None
        return (
            f"more was charged than was approved: {shown(spent)} for what was approved at {shown(approval.micros)}; the API's"
            " prices aren't those that the approval was made with. Nothing that wasn't approved was created"
        )


def summary(
    at: float, tally: Tally, pool: Pool, ended_by: Sequence[BatchgenError], *, submit_only: bool = False
) -> Ended:
    """How a run went that ``ended_by`` these stopped, if anything did."""
    stops = {id(reason): reason for reason in (*ended_by, *pool.stops)}
    budget = pool.budget
    return Ended(
        at=at,
        jobs=Counts(tally.buckets),
        others=Counts(tally.others),
        manifests={name: Counts(counts) for name, counts in tally.manifests.items()},
        tasks=Counts(tally.created),
        failed_tasks=tally.failed_tasks,
        created=budget.creates,
        cost_usd=dollars(budget.cost),
        unsure=budget.unsure,
        unsure_cost_usd=dollars(budget.unsure_cost),
        endings=tuple(tally.endings),
        stops=tuple(stops.values()),
        exit_code=tally.exit_code(ended_by, submit_only=submit_only),
    )
